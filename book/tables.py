"""What the book includes from the runs and studies: tables in Markdown, sentences with digits, and pictures.

`aae report` calls `write_tables`. Nothing here is needed to train or to measure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import aae_utils
from aae_utils import studies
from aae_utils.checkpoints import whole_file
from aae_utils.metrics.table import VALIDATION, metric_of
from aae_utils.paper import PAPER
from aae_utils.recipes import SETTINGS, Recipe
from aae_utils.report import (
    NO_NUMBER,
    Comparison,
    RunGroups,
    comparisons,
    counted_runs,
    deviations,
    expected_time,
    mean_and_spread,
    paper_numbers,
    place_of,
    results_in_words,
    values_of,
)
from aae_utils.runs import Run
from aae_utils.studies import State
from aae_utils.variants import VARIANTS, get_recipe, recipe_names, stages_before
from aae_utils.variants.semi_supervised import BaselineSettings


@dataclass(frozen=True)
class Group:
    """Experiments that stand in one table: all that reproduce a table or figure of the paper."""

    file: str
    start: str
    """How `Recipe.reproduces` begins; empty for all that is left."""
    metrics: tuple[str, ...]
    """The columns, where any of its runs has measured them."""


GROUPS = (
    Group("table_1", "Table 1", ("log_likelihood", "log_likelihood_10m", "standard_error", "sigma")),
    Group("table_2", "Table 2", ("error", "requested_digit_read")),
    Group(
        "table_3",
        "Table 3",
        ("error", "majority_vote_error", "nmi", "empty_clusters", "returned_to_cluster"),
    ),
    Group("figure_11", "Figure 11", ("error", "majority_vote_error", "nmi", "empty_clusters")),
    Group(
        "figures",
        "",
        (
            "sliced_wasserstein",
            "reconstruction_error",
            "region_share",
            "style_linear_probe_error",
            "style_mlp_probe_error",
            "requested_digit_read",
        ),
    ),
)
HEADS = {
    "error": "error %",
    "majority_vote_error": "majority %",
    "nmi": "NMI",
    "empty_clusters": "empty",
    "returned_to_cluster": "return %",
    "log_likelihood": "10K",
    "log_likelihood_10m": "10M",
    "standard_error": "standard error",
    "sigma": "sigma",
    "sliced_wasserstein": "distance",
    "reconstruction_error": "reconstruction",
    "region_share": "region %",
    "style_linear_probe_error": "linear %",
    "style_mlp_probe_error": "network %",
    "requested_digit_read": "digit read %",
}
MOMENTS = (1, 3, 10, 30)
"""Epochs at which the table of progress looks."""
WRITTEN = ".written"
"""The file that lists what a report wrote into its folder: only that is removed by a later one."""


def write_tables(root: Path | str | None, folder: Path) -> tuple[list[Path], list[str]]:
    """Write all that the book includes into `folder`, from the runs below `root` and from the studies.

    Returns the files, and one sentence for each run, study and record that does not count. Files that would
    not change are left alone, and what an earlier call wrote and no page needs is removed; files of other
    origin stay. ValueError where `root` does not exist.
    """
    runs, problems = counted_runs(root)
    folder.mkdir(parents=True, exist_ok=True)
    glance = _draw_comparison(runs, folder)
    curves = _draw_losses(runs, folder)
    found, unreadable = studies.all_studies()
    states = [studies.state_of(study, studies.studies_root()) for study in found]
    varied = _draw_variations(states, folder)
    texts = {
        **{group.file: _group_text(group, runs) for group in GROUPS},
        **{f"paper_{group.file}": _paper_text(group.start) for group in GROUPS if group.start},
        "glance": _glance_text(list(comparisons(runs)), glance),
        "progress": _progress_text(runs),
        "missing": _missing_text(runs),
        "runs": _markdown(_all_runs(runs), "There is no run yet."),
        **{f"losses_{variant}": _losses_text(variant, curves) for variant in VARIANTS},
    }
    texts |= {"studies": _studies_text(states, varied), "equilibria": _equilibria_text(states)}
    problems += [*unreadable, *(problem for state in states for problem in state.problems)]
    files = [
        *glance,
        *curves,
        *varied.values(),
        *(_write(folder / f"{name}.md", text) for name, text in texts.items()),
    ]
    _remove_stale(folder, {path.name for path in files})
    return files, problems


def _remove_stale(folder: Path, current: set[str]) -> None:
    """Remove what an earlier report wrote and this one did not, and note what this one wrote."""
    noted = folder / WRITTEN
    earlier = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
    for name in set(earlier) - current:
        if name == Path(name).name:
            (folder / name).unlink(missing_ok=True)
    _write(noted, "".join(f"{name}\n" for name in sorted(current)))


def _write(path: Path, text: str) -> Path:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with whole_file(path) as file:
            file.write(text.encode())
    return path


def _markdown(rows: Iterable[dict[str, Any]], otherwise: str) -> str:
    """A Markdown table, or a sentence where it has no rows."""
    table = pd.DataFrame(rows)
    if table.empty:
        return otherwise + "\n"
    return table.map(_in_a_cell).to_markdown(index=False, disable_numparse=True) + "\n"


def _in_a_cell(value: object) -> str:
    """The bar of q(z|x) is no border, and a number stays on one line with its ±."""
    return str(value).replace("|", "\\|").replace(" ± ", "\u00a0±\u00a0")


def _dropdown(title: str, text: str) -> str:
    return f"````{{dropdown}} {title}\n{text}````\n"


# Paper | ours, one row an experiment


def _group_of(recipe: Recipe) -> Group:
    return next(group for group in GROUPS if recipe.reproduces.startswith(group.start))


def _group_text(group: Group, runs: RunGroups) -> str:
    """One row for each experiment, and folded away how its runs differ from the paper's setting."""
    recipes = [recipe for name in recipe_names() if _group_of(recipe := get_recipe(name)) == group]
    experiments = [
        (recipe, setting, runs[recipe.name, setting])
        for recipe in recipes
        for setting in SETTINGS
        if (recipe.name, setting) in runs
    ]
    experiments += [
        (recipe, "laptop", [])
        for recipe in recipes
        if not any((recipe.name, setting) in runs for setting in SETTINGS)
    ]
    rows = [_experiment_row(group, recipe, setting, seeds) for recipe, setting, seeds in experiments]
    shown = [name for name in dict.fromkeys(n for row in rows for n in row) if _any_value(rows, name)]
    table = _markdown(({name: row.get(name, NO_NUMBER) for name in shown} for row in rows), "No recipe yet.")
    why = [_why(seeds[0]) for _, _, seeds in experiments if seeds]
    return (
        table
        + "\n"
        + _dropdown("How these runs differ from the paper's setting", "".join(why) or "No run.\n")
    )


