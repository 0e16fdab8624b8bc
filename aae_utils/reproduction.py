"""From a recipe and a seed to a finished run, and from a run to its numbers by the paper's rules."""

from __future__ import annotations

import copy
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from aae_utils.checkpoints import (
    CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    save_checkpoint,
)
from aae_utils.checks import LARGEST, require_number, require_whole
from aae_utils.data import UNLABELED, ImageData, LearningSplits, Splits, balanced_subset, load_splits
from aae_utils.descriptions import difference_of, from_plain, to_plain
from aae_utils.film import Film
from aae_utils.memory import keep_freed_memory
from aae_utils.metrics.inputs import NotFinite
from aae_utils.metrics.parzen import LikelihoodEstimate
from aae_utils.narrowing import lasting_clusters, narrowed
from aae_utils.recipes import Recipe, Setting, Start
from aae_utils.runs import (
    FORMAT,
    OWN_RUNS,
    PARTIAL,
    WEIGHTS,
    Description,
    Part,
    Run,
    RunError,
    StartedFrom,
    add_results,
    as_root,
    deviation,
    find_run,
    load_run,
    network_names,
    rounded_weights,
    run_folder,
    run_name,
    runs_root,
    save_run,
    this_part,
    training_command,
    withhold,
)
from aae_utils.seeds import random_stream
from aae_utils.training import (
    RATE_GROUPS,
    WILD,
    Monitor,
    Trainer,
    TrainingDiverged,
    TrainingSet,
    TrainingSettings,
)
from aae_utils.variants import get_recipe
from aae_utils.variants.clustering import ClusteringSettings
from aae_utils.variants.likelihood import likelihood, narrower

MANY_SAMPLES = 10_000_000
"""The log-likelihood with so many samples is stored among a run's results, as the paper's row of them is."""
ANSWERS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
FULL = (errno.ENOSPC, errno.EDQUOT)


