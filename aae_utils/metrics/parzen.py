"""Log-likelihood of test images under a Gaussian Parzen window of samples (section 3, Table 1).

The sum over the samples is exact to 1e-6 nats. In 784 dimensions almost every sample is too far from a
test image to count, and a cheap bound tells which. For 10,000 test images of MNIST one core took 2.5 s
with the first 10,000 samples and 1.2 to 1.6 s with each further 10,000; a plain sum over all pairs in
float64 took 8 s with each. So ten million samples need a quarter of an hour on two cores in place of
more than an hour. `benchmarks/parzen.py` times both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from aae_utils.metrics.inputs import (
    EvaluationError,
    float64,
    require_finite,
    require_points,
    require_same_width,
)

# A term that lies this many nats below the sum found so far changes it by exp(-32) = 1e-14 of its
# value: ten million such terms together move the result by 1e-7 nats.
NEGLIGIBLE_NATS = 32.0

# float32 rounding of the bound on a distance, relative to the norms: generous, and harmless to the
# speed.
BOUND_SLACK = 1e-5

# Speed only, never the result.
PROJECTED_DIMENSIONS = 64
GROUP_SIZE = 64
NEAREST_FIRST = 128

COARSE_SIGMAS = tuple(0.05 * 1.25**step for step in range(8))


@dataclass(frozen=True)
class SampleStream:
    """Samples drawn chunk by chunk, so that ten million of them never lie in memory.

    `draw(n)` returns `(n, D)`; every pass over the stream calls it anew until `count` samples are
    drawn.
    """

    draw: Callable[[int], Tensor]
    count: int
    chunk_size: int = 10_000

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, self.count, self.chunk_size):
            yield self.draw(min(self.chunk_size, self.count - start))


Samples = Tensor | SampleStream | Iterable[Tensor] | Callable[[], Iterable[Tensor]]


def parzen_log_likelihood(
    test: Tensor,
    samples: Samples,
    sigma: float | Sequence[float] | Tensor,
    *,
    chunk_size: int = 10_000,
    progress: bool = False,
) -> Tensor:
    """Log-likelihood of each test point under a Gaussian Parzen window (section 3), in nats.

    log p(x) = log 1/S sum_s N(x; s, sigma^2 I), summed as a stream, exact to 1e-6 nats.

    `test` is `(M, D)`. `samples` is `(S, D)`, a `SampleStream`, or an iterable (or a function that
    returns one) of chunks `(s, D)`. Returns `(M,)` float64 for one sigma, `(K, M)` for K of them in
    one pass over the samples. Raises `EvaluationError` for shapes that do not fit, non-finite
    values, and sigmas that are not positive.
    """
    sigmas = _sigmas(sigma)
    log_likelihood, _ = _parzen(test, samples, sigmas, chunk_size, progress)
    single = not isinstance(sigma, Sequence) and torch.as_tensor(sigma).ndim == 0
    return log_likelihood[0] if single else log_likelihood


def parzen_sigma(
    validation: Tensor,
    samples: Samples,
    sigmas: Sequence[float] | None = None,
    *,
    chunk_size: int = 10_000,
    progress: bool = False,
) -> tuple[float, list[tuple[float, float]]]:
    """Window width with the best mean log-likelihood of the validation set, and the curve.

    The curve is a list of (sigma, mean in nats), in the order of sigma.

    Without `sigmas` a coarse grid (factor 1.25) is followed by a fine one (about 2.5 %) around its
    best value: in 784 dimensions a sigma that is off by 5 % already costs 2 nats. With `sigmas` the
    choice is made among them. A grid whose best value lies at its border is widened until it does
    not. Every grid is one more pass over the samples, so a generator that can be read only once is
    refused.
    """
    if isinstance(samples, Iterator):
        raise EvaluationError(
            "Choosing sigma may read the samples more than once: give a tensor, a SampleStream or a "
            "function that returns a new iterator, not an iterator that is used up after one pass."
        )
    curve: dict[float, float] = {}

    def score(grid: Sequence[float]) -> None:
        means = _parzen(validation, samples, _sigmas(grid), chunk_size, progress)[0].mean(dim=1)
        curve.update(zip(grid, means.tolist(), strict=True))

    score(sorted(set(COARSE_SIGMAS if sigmas is None else map(float, sigmas))))
    _widen(curve, score)
    if sigmas is None:
        score(_between_neighbors(curve))
    best = max(curve, key=lambda width: curve[width])
    return best, sorted(curve.items())


@dataclass(frozen=True)
class LikelihoodEstimate:
    """One entry of Table 1: mean log-likelihood of the test set in nats, with how it was obtained.

    `standard_error` is over the test points, `curve` the mean log-likelihood of the validation set
    for each sigma.
    """

    mean: float
    standard_error: float
    sigma: float
    samples: int
    test_points: int
    curve: tuple[tuple[float, float], ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.mean:.1f} ± {self.standard_error:.1f} nats "
            f"(sigma {self.sigma:.3f}, {self.samples:,} samples, {self.test_points:,} test points)"
        )


def parzen_estimate(
    test: Tensor,
    validation: Tensor,
    samples: Samples,
    *,
    sigmas: Sequence[float] | None = None,
    chunk_size: int = 10_000,
    progress: bool = False,
) -> LikelihoodEstimate:
    """Protocol of section 3: sigma chosen on the validation set, then the test set scored.

    `test` is `(M, D)`, `validation` `(V, D)`, both in the space of the samples. A few thousand
    validation points are enough. With one entry in `sigmas` nothing is chosen and the validation
    set is not read.
    """
    if sigmas is not None and len(sigmas) == 1:
        best: float = float(sigmas[0])
        curve: list[tuple[float, float]] = []
    else:
        best, curve = parzen_sigma(validation, samples, sigmas, chunk_size=chunk_size, progress=progress)
    log_likelihood, count = _parzen(test, samples, _sigmas(best), chunk_size, progress)
    # One test point has a mean and no spread: its standard error is not a number.
    spread = log_likelihood[0].std().item() if len(test) > 1 else math.nan
    return LikelihoodEstimate(
        mean=log_likelihood[0].mean().item(),
        standard_error=spread / math.sqrt(len(test)),
        sigma=best,
        samples=count,
        test_points=len(test),
        curve=tuple(curve),
    )


def _widen(curve: dict[float, float], score: Callable[[Sequence[float]], None]) -> None:
    for _ in range(20):
        widths = sorted(curve)
        best = max(curve, key=lambda width: curve[width])
        factor = (widths[-1] / widths[0]) ** (1 / (len(widths) - 1)) if len(widths) > 1 else 1.25
        if best == widths[0]:
            score([best / factor**step for step in (3, 2, 1)])
        elif best == widths[-1]:
            score([best * factor**step for step in (1, 2, 3)])
        else:
            return
    raise EvaluationError(
        "No best sigma was found, because the validation log-likelihood still rises at the border "
        "of the widened grid, as it does when validation images are among the samples: take them "
        "out of the samples."
    )


def _between_neighbors(curve: dict[float, float], count: int = 17) -> list[float]:
    widths = sorted(curve)
    best = widths.index(max(curve, key=lambda width: curve[width]))
    low, high = widths[best - 1], widths[best + 1]
    return [low * (high / low) ** (step / (count + 1)) for step in range(1, count + 1)]


def _sigmas(sigma: float | Sequence[float] | Tensor) -> list[float]:
    values = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1).tolist()
    if not values or not all(0 < value < math.inf for value in values):
        raise EvaluationError(f"Sigma must be positive and finite, got {values}.")
    return values


def _parzen(
    test: Tensor, samples: Samples, sigmas: list[float], chunk_size: int, progress: bool
) -> tuple[Tensor, int]:
    """Log-likelihoods `(K, M)` and the number of samples that were read."""
    require_points(test, "test points")
    if chunk_size < 1:
        raise EvaluationError(f"chunk_size must be at least 1, got {chunk_size}.")
    bar = tqdm(
        total=_sample_count(samples),
        desc="Parzen window",
        unit=" samples",
        unit_scale=True,
        disable=None if progress else True,
    )
    count = 0
    with torch.no_grad(), _full_float32(), bar:
        window = _ParzenWindow(float64(test), sigmas)
        for chunk in _chunks(samples):
            for piece in chunk.split(chunk_size):
                window.add(piece)
                count += len(piece)
                bar.update(len(piece))
    if count == 0:
        raise EvaluationError("A Parzen window needs at least one sample, got none.")
    log_normalizer = math.log(count) + test.shape[1] / 2 * (2 * math.pi * window.variances).log()
    return window.log_sums() - log_normalizer, count


class _ParzenWindow:
    """Running log sum_s exp(-|x - s|^2 / 2 sigma^2) for all test points and all sigmas.

    Test points are held in groups of neighbors. For each group a lower bound of the distance, in few
    dimensions and float32, tells which samples can matter; the distances to these are computed in
    float64, since in float32 the products of two images, divided by sigma^2, would be off by 1e-3 nats.
    """

    def __init__(self, test: Tensor, sigmas: list[float]) -> None:
        self.test = test
        self.variances = torch.tensor(sigmas, dtype=torch.float64, device=test.device)[:, None] ** 2
        self.projection = _Projection(test)
        reduced = self.projection(test)
        self.groups = [
            _Group(
                members=members,
                rows=_query_rows(test[members]),
                bound_rows=_query_rows(reduced[members], BOUND_SLACK),
                variances=self.variances,
                log_sums=test.new_full((len(sigmas), len(members)), -math.inf),
            )
            for members in _neighbor_groups(reduced)
        ]

    def add(self, samples: Tensor) -> None:
        require_same_width(samples, self.test)
        samples = float64(samples).to(self.test.device)
        reduced = self.projection(samples)
        require_finite(reduced, "samples")
        rows, bound_rows = _sample_rows(samples), _sample_rows(reduced, BOUND_SLACK)
        for group in self.groups:
            group.add(rows, bound_rows)

    def log_sums(self) -> Tensor:
        """`(K, M)` float64, the test points in the order in which they were given."""
        members = torch.cat([group.members for group in self.groups])
        return torch.cat([group.log_sums for group in self.groups], dim=1)[:, members.argsort()]


@dataclass
class _Group:
    """Neighboring test points and their log sums `(K, m)` so far."""

    members: Tensor
    rows: Tensor
    bound_rows: Tensor
    variances: Tensor
    log_sums: Tensor

    def add(self, rows: Tensor, bound_rows: Tensor) -> None:
        """Add the samples that can matter, at the very first the nearest: after them far fewer can."""
        bounds = torch.mm(self.bound_rows, bound_rows.T)
        if self.log_sums.isneginf().any():
            nearest = bounds.amax(dim=0).topk(min(NEAREST_FIRST, len(rows))).indices
            self._add_exactly(rows[nearest])
            bounds[:, nearest] = -math.inf
        bounds -= self._floors()[:, None]
        self._add_exactly(rows[bounds.amax(dim=0) > 0])

    def _floors(self) -> Tensor:
        """Where -|x - s|^2 / 2 lies below these values `(m,)`, a sample changes no sum."""
        return ((self.log_sums - NEGLIGIBLE_NATS) * self.variances).amin(dim=0).float()

    def _add_exactly(self, rows: Tensor) -> None:
        if len(rows) == 0:
            return
        exponents = torch.mm(self.rows, rows.T)  # -|x - s|^2 / 2
        peaks = exponents.amax(dim=1)
        exponents -= peaks[:, None]
        for variance, sums in zip(self.variances, self.log_sums, strict=True):
            terms = (exponents / variance).exp_().sum(dim=1)
            sums.copy_(torch.logaddexp(sums, peaks / variance + terms.log()))


class _Projection:
    """Lower bound of a distance: leading principal components and the norm of what is left.

    |x - s|^2 = |Px - Ps|^2 + |Rx - Rs|^2 >= |Px - Ps|^2 + (|Rx| - |Rs|)^2, with P the projection on
    the leading components and R the rest. The right side is again a squared distance, of points
    with one coordinate more than P.
    """

    def __init__(self, points: Tensor) -> None:
        points = points.double()  # in float32 the decomposition fails on few points of many dimensions
        _, directions = torch.linalg.eigh(points.T @ points)
        # The bound holds for any orthonormal directions; float32 leaves them orthonormal to 1e-6 only.
        orthonormal, _ = torch.linalg.qr(directions[:, -PROJECTED_DIMENSIONS:])
        self.directions = orthonormal.float()

    def __call__(self, points: Tensor) -> Tensor:
        """`(N, D)` to `(N, 65)` float32, or `(N, D + 1)` where D is smaller than 64."""
        points = points.float()
        projected = points @ self.directions
        rest = points.square().sum(dim=1, keepdim=True) - projected.square().sum(dim=1, keepdim=True)
        return torch.cat([projected, rest.clamp_(min=0).sqrt()], dim=1)


def _query_rows(points: Tensor, slack: float = 0.0) -> Tensor:
    """Rows (x, -|x|^2 / 2, 1), for a product with the rows (s, 1, -|s|^2 / 2) of the samples.

    The product is -|x - s|^2 / 2. A positive `slack` makes it an upper bound in spite of rounding.
    """
    half = points.square().sum(dim=1, keepdim=True) * ((1 - slack) / 2)
    return torch.cat([points, -half, torch.ones_like(half)], dim=1)


def _sample_rows(points: Tensor, slack: float = 0.0) -> Tensor:
    half = points.square().sum(dim=1, keepdim=True) * ((1 - slack) / 2)
    return torch.cat([points, torch.ones_like(half), -half], dim=1)


def _neighbor_groups(points: Tensor) -> list[Tensor]:
    """Indices of the points in groups of neighbors, by a few rounds of k-means.

    The grouping decides how fast the window is, never what it returns.
    """
    count = max(1, len(points) // GROUP_SIZE)
    centers = points[:: len(points) // count][:count].clone()
    for _ in range(6):
        nearest = torch.cdist(points, centers).argmin(dim=1)
        sizes = torch.bincount(nearest, minlength=count)
        totals = torch.zeros_like(centers).index_add_(0, nearest, points)
        centers = torch.where(sizes[:, None] > 0, totals / sizes.clamp(min=1)[:, None], centers)
    order = nearest.argsort(stable=True)
    return [members for members in order.split(sizes.tolist()) if len(members) > 0]


def _chunks(samples: Samples) -> Iterable[Tensor]:
    if isinstance(samples, Tensor):
        return [samples]
    if isinstance(samples, Iterable):
        return samples
    if callable(samples):
        return samples()
    raise EvaluationError(
        "Samples must be a tensor, a SampleStream, or an iterable (or function that returns one) of tensors, "
        f"got {type(samples).__name__}."
    )


def _sample_count(samples: Samples) -> int | None:
    if isinstance(samples, SampleStream):
        return samples.count
    return len(samples) if isinstance(samples, Tensor) else None


@contextmanager
def _full_float32() -> Iterator[None]:
    # TF32 or bfloat16 products, which training may have switched on, are coarser than BOUND_SLACK.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
