from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from aae_utils import models, priors
from aae_utils.recipes import (
    SETTINGS,
    ModelSettings,
    Recipe,
    build_model,
    build_prior,
    get_recipe,
    recipe_names,
    shrink,
)
from aae_utils.training import Rates, TrainingSettings

NAMES = recipe_names()
EVERY = [(name, setting) for name in NAMES for setting in SETTINGS]

# every figure with results and every table row, by the paper's numbering
IN_THE_PAPER = [
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
    "Table 3, 16 clusters and Figure 9",
    "Table 3, 30 clusters",
    "Figure 11A, 1000 labels",
    "Figure 11B, 100 labels",
    "Figure 11C, 20 clusters",
    "Figure 11D, 100 labels",
]


def test_every_figure_and_table_row_has_one_recipe():
    reproduces = [get_recipe(name).reproduces for name in NAMES]
    assert len(set(reproduces)) == len(NAMES)
    assert set(IN_THE_PAPER) <= set(reproduces)


def test_the_baseline_of_table_2_has_recipes_too():
    rows = {get_recipe(name).reproduces for name in NAMES}
    assert {f"Table 2, MNIST {labels} labels, NN baseline" for labels in (100, 1000, "all")} <= rows


@pytest.mark.parametrize(("name", "setting"), EVERY)
def test_recipes_are_found_by_name_and_setting(name, setting):
    recipe = get_recipe(name, setting)
    assert (recipe.name, recipe.setting) == (name, setting)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="Unknown recipe 'aae': choose one of aae-gaussian, aae-mixture,"):
        get_recipe("aae")
    with pytest.raises(ValueError, match="Unknown setting 'gpu': choose one of laptop, paper"):
        get_recipe("aae-gaussian", "gpu")


# As the paper says


@pytest.mark.parametrize("labels", [100, 1000, "all"])
def test_semi_supervised_settings_of_appendix_a21(labels):
    recipe = get_recipe(f"semi-supervised-{labels}", "paper")
    assert recipe.training == TrainingSettings(
        epochs=5000,
        batch_size=100,
        reconstruction=Rates(0.01, 0.9),
        adversarial=Rates(0.1, 0.1),
        classification=Rates(0.1, 0.9),
        drops=(50, 1000),
        drop_factor=0.1,
    )
    model = recipe.model
    assert (model.units, model.discriminator_units, model.init_std) == (1000, 1000, 0.01)
    assert (model.code_dim, model.prior_std, model.classes) == (10, 1.0, 10)
    assert (model.input_noise, model.input_dropout, model.batch_norm) == (0.3, 0.0, "none")
    assert recipe.data.labels == labels


def test_svhn_settings_of_appendix_a22():
    recipe = get_recipe("semi-supervised-svhn-1000", "paper")
    assert recipe.training == TrainingSettings(
        epochs=1000,
        reconstruction=Rates(0.0001, 0.9),
        adversarial=Rates(0.01, 0.1),
        classification=Rates(0.1, 0.9),
        drops=(250,),
    )
    model = recipe.model
    assert (model.units, model.discriminator_units, model.code_dim) == (4000, 4000, 20)
    assert (model.output, model.input_dropout, model.batch_norm) == ("linear", 0.2, "autoencoder")
    assert (recipe.data.dataset, recipe.data.labels, recipe.data.standardize) == ("svhn", 1000, True)


@pytest.mark.parametrize("clusters", [16, 30])
def test_clustering_settings_of_appendix_a3(clusters):
    recipe = get_recipe(f"clustering-{clusters}", "paper")
    model, training = recipe.model, recipe.training
    assert (model.units, model.discriminator_units) == (3000, 3000)
    assert (model.classes, model.code_dim, model.prior_std) == (clusters, 5, 1.0)
    assert (model.input_dropout, model.batch_norm) == (0.2, "encoder")
    assert (training.epochs, training.drops) == (1500, (50,))
    assert recipe.data.labels is None


def test_likelihood_settings_of_appendix_a1():
    mnist, faces = get_recipe("likelihood-mnist", "paper"), get_recipe("likelihood-tfd", "paper")
    assert (mnist.model.code_dim, mnist.model.prior_std, mnist.model.output) == (8, 5.0, "sigmoid")
    assert (faces.model.code_dim, faces.model.prior_std, faces.model.output) == (15, 10.0, "linear")
    assert faces.data.standardize
    assert not mnist.data.standardize


def test_dimensions_labels_and_priors_of_the_figures():
    for name in ("labelled-mixture", "labelled-swiss-roll"):
        assert get_recipe(name).data.labels == 10_000
    assert get_recipe("supervised-mnist").model.code_dim == 15
    assert get_recipe("supervised-mnist").data.labels == "all"
    reductions = [get_recipe(f"reduction-{name}") for name in ("1000", "100", "unsupervised", "10d")]
    assert [recipe.model.code_dim for recipe in reductions] == [2, 2, 2, 10]
    assert [recipe.model.classes for recipe in reductions] == [10, 10, 20, 10]
    assert [recipe.data.labels for recipe in reductions] == [1000, 100, None, 100]
    assert [recipe.model.fixed_head_scale for recipe in reductions] == [None, None, None, 10.0]
    assert build_prior(get_recipe("aae-gaussian").model) == priors.Gaussian(2, 5.0)
    assert build_prior(get_recipe("vae-mixture").model) == priors.GaussianMixture()
    assert build_prior(get_recipe("labelled-swiss-roll").model) == priors.SwissRoll()


