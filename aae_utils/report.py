"""The paper's numbers beside ours, from runs on disk, and in words how a run differs from the paper."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import torch

from aae_utils.metrics.table import DESCRIPTIVE, METRICS, metric_of
from aae_utils.paper import AAE, PAPER, PaperNumber, paper_numbers
from aae_utils.recipes import SETTINGS, Recipe, Setting, Start
from aae_utils.runs import Run, deviation, existing_root, list_runs
from aae_utils.variants import get_recipe, recipe_names, stages_before
from aae_utils.variants.clustering import ClusteringSettings

NO_NUMBER = "-"
"""In a table: the paper gives no number, or no run has measured one."""

RunGroups = dict[tuple[str, Setting], list[Run]]
"""Runs by recipe and setting, the lowest seed first."""


def counted_runs(root: Path | str | None = None) -> tuple[RunGroups, list[str]]:
    """The runs below `root` that count, and one sentence for each folder that does not.

    Only genuine runs count: those of a recipe of the book, unchanged, in their own place. RunError where the
    folder does not exist.
    """
    found, problems = list_runs(existing_root(root))
    reasons = {run.folder: deviation(run) for run in found}
    genuine = [run for run in found if not reasons[run.folder]]
    others = [f"{reason}: it is not counted." for reason in reasons.values() if reason]
    return group_runs(genuine), problems + others


def group_runs(runs: Iterable[Run]) -> RunGroups:
    """Runs by recipe and setting, the lowest seed first."""
    groups: RunGroups = {}
    for run in sorted(runs, key=lambda run: run.seed):
        groups.setdefault((run.recipe.name, run.recipe.setting), []).append(run)
    return groups


# The paper's numbers beside ours

COLUMNS = ["where", "paper", "ours", "seeds", "setting", "why they differ"]


def results_table(
    names: str | Sequence[str] | None = None, root: Path | str | None = None, why: bool = False
) -> pd.DataFrame:
    """The paper's numbers beside ours, from the runs below `root`.

    One row for each number of each recipe in `names` (default: all), indexed by "where" it stands; columns
    "paper", "ours" (mean ± standard deviation over seeds), "seeds" and "setting", and with `why` also
    "why they differ". "-" marks what the paper does not give or no run has measured. ValueError for an
    unknown recipe, or a folder that does not exist.
    """
    names = recipe_names() if names is None else [names] if isinstance(names, str) else list(names)
    recipes = [get_recipe(name) for name in names]
    runs, _ = counted_runs(root)
    rows = [row for recipe in recipes for row in _recipe_rows(recipe, runs)]
    table = pd.DataFrame(rows, columns=COLUMNS).set_index("where")
    return table if why else table.drop(columns="why they differ")


def _recipe_rows(recipe: Recipe, runs: RunGroups) -> Iterator[dict[str, Any]]:
    """The rows of one recipe: each setting that has runs, or one row without any."""
    settings = [setting for setting in SETTINGS if (recipe.name, setting) in runs]
    if not settings:
        yield from _rows(recipe, NO_NUMBER, [])
    for setting in settings:
        yield from _rows(recipe, setting, runs[recipe.name, setting])


def _rows(recipe: Recipe, setting: str, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    numbers = {number.metric: number for number in paper_numbers(recipe.name)}
    others = [name for name in measured_metrics(runs) if name not in numbers]
    differences = "; ".join(deviations(runs[0].recipe)) if runs else NO_NUMBER
    for name in [*numbers, *others] or [""]:
        values = values_of(runs, name)
        number = numbers.get(name)
        yield {
            "metric": name,
            "where": place_of(recipe, number, name),
            "paper": number.text if number else NO_NUMBER,
            "ours": mean_and_spread(values, name),
            "seeds": len(values),
            "setting": setting,
            "why they differ": differences or "as in the paper's setting",
        }


def measured_metrics(runs: Sequence[Run]) -> list[str]:
    """What these runs have measured, in the order of the table of metrics."""
    measured = dict.fromkeys(name for run in runs for name in run.results)
    known = [name for name in METRICS if name in measured]
    return [name for name in dict.fromkeys([*known, *measured]) if name not in DESCRIPTIVE]


def values_of(runs: Sequence[Run], metric: str) -> list[float]:
    """One number of each run that has measured it."""
    return [run.results[metric] for run in runs if metric in run.results]


def place_of(recipe: Recipe, number: PaperNumber | None, metric: str = "") -> str:
    """Where a number stands in the paper, and what it measures."""
    where = recipe.reproduces
    if number is not None:
        where = number.where if number.method == AAE else f"{number.where}, {number.method}"
    return f"{where}: {metric_of(metric).title}" if metric else where


def mean_and_spread(values: Sequence[float], metric: str) -> str:
    """`mean ± standard deviation` (over n - 1) in the metric's decimals; "-" for no value, no ± for one."""
    if not values:
        return NO_NUMBER
    decimals = metric_of(metric).decimals
    mean = f"{statistics.fmean(values):.{decimals}f}"
    return f"{mean} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else mean


