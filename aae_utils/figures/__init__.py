"""The paper's figures, drawn from arrays or tensors.

Every function that draws returns a matplotlib `Figure`, already closed for pyplot, so a notebook
shows it once; those that take `ax` draw into that `Axes` instead. `use_style` sets the common look.
"""

from aae_utils.figures.codes import (
    circle_projection,
    code_densities,
    codes,
    codes_beside_prior,
    heads_projection,
)
from aae_utils.figures.curves import LN_2, comparison, confusion, losses, variations
from aae_utils.figures.images import (
    SEPARATOR_PIXELS,
    clusters,
    image_grid,
    manifold,
    manifolds,
    percentile_grid,
    samples_with_neighbors,
    style_grid,
    tile,
)
from aae_utils.figures.style import (
    ABSENT_COLOR,
    DIGIT_COLORS,
    GAP_COLOR,
    INK,
    MUTED,
    PART_COLORS,
    RETINA,
    SCREEN_DPI,
    FigureError,
    use_style,
)

__all__ = [
    "ABSENT_COLOR",
    "DIGIT_COLORS",
    "GAP_COLOR",
    "INK",
    "LN_2",
    "MUTED",
    "PART_COLORS",
    "RETINA",
    "SCREEN_DPI",
    "SEPARATOR_PIXELS",
    "FigureError",
    "circle_projection",
    "clusters",
    "code_densities",
    "codes",
    "codes_beside_prior",
    "comparison",
    "confusion",
    "heads_projection",
    "image_grid",
    "losses",
    "manifold",
    "manifolds",
    "percentile_grid",
    "samples_with_neighbors",
    "style_grid",
    "tile",
    "use_style",
    "variations",
]
