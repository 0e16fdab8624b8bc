"""Metrics on inputs whose value follows from theory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from aae_utils import evaluation
from aae_utils.evaluation import (
    EvaluationError,
    LikelihoodEstimate,
    SampleStream,
    black_image_error,
    classification_error,
    cluster_labels,
    clustering_error,
    clustering_report,
    linear_probe_error,
    log_odds,
    majority_vote_error,
    mean_image_error,
    mlp_probe_error,
    nearest_training_images,
    noise_floor,
    parzen_estimate,
    parzen_log_likelihood,
    parzen_sigma,
    reconstruction_error,
    region_share,
    sliced_wasserstein,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def one_hot(clusters: list[int], count: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(clusters), count).float()


class TestParzen:
    def test_sample_at_the_test_point_gives_the_peak_of_the_window(self) -> None:
        point = torch.rand(1, 784, generator=seeded())
        value = parzen_log_likelihood(point, point.clone(), 0.2)
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(-392 * math.log(2 * math.pi * 0.04), abs=1e-6)

    def test_one_sample_at_a_known_distance(self) -> None:
        test = torch.zeros(2, 3)
        test[1] = torch.tensor([1.0, 2.0, 2.0])
        values = parzen_log_likelihood(test, torch.zeros(1, 3), 1.5)
        peak = -1.5 * math.log(2 * math.pi * 1.5**2)
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

    @pytest.mark.parametrize("sigma", [0.05, 0.12, 0.2, 0.5, 3.0])
    def test_agrees_with_the_direct_sum_at_784_dimensions(self, sigma: float) -> None:
        test, samples = image_like(150, seed=1), image_like(1500, seed=2)
        values = parzen_log_likelihood(test, samples, sigma)
        assert (values - direct_sum(test, samples, sigma)).abs().max() < 1e-6

    def test_samples_far_from_some_test_points_are_left_out_only_where_they_do_not_count(
        self,
    ) -> None:
        test, samples = image_like(150, seed=1), image_like(1500, seed=2)
        # Nothing is near these points: every sample is far, and the best of the far ones must be
        # found.
        test[::5] = 1 - test[::5]
        values = parzen_log_likelihood(test, samples, 0.1, chunk_size=300)
        assert (values - direct_sum(test, samples, 0.1)).abs().max() < 1e-6

    def test_bound_lets_the_window_skip_most_samples(self) -> None:
        test, samples = image_like(500, seed=1), image_like(3000, seed=2)
        window = evaluation._ParzenWindow(test, [0.1])
        window.add(samples[:1000])
        bound_rows = evaluation._sample_rows(window.projection(samples), evaluation.BOUND_SLACK)
        kept = [len(group.relevant(bound_rows, [0.1])) for group in window.groups]
        assert sum(kept) < 0.5 * len(samples) * len(window.groups)

    @pytest.mark.parametrize("dimensions", [1, 2, 65, 130])
    def test_agrees_with_the_direct_sum_in_other_dimensions(self, dimensions: int) -> None:
        test = 100 + 10 * torch.randn(150, dimensions, generator=seeded(1))
        samples = 100 + 10 * torch.randn(2500, dimensions, generator=seeded(2))
        for sigma in (0.3, 5.0):
            values = parzen_log_likelihood(test, samples, sigma)
            assert (values - direct_sum(test, samples, sigma)).abs().max() < 1e-5

    def test_agrees_with_scikit_learn_when_its_tree_is_one_leaf(self) -> None:
        from sklearn.neighbors import KernelDensity

        test, samples = image_like(30, seed=1), image_like(1000, seed=2)
        density = KernelDensity(bandwidth=0.2, leaf_size=len(samples)).fit(samples.double().numpy())
        expected = torch.from_numpy(density.score_samples(test.double().numpy()))
        assert (parzen_log_likelihood(test, samples, 0.2) - expected).abs().max() < 1e-6

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


class TestParzenSigma:
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
        grid = [0.1, 0.2, 0.4]
        best, curve = parzen_sigma(validation, torch.zeros(1, 100), grid)
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


class TestParzenEstimate:
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


class TestClassification:
    def test_counts_the_differences_in_percent(self) -> None:
        assert classification_error(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 9])) == 25
        assert classification_error(torch.tensor([4, 4]), torch.tensor([4, 4])) == 0

    @pytest.mark.parametrize("predictions", [torch.zeros(3), torch.zeros(2, 10), torch.zeros(0)])
    def test_refuses_other_shapes(self, predictions: Tensor) -> None:
        with pytest.raises(EvaluationError, match="must have shape"):
            classification_error(predictions, torch.zeros(2))


class TestClustering:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])

    def test_a_permuted_perfect_clustering_has_no_error(self) -> None:
        probabilities = one_hot([2, 2, 0, 0, 1, 1], 3)
        report = clustering_report(probabilities, self.labels, probabilities, self.labels)
        assert report["error"] == report["majority_vote_error"] == report["empty_clusters"] == 0
        assert report["nmi"] == pytest.approx(1)
        assert report["ari"] == pytest.approx(1)

    def test_all_in_one_cluster_gets_one_class_right(self) -> None:
        probabilities = one_hot([3] * 6, 5)
        report = clustering_report(probabilities, self.labels, probabilities, self.labels)
        assert report["error"] == pytest.approx(100 * 4 / 6)
        assert report["majority_vote_error"] == pytest.approx(100 * 4 / 6)
        assert (report["clusters"], report["empty_clusters"]) == (5, 4)
        assert report["nmi"] == pytest.approx(0, abs=1e-9)
        assert report["ari"] == pytest.approx(0, abs=1e-9)

    def test_rule_takes_the_most_certain_validation_example_and_not_the_majority(self) -> None:
        validation = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.2, 0.8]])
        assert cluster_labels(validation, torch.tensor([5, 5, 7, 1])).tolist() == [7, 1]
        test = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.9, 0.1], [0.3, 0.7]])
        labels = torch.tensor([5, 5, 7, 1])
        assert clustering_error(test, labels, torch.tensor([7, 1])) == 50
        assert majority_vote_error(test, labels) == 25

    def test_a_cluster_without_points_still_gets_a_label(self) -> None:
        validation = torch.tensor([[0.6, 0.1, 0.3], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4]])
        assert cluster_labels(validation, torch.tensor([8, 3, 4])).tolist() == [8, 3, 4]

    def test_the_first_of_several_equally_certain_examples_decides(self) -> None:
        validation = torch.full((4, 2), 0.5)
        assert cluster_labels(validation, torch.tensor([6, 1, 2, 3])).tolist() == [6, 6]

    def test_log_odds_are_those_of_the_softmax(self) -> None:
        logits = 3 * torch.randn(50, 4, generator=seeded())
        torch.testing.assert_close(log_odds(logits), logits.double().softmax(1).logit().float())

    def test_log_odds_find_the_surest_example_where_probabilities_round_to_one(self) -> None:
        logits = torch.tensor([[40.0, 0.0], [60.0, 0.0], [0.0, 30.0], [-90.0, 30.0]])
        labels = torch.tensor([5, 7, 1, 2])
        assert cluster_labels(logits.double().softmax(1), labels).tolist() == [5, 2]
        assert cluster_labels(log_odds(logits), labels).tolist() == [7, 2]

    def test_majority_vote_with_a_tie_and_labels_that_do_not_start_at_zero(self) -> None:
        probabilities = one_hot([0, 0, 1, 1], 4)
        assert majority_vote_error(probabilities, torch.tensor([70, 90, 90, 90])) == 25

    def test_refuses_shapes_that_do_not_fit(self) -> None:
        with pytest.raises(EvaluationError, match="test labels must have shape"):
            majority_vote_error(torch.zeros(4, 2), torch.zeros(3))
        with pytest.raises(EvaluationError, match="cluster labels must have shape"):
            clustering_error(torch.zeros(4, 2), torch.zeros(4), torch.zeros(3))
        with pytest.raises(EvaluationError, match="validation scores"):
            cluster_labels(torch.zeros(4), torch.zeros(4))
        with pytest.raises(EvaluationError, match="NaN"):
            cluster_labels(torch.full((4, 2), math.nan), torch.zeros(4))


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

    def test_grows_with_the_shift_and_repeats_with_the_generator(self) -> None:
        a = torch.randn(500, 2, generator=seeded(1))
        b = torch.randn(500, 2, generator=seeded(2))
        values = [sliced_wasserstein(a, b + shift, generator=seeded()) for shift in (0, 1, 2, 4)]
        assert values == sorted(values)
        assert values[0] < 0.3 < values[1]
        assert values[0] == sliced_wasserstein(a, b, generator=seeded())

    def test_noise_floor_is_the_distance_of_the_prior_to_itself(self) -> None:
        generator = seeded(5)

        def prior(count: int) -> Tensor:
            return torch.randn(count, 2, generator=generator)

        mean, std = noise_floor(prior, 2000, 8, projections=32, generator=seeded())
        code = sliced_wasserstein(prior(2000), prior(2000) + 1, projections=32, generator=seeded())
        assert 0 < mean < 0.1
        assert 0 < std < mean
        assert code > mean + 5 * std

    def test_noise_floor_falls_with_the_sample_size(self) -> None:
        generator = seeded(5)
        small, large = (
            noise_floor(
                lambda count: torch.randn(count, 2, generator=generator),
                size,
                8,
                generator=seeded(),
            )[0]
            for size in (100, 5_000)
        )
        assert large < small / 4

    def test_refuses_sets_of_different_size(self) -> None:
        with pytest.raises(EvaluationError, match="as many samples"):
            sliced_wasserstein(torch.zeros(3, 2), torch.zeros(4, 2), generator=seeded())
        with pytest.raises(EvaluationError, match="repeats"):
            noise_floor(lambda count: torch.zeros(count, 2), 3, 1, generator=seeded())


class TestReconstruction:
    def test_mean_squared_error_per_pixel(self) -> None:
        images = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
        assert reconstruction_error(images, images) == 0
        assert reconstruction_error(images, torch.full((2, 2), 0.5)) == 0.25
        assert black_image_error(images) == 0.75
        # The first pixel has mean 0.5 and variance 0.25, the second does not vary.
        assert mean_image_error(images) == pytest.approx(0.125)

    def test_refuses_other_shapes(self) -> None:
        with pytest.raises(EvaluationError, match="shape of the images"):
            reconstruction_error(torch.zeros(2, 3), torch.zeros(3, 2))


class TestNearestTrainingImages:
    def test_finds_the_images_that_the_samples_were_made_from(self) -> None:
        training = image_like(700, seed=1)
        origin = torch.tensor([699, 0, 350, 351])
        samples = training[origin] + 0.01 * torch.randn(4, 784, generator=seeded())
        assert nearest_training_images(samples, training, 100).tolist() == origin.tolist()
        assert nearest_training_images(samples, training).tolist() == origin.tolist()

    def test_agrees_with_all_distances(self) -> None:
        training, samples = image_like(500, seed=1), image_like(40, seed=2)
        distances = (samples[:, None].double() - training.double()).square().sum(dim=2)
        assert torch.equal(nearest_training_images(samples, training, 64), distances.argmin(dim=1))

    def test_first_of_equals_and_wrong_width(self) -> None:
        assert nearest_training_images(torch.ones(1, 2), torch.ones(6, 2), 2).tolist() == [0]
        with pytest.raises(EvaluationError, match="same dimension"):
            nearest_training_images(torch.ones(1, 3), torch.ones(6, 2))


class TestProbes:
    def test_codes_without_the_label_stay_at_chance(self) -> None:
        codes = torch.randn(3000, 5, generator=seeded())
        labels = torch.randint(10, (3000,), generator=seeded(1))
        split = (codes[:2000], labels[:2000], codes[2000:], labels[2000:])
        assert 84 < linear_probe_error(*split) < 96
        assert 84 < mlp_probe_error(*split) < 96

    def test_a_label_on_one_axis_is_read_by_both(self) -> None:
        labels = torch.arange(600) % 2
        codes = torch.randn(600, 4, generator=seeded())
        codes[:, 2] = 100 + 8.0 * labels + 0.1 * codes[:, 2]
        split = (codes[:400], labels[:400], codes[400:], labels[400:])
        assert linear_probe_error(*split) == 0
        assert mlp_probe_error(*split) < 2

    def test_only_the_network_finds_a_ring(self) -> None:
        codes = torch.randn(2000, 2, generator=seeded())
        labels = (codes.norm(dim=1) > 1.18).long()
        split = (codes[:1500], labels[:1500], codes[1500:], labels[1500:])
        assert linear_probe_error(*split) > 25
        assert mlp_probe_error(*split) < 8

    def test_refuses_one_class_and_other_widths(self) -> None:
        codes, labels = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
        with pytest.raises(EvaluationError, match="two classes"):
            linear_probe_error(codes, labels, codes, labels)
        with pytest.raises(EvaluationError, match="same dimension"):
            linear_probe_error(codes, labels, torch.zeros(4, 3), labels)


class TestRegionShare:
    def test_percent_of_codes_in_their_own_half_plane(self) -> None:
        codes = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]])
        labels = torch.tensor([1, 1, 1, 0])
        assert region_share(codes, labels, lambda points: (points[:, 0] > 0).long()) == 50

    def test_refuses_regions_of_another_shape(self) -> None:
        with pytest.raises(EvaluationError, match="must have shape"):
            region_share(torch.zeros(3, 2), torch.zeros(3), lambda points: points)