def best_device() -> torch.device:
    """The fastest device of this machine: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


# Training


def train_recipe(
    recipe: Recipe,
    seed: int = 0,
    root: Path | str | None = None,
    device: torch.device | str | None = None,
    progress: bool | None = None,
    checkpoint_seconds: float = 60.0,
    wait: bool = False,
) -> Run:
    """Train a recipe to a finished run, or return the run if it is there already.

    An interrupted training continues from its newest checkpoint. Everything is checked before the folder is
    touched, and the first checkpoint claims it. ValueError says what does not fit; RunError when another
    process trains the same run (with `wait`, what that process leaves is waited for and taken over), when the
    folder holds another recipe, or when the result cannot be written.
    """
    require_whole("seed", seed, least=0)
    require_number("checkpoint_seconds", checkpoint_seconds, least=0)
    folder = run_folder(recipe, seed, root)
    if folder.exists():
        return _finished(folder, recipe)
    device = torch.device(device or best_device())
    if recipe.start:
        get_recipe(recipe.start.recipe, recipe.setting)  # a name that nobody knows is the mistake to speak of
    splits = load_splits(recipe.data, device)
    trainer = make_trainer(recipe, splits, seed, device, root)
    with only_process(folder, wait):
        if folder.exists():
            return _finished(folder, recipe)
        work = work_folder(folder)
        resume(trainer, work)
        model = fit(trainer, recipe, splits, work, checkpoint_seconds, progress)
        weights = rounded_weights(model, recipe.keep)
        with ended_by_divergence(work):
            if not all(value.isfinite().all() for value in weights.values()):  # too large for float16
                raise TrainingDiverged(WILD)
            results = evaluate_model(recipe, _as_stored(model, recipe, weights, trainer), splits)
        description = _description(recipe, seed, splits.train.dim, results, trainer)
        film = trainer.film.tensors() if trainer.film else None
        run = _saved(trainer, work, lambda: save_run(folder, description, weights, trainer.history, film))
        shutil.rmtree(work, ignore_errors=True)
        return run


def work_folder(folder: Path) -> Path:
    """Where the checkpoints of a training lie until its result takes its place at `folder`."""
    return folder.with_name(folder.name + PARTIAL)


def _finished(folder: Path, recipe: Recipe) -> Run:
    run = load_run(folder)
    field = difference_of(run.recipe, recipe)
    if field:
        raise RunError(
            f"{folder} holds a run with other settings ({field}): move it away or choose another root."
        )
    shutil.rmtree(work_folder(folder), ignore_errors=True)  # its process was killed before it could do that
    return run


@contextmanager
def only_process(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the lock of a run; RunError where another process does, or where there is no place for it."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"), timeout=-1 if wait else 0)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(f"Another process is training {folder}: wait for it or end it.") from None
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror or error}): make it writable, or name another root."
        ) from error
    try:
        yield
    finally:
        lock.release()


def make_trainer(
    recipe: Recipe,
    splits: LearningSplits,
    seed: int,
    device: torch.device | str = "cpu",
    root: Path | str | None = None,
) -> Trainer:
    """A trainer for a recipe: the seed fixes labels, initial weights, shuffling and noise.

    Where the recipe starts from another run, that run is looked for in `root`, then among the shipped ones.
    ValueError says what does not fit together.
    """
    training_set = make_training_set(recipe, splits.train, seed)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(random_stream(seed, "weights", "cpu").get_state())
        model = recipe.model.build(splits.train.dim)
    _require_kept(recipe, model)
    _require_phases(recipe, model)
    start = _start(model, recipe, seed, root, splits, device) if recipe.start else None
    trainer = Trainer(model.to(device), training_set, recipe.training, seed)
    if recipe.film:
        trainer.film = Film(splits.validation, trainer.steps_per_epoch * recipe.training.epochs)
    trainer.notes = {"recipe": to_plain(recipe), "seed": seed, "start": to_plain(start), "parts": []}
    return trainer


def make_training_set(recipe: Recipe, pool: ImageData, seed: int) -> TrainingSet:
    """Hide the labels that a recipe does not show, and set the labeled images apart."""
    labels = recipe.data.labels
    if labels is None:
        return TrainingSet(pool.images, torch.full_like(pool.labels, UNLABELED))
    if labels == "all":
        return TrainingSet(pool.images, pool.labels, pool.images, pool.labels)
    chosen = balanced_subset(pool.labels, labels, seed)
    labeled = pool.subset(chosen)
    if recipe.model.only_labeled_images:
        return TrainingSet(labeled.images, labeled.labels, labeled.images, labeled.labels)
    visible = torch.full_like(pool.labels, UNLABELED)
    visible[chosen] = labeled.labels
    return TrainingSet(pool.images, visible, labeled.images, labeled.labels)


def make_monitor(recipe: Recipe, validation: ImageData) -> Monitor:
    """The numbers to follow during training, from validation images alone.

    The monitor raises TrainingDiverged for a model whose weights are no longer finite.
    """

    def monitor(model: nn.Module) -> dict[str, float]:
        if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
            raise TrainingDiverged("The weights are no longer finite: lower the learning rates.")
        with torch.no_grad():
            numbers = recipe.model.monitor(model, validation)
        return {f"validation_{name}": value for name, value in numbers.items()}

    return monitor


def _require_kept(recipe: Recipe, model: nn.Module) -> None:
    names = network_names(model)
    unknown = [name for name in recipe.keep if name not in names]
    if unknown:
        raise ValueError(
            f"keep names {unknown[0]!r}, but the networks of {recipe.name} are {', '.join(names)}."
        )
    missing = [name for name in recipe.model.measured if name not in recipe.keep]
    if missing:
        raise ValueError(f"keep must name the {missing[0]}: what is measured on {recipe.name} needs it.")


def _require_phases(recipe: Recipe, model: nn.Module) -> None:
    """Rates that no phase takes, and a phase without its images, are slips."""
    used = {phase.rates for phase in model.phases()}  # type: ignore[operator]
    if "classification" in used and recipe.data.labels is None:
        raise ValueError(f"{recipe.name} learns from labeled images: set labels, not None.")
    usual = TrainingSettings(recipe.training.epochs)
    for group in RATE_GROUPS:
        if group not in used and getattr(recipe.training, group) != getattr(usual, group):
            raise ValueError(f"{recipe.name} has no phase that takes the rates {group!r}: leave them out.")


def _start(
    model: nn.Module,
    recipe: Recipe,
    seed: int,
    root: Path | str | None,
    splits: LearningSplits,
    device: torch.device | str,
) -> StartedFrom:
    """Give a model the weights that its recipe starts from."""
    start = recipe.start
    assert start is not None
    run = _start_run(start, recipe.setting, seed, root)
    weights, state = _start_weights(run, model, splits, device), model.state_dict()
    for part in start.parts:
        names = [name for name in state if f"{name}.".startswith(f"{part}.")]
        fits = [name in weights and weights[name].shape == state[name].shape for name in names]
        if not names or not all(fits):
            raise RunError(
                f"{recipe.name} cannot start from {run.folder}: its {part} was not kept or has another shape:"
                " leave the widths as they are, or change a recipe that starts from random weights."
            )
        for name in names:
            state[name].copy_(weights[name])
    return StartedFrom(run.name, run.description.sha256[WEIGHTS])


def _start_weights(
    run: Run, model: nn.Module, splits: LearningSplits, device: torch.device | str
) -> dict[str, Tensor]:
    """The weights of a run; from one with more clusters than the model, those of the clusters that last."""
    weights, fewer = run.weights(), getattr(model, "classes", 0)
    wide = getattr(run.recipe.model, "classes", 0)
    if not isinstance(run.recipe.model, ClusteringSettings) or wide <= fewer:
        return weights
    kept = lasting_clusters(run.model(device), splits.train.images, fewer)
    return narrowed(weights, kept.cpu(), wide)


def _start_run(start: Start, setting: Setting, seed: int, root: Path | str | None) -> Run:
    """The run to start from, in `root` or among the shipped ones."""
    name, records = f"{start.recipe}/{setting}-seed{seed}", False
    for place in (as_root(root), runs_root()):
        if (place / name).exists():
            run = find_run(start.recipe, setting, seed, place)
            if deviation(run):
                raise RunError(f"{deviation(run)}: no training can start from it.")
            if run.has_weights:
                return run
            records = records or place == as_root(root)
    command = training_command(start.recipe, setting, seed, OWN_RUNS if records else root)
    raise RunError(
        f"The training starts from the weights of the run {name}, which are not in {as_root(root)}: train it"
        f" first with `{command}`" + (f", and set AAE_RUNS={OWN_RUNS} here." if records else ".")
    )


def resume(trainer: Trainer, work: Path) -> None:
    """Continue from the checkpoint in `work`, if there is one of the same recipe, seed and beginning."""
    mine = dict(trainer.notes)

    def accept(notes: dict[str, Any]) -> None:
        if any(notes.get(name) != mine.get(name) for name in ("recipe", "seed", "beginning")):
            raise RunError(
                f"{work} holds an interrupted training with other settings: delete it, or give the command"
                " that began it."
            )

    trainer.resume(work, accept)


def fit(
    trainer: Trainer,
    recipe: Recipe,
    splits: LearningSplits,
    work: Path,
    checkpoint_seconds: float,
    progress: bool | None,
) -> nn.Module:
    """Train to the last epoch with checkpoints in `work`, which a divergence takes with it."""
    if trainer.epoch < recipe.training.epochs:
        note_part(trainer)  # before the training, since the code on disk may change meanwhile
    keep_freed_memory()
    monitor = make_monitor(recipe, splits.validation)
    with ended_by_divergence(work):
        return trainer.fit(monitor, work, checkpoint_seconds, progress)


@contextmanager
def ended_by_divergence(work: Path) -> Iterator[None]:
    """Delete the checkpoints of a training that diverges: continued, it would diverge again.

    Finite weights can be so large that what they compute is not: that is TrainingDiverged, too.
    """
    try:
        yield
    except (TrainingDiverged, NotFinite) as error:
        shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, TrainingDiverged):
            raise
        raise TrainingDiverged(WILD) from error


def note_part(trainer: Trainer) -> None:
    """Record where the epochs from here on are trained, unless it is where the last ones were."""
    part = to_plain(this_part(trainer.epoch + 1, trainer.device, trainer.precision))
    parts = trainer.notes["parts"]
    if not parts or parts[-1] | {"first_epoch": 0} != part | {"first_epoch": 0}:
        parts.append(part)


def _as_stored(model: nn.Module, recipe: Recipe, weights: dict[str, Tensor], trainer: Trainer) -> nn.Module:
    """A copy of the model as its run will give it again: rounded weights, only the networks that are kept."""
    model = copy.deepcopy(model)
    withhold(model, recipe.keep, run_name(recipe, trainer.notes["seed"]))
    model.load_state_dict({name: value.to(trainer.device) for name, value in weights.items()})
    return model


def _description(
    recipe: Recipe, seed: int, image_dim: int, results: dict[str, float], trainer: Trainer
) -> Description:
    parts = tuple(from_plain(part, Part) for part in trainer.notes["parts"])
    start = trainer.notes["start"] and from_plain(trainer.notes["start"], StartedFrom)
    return Description(FORMAT, recipe, seed, image_dim, results, 0.0, parts, start, {})


def _saved(trainer: Trainer, work: Path, save: Callable[[], Run]) -> Run:
    """Save a run; on a full disk the older checkpoint makes room. RunError says truly what is lost."""
    try:
        return save()
    except OSError as error:
        if error.errno not in FULL:
            raise _not_saved(trainer, work, error) from error
    try:
        (work / PREVIOUS_CHECKPOINT).unlink(missing_ok=True)  # larger than the run
        return save()
    except OSError as error:
        raise _not_saved(trainer, work, error) from error


def _not_saved(trainer: Trainer, work: Path, error: OSError) -> RunError:
    if trainer.saved_epoch < trainer.epoch and save_checkpoint(work, trainer.state_dict()):
        trainer.saved_epoch = trainer.epoch
    there = any((work / name).exists() for name in (CHECKPOINT, PREVIOUS_CHECKPOINT))
    kept = trainer.saved_epoch if there else 0
    lost = "no training is lost" if kept == trainer.epoch else f"what was trained after epoch {kept} is lost"
    remedy = "free some space" if error.errno in FULL else "make it writable"
    return RunError(
        f"The run could not be written to {work.parent} ({error.strerror or error}): {remedy}, then"
        f" give the same command again; {lost}."
    )


# Numbers


@torch.no_grad()
def evaluate_model(recipe: Recipe, model: nn.Module, splits: Splits) -> dict[str, float]:
    """The numbers that a model reaches on the test images, by the paper's rule for its section."""
    return recipe.model.measure(model.eval(), splits)


