"""Checks of what measures are given; what does not fit is one sentence that says what was expected."""

from __future__ import annotations

import torch
from torch import Tensor


class EvaluationError(ValueError):
    """An input of a measure has the wrong shape, size or value."""


class NotFinite(EvaluationError):
    """Values are NaN or infinite."""


def require_points(points: Tensor, name: str) -> None:
    """Raise `EvaluationError` unless `points` is finite floating-point numbers `(N, D)`."""
    if points.ndim != 2 or 0 in points.shape or not points.is_floating_point():
        raise EvaluationError(
            f"The {name} must be a floating-point tensor of shape (N, D) with N and D at least 1, "
            f"got {points.dtype} of shape {tuple(points.shape)}."
        )
    require_finite(points, name)


def require_finite(values: Tensor, name: str) -> None:
    """Raise `EvaluationError` if any value is NaN or infinite."""
    if not values.isfinite().all():
        raise NotFinite(f"The {name} hold NaN or infinite values.")


def require_same_width(points: Tensor, reference: Tensor) -> None:
    """Raise `EvaluationError` unless both sets of points `(N, D)` have the same D."""
    if points.ndim != 2 or points.shape[1] != reference.shape[1]:
        raise EvaluationError(
            f"Both sets of points must have the same dimension: expected (N, {reference.shape[1]}), "
            f"got {tuple(points.shape)}."
        )


def require_labels(labels: Tensor, count: int, name: str) -> None:
    """Raise `EvaluationError` unless there is one label for each of at least one example."""
    if labels.ndim != 1 or len(labels) != count or count == 0:
        raise EvaluationError(
            f"The {name} must have shape ({count},), one for each example and at least one, "
            f"got {tuple(labels.shape)}."
        )


def require_scores(scores: Tensor, labels: Tensor, name: str) -> None:
    """Raise `EvaluationError` unless scores `(N, K)` and labels `(N,)` belong together."""
    require_points(scores, f"{name} scores")
    require_labels(labels, len(scores), f"{name} labels")


def float64(points: Tensor) -> Tensor:
    """The points in float64, on the CPU where their device has none, as Apple's GPUs."""
    points = points.detach()
    return (points.cpu() if points.device.type == "mps" else points).to(torch.float64)
