"""Research with a memory: a study is a question and what is varied for it; each training leaves a record.

A study is the file `studies/NAME.toml`, and its records lie in the folder `studies/NAME/`, without weights.
Everything is measured on validation images: no code here reads the test images.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import nn

from aae_utils.checkpoints import whole_file
from aae_utils.checks import require_known, require_whole
from aae_utils.data import ImageData, LearningSplits, Splits, load_learning_splits
from aae_utils.descriptions import DescriptionError, difference_of, from_plain, to_plain
from aae_utils.equilibrium import PREPARED_EPOCHS, require_label_code, start_right
from aae_utils.metrics.table import VALIDATION, metric_of
from aae_utils.recipes import DIGITS, Recipe, Start, shrink
from aae_utils.reproduction import (
    best_device,
    ended_by_divergence,
    evaluate_model,
    fit,
    make_monitor,
    make_trainer,
    only_process,
    resume,
)
from aae_utils.runs import Part, StartedFrom, runs_root
from aae_utils.scheduling import Job
from aae_utils.training import Trainer, TrainingDiverged
from aae_utils.variants import get_recipe, recipe_names

Beginning = Literal["recipe", "scratch", "right"]
"""From what the recipe starts, from random weights, or with two epochs of right answers (`equilibrium`)."""
FORMAT = 1
DECISIVE = ("name", "setting", "model", "training", "data", "start")
"""The fields of a recipe that decide what its training does."""
FAILED = "failed"


class StudyError(ValueError):
    """A study or one of its records is not what it has to be."""


@dataclass(frozen=True)
class Variation:
    """One way of training that a study compares with others."""

    name: str
    """For people."""
    start: Beginning
    """With which weights it begins."""
    changes: dict[str, Any]
    """Fields of the recipe that it changes, nested as in `{"training": {"epochs": 8}}`."""

    @property
    def slug(self) -> str:
        """The name as a part of a file's name."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.")


