"""The paper's numbers beside ours: tables and loss curves for notebooks and book, from runs on disk."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from aae_utils.recipes import SETTINGS, Recipe, Setting, build_model, get_recipe, recipe_names
from aae_utils.runs import METRICS as METRICS_FILE
from aae_utils.runs import Run, list_runs, runs_root

NOTHING = "-"


@dataclass(frozen=True)
class Metric:
    """How a number of `run.results` is called, in which unit it is, and which way is better."""

    label: str
    unit: str = ""
    decimals: int = 2
    higher_is_better: bool = False

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS = {
    "error": Metric("test error", "%"),
    "majority_vote_error": Metric("test error by majority vote", "%"),
    "nmi": Metric("normalized mutual information", "", 3, True),
    "ari": Metric("adjusted Rand index", "", 3, True),
    "clusters": Metric("clusters", "", 0),
    "empty_clusters": Metric("empty clusters", "", 0),
    "log_likelihood": Metric("log-likelihood, 10,000 samples", "nats", 1, True),
    "log_likelihood_10m": Metric("log-likelihood, 10,000,000 samples", "nats", 1, True),
    "standard_error": Metric("standard error of the log-likelihood over test images", "nats", 1),
    "standard_error_10m": Metric("standard error with 10,000,000 samples over test images", "nats", 1),
    "sigma": Metric("sigma of the Parzen window", "", 3),
    "sigma_10m": Metric("sigma of the Parzen window, 10,000,000 samples", "", 3),
    "region_share": Metric("codes in the region of their label", "%", 1, True),
    "sliced_wasserstein": Metric("sliced Wasserstein distance of q(z) from p(z)", "", 3),
    "reconstruction_error": Metric("reconstruction error, mean square per pixel", "", 4),
    "style_linear_probe_error": Metric(
        "error of a linear classifier that reads the digit from the style", "%", 1, True
    ),
    "style_mlp_probe_error": Metric(
        "error of a small network that reads the digit from the style", "%", 1, True
    ),
}
# what a run says about itself rather than measures
_NOT_MEASURED = ("clusters", "sigma", "sigma_10m")


@dataclass(frozen=True)
class PaperNumber:
    """One number that the paper prints; `text` holds its digits as they are printed."""

    where: str
    method: str
    metric: str
    text: str
    recipe: str | None = None

    @property
    def value(self) -> float:
        """The number itself, in `unit`."""
        return float(self.text.split("±")[0])

    @property
    def spread(self) -> float | None:
        """What stands after the ±; None where the paper gives none."""
        _, sign, spread = self.text.partition("±")
        return float(spread) if sign else None

    @property
    def unit(self) -> str:
        """Percent or nats."""
        return METRICS[self.metric].unit


AAE = "AAE"

_LIKELIHOOD_COLUMNS = (
    ("Table 1, MNIST", "log_likelihood"),
    ("Table 1, MNIST", "log_likelihood_10m"),
    ("Table 1, TFD", "log_likelihood"),
    ("Table 1, TFD", "log_likelihood_10m"),
)
_LIKELIHOODS = {
    "DBN": ("138 ± 2", "", "1909 ± 66", ""),
    "Stacked CAE": ("121 ± 1.6", "", "2110 ± 50", ""),
    "Deep GSN": ("214 ± 1.1", "", "1890 ± 29", ""),
    "GAN": ("225 ± 2", "386", "2057 ± 26", ""),
    "GMMN + AE": ("282 ± 2", "", "2204 ± 20", ""),
    AAE: ("340 ± 2", "427", "2252 ± 16", "2522"),
}
_ERROR_COLUMNS = tuple(
    (f"Table 2, {column}", "error")
    for column in ("MNIST 100 labels", "MNIST 1000 labels", "MNIST all labels", "SVHN 1000 labels")
)
_ERRORS = {
    "NN baseline": ("25.80", "8.73", "1.25", "47.50"),
    "VAE (M1) + TSVM": ("11.82 ± 0.25", "4.24 ± 0.07", "", "55.33 ± 0.11"),
    "VAE (M2)": ("11.97 ± 1.71", "3.60 ± 0.56", "", ""),
    "VAE (M1 + M2)": ("3.33 ± 0.14", "2.40 ± 0.02", "0.96", "36.02 ± 0.10"),
    "VAT": ("2.33", "1.36", "0.64 ± 0.04", "24.63"),
    "CatGAN": ("1.91 ± 0.1", "1.73 ± 0.18", "0.91", ""),
    "Ladder": ("1.06 ± 0.37", "0.84 ± 0.08", "0.57 ± 0.02", ""),
    "ADGM": ("0.96 ± 0.02", "", "", "16.61 ± 0.24"),
    AAE: ("1.90 ± 0.10", "1.60 ± 0.08", "0.85 ± 0.02", "17.70 ± 0.30"),
}
_CLUSTERING_COLUMNS = tuple((f"Table 3, {count} clusters", "error") for count in (16, 20, 30))
_CLUSTERINGS = {"CatGAN": ("", "9.70", ""), AAE: ("9.55 ± 2.05", "", "4.10 ± 1.13")}
_REDUCTION_COLUMNS = tuple(
    (f"Figure 11{part}", "error")
    for part in (
        "A, 2-D, 1000 labels",
        "B, 2-D, 100 labels",
        "C, 2-D, 20 clusters",
        "D, 10-D, 100 labels",
    )
)
_REDUCTIONS = {AAE: ("4.20", "6.08", "13.95", "3.90")}
# which recipe measures the same as a row; rows of other methods have none
_RECIPE_OF = {
    ("Table 1, MNIST", AAE): "likelihood-mnist",
    ("Table 1, TFD", AAE): "likelihood-tfd",
    ("Table 2, MNIST 100 labels", AAE): "semi-supervised-100",
    ("Table 2, MNIST 1000 labels", AAE): "semi-supervised-1000",
    ("Table 2, MNIST all labels", AAE): "semi-supervised-all",
    ("Table 2, SVHN 1000 labels", AAE): "semi-supervised-svhn-1000",
    ("Table 2, MNIST 100 labels", "NN baseline"): "baseline-100",
    ("Table 2, MNIST 1000 labels", "NN baseline"): "baseline-1000",
    ("Table 2, MNIST all labels", "NN baseline"): "baseline-all",
    ("Table 3, 16 clusters", AAE): "clustering-16",
    ("Table 3, 30 clusters", AAE): "clustering-30",
    ("Figure 11A, 2-D, 1000 labels", AAE): "reduction-1000",
    ("Figure 11B, 2-D, 100 labels", AAE): "reduction-100",
    ("Figure 11C, 2-D, 20 clusters", AAE): "reduction-unsupervised",
    ("Figure 11D, 10-D, 100 labels", AAE): "reduction-10d",
}


def _numbers(
    columns: Sequence[tuple[str, str]], rows: Mapping[str, tuple[str, ...]]
) -> Iterator[PaperNumber]:
    for method, texts in rows.items():
        for (where, metric), text in zip(columns, texts, strict=True):
            if text:
                recipe = _RECIPE_OF.get((where, method))
                yield PaperNumber(where, method, metric, text, recipe)


PAPER: tuple[PaperNumber, ...] = (
    *_numbers(_LIKELIHOOD_COLUMNS, _LIKELIHOODS),
    *_numbers(_ERROR_COLUMNS, _ERRORS),
    *_numbers(_CLUSTERING_COLUMNS, _CLUSTERINGS),
    *_numbers(_REDUCTION_COLUMNS, _REDUCTIONS),
)
"""Every number of Tables 1 to 3 and of Figure 11, the other methods' rows included."""


