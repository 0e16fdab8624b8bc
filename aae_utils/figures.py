"""The paper's figures, drawn from arrays or tensors.

Every function that draws returns a matplotlib `Figure`, already closed for pyplot, so a notebook
shows it once; those that take `ax` draw into that `Axes` instead. `use_style` sets the common look.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Array: TypeAlias = ArrayLike | Tensor
Floats: TypeAlias = NDArray[np.float64]
CodesPanel: TypeAlias = tuple[str, Array, Array | None]

# Found by a search for the largest smallest distance between two colors, as normal, red-blind and
# green-blind eyes see them; then ordered so that consecutive digits differ most.
DIGIT_COLORS = (
    "#15b59a",
    "#0e3881",
    "#cb8a0a",
    "#764cc6",
    "#b6d839",
    "#037574",
    "#c7befb",
    "#bf3005",
    "#3598ff",
    "#682124",
)
# One color for each part of the model, in the diagrams as in the loss curves.
PART_COLORS = {
    "encoder": "#2f6db3",
    "decoder": "#2a8a6e",
    "discriminator": "#cc5a35",
    "prior": "#7a55a8",
    "label": "#b98500",
}
INK = "#26282c"
MUTED = "#63686f"
GAP_COLOR = "#ffffff"
ABSENT_COLOR = "#e4e6e9"

LN_2 = math.log(2)
# A discriminator that gives the right answer a probability of 0.4 to 0.6 neither wins nor loses.
HEALTHY_BAND = (-math.log(0.6), -math.log(0.4))

GREY_SHAPE = (28, 28)
SEPARATOR_PIXELS = 6
SCREEN_DPI = 100
RETINA = 2
MAX_WIDTH = 7.0
NOT_LOSSES = ("epoch", "seconds", "images_per_second")


class FigureError(ValueError):
    """An array has another shape than the figure needs; the message says which."""


def use_style() -> None:
    """Set the look of all figures, and sharp (retina) pictures where a notebook shows them."""
    plt.rcParams.update(
        {
            "figure.dpi": SCREEN_DPI,
            "figure.facecolor": "white",
            "savefig.dpi": RETINA * SCREEN_DPI,
            "savefig.bbox": "tight",
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "axes.prop_cycle": plt.cycler(color=DIGIT_COLORS),
            "figure.constrained_layout.h_pad": 0.08,
            "legend.frameon": False,
            "lines.linewidth": 1.4,
        }
    )
    _show_retina_pictures()


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

    `points` is `(N, 2)` and `labels` `(N,)` with digits 0 to 9; without labels all points are grey.
    The axes run from -limits to limits, by default as far as the farthest code; codes beyond are
    counted in a corner.
    """
    place, digits = _points_and_digits(points, labels)
    limits = _reach([place]) if limits is None else limits
    figure, axes = _figure_and_axes(ax, (4.6, 4.2))
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
    figure, grid = _figure_with_panels(len(panels), columns, (2.7, 2.85))
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


