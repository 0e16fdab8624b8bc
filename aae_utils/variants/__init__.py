"""One room for each use of the model, in the order of the paper; this is the only list of them."""

from __future__ import annotations

from aae_utils.checks import require_known
from aae_utils.recipes import SETTINGS, ModelSettings, Recipe, Setting
from aae_utils.variants import (
    adversarial,
    clustering,
    dimensionality_reduction,
    label_regularized,
    likelihood,
    semi_supervised,
    supervised,
    variational,
)

ROOMS = (
    adversarial,
    variational,
    label_regularized,
    likelihood,
    supervised,
    semi_supervised,
    clustering,
    dimensionality_reduction,
)

_RECIPES: dict[str, tuple[Recipe, Recipe]] = {
    laptop.name: (laptop, paper) for room in ROOMS for laptop, paper in room.RECIPES
}
VARIANTS: dict[str, type[ModelSettings]] = {
    type(laptop.model).variant: type(laptop.model) for laptop, _ in _RECIPES.values()
}
"""Each variant's settings by its name in a run's description."""


def recipe_names() -> list[str]:
    """Every recipe's name, in the order of the paper."""
    return list(_RECIPES)


def get_recipe(name: str, setting: Setting = "laptop") -> Recipe:
    """The recipe of that name; a ValueError lists the known ones."""
    require_known("recipe", name, _RECIPES)
    require_known("setting", setting, SETTINGS)
    return _RECIPES[name][SETTINGS.index(setting)]


def stages_before(recipe: Recipe) -> list[str]:
    """The names of the recipes that a recipe goes back to, the nearest first; none from random weights."""
    if recipe.start is None:
        return []
    return [recipe.start.recipe, *stages_before(get_recipe(recipe.start.recipe, recipe.setting))]
