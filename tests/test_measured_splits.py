"""Which images each number is measured on: test images, with what the paper's rules take from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pytest
import torch
from small_models import PIXELS, SETTINGS, SIZES, build, seeded

from aae_utils.data import ImageData, Splits
from aae_utils.priors import Gaussian
from aae_utils.recipes import ModelSettings
from aae_utils.variants import likelihood
from aae_utils.variants.likelihood import LikelihoodSettings

VARIANTS: Mapping[str, ModelSettings] = SETTINGS | {"likelihood": LikelihoodSettings(Gaussian(2), **SIZES)}
NUMBERS = {
    "sliced_wasserstein": {"test"},
    "reconstruction_error": {"test"},
    "region_share": {"test"},
    "log_likelihood": {"validation", "test"},  # sigma is chosen on validation images
    "standard_error": {"validation", "test"},
    "sigma": {"validation"},
    "style_linear_probe_error": {"validation", "test"},  # the probes learn from validation images
    "style_mlp_probe_error": {"validation", "test"},
    "requested_digit_read": {"train"},  # the reader learns from training images and reads drawn ones
    "error": {"test"},
    "majority_vote_error": {"test"},
    "nmi": {"test"},
    "ari": {"test"},
    "empty_clusters": {"test"},
    "clusters": set(),
    "returned_to_cluster": set(),
}
"""Each number, and the splits that it may depend on."""
BY_THE_PAPERS_RULE = {"error": {"validation", "test"}}
"""Without labels, validation images name the clusters."""
MAY_STAY = {"empty_clusters"}
"""A change of the images need not show in it."""


def images(seed: int, spread: float = 1.0) -> ImageData:
    """Random images; their labels are as random."""
    stream = seeded(seed)
    x = (0.5 + spread * (torch.rand(120, PIXELS, generator=stream) - 0.5)).clamp(0, 1)
    return ImageData(x, torch.randint(10, (120,), generator=stream), (PIXELS,))


SPLITS = Splits(images(1), images(2), None, images(3))
OTHER = {"train": images(4), "validation": images(5, spread=0.2), "test": images(6)}


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """A likelihood in no time, with widths among which different images choose differently."""
    quick = partial(likelihood.likelihood, samples=200, sigmas=[0.1, 0.2, 0.3, 0.4, 0.5])
    monkeypatch.setattr(likelihood, "likelihood", quick)


@pytest.mark.parametrize("split", OTHER)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_number_depends_on_its_own_images_alone(name, split):
    settings = VARIANTS[name]
    model = build(settings).eval()
    by_rule = name == "clustering" or "unsupervised" in name
    before = settings.measure(model, SPLITS)
    after = settings.measure(model, replace(SPLITS, **{split: OTHER[split]}))
    changed = {number for number in before if before[number] != after[number]}
    sources = NUMBERS | (BY_THE_PAPERS_RULE if by_rule else {})
    expected = {number for number in before if split in sources[number]}
    assert changed - MAY_STAY == expected - MAY_STAY
    assert changed <= expected
