"""Images side by side as one picture: manifolds, samples, styles, clusters (Figures 2E, 4B, 5, 7 and 9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from aae_utils.figures.style import (
    ABSENT_COLOR,
    GAP_COLOR,
    MAX_WIDTH,
    RETINA,
    SCREEN_DPI,
    Array,
    FigureError,
    Floats,
    figure_and_axes,
    figure_with_panels,
    new_figure,
    to_array,
)

GRAY_SHAPE = (28, 28)
SEPARATOR_PIXELS = 6


def image_grid(
    images: Array,
    *,
    rows: int | None = None,
    shape: tuple[int, ...] = GRAY_SHAPE,
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
    shape: tuple[int, ...] = GRAY_SHAPE,
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
    shape: tuple[int, ...] = GRAY_SHAPE,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw decoder outputs `(size * size, D)` of `percentile_grid` codes (Figures 2E and 4B)."""
    images = to_array(images)
    if images.ndim != 2 or len(images) != size * size:
        raise FigureError(
            f"A manifold of size {size} needs images of shape ({size * size}, D), not"
            f" {images.shape}: decode the codes of percentile_grid."
        )
    return image_grid(images, rows=size, shape=shape, title=title, ax=ax)


def manifolds(
    panels: Sequence[tuple[str, Array]], size: int, *, shape: tuple[int, ...] = GRAY_SHAPE
) -> Figure:
    """Draw several manifolds side by side, each `(title, images (size * size, D))` (Figure 4B)."""
    if not panels:
        raise FigureError("manifolds got no panels: pass a list of (title, images).")
    figure, grid = figure_with_panels(len(panels), len(panels), (3.2, 3.4))
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
    shape: tuple[int, ...] = GRAY_SHAPE,
    title: str | None = None,
) -> Figure:
    """Draw samples `(R, C, D)` and the training image nearest to the last of each row (Figure 5).

    The nearest images, `neighbors` `(R, D)`, stand behind a gap.
    """
    samples, neighbors = to_array(samples), to_array(neighbors)
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


def style_grid(images: Array, *, shape: tuple[int, ...] = GRAY_SHAPE, title: str | None = None) -> Figure:
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
    shape: tuple[int, ...] = GRAY_SHAPE,
    title: str | None = None,
) -> Figure:
    """Draw each cluster's head, then some of its members (Figure 9).

    `heads` is `(K, D)`; `members` `(K, M, D)` with NaN where a cluster has fewer; `labels` `(K,)`
    the digit that the cluster stands for (below 0: none) and `counts` `(K,)` its number of test
    images, 0 for an empty cluster.
    """
    heads, members = to_array(heads), to_array(members)
    digits, sizes = to_array(labels).astype(int), to_array(counts).astype(int)
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


def _grid_of_images(images: Array, rows: int | None) -> Floats:
    grid = to_array(images).astype(np.float64)
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


def _figure_for_pixels(ax: Axes | None, pixels: Floats) -> tuple[Figure, Axes]:
    if ax is not None:
        return figure_and_axes(ax, (0, 0))
    height, width = pixels.shape[:2]
    # whole screen pixels for each image pixel keep the picture sharp and its file small
    scale = max(1, min(4, int(MAX_WIDTH * RETINA * SCREEN_DPI / width)))
    size = (width * scale / (RETINA * SCREEN_DPI), height * scale / (RETINA * SCREEN_DPI))
    figure = new_figure(size, layout=None)
    return figure, figure.add_axes((0, 0, 1, 1))