def _any_value(rows: Sequence[dict[str, str]], column: str) -> bool:
    return any(row.get(column, NO_NUMBER) != NO_NUMBER for row in rows)


def _experiment_row(group: Group, recipe: Recipe, setting: str, runs: Sequence[Run]) -> dict[str, str]:
    numbers = {number.metric: number for number in paper_numbers(recipe.name)}
    compared = [name for name in group.metrics if any(n.metric == name for n in _of_group(group))]
    what = re.sub(r" and Figure \d+", "", recipe.reproduces.removeprefix(group.start)).lstrip(", ")
    row = {"experiment": what + (" (paper setting)" if setting == "paper" else "")}
    for name in group.metrics:
        head = HEADS[name]
        if name in compared:
            row[f"paper, {head}"] = numbers[name].text if name in numbers else NO_NUMBER
            head = f"ours, {head}"
        row[head] = mean_and_spread(values_of(runs, name), name)
    row["seeds"] = str(len(runs)) if runs else "no run yet"
    return row


def _of_group(group: Group) -> list[Any]:
    return [number for number in PAPER if number.recipe and number.where.startswith(group.start)] * bool(
        group.start
    )


def _why(run: Run) -> str:
    setting = "" if run.recipe.setting == "laptop" else f" ({run.recipe.setting} setting)"
    return f"- `{run.recipe.name}`{setting}: {'; '.join(deviations(run.recipe)) or 'as in that setting'}.\n"