@dataclass(frozen=True)
class Study:
    """A question, what is varied for it, and what a person concludes."""

    name: str
    """Of its file."""
    question: str
    """In one sentence."""
    recipes: tuple[str, ...]
    """Each variation is made of each of these recipes, in the laptop setting."""
    seeds: tuple[int, ...]
    """Each variation is made with each of these seeds."""
    measure: str
    """The column of the history to look at: a number of the validation images."""
    base: dict[str, Any]
    """Fields that all variations change."""
    variations: tuple[Variation, ...]
    """What is compared."""
    verdict: str
    """What a person concludes; empty while the question is open."""

    def __post_init__(self) -> None:
        for name in ("question", "recipes", "seeds", "variations"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        for seed in self.seeds:
            require_whole("seeds", seed, least=0)
        for recipe in self.recipes:
            require_known("recipe", recipe, recipe_names())
        for kind in ("recipes", "seeds"):
            _require_different(kind, getattr(self, kind))
        _require_different("names of variations", [variation.slug for variation in self.variations])
        for recipe in self.recipes:
            for variation in self.variations:
                self.recipe_of(recipe, variation)

    def recipe_of(self, name: str, variation: Variation) -> Recipe:
        """A recipe as a variation trains it; ValueError for a field that it does not have."""
        recipe = replace(get_recipe(name), film=False)
        recipe = with_changes(recipe, self.base)
        if variation.start != "recipe":
            recipe = replace(recipe, start=None)
        recipe = with_changes(recipe, variation.changes)
        if recipe.start is not None:
            require_known("recipe", recipe.start.recipe, recipe_names())
        if variation.start == "right":
            require_label_code(recipe)
        return recipe

    def trials(self, root: Path, shrunk: bool = False, device: str | None = None) -> list[Trial]:
        """Every recipe and variation with the first seed, then with the next one."""
        return [
            Trial(
                shrink(recipe) if shrunk else recipe,
                seed,
                root,
                device,
                study=self.name,
                variation=variation,
            )
            for seed in self.seeds
            for name in self.recipes
            for variation in self.variations
            for recipe in [self.recipe_of(name, variation)]
        ]


def _require_different(what: str, values: Sequence[object]) -> None:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"the {what} name {twice[0]!r} twice")


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with other values in some fields of its model, training or data.

    `changes` is nested as in `{"training": {"generator": {"learning_rate": 0.2}}}`. ValueError names a field
    that does not exist, or a value that cannot be meant.
    """
    for part in changes:
        require_known("part of a recipe", part, ("model", "training", "data", "start"))
    return from_plain(_merged(to_plain(recipe), changes, recipe.name), Recipe)


def _merged(plain: dict[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    merged = dict(plain)
    for name, value in changes.items():
        require_known(f"field of {where}", name, plain)
        inner = plain[name]
        if name == "start" and inner is None:
            inner = to_plain(Start(recipe=""))
        both = isinstance(inner, dict) and isinstance(value, dict)
        merged[name] = _merged(inner, value, f"{where}.{name}") if both else value
    return merged


# Files


def studies_root(root: Path | str | None = None) -> Path:
    """Where studies lie: `root`, else the folder named by AAE_STUDIES, else `studies/` of the repository."""
    named = root or os.environ.get("AAE_STUDIES")
    return Path(named).expanduser() if named else Path(__file__).resolve().parent.parent / "studies"


def study_names(root: Path) -> list[str]:
    """The studies in a folder, in the order of the alphabet."""
    return sorted(path.stem for path in root.glob("*.toml"))


def all_studies(root: Path | None = None) -> tuple[list[Study], list[str]]:
    """Every study in a folder (default: the usual one), and one sentence for each file that is none."""
    folder, found, problems = root or studies_root(), [], []
    for name in study_names(folder):
        try:
            found.append(load_study(name, folder))
        except StudyError as error:
            problems.append(str(error))
    return found, problems


def load_study(name: str, root: Path) -> Study:
    """The study of a file; StudyError says in one sentence what is wrong with it."""
    if name not in study_names(root):
        known = ", ".join(study_names(root)) or "none"
        raise StudyError(f"There is no study {name!r} in {root}: there are {known}.")
    path = root / f"{name}.toml"
    try:
        values = {"base": {}, "verdict": ""} | tomllib.loads(path.read_text("utf-8")) | {"name": name}
        return from_plain(values | {"variations": _variations(values)}, Study)
    except (ValueError, OSError) as error:
        raise StudyError(
            f"{path} is not a study ({' '.join(str(error).split())}): mend that file."
        ) from error


def _variations(values: dict[str, Any]) -> list[Any]:
    found = values.get("variations")
    if not isinstance(found, list) or not all(isinstance(one, dict) and "name" in one for one in found):
        raise ValueError("variations are tables [[variations]] that have a name")
    return [_variation(one) for one in found]


def _variation(values: dict[str, Any]) -> dict[str, Any]:
    """A table of the file in the fields of `Variation`; a start is a word, or the run to start from."""
    changes = {key: value for key, value in values.items() if key != "name"}
    start = "recipe" if isinstance(changes.get("start"), dict) else changes.pop("start", "recipe")
    require_known("start", start, get_args(Beginning))
    return {"name": values["name"], "start": start, "changes": changes}


@dataclass(frozen=True)
class Record:
    """What a training of a study leaves: all that decided it, and its numbers from epoch to epoch."""

    format: int
    study: str
    variation: str
    start: Beginning
    seed: int
    recipe: dict[str, Any]
    """In plain values, so that it is read although recipes may have got more fields since."""
    failure: str
    """Why the training ended early; empty where it did not."""
    seconds: float
    """How long it took."""
    parts: tuple[Part, ...]
    """Commit, versions, machine and precision."""
    started_from: StartedFrom | None
    """The run whose weights were the initial ones."""
    history: dict[str, list[float | None]]
    """Columns with one number for each epoch; epochs up to 0 were prepared with right answers."""

    def final(self, measure: str) -> float | None:
        """The measure after the last epoch; None where the training failed."""
        return None if self.failure else self.history[measure][-1]


def load_record(path: Path) -> Record:
    """Read a record; StudyError says in one sentence why it cannot be used."""
    try:
        record = from_plain(json.loads(path.read_text("utf-8")), Record)
        if record.format != FORMAT:
            raise DescriptionError(f"its format is {record.format}, and this program reads {FORMAT}")
        if len({len(column) for column in record.history.values()}) > 1:
            raise DescriptionError("its columns have different lengths")
        _require_epochs(record)
    except (ValueError, OSError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"{_shown(path)} is damaged ({reason}): restore or delete it.") from error
    return record


def _require_epochs(record: Record) -> None:
    """DescriptionError where epochs are missing; a training may fail before the end of its first one."""
    if record.failure and not record.history:
        return
    epochs = record.history.get("epoch")
    if not epochs:
        raise DescriptionError("its history has no epochs")
    training = record.recipe.get("training")
    planned = training.get("epochs") if isinstance(training, dict) else None
    first = 1 - PREPARED_EPOCHS if record.start == "right" else 1
    if not record.failure and isinstance(planned, int) and epochs != list(range(first, planned + 1)):
        raise DescriptionError(f"its history does not go from epoch {first} to {planned}")


def save_record(path: Path, record: Record) -> None:
    """Write a record with a field, and a column of the history, in each line."""
    plain = to_plain(record)
    columns = [f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in plain["history"].items()]
    lines = [
        f" {json.dumps(name)}: {json.dumps(value)}" for name, value in plain.items() if name != "history"
    ]
    text = ",\n".join([*lines, ' "history": {\n' + ",\n".join(columns) + "\n }"])
    try:
        with whole_file(path) as file:
            file.write(f"{{\n{text}\n}}\n".encode())
    except OSError as error:
        raise StudyError(
            f"{path} cannot be written ({error.strerror or error}): make it writable."
        ) from error


def _shown(path: Path) -> str:
    """A record's place from the folder of the studies on."""
    return "/".join(path.parts[-4:])


