"""From a recipe and a seed to a finished run, and from a model to its numbers by the paper's rules."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from aae_utils import data, evaluation
from aae_utils.data import ImageData
from aae_utils.evaluation import LikelihoodEstimate, SampleStream
from aae_utils.models import in_chunks
from aae_utils.priors import UNLABELLED, LabelledPrior, Prior
from aae_utils.recipes import Recipe, Setting, build_model, get_recipe
from aae_utils.runs import (
    PARTIAL,
    Run,
    RunError,
    add_results,
    environment,
    find_run,
    load_run,
    rounded_weights,
    run_folder,
    runs_root,
    save_run,
)
from aae_utils.training import Monitor, Trainer, TrainingSet

Splits = dict[str, ImageData]


def best_device() -> torch.device:
    """The fastest device of this machine: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def train_recipe(
    recipe: Recipe,
    seed: int = 0,
    root: Path | None = None,
    device: torch.device | str | None = None,
    progress: bool | None = None,
    checkpoint_seconds: float = 60.0,
    wait: bool = False,
) -> Run:
    """Train a recipe to a finished run, or return the run if it is there already.

    An interrupted training continues from its newest checkpoint. RunError when another process trains the
    same run (with `wait`, what that process leaves is waited for and taken over), when the folder holds
    another recipe, or when the result cannot be written.
    """
    folder = run_folder(recipe, seed, root)
    work = folder.with_name(folder.name + PARTIAL)
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work.with_name("." + folder.name + ".lock"), timeout=-1 if wait else 0)
        with lock:
            if folder.exists():
                return _same_recipe(load_run(folder), recipe)
            return _train(recipe, seed, folder, work, device, progress, checkpoint_seconds)
    except Timeout:
        raise RunError(f"Another process is training {folder}: wait for it or end it.") from None
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror or error}).") from error


def _train(
    recipe: Recipe,
    seed: int,
    folder: Path,
    work: Path,
    device: torch.device | str | None,
    progress: bool | None,
    checkpoint_seconds: float,
) -> Run:
    device = torch.device(device or best_device())
    _claim(work, recipe, seed)
    machine = environment(device)  # before the training, since the code on disk may change meanwhile
    splits = load_splits(recipe, device)
    trainer = make_trainer(recipe, splits, seed, device)
    machine["precision"] = trainer.precision
    monitor = make_monitor(recipe, splits["validation"])
    model = trainer.fit(monitor, work, checkpoint_seconds, progress)
    weights = rounded_weights(model, recipe.keep)
    # the numbers are those of the weights that are shipped
    model.load_state_dict({k: v.to(device) for k, v in weights.items()}, strict=False)
    results = evaluate_model(recipe, model, splits)
    run = save_run(folder, recipe, seed, splits["train"].dim, weights, trainer.history.rows, results, machine)
    shutil.rmtree(work, ignore_errors=True)
    return run


def _claim(work: Path, recipe: Recipe, seed: int) -> None:
    """Mark a folder of checkpoints as this recipe's; RunError when it is another's."""
    note = work / "recipe.json"
    mine = json.dumps({"recipe": recipe.to_json(), "seed": seed}, indent=1)
    work.mkdir(exist_ok=True)
    if not note.exists():
        partial = note.with_suffix(".writing")
        partial.write_text(mine)
        os.replace(partial, note)
    elif note.read_text() != mine:
        raise RunError(
            f"{work} holds an interrupted training with other settings: delete it, or give the"
            " command that began it."
        )


def _same_recipe(run: Run, recipe: Recipe) -> Run:
    if run.recipe.to_json() != recipe.to_json():
        raise RunError(
            f"{run.folder} holds a run with other settings: move it away or choose another --root."
        )
    return run


def train_or_load(name: str, setting: Setting = "laptop", seed: int = 0) -> Run:
    """Load the shipped run of a recipe; with AAE_RETRAIN=1 train it in full instead (into `runs-retrained/`).

    Prints which of the two happened, and how long the training took on which device.
    """
    if os.environ.get("AAE_RETRAIN", "0") not in ("", "0"):
        root = runs_root().with_name(runs_root().name + "-retrained")
        run, verb = train_recipe(get_recipe(name, setting), seed, root), "Trained"
    else:
        run, verb = find_run(name, setting, seed), "Loaded"
    device, threads = run.environment["device"], run.environment["threads"]
    print(f"{verb} {run.name}: {run.seconds / 60:.1f} minutes of training on {device}, {threads} thread(s).")
    return run


def load_splits(recipe: Recipe, device: torch.device | str = "cpu") -> Splits:
    """The images that a recipe uses: `train` (its pool), `validation` and `test`, standardized if it asks."""
    settings = recipe.data
    names = {"train": settings.pool, "validation": "validation", "test": "test"}
    splits = {key: data.load(settings.dataset, split, device=device) for key, split in names.items()}
    counts = {"train": settings.images, "validation": settings.held_out, "test": settings.held_out}
    splits = {key: _first(split, counts[key]) for key, split in splits.items()}
    if settings.standardize:
        standardizer = data.Standardizer.fit(splits["train"].images)
        splits = {
            key: ImageData(standardizer(split.images), split.labels, split.shape)
            for key, split in splits.items()
        }
    return splits