def _paper_text(where: str) -> str:
    """A table of the paper as it is printed there, with every method."""
    numbers = [number for number in PAPER if number.where.startswith(where)]
    columns: dict[str, dict[str, str]] = {}
    for number in sorted(numbers, key=lambda number: number.where):
        part = number.where.removeprefix(where).lstrip(", ")
        title = f"{part}: {metric_of(number.metric).title}"
        columns.setdefault(title, {})[number.method] = number.text
    table = pd.DataFrame(columns, index=list(dict.fromkeys(number.method for number in numbers)))
    rows = table.fillna(NO_NUMBER).reset_index(names="method").to_dict("records")
    return _markdown(rows, "The paper prints no number here.")  # type: ignore[arg-type]


# At a glance


def _glance_text(found: Sequence[Comparison], pictures: Sequence[Path]) -> str:
    if not found:
        return "No run measures a number of the paper yet.\n"
    pages = [
        f"```{{figure}} _tables/{path.name}\n:alt: Test errors of the paper and ours\n\n"
        "Test error in percent: a point for each of our seeds, a mark for the paper's value and its ±.\n```\n"
        for path in pictures
    ]
    return (
        _verdict(found) + "\n" + "".join(pages) + "\n" + _dropdown("The same as numbers", _gap_table(found))
    )


def _verdict(found: Sequence[Comparison]) -> str:
    reached = [one for one in found if one.reached]
    sentence = (
        f"Of {len(found)} numbers of the paper that runs of ours have measured, {len(reached)}"
        f" {'is' if len(reached) == 1 else 'are'} reached and {len(found) - len(reached)} not."
    )
    if reached:
        sentence += f" Reached are {'; '.join(map(_with_caveat, reached))}."
    errors = [one for one in found if one.number.metric == "error" and not one.reached]
    if errors:
        last = max(errors, key=lambda one: one.behind)
        sentence += (
            f" The error that is furthest behind is that of {_where(last)}: {last.behind:.1f} points above"
            " the paper's."
        )
    return sentence + "\n"


def _where(one: Comparison) -> str:
    return place_of(get_recipe(one.number.recipe or ""), one.number)


def _with_caveat(one: Comparison) -> str:
    """Where a number stands in the paper, and why reaching it is not the whole of reproducing it."""
    recipe = get_recipe(one.number.recipe or "", one.setting)
    if isinstance(recipe.model, BaselineSettings):
        caveat = " (the baseline, without an autoencoder)"
    elif recipe.start:
        stages = ("two", "three", "four")[len(stages_before(recipe)) - 1]
        caveat = f" (trained in {stages} stages, where the paper has one)"
    elif one.number.metric == "log_likelihood_10m":
        caveat = " (with sigma chosen anew)"
    else:
        caveat = ""
    return _where(one) + caveat


def _gap_table(found: Sequence[Comparison]) -> str:
    return _markdown((_gap_row(one) for one in found), "")


def _gap_row(one: Comparison) -> dict[str, str]:
    metric = metric_of(one.number.metric)
    unit = metric.unit.replace("%", "points")
    row = {
        "number": place_of(get_recipe(one.number.recipe or ""), one.number, one.number.metric),
        "paper": one.number.text,
        "ours": mean_and_spread(one.values, one.number.metric),
        "seeds": str(len(one.values)),
        "behind by": f"{one.behind:+.{metric.decimals}f} {unit}",
        "verdict": "reached" if one.reached else "falls short",
    }
    return row if one.setting == "laptop" else row | {"number": f"{row['number']} (paper setting)"}


# How the errors fell


def _progress_text(runs: RunGroups) -> str:
    """The validation error along the way, and a sentence on what the drop of the rates did."""
    rows, lower, dropped = [], 0, 0
    for run in _first_runs(runs):
        history = run.history()
        drop = run.recipe.training.drops[0] if run.recipe.training.drops else None
        if "validation_error" not in history:
            continue
        error = history.set_index("epoch")["validation_error"].dropna()
        rows.append(_progress_row(run, error, drop))
        if drop is not None and drop in error.index:
            dropped += 1
            lower += bool(error.iloc[-1] < error[drop])
    sentence = (
        f"In {lower} of the {dropped} runs below whose error was taken in the last epoch before the rates"
        " drop, the validation error at the end is lower than there.\n"
    )
    return (sentence if dropped else "") + "\n" + _markdown(rows, "No run follows an error yet.")


