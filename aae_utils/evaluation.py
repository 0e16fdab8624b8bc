"""Metrics of the paper: likelihood, classification and clustering error, distance to the prior.

Every function takes tensors or arrays of results and knows nothing about models. Errors are
percentages, likelihoods are nats, and a wrong shape raises `EvaluationError` with one sentence that
says what was expected.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

# A term that lies this many nats below the sum found so far changes it by exp(-32) = 1e-14 of its
# value: ten million such terms together move the result by 1e-7 nats.
NEGLIGIBLE_NATS = 32.0

# float32 rounding of the bound on a distance, relative to the norms: generous, and harmless to the
# speed.
BOUND_SLACK = 1e-5

# Speed only, never the result; on MNIST anything from 48 to 100 is about as fast.
PROJECTED_DIMENSIONS = 64
TEST_POINTS_PER_GROUP = 64

FIRST_PIECE = 1000
COARSE_SIGMAS = tuple(0.05 * 1.25**step for step in range(8))


class EvaluationError(ValueError):
    """An input of a metric has the wrong shape, size or value."""


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


# --------------------------------------------------------------------------------------------------
# Likelihood (section 3, Table 1)


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
    _require_points(test, "test points")
    if chunk_size < 1:
        raise EvaluationError(f"chunk_size must be at least 1, got {chunk_size}.")
    test = _off_mps(test.detach())
    window = _ParzenWindow(test, sigmas)
    bar = tqdm(
        total=_sample_count(samples),
        desc="Parzen window",
        unit=" samples",
        unit_scale=True,
        disable=None if progress else True,
    )
    count = 0
    with torch.no_grad(), _full_float32(), bar:
        for piece in _pieces(samples, chunk_size):
            window.add(piece)
            count += len(piece)
            bar.update(len(piece))
    if count == 0:
        raise EvaluationError("A Parzen window needs at least one sample, got none.")
    widths = torch.tensor(sigmas, dtype=torch.float64, device=test.device)
    log_normalizer = math.log(count) + test.shape[1] / 2 * (2 * math.pi * widths**2).log()
    return window.log_sums() - log_normalizer[:, None], count


class _ParzenWindow:
    """Running log sum_s exp(-|x - s|^2 / 2 sigma^2) for all test points and all sigmas.

    In high dimension almost every sample is too far from a test point to count. Test points are
    therefore held in groups of neighbors, and a lower bound of the distance, in few dimensions and
    float32, tells which samples can matter to a group. Only for those is the full distance
    computed, in float64: in float32 the products of two images, divided by sigma^2, would be off by
    up to 1e-3 nats.
    """

    def __init__(self, test: Tensor, sigmas: list[float]) -> None:
        self.test = test
        self.sigmas = sigmas
        self.projection = _Projection(test)
        reduced = self.projection(test)
        self.groups = [
            _Group(
                members=members,
                rows=_query_rows(test[members].double()),
                bound_rows=_query_rows(reduced[members], BOUND_SLACK),
                log_sums=torch.full(
                    (len(sigmas), len(members)), -math.inf, dtype=torch.float64, device=test.device
                ),
            )
            for members in _neighbor_groups(reduced)
        ]

    def add(self, samples: Tensor) -> None:
        _require_same_width(samples, self.test)
        samples = samples.detach().to(self.test.device)
        reduced = self.projection(samples)
        _require_finite(reduced, "samples")
        bound_rows = _sample_rows(reduced, BOUND_SLACK)
        for group in self.groups:
            selected = group.relevant(bound_rows, self.sigmas)
            if len(selected) > 0:
                group.add(_sample_rows(samples[selected].double()), self.sigmas)

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
    log_sums: Tensor

    def relevant(self, bound_rows: Tensor, sigmas: list[float]) -> Tensor:
        """Indices of the samples that can add to the sum of any member."""
        floors = [
            (sums - NEGLIGIBLE_NATS) * sigma**2 for sums, sigma in zip(self.log_sums, sigmas, strict=True)
        ]
        excess = torch.mm(self.bound_rows, bound_rows.T)
        excess -= torch.stack(floors).amin(dim=0).to(excess.dtype)[:, None]
        return (excess.amax(dim=0) > 0).nonzero().squeeze(1)

    def add(self, sample_rows: Tensor, sigmas: list[float]) -> None:
        exponents = torch.mm(self.rows, sample_rows.T)  # -|x - s|^2 / 2
        peaks = exponents.amax(dim=1)
        for sums, sigma in zip(self.log_sums, sigmas, strict=True):
            log_peaks = peaks / sigma**2
            near = (log_peaks > sums - NEGLIGIBLE_NATS).nonzero().squeeze(1)
            if len(near) == 0:
                continue
            terms = exponents[near].sub_(peaks[near, None]).mul_(1 / sigma**2).exp_()
            sums[near] = torch.logaddexp(sums[near], log_peaks[near] + terms.sum(dim=1).log())


class _Projection:
    """Lower bound of a distance: leading principal components and the norm of what is left.

    |x - s|^2 = |Px - Ps|^2 + |Rx - Rs|^2 >= |Px - Ps|^2 + (|Rx| - |Rs|)^2, with P the projection on
    the leading components and R the rest. The right side is again a squared distance, of points
    with one coordinate more than P.
    """

    def __init__(self, points: Tensor) -> None:
        points = points.double()
        _, directions = torch.linalg.eigh(points.T @ points)
        self.directions = directions[:, -PROJECTED_DIMENSIONS:].float()

    def __call__(self, points: Tensor) -> Tensor:
        """`(N, D)` to `(N, 65)` float32, or `(N, D + 1)` where D is smaller than 64."""
        points = points.float()
        projected = points @ self.directions
        rest = _squared_norms(points) - _squared_norms(projected)
        return torch.cat([projected, rest.clamp_(min=0).sqrt()], dim=1)


def _query_rows(points: Tensor, slack: float = 0.0) -> Tensor:
    """Rows (x, -|x|^2 / 2, 1), for a product with the rows (s, 1, -|s|^2 / 2) of the samples.

    The product is -|x - s|^2 / 2. A positive `slack` makes it an upper bound in spite of rounding.
    """
    half = _squared_norms(points) * ((1 - slack) / 2)
    return torch.cat([points, -half, torch.ones_like(half)], dim=1)


def _sample_rows(points: Tensor, slack: float = 0.0) -> Tensor:
    half = _squared_norms(points) * ((1 - slack) / 2)
    return torch.cat([points, torch.ones_like(half), -half], dim=1)


def _squared_norms(points: Tensor) -> Tensor:
    # Without the temporary of points.square().sum(), which costs more than the sum itself.
    return torch.linalg.vector_norm(points, dim=1, keepdim=True).square()


def _neighbor_groups(points: Tensor) -> list[Tensor]:
    """Indices of the points in groups of neighbors, by a few rounds of k-means.

    The grouping decides how fast the window is, never what it returns.
    """
    count = max(1, len(points) // TEST_POINTS_PER_GROUP)
    centers = points[:: len(points) // count][:count].clone()
    for _ in range(6):
        nearest = torch.cdist(points, centers).argmin(dim=1)
        sizes = torch.bincount(nearest, minlength=count)
        totals = torch.zeros_like(centers).index_add_(0, nearest, points)
        centers = torch.where(sizes[:, None] > 0, totals / sizes.clamp(min=1)[:, None], centers)
    order = nearest.argsort(stable=True)
    return [members for members in order.split(sizes.tolist()) if len(members) > 0]


def _pieces(samples: Samples, chunk_size: int) -> Iterator[Tensor]:
    """The samples in pieces of at most `chunk_size`; the first piece is small.

    The first piece has no earlier sum to be compared with, so all its distances must be computed.
    """
    size = min(FIRST_PIECE, chunk_size)
    for chunk in _chunks(samples):
        start = 0
        while start < len(chunk):
            yield chunk[start : start + size]
            start += size
            size = chunk_size


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


def _off_mps(points: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    return points.cpu() if points.device.type == "mps" else points


@contextmanager
def _full_float32() -> Iterator[None]:
    # TF32 or bfloat16 products, which training may have switched on, are coarser than the slack of
    # the bound.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


# --------------------------------------------------------------------------------------------------
# Classification and clustering (sections 5 to 7, Tables 2 and 3)


def classification_error(predictions: Tensor, labels: Tensor) -> float:
    """Share of predictions `(N,)` that differ from the labels `(N,)`, in percent (Table 2)."""
    _require_labels(predictions, len(labels), "predictions")
    _require_labels(labels, len(predictions), "labels")
    return 100 * (predictions != labels.to(predictions.device)).sum().item() / len(labels)


def log_odds(logits: Tensor) -> Tensor:
    """Log-odds, log q(y_i|x) / (1 - q(y_i|x)), of the softmax of logits `(N, K)`, in nats.

    It rises with q(y_i|x) and never rounds: in float32 a softmax is exactly 1 for hundreds of images, and
    nobody can tell which of them is the surest.
    """
    clusters = logits.shape[1]
    own = torch.eye(clusters, dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].masked_fill(own, -math.inf)
    return logits - others.logsumexp(2)


def cluster_labels(validation_scores: Tensor, validation_labels: Tensor) -> Tensor:
    """Label of each cluster by the rule of section 6, `(K,)`.

    Cluster i gets the true label of the validation example x_n with the largest q(y_i | x_n), the
    first one if several tie. `validation_scores` is `(N, K)` and rises with q(y_i | x_n): its
    `log_odds`, or the probabilities where none of them rounds to 1. `validation_labels` is `(N,)`.
    """
    _require_scores(validation_scores, validation_labels, "validation")
    most_certain = validation_scores.argmax(dim=0)
    return validation_labels.to(most_certain.device)[most_certain]


def clustering_error(test_scores: Tensor, test_labels: Tensor, cluster_to_label: Tensor) -> float:
    """Error in percent when each point gets the label of its most probable cluster (Table 3).

    `test_scores` is `(N, K)`, `test_labels` `(N,)`, `cluster_to_label` `(K,)` as from
    `cluster_labels`.
    """
    _require_scores(test_scores, test_labels, "test")
    _require_labels(cluster_to_label, test_scores.shape[1], "cluster labels")
    clusters = test_scores.argmax(dim=1)
    return classification_error(cluster_to_label.to(clusters.device)[clusters], test_labels)


def majority_vote_error(test_scores: Tensor, test_labels: Tensor) -> float:
    """Error in percent when each cluster takes the commonest true label among its own test points.

    Many papers report this one. It reads the test labels, so it is at most the error of any other
    labelling.
    """
    _require_scores(test_scores, test_labels, "test")
    clusters = test_scores.argmax(dim=1)
    _, label_index = test_labels.to(clusters.device).unique(return_inverse=True)
    classes = int(label_index.max()) + 1
    table = torch.bincount(clusters * classes + label_index, minlength=test_scores.shape[1] * classes)
    correct = table.view(-1, classes).amax(dim=1).sum().item()
    return 100 * (len(test_labels) - correct) / len(test_labels)


def clustering_report(
    test_scores: Tensor,
    test_labels: Tensor,
    validation_scores: Tensor,
    validation_labels: Tensor,
) -> dict[str, float]:
    """All clustering numbers of section 6 by name.

    `error` (the paper's rule) and `majority_vote_error` in percent, `nmi` (normalized mutual
    information) and `ari` (adjusted Rand index) with 1 for a perfect clustering, `clusters`, and
    `empty_clusters`: those that no test point belongs to.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    _require_scores(test_scores, test_labels, "test")
    labels_of_clusters = cluster_labels(validation_scores, validation_labels)
    clusters = test_scores.argmax(dim=1).cpu().numpy()
    labels = test_labels.cpu().numpy()
    count = test_scores.shape[1]
    return {
        "error": clustering_error(test_scores, test_labels, labels_of_clusters),
        "majority_vote_error": majority_vote_error(test_scores, test_labels),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "clusters": float(count),
        "empty_clusters": float(count - len(set(clusters.tolist()))),
    }


