from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from aae_utils import data, reproduction
from aae_utils.data import ImageData
from aae_utils.priors import UNLABELLED
from aae_utils.recipes import SETTINGS, Recipe, get_recipe, recipe_names, shrink
from aae_utils.reproduction import (
    best_device,
    codes_of,
    evaluate_run,
    load_splits,
    make_trainer,
    make_training_set,
    train_or_load,
    train_recipe,
)
from aae_utils.runs import METRICS, WEIGHTS, Run, RunError, find_run, list_runs, load_run
from aae_utils.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

REPOSITORY = Path(__file__).resolve().parents[1]
MNIST = [name for name in recipe_names() if "svhn" not in name and "tfd" not in name]

MATCHING = {"sliced_wasserstein", "reconstruction_error"}
LIKELIHOOD = MATCHING | {"log_likelihood", "standard_error", "sigma"}
CLUSTERING = {"error", "majority_vote_error", "nmi", "ari", "clusters", "empty_clusters"}
# the numbers that a section's run must give, by the beginning of the recipe's name
RESULTS = {
    "aae": MATCHING,
    "vae": MATCHING,
    "labelled": MATCHING | {"region_share"},
    "likelihood": LIKELIHOOD,
    "supervised": MATCHING | {"style_linear_probe_error", "style_mlp_probe_error"},
    "semi": {"error"},
    "baseline": {"error"},
    "clustering": CLUSTERING,
    "reduction": {"error"},
}
PERCENT = {"error", "majority_vote_error", "region_share"}


def small(name: str, setting: str = "laptop", **sizes: int) -> Recipe:
    return shrink(get_recipe(name, setting), **sizes)


def train(recipe: Recipe, root: Path, seed: int = 0, **options: object) -> Run:
    return train_recipe(recipe, seed, root, device="cpu", progress=False, **options)


def sentence(call: Callable[[], object]) -> str:
    """The message of the RunError that the call must raise: one line."""
    with pytest.raises(RunError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def end_of(run: Run) -> tuple[bytes, dict[str, float], list[dict[str, float]]]:
    """All that a training leaves, but for its durations."""
    history = run.history().drop(columns=["seconds", "images_per_second"])
    return (run.folder / WEIGHTS).read_bytes(), run.results, history.to_dict("records")


def check_run(run: Run, recipe: Recipe, root: Path) -> None:
    """A whole run with the numbers of its section, which its own weights give again."""
    assert load_run(run.folder).recipe == recipe
    expected = RESULTS[recipe.name.split("-")[0]]
    if recipe.name == "reduction-unsupervised":
        expected = CLUSTERING
    if recipe.name.startswith("likelihood") and not recipe.likelihood:
        expected = MATCHING
    assert expected <= set(run.results)
    assert all(math.isfinite(value) for value in run.results.values())
    assert all(0 <= run.results[name] <= 100 for name in PERCENT & set(run.results))
    history = run.history()
    assert history["epoch"].tolist() == list(range(1, recipe.training.epochs + 1))
    assert [column for column in history if column.startswith("validation_")]
    assert evaluate_run(run, "cpu") == run.results
    assert list_runs(root)[1] == []


# Every recipe, shrunk


@pytest.fixture
def few_samples(monkeypatch):
    """Estimate the likelihood from 500 samples."""
    monkeypatch.setattr(reproduction, "likelihood", partial(reproduction.likelihood, samples=500))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", MNIST)
def test_mnist_recipes_run(name, setting, mnist_files, few_samples, tmp_path):
    recipe = small(name, setting)
    check_run(train(recipe, tmp_path), recipe, tmp_path)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["supervised-svhn", "semi-supervised-svhn-1000"])
def test_svhn_recipes_run(name, setting, svhn_files, tmp_path):
    recipe = small(name, setting)
    run = train(recipe, tmp_path / "runs")
    assert run.image_dim == 32 * 32 * 3
    check_run(run, recipe, tmp_path / "runs")


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_tfd_recipe_runs(setting, tfd_files, tmp_path, monkeypatch):
    # with 2304 pixels even the smallest likelihood takes seconds: once is enough, and with one sigma
    quick = partial(reproduction.likelihood, samples=500, sigmas=[0.2])
    monkeypatch.setattr(reproduction, "likelihood", quick)
    recipe = replace(small("likelihood-tfd", setting), likelihood=setting == "laptop")
    run = train(recipe, tmp_path / "runs")
    assert run.image_dim == 48 * 48
    check_run(run, recipe, tmp_path / "runs")