def _progress_row(run: Run, error: pd.Series, drop: int | None) -> dict[str, str]:
    row = {"run": f"`{run.recipe.name}`" + (" (paper setting)" if run.recipe.setting == "paper" else "")}
    for epoch in MOMENTS:
        row[f"epoch {epoch}"] = f"{error[epoch]:.1f}" if epoch in error.index else NO_NUMBER
    row["before the drop"] = f"{error[drop]:.1f} ({drop})" if drop in error.index else NO_NUMBER
    row["end"] = f"{error.iloc[-1]:.1f} ({error.index[-1]:.0f})"
    return row


# What is missing, and what there is


def _missing_text(runs: RunGroups) -> str:
    """The command for every recipe and setting without a run, and its time as far as known."""
    missing = {setting: list(_missing_rows(runs, setting)) for setting in SETTINGS}
    later = "".join(f"- {line}\n" for line in _later_numbers(runs))
    laptop = _markdown(missing["laptop"], "Every recipe has a run in the laptop setting.")
    paper = _markdown(missing["paper"], "Every recipe has a run in the paper's setting.")
    return laptop + "\n" + later + "\n" + _dropdown("In the paper's setting", paper)


def _missing_rows(runs: RunGroups, setting: Any) -> Iterator[dict[str, str]]:
    for recipe in (get_recipe(name, setting) for name in recipe_names()):
        if (recipe.name, setting) not in runs:
            option = "" if setting == "laptop" else f" --setting {setting}"
            yield {
                "reproduces": recipe.reproduces,
                "command": f"`aae train {recipe.name}{option}`",
                "time": str(expected_time(recipe, runs) or "not known yet"),
            }


def _later_numbers(runs: RunGroups) -> Iterator[str]:
    """Numbers of the paper that a run does not bring along, and how to add them."""
    for number in PAPER:
        for setting in SETTINGS:
            group = runs.get((number.recipe or "", setting), [])
            if group and number.metric == "log_likelihood_10m" and not values_of(group, number.metric):
                command = f"aae evaluate {number.recipe} --setting {setting} --samples 10000000"
                yield f"{number.where}, ten million samples: `{command}`"


def _all_runs(runs: RunGroups) -> Iterator[dict[str, str]]:
    for run in (run for group in runs.values() for run in group):
        yield {
            "run": f"`{run.name}`",
            "trained in": f"{run.seconds / 60:.1f} min, {run.trained_on}",
            "code": ", ".join(dict.fromkeys(part.commit for part in run.parts)),
            "results": results_in_words(run.results),
        }


# Studies

Pictures = dict[tuple[str, str], Path]
"""The picture of each study and recipe that has records."""


def _studies_text(states: Sequence[State], pictures: Pictures) -> str:
    """A count, then for each study its question, what was varied, what came out, and the verdict."""
    done = sum(len(state.records) for state in states)
    open_ones = sum(len(state.missing) for state in states)
    texts = [f"{done or 'None'} of the {done + open_ones} trainings that the studies ask for "
             f"{'is' if done < 2 else 'are'} recorded{'' if done else ' yet'}.\n"]  # fmt: skip
    return "\n".join([*texts, *(_study_text(state, pictures) for state in states)])


def _study_text(state: State, pictures: Pictures) -> str:
    study = state.study
    parts = [f"(study-{study.name})=\n### `{study.name}`\n", f"**{study.question}**\n"]
    if state.records:
        parts += [_recipe_findings(state, recipe, pictures) for recipe in study.recipes]
    else:
        parts.append(f"Not one training is recorded yet: `aae study {study.name}` makes them.\n")
    parts.append("".join(f"- {line}\n" for line in _incidents(state)))
    parts.append(f"**Verdict.** {study.verdict or 'The question is open.'}\n")
    parts.append(_dropdown("What each variation changes", _changes_text(state)))
    return "\n".join(part for part in parts if part)


def _recipe_findings(state: State, recipe: str, pictures: Pictures) -> str:
    table = _markdown(studies.findings_rows(state, recipe), "")
    path = pictures.get((state.study.name, recipe))
    if path is None:
        return f"`{recipe}`:\n\n{table}"
    measure = metric_of(state.study.measure)
    better = "higher" if measure.higher_is_better else "lower"
    several = "; the band reaches from the lowest to the highest seed" if len(state.study.seeds) > 1 else ""
    return (
        f"`{recipe}`, {_budget(state, recipe)}:\n\n{table}\n"
        f"```{{figure}} _tables/{path.name}\n"
        f":alt: {measure.title} of {recipe} over the epochs, a line for each variation\n\n"
        f"`{recipe}`: {measure.title} over the epochs, {better} is better{several}.\n```\n"
    )