# A training


@dataclass(frozen=True, kw_only=True)
class Trial(Job):
    """One training of a study: a recipe, a variation and a seed."""

    study: str
    variation: Variation

    @property
    def place(self) -> Path:
        """The file of its record."""
        return self.root / self.study / self.recipe.name / f"{self.variation.slug}-seed{self.seed}.json"

    @property
    def name(self) -> str:
        """For people: recipe, variation and seed."""
        return f"{self.recipe.name}, {self.variation.name}, seed {self.seed}"

    @property
    def runs(self) -> Path:
        """The folder of the runs that it may start from."""
        return runs_root()

    @property
    def stackable(self) -> bool:
        """Right starts take a first stage of their own."""
        return super().stackable and self.variation.start != "right"

    @property
    def folder(self) -> Path:
        """What its lock and its folder of checkpoints are named after."""
        return self.place.with_suffix("")

    def trainer(self, splits: LearningSplits, device: torch.device) -> Trainer:
        """A trainer that goes on from the newest checkpoint, if there is one."""
        trainer = make_trainer(self.recipe, splits, self.seed, device)
        trainer.notes["beginning"] = self.variation.start
        resume(trainer, self.work)
        return trainer

    def fail(self, trainer: Trainer, why: str) -> None:
        """Record a training that did not reach its last epoch."""
        save_record(self.place, _record(self, trainer, why))
        super().fail(trainer, why)

    def make(self, wait: bool = False) -> tuple[float, dict[str, float]]:
        """Train it to its record, or find that; its seconds, and its numbers on validation images.

        TrainingDiverged when it failed, which is recorded, too.
        """
        record = load_record(self.place) if self.place.exists() else train(self, wait)
        if record.failure:
            raise TrainingDiverged(record.failure)
        finals = {name: record.final(name) for name in record.history if name.startswith(VALIDATION)}
        return record.seconds, {name: value for name, value in finals.items() if value is not None}