@dataclass(frozen=True)
class Comparison:
    """One number of the paper, and what our runs in one setting reach."""

    number: PaperNumber
    setting: Setting
    values: tuple[float, ...]

    @property
    def behind(self) -> float:
        """How much worse our mean is, in the metric's unit; below zero where it is better."""
        difference = statistics.fmean(self.values) - self.number.value
        return -difference if metric_of(self.number.metric).higher_is_better else difference

    @property
    def reached(self) -> bool:
        """Whether our mean is not worse by more than the ± that the paper gives."""
        return self.behind <= (self.number.spread or 0.0)


def comparisons(runs: RunGroups) -> Iterator[Comparison]:
    """Each number of the paper that runs of ours have measured."""
    for number in PAPER:
        for setting in SETTINGS:
            values = values_of(runs.get((number.recipe or "", setting), []), number.metric)
            if values:
                yield Comparison(number, setting, tuple(values))


# How a recipe differs from the paper's setting

_WORDS = {
    "model.units": "units in the layers of encoder and decoder",
    "model.discriminator_units": "units in the layers of the discriminator",
    "model.init_std": "standard deviation of the initial weights",
    "model.output": "output unit",
    "model.reduction": "reconstruction error over pixels",
    "model.corruption.noise_std": "noise on the input",
    "model.corruption.dropout": "dropout on the input",
    "model.label_scale": "height of the one-hot labels",
    "model.code_noise": "noise on the decoder's code",
    "model.last_code_noise": "noise on the decoder's code at the end",
    "model.instance_noise": "noise at first on the samples and codes that the discriminator sees",
    "model.label_softness": "share that one-hot samples give away at first",
    "model.softening_share": "share of the training with softened samples",
    "model.label_halvings": "halvings of the rates of the game on y",
    "model.match_label": "y matched to its prior",
    "model.match_style": "z matched to its prior",
    "model.supervised": "classification phase",
    "model.prior.std": "standard deviation of the prior",
    "model.style_prior.dim": "dimensions of the style",
    "model.style_prior.std": "standard deviation of the style's prior",
    "model.heads.distance": "least distance of the cluster heads",
    "model.heads.penalty": "weight of the cluster heads' distance",
    "model.heads.scale": "scale of the fixed cluster heads",
    "training.batch_size": "images in a minibatch",
    "training.drops": "rates drop after epoch",
    "training.drop_factor": "factor of a drop",
    "training.averaging": "decay of the averaged weights",
    "training.precision": "matrix products",
    "data.dataset": "data",
    "data.pool": "training images",
    "data.standardize": "standardized pixels",
    "data.images": "number of training images",
    "data.held_out": "number of validation and of test images",
}
_RATE_WORDS = {"learning_rate": "rate", "constant": "rate kept at the drops"}
_VALUES = {
    "sgd": "SGD",
    "adam": "Adam",
    "auto": "bfloat16 or TensorFloat32 where the machine is faster at it",
}
_NOTHING_MEANS = {"training.drops": "never", "data.images": "all", "data.held_out": "all"}


def deviations(recipe: Recipe) -> list[str]:
    """In words, each field that differs from the recipe's `paper` setting; ValueError for an unknown name."""
    paper = get_recipe(recipe.name, "paper")
    found = [_first_stage(recipe.start, recipe)] if recipe.start and recipe.start != paper.start else []
    for part in ("training", "model", "data"):
        found += _differences(getattr(recipe, part), getattr(paper, part), part)
    return found


def _first_stage(start: Start, recipe: Recipe) -> str:
    networks = " and ".join(dict.fromkeys(part.partition(".")[0].replace("_", " ") for part in start.parts))
    first = get_recipe(start.recipe, recipe.setting)
    words = [f"first stage: {networks} from {start.recipe}"]
    words += [f"which starts from {name}" for name in stages_before(first)]
    if isinstance(first.model, ClusteringSettings):
        if first.model.classes != getattr(recipe.model, "classes", None):
            words.append("with the clusters that last")
    elif first.data.labels == recipe.data.labels:
        words.append("same labels")
    return ", ".join(words)


_PART_OF = {"model.softening_share": "label_softness"}
"""Fields that mean nothing while another one is zero, as in the paper."""


def _differences(ours: Any, paper: Any, path: str) -> Iterator[str]:
    if is_dataclass(ours) and type(ours) is type(paper):
        for field in fields(ours):
            inner = f"{path}.{field.name}"
            mine, theirs = getattr(ours, field.name), getattr(paper, field.name)
            owner = _PART_OF.get(inner)
            if owner and getattr(ours, owner) and not getattr(paper, owner):
                yield f"{_field_in_words(inner)}: {_in_words(mine, inner)}"
            else:
                yield from _differences(mine, theirs, inner)
    elif ours != paper:
        yield f"{_field_in_words(path)}: {_in_words(ours, path)} instead of {_in_words(paper, path)}"


