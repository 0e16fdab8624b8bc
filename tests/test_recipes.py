from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch

from aae_utils.data import DataSettings
from aae_utils.narrowing import narrowed
from aae_utils.networks import Corruption
from aae_utils.priors import Gaussian, GaussianMixture, SwissRoll
from aae_utils.recipes import SETTINGS, shrink
from aae_utils.runs import load_run
from aae_utils.training import Rates, TrainingSettings
from aae_utils.variants import VARIANTS, get_recipe, recipe_names, stages_before
from aae_utils.variants.clustering import ClusteringSettings
from aae_utils.variants.dimensionality_reduction import FixedHeads, LearnedHeads

NAMES = recipe_names()
EVERY = [(name, setting) for name in NAMES for setting in SETTINGS]
RUNS = Path(__file__).resolve().parents[1] / "runs"

# every figure with results and every table row, by the paper's numbering
IN_THE_PAPER = {
    "Figures 2A and 2E",
    "Figure 2B",
    "Figure 2C",
    "Figure 2D",
    "Figures 4A and 4B",
    "Figures 4C and 4D",
    "Table 1 and Figure 5, MNIST",
    "Table 1 and Figure 5, TFD",
    "Figure 7, MNIST",
    "Figure 7, SVHN",
    "Table 2, MNIST 100 labels",
    "Table 2, MNIST 1000 labels",
    "Table 2, MNIST all labels",
    "Table 2, SVHN 1000 labels",
    "Table 2, MNIST 100 labels, NN baseline",
    "Table 2, MNIST 1000 labels, NN baseline",
    "Table 2, MNIST all labels, NN baseline",
    "Table 3, 16 clusters and Figure 9",
    "Table 3, 30 clusters",
    "Figure 11A, 1000 labels",
    "Figure 11B, 100 labels",
    "Figure 11C, 20 clusters",
    "Figure 11D, 100 labels",
}


def test_every_figure_and_table_row_has_one_recipe():
    reproduces = [get_recipe(name).reproduces for name in NAMES]
    assert len(set(reproduces)) == len(NAMES)
    assert set(reproduces) >= IN_THE_PAPER


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="Unknown recipe 'aae': choose one of aae-gaussian, aae-mixture,"):
        get_recipe("aae")
    with pytest.raises(ValueError, match="Unknown setting 'gpu': choose one of laptop, paper"):
        get_recipe("aae-gaussian", "gpu")


def test_a_sigmoid_over_standardized_pixels_is_refused():
    recipe = get_recipe("vae-gaussian")
    with pytest.raises(ValueError, match="A sigmoid does not reach standardized pixels: use"):
        replace(recipe, data=DataSettings(standardize=True))
    linear = replace(recipe.model, output="linear")
    assert replace(recipe, model=linear, data=DataSettings(standardize=True)).model.output == "linear"


# As the paper says


@pytest.mark.parametrize("labels", [100, 1000, "all"])
def test_semi_supervised_settings_of_appendix_a21(labels):
    recipe = get_recipe(f"semi-supervised-{labels}", "paper")
    assert recipe.training == TrainingSettings(
        epochs=5000,
        batch_size=100,
        reconstruction=Rates(0.01, 0.9),
        discriminator=Rates(0.1, 0.1),
        generator=Rates(0.1, 0.1),
        classification=Rates(0.1, 0.9),
        drops=(50, 1000),
        drop_factor=0.1,
    )
    model = recipe.model
    assert (model.units, model.discriminator_units, model.init_std) == (1000, 1000, 0.01)
    assert (model.style_prior, model.classes) == (Gaussian(10), 10)
    assert (model.corruption, model.batch_norm) == (Corruption(noise_std=0.3), "none")
    assert recipe.data.labels == labels


def test_svhn_settings_of_appendix_a22():
    recipe = get_recipe("semi-supervised-svhn-1000", "paper")
    assert recipe.training == TrainingSettings(
        epochs=1000,
        reconstruction=Rates(0.0001, 0.9),
        discriminator=Rates(0.01, 0.1),
        generator=Rates(0.01, 0.1),
        classification=Rates(0.1, 0.9),
        drops=(250,),
    )
    model = recipe.model
    assert (model.units, model.discriminator_units, model.style_prior) == (4000, 4000, Gaussian(20))
    assert (model.output, model.corruption) == ("linear", Corruption(dropout=0.2))
    assert model.batch_norm == "autoencoder"
    assert recipe.data == DataSettings("svhn", "train-extra", labels=1000, standardize=True)


@pytest.mark.parametrize("clusters", [16, 30])
def test_clustering_settings_of_appendix_a3(clusters):
    recipe = get_recipe(f"clustering-{clusters}", "paper")
    model, training = recipe.model, recipe.training
    assert (model.units, model.discriminator_units) == (3000, 3000)
    assert (model.classes, model.style_prior) == (clusters, Gaussian(5))
    assert (model.corruption, model.batch_norm) == (Corruption(dropout=0.2), "encoder")
    assert (training.epochs, training.drops) == (1500, (50,))
    assert recipe.data.labels is None


def test_likelihood_settings_of_appendix_a1():
    mnist, faces = get_recipe("likelihood-mnist", "paper"), get_recipe("likelihood-tfd", "paper")
    assert (mnist.model.prior, mnist.model.output) == (Gaussian(8, 5.0), "sigmoid")
    assert (faces.model.prior, faces.model.output) == (Gaussian(15, 10.0), "linear")
    assert (mnist.data.standardize, faces.data.standardize) == (False, True)