def train(trial: Trial, wait: bool = False) -> Record:
    """Train a trial without any test image, and leave its record; an interrupted one is continued."""
    device = torch.device(trial.device or best_device())
    splits = load_learning_splits(trial.recipe.data, device)
    failure, work = "", trial.work
    with only_process(trial.folder, wait):
        if trial.place.exists():
            return load_record(trial.place)
        trainer = trial.trainer(splits, device)
        try:
            if trial.variation.start == "right" and "prepared" not in trainer.notes:
                with ended_by_divergence(work):
                    start_right(trainer, trial.recipe, splits, work)
            model = fit(trainer, trial.recipe, splits, work, trial.checkpoint_seconds, progress=False)
            with ended_by_divergence(work):
                trainer.history[-1] |= _measured(trial.recipe, model, splits)
        except TrainingDiverged as error:
            failure = str(error)
        record = _record(trial, trainer, failure)
        save_record(trial.place, record)
        shutil.rmtree(work, ignore_errors=True)
        return record


def _measured(recipe: Recipe, model: nn.Module, splits: LearningSplits) -> dict[str, float]:
    """The recipe's results as the test images would give them, on the validation images."""
    judged = Splits(splits.train, splits.validation, splits.standardizer, splits.validation)
    return {f"{VALIDATION}{name}": value for name, value in evaluate_model(recipe, model, judged).items()}