def _budget(state: State, recipe: str) -> str:
    """How many epochs the recorded trainings were given."""
    epochs = {trial.recipe.training.epochs for trial, _ in state.records if trial.recipe.name == recipe}
    return f"{' or '.join(map(str, sorted(epochs)))} epochs"


def _incidents(state: State) -> Iterator[str]:
    """What is missing, failed or not counted."""
    if state.records and state.missing:
        yield f"{len(state.missing)} trainings are not recorded yet."
    for trial, record in state.failed:
        yield f"{trial.name} failed: {record.failure}"
    yield from state.problems


def _changes_text(state: State) -> str:
    study = state.study
    lines = [f"- In all of them: {_fields_in_words(study.base)}.\n"] if study.base else []
    starts = {
        "recipe": [],
        "scratch": ["random initial weights"],
        "right": ["two epochs with every label first"],
    }
    for variation in study.variations:
        words = [*starts[variation.start], *[_fields_in_words(variation.changes)] * bool(variation.changes)]
        lines.append(f"- {variation.name}: {', '.join(words) or 'nothing'}.\n")
    made = sorted({f"{part.commit} on {part.place}" for _, record in state.records for part in record.parts})
    # the seeds of a stack were trained in the same seconds
    seconds = {(t.recipe.name, t.variation.name, r.seconds): r.seconds for t, r in state.records}
    minutes = sum(seconds.values()) / 60
    if made:
        lines.append(f"- Made by the code {', '.join(made)}, in {minutes:.0f} minutes.\n")
    return "".join(lines)