def _field_in_words(path: str) -> str:
    """The words for a field; one that has none goes by its own name, and a rate by its phase, too."""
    owner, _, name = path.rpartition(".")
    plain = name.replace("_", " ")
    if owner.startswith("training."):
        plain = f"{owner.removeprefix('training.')} {_RATE_WORDS.get(name, plain)}"
    return _WORDS.get(path, plain)


def _in_words(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == () or value == 0:
        return _NOTHING_MEANS.get(path, "none")
    if isinstance(value, tuple):
        return " and ".join(_in_words(item, path) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name.replace('_', ' ')} {getattr(value, f.name)}" for f in fields(value))
        return f"{type(value).__name__} ({inside})"
    if isinstance(value, int | float):
        return f"{value:,}"
    return _VALUES.get(value, str(value))


# Time


@dataclass(frozen=True)
class Duration:
    """How long a run takes: measured, or estimated from a run of the other setting."""

    seconds: float
    machine: str
    measured: bool

    def __str__(self) -> str:
        about = "" if self.measured else "about "
        return f"{about}{time_in_words(self.seconds)} on {self.machine}"


def time_in_words(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, hours below two days, then days."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def expected_time(recipe: Recipe, runs: RunGroups) -> Duration | None:
    """The median time of a recipe's runs; else an estimate from its other setting; None without any run.

    The estimate takes time as proportional to parameters times epochs, and the fastest epoch of the known
    run, since a busy machine has slow ones. On a GPU it takes the mean one: there an epoch's time may be
    that in which its steps were queued.
    """
    known = runs.get((recipe.name, recipe.setting))
    if known:
        return Duration(statistics.median(run.seconds for run in known), known[0].trained_on, True)
    for other in (runs[recipe.name, s][0] for s in SETTINGS if (recipe.name, s) in runs):
        if other.recipe.data == recipe.data:
            work = _work(recipe, other.image_dim) / _work(other.recipe, other.image_dim)
            seconds = other.seconds
            if all(part.device == "cpu" for part in other.description.parts):
                seconds = other.recipe.training.epochs * other.history()["seconds"].min()
            return Duration(seconds * work, other.trained_on, False)
    return None


def _work(recipe: Recipe, image_dim: int) -> float:
    with torch.device("meta"):
        model = recipe.model.build(image_dim)
    return recipe.training.epochs * sum(weights.numel() for weights in model.parameters())


# The tables of the `aae` command


def recipes_table(recipes: Iterable[Recipe], runs: RunGroups) -> pd.DataFrame:
    """What each recipe reproduces, how long its runs took, and their first number: the paper's and ours."""
    return pd.DataFrame(_recipe_line(recipe, runs) for recipe in recipes)


def _recipe_line(recipe: Recipe, runs: RunGroups) -> dict[str, str]:
    group = runs.get((recipe.name, recipe.setting), [])
    first = next(_rows(recipe, recipe.setting, group))
    return {
        "recipe": recipe.name,
        "setting": recipe.setting,
        "reproduces": recipe.reproduces,
        "time": str(expected_time(recipe, runs)) if group else NO_NUMBER,
        "number": metric_of(first["metric"]).title if first["metric"] else "",
        "paper": str(first["paper"]),
        "ours": str(first["ours"]),
        "seeds": str(first["seeds"]),
    }


def evaluation_table(run: Run, again: Mapping[str, float]) -> pd.DataFrame:
    """The numbers that a run stored beside those computed again."""
    return pd.DataFrame(
        {
            "number": metric_of(name).title,
            "stored": f"{run.results[name]:.4f}" if name in run.results else NO_NUMBER,
            "again": f"{again[name]:.4f}" if name in again else NO_NUMBER,
        }
        for name in dict.fromkeys([*run.results, *again])
    )


def results_in_words(results: Mapping[str, float]) -> str:
    """All numbers of a run in one line."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.{metric_of(name).decimals}f} {metric_of(name).unit}".strip()
        for name, value in results.items()
    )


# The tables of the book


def tables_folder() -> Path:
    """Where the book reads its tables: `book/_tables` of the repository."""
    return _repository() / "book" / "_tables"


def write_report(
    root: Path | str | None = None, folder: Path | str | None = None
) -> tuple[list[Path], list[str]]:
    """Write the tables and pictures that the book includes, from the runs below `root`.

    Returns the files in `folder` (default: `book/_tables`) and one sentence for each folder below `root` that
    does not count. ValueError where `root` does not exist, or where the book is not beside the package.
    """
    files, problems = _book_tables().write_tables(root, Path(folder or tables_folder()).expanduser())
    return files, problems


def _repository() -> Path:
    return Path(__file__).resolve().parent.parent


def _book_tables() -> ModuleType:
    """`book/tables.py`, which is no part of the package."""
    path = _repository() / "book" / "tables.py"
    specification = importlib.util.spec_from_file_location("book_tables", path)
    if not path.is_file() or specification is None or specification.loader is None:
        raise ValueError(f"The tables are those of the book, and {path} is missing: work in a clone of it.")
    module = sys.modules[specification.name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
