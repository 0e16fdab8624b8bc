"""How well q(z) matches p(z) (section 2), and whether codes lie where their labels belong (section 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from aae_utils.metrics.classification import classification_error
from aae_utils.metrics.inputs import EvaluationError, require_labels, require_points
from aae_utils.seeds import random_stream


class Sampler(Protocol):
    """Anything that draws codes, such as the priors of `aae_utils.priors`."""

    def sample(
        self, count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw `(count, D)` codes."""
        ...


def sliced_wasserstein(a: Tensor, b: Tensor, *, projections: int = 128, generator: torch.Generator) -> float:
    """Sliced 2-Wasserstein distance between two point sets of equal size, `(N, D)` each.

    Both sets are projected on random directions, where the best pairing is that of the sorted
    values; the result is the root of the mean squared difference over pairs and directions, in the
    units of the points. Two equal clouds that lie a vector d apart have a distance of about |d| /
    sqrt(D).
    """
    require_points(a, "points of the first set")
    require_points(b, "points of the second set")
    if a.shape != b.shape:
        raise EvaluationError(
            f"The two point sets must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}: "
            "draw as many samples of the prior as there are codes."
        )
    if projections < 1:
        raise EvaluationError(f"projections must be at least 1, got {projections}.")
    directions = torch.randn(a.shape[1], projections, generator=generator, device=generator.device)
    directions = directions.cpu().double()
    directions = directions / directions.norm(dim=0)
    sorted_a, sorted_b = (
        (points.detach().cpu().double() @ directions).sort(dim=0).values for points in (a, b)
    )
    return (sorted_a - sorted_b).square().mean().sqrt().item()


def noise_floor(
    prior_sample: Callable[[int], Tensor],
    count: int,
    repeats: int = 10,
    *,
    projections: int = 128,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Mean and standard deviation of the sliced distance between two samples of the prior itself.

    `prior_sample(count)` returns `(count, D)`. A perfect q(z) would score about the mean, not zero:
    distances of the same size mean "no difference seen at this sample size".
    """
    if repeats < 2:
        raise EvaluationError(f"repeats must be at least 2 to give a standard deviation, got {repeats}.")
    distances = [
        sliced_wasserstein(
            prior_sample(count), prior_sample(count), projections=projections, generator=generator
        )
        for _ in range(repeats)
    ]
    values = torch.tensor(distances, dtype=torch.float64)
    return values.mean().item(), values.std().item()


def prior_distance(prior: Sampler, codes: Tensor, seed: int = 0) -> float:
    """Sliced Wasserstein distance of codes `(N, D)` from as many samples of the prior.

    Codes of a stochastic posterior are drawn from the stream "codes", so that they are independent of
    this sample: a posterior that equals the prior scores the noise floor.
    """
    sample = prior.sample(len(codes), random_stream(seed, "prior", codes.device), codes.device)
    return sliced_wasserstein(codes, sample, generator=random_stream(seed, "projections"))


def prior_floor(prior: Sampler, count: int = 10_000) -> float:
    """Mean distance of two samples `(count, D)` of the prior: what a perfect q(z) would score."""
    noise = torch.Generator().manual_seed(0)
    return noise_floor(lambda size: prior.sample(size, noise), count, generator=noise)[0]


def region_share(codes: Tensor, labels: Tensor, regions: Callable[[Tensor], Tensor]) -> float:
    """Share of codes that lie in the region of their own label, in percent (section 2.3).

    `codes` is `(N, D)`, `labels` `(N,)`; `regions(codes)` returns the label `(N,)` of the region of
    each code, such as the nearest component of the mixture or the segment of the swiss roll.
    """
    require_points(codes, "codes")
    require_labels(labels, len(codes), "labels")
    return 100 - classification_error(regions(codes), labels)
