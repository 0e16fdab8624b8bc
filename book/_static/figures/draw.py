"""Draw the architecture diagrams of the book: `python book/_static/figures/draw.py [FOLDER]`.

Figures 1, 3, 6, 8 and 10 of the paper in a design of our own, written as SVG beside this file or
into FOLDER. All text becomes paths, so a diagram looks the same everywhere and loads no font. One
color stands for one part of the model in all five, and in the loss curves of `aae_utils.figures`.
"""

from __future__ import annotations

import argparse
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path

from aae_utils.figures import INK, MUTED, PART_COLORS

Point = tuple[float, float]

# A diagram is 100 units wide; a unit is a tenth of an inch, so sizes in points hold for 720 pt.
WIDTH = 100.0
UNIT = 0.1
TEXT, SMALL = 13.0, 11.5
LINE = 1.6
PITCH = 2.5
BAND = "#f3f4f6"
ONE_HOT, SOFTMAX = (0.2, 1.0, 0.2), (0.3, 0.8, 0.15)
ENCODER, DECODER = PART_COLORS["encoder"], PART_COLORS["decoder"]
DISCRIMINATOR = PART_COLORS["discriminator"]
PRIOR, LABEL = PART_COLORS["prior"], PART_COLORS["label"]
# Text needs more contrast than areas and lines do.
LABEL_INK = "#7d5a00"
DISCRIMINATOR_INK = "#ad4420"

# A handwritten 3 in the unit square: the stroke's points, joined by smooth curves.
STROKE = [
    (0.28, 0.74),
    (0.36, 0.92),
    (0.72, 0.90),
    (0.70, 0.70),
    (0.68, 0.56),
    (0.52, 0.53),
    (0.44, 0.53),
] + [(0.60, 0.54), (0.78, 0.46), (0.74, 0.27), (0.70, 0.06), (0.34, 0.06), (0.25, 0.25)]


@dataclass(frozen=True)
class Column:
    """A vector drawn as a column of cells; its edges are where arrows start and end."""

    x: float
    y: float
    cells: int
    half_width: float = 1.7

    @property
    def left(self) -> Point:
        """Middle of the left edge."""
        return self.x - self.half_width, self.y

    @property
    def right(self) -> Point:
        """Middle of the right edge."""
        return self.x + self.half_width, self.y

    @property
    def top(self) -> Point:
        """Middle of the top edge."""
        return self.x, self.y + (self.cells * PITCH + 0.9) / 2

    @property
    def bottom(self) -> Point:
        """Middle of the bottom edge."""
        return self.x, self.y - (self.cells * PITCH + 0.9) / 2


def tint(color: str, share: float = 0.16) -> tuple[float, ...]:
    """Mix a color with white."""
    return tuple(1 - share * (1 - channel) for channel in to_rgb(color))


def write(
    ax: Axes,
    place: Point,
    text: str,
    *,
    size: float = TEXT,
    color: str = INK,
    ha: str = "center",
    va: str = "center",
    weight: str = "normal",
) -> None:
    """Write text at a place."""
    ax.text(*place, text, fontsize=size, color=color, ha=ha, va=va, fontweight=weight, linespacing=1.35)


def band(ax: Axes, low: float, high: float, title: str, note: str = "") -> None:
    """A phase of training: a gray band with the phase's name and what is learned in it."""
    shape = FancyBboxPatch(
        (1.5, low), WIDTH - 3, high - low, boxstyle="round,pad=0,rounding_size=1.5", fc=BAND, ec="none"
    )
    ax.add_patch(shape)
    write(ax, (3.5, high - 2.6), title, size=SMALL, color=MUTED, ha="left", weight="bold")
    write(ax, (WIDTH - 3.5, high - 2.6), note, size=SMALL, color=MUTED, ha="right")


