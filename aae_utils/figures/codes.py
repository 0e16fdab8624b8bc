"""Codes in the plane, beside samples of the prior and around cluster heads (Figures 2, 4 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor

from aae_utils.figures.style import (
    DIGIT_COLORS,
    INK,
    MUTED,
    PART_COLORS,
    Array,
    FigureError,
    Floats,
    figure_and_axes,
    figure_with_panels,
    to_array,
)

CodesPanel: TypeAlias = tuple[str, Array, Array | None]


def codes(
    points: Array,
    labels: Array | None = None,
    *,
    ax: Axes | None = None,
    limits: float | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Figure:
    """Scatter 2-D codes in color by digit (Figures 2, 4 and 11).

    `points` is `(N, 2)` and `labels` `(N,)` with digits 0 to 9; without labels all points are gray.
    The axes run from -limits to limits, by default as far as the farthest code; codes beyond are
    counted in a corner.
    """
    place, digits = _points_and_digits(points, labels)
    limits = _reach([place]) if limits is None else limits
    figure, axes = figure_and_axes(ax, (4.6, 4.2))
    _scatter(axes, place, digits, limits)
    if title is not None:
        axes.set_title(title)
    if legend and digits is not None:
        _digit_legend(axes)
    return figure


def codes_beside_prior(
    panels: Sequence[CodesPanel], *, columns: int | None = None, limits: float | None = None
) -> Figure:
    """Scatter several sets of codes on one scale, such as q(z) beside samples of p(z) (Figure 2).

    Each panel is `(title, codes (N, 2), labels (N,) or None)`; `columns` panels stand in one row.
    """
    if not panels:
        raise FigureError("codes_beside_prior has no panels: pass a list of (title, codes, labels).")
    checked = [(title, *_points_and_digits(points, labels)) for title, points, labels in panels]
    limits = _reach([place for _, place, _ in checked]) if limits is None else limits
    columns = min(len(panels), columns or 3)
    figure, grid = figure_with_panels(len(panels), columns, (2.7, 2.85))
    for axes, (title, place, digits) in zip(grid, checked, strict=True):
        _scatter(axes, place, digits, limits, ink=15_000)
        axes.set_title(title)
    if any(digits is not None for _, _, digits in checked):
        figure.legend(
            handles=_digit_handles(),
            loc="outside lower center",
            ncols=10,
            columnspacing=1.0,
            handletextpad=0.1,
        )
    return figure


def code_densities(points: Array, samples: Array, *, columns: int = 4) -> Figure:
    """Density of each coordinate of codes `(N, dim)` over that of prior samples `(M, dim)`.

    Codes of any dimension can be compared with their prior in this way, coordinate by coordinate.
    """
    place, prior = (to_array(values).astype(np.float64) for values in (points, samples))
    if place.ndim != 2 or prior.ndim != 2 or place.shape[1] != prior.shape[1] or not place.size * prior.size:
        raise FigureError(
            "code_densities needs codes (N, dim) and samples (M, dim) of the same dim, not"
            f" {place.shape} and {prior.shape}."
        )
    dim = place.shape[1]
    figure, grid = figure_with_panels(dim, min(dim, columns), (2.2, 1.7))
    for coordinate, axes in enumerate(grid):
        sns.kdeplot(
            x=prior[:, coordinate], ax=axes, fill=True, color=PART_COLORS["prior"], label="prior p(z)"
        )
        sns.kdeplot(x=place[:, coordinate], ax=axes, color=PART_COLORS["encoder"], label="codes q(z)")
        axes.set(xlabel=f"coordinate {coordinate + 1}", ylabel="", yticks=[])
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def heads_projection(
    points: Array,
    labels: Array | None,
    heads: Array,
    head_labels: Array,
    *,
    limits: float | None = None,
    title: str | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Figure:
    """Scatter 2-D representations with each cluster head as a ring around its digit (Figure 11).

    `points` is `(N, 2)`, `labels` `(N,)` or None, `heads` `(K, 2)`, `head_labels` `(K,)`; a head
    whose label is below 0 stands for no digit and is drawn as a gray dash. Representations of more
    dimensions go through `circle_projection` first.
    """
    place = _points(heads, "heads")
    digits = to_array(head_labels).astype(int)
    if digits.shape != (len(place),) or digits.max(initial=-1) > 9:
        raise FigureError(
            f"heads_projection needs one digit 0 to 9 (or -1) for each of the {len(place)} heads,"
            f" not head_labels of shape {digits.shape} up to {digits.max(initial=-1)}."
        )
    limits = _reach([_points(points, "codes"), place]) if limits is None else limits
    figure = codes(points, labels, ax=ax, limits=limits, title=title, legend=legend)
    axes = ax or figure.axes[0]
    for head, digit in zip(place, digits, strict=True):
        _mark_head(axes, head, digit)
    return figure


def circle_projection(heads: Array, radius: float | None = None) -> Tensor:
    """Matrix `(n, 2)` float32 that spreads the rows of `heads` `(m, n)` on a circle (Figure 11d).

    Multiplied by it, head k comes to the angle 2 pi k / m, anticlockwise from the right. `radius`
    is by default the mean length of the heads. Where no linear map does this exactly, the
    least-squares one is returned.
    """
    rows = to_array(heads).astype(np.float64)
    if rows.ndim != 2 or rows.size == 0:
        raise FigureError(f"circle_projection needs heads of shape (m, n), not {rows.shape}.")
    radius = float(np.linalg.norm(rows, axis=1).mean()) if radius is None else radius
    angles = 2 * np.pi * np.arange(len(rows)) / len(rows)
    circle = radius * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    matrix, *_ = np.linalg.lstsq(rows, circle, rcond=None)
    return torch.tensor(matrix, dtype=torch.float32)


def _points(values: Array, what: str) -> Floats:
    place = to_array(values).astype(np.float64)
    if place.ndim != 2 or place.shape[1] != 2 or len(place) == 0:
        raise FigureError(
            f"Expected {what} of shape (N, 2), got {place.shape}: project longer codes to two"
            " dimensions first."
        )
    if not np.isfinite(place).all():
        raise FigureError(f"Some {what} are not finite numbers: look at the losses of the training.")
    return place


def _points_and_digits(points: Array, labels: Array | None) -> tuple[Floats, NDArray[np.int64] | None]:
    place = _points(points, "codes")
    if labels is None:
        return place, None
    digits = to_array(labels).astype(np.int64)
    if digits.shape != (len(place),):
        raise FigureError(f"{len(place)} codes need as many labels, not labels of shape {digits.shape}.")
    if digits.min() < 0 or digits.max() > 9:
        raise FigureError(f"Labels must be digits 0 to 9, not {digits.min()} to {digits.max()}.")
    return place, digits


def _reach(places: Sequence[Floats]) -> float:
    return 1.05 * max(float(np.abs(place).max()) for place in places) or 1.0


def _scatter(
    axes: Axes,
    place: Floats,
    digits: NDArray[np.int64] | None,
    limits: float,
    ink: float = 30_000,
) -> None:
    # a fixed shuffle: otherwise the last digit would cover the others
    order = np.random.default_rng(0).permutation(len(place))
    palette = np.array([to_rgb(color) for color in DIGIT_COLORS])
    color = MUTED if digits is None else palette[digits[order]]
    # many points are drawn small and few large: together about the same ink
    area = float(np.clip(ink / len(place), 1.5, 16.0))
    alpha = 0.4 if digits is None else 0.75
    first, second = place[order].T
    axes.scatter(first, second, s=area, c=color, alpha=alpha, linewidths=0, rasterized=True)
    axes.set(xlim=(-limits, limits), ylim=(-limits, limits), aspect="equal")
    axes.locator_params(nbins=5)
    outside = int((np.abs(place) > limits).any(axis=1).sum())
    if outside:
        axes.text(0.02, 0.02, f"{outside} outside", transform=axes.transAxes, fontsize=8, color=MUTED)


def _digit_handles() -> list[Line2D]:
    return [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=color, label=str(digit))
        for digit, color in enumerate(DIGIT_COLORS)
    ]


def _digit_legend(axes: Axes) -> None:
    axes.legend(
        handles=_digit_handles(),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handletextpad=0.1,
        borderaxespad=0.3,
    )


def _mark_head(axes: Axes, head: Floats, digit: int) -> None:
    first, second = head
    axes.plot(
        first,
        second,
        "o",
        markersize=13,
        color="white",
        markeredgecolor=INK if digit >= 0 else MUTED,
        markeredgewidth=1.3,
        clip_on=False,
    )
    text = str(digit) if digit >= 0 else "\N{EN DASH}"
    axes.annotate(
        text,
        (first, second),
        ha="center",
        va="center_baseline",
        fontsize=9,
        fontweight="bold",
        color=INK,
    )