def paper_numbers(recipe: str) -> list[PaperNumber]:
    """What the paper reports for a recipe; nothing for figures without numbers."""
    return [number for number in PAPER if number.recipe == recipe]


# ------------------------------------------------------------------------------ paper | ours


def results_table(
    names: str | Sequence[str] | None = None, root: Path | None = None, why: bool = False
) -> pd.DataFrame:
    """The paper's numbers beside ours, from the runs below `root`.

    One row for each number of each recipe in `names` (default: all), indexed by "where" it stands; columns
    "paper", "ours" (mean ± standard deviation over seeds), "seeds" and "setting", and with `why` also
    "why they differ". "-" marks what the paper does not give or no run has measured. ValueError for an
    unknown recipe.
    """
    names = recipe_names() if names is None else [names] if isinstance(names, str) else list(names)
    recipes = [get_recipe(name) for name in names]
    runs = _grouped(list_runs(root)[0])
    rows = [row for recipe in recipes for row in _recipe_rows(recipe, runs)]
    table = pd.DataFrame(rows, columns=COLUMNS).set_index("where")
    return table if why else table.drop(columns="why they differ")


COLUMNS = ["where", "paper", "ours", "seeds", "setting", "why they differ"]
RunGroups = dict[tuple[str, Setting], list[Run]]