def _first(split: ImageData, count: int | None) -> ImageData:
    if count is None or count >= len(split):
        return split
    return split.subset(torch.arange(count, device=split.images.device))


def make_training_set(recipe: Recipe, pool: ImageData, seed: int) -> TrainingSet:
    """Hide the labels that a recipe does not show, and set the labelled images apart."""
    labels, classes = recipe.data.labels, recipe.model.classes
    highest = int(pool.labels.max())
    if labels is not None and highest >= classes:
        raise ValueError(
            f"{recipe.name} has labels up to {highest}, too many for {classes} classes: raise model.classes."
        )
    if recipe.model.variant == "supervised" and labels != "all":
        raise ValueError(f"{recipe.name} needs the label of every image: use labels='all', not {labels!r}.")
    if labels is None:
        return TrainingSet(pool.images, torch.full_like(pool.labels, UNLABELLED))
    if labels == "all":
        return TrainingSet(pool.images, pool.labels, pool.images, pool.labels)
    chosen = data.balanced_subset(pool.labels, int(labels), seed).to(pool.images.device)
    visible = torch.full_like(pool.labels, UNLABELLED)
    visible[chosen] = pool.labels[chosen]
    labelled = TrainingSet(pool.images, visible, pool.images[chosen], pool.labels[chosen])
    if recipe.model.variant != "classifier":
        return labelled
    # the baseline sees the labelled images alone, so an epoch is a pass over them
    return TrainingSet(pool.images[chosen], pool.labels[chosen], pool.images[chosen], pool.labels[chosen])