def evaluate_run(run: Run, device: torch.device | str | None = None) -> dict[str, float]:
    """Compute a run's numbers again, from its weights."""
    device = torch.device(device or best_device())
    return evaluate_model(run.recipe, run.model(device), load_splits(run.recipe.data, device))


def add_likelihood(run: Run, samples: int, device: torch.device | str | None = None) -> LikelihoodEstimate:
    """The log-likelihood of a run of Table 1; that of 10,000,000 samples is stored among the run's results.

    With more than the run's own 10,000 samples sigma is chosen among narrower widths. ValueError for a run of
    another table.
    """
    require_whole("samples", samples, most=1000 * LARGEST)
    if "log_likelihood" not in run.results:
        raise ValueError(f"{run.name} has no log-likelihood: give a run of Table 1.")
    device = torch.device(device or best_device())
    many = samples > 10_000
    estimate = likelihood(
        run.model(device),
        load_splits(run.recipe.data, device),
        samples,
        sigmas=narrower(run.results["sigma"]) if many else None,
        progress=many,
    )
    if samples == MANY_SAMPLES:
        numbers = {
            "log_likelihood_10m": estimate.mean,
            "standard_error_10m": estimate.standard_error,
            "sigma_10m": estimate.sigma,
        }
        add_results(run, numbers)
    return estimate


# For notebooks


def train_or_load(name: str, setting: Setting = "laptop", seed: int | None = None) -> Run:
    """Load the shipped run of a recipe; with AAE_RETRAIN=1 train it in full instead (into `runs-retrained/`).

    Without a seed it is the one whose weights are shipped, and 0 for a training.

    Prints which of the two happened, and how long the training took on which device. RunError for a run that
    is not of the recipe as it is now.
    """
    if _retrain():
        root = runs_root().with_name(runs_root().name + "-retrained")
        run, verb = train_recipe(get_recipe(name, setting), seed or 0, root), "Trained"
    else:
        get_recipe(name, setting)  # a name that nobody knows is the mistake to speak of
        run, verb = find_run(name, setting, seed), "Loaded"
        if deviation(run):
            raise RunError(f"{deviation(run)}: move it away, and train the recipe or restore its run.")
    print(f"{verb} {run.name}: {run.seconds / 60:.1f} min on {run.trained_on}.")
    return run


def _retrain() -> bool:
    answer = os.environ.get("AAE_RETRAIN", "")
    if answer.lower() not in ANSWERS:
        raise ValueError(f"AAE_RETRAIN is 1 (train) or 0 (load the shipped run), not {answer!r}.")
    return ANSWERS[answer.lower()]