def test_training_on_real_digits_learns_to_read_them(tmp_path):
    recipe = get_recipe("baseline-100")
    recipe = replace(
        recipe,
        model=replace(recipe.model, units=100),
        training=replace(recipe.training, epochs=40),
    )
    run = train(recipe, tmp_path)
    # guessing costs 90 %, the paper's network 25.80 %
    assert run.results["error"] < 40


# What a run may look at


@pytest.mark.parametrize(
    "name",
    [
        "aae-gaussian",
        "vae-mixture",
        "labelled-mixture",
        "likelihood-mnist",
        "supervised-mnist",
        "semi-supervised-100",
        "baseline-100",
        "clustering-16",
        "reduction-unsupervised",
        "reduction-10d",
    ],
)
def test_the_test_images_are_not_touched_before_the_evaluation(
    name, mnist_files, few_samples, tmp_path, monkeypatch
):
    recipe, load = small(name, epochs=2), data.load
    honest = train(recipe, tmp_path / "honest")

    def load_without_test(dataset: str, split: str, **options: object) -> ImageData:
        part = load(dataset, split, **options)
        if split == "test":
            part.images.fill_(math.nan)
            part.labels.fill_(0)
        return part

    monkeypatch.setattr(data, "load", load_without_test)
    monkeypatch.setattr(reproduction, "evaluate_model", lambda *_: honest.results)
    blind = train(recipe, tmp_path / "blind")
    assert end_of(blind) == end_of(honest)


@pytest.mark.parametrize("name", ["labelled-mixture", "semi-supervised-100", "reduction-100", "baseline-100"])
def test_hidden_labels_have_no_influence(name, mnist_files, monkeypatch):
    recipe = small(name)
    splits = load_splits(recipe)
    pool = splits["train"]
    chosen = data.balanced_subset(pool.labels, 100, seed=0)
    # the same images are labelled, all other labels are wrong
    others = (pool.labels + 1) % 10
    others[chosen] = pool.labels[chosen]
    changed = ImageData(pool.images, others, pool.shape)
    assert (changed.labels != pool.labels).sum() == 100
    monkeypatch.setattr(data, "balanced_subset", lambda labels, count, seed: chosen)
    ends = []
    for train_split in (pool, changed):
        trainer = make_trainer(recipe, {**splits, "train": train_split}, seed=0)
        trainer.fit(progress=False)
        ends.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*ends)


def test_labels_shown_are_balanced_and_true(mnist_files):
    recipe = small("semi-supervised-100")
    pool = load_splits(recipe)["train"]
    seen = make_training_set(recipe, pool, seed=0)
    visible = seen.y != UNLABELLED
    assert seen.y[visible].bincount().tolist() == [10] * 10
    assert torch.equal(seen.y[visible], pool.labels[visible])
    assert torch.equal(seen.x, pool.images)
    assert torch.equal(seen.labelled_x, pool.images[visible])
    assert torch.equal(seen.labelled_y, pool.labels[visible])
    other = make_training_set(recipe, pool, seed=1)
    assert not torch.equal(other.y, seen.y)


def test_labels_that_do_not_fit_the_classes_are_named(mnist_files):
    for name in ("labelled-mixture", "supervised-mnist", "semi-supervised-100", "baseline-all"):
        recipe = small(name)
        recipe = replace(recipe, model=replace(recipe.model, classes=5))
        with pytest.raises(ValueError, match=f"{name} has labels up to 9, too many for 5 classes"):
            make_training_set(recipe, load_splits(recipe)["train"], seed=0)


def test_fewer_training_images_leave_the_test_set_whole(mnist_files):
    recipe = get_recipe("clustering-16")
    whole = load_splits(recipe)
    for field, cut in (("images", {"train"}), ("held_out", {"validation", "test"})):
        splits = load_splits(replace(recipe, data=replace(recipe.data, **{field: 50})))
        assert {key for key, split in splits.items() if len(split) == 50} == cut
        assert all(len(splits[key]) == len(whole[key]) > 50 for key in set(splits) - cut)


def test_without_labels_none_is_shown(mnist_files):
    recipe = small("clustering-16")
    seen = make_training_set(recipe, load_splits(recipe)["train"], seed=0)
    assert (seen.y == UNLABELLED).all()
    assert seen.labelled_x is None


def test_the_baseline_sees_its_labelled_images_alone(mnist_files):
    recipe = small("baseline-100")
    seen = make_training_set(recipe, load_splits(recipe)["train"], seed=0)
    assert len(seen) == 100
    assert torch.equal(seen.x, seen.labelled_x)
    assert torch.equal(seen.y, seen.labelled_y)