def make_trainer(recipe: Recipe, splits: Splits, seed: int, device: torch.device | str = "cpu") -> Trainer:
    """A trainer for a recipe: the seed fixes labels, initial weights, shuffling and noise."""
    training_set = make_training_set(recipe, splits["train"], seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(recipe.model, splits["train"].dim)
    return Trainer(model.to(device), training_set, recipe.training, seed)


def make_monitor(recipe: Recipe, validation: ImageData) -> Monitor:
    """The numbers to follow during training, from validation images alone."""
    measure = _MEASURES[recipe.model.variant]

    def monitor(model: nn.Module) -> dict[str, float]:
        splits = {"test": validation, "validation": validation, "few": _first(validation, 2000)}
        return {f"validation_{name}": value for name, value in measure(recipe, model, splits, True).items()}

    return monitor


@torch.no_grad()
def evaluate_model(recipe: Recipe, model: nn.Module, splits: Splits) -> dict[str, float]:
    """The numbers that a model reaches on the test images, by the paper's rule for its section."""
    return _MEASURES[recipe.model.variant](recipe, model.eval(), splits, False)


def evaluate_run(run: Run, device: torch.device | str | None = None) -> dict[str, float]:
    """Compute a run's numbers again, from its weights."""
    device = torch.device(device or best_device())
    return evaluate_model(run.recipe, run.model(device), load_splits(run.recipe, device))


def codes_of(model: Any, images: Tensor, seed: int = 0) -> Tensor:
    """Codes `(N, dim)` of images `(N, D)`; a stochastic posterior draws one code each, fixed by the seed."""
    generator = torch.Generator(images.device).manual_seed(seed)
    return in_chunks(lambda x: model.encode(x, generator), images)


def likelihood(
    recipe: Recipe,
    model: Any,
    splits: Splits,
    samples: int = 10_000,
    *,
    sigmas: Sequence[float] | None = None,
    progress: bool = False,
    seed: int = 0,
) -> LikelihoodEstimate:
    """Table 1: Parzen log-likelihood of the test images under `samples` images drawn from the model.

    Sigma is chosen on the first 2,000 validation images unless `sigmas` names it. More than 10,000 samples
    are drawn anew in chunks and never held in memory.
    """
    device = splits["test"].images.device
    to_pixels = _pixel_scale(recipe, device)
    generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def draw(count: int) -> Tensor:
        return to_pixels(model.decode(model.prior.sample(count, generator, device)))

    stream: Tensor | SampleStream = SampleStream(draw, samples)
    if samples <= 10_000:
        stream = draw(samples)
    return evaluation.parzen_estimate(
        to_pixels(splits["test"].images),
        to_pixels(splits["validation"].images[:2000]),
        stream,
        sigmas=sigmas,
        progress=progress,
    )


def add_likelihood(run: Run, samples: int, device: torch.device | str | None = None) -> LikelihoodEstimate:
    """The log-likelihood of a run of Table 1; that of 10,000,000 samples is stored among the run's results.

    Sigma is chosen among widths below the run's own, since more samples want narrower windows. ValueError for
    a run of another table, or no samples.
    """
    if not run.recipe.likelihood or samples < 1:
        raise ValueError(f"{run.name} with {samples} samples: give a run of Table 1 and a positive number.")
    device = torch.device(device or best_device())
    sigmas = None
    if samples > 10_000:
        sigmas = [factor * run.results["sigma"] for factor in (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)]
    splits = load_splits(run.recipe, device)
    estimate = likelihood(
        run.recipe, run.model(device), splits, samples, sigmas=sigmas, progress=samples > 10_000
    )
    if samples == 10_000_000:
        names = ("log_likelihood_10m", "standard_error_10m", "sigma_10m")
        numbers = (estimate.mean, estimate.standard_error, estimate.sigma)
        add_results(run, dict(zip(names, numbers, strict=True)))
    return estimate


def _pixel_scale(recipe: Recipe, device: torch.device) -> Callable[[Tensor], Tensor]:
    """From what a model sees back to pixels in [0, 1] (appendix A.1)."""
    if not recipe.data.standardize:
        return lambda images: images
    raw = replace(recipe, data=replace(recipe.data, standardize=False))
    standardizer = data.Standardizer.fit(load_splits(raw, device)["train"].images)
    return lambda images: standardizer.inverse(images).clamp(0, 1)


def _matching(recipe: Recipe, model: Any, splits: Splits, quick: bool) -> dict[str, float]:
    """How far q(z) is from p(z) and the reconstruction error; for Table 1 the log-likelihood, too."""
    images = splits["few" if quick else "test"].images
    codes = codes_of(model, images)
    numbers = {
        "sliced_wasserstein": prior_distance(model.prior, codes),
        "reconstruction_error": evaluation.reconstruction_error(images, in_chunks(model.decode, codes)),
    }
    if recipe.likelihood and not quick:
        estimate = likelihood(recipe, model, splits)
        numbers |= {
            "log_likelihood": estimate.mean,
            "standard_error": estimate.standard_error,
            "sigma": estimate.sigma,
        }
    return numbers


def prior_distance(prior: Prior, codes: Tensor, seed: int = 0) -> float:
    """Sliced Wasserstein distance of codes `(N, dim)` from as many samples of the prior."""
    generator = torch.Generator(codes.device).manual_seed(seed)
    sample = prior.sample(len(codes), generator, codes.device)
    return evaluation.sliced_wasserstein(codes, sample, generator=generator)


def _label_regularized(recipe: Recipe, model: Any, splits: Splits, quick: bool) -> dict[str, float]:
    split = splits["few" if quick else "test"]
    prior: LabelledPrior = model.prior
    share = evaluation.region_share(codes_of(model, split.images), split.labels, prior.region)
    return _matching(recipe, model, splits, quick) | {"region_share": share}


def _supervised(recipe: Recipe, model: Any, splits: Splits, quick: bool) -> dict[str, float]:
    """How well a classifier reads the digit from the style alone: near chance when z is free of content."""
    split = splits["few" if quick else "test"]
    codes = codes_of(model, split.images)
    numbers = {"sliced_wasserstein": prior_distance(model.prior, codes)}
    if quick:
        return numbers
    decoded = torch.cat(
        [
            model.decode(z, y).detach()
            for z, y in zip(codes.split(2000), split.labels.split(2000), strict=True)
        ]
    )
    validation = splits["validation"]
    probe = (codes_of(model, validation.images), validation.labels, codes, split.labels)
    return numbers | {
        "reconstruction_error": evaluation.reconstruction_error(split.images, decoded),
        "style_linear_probe_error": evaluation.linear_probe_error(*probe),
        "style_mlp_probe_error": evaluation.mlp_probe_error(*probe),
    }


def _classification(recipe: Recipe, model: Any, splits: Splits, quick: bool) -> dict[str, float]:
    """Error in percent, with argmax of q(y|x) as the answer."""
    answers = in_chunks(model.predict, splits["test"].images).argmax(1)
    return {"error": evaluation.classification_error(answers, splits["test"].labels)}


def _clustering(recipe: Recipe, model: Any, splits: Splits, quick: bool) -> dict[str, float]:
    test, validation = splits["test"], splits["validation"]
    return evaluation.clustering_report(
        in_chunks(model.log_odds, test.images),
        test.labels,
        in_chunks(model.log_odds, validation.images),
        validation.labels,
    )


def _reduction(recipe: Recipe, model: Any, splits: Splits, quick: bool) -> dict[str, float]:
    rule = _classification if recipe.model.supervised else _clustering
    return rule(recipe, model, splits, quick)


_MEASURES: dict[str, Callable[[Recipe, Any, Splits, bool], dict[str, float]]] = {
    "aae": _matching,
    "vae": _matching,
    "label-regularized": _label_regularized,
    "supervised": _supervised,
    "semi-supervised": _classification,
    "classifier": _classification,
    "clustering": _clustering,
    "dimensionality-reduction": _reduction,
}
