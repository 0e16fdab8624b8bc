"""Time the Parzen window of the package beside the plain sum over all pairs, and compare the two.

python benchmarks/parzen.py --threads 2
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
import tyro
from torch import Tensor

from aae_utils import data
from aae_utils.metrics.parzen import parzen_log_likelihood

TARGET = 3.0


def plain_log_likelihood(test: Tensor, samples: Tensor, sigma: float, chunk_size: int = 1000) -> Tensor:
    """Log 1/S sum_s N(x; s, sigma^2 I) in float64 for each test point `(M,)`, over every pair."""
    test, dimensions = test.double(), test.shape[1]
    log_sums = torch.full((len(test),), -math.inf, dtype=torch.float64)
    for chunk in samples.split(chunk_size):
        chunk = chunk.double()
        half_norms = chunk.square().sum(dim=1) / 2
        for points, sums in zip(test.split(chunk_size), log_sums.split(chunk_size), strict=True):
            exponents = torch.addmm(-half_norms, points, chunk.T)
            exponents -= points.square().sum(dim=1, keepdim=True) / 2
            sums.copy_(torch.logaddexp(sums, (exponents / sigma**2).logsumexp(dim=1)))
    return log_sums - math.log(len(samples)) - dimensions / 2 * math.log(2 * math.pi * sigma**2)


def draw_samples(images: Tensor, count: int, noise: float) -> Tensor:
    """Images as a good model would draw them: `count` real ones, each with noise of its own."""
    generator = torch.Generator().manual_seed(0)
    chosen = images[torch.randint(len(images), (count,), generator=generator)]
    return (chosen + noise * torch.randn(chosen.shape, generator=generator)).clamp(0, 1)


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The result, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def main(
    threads: int = 2, samples: int = 10_000, sigma: float = 0.16, noise: float = 0.05, rounds: int = 3
) -> None:
    """Score the 10,000 test images of MNIST in both ways by turns, and print the times and their ratio.

    Args:
        threads: threads for torch.
        samples: number of samples.
        sigma: width of the window.
        noise: standard deviation of the noise that makes new samples from training images.
        rounds: how often both are timed; the fastest of each counts.
    """
    torch.set_num_threads(threads)
    test = data.load("mnist", "test").images
    drawn = draw_samples(data.load("mnist", "train").images, samples, noise)
    plain_seconds, window_seconds = [], []
    for _ in range(rounds):
        expected, seconds = timed(lambda: plain_log_likelihood(test, drawn, sigma))
        plain_seconds.append(seconds)
        found, seconds = timed(lambda: parzen_log_likelihood(test, drawn, sigma))
        window_seconds.append(seconds)
        difference = (expected - found).abs().max().item()
    ratio = min(plain_seconds) / min(window_seconds)
    print(f"torch {torch.__version__}, {threads} threads, {len(test):,} test images, {samples:,} samples")
    print(f"plain sum {min(plain_seconds):.2f} s, Parzen window {min(window_seconds):.2f} s")
    print(f"{ratio:.1f} times as fast (target: {TARGET:g}); largest difference {difference:.0e} nats")


if __name__ == "__main__":
    tyro.cli(main)