# --------------------------------------------------------------------------------------------------
# How well q(z) matches p(z) (section 2)


def sliced_wasserstein(a: Tensor, b: Tensor, *, projections: int = 128, generator: torch.Generator) -> float:
    """Sliced 2-Wasserstein distance between two point sets of equal size, `(N, D)` each.

    Both sets are projected on random directions, where the best pairing is that of the sorted
    values; the result is the root of the mean squared difference over pairs and directions, in the
    units of the points. Two equal clouds that lie a vector d apart have a distance of about |d| /
    sqrt(D).
    """
    _require_points(a, "points of the first set")
    _require_points(b, "points of the second set")
    if a.shape != b.shape:
        raise EvaluationError(
            f"The two point sets must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}: "
            "draw as many samples of the prior as there are codes."
        )
    if projections < 1:
        raise EvaluationError(f"projections must be at least 1, got {projections}.")
    a, b = _off_mps(a.detach()), _off_mps(b.detach())
    drawn = torch.float32 if generator.device.type == "mps" else torch.float64
    directions = torch.randn(
        a.shape[1], projections, generator=generator, device=generator.device, dtype=drawn
    )
    directions = directions.to(a.device).double()
    directions = directions / directions.norm(dim=0)
    sorted_a = (a.double() @ directions).sort(dim=0).values
    sorted_b = (b.to(a.device).double() @ directions).sort(dim=0).values
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