def _grouped(runs: Iterable[Run]) -> RunGroups:
    groups: RunGroups = {}
    for run in sorted(runs, key=lambda run: run.seed):
        groups.setdefault((run.recipe.name, run.recipe.setting), []).append(run)
    return groups


def _recipe_rows(recipe: Recipe, runs: RunGroups) -> Iterator[dict[str, Any]]:
    """The rows of one recipe: each setting that has runs, or one row without any."""
    settings = [setting for setting in SETTINGS if (recipe.name, setting) in runs]
    if not settings:
        yield from _rows(recipe, NOTHING, [])
    for setting in settings:
        yield from _rows(recipe, setting, runs[recipe.name, setting])


def _rows(recipe: Recipe, setting: str, runs: list[Run]) -> Iterator[dict[str, Any]]:
    numbers = {number.metric: number for number in paper_numbers(recipe.name)}
    measured = dict.fromkeys(metric for run in runs for metric in run.results)
    known = [name for name in METRICS if name in measured]
    others = [n for n in dict.fromkeys([*known, *measured]) if n not in (*numbers, *_NOT_MEASURED)]
    differences = "; ".join(deviations(runs[0].recipe)) if runs else NOTHING
    for name in [*numbers, *others] or [""]:
        values = [run.results[name] for run in runs if name in run.results]
        number = numbers.get(name)
        yield {
            "metric": name,
            "where": _place(recipe, number, name),
            "paper": number.text if number else NOTHING,
            "ours": mean_and_spread(values, name),
            "seeds": len(values),
            "setting": setting,
            "why they differ": differences or "as in the paper's setting",
        }


def _place(recipe: Recipe, number: PaperNumber | None, metric: str) -> str:
    where = recipe.reproduces
    if number is not None:
        where = number.where if number.method == AAE else f"{number.where}, {number.method}"
    return f"{where}: {metric_of(metric).title}" if metric else where


def metric_of(name: str) -> Metric:
    """What is known about a number of `run.results`; an unknown one keeps its own name as the label."""
    if name in METRICS:
        return METRICS[name]
    return Metric(name.replace("_", " "), "%" if name.endswith("_error") else "", 3)


def mean_and_spread(values: Sequence[float], metric: str) -> str:
    """`mean ± standard deviation` (over n - 1) in the metric's decimals; "-" for no value, no ± for one."""
    if not values:
        return NOTHING
    decimals = metric_of(metric).decimals
    mean = f"{statistics.fmean(values):.{decimals}f}"
    return f"{mean} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else mean


# ------------------------------------------------------------------------------ deviations

