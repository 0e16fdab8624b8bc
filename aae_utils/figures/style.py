"""The common look of all figures: colors, sizes, and figures that a notebook shows once."""

from __future__ import annotations

import math
import sys
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Array: TypeAlias = ArrayLike | Tensor
Floats: TypeAlias = NDArray[np.float64]

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
PART_COLORS = {
    "encoder": "#2f6db3",
    "decoder": "#2a8a6e",
    "discriminator": "#cc5a35",
    "prior": "#7a55a8",
    "label": "#b98500",
}
"""One color for each part of the model, in the diagrams as in the loss curves."""
INK = "#26282c"
MUTED = "#63686f"
GAP_COLOR = "#ffffff"
ABSENT_COLOR = "#e4e6e9"

SCREEN_DPI = 100
RETINA = 2
MAX_WIDTH = 7.0


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


def _show_retina_pictures() -> None:
    # only where IPython already runs: importing the backend elsewhere would start a shell
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina", pil_kwargs={"optimize": True})


def new_figure(size: tuple[float, float], layout: str | None = "constrained") -> Figure:
    """An empty figure of that size in inches."""
    figure = plt.figure(figsize=size, layout=layout)
    # a figure that pyplot still holds is shown twice in a notebook: as result and after the cell
    plt.close(figure)
    return figure


def figure_and_axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """The axes to draw into with their figure: `ax`, or new ones of that size."""
    if ax is None:
        figure = new_figure(size)
        return figure, figure.add_subplot()
    root = ax.get_figure(root=True)
    if root is None:
        raise FigureError("The axes belong to no figure: pass axes that a figure still holds.")
    return root, ax


def figure_with_panels(count: int, columns: int, panel: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A new figure of `count` panels, `columns` in a row, each of the size `panel`."""
    rows = math.ceil(count / columns)
    figure = new_figure((columns * panel[0], rows * panel[1]))
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def to_array(values: Array) -> NDArray[np.generic]:
    """The values as an array, from whatever device they are on."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)
