"""Values are checked where they are set, and what is wrong is one sentence that names the field."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

LARGEST = 1_000_000
"""No count of this project (units, epochs, images in a minibatch) is beyond it; such a number is a slip."""

KINDS: dict[type, str] = {str: "text", tuple: "a tuple"}
"""What a sentence calls them."""


def require_whole(name: str, value: Any, least: int = 1, most: int = LARGEST) -> None:
    """Do nothing if `value` is a whole number from `least` to `most`; a ValueError names the field."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        foreign = isinstance(value, Integral) and not isinstance(value, int)  # JSON would not take it
        advice = ": use int()" if foreign and least <= value <= most else ""
        raise ValueError(f"{name} must be a whole number from {least:,} to {most:,}, not {value!r}{advice}.")


def require_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> None:
    """Do nothing if `value` is a finite number within the bounds; a ValueError names the field."""
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    fits = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not fits:
        raise ValueError(f"{name} must be a finite number{' ' * bool(wanted)}{wanted}, not {value!r}.")


def require_kind(name: str, value: object, *kinds: type) -> None:
    """Do nothing if `value` is an instance of one of `kinds`; a ValueError names the field."""
    if not isinstance(value, kinds):
        wanted = " or ".join(KINDS.get(kind, kind.__name__) for kind in kinds if kind is not type(None))
        raise ValueError(f"{name} must be {wanted}, not {value!r}.")


def require_known(name: str, value: object, known: Iterable[object]) -> None:
    """Do nothing if `value` is one of `known`; a ValueError lists them otherwise."""
    known = tuple(known)
    if value not in known:
        raise ValueError(f"Unknown {name} {value!r}: choose one of {', '.join(map(str, known))}.")


def require_flag(name: str, value: object) -> None:
    """Do nothing if `value` is True or False; a ValueError names the field."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}.")