def test_priors_labels_and_heads_of_the_figures():
    priors = {
        "aae-gaussian": Gaussian(2, 5.0),
        "vae-mixture": GaussianMixture(),
        "labeled-mixture": GaussianMixture(),
        "labeled-swiss-roll": SwissRoll(),
        "supervised-mnist": Gaussian(15),
    }
    assert {name: get_recipe(name).model.prior for name in priors} == priors
    maps = {
        "reduction-1000": (1000, 10, 2, LearnedHeads()),
        "reduction-100": (100, 10, 2, LearnedHeads()),
        "reduction-unsupervised": (None, 20, 2, LearnedHeads()),
        "reduction-10d": (100, 10, 10, FixedHeads(10.0)),
    }
    for name, expected in maps.items():
        recipe = get_recipe(name)
        model = recipe.model
        assert (recipe.data.labels, model.classes, model.style_prior.dim, model.heads) == expected
    for name in ("labeled-mixture", "labeled-swiss-roll"):
        assert get_recipe(name).data.labels == 10_000


FREE = {
    "units",
    "discriminator_units",
    "init_std",
    "corruption",
    "label_scale",
    "code_noise",
    "last_code_noise",
    "instance_noise",
    "label_softness",
    "softening_share",
    "label_halvings",
}
"""What a laptop may choose otherwise: sizes, noise and rates, but not the task."""


@pytest.mark.parametrize("name", NAMES)
def test_settings_differ_in_size_and_length_and_not_in_the_task(name):
    laptop, paper = get_recipe(name, "laptop"), get_recipe(name, "paper")
    assert type(laptop.model) is type(paper.model)
    for field in fields(laptop.model):
        if field.name not in FREE:
            assert getattr(laptop.model, field.name) == getattr(paper.model, field.name)
    assert replace(laptop.data, pool="train") == replace(paper.data, pool="train")
    assert (laptop.reproduces, laptop.keep, laptop.film) == (paper.reproduces, paper.keep, paper.film)
    assert laptop.training.epochs <= paper.training.epochs


@pytest.mark.parametrize("name", [name for name in NAMES if "svhn" not in name])
def test_the_last_10_000_training_images_are_for_validation_alone(name):
    assert {get_recipe(name, setting).data.pool for setting in SETTINGS} == {"train"}


# What recipes stand on


@pytest.mark.parametrize(("name", "setting"), EVERY)
def test_a_recipe_builds_its_model(name, setting):
    recipe = get_recipe(name, setting)
    small = shrink(recipe, units=8)
    model = small.model.build(30)
    assert (recipe.name, recipe.setting) == (name, setting)
    assert VARIANTS[recipe.model.variant] is type(recipe.model)
    networks = dict(model.named_children())
    assert set(recipe.keep) <= set(networks)
    assert networks["encoder"].image_dim == 30
    assert networks["encoder"].hidden[0].out_features == 8


@pytest.mark.parametrize(("name", "setting"), [pair for pair in EVERY if get_recipe(*pair).start])
def test_a_first_stage_gives_weights_that_fit(name, setting):
    recipe = get_recipe(name, setting)
    first = get_recipe(recipe.start.recipe, setting)
    assert first.data == recipe.data
    weights, given = recipe.model.build(30).state_dict(), first.model.build(30).state_dict()
    clusters = recipe.model.classes
    if first.model.classes != clusters:
        assert isinstance(first.model, ClusteringSettings) and first.model.classes > clusters
        given = narrowed(given, torch.arange(clusters), first.model.classes)
    assert {part.split(".")[0] for part in recipe.start.parts} <= set(first.keep)
    for part in recipe.start.parts:
        names = [key for key in weights if key.startswith(f"{part}.")]
        assert names
        assert all(weights[key].shape == given[key].shape for key in names)


def test_first_stages_of_the_laptop_go_back_to_random_weights():
    starts = {name: get_recipe(name).start for name in NAMES}
    assert {name: start.recipe for name, start in starts.items() if start} == {
        "clustering-16": "clustering-30",
        "clustering-20": "clustering-30",
        "reduction-1000": "semi-supervised-1000",
        "reduction-100": "semi-supervised-100",
        "reduction-unsupervised": "clustering-20",
        "reduction-10d": "semi-supervised-100",
    }
    assert not any(get_recipe(name, "paper").start for name in NAMES)
    for name in NAMES:
        stages = stages_before(get_recipe(name))
        assert len(stages) < 3 and (not stages or starts[stages[-1]] is None)
    assert stages_before(get_recipe("reduction-unsupervised")) == ["clustering-20", "clustering-30"]


@pytest.mark.parametrize(("name", "setting"), EVERY)
def test_shrinking_changes_sizes_alone(name, setting):
    recipe = get_recipe(name, setting)
    small = shrink(recipe, images=120, epochs=2, units=9)
    assert (small.data.images, small.training.epochs, small.model.units) == (120, 2, 9)
    sizes = {"units", "discriminator_units"}
    kept = {key: value for key, value in asdict(recipe.model).items() if key not in sizes}
    assert {key: value for key, value in asdict(small.model).items() if key not in sizes} == kept
    assert replace(small.training, epochs=1, batch_size=1) == replace(recipe.training, epochs=1, batch_size=1)
    assert (small.data.labels is None) == (recipe.data.labels is None)


# What is shipped


def shipped() -> list[Path]:
    return sorted(path.parent for path in RUNS.rglob("run.json"))


@pytest.mark.parametrize("folder", shipped(), ids=lambda path: str(path.relative_to(RUNS)))
def test_a_shipped_run_is_one_of_its_recipe(folder):
    run = load_run(folder)
    assert run.recipe == get_recipe(run.recipe.name, run.recipe.setting)