def _fields_in_words(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name} = {json.dumps(value)}`" for name, value in _dotted(changes))


def _dotted(changes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in changes.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _equilibria_text(states: Sequence[State]) -> str:
    """Where a recipe stays when it is started right, beside where it arrives from random weights."""
    pairs = [pair for state in states for pair in _equilibria(state)]
    if not pairs:
        return "No recipe has been started right yet.\n"
    both = [(one, other) for _, one, other in pairs if other is not None]
    better = sum(one.end < other.end for one, other in both)
    several = f"{better} of the {len(both)} recipes below that were"
    where = "the one recipe below that was" if better == len(both) == 1 else several
    sentence = (
        f"In {where} trained both ways, the error is lower at the end of a training that was"
        " started right than from random weights in as many epochs.\n"
    )
    return (sentence + "\n" if both else "") + _markdown((_equilibrium_row(*pair) for pair in pairs), "")


@dataclass(frozen=True)
class Course:
    """How an error moved in a variation, averaged over its seeds, in percent."""

    measure: str
    prepared: float | None
    """After the epochs with every label, where there were some."""
    end: float
    epochs: int

    @classmethod
    def of(cls, state: State, recipe: str, start: str) -> Course | None:
        """The course of the variation that starts so; None where none has reached its end."""
        curves, measure = state.curves(recipe), state.study.measure
        names = [variation.name for variation in state.study.variations if variation.start == start]
        mine = curves[curves["variation"].isin(names[:1])]
        if mine.empty:
            return None
        mean = mine.groupby("epoch")[measure].mean()
        free = mean[mean.index > 0]
        return cls(measure, mean.get(0.0), free.iloc[-1], len(free))


def _equilibria(state: State) -> Iterator[tuple[str, Course, Course | None]]:
    for recipe in state.study.recipes:
        right = Course.of(state, recipe, "right")
        if right is not None:
            yield recipe, right, Course.of(state, recipe, "scratch")


def _equilibrium_row(recipe: str, right: Course, scratch: Course | None) -> dict[str, str]:
    metric = right.measure.removeprefix(VALIDATION)
    paper = [number.text for number in paper_numbers(recipe) if number.metric == metric]
    return {
        "recipe": f"`{recipe}`",
        "after two epochs with every label": f"{right.prepared:.1f}",
        "then left to itself": f"{right.end:.1f} ({right.epochs} epochs)",
        "from random weights": f"{scratch.end:.1f} ({scratch.epochs} epochs)" if scratch else NO_NUMBER,
        "paper, test images": paper[0] if paper else NO_NUMBER,
    }


# Pictures


def _draw_variations(states: Sequence[State], folder: Path) -> Pictures:
    """The measure of each study over the epochs, a picture for each recipe that has records."""
    pictures: Pictures = {}
    for state in states:
        for recipe in state.study.recipes:
            curves, measure = state.curves(recipe), state.study.measure
            if curves["epoch"].nunique() > 1:
                name = f"study-{state.study.name}-{recipe}-{_digest([curves.to_csv(), measure])}"
                path = pictures[state.study.name, recipe] = folder / f"{name}.svg"
                _draw(path, lambda figures, table=curves, measure=measure: figures.variations(table, measure))
    return pictures


def _first_runs(runs: RunGroups) -> list[Run]:
    """The run with the lowest seed of each recipe and setting, in the order of the paper."""
    order = [(name, setting) for name in recipe_names() for setting in SETTINGS]
    return [runs[key][0] for key in order if key in runs]


def _draw_losses(runs: RunGroups, folder: Path) -> dict[Path, list[Run]]:
    """The loss curves of every recipe and setting, all its seeds in one picture."""
    pictures: dict[Path, list[Run]] = {}
    for first in _first_runs(runs):
        seeds = runs[first.recipe.name, first.recipe.setting]
        histories = [run.history() for run in seeds]
        name = f"losses-{first.recipe.name}-{first.recipe.setting}"
        path = folder / f"{name}-{_digest(history.to_csv() for history in histories)}.svg"
        pictures[path] = seeds
        _draw(path, lambda figures, histories=histories: figures.losses(histories))
    return pictures


def _draw_comparison(runs: RunGroups, folder: Path) -> list[Path]:
    """All error rates of the paper beside those of our seeds; no picture without runs."""
    rows = [
        {
            "name": _where(one) + (" (paper setting)" if one.setting == "paper" else ""),
            "paper": one.number.value,
            "paper_std": one.number.spread,
            "ours": list(one.values),
        }
        for one in comparisons(runs)
        if one.number.metric == "error"
    ]
    if not rows:
        return []
    path = folder / f"comparison-{_digest([repr(rows)])}.svg"
    _draw(path, lambda figures: figures.comparison(rows))
    return [path]


def _digest(texts: Iterable[str]) -> str:
    """In the name of a picture it keeps it from being drawn again while numbers and drawing stay the same."""
    figures = Path(aae_utils.__file__).parent / "figures"
    code = [path.read_text("utf-8") for path in [*sorted(figures.glob("*.py")), Path(__file__)]]
    return hashlib.sha256("".join([*code, *texts]).encode()).hexdigest()[:8]


def _draw(path: Path, draw: Callable[[Any], Any]) -> None:
    if path.exists():
        return
    import matplotlib

    from aae_utils import figures  # here, since drawing libraries take seconds to import

    with matplotlib.rc_context({"svg.hashsalt": "aae"}), whole_file(path) as file:
        figures.use_style()
        draw(figures).savefig(file, format="svg", metadata={"Date": None})


def _losses_text(variant: str, pictures: dict[Path, list[Run]]) -> str:
    """The loss curves of each recipe of a variant, one at a time."""
    tabs = [
        f":::{{tab-item}} {_tab_title(seeds[0])}\n"
        f"```{{figure}} _tables/{path.name}\n"
        f":alt: Losses of {seeds[0].recipe.name} over the epochs\n\n"
        f"{seeds[0].recipe.reproduces}: {_seeds_in_words(seeds)}.\n```\n:::\n"
        for path, seeds in pictures.items()
        if seeds[0].recipe.model.variant == variant
    ]
    return f"::::{{tab-set}}\n{''.join(tabs)}::::\n" if tabs else "There is no run of this model yet.\n"


def _tab_title(run: Run) -> str:
    return run.recipe.name + ("" if run.recipe.setting == "laptop" else f", {run.recipe.setting}")


def _seeds_in_words(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"seed {runs[0].seed}"
    return f"mean of {len(runs)} seeds, and a band from the lowest to the highest"