def test_standardization_is_measured_on_the_training_images(tfd_files):
    recipe = small("likelihood-tfd")
    splits = load_splits(recipe)
    train_images = splits["train"].images
    assert train_images.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(train_images.std(0, correction=0), torch.ones(48 * 48), atol=1e-3, rtol=0)
    raw = load_splits(replace(recipe, data=replace(recipe.data, standardize=False)))
    mean, std = raw["train"].images.mean(0), raw["train"].images.std(0, correction=0)
    expected = (raw["test"].images - mean) / std
    torch.testing.assert_close(splits["test"].images, expected, atol=1e-3, rtol=1e-3)


def test_supervised_recipes_refuse_hidden_labels(mnist_files, tmp_path):
    recipe = small("supervised-mnist")
    recipe = replace(recipe, data=replace(recipe.data, labels=100))
    with pytest.raises(ValueError, match="supervised-mnist needs the label of every image: use labels='all'"):
        train(recipe, tmp_path)


# The same again, or not


@pytest.mark.parametrize("name", ["aae-universal-posterior", "semi-supervised-100"])
def test_the_seed_decides_the_run(name, mnist_files, tmp_path):
    recipe = small(name)
    first, second = (train(recipe, tmp_path / root) for root in ("first", "second"))
    assert end_of(first) == end_of(second)
    assert end_of(train(recipe, tmp_path / "first", seed=1))[0] != end_of(first)[0]


def test_codes_of_a_stochastic_encoder_are_fixed_by_the_seed(mnist_files, tmp_path):
    recipe = small("aae-gaussian-posterior")
    model, images = train(recipe, tmp_path).model(), load_splits(recipe)["test"].images
    assert codes_of(model, images).shape == (100, 2)
    assert torch.equal(codes_of(model, images), codes_of(model, images))
    assert not torch.equal(codes_of(model, images), codes_of(model, images, seed=1))


def test_results_are_those_of_the_shipped_weights(mnist_files, tmp_path, monkeypatch):
    evaluated: list[dict[str, torch.Tensor]] = []
    evaluate = reproduction.evaluate_model

    def remember(recipe, model, splits):
        evaluated.append({key: value.clone() for key, value in model.state_dict().items()})
        return evaluate(recipe, model, splits)

    monkeypatch.setattr(reproduction, "evaluate_model", remember)
    run = train(small("aae-gaussian"), tmp_path)
    for key, value in run.model().state_dict().items():
        if key.split(".")[0] in run.recipe.keep:
            assert torch.equal(evaluated[0][key], value)


def count_epochs(monkeypatch) -> list[int]:
    """A list that grows by the number of each epoch that is trained from now on."""
    epochs: list[int] = []
    run_epoch = Trainer.run_epoch

    def counted(self, *arguments):
        epochs.append(self.epoch + 1)
        return run_epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "run_epoch", counted)
    return epochs


def test_a_finished_run_is_not_trained_again(mnist_files, tmp_path, monkeypatch):
    epochs = count_epochs(monkeypatch)
    first = train(small("aae-gaussian"), tmp_path)
    assert train(small("aae-gaussian"), tmp_path) == first
    assert epochs == [1]


def test_a_finished_run_of_other_settings_is_named(mnist_files, tmp_path):
    folder = train(small("aae-gaussian"), tmp_path).folder
    message = sentence(lambda: train(small("aae-gaussian", units=9), tmp_path))
    assert message == (f"{folder} holds a run with other settings: move it away or choose another --root.")


# Interruptions


def interrupt_in_epoch(number: int, monkeypatch) -> None:
    run_epoch = Trainer.run_epoch

    def until(self, *arguments):
        if self.epoch + 1 == number:
            raise KeyboardInterrupt
        return run_epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "run_epoch", until)


def test_an_interrupted_training_goes_on(mnist_files, tmp_path, monkeypatch):
    recipe = small("semi-supervised-100", epochs=4)
    whole = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in_epoch(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "cut", checkpoint_seconds=0)
    found, problems = list_runs(tmp_path / "cut")
    assert not found
    assert "is a run in the making" in problems[0]
    epochs = count_epochs(monkeypatch)
    assert end_of(train(recipe, tmp_path / "cut")) == end_of(whole)
    assert epochs == [3, 4]
    assert list_runs(tmp_path / "cut")[1] == []


def test_an_interrupted_training_with_other_settings_is_named(mnist_files, tmp_path, monkeypatch):
    recipe = small("aae-gaussian", epochs=2)
    with monkeypatch.context() as patch:
        interrupt_in_epoch(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path, checkpoint_seconds=0)
    message = sentence(lambda: train(small("aae-gaussian", epochs=3), tmp_path))
    work = tmp_path / "aae-gaussian" / "laptop-seed0.partial"
    assert message == (
        f"{work} holds an interrupted training with other settings: delete it, or give the command"
        " that began it."
    )
    assert train(recipe, tmp_path).recipe == recipe