# For each field of a recipe the words for a difference; {ours} and {paper} are its two values.
_DIFFERENCES = {
    "training.epochs": "epochs: {ours} instead of {paper}",
    "training.batch_size": "minibatches of {ours} images instead of {paper}",
    "training.drops": "rates lowered after epoch {ours} instead of {paper}",
    "training.drop_factor": "rates multiplied by {ours} at a drop instead of {paper}",
    "training.averaging": "averaged weights (decay {ours}) instead of the last ones",
    "training.precision": "matrix products in {ours} instead of {paper}",
    "data.dataset": "{ours} instead of {paper}",
    "data.pool": "training images {ours!r} instead of {paper!r}",
    "data.labels": "{ours} labels instead of {paper}",
    "data.standardize": "standardized pixels: {ours} instead of {paper}",
    "data.images": "only the first {ours} training images",
    "data.held_out": "only the first {ours} validation and test images",
    "model.variant": "model {ours} instead of {paper}",
    "model.prior": "{ours} prior instead of {paper}",
    "model.code_dim": "{ours} code dimensions instead of {paper}",
    "model.prior_std": "prior of standard deviation {ours} instead of {paper}",
    "model.classes": "{ours} classes instead of {paper}",
    "model.units": "{ours} units in the layers of encoder and decoder instead of {paper}",
    "model.discriminator_units": "{ours} units in the discriminator's layers instead of {paper}",
    "model.posterior": "{ours} posterior instead of {paper}",
    "model.output": "{ours} output instead of {paper}",
    "model.input_noise": "input noise of standard deviation {ours} instead of {paper}",
    "model.input_dropout": "input dropout of {ours} instead of {paper}",
    "model.batch_norm": "batch normalization: {ours} instead of {paper}",
    "model.reduction": "reconstruction error as {ours} over pixels instead of {paper}",
    "model.init_std": "initial weights of standard deviation {ours} instead of {paper}",
    "model.supervised": "classification phase: {ours} instead of {paper}",
    "model.label_scale": "one-hot labels of height {ours} instead of {paper}",
    "model.code_noise": "noise of standard deviation {ours} on the decoder's code instead of {paper}",
    "model.head_distance": "cluster heads at least {ours} apart instead of {paper}",
    "model.head_penalty": "weight {ours} on the heads' distance instead of {paper}",
    "model.fixed_head_scale": "scale {ours} of the fixed cluster heads instead of {paper}",
}
for _group in ("reconstruction", "adversarial", "classification"):
    _DIFFERENCES |= {
        f"training.{_group}.learning_rate": f"{_group} rate {{ours}} instead of {{paper}}",
        f"training.{_group}.momentum": f"{_group} momentum {{ours}} instead of {{paper}}",
        f"training.{_group}.optimizer": f"{{ours}} instead of {{paper}} for {_group}",
        f"training.{_group}.constant": f"constant {_group} rate: {{ours}} instead of {{paper}}",
    }
_LABELS_OF_A_RECIPE = ("name", "reproduces", "setting", "keep", "likelihood")
_WITHOUT_DISCRIMINATOR = ("vae", "classifier")


def deviations(recipe: Recipe) -> list[str]:
    """In words, each field that differs from the recipe's `paper` setting; ValueError for an unknown name."""
    ours, paper = _fields(recipe), _fields(get_recipe(recipe.name, "paper"))
    if recipe.model.variant in _WITHOUT_DISCRIMINATOR:
        del ours["model.discriminator_units"]
    return [
        _difference(name).format(ours=_in_words(ours[name]), paper=_in_words(paper[name]))
        for name in ours
        if ours[name] != paper[name]
    ]


def _difference(name: str) -> str:
    """The words for a field; one that has none is called by its own name."""
    plain = name.rpartition(".")[2].replace("_", " ")
    return _DIFFERENCES.get(name, plain + ": {ours} instead of {paper}")


def _fields(recipe: Recipe) -> dict[str, Any]:
    """Every field by its dotted name, in the order of `_DIFFERENCES`."""
    values = {name: v for name, v in recipe.to_json().items() if name not in _LABELS_OF_A_RECIPE}
    flat: dict[str, Any] = dict(_flattened(values, ""))
    return {name: flat.pop(name) for name in _DIFFERENCES if name in flat} | flat


