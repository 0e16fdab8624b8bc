from __future__ import annotations

import math

import pytest
import torch
from small_models import seeded

from aae_utils.data import UNLABELED
from aae_utils.priors import (
    Categorical,
    CustomPrior,
    Gaussian,
    GaussianMixture,
    LabeledPrior,
    Prior,
    SwissRoll,
    softened,
)

PRIORS = [Gaussian(8, 5.0), GaussianMixture(), SwissRoll(), Categorical(10)]
LABELED = [GaussianMixture(), SwissRoll()]


def named(prior: object) -> str:
    return type(prior).__name__


def uniform(count: int, generator: torch.Generator | None, device: torch.device | str):
    return torch.rand(count, 3, generator=generator, device=device)


# What every prior has in common


@pytest.mark.parametrize("prior", [*PRIORS, CustomPrior(3, uniform)], ids=named)
def test_samples_have_shape_type_and_device(prior):
    sample = prior.sample(7, seeded(), "cpu")
    assert isinstance(prior, Prior)
    assert sample.shape == (7, prior.dim)
    assert sample.dtype == torch.float32
    assert sample.device == torch.device("cpu")
    assert prior.sample(0, seeded()).shape == (0, prior.dim)


@pytest.mark.parametrize("prior", PRIORS, ids=named)
def test_samples_are_made_on_the_device_asked_for(prior):
    assert prior.sample(5, None, "meta").device.type == "meta"


@pytest.mark.parametrize("prior", [*PRIORS, CustomPrior(3, uniform)], ids=named)
def test_the_generator_decides_the_sample(prior):
    before = torch.get_rng_state()
    first = prior.sample(50, seeded(3))
    assert torch.equal(first, prior.sample(50, seeded(3)))
    assert not torch.equal(first, prior.sample(50, seeded(4)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("prior", LABELED, ids=named)
def test_only_priors_with_regions_are_labeled(prior):
    assert isinstance(prior, LabeledPrior)
    assert not isinstance(Gaussian(2), LabeledPrior)
    assert not isinstance(Categorical(), LabeledPrior)


# Gaussian


@pytest.mark.parametrize(("dim", "std"), [(2, 5.0), (8, 5.0), (15, 10.0), (10, 1.0)])
def test_gaussian_moments(dim, std):
    sample = Gaussian(dim, std).sample(20_000, seeded())
    five_errors = 5 * std / math.sqrt(20_000)
    assert sample.mean(0).abs().max() < five_errors
    assert (sample.std(0) - std).abs().max() < five_errors / math.sqrt(2)
    correlation = torch.corrcoef(sample.T) - torch.eye(dim)
    assert correlation.abs().max() < 5 / math.sqrt(20_000)


def test_gaussian_density_is_that_of_torch():
    codes = Gaussian(4, 3.0).sample(100, seeded())
    expected = torch.distributions.Normal(0.0, 3.0).log_prob(codes).sum(1)
    torch.testing.assert_close(Gaussian(4, 3.0).log_prob(codes), expected)


# Mixture of ten Gaussians


def test_mixture_density_is_that_of_torch():
    codes = 6 * torch.randn(200, 2, generator=seeded())
    angles = torch.arange(10) * 2 * math.pi / 10
    axes = torch.stack(
        [
            torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]) @ torch.diag(torch.tensor([2.6, 0.55]))
            for a in angles
        ]
    )
    means = 9.5 * torch.stack((angles.cos(), angles.sin()), dim=1)
    components = torch.distributions.MultivariateNormal(means, axes @ axes.mT)
    weights = torch.distributions.Categorical(torch.ones(10))
    expected = torch.distributions.MixtureSameFamily(weights, components).log_prob(codes)
    torch.testing.assert_close(GaussianMixture().log_prob(codes), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("prior", [Gaussian(2, 5.0), GaussianMixture()], ids=named)
def test_density_integrates_to_one(prior):
    step = 0.1
    line = torch.arange(-30, 30, step)
    grid = torch.cartesian_prod(line, line)
    mass = prior.log_prob(grid).double().exp().sum() * step**2
    assert mass.item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("component", range(10))
def test_component_lies_where_it_was_measured_in_figure_4(component):
    labels = torch.full((20_000,), component)
    codes = GaussianMixture().sample_given(labels, seeded(component))
    angle = 2 * math.pi * component / 10
    outwards = torch.tensor([math.cos(angle), math.sin(angle)])
    sideways = torch.tensor([-math.sin(angle), math.cos(angle)])
    along, across = codes @ outwards, codes @ sideways
    assert along.mean().item() == pytest.approx(9.5, abs=0.1)
    assert along.std().item() == pytest.approx(2.6, abs=0.07)
    assert across.mean().item() == pytest.approx(0, abs=0.02)
    assert across.std().item() == pytest.approx(0.55, abs=0.015)


def test_place_maps_offsets_along_the_components_own_axes():
    components = torch.tensor([0, 0, 0, 5])
    offsets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    expected = torch.tensor([[9.5, 0.0], [12.1, 0.0], [9.5, 0.55], [-12.1, -0.55]])
    torch.testing.assert_close(GaussianMixture().place(components, offsets), expected, atol=1e-5, rtol=0)


def test_mixture_region_of_component_centers():
    centers = GaussianMixture().place(torch.arange(10), torch.zeros(10, 2))
    assert GaussianMixture().region(centers).tolist() == list(range(10))
    # a tenth of a turn decides, not the distance from the origin
    assert GaussianMixture().region(torch.tensor([[3.0, 0.0], [30.0, 0.0]])).tolist() == [0, 0]


# Swiss roll


def test_swiss_roll_borders_are_those_measured_in_figure_4():
    measured = [4.39, 6.28, 7.68, 8.84, 9.91, 10.84, 11.70, 12.53, 13.28, 14.00]
    ends = SwissRoll().axis(torch.arange(1, 11) / 10)
    # r = theta, so the distance from the origin is the angle
    torch.testing.assert_close(ends.norm(dim=1), torch.tensor(measured), atol=0.05, rtol=0)
    directions = torch.atan2(ends[:, 1], ends[:, 0])
    turns = (ends.norm(dim=1) - directions) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)


