"""Distances between clouds of codes whose distance is known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from small_models import seeded
from torch import Tensor

from aae_utils.metrics.inputs import EvaluationError
from aae_utils.metrics.matching import (
    noise_floor,
    prior_distance,
    prior_floor,
    region_share,
    sliced_wasserstein,
)
from aae_utils.seeds import PURPOSES, random_stream


@dataclass(frozen=True)
class Cloud:
    """Gaussians of one width around `centers` `(K, D)`, each as likely as the others."""

    centers: Tensor

    def sample(
        self, count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        component = torch.randint(len(self.centers), (count,), generator=generator, device=device)
        noise = torch.randn(count, self.centers.shape[1], generator=generator, device=device)
        return self.centers[component] + noise


class TestSlicedWasserstein:
    def test_identical_sets_in_any_order_have_no_distance(self) -> None:
        points = torch.randn(500, 3, generator=seeded())
        shuffled = points[torch.randperm(500, generator=seeded())]
        assert sliced_wasserstein(points, shuffled, generator=seeded()) == pytest.approx(0, abs=1e-7)

    @pytest.mark.parametrize("dimensions", [1, 2, 8])
    def test_shift_gives_its_length_over_the_root_of_the_dimension(self, dimensions: int) -> None:
        points = torch.randn(50, dimensions, generator=seeded())
        shift = torch.full((dimensions,), 3.0)
        value = sliced_wasserstein(points, points + shift, projections=10_000, generator=seeded())
        assert value == pytest.approx(3.0, rel=0.02)

    def test_gaussians_of_two_widths(self) -> None:
        # On every direction the distance between N(0, 1) and N(0, 4) is |2 - 1|.
        a = torch.randn(50_000, 2, generator=seeded(1))
        b = 2 * torch.randn(50_000, 2, generator=seeded(2))
        assert sliced_wasserstein(a, b, projections=32, generator=seeded()) == pytest.approx(1, abs=0.03)

    def test_refuses_sets_of_different_size(self) -> None:
        with pytest.raises(EvaluationError, match="as many samples"):
            sliced_wasserstein(torch.zeros(3, 2), torch.zeros(4, 2), generator=seeded())


class TestNoiseFloor:
    def test_falls_with_the_root_of_the_sample_size(self) -> None:
        samples, directions = seeded(5), seeded()

        def prior(count: int) -> Tensor:
            return torch.randn(count, 2, generator=samples)

        small, spread = noise_floor(prior, 50, 30, projections=16, generator=directions)
        large, _ = noise_floor(prior, 5000, 10, projections=16, generator=directions)
        assert 0 < spread < small
        assert small / large == pytest.approx(10, rel=0.3)

    def test_refuses_one_repeat(self) -> None:
        with pytest.raises(EvaluationError, match="repeats"):
            noise_floor(lambda count: torch.zeros(count, 2), 3, 1, generator=seeded())


class TestPriorDistance:
    @pytest.mark.parametrize("centers", [torch.zeros(1, 8), torch.tensor([[-6.0, 0.0], [6.0, 0.0]])])
    def test_a_posterior_equal_to_the_prior_scores_the_noise_floor(self, centers: Tensor) -> None:
        prior, count = Cloud(centers), 2000
        generator = seeded(7)
        floor, spread = noise_floor(
            lambda n: prior.sample(n, generator), count, 12, generator=random_stream(0, "projections")
        )
        for seed in range(3):
            codes = prior.sample(count, random_stream(seed, "codes"))
            assert abs(prior_distance(prior, codes, seed) - floor) < 4 * spread
        assert abs(prior_floor(prior, count) - floor) < 2 * spread

    def test_a_shifted_posterior_scores_far_above_it(self) -> None:
        prior = Cloud(torch.zeros(1, 2))
        codes = prior.sample(2000, random_stream(0, "codes")) + 1
        assert prior_distance(prior, codes) == pytest.approx(1, abs=0.1)
        assert prior_distance(prior, codes) == prior_distance(prior, codes, seed=0)


class TestRandomStream:
    def test_every_seed_and_purpose_has_its_own_stream_and_repeats_it(self) -> None:
        def drawn(seed: int, purpose: str) -> float:
            return torch.rand(1, dtype=torch.float64, generator=random_stream(seed, purpose)).item()

        values = {drawn(seed, purpose) for seed in range(10) for purpose in PURPOSES}
        assert len(values) == 10 * len(PURPOSES)
        assert drawn(3, "noise") == drawn(3, "noise")

    def test_refuses_what_it_does_not_know(self) -> None:
        with pytest.raises(ValueError, match="Unknown purpose 'dice': choose one of weights"):
            random_stream(0, "dice")
        with pytest.raises(ValueError, match="seed must be a whole number"):
            random_stream(-1, "codes")


def test_region_share_is_the_percentage_in_their_own_half_plane() -> None:
    codes = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]])
    labels = torch.tensor([1, 1, 1, 0])
    assert region_share(codes, labels, lambda points: (points[:, 0] > 0).long()) == 50
    with pytest.raises(EvaluationError, match="must have shape"):
        region_share(codes, labels, lambda points: points)