def _flattened(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "auto":
        return "bfloat16 (where the machine is faster at it)"
    if value is None or value == () or value == 0:
        return "none"
    if isinstance(value, tuple):
        return " and ".join(f"{item:,}" for item in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


# ------------------------------------------------------------------------------ time


@dataclass(frozen=True)
class Duration:
    """How long a run takes: measured, or reckoned from a run of the other setting."""

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


def machine_of(run: Run) -> str:
    """The device on which a run was trained, with the threads that a processor gave it."""
    device, threads = run.environment.get("device", "unknown"), run.environment.get("threads", "?")
    return f"cpu, {threads} thread{'' if threads == 1 else 's'}" if device == "cpu" else str(device)


def expected_time(recipe: Recipe, runs: RunGroups) -> Duration | None:
    """The median time of a recipe's runs; else reckoned from its other setting; None without any run.

    The reckoning takes time as proportional to parameters times epochs, on the machine of the known run.
    """
    known = runs.get((recipe.name, recipe.setting))
    if known:
        return Duration(statistics.median(run.seconds for run in known), machine_of(known[0]), True)
    for other in (runs[recipe.name, s][0] for s in SETTINGS if (recipe.name, s) in runs):
        if other.recipe.data == recipe.data:
            work = _work(recipe, other.image_dim) / _work(other.recipe, other.image_dim)
            return Duration(other.seconds * work, machine_of(other), False)
    return None


def _work(recipe: Recipe, image_dim: int) -> float:
    with torch.device("meta"):
        model = build_model(recipe.model, image_dim)
    return recipe.training.epochs * sum(weights.numel() for weights in model.parameters())


# ------------------------------------------------------------------------------ the command's tables


def recipes_table(recipes: Iterable[Recipe], root: Path | None = None) -> pd.DataFrame:
    """What each recipe reproduces, how long its runs took, and their first number: the paper's and ours."""
    runs = _grouped(list_runs(root)[0])
    return pd.DataFrame(_recipe_line(recipe, runs) for recipe in recipes)


def _recipe_line(recipe: Recipe, runs: RunGroups) -> dict[str, str]:
    group = runs.get((recipe.name, recipe.setting), [])
    first = next(_rows(recipe, recipe.setting, group))
    metric = str(first["where"]).rpartition(": ")[2] if group or first["paper"] != NOTHING else ""
    return {
        "recipe": recipe.name,
        "setting": recipe.setting,
        "reproduces": recipe.reproduces,
        "time": str(expected_time(recipe, runs)) if group else NOTHING,
        "number": metric,
        "paper": str(first["paper"]),
        "ours": str(first["ours"]),
        "seeds": str(first["seeds"]),
    }


def evaluation_table(run: Run, again: dict[str, float]) -> pd.DataFrame:
    """The numbers that a run stored beside those computed again."""
    return pd.DataFrame(
        {
            "number": metric_of(name).title,
            "stored": f"{run.results[name]:.4f}" if name in run.results else NOTHING,
            "again": f"{again[name]:.4f}" if name in again else NOTHING,
        }
        for name in dict.fromkeys([*run.results, *again])
    )


# ------------------------------------------------------------------------------ the book's tables

GROUPS = {
    "table_1": "Table 1",
    "table_2": "Table 2",
    "table_3": "Table 3",
    "figure_11": "Figure 11",
    "figures": "",
}


def tables_folder() -> Path:
    """Where the book reads the tables: `book/_tables` of the repository."""
    return Path(__file__).resolve().parent.parent / "book" / "_tables"


def write_report(root: Path | None = None, folder: Path | None = None) -> tuple[list[Path], list[str]]:
    """Write the tables and loss curves that the book includes, from the runs below `root`.

    Returns the files in `folder` (default: `book/_tables`) and one sentence for each folder below `root` that
    is not a finished run. Files that would not change are left alone.
    """
    root, folder = root or runs_root(), folder or tables_folder()
    folder.mkdir(parents=True, exist_ok=True)
    found, problems = list_runs(root)
    runs = _grouped(found)
    texts = {
        **{name: _group_markdown(name, runs) for name in GROUPS},
        **{f"paper_{name}": _paper_markdown(GROUPS[name]) for name in GROUPS if GROUPS[name]},
        "behind": _markdown(_distances(runs), "No run measures a number of the paper yet."),
        "missing": _markdown(_missing(runs), "No run is missing."),
        "runs": _markdown(_all_runs(found), "There is no run yet."),
    }
    pictures = _draw_comparison(runs, folder) + _draw_losses(runs, folder)
    for variant in dict.fromkeys(get_recipe(name).model.variant for name in recipe_names()):
        texts[f"losses_{variant}"] = _losses_markdown(variant, runs)
    texts["comparison"] = _comparison_markdown(pictures)
    _remove_others(folder, pictures)
    return pictures + [_write(folder / f"{name}.md", text) for name, text in texts.items()], problems


def _write(path: Path, text: str) -> Path:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path


def _markdown(table: pd.DataFrame, otherwise: str) -> str:
    """A Markdown table, or a sentence where it has no rows."""
    if table.empty:
        return otherwise + "\n"
    table = table.map(_in_a_cell)
    return table.to_markdown(index=False, disable_numparse=True) + "\n"


def _in_a_cell(value: object) -> str:
    """The bar of q(z|x) is no border, and a number stays on one line with its ±."""
    return str(value).replace("|", "\\|").replace(" ± ", "\u00a0±\u00a0")


def _group_of(recipe: Recipe) -> str:
    return next(name for name, start in GROUPS.items() if recipe.reproduces.startswith(start))


def _group_markdown(group: str, runs: RunGroups) -> str:
    """Paper | ours for the recipes of one table or figure; a recipe without runs shows its command."""
    recipes = [get_recipe(name) for name in recipe_names()]
    rows: list[dict[str, Any]] = []
    for recipe in recipes:
        if _group_of(recipe) == group:
            rows += _told_once(list(_recipe_rows(recipe, runs)), recipe)
    return _markdown(pd.DataFrame(rows, columns=COLUMNS), "Nothing belongs here.")


def _told_once(rows: list[dict[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """Say why numbers differ in the first row of each setting, and how to get what is missing."""
    told: set[str] = set()
    for row in rows:
        if row["setting"] == NOTHING:
            row["ours"], row["why they differ"] = "no run yet", f"`{command(recipe)}`"
        elif not row["seeds"]:
            row["ours"], row["why they differ"] = "not measured", _later_command(recipe, row)
        elif row["setting"] in told:
            row["why they differ"] = ""
        told.add(row["setting"])
    return rows


def command(recipe: Recipe, seed: int = 0) -> str:
    """What to type for one run of a recipe."""
    return f"aae train {recipe.name} --setting {recipe.setting} --seed {seed}"


def _later_command(recipe: Recipe, row: dict[str, Any]) -> str:
    """What to type for a number that a run does not bring along."""
    if row["metric"] == "log_likelihood_10m":
        return f"`aae evaluate {recipe.name} --setting {row['setting']} --samples 10000000`"
    return ""


def _paper_markdown(where: str) -> str:
    """A table of the paper as it is printed there, with every method."""
    numbers = [number for number in PAPER if number.where.startswith(where)]
    columns: dict[str, dict[str, str]] = {}
    for number in sorted(numbers, key=lambda number: number.where):
        part = number.where.removeprefix(where).lstrip(", ")
        title = f"{part}: {metric_of(number.metric).title}"
        columns.setdefault(title, {})[number.method] = number.text
    table = pd.DataFrame(columns, index=list(dict.fromkeys(number.method for number in numbers)))
    return _markdown(table.fillna(NOTHING).reset_index(names="method"), "Nothing belongs here.")


def _measured_numbers(runs: RunGroups) -> Iterator[tuple[PaperNumber, str, list[float]]]:
    for number in PAPER:
        for setting in SETTINGS:
            group = runs.get((number.recipe or "", setting), [])
            values = [run.results[number.metric] for run in group if number.metric in run.results]
            if values:
                yield number, setting, values


def _distances(runs: RunGroups) -> pd.DataFrame:
    """For each number of the paper that we measured: how far behind it we are, in its unit."""
    rows = []
    for number, setting, values in _measured_numbers(runs):
        metric = metric_of(number.metric)
        behind = statistics.fmean(values) - number.value
        behind = -behind if metric.higher_is_better else behind
        reached = behind <= (number.spread or 0.0)
        rows.append(
            {
                "where": _place(get_recipe(number.recipe or ""), number, number.metric),
                "paper": number.text,
                "ours": mean_and_spread(values, number.metric),
                "seeds": len(values),
                "setting": setting,
                "behind by": f"{behind:+.{metric.decimals}f} {metric.unit.replace('%', 'points')}",
                "verdict": "reached" if reached else "falls short",
            }
        )
    return pd.DataFrame(rows)


def _missing(runs: RunGroups) -> pd.DataFrame:
    """Every recipe and setting without a run: the command for it, and its time as far as known."""
    rows = []
    for recipe in (get_recipe(name, setting) for name in recipe_names() for setting in SETTINGS):
        if (recipe.name, recipe.setting) not in runs:
            time = expected_time(recipe, runs)
            rows.append(
                {
                    "reproduces": recipe.reproduces,
                    "setting": recipe.setting,
                    "command": f"`{command(recipe)}`",
                    "time": str(time or "not known yet"),
                }
            )
    return pd.DataFrame(rows)


def _all_runs(runs: list[Run]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "recipe": f"`{run.recipe.name}`",
            "setting": run.recipe.setting,
            "seed": run.seed,
            "epochs": run.recipe.training.epochs,
            "minutes": f"{run.seconds / 60:.1f}",
            "device": machine_of(run),
            "commit": run.environment.get("commit", "unknown"),
            "results": results_in_words(run.results),
        }
        for run in runs
    )


def results_in_words(results: dict[str, float]) -> str:
    """All numbers of a run in one line."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.{metric_of(name).decimals}f}"
        + (f" {metric_of(name).unit}" if metric_of(name).unit else "")
        for name, value in results.items()
    )


# ------------------------------------------------------------------------------ pictures


def _first_runs(runs: RunGroups) -> list[Run]:
    """The run with the lowest seed of each recipe and setting, in the order of the paper."""
    return [
        runs[name, setting][0] for name in recipe_names() for setting in SETTINGS if (name, setting) in runs
    ]


def _losses_name(run: Run) -> str:
    """The digest in the name keeps a picture from being drawn again while its numbers stay the same."""
    digest = hashlib.sha256((run.folder / METRICS_FILE).read_bytes()).hexdigest()[:8]
    return f"losses-{run.recipe.name}-{run.recipe.setting}-seed{run.seed}-{digest}.svg"


def _draw_losses(runs: RunGroups, folder: Path) -> list[Path]:
    pictures = {folder / _losses_name(run): run for run in _first_runs(runs)}
    for path, run in pictures.items():
        if not path.exists():
            from aae_utils import figures  # here, since drawing libraries take seconds to import

            _save_picture(partial(figures.losses, run.history()), path)
    return list(pictures)


def _draw_comparison(runs: RunGroups, folder: Path) -> list[Path]:
    """All error rates of the paper beside ours in one picture; none without runs."""
    rows = [
        {
            "name": f"{_place(get_recipe(number.recipe or ''), number, '')} ({setting})",
            "paper": number.value,
            "paper_std": number.spread,
            "ours": statistics.fmean(values),
            "ours_std": statistics.stdev(values) if len(values) > 1 else None,
        }
        for number, setting, values in _measured_numbers(runs)
        if number.metric == "error"
    ]
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()[:8]
    path = folder / f"comparison-{digest}.svg"
    if rows and not path.exists():
        from aae_utils import figures

        _save_picture(partial(figures.comparison, rows), path)
    return [path] if rows else []


def _save_picture(draw: Callable[[], Any], path: Path) -> None:
    import matplotlib

    from aae_utils import figures

    with matplotlib.rc_context({"svg.hashsalt": "aae"}):
        figures.use_style()
        draw().savefig(path, metadata={"Date": None})


def _remove_others(folder: Path, pictures: list[Path]) -> None:
    for path in [*folder.glob("losses-*.svg"), *folder.glob("comparison-*.svg")]:
        if path not in pictures:
            path.unlink()


def _losses_markdown(variant: str, runs: RunGroups) -> str:
    """The loss curves of the first run of each recipe of a variant."""
    blocks = [
        f"```{{figure}} _tables/{_losses_name(run)}\n"
        f":alt: Losses of {run.name} over the epochs\n\n"
        f"`{run.recipe.name}` ({run.recipe.reproduces}), {run.recipe.setting} setting, seed {run.seed}.\n"
        "```\n"
        for run in _first_runs(runs)
        if run.recipe.model.variant == variant
    ]
    return "\n".join(blocks) or "There is no run of this model yet.\n"


def _comparison_markdown(pictures: list[Path]) -> str:
    for path in pictures:
        if path.name.startswith("comparison-"):
            return (
                f"```{{figure}} _tables/{path.name}\n:alt: Test errors of the paper and ours\n\n"
                "Test error in percent, the paper's and ours; bars are standard deviations.\n```\n"
            )
    return "There is nothing to compare yet.\n"