@pytest.mark.parametrize("name", NAMES)
def test_settings_differ_in_size_and_length_and_not_in_the_task(name):
    laptop, paper = get_recipe(name, "laptop"), get_recipe(name, "paper")
    task = ("variant", "prior", "code_dim", "prior_std", "classes", "output", "supervised")
    assert [getattr(laptop.model, key) for key in task] == [getattr(paper.model, key) for key in task]
    assert (laptop.data.dataset, laptop.data.labels) == (paper.data.dataset, paper.data.labels)
    assert (laptop.reproduces, laptop.keep) == (paper.reproduces, paper.keep)
    assert laptop.training.epochs <= paper.training.epochs


@pytest.mark.parametrize("name", [name for name in NAMES if "svhn" not in name])
def test_the_last_10_000_training_images_are_for_validation_alone(name):
    assert {get_recipe(name, setting).data.pool for setting in SETTINGS} == {"train"}


# Models

KINDS: dict[str, type[nn.Module]] = {
    "aae": models.AdversarialAutoencoder,
    "vae": models.VariationalAutoencoder,
    "label-regularized": models.LabelRegularizedAutoencoder,
    "supervised": models.SupervisedAutoencoder,
    "semi-supervised": models.SemiSupervisedAutoencoder,
    "classifier": models.Classifier,
    "clustering": models.ClusteringAutoencoder,
    "dimensionality-reduction": models.DimensionalityReductionAutoencoder,
}


@pytest.mark.parametrize(("name", "setting"), EVERY)
def test_a_recipe_builds_its_model(name, setting):
    recipe = shrink(get_recipe(name, setting), units=8)
    settings, model = recipe.model, build_model(recipe.model, 30)
    assert type(model) is KINDS[settings.variant]
    corruption = models.Corruption(settings.input_noise, settings.input_dropout)
    assert model.corruption == corruption
    networks = dict(model.named_children())
    assert set(recipe.keep) <= set(networks)
    assert networks["encoder"].image_dim == 30
    assert networks["encoder"].hidden[0].out_features == 8
    if "decoder" in networks:
        assert networks["decoder"].output == settings.output
    phases = [phase.name for phase in model.phases()]
    assert ("classification" in phases) == (
        settings.variant in ("semi-supervised", "classifier")
        or (settings.variant == "dimensionality-reduction" and settings.supervised)
    )


def test_model_settings_reach_the_model():
    settings = ModelSettings(
        "dimensionality-reduction",
        code_dim=3,
        prior_std=2.0,
        classes=4,
        units=8,
        discriminator_units=6,
        output="linear",
        batch_norm="encoder",
        reduction="mean",
        init_std=0.5,
        supervised=False,
        head_distance=1.5,
        head_penalty=0.25,
    )
    model = build_model(settings, 30)
    assert model.style_prior == priors.Gaussian(3, 2.0)
    assert model.encoder.label[0].out_features == 4
    assert model.label_discriminator.hidden[0].out_features == 6
    assert (model.reduction, model.head_distance, model.head_penalty) == ("mean", 1.5, 0.25)
    assert any(isinstance(module, nn.BatchNorm1d) for module in model.encoder.modules())
    assert model.decoder.image[0].weight.std().item() == pytest.approx(0.5, rel=0.2)
    posterior = replace(settings, variant="aae", posterior="universal")
    assert build_model(posterior, 30).encoder.posterior == "universal"


# To a file and back


@pytest.mark.parametrize(("name", "setting"), EVERY)
def test_json_round_trip(name, setting):
    recipe = get_recipe(name, setting)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.to_json() == recipe.to_json()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda values: values.pop("model"), "model"),
        (lambda values: values["model"].update(layers=3), "layers"),
        (lambda values: values["training"].pop("reconstruction"), "reconstruction"),
        (lambda values: values["training"]["adversarial"].update(nesterov=True), "nesterov"),
        (lambda values: values.update(version=9), "version"),
        (lambda values: values.update(training=None), "NoneType"),
    ],
)
def test_a_recipe_of_another_version_is_named(change, named):
    values = copy.deepcopy(get_recipe("aae-gaussian").to_json())
    change(values)
    with pytest.raises(ValueError, match=f"This is not a recipe of this version: .*{named}"):
        Recipe.from_json(values)


def test_fields_with_a_default_may_be_missing():
    values = copy.deepcopy(get_recipe("aae-gaussian").to_json())
    del values["model"]["head_penalty"]
    assert Recipe.from_json(values) == get_recipe("aae-gaussian")


@pytest.mark.parametrize(("name", "setting"), EVERY)
def test_shrinking_changes_sizes_alone(name, setting):
    recipe = get_recipe(name, setting)
    small = shrink(recipe, images=120, epochs=2, units=9)
    assert (small.data.images, small.training.epochs, small.model.units) == (120, 2, 9)
    sizes = {"units", "discriminator_units"}
    kept = {key: value for key, value in asdict(recipe.model).items() if key not in sizes}
    assert {key: value for key, value in asdict(small.model).items() if key not in sizes} == kept
    assert (small.training.reconstruction, small.training.drops) == (
        recipe.training.reconstruction,
        recipe.training.drops,
    )
    assert (small.data.labels is None) == (recipe.data.labels is None)


def test_building_a_model_looks_at_the_global_generator_alone():
    settings = shrink(get_recipe("aae-gaussian")).model
    torch.manual_seed(5)
    first = build_model(settings, 30).state_dict()
    torch.manual_seed(5)
    second = build_model(settings, 30).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