# --------------------------------------------------------------------------------------------------
# Reconstruction and overfitting


def reconstruction_error(images: Tensor, reconstructions: Tensor) -> float:
    """Mean squared error per pixel between images and reconstructions, `(N, D)` each."""
    _require_points(images, "images")
    if images.shape != reconstructions.shape:
        raise EvaluationError(
            f"Reconstructions must have the shape of the images {tuple(images.shape)}, "
            f"got {tuple(reconstructions.shape)}."
        )
    difference = _off_mps(images.detach() - reconstructions.detach().to(images.device))
    return difference.double().square().mean().item()


def black_image_error(images: Tensor) -> float:
    """Reconstruction error of answering zero for every pixel: a model above it learned nothing."""
    return reconstruction_error(images, torch.zeros_like(images))


def mean_image_error(images: Tensor) -> float:
    """Reconstruction error of always answering the mean image: what an empty code can reach."""
    _require_points(images, "images")
    return reconstruction_error(images, images.mean(dim=0).expand_as(images))


def nearest_training_images(samples: Tensor, training: Tensor, chunk_size: int = 10_000) -> Tensor:
    """Index `(S,)` of the training image that is nearest to each sample (Figure 5, last column).

    `samples` is `(S, D)`, `training` `(N, D)`. The distance is Euclidean.
    """
    _require_points(samples, "samples")
    _require_points(training, "training images")
    _require_same_width(samples, training)
    queries = _query_rows(_off_mps(samples.detach()).double())
    closeness = torch.full_like(queries[:, 0], -math.inf)
    nearest = torch.zeros_like(closeness, dtype=torch.int64)
    for start in range(0, len(training), chunk_size):
        chunk = training[start : start + chunk_size].detach().to(queries.device, torch.float64)
        values, indices = (queries @ _sample_rows(chunk).T).max(dim=1)
        nearest = torch.where(values > closeness, indices + start, nearest)
        closeness = torch.maximum(values, closeness)
    return nearest.to(samples.device)