def test_swiss_roll_without_noise_lies_on_its_axis():
    roll = SwissRoll(noise_std=0.0)
    codes = roll.sample(5_000, seeded())
    radius = codes.norm(dim=1)
    expected = torch.stack((radius * radius.cos(), radius * radius.sin()), dim=1)
    torch.testing.assert_close(codes, expected, atol=1e-3, rtol=0)
    # u = (theta / 14)^2 is uniform: mean 1/2, variance 1/12
    position = (radius / 14) ** 2
    assert position.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert position.var().item() == pytest.approx(1 / 12, abs=0.005)


def test_swiss_roll_noise_is_isotropic():
    roll, labels = SwissRoll(), torch.full((20_000,), 4)
    noise = roll.sample_given(labels, seeded()) - SwissRoll(noise_std=0.0).sample_given(labels, seeded())
    assert noise.std(0).tolist() == pytest.approx([0.25, 0.25], abs=0.01)
    assert noise.mean(0).tolist() == pytest.approx([0, 0], abs=0.01)


def test_swiss_roll_region_of_segment_centers():
    roll = SwissRoll()
    centers = roll.axis((torch.arange(10) + 0.5) / 10)
    assert roll.region(centers).tolist() == list(range(10))
    ends = torch.tensor([[0.0, 0.0], [14 * math.cos(14), 14 * math.sin(14)]])
    assert roll.region(ends).tolist() == [0, 9]


# Samples for labels


@pytest.mark.parametrize(("prior", "share"), [(GaussianMixture(), 0.995), (SwissRoll(), 0.96)])
def test_labeled_samples_lie_in_their_own_region(prior, share):
    labels = torch.arange(10).repeat(500)
    regions = prior.region(prior.sample_given(labels, seeded()))
    assert (regions == labels).float().mean() > share


@pytest.mark.parametrize("prior", LABELED, ids=named)
def test_unlabeled_samples_come_from_the_whole_prior(prior):
    labels = torch.full((20_000,), UNLABELED)
    shares = prior.region(prior.sample_given(labels, seeded())).bincount(minlength=10) / 20_000
    assert (shares - 0.1).abs().max() < 5 * math.sqrt(0.1 * 0.9 / 20_000)
    assert torch.equal(prior.sample(20_000, seeded()), prior.sample_given(labels, seeded()))


@pytest.mark.parametrize("prior", LABELED, ids=named)
def test_labeled_and_unlabeled_may_be_mixed(prior):
    labels = torch.tensor([3, UNLABELED] * 2_000)
    regions = prior.region(prior.sample_given(labels, seeded()))
    assert (regions[::2] == 3).float().mean() > 0.95
    assert len(regions[1::2].unique()) == 10
    assert labels[:2].tolist() == [3, UNLABELED]


@pytest.mark.parametrize("prior", [GaussianMixture(classes=3), SwissRoll(classes=3)], ids=named)
def test_other_numbers_of_classes(prior):
    labels = torch.arange(3).repeat(200)
    assert (prior.region(prior.sample_given(labels, seeded())) == labels).float().mean() > 0.95


# Categorical and the reader's own


def test_categorical_is_uniform_and_one_hot():
    sample = Categorical(16).sample(16_000, seeded())
    assert torch.equal(sample.sum(1), torch.ones(16_000))
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    assert (sample.mean(0) - 1 / 16).abs().max() < 5 * math.sqrt(1 / 16 * 15 / 16 / 16_000)


def test_softened_vectors_are_still_shares_and_keep_the_most_of_their_one():
    hard = Categorical(5).sample(4000, seeded())
    soft = softened(hard, 0.4, seeded(1))
    torch.testing.assert_close(soft.sum(1), torch.ones(4000))
    assert (soft > 0).all()
    assert torch.equal(soft.argmax(1), hard.argmax(1))
    own = (soft * hard).sum(1)
    assert 0.6 <= own.min() < 0.63
    assert 0.99 < own.max() <= 1
    # a share between 0 and 0.4 is given, of which a fifth comes back
    assert own.mean().item() == pytest.approx(1 - 0.2 * 0.8, abs=0.01)
    assert torch.equal(soft, softened(hard, torch.tensor(0.4), seeded(1)))


def test_what_is_given_goes_to_all_classes_at_random():
    soft = softened(torch.tensor([[1.0, 0.0, 0.0]]).expand(2000, 3), 0.5, seeded())
    given = soft[:, 1:]
    assert given.mean(0).tolist() == pytest.approx([0.25 / 3] * 2, abs=0.005)
    assert (given[:, 0] - given[:, 1]).abs().mean() > 0.02


def test_without_softness_vectors_stay_one_hot():
    hard = Categorical(4).sample(50, seeded())
    assert torch.equal(softened(hard, 0.0, seeded(1)), hard)
    assert torch.equal(softened(hard, torch.tensor(0.0), seeded(1)), hard)


def test_custom_sampler_with_a_wrong_shape_is_one_sentence():
    with pytest.raises(ValueError) as caught:
        CustomPrior(2, uniform).sample(5)
    assert str(caught.value) == (
        "The prior's sampler returned shape (5, 3), but (5, 2) was asked for: make it return (count, dim)."
    )
