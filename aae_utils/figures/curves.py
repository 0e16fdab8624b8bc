"""Numbers: losses over the epochs, the paper's values beside ours, and answers beside the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from aae_utils.figures.style import (
    ABSENT_COLOR,
    DIGIT_COLORS,
    INK,
    MAX_WIDTH,
    MUTED,
    PART_COLORS,
    Array,
    FigureError,
    Floats,
    figure_and_axes,
    figure_with_panels,
    to_array,
)
from aae_utils.metrics.table import metric_of

LN_2 = math.log(2)
# The number of clusters is a setting: it is the same in every epoch.
NOT_LOSSES = ("epoch", "seconds", "images_per_second", "clusters", "validation_clusters")
NAMES = {"head_distance": "head penalty", "validation_sliced_wasserstein": "validation sliced Wasserstein"}
"""Of columns that are called something else in words."""
ABBREVIATIONS = ("kl", "nmi", "ari")
# What a player loses while the discriminator cannot tell: it sums over two sides, the generator has one.
CHANCE = {"discriminator": (2 * LN_2, "2 ln 2"), "generator": (LN_2, "ln 2")}
LETTERS = 40
"""In a line of the legend above curves; more would leave them no room."""


def losses(history: pd.DataFrame | Sequence[pd.DataFrame], *, columns: Sequence[str] | None = None) -> Figure:
    """Draw each number of a run's history over the epochs, one small panel each.

    A history has a column "epoch" and one column for each loss or measure. Several of them, one a
    seed, give their mean and a band from the lowest to the highest. A dashed line marks what a
    discriminator (2 ln 2) and a generator (ln 2) lose while codes and samples of the prior cannot
    be told apart. "seconds" and the number of clusters are not drawn, and the median of
    "images_per_second" is in the last line.
    """
    table = history if isinstance(history, pd.DataFrame) else _joined(history)
    if "epoch" not in table:
        raise FigureError("The history has no column 'epoch': pass a run's metrics as a DataFrame.")
    names = list(columns) if columns is not None else _drawn_columns(table)
    missing = [name for name in names if name not in table]
    if missing or not names:
        raise FigureError(f"The history has no column {', '.join(missing) or 'of a loss'} to draw.")
    across = 2 if len(names) == 4 else min(3, len(names))
    figure, grid = figure_with_panels(len(names), across, (2.6, 2.0))
    for axes, name in zip(grid, names, strict=True):
        _loss_panel(axes, table[["epoch", name]].dropna(), name)
    if "images_per_second" in table:
        rate = table["images_per_second"].median()
        figure.supxlabel(f"epoch (median rate: {rate:,.0f} images per second)", fontsize=10)
    else:
        figure.supxlabel("epoch", fontsize=10)
    return figure


def variations(curves: pd.DataFrame, measure: str) -> Figure:
    """Draw a column of a history over the epochs, one line for each variation of a study.

    The table has the columns "epoch", "variation" and `measure`. Several seeds give their mean and a band
    from the lowest to the highest. Epochs up to 0, in which every image showed its label, are shaded.
    """
    missing = {"epoch", "variation", measure} - set(curves.columns)
    if missing or curves.empty:
        raise FigureError(f"variations needs epochs of {', '.join(sorted(missing)) or measure} to draw.")
    first = curves["epoch"].min()
    names = {name: fill(name, LETTERS) for name in curves["variation"].unique()}
    curves = curves.assign(variation=curves["variation"].map(names))
    lines = sum(name.count("\n") + 1 for name in names.values()) + (first < 1)  # of the legend above
    figure, axes = figure_and_axes(None, (4.0, 2.6 + 0.21 * lines))
    if first < 1:
        axes.axvspan(first - 0.5, 0.5, color=ABSENT_COLOR, linewidth=0, label="every label is shown")
    sns.lineplot(
        curves, x="epoch", y=measure, hue="variation", style="variation", ax=axes,
        palette=sns.color_palette(DIGIT_COLORS, curves["variation"].nunique()),
        markers=True, markersize=5, markeredgewidth=0, errorbar=_range, legend="full",
    )  # fmt: skip
    metric = metric_of(measure)
    axes.set(xlabel="epoch", ylabel=fill(metric.title, LETTERS - 10))
    if not metric.higher_is_better:
        axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", nbins=8, integer=True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    return figure


def comparison(
    rows: pd.DataFrame | Iterable[Mapping[str, object]], *, unit: str = "test error (%)"
) -> Figure:
    """Draw the paper's values beside ours, all in one `unit`.

    Each row has "name", "paper" and "ours", and may have "paper_std" and "ours_std" for error bars.
    "ours" is a value, or a list with one value for each seed, each drawn as a point. A value that is
    missing (None or NaN) is not drawn.
    """
    table = pd.DataFrame(rows)
    missing = {"name", "paper", "ours"} - set(table.columns)
    if missing:
        raise FigureError(f"comparison needs name, paper and ours; missing: {', '.join(sorted(missing))}.")
    figure, axes = figure_and_axes(None, (MAX_WIDTH, 0.9 + 0.38 * len(table)))
    order = [str(name) for name in table["name"]]
    height = np.arange(len(table), dtype=float)
    points = table.assign(name=order).explode("ours").dropna(subset="ours").astype({"ours": float})
    sns.stripplot(
        points, x="ours", y="name", order=order, ax=axes,
        jitter=False, size=6, alpha=0.75, color=PART_COLORS["encoder"], label="ours, one point a seed",
    )  # fmt: skip
    _bars(axes, table, "ours", height, PART_COLORS["encoder"], "none")
    _bars(axes, table, "paper", height, PART_COLORS["prior"], "|", label="paper")
    axes.set(xlabel=unit, ylabel="", ylim=(len(table) - 0.4, -0.6))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=ABSENT_COLOR)
    axes.set_axisbelow(True)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


def confusion(
    answers: Array, labels: Array, *, answer_names: Sequence[str] | None = None, what: str = "answer"
) -> Figure:
    """Draw how the images of each digit are spread over answers, in percent of the digit.

    `answers` `(N,)` are classes or clusters from 0, `labels` `(N,)` digits from 0. Answers stand below
    each other, digits side by side; each column adds up to 100 %, and what rounds to 0 % is left blank.
    """
    given, true = to_array(answers).astype(np.int64), to_array(labels).astype(np.int64)
    if given.ndim != 1 or given.shape != true.shape or not len(given) or min(given.min(), true.min()) < 0:
        raise FigureError(
            "confusion needs answers (N,) and labels (N,), whole numbers from 0, not shapes"
            f" {given.shape} and {true.shape}."
        )
    names = [str(n) for n in answer_names or range(int(given.max()) + 1)]
    counts = np.zeros((max(len(names), int(given.max()) + 1), int(true.max()) + 1))
    np.add.at(counts, (given, true), 1)
    if len(names) != len(counts):
        raise FigureError(f"{len(counts)} answers need as many answer_names, not {len(names)}.")
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    percent = np.char.mod("%.0f", 100 * shares)
    figure, axes = figure_and_axes(None, (5.6, 0.9 + 0.27 * len(counts)))
    sns.heatmap(
        shares,
        ax=axes,
        vmin=0,
        vmax=1,
        cmap=sns.light_palette(PART_COLORS["encoder"], as_cmap=True),
        annot=np.where(percent == "0", "", percent),
        fmt="",
        annot_kws={"fontsize": 8},
        yticklabels=names,
        linewidths=0.5,
        cbar_kws={"format": PercentFormatter(1), "label": "share of the digit's images"},
    )
    axes.set(xlabel="digit", ylabel=what)
    axes.tick_params(length=0, labelrotation=0)
    return figure


def _joined(histories: Sequence[pd.DataFrame]) -> pd.DataFrame:
    if not histories:
        raise FigureError("losses got no history: pass a run's metrics as a DataFrame, or several.")
    return pd.concat(histories, ignore_index=True)


def _drawn_columns(history: pd.DataFrame) -> list[str]:
    numeric = history.select_dtypes("number").columns
    return [name for name in numeric if name not in NOT_LOSSES and history[name].notna().any()]


def _loss_panel(axes: Axes, curve: pd.DataFrame, name: str) -> None:
    values = curve[name].to_numpy()
    player = next((part for part in CHANCE if part in name), None)
    if player:
        chance, words = CHANCE[player]
        axes.set_ylim(0, max(1.25 * chance, 1.05 * values.max(initial=0.0)))
        axes.axhline(chance, color=MUTED, linewidth=0.9, linestyle="--")
        axes.annotate(
            words, (1.0, chance), xycoords=("axes fraction", "data"), fontsize=8, color=MUTED, va="center"
        )
    elif len(values) and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
    sns.lineplot(
        curve,
        x="epoch",
        y=name,
        ax=axes,
        color=_curve_color(name),
        errorbar=_range,
        marker="o" if len(values) == 1 else None,
    )
    axes.set(xlabel="", ylabel="")
    axes.set_title(_title(name), fontsize=10)
    axes.locator_params(axis="x", nbins=4, integer=True)
    if name.endswith("clusters"):
        most = max(1, values.max(initial=0))
        axes.set_ylim(-0.05 * most, 1.05 * most)
        axes.locator_params(axis="y", nbins=4, integer=True)


def _range(seeds: pd.Series) -> tuple[float, float]:
    return seeds.min(), seeds.max()


def _title(name: str) -> str:
    """The column's name in words, with the unit where it is percent."""
    words = NAMES.get(name, name).replace("_", " ").split(" ")
    title = " ".join(word.upper() if word in ABBREVIATIONS else word for word in words)
    return title + (" (%)" if metric_of(name).unit == "%" else "")


def _curve_color(name: str) -> str:
    parts = {"discriminator": "discriminator", "generator": "encoder", "reconstruction": "decoder"}
    for word, part in parts.items():
        if word in name:
            return PART_COLORS[part]
    return PART_COLORS["label"] if "classification" in name else INK


def _bars(
    axes: Axes, table: pd.DataFrame, who: str, height: Floats, color: str, marker: str, label: str = ""
) -> None:
    """A mark at each single value and a bar as long as its standard deviation."""
    values = pd.to_numeric(table[who], errors="coerce").to_numpy(dtype=float)
    std = pd.to_numeric(table.get(f"{who}_std", pd.Series(np.nan, table.index))).to_numpy(dtype=float)
    axes.errorbar(
        values,
        height,
        xerr=np.nan_to_num(std),
        fmt=marker,
        color=color,
        markersize=13,
        markeredgewidth=2.2,
        elinewidth=1.2,
        capsize=2.5,
        label=label or None,
    )