# --------------------------------------------------------------------------------------------------
# What a code says about the label (sections 2.3 and 4)


def linear_probe_error(
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    *,
    seed: int = 0,
) -> float:
    """Test error in percent of a logistic regression that reads the label from the code alone.

    Codes are `(N, D)`, labels `(N,)`. Near chance (90 % for ten equally common digits) means that
    no linear rule finds the label in the style code. Codes are standardized by the training codes.
    """
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(max_iter=200, random_state=seed)
    return _probe_error(classifier, train_codes, train_labels, test_codes, test_labels)


def mlp_probe_error(
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    *,
    seed: int = 0,
) -> float:
    """As `linear_probe_error`, with 100 hidden ReLU units: finds the label where no plane does."""
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier((100,), batch_size=100, max_iter=30, random_state=seed)
    return _probe_error(classifier, train_codes, train_labels, test_codes, test_labels)


def _probe_error(
    classifier: Any,
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _require_points(train_codes, "training codes")
    _require_points(test_codes, "test codes")
    _require_same_width(test_codes, train_codes)
    _require_labels(train_labels, len(train_codes), "training labels")
    _require_labels(test_labels, len(test_codes), "test labels")
    if len(train_labels.unique()) < 2:
        raise EvaluationError("A probe needs training labels of at least two classes, got one.")
    probe = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        # A probe is stopped after a fixed, short time by intention.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train_codes.detach().cpu().numpy(), train_labels.cpu().numpy())
    predictions = torch.from_numpy(probe.predict(test_codes.detach().cpu().numpy()))
    return classification_error(predictions, test_labels.cpu())


def region_share(codes: Tensor, labels: Tensor, regions: Callable[[Tensor], Tensor]) -> float:
    """Share of codes that lie in the region of their own label, in percent (section 2.3).

    `codes` is `(N, D)`, `labels` `(N,)`; `regions(codes)` returns the label `(N,)` of the region of
    each code, such as the nearest component of the mixture or the segment of the swiss roll.
    """
    _require_points(codes, "codes")
    _require_labels(labels, len(codes), "labels")
    return 100 - classification_error(regions(codes), labels)


# --------------------------------------------------------------------------------------------------
# Checks


def _require_points(points: Tensor, name: str) -> None:
    if points.ndim != 2 or 0 in points.shape or not points.is_floating_point():
        raise EvaluationError(
            f"The {name} must be a floating-point tensor of shape (N, D) with N and D at least 1, "
            f"got {points.dtype} of shape {tuple(points.shape)}."
        )
    _require_finite(points, name)


def _require_finite(values: Tensor, name: str) -> None:
    if not values.isfinite().all():
        raise EvaluationError(f"The {name} hold NaN or infinite values.")


def _require_same_width(points: Tensor, reference: Tensor) -> None:
    if points.ndim != 2 or points.shape[1] != reference.shape[1]:
        raise EvaluationError(
            f"Both sets of points must have the same dimension: expected (N, {reference.shape[1]}), "
            f"got {tuple(points.shape)}."
        )


def _require_labels(labels: Tensor, count: int, name: str) -> None:
    if labels.ndim != 1 or len(labels) != count or count == 0:
        raise EvaluationError(
            f"The {name} must have shape ({count},), one for each example and at least one, "
            f"got {tuple(labels.shape)}."
        )


def _require_scores(scores: Tensor, labels: Tensor, name: str) -> None:
    _require_points(scores, f"{name} scores")
    _require_labels(labels, len(scores), f"{name} labels")