def _record(trial: Trial, trainer: Trainer, failure: str) -> Record:
    rows = [*trainer.notes.get("prepared", []), *trainer.history]
    names = [name for name in dict.fromkeys(name for row in rows for name in row)]
    history = {
        name: [_rounded(row.get(name)) for row in rows] for name in names if name != "images_per_second"
    }
    return Record(
        FORMAT,
        trial.study,
        trial.variation.name,
        trial.variation.start,
        trial.seed,
        to_plain(trial.recipe),
        failure,
        round(sum(row["seconds"] for row in rows), 1),
        tuple(from_plain(part, Part) for part in trainer.notes["parts"]),
        trainer.notes["start"] and from_plain(trainer.notes["start"], StartedFrom),
        history,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


# What there is


@dataclass(frozen=True)
class State:
    """The records of a study that count, and what is missing or does not count."""

    study: Study
    records: list[tuple[Trial, Record]] = field(default_factory=list)
    missing: list[Trial] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[tuple[Trial, Record]]:
        """The trainings that did not reach their last epoch."""
        return [(trial, record) for trial, record in self.records if record.failure]

    def curves(self, recipe: str) -> pd.DataFrame:
        """The measure over the epochs that have it: columns variation, seed, epoch and the measure's name.

        What a training did before it failed is a variation of its own, marked as failed.
        """
        measure = self.study.measure
        tables = [
            pd.DataFrame({"epoch": record.history["epoch"], measure: record.history[measure]}).assign(
                variation=trial.variation.name + f" ({FAILED})" * bool(record.failure), seed=trial.seed
            )
            for trial, record in self.records
            if trial.recipe.name == recipe and measure in record.history
        ]
        names = [variation.name for variation in self.study.variations]
        order = [*names, *(f"{name} ({FAILED})" for name in names)]
        table = (
            pd.concat(tables, ignore_index=True).dropna(subset=[measure])
            if tables
            else pd.DataFrame(columns=["epoch", measure, "variation", "seed"])
        )
        kinds = pd.Categorical(table["variation"], order, ordered=True)
        return table.assign(variation=kinds.remove_unused_categories())

    def finals(self, recipe: str, variation: Variation) -> dict[int, float | None]:
        """The measure after the last epoch by seed; None for a training that failed."""
        return {
            trial.seed: record.final(self.study.measure)
            for trial, record in self.records
            if (trial.recipe.name, trial.variation) == (recipe, variation)
        }


def state_of(study: Study, root: Path, shrunk: bool = False) -> State:
    """What became of a study; a record that is damaged, stale or of no trial is named and not counted."""
    state = State(study)
    trials = study.trials(root, shrunk)
    for trial in trials:
        if not trial.place.exists():
            state.missing.append(trial)
            continue
        try:
            record = load_record(trial.place)
            _require_current(trial, record, study.measure)
        except StudyError as error:
            state.problems.append(str(error))
        else:
            state.records.append((trial, record))
    strange = set((root / study.name).glob("*/*.json")) - {trial.place for trial in trials}
    state.problems.extend(
        f"{_shown(path)} is stale: the study has no such variation and seed any more."
        for path in sorted(strange)
    )
    return state


def _require_current(trial: Trial, record: Record, measure: str) -> None:
    """StudyError where a record is not of what the study says now."""
    now = to_plain(trial.recipe)
    identity = {"study": trial.study, "variation": trial.variation.name, "start": trial.variation.start}
    difference = difference_of(
        {name: getattr(record, name) for name in (*identity, "seed")}, identity | {"seed": trial.seed}
    ) or difference_of(
        {name: record.recipe.get(name) for name in DECISIVE}, {name: now[name] for name in DECISIVE}
    )
    if difference:
        raise StudyError(
            f"{_shown(trial.place)} is stale: it was made with another {difference} than the study has now."
            " Delete it to have it made anew."
        )
    if not record.failure and measure not in record.history:
        raise StudyError(f"{_shown(trial.place)} has not measured {measure}: delete it to have it made anew.")


def require_measure(study: Study) -> None:
    """Do nothing if every recipe of the study is measured so; a StudyError lists its measures."""
    for recipe in study.recipes:
        known = measures_of(study.recipe_of(recipe, study.variations[0]))
        if study.measure not in known:
            raise StudyError(
                f"{recipe} is not measured by {study.measure!r}: choose one of {', '.join(known)}."
            )


def measures_of(recipe: Recipe) -> list[str]:
    """The numbers of validation images that a recipe's history has, found with a tiny model.

    Those that are only taken after the last epoch come last.
    """
    small = shrink(recipe)
    pixels = torch.rand(10 * DIGITS, 784, generator=torch.Generator().manual_seed(0))
    images = ImageData(pixels, torch.arange(10 * DIGITS) % DIGITS, (28, 28))
    model = small.model.build().eval()
    followed = make_monitor(small, images)(model)
    return list(followed | _measured(small, model, LearningSplits(images, images, None)))


# Tables


def studies_table(root: Path) -> pd.DataFrame:
    """One row for each study of a folder: its question, its records, and whether it is decided.

    A file that is no study has a row, too, with a sentence on what is wrong with it.
    """
    found, problems = all_studies(root)
    return pd.DataFrame(
        [
            *(_study_line(study, root) for study in found),
            *({"study": "-", "question": problem} for problem in problems),
        ]
    ).fillna("-")


def _study_line(study: Study, root: Path) -> dict[str, str]:
    state = state_of(study, root)
    trials = len(study.trials(root))
    return {
        "study": study.name,
        "question": study.question,
        "records": f"{len(state.records)} of {trials}",
        "failed": str(len(state.failed)),
        "not counted": str(len(state.problems)),
        "verdict": "given" if study.verdict else "open",
    }


def findings_rows(state: State, recipe: str) -> Iterator[dict[str, str]]:
    """One row for each variation of a recipe: seeds, the measure after the last epoch, and its mean."""
    metric = metric_of(state.study.measure)
    for variation in state.study.variations:
        finals = state.finals(recipe, variation)
        values = [value for value in finals.values() if value is not None]
        texts = [FAILED if value is None else f"{value:.{metric.decimals}f}" for value in finals.values()]
        mean = f"{sum(values) / len(values):.{metric.decimals}f}" if values else "-"
        yield {
            "variation": variation.name,
            "seeds": _seeds_in_words(list(finals)),
            metric.title: ", ".join(texts) or "-",
            "mean": mean + (f" ({len(values)} of {len(finals)})" if 0 < len(values) < len(finals) else ""),
        }


def _seeds_in_words(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none yet"


def findings_table(state: State) -> pd.DataFrame:
    """The rows of all recipes of a study."""
    return pd.DataFrame(
        {"recipe": recipe} | row for recipe in state.study.recipes for row in findings_rows(state, recipe)
    )