def arrow(ax: Axes, *points: Point, color: str = INK, dashed: bool = False) -> None:
    """An arrow through points, with straight pieces and rounded corners."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for end in (before, after):
            gap = np.subtract(end, corner)
            vertices.append(tuple(np.add(corner, gap / np.hypot(*gap))))
            codes.append(Path.LINETO if end is before else Path.CURVE3)
            if end is before:
                vertices.append(corner)
                codes.append(Path.CURVE3)
    vertices.append(points[-1])
    codes.append(Path.LINETO)
    ax.add_patch(
        FancyArrowPatch(
            path=Path(vertices, codes),
            arrowstyle="-|>,head_length=5,head_width=2.6",
            linestyle=(0, (3, 2)) if dashed else "-",
            color=color,
            linewidth=LINE,
            joinstyle="miter",
            capstyle="butt",
        )
    )


def network(ax: Axes, left: float, right: float, y: float, heights: Point, name: str, color: str) -> None:
    """An encoder, decoder or discriminator: a trapezium that narrows where the data does."""
    first, last = heights
    corners = [
        (left, y - first / 2),
        (left, y + first / 2),
        (right, y + last / 2),
        (right, y - last / 2),
    ]
    ax.add_patch(Polygon(corners, closed=True, fc=tint(color), ec=color, lw=LINE, joinstyle="round"))
    write(ax, ((left + right) / 2, y), name, color=color, weight="bold")


def vector(
    ax: Axes, x: float, y: float, color: str, *, cells: int = 4, shares: Sequence[float] | None = None
) -> Column:
    """A vector as a column of round units; with `shares`, probabilities as square cells."""
    column = Column(x, y, cells)
    body = FancyBboxPatch(
        (column.left[0], column.bottom[1]),
        2 * column.half_width,
        column.top[1] - column.bottom[1],
        boxstyle="round,pad=0,rounding_size=0.9",
        fc="white",
        ec=color,
        lw=LINE,
    )
    ax.add_patch(body)
    for cell in range(cells):
        middle = y + ((cells - 1) / 2 - cell) * PITCH
        if shares is None:
            ax.add_patch(Circle((x, middle), 0.85, fc=tint(color, 0.55), ec="none"))
        else:
            square(ax, (x, middle), 1.7, tint(color, shares[cell]))
    return column


def square(ax: Axes, center: Point, size: float, color: tuple[float, ...]) -> None:
    """A cell with slightly rounded corners."""
    corner = (center[0] - size / 2, center[1] - size / 2)
    style = "round,pad=0,rounding_size=0.25"
    ax.add_patch(FancyBboxPatch(corner, size, size, boxstyle=style, fc=color, ec="none"))


def one_hot_row(ax: Axes, left: float, y: float, names: Sequence[str], hot: int) -> float:
    """A one-hot label as a row of named cells; returns where the row ends."""
    size = 3.0
    for index, name in enumerate(names):
        x = left + index * size
        on = index == hot
        ax.add_patch(
            Polygon(
                [(x, y - size / 2), (x + size, y - size / 2), (x + size, y + size / 2), (x, y + size / 2)],
                fc=LABEL if on else tint(LABEL),
                ec=LABEL,
                lw=1.0,
            )
        )
        ink = "white" if on else INK
        write(ax, (x + size / 2, y), name, size=SMALL, color=ink, weight="bold" if on else "normal")
    return left + len(names) * size


def image(ax: Axes, x: float, y: float, name: str, *, faithful: bool = True, size: float = 9.0) -> None:
    """A handwritten digit; a reconstruction is a little softer."""
    ax.add_patch(
        FancyBboxPatch(
            (x - size / 2, y - size / 2),
            size,
            size,
            boxstyle="round,pad=0,rounding_size=0.6",
            fc="#15171a",
            ec="none",
        )
    )
    points = [(x + size * (u - 0.5), y + size * (v - 0.5)) for u, v in STROKE]
    path = Path(points, [Path.MOVETO] + [Path.CURVE4] * (len(points) - 1))
    layers = [("#ffffff", 5.0)] if faithful else [("#5b5f66", 7.5), ("#a9adb3", 5.4), ("#f2f3f5", 3.2)]
    for color, width in layers:
        ax.add_patch(PathPatch(path, fc="none", ec=color, lw=width, capstyle="round", joinstyle="round"))
    write(ax, (x, y - size / 2 - 2.2), name)


def frame(ax: Axes, x: float, y: float, size: float = 10.0) -> None:
    """The white square in which a prior is drawn."""
    ax.add_patch(
        FancyBboxPatch(
            (x - size / 2, y - size / 2),
            size,
            size,
            boxstyle="round,pad=0,rounding_size=0.8",
            fc="white",
            ec=PRIOR,
            lw=LINE,
        )
    )


def gaussian(ax: Axes, x: float, y: float) -> None:
    """The prior as contours of a 2-D Gaussian."""
    frame(ax, x, y)
    for radius, share in ((4.2, 0.14), (3.1, 0.3), (2.0, 0.5), (0.9, 0.85)):
        ax.add_patch(Circle((x, y), radius, fc=tint(PRIOR, share), ec="none"))


def mixture(ax: Axes, x: float, y: float, hot: int) -> None:
    """The prior as ten Gaussians on a circle; component `hot` is the one drawn from."""
    frame(ax, x, y)
    for component in range(10):
        angle = 2 * math.pi * component / 10
        color = LABEL if component == hot else tint(PRIOR, 0.6)
        center = (x + 2.8 * math.cos(angle), y + 2.8 * math.sin(angle))
        ax.add_patch(Ellipse(center, 3.0, 0.95, angle=math.degrees(angle), fc=color, ec="none"))


def categorical(ax: Axes, x: float, y: float) -> None:
    """The prior as ten equally likely classes."""
    frame(ax, x, y)
    for k in range(10):
        left = x - 4.05 + 0.83 * k
        ax.add_patch(
            Polygon(
                [(left, y - 2.6), (left + 0.6, y - 2.6), (left + 0.6, y + 1.9), (left, y + 1.9)],
                fc=tint(PRIOR, 0.6),
                ec="none",
            )
        )
    ax.plot([x - 4.2, x + 4.2], [y - 2.7, y - 2.7], color=PRIOR, lw=1.0)


def sign(ax: Axes, place: Point, positive: bool) -> None:
    """Mark an input of a discriminator: + from the prior, \N{MINUS SIGN} from the encoder."""
    color = PRIOR if positive else ENCODER
    x, y = place
    ax.add_patch(Circle(place, 1.35, fc=color, ec="white", lw=1.2, zorder=5))
    strokes = [((x - 0.65, x + 0.65), (y, y))] + [((x, x), (y - 0.65, y + 0.65))] * positive
    for horizontal, vertical in strokes:
        ax.plot(horizontal, vertical, color="white", lw=2.0, solid_capstyle="round", zorder=6)


def adversary(
    ax: Axes,
    y: float,
    code: Column,
    prior: Callable[[Axes, float, float], None],
    names: tuple[str, str],
    *,
    shares: Sequence[float] | None = None,
    judge: str = "discriminator",
    below: bool = True,
) -> None:
    """A discriminator with its two inputs: samples of a prior (+) and codes (\N{MINUS SIGN}).

    `names` are those of the prior and of its sample; `below` says on which side of the code it is.
    """
    towards = 1 if below else -1
    sample_y, code_y = y - 3.2 * towards, y + 3.6 * towards
    prior(ax, 10, sample_y)
    sample = vector(ax, 24, sample_y, PRIOR, cells=code.cells, shares=shares)
    write(ax, (10, sample_y - 7.6), names[0])
    write(ax, (24, sample_y - 7.6), names[1])
    arrow(ax, (15.2, sample_y), sample.left, color=PRIOR)
    arrow(ax, sample.right, (57, sample_y), color=PRIOR)
    start = code.bottom if below else code.top
    arrow(ax, start, (code.x, code_y), (57, code_y), color=ENCODER)
    sign(ax, (52.5, sample_y), True)
    sign(ax, (52.5, code_y), False)
    network(ax, 57, 77, y, (16, 9), judge, DISCRIMINATOR)
    arrow(ax, (77, y), (81.5, y), color=DISCRIMINATOR)
    verdict = "from the prior\nor the encoder?"
    write(ax, (82.5, y), verdict, size=SMALL, color=DISCRIMINATOR_INK, ha="left")


def autoencoder(ax: Axes, y: float, decoder: str = "decoder\n$p(x\\,|\\,z)$") -> Column:
    """The autoencoder of Figures 1, 3 and 6; returns its code."""
    image(ax, 9.5, y, "image $x$")
    arrow(ax, (14.2, y), (19, y))
    network(ax, 19, 37, y, (17, 10.5), "encoder\n$q(z\\,|\\,x)$", ENCODER)
    code = vector(ax, 46, y, ENCODER)
    arrow(ax, (37, y), code.left, color=ENCODER)
    write(ax, (46, y + 7.8), "code $z$")
    arrow(ax, code.right, (55, y), color=ENCODER)
    network(ax, 55, 73, y, (10.5, 17), decoder, DECODER)
    arrow(ax, (73, y), (82.8, y), color=DECODER)
    image(ax, 87.5, y, r"reconstruction $\hat{x}$", faithful=False)
    return code


def two_heads(ax: Axes, y: float, left: float, right: float, x: float) -> tuple[Column, Column]:
    """The encoder of Figures 8 and 10 with its two outputs, label and style, at `x`."""
    network(ax, left, right, y, (23, 19), "encoder\n$q(y, z\\,|\\,x)$", ENCODER)
    label = vector(ax, x, y + 6, LABEL, cells=3, shares=SOFTMAX)
    style = vector(ax, x, y - 6, ENCODER, cells=3)
    arrow(ax, (right, y + 6), label.left, color=ENCODER)
    arrow(ax, (right, y - 6), style.left, color=ENCODER)
    write(ax, (x - 1.3, y + 12.2), "label $y$", ha="right")
    write(ax, (x - 1.3, y - 12.4), "style $z$", ha="right")
    return label, style


def two_adversaries(ax: Axes, low: float, high: float, label: Column, style: Column) -> None:
    """The discriminators of Figures 8 and 10 in their bands below `low` and above `high`."""
    band(ax, high, high + 23.5, "Regularization phase: labels")
    band(ax, low - 26, low, "Regularization phase: styles")
    adversary(
        ax,
        high + 10.2,
        label,
        categorical,
        (r"prior $\mathrm{Cat}(y)$", "sample $y'$"),
        shares=ONE_HOT,
        judge="discriminator\nof labels",
        below=False,
    )
    adversary(
        ax,
        low - 13,
        style,
        gaussian,
        (r"prior $\mathcal{N}(0, I)$", "sample $z'$"),
        judge="discriminator\nof styles",
    )


def figure1(ax: Axes) -> None:
    """An autoencoder above, the discriminator of its codes below."""
    band(ax, 29, 54, "Reconstruction phase", "encoder and decoder learn to restore $x$")
    band(ax, 1.5, 27.5, "Regularization phase", "discriminator judges, encoder learns to fool it")
    code = autoencoder(ax, 40)
    adversary(ax, 14.5, code, gaussian, ("prior $p(z)$", "sample $z' \\sim p(z)$"))


def figure3(ax: Axes) -> None:
    """Figure 1 with the label at the discriminator, and a class for images without one."""
    band(ax, 37.5, 62.5, "Reconstruction phase", "encoder and decoder learn to restore $x$")
    band(ax, 1.5, 36, "Regularization phase", "the discriminator also sees the label")
    code = autoencoder(ax, 48.5)
    y = 23.5
    adversary(
        ax,
        y,
        code,
        lambda ax, x, y: mixture(ax, x, y, hot=3),
        ("prior $p(z)$", "sample $z' \\sim p(z)$"),
    )
    names = [*"0123456789", "?"]
    end = one_hot_row(ax, 67 - 1.5 * len(names), 6, names, hot=3)
    arrow(ax, (67, 7.6), (67, y - 6.25), color=LABEL)
    write(ax, (end + 1.2, 6), "?  no label\n(extra class)", size=SMALL, color=LABEL_INK, ha="left")
    for line, positive, text in (
        (7.9, True, "label of the component of $z'$"),
        (4.1, False, "label of the image $x$"),
    ):
        sign(ax, (16, line), positive)
        write(ax, (18.5, line), text, size=SMALL, color=LABEL_INK, ha="left")


def figure6(ax: Axes) -> None:
    """Figure 1 with the label at the decoder."""
    band(ax, 29, 62.5, "Reconstruction phase", "only the decoder sees the label")
    band(ax, 1.5, 27.5, "Regularization phase", "discriminator judges, encoder learns to fool it")
    y = 40
    code = autoencoder(ax, y, "decoder\n$p(x\\,|\\,y, z)$")
    one_hot_row(ax, 64 - 15, y + 14, [*"0123456789"], hot=3)
    arrow(ax, (64, y + 12.4), (64, y + 6.9), color=LABEL)
    write(ax, (47.6, y + 14), "label $y$, one-hot", color=LABEL_INK, ha="right")
    adversary(ax, 14.5, code, gaussian, ("prior $p(z)$", "sample $z' \\sim p(z)$"))


def figure8(ax: Axes) -> None:
    """One encoder for label and style, a discriminator for each, and a cost for known labels."""
    low, high, y = 29, 63.5, 44
    band(ax, low, high, "Reconstruction phase")
    image(ax, 9.5, y, "image $x$")
    arrow(ax, (14.2, y), (19, y))
    label, style = two_heads(ax, y, 19, 37, 46)
    arrow(ax, label.right, (55, label.y), color=LABEL)
    arrow(ax, style.right, (55, style.y), color=ENCODER)
    network(ax, 55, 73, y, (19, 23), "decoder\n$p(x\\,|\\,y, z)$", DECODER)
    arrow(ax, (73, y), (82.8, y), color=DECODER)
    image(ax, 87.5, y, r"reconstruction $\hat{x}$", faithful=False)
    known_labels(ax, label, y + 15.3)
    two_adversaries(ax, low - 1.5, high + 1.5, label, style)


def known_labels(ax: Axes, label: Column, y: float) -> None:
    """The cost of the semi-supervised classification phase."""
    start, bend = (label.right[0], label.y + 2.7), label.x + 4.5
    arrow(ax, start, (bend, start[1]), (bend, y), (54, y), color=LABEL, dashed=True)
    ax.add_patch(
        FancyBboxPatch(
            (54, y - 3),
            41,
            6,
            boxstyle="round,pad=0,rounding_size=0.9",
            fc=tint(LABEL),
            ec=LABEL,
            lw=LINE,
        )
    )
    text = "Semi-supervised classification phase:\ncross-entropy with the known labels"
    write(ax, (74.5, y), text, size=SMALL, color=LABEL_INK)


def figure10(ax: Axes) -> None:
    """Figure 8 with a code that is the sum of a cluster head and the style."""
    low, high, y = 29, 61, 43.5
    band(ax, low, high, "Reconstruction phase", "a penalty keeps the cluster heads apart")
    image(ax, 7, y, "$x$", size=7)
    arrow(ax, (10.7, y), (14, y))
    label, style = two_heads(ax, y, 14, 26.5, 32.5)
    matrix(ax, 38.5, 46.5, label.y)
    head = vector(ax, 52, label.y, LABEL, cells=3)
    write(ax, (52, label.y + 6.4), "cluster head")
    arrow(ax, label.right, (38.5, label.y), color=LABEL)
    arrow(ax, (46.5, label.y), head.left, color=LABEL)
    arrow(ax, head.right, (58, head.y), (58, y + 1.6), color=LABEL)
    arrow(ax, style.right, (58, style.y), (58, y - 1.6), color=ENCODER)
    plus(ax, 58, y)
    code = vector(ax, 64, y, INK, cells=3)
    arrow(ax, (59.6, y), code.left)
    write(ax, (62.9, y - 9.4), "representation\n= head + style", size=SMALL)
    arrow(ax, code.right, (70, y))
    network(ax, 70, 82.5, y, (13, 23), "decoder", DECODER)
    arrow(ax, (82.5, y), (87.2, y), color=DECODER)
    image(ax, 91, y, r"$\hat{x}$", faithful=False, size=7)
    two_adversaries(ax, low - 1.5, high + 1.5, label, style)


def matrix(ax: Axes, left: float, right: float, y: float) -> None:
    """The linear layer W_C, whose rows are the cluster heads."""
    ax.add_patch(
        FancyBboxPatch(
            (left, y - 3.2),
            right - left,
            6.4,
            boxstyle="round,pad=0,rounding_size=0.9",
            fc=tint(LABEL),
            ec=LABEL,
            lw=LINE,
        )
    )
    write(ax, ((left + right) / 2, y), "$W_C$", size=TEXT + 2, color=LABEL_INK)


def plus(ax: Axes, x: float, y: float) -> None:
    """A sum of two vectors."""
    ax.add_patch(Circle((x, y), 1.6, fc="white", ec=INK, lw=LINE))
    ax.plot([x - 0.8, x + 0.8], [y, y], color=INK, lw=LINE)
    ax.plot([x, x], [y - 0.8, y + 0.8], color=INK, lw=LINE)


FIGURES: dict[int, tuple[Callable[[Axes], None], float, str]] = {
    1: (figure1, 55.5, "the adversarial autoencoder"),
    3: (figure3, 64, "label information in the adversarial regularization"),
    6: (figure6, 64, "the supervised adversarial autoencoder"),
    8: (figure8, 90, "the semi-supervised adversarial autoencoder"),
    10: (figure10, 87.5, "dimensionality reduction with cluster heads"),
}


def render(draw: Callable[[Axes], None], height: float, title: str) -> str:
    """Draw one diagram and return it as SVG text, the same text every time."""
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": title, "mathtext.fontset": "cm"}):
        figure = plt.figure(figsize=(WIDTH * UNIT, height * UNIT))
        figure.patch.set_alpha(0)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
        axes.axis("off")
        axes.add_patch(
            FancyBboxPatch(
                (0, 0), WIDTH, height, boxstyle="round,pad=0,rounding_size=2", fc="white", ec="none"
            )
        )
        draw(axes)
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata={"Title": title, **nothing})
        plt.close(figure)
    # the document type and the metadata name other hosts, which no reader of the book needs
    text = re.sub(r"<!DOCTYPE.*?>\n| *<metadata>.*?</metadata>\n", "", file.getvalue(), flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def main() -> None:
    """Write all diagrams."""
    parser = argparse.ArgumentParser(description="Draw the architecture diagrams of the book.")
    parser.add_argument("folder", nargs="?", type=FilePath, default=FilePath(__file__).parent)
    folder = parser.parse_args().folder
    for number, (draw, height, title) in FIGURES.items():
        text = render(draw, height, f"Figure {number}: {title}")
        (folder / f"figure{number}.svg").write_text(text)


if __name__ == "__main__":
    main()