def image_grid(
    images: Array,
    *,
    rows: int | None = None,
    shape: tuple[int, ...] = GREY_SHAPE,
    limits: tuple[float, float] = (0.0, 1.0),
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    row_title: str | None = None,
    column_title: str | None = None,
    separator: int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw images side by side without gaps, as one picture.

    `images` is `(R, C, D)`, or `(N, D)` with `rows` that divides N. An image of NaN is drawn as
    absent. `limits` are the values shown black and white. A white gap stands before column
    `separator`. See `tile` for `shape`.
    """
    grid = _grid_of_images(images, rows)
    pixels = tile(grid, shape=shape, limits=limits, separator=separator)
    figure, axes = _figure_for_pixels(ax, pixels)
    axes.imshow(pixels, interpolation="auto", aspect="equal")
    _label_grid(axes, grid, shape, separator, row_labels, column_labels)
    axes.set_ylabel(row_title or "")
    axes.set_xlabel(column_title or "")
    if title is not None:
        axes.set_title(title)
    return figure


def tile(
    images: Array,
    *,
    shape: tuple[int, ...] = GREY_SHAPE,
    limits: tuple[float, float] = (0.0, 1.0),
    separator: int | None = None,
) -> Floats:
    """Join `(R, C, D)` images to one color picture `(R * height, C * width, 3)` in [0, 1].

    `shape` is (height, width), (height, width, 3) or (3, height, width), the order in which D was
    flattened. With `separator` the picture is 6 pixels wider: a white gap before that column.
    Images with NaN take the color of absence.
    """
    grid = _grid_of_images(images, None)
    height, width = _height_and_width(shape)
    low, high = limits
    if not low < high:
        raise FigureError(f"limits must be (black, white) with black below white, not {limits}.")
    absent = np.isnan(grid).any(axis=2)
    # a NaN has no value between black and white, so it must go before the arithmetic
    shades = np.clip((np.where(np.isnan(grid), low, grid) - low) / (high - low), 0, 1)
    colors = _to_rgb_images(shades, shape)
    colors[absent] = to_rgb(ABSENT_COLOR)
    count_rows, count_columns = absent.shape
    picture = colors.transpose(0, 2, 1, 3, 4).reshape(count_rows * height, count_columns * width, 3)
    return picture if separator is None else _insert_gap(picture, separator, count_columns, width)


def manifold(
    images: Array,
    size: int,
    *,
    shape: tuple[int, ...] = GREY_SHAPE,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw decoder outputs `(size * size, D)` of `percentile_grid` codes (Figures 2E and 4B)."""
    images = _to_array(images)
    if images.ndim != 2 or len(images) != size * size:
        raise FigureError(
            f"A manifold of size {size} needs images of shape ({size * size}, D), not"
            f" {images.shape}: decode the codes of percentile_grid."
        )
    return image_grid(images, rows=size, shape=shape, title=title, ax=ax)


def manifolds(
    panels: Sequence[tuple[str, Array]], size: int, *, shape: tuple[int, ...] = GREY_SHAPE
) -> Figure:
    """Draw several manifolds side by side, each `(title, images (size * size, D))` (Figure 4B)."""
    if not panels:
        raise FigureError("manifolds got no panels: pass a list of (title, images).")
    figure, grid = _figure_with_panels(len(panels), len(panels), (3.2, 3.4))
    for axes, (title, images) in zip(grid, panels, strict=True):
        manifold(images, size, shape=shape, title=title, ax=axes)
    return figure


def percentile_grid(size: int, std: float = 1.0) -> Tensor:
    """Codes `(size * size, 2)` float32 at uniform percentiles of N(0, std^2 I) (Figure 2E).

    The percentiles are the middles of `size` equally likely intervals. Codes go row by row as
    images are laid out: the first coordinate grows to the right, the second upwards.
    """
    if size < 1 or std <= 0:
        raise FigureError(f"percentile_grid needs size at least 1 and std above 0, not {size} and {std}.")
    gaussian = NormalDist(0, std)
    steps = torch.tensor([gaussian.inv_cdf((index + 0.5) / size) for index in range(size)])
    second, first = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    return torch.stack((first.flatten(), second.flatten()), dim=1)


def samples_with_neighbors(
    samples: Array,
    neighbors: Array,
    *,
    shape: tuple[int, ...] = GREY_SHAPE,
    title: str | None = None,
) -> Figure:
    """Draw samples `(R, C, D)` and the training image nearest to the last of each row (Figure 5).

    The nearest images, `neighbors` `(R, D)`, stand behind a gap.
    """
    samples, neighbors = _to_array(samples), _to_array(neighbors)
    if samples.ndim != 3 or neighbors.shape != (samples.shape[0], samples.shape[2]):
        raise FigureError(
            f"Samples (R, C, D) need neighbors (R, D); got {samples.shape} and {neighbors.shape}."
        )
    columns = samples.shape[1]
    return image_grid(
        np.concatenate((samples, neighbors[:, None]), axis=1),
        shape=shape,
        column_labels=[""] * columns + ["nearest"],
        separator=columns,
        title=title,
    )


def style_grid(images: Array, *, shape: tuple[int, ...] = GREY_SHAPE, title: str | None = None) -> Figure:
    """Draw decoder outputs `(R, C, D)`, a row for each style z, a column for each y (Figure 7)."""
    grid = _grid_of_images(images, None)
    return image_grid(
        grid,
        shape=shape,
        column_labels=[str(label) for label in range(grid.shape[1])],
        row_title="style z",
        column_title="label y",
        title=title,
    )


def clusters(
    heads: Array,
    members: Array,
    labels: Array,
    counts: Array,
    *,
    shape: tuple[int, ...] = GREY_SHAPE,
    title: str | None = None,
) -> Figure:
    """Draw each cluster's head, then some of its members (Figure 9).

    `heads` is `(K, D)`; `members` `(K, M, D)` with NaN where a cluster has fewer; `labels` `(K,)`
    the digit that the cluster stands for (below 0: none) and `counts` `(K,)` its number of test
    images, 0 for an empty cluster.
    """
    heads, members = _to_array(heads), _to_array(members)
    digits, sizes = _to_array(labels).astype(int), _to_array(counts).astype(int)
    count = len(heads)
    if members.ndim != 3 or heads.shape != members[:, 0].shape or not len(digits) == len(sizes) == count:
        raise FigureError(
            f"clusters needs heads (K, D), members (K, M, D), labels (K,) and counts (K,); got"
            f" {heads.shape}, {members.shape}, {digits.shape} and {sizes.shape}."
        )
    return image_grid(
        np.concatenate((heads[:, None], members), axis=1),
        shape=shape,
        row_labels=[_cluster_label(*row) for row in zip(range(count), digits, sizes, strict=True)],
        column_labels=["head"]
        + ["members" if m == members.shape[1] // 2 else "" for m in range(members.shape[1])],
        separator=1,
        title=title,
    )


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
    whose label is below 0 stands for no digit and is drawn as a grey dash. Representations of more
    dimensions go through `circle_projection` first.
    """
    place = _points(heads, "heads")
    digits = _to_array(head_labels).astype(int)
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
    rows = _to_array(heads).astype(np.float64)
    if rows.ndim != 2 or rows.size == 0:
        raise FigureError(f"circle_projection needs heads of shape (m, n), not {rows.shape}.")
    radius = float(np.linalg.norm(rows, axis=1).mean()) if radius is None else radius
    angles = 2 * np.pi * np.arange(len(rows)) / len(rows)
    circle = radius * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    matrix, *_ = np.linalg.lstsq(rows, circle, rcond=None)
    return torch.tensor(matrix, dtype=torch.float32)


def losses(history: pd.DataFrame, *, columns: Sequence[str] | None = None) -> Figure:
    """Draw each number of a run's history over the epochs, one small panel each.

    `history` has a column "epoch" and one column for each loss or measure; "seconds" and
    "images_per_second" are not drawn, the latter stands in the last line. In the panels of
    discriminators and generators a line marks ln 2, where the discriminator cannot tell codes from
    samples of the prior, and a band where it is right with a probability of 0.4 to 0.6.
    """
    if "epoch" not in history:
        raise FigureError("The history has no column 'epoch': pass a run's metrics as a DataFrame.")
    names = list(columns) if columns is not None else _drawn_columns(history)
    missing = [name for name in names if name not in history]
    if missing or not names:
        raise FigureError(f"The history has no column {', '.join(missing) or 'of a loss'} to draw.")
    figure, grid = _figure_with_panels(len(names), min(3, len(names)), (2.6, 2.0))
    for axes, name in zip(grid, names, strict=True):
        _loss_panel(axes, history[["epoch", name]].dropna(), name)
    if "images_per_second" in history:
        rate = history["images_per_second"].median()
        figure.supxlabel(f"epoch (median rate: {rate:,.0f} images per second)", fontsize=10)
    else:
        figure.supxlabel("epoch", fontsize=10)
    return figure


def comparison(
    rows: pd.DataFrame | Iterable[Mapping[str, object]], *, unit: str = "test error (%)"
) -> Figure:
    """Draw the paper's values beside ours, all in one `unit`.

    Each row has "name", "paper" and "ours", and may have "paper_std" and "ours_std" for error bars.
    A value that is missing (None or NaN) is not drawn.
    """
    table = pd.DataFrame(rows)
    missing = {"name", "paper", "ours"} - set(table.columns)
    if missing:
        raise FigureError(f"comparison needs name, paper and ours; missing: {', '.join(sorted(missing))}.")
    figure, axes = _figure_and_axes(None, (MAX_WIDTH, 0.9 + 0.42 * len(table)))
    height = np.arange(len(table), dtype=float)[::-1]
    _dots(axes, table, "paper", height + 0.14, PART_COLORS["prior"], "D")
    _dots(axes, table, "ours", height - 0.14, PART_COLORS["encoder"], "o")
    axes.set_yticks(height, [str(name) for name in table["name"]])
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.set_xlabel(unit)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=ABSENT_COLOR)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


def _show_retina_pictures() -> None:
    # only where IPython already runs: importing the backend elsewhere would start a shell
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina", pil_kwargs={"optimize": True})


def _to_array(values: Array) -> NDArray[np.generic]:
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _points(values: Array, what: str) -> Floats:
    place = _to_array(values).astype(np.float64)
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
    digits = _to_array(labels).astype(np.int64)
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


def _grid_of_images(images: Array, rows: int | None) -> Floats:
    grid = _to_array(images).astype(np.float64)
    if grid.ndim == 2 and rows is not None and rows > 0 and len(grid) % rows == 0:
        grid = grid.reshape(rows, -1, grid.shape[1])
    if grid.ndim != 3 or grid.size == 0 or (rows is not None and len(grid) != rows):
        raise FigureError(
            f"Expected images of shape (R, C, D), or (N, D) and a number of rows that divides N;"
            f" got {grid.shape} and rows={rows}."
        )
    return grid


def _height_and_width(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) == 3 and shape[2] == 3:
        return shape[0], shape[1]
    if len(shape) == 3 and shape[0] == 3:
        return shape[1], shape[2]
    raise FigureError(
        f"An image's shape is (height, width), (height, width, 3) or (3, height, width), not {shape}."
    )


def _to_rgb_images(shades: Floats, shape: tuple[int, ...]) -> Floats:
    if shades.shape[2] != math.prod(shape):
        raise FigureError(
            f"Images of {shades.shape[2]} values do not fit shape {shape}: pass the shape that was"
            f" flattened, of as many values."
        )
    images = shades.reshape(*shades.shape[:2], *shape)
    if len(shape) == 2:
        return np.repeat(images[..., None], 3, axis=-1)
    return images.copy() if shape[2] == 3 else np.moveaxis(images, 2, -1).copy()


def _insert_gap(picture: Floats, separator: int, columns: int, width: int) -> Floats:
    if not 0 < separator < columns:
        raise FigureError(f"separator must lie between two of {columns} columns, not at {separator}.")
    gap = np.ones((len(picture), SEPARATOR_PIXELS, 3)) * to_rgb(GAP_COLOR)
    border = separator * width
    return np.concatenate((picture[:, :border], gap, picture[:, border:]), axis=1)


def _label_grid(
    axes: Axes,
    grid: Floats,
    shape: tuple[int, ...],
    separator: int | None,
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
) -> None:
    height, width = _height_and_width(shape)
    count_rows, count_columns = grid.shape[:2]
    for labels, count, what in (
        (row_labels, count_rows, "row"),
        (column_labels, count_columns, "column"),
    ):
        if labels is not None and len(labels) != count:
            raise FigureError(f"{count} {what}s need {count} {what}_labels, not {len(labels)}.")
    shift = [0 if separator is None or c < separator else SEPARATOR_PIXELS for c in range(count_columns)]
    middles = [c * width + width / 2 - 0.5 + shift[c] for c in range(count_columns)]
    axes.set_xticks(middles if column_labels else [], column_labels or [])
    axes.set_yticks(
        [r * height + height / 2 - 0.5 for r in range(count_rows)] if row_labels else [],
        row_labels or [],
    )
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def _cluster_label(cluster: int, digit: int, size: int) -> str:
    if size == 0:
        return f"{cluster}: empty"
    meaning = f"digit {digit}" if digit >= 0 else "no digit"
    return f"{cluster}: {meaning} ({size:,})"


def _drawn_columns(history: pd.DataFrame) -> list[str]:
    numeric = history.select_dtypes("number").columns
    return [name for name in numeric if name not in NOT_LOSSES and history[name].notna().any()]


def _loss_panel(axes: Axes, curve: pd.DataFrame, name: str) -> None:
    epochs, values = curve["epoch"].to_numpy(), curve[name].to_numpy()
    if "discriminator" in name or "generator" in name:
        # one scale for all players, so that their losses can be compared at a glance
        axes.set_ylim(0, max(2 * LN_2, 1.05 * values.max(initial=0.0)))
        axes.axhspan(*HEALTHY_BAND, color=ABSENT_COLOR, linewidth=0)
        axes.axhline(LN_2, color=MUTED, linewidth=0.9, linestyle="--")
        axes.annotate(
            "ln 2",
            (1.0, LN_2),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color=MUTED,
            va="center",
        )
    elif len(values) and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
    axes.plot(
        epochs,
        values,
        color=_curve_color(name),
        marker="o" if len(values) == 1 else None,
        markersize=4,
    )
    axes.set_title(name.replace("_", " ") + (" (%)" if "error" in name else ""), fontsize=10)
    axes.locator_params(axis="x", nbins=4, integer=True)


def _curve_color(name: str) -> str:
    parts = {"discriminator": "discriminator", "generator": "encoder", "reconstruction": "decoder"}
    for word, part in parts.items():
        if word in name:
            return PART_COLORS[part]
    return PART_COLORS["label"] if "classification" in name else INK


def _dots(axes: Axes, table: pd.DataFrame, who: str, height: Floats, color: str, marker: str) -> None:
    values = pd.to_numeric(table[who]).to_numpy(dtype=float)
    std = pd.to_numeric(table.get(f"{who}_std", pd.Series(np.nan, table.index))).to_numpy(dtype=float)
    axes.errorbar(
        values,
        height,
        xerr=np.nan_to_num(std),
        fmt=marker,
        color=color,
        markersize=5,
        elinewidth=1.2,
        capsize=2.5,
        label=who,
    )


def _new_figure(size: tuple[float, float], layout: str | None = "constrained") -> Figure:
    figure = plt.figure(figsize=size, layout=layout)
    # a figure that pyplot still holds is shown twice in a notebook: as result and after the cell
    plt.close(figure)
    return figure


def _figure_and_axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    if ax is None:
        figure = _new_figure(size)
        return figure, figure.add_subplot()
    root = ax.get_figure(root=True)
    if root is None:
        raise FigureError("The axes belong to no figure: pass axes that a figure still holds.")
    return root, ax


def _figure_with_panels(count: int, columns: int, panel: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    rows = math.ceil(count / columns)
    figure = _new_figure((columns * panel[0], rows * panel[1]))
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def _figure_for_pixels(ax: Axes | None, pixels: Floats) -> tuple[Figure, Axes]:
    if ax is not None:
        return _figure_and_axes(ax, (0, 0))
    height, width = pixels.shape[:2]
    # whole screen pixels for each image pixel keep the picture sharp and its file small
    scale = max(1, min(4, int(MAX_WIDTH * RETINA * SCREEN_DPI / width)))
    size = (width * scale / (RETINA * SCREEN_DPI), height * scale / (RETINA * SCREEN_DPI))
    figure = _new_figure(size, layout=None)
    return figure, figure.add_axes((0, 0, 1, 1))
