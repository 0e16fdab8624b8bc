"""The Parzen window on points whose likelihood follows from theory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from small_models import seeded
from torch import Tensor

from aae_utils.metrics import parzen
from aae_utils.metrics.inputs import EvaluationError
from aae_utils.metrics.parzen import (
    LikelihoodEstimate,
    SampleStream,
    parzen_estimate,
    parzen_log_likelihood,
    parzen_sigma,
)


def image_like(count: int, seed: int, dimensions: int = 784) -> Tensor:
    """Points in [0, 1] near a curved surface with ten clusters, mostly near 0 or 1 as digits."""
    surface = seeded(99)
    first = torch.randn(6, 64, generator=surface)
    second = torch.randn(64, dimensions, generator=surface)
    centers = 2 * torch.randn(10, 6, generator=surface)
    generator = seeded(seed)
    members = torch.randint(10, (count,), generator=generator)
    codes = centers[members] + 0.5 * torch.randn(count, 6, generator=generator)
    noise = 0.05 * torch.randn(count, dimensions, generator=generator)
    return (torch.sigmoid((codes @ first).relu() @ second / 4 - 1) + noise).clamp(0, 1)


def direct_sum(test: Tensor, samples: Tensor, sigma: float) -> Tensor:
    """The definition in float64, from differences and never from products."""
    distances = torch.cdist(
        test.double(), samples.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).square()
    log_sums = torch.logsumexp(-distances / (2 * sigma**2), dim=1)
    dimensions = test.shape[1]
    return log_sums - math.log(len(samples)) - dimensions / 2 * math.log(2 * math.pi * sigma**2)


class TestLogLikelihood:
    def test_one_sample_at_a_known_distance(self) -> None:
        test = torch.zeros(2, 3)
        test[1] = torch.tensor([1.0, 2.0, 2.0])
        values = parzen_log_likelihood(test, torch.zeros(1, 3), 1.5)
        peak = -1.5 * math.log(2 * math.pi * 1.5**2)
        assert values.dtype == torch.float64
        assert values.tolist() == pytest.approx([peak, peak - 9 / (2 * 1.5**2)], abs=1e-9)

    def test_gaussian_samples_give_the_gaussian_widened_by_the_window(self) -> None:
        std, sigma = 1.5, 0.5
        samples = std * torch.randn(200_000, 2, generator=seeded(1))
        test = torch.tensor([[0.0, 0.0], [1.0, -1.0], [2.0, 1.0]])
        variance = std**2 + sigma**2
        expected = -math.log(2 * math.pi * variance) - test.square().sum(dim=1) / (2 * variance)
        values = parzen_log_likelihood(test, samples, sigma)
        # The spread of the estimate at the farthest of the three points is about 0.006.
        assert values.tolist() == pytest.approx(expected.tolist(), abs=0.025)

    @pytest.mark.parametrize("sigma", [0.05, 0.16, 0.5, 3.0])
    def test_equals_the_direct_sum_also_where_nothing_is_near(self, sigma: float) -> None:
        test, samples = image_like(150, seed=1), image_like(1500, seed=2)
        test[::5] = 1 - test[::5]  # far from all samples: the best of the far ones must be found
        values = parzen_log_likelihood(test, samples, sigma, chunk_size=400)
        assert (values - direct_sum(test, samples, sigma)).abs().max() < 1e-6

    @pytest.mark.parametrize("dimensions", [1, 2, 65, 130])
    def test_equals_the_direct_sum_in_other_dimensions(self, dimensions: int) -> None:
        test = 100 + 10 * torch.randn(150, dimensions, generator=seeded(1))
        samples = 100 + 10 * torch.randn(2500, dimensions, generator=seeded(2))
        for sigma in (0.3, 5.0):
            values = parzen_log_likelihood(test, samples, sigma)
            assert (values - direct_sum(test, samples, sigma)).abs().max() < 1e-5

    def test_the_bound_spares_most_of_the_work(self, monkeypatch) -> None:
        test, samples = image_like(500, seed=1), image_like(3000, seed=2)
        pairs = 0
        add_exactly = parzen._Group._add_exactly

        def counted(group: parzen._Group, rows: Tensor) -> None:
            nonlocal pairs
            pairs += len(group.rows) * len(rows)
            add_exactly(group, rows)

        monkeypatch.setattr(parzen._Group, "_add_exactly", counted)
        parzen_log_likelihood(test, samples, 0.1)
        assert pairs < 0.3 * len(test) * len(samples)

    def test_several_sigmas_at_once_equal_one_at_a_time(self) -> None:
        test, samples = image_like(100, seed=1), image_like(2500, seed=2)
        sigmas = torch.tensor([0.1, 0.2, 0.4])
        together = parzen_log_likelihood(test, samples, sigmas)
        apart = torch.stack([parzen_log_likelihood(test, samples, s.item()) for s in sigmas])
        assert together.shape == (3, 100)
        assert (together - apart).abs().max() < 1e-8

    def test_every_way_to_give_the_samples_is_the_same(self) -> None:
        test, samples = image_like(100, seed=1), image_like(2500, seed=2)

        def chunks() -> Iterator[Tensor]:
            yield from samples.split(700)

        def replay() -> SampleStream:
            position = iter(range(0, 10_000, 600))
            return SampleStream(lambda n: samples[(start := next(position)) : start + n], 2500, 600)

        expected = parzen_log_likelihood(test, samples, 0.2)
        for given in (chunks, chunks(), list(chunks()), replay()):
            assert (parzen_log_likelihood(test, given, 0.2) - expected).abs().max() < 1e-8
        small = parzen_log_likelihood(test, samples, 0.2, chunk_size=37)
        assert (small - expected).abs().max() < 1e-8

    def test_repeated_samples_change_nothing(self) -> None:
        test, samples = image_like(60, seed=1), image_like(500, seed=2)
        once = parzen_log_likelihood(test, samples, 0.2)
        thrice = parzen_log_likelihood(test, [samples] * 3, 0.2)
        assert (once - thrice).abs().max() < 1e-8

    def test_coarse_matrix_products_asked_for_elsewhere_do_not_reach_it(self) -> None:
        before = torch.get_float32_matmul_precision()
        seen = []

        def draw(count: int) -> Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return torch.zeros(count, 3)

        torch.set_float32_matmul_precision("medium")
        try:
            parzen_log_likelihood(torch.zeros(1, 3), SampleStream(draw, 5), 1.0)
            assert seen == ["highest"]
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(before)

    @pytest.mark.parametrize(
        ("test", "samples", "sigma", "message"),
        [
            (torch.zeros(3), torch.zeros(2, 3), 1.0, r"shape \(N, D\)"),
            (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3), 1.0, "floating-point"),
            (torch.zeros(2, 3), torch.zeros(2, 4), 1.0, r"expected \(N, 3\), got \(2, 4\)"),
            (torch.zeros(2, 3), torch.zeros(0, 3), 1.0, "at least one sample"),
            (torch.zeros(2, 3), torch.full((2, 3), math.nan), 1.0, "NaN"),
            (torch.full((2, 3), math.inf), torch.zeros(2, 3), 1.0, "NaN or infinite"),
            (torch.zeros(2, 3), torch.zeros(2, 3), 0.0, "Sigma must be positive"),
            (torch.zeros(2, 3), torch.zeros(2, 3), [0.1, -0.1], "Sigma must be positive"),
            (torch.zeros(2, 3), 7, 1.0, "Samples must be a tensor"),
        ],
    )
    def test_wrong_input_is_one_sentence(
        self, test: Tensor, samples: Tensor, sigma: float, message: str
    ) -> None:
        with pytest.raises(EvaluationError, match=message):
            parzen_log_likelihood(test, samples, sigma)


class TestSigma:
    def test_finds_the_maximum_of_one_sample_in_closed_form(self) -> None:
        # With one sample at 0 and all points at distance r, the best sigma^2 is r^2 / D.
        directions = torch.randn(50, 784, generator=seeded())
        validation = 5.0 * directions / directions.norm(dim=1, keepdim=True)
        best, curve = parzen_sigma(validation, torch.zeros(1, 784))
        assert best == pytest.approx(5 / 28, rel=0.015)
        assert dict(curve)[best] == max(value for _, value in curve)
        assert curve == sorted(curve)

    @pytest.mark.parametrize("radius", [0.05, 400.0])
    def test_widens_a_grid_whose_best_is_at_the_border(self, radius: float) -> None:
        validation = torch.full((4, 100), radius / 10)
        best, curve = parzen_sigma(validation, torch.zeros(1, 100), [0.1, 0.2, 0.4])
        widths = [width for width, _ in curve]
        assert widths[0] < best < widths[-1]
        assert best / (radius / 10) == pytest.approx(1, rel=0.5)

    def test_keeps_to_the_given_grid_when_the_best_is_inside(self) -> None:
        validation = torch.full((4, 100), 0.2)
        best, curve = parzen_sigma(validation, torch.zeros(1, 100), [0.4, 0.1, 0.19])
        assert best == 0.19
        assert [width for width, _ in curve] == [0.1, 0.19, 0.4]

    def test_refuses_an_iterator_that_can_be_read_only_once(self) -> None:
        with pytest.raises(EvaluationError, match="more than once"):
            parzen_sigma(torch.zeros(2, 3), iter([torch.zeros(2, 3)]))

    def test_validation_images_among_the_samples_have_no_best_sigma(self) -> None:
        points = torch.rand(5, 50, generator=seeded())
        with pytest.raises(EvaluationError, match="among the samples"):
            parzen_sigma(points, points)


class TestEstimate:
    def test_is_the_mean_of_the_test_set_at_the_sigma_of_the_validation_set(self) -> None:
        test, validation = image_like(80, seed=1), image_like(60, seed=2)
        samples = image_like(1200, seed=3)
        estimate = parzen_estimate(test, validation, samples)
        values = direct_sum(test, samples, estimate.sigma)
        assert estimate.sigma == parzen_sigma(validation, samples)[0]
        assert estimate.mean == pytest.approx(values.mean().item(), abs=1e-6)
        assert estimate.standard_error == pytest.approx(values.std().item() / 80**0.5, abs=1e-6)
        assert (estimate.samples, estimate.test_points) == (1200, 80)
        assert estimate.sigma in dict(estimate.curve)

    def test_one_given_sigma_is_used_as_it_is(self) -> None:
        estimate = parzen_estimate(
            torch.zeros(4, 2), torch.zeros(1, 2), [torch.zeros(3, 2)] * 2, sigmas=[0.7]
        )
        assert (estimate.sigma, estimate.samples, estimate.curve) == (0.7, 6, ())
        assert estimate.mean == pytest.approx(-math.log(2 * math.pi * 0.49))
        assert estimate.standard_error == 0

    def test_reads_as_in_the_table(self) -> None:
        estimate = LikelihoodEstimate(315.94, 1.82, 0.16, 10_000, 10_000)
        assert str(estimate).startswith("315.9 ± 1.8 nats (sigma 0.160, 10,000 samples")


def test_few_real_images_have_a_likelihood_too():
    from aae_utils.data import load_mnist

    test = load_mnist("test").images
    found = parzen_log_likelihood(test[:200], test[1000:1500], 0.2)
    assert torch.allclose(found, direct_sum(test[:200], test[1000:1500], 0.2), atol=1e-6)