def test_another_process_on_the_same_run_is_refused_and_its_kill_survived(
    mnist_files, mnist_archives, tmp_path
):
    recipe = small("semi-supervised-100", epochs=3)
    whole = train(recipe, tmp_path / "whole")
    root = tmp_path / "cut"
    child = (
        "import json, sys; from pathlib import Path; import torch; torch.set_num_threads(1)\n"
        "from torchvision.datasets import MNIST; from aae_utils import data, recipes, reproduction\n"
        "from interrupted import wait_in_epoch\n"
        "MNIST.resources, data.MNIST_VALIDATION = json.loads(sys.argv[1]), 100\n"
        "make_trainer = reproduction.make_trainer\n"
        "def waiting(*arguments):\n"
        "    trainer = make_trainer(*arguments); wait_in_epoch(trainer, 2, 2); return trainer\n"
        "reproduction.make_trainer = waiting\n"
        "recipe = recipes.Recipe.from_json(json.loads(sys.argv[2]))\n"
        "reproduction.train_recipe(recipe, 0, Path(sys.argv[3]), 'cpu', False, 0)\n"
    )
    archives = json.dumps(list(mnist_archives[1].items()))
    process = subprocess.Popen(
        [sys.executable, "-c", child, archives, json.dumps(recipe.to_json()), str(root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "waiting\n"
        message = sentence(lambda: train(recipe, root))
        folder = root / "semi-supervised-100" / "laptop-seed0"
        assert message == f"Another process is training {folder}: wait for it or end it."
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert end_of(train(recipe, root)) == end_of(whole)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")],
)
def test_no_space_for_the_run_loses_no_training(error, mnist_files, tmp_path, monkeypatch):
    recipe = small("aae-gaussian", epochs=2)
    whole = train(recipe, tmp_path / "whole")
    epochs = count_epochs(monkeypatch)

    def fail(*_args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("aae_utils.runs.save_file", fail)
        message = sentence(lambda: train(recipe, tmp_path / "full"))
    assert "No space left on device" in message
    assert message.endswith("give the same command again; no training is lost.")
    assert epochs == [1, 2]
    assert end_of(train(recipe, tmp_path / "full")) == end_of(whole)
    assert epochs == [1, 2]


def test_no_space_for_the_first_note_locks_nobody_out(mnist_files, tmp_path, monkeypatch):
    recipe = small("aae-gaussian")
    write_text = Path.write_text

    def half_a_note(self, text, *arguments):
        write_text(self, text[:20], *arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half_a_note)
        message = sentence(lambda: train(recipe, tmp_path))
    folder = tmp_path / "aae-gaussian" / "laptop-seed0"
    assert message == f"{folder} cannot be written (No space left on device)."
    assert train(recipe, tmp_path).recipe == recipe


def test_a_root_that_cannot_be_written_is_named(mnist_files, tmp_path):
    (tmp_path / "file").touch()
    message = sentence(lambda: train(small("aae-gaussian"), tmp_path / "file"))
    assert message.startswith(f"{tmp_path / 'file' / 'aae-gaussian' / 'laptop-seed0'} cannot be written (")


# Train or load


def test_train_or_load_loads_the_shipped_run(mnist_files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AAE_RUNS", str(tmp_path))
    monkeypatch.delenv("AAE_RETRAIN", raising=False)
    run = train(small("aae-gaussian"), tmp_path)
    epochs = count_epochs(monkeypatch)
    assert train_or_load("aae-gaussian") == run
    assert capsys.readouterr().out == (
        f"Loaded aae-gaussian/laptop-seed0: {run.seconds / 60:.1f} minutes of training on cpu,"
        f" {run.environment['threads']} thread(s).\n"
    )
    assert epochs == []
    assert "make it with `aae train vae-mixture" in sentence(lambda: train_or_load("vae-mixture"))


def test_retraining_leaves_the_shipped_run_alone(mnist_files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AAE_RETRAIN", "1")
    monkeypatch.setattr(reproduction, "get_recipe", small)
    monkeypatch.setattr(reproduction, "best_device", lambda: torch.device("cpu"))
    shipped = train(small("aae-gaussian"), tmp_path / "runs")
    before = (shipped.folder / METRICS).read_bytes()
    run = train_or_load("aae-gaussian")
    assert run.folder == tmp_path / "runs-retrained" / "aae-gaussian" / "laptop-seed0"
    assert capsys.readouterr().out.startswith("Trained aae-gaussian/laptop-seed0: ")
    assert (shipped.folder / METRICS).read_bytes() == before
    assert find_run("aae-gaussian").folder == shipped.folder


def test_the_fastest_device_is_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert best_device().type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert best_device().type == "cpu"
