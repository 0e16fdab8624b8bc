"""Recipes and descriptions of runs as plain values and back; nothing is left out, completed or guessed."""

from __future__ import annotations

import functools
import json
import operator
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from cattrs import Converter, transform_error
from cattrs.strategies import configure_tagged_union, configure_union_passthrough

from aae_utils.recipes import ModelSettings
from aae_utils.variants import VARIANTS

Described = TypeVar("Described")


class DescriptionError(ValueError):
    """Plain values are not the whole description of what they should describe."""


def to_plain(value: Any) -> Any:
    """Dictionaries, lists, text and numbers; models are tagged by `variant`, priors and heads by `kind`."""
    return json.loads(json.dumps(_converter().unstructure(value), allow_nan=False))


def from_plain(values: Any, kind: type[Described]) -> Described:
    """What `to_plain` described; DescriptionError names a field that is missing, unknown or impossible."""
    try:
        found = _converter().structure(values, kind)
    except Exception as error:  # cattrs wraps whatever a constructor raises
        raise DescriptionError(transform_error(error, format_exception=_in_words)[0]) from error
    difference = _first_difference(values, to_plain(found))
    if difference:
        raise DescriptionError(f"{difference} is missing, unknown or of another kind")
    return found


def difference_of(first: Any, second: Any) -> str:
    """Name of the first field in which two described things differ; empty where they are the same."""
    return _first_difference(to_plain(first), to_plain(second))


@functools.cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    configure_union_passthrough(str | bool | int | float | None, converter)
    for union in _choices():
        configure_tagged_union(union, converter, lambda kind: kind.__name__, tag_name="kind")
    models: Any = functools.reduce(operator.or_, VARIANTS.values())
    configure_tagged_union(models, converter, _variant, tag_name="variant")
    converter.register_structure_hook_func(
        lambda kind: kind is ModelSettings, lambda values, _: converter.structure(values, models)
    )
    converter.register_unstructure_hook_func(
        lambda kind: kind is ModelSettings, lambda value: converter.unstructure(value, models)
    )
    return converter


def _variant(kind: Any) -> str:
    return str(kind.variant)


def _choices() -> set[Any]:
    """The fields of models that take one of several dataclasses, such as a prior."""
    hints = [hint for variant in VARIANTS.values() for hint in get_type_hints(variant).values()]
    return {hint for hint in hints if len(get_args(hint)) > 1 and all(map(is_dataclass, get_args(hint)))}


def _in_words(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing or unknown"
    return " ".join(str(error).split())


def _first_difference(first: Any, second: Any, name: str = "") -> str:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [*first, *second]:
            inner = f"{name}.{key}".lstrip(".")
            if key not in first or key not in second:
                return inner
            difference = _first_difference(first[key], second[key], inner)
            if difference:
                return difference
        return ""
    return "" if first == second and isinstance(first, bool) == isinstance(second, bool) else name
