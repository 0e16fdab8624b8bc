"""Section 2.3: labels decide where in the prior an image belongs (chapter 2).

The discriminator also sees a one-hot label, with an extra class for images without one: a sample of a label's
region beside the label is real, a code beside its image's label is fake.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from aae_utils.checks import require_number
from aae_utils.data import UNLABELED, DataSettings, ImageData, Splits
from aae_utils.metrics.matching import region_share
from aae_utils.networks import Corruption
from aae_utils.priors import GaussianMixture, LabeledPrior, SwissRoll
from aae_utils.recipes import APPENDIX_A21, Recipe, in_both_settings
from aae_utils.training import Batch, Rates, TrainingSettings
from aae_utils.variants.adversarial import (
    MONITORED,
    SMALL,
    AdversarialAutoencoder,
    AdversarialSettings,
    codes_of,
    match,
)


@dataclass(frozen=True)
class LabelRegularizedSettings(AdversarialSettings):
    """An adversarial autoencoder with labels in its regularization, in plain values."""

    variant: ClassVar[str] = "label-regularized"

    prior: GaussianMixture | SwissRoll = GaussianMixture()
    """p(z), with a region for each label."""
    label_scale: float = 1.0
    """Height of the label's one: near the size of the codes, the discriminator sees the label at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("label_scale", self.label_scale, above=0)

    def label_count(self) -> int:
        """One label for each region of the prior."""
        return self.prior.classes

    def build(self, image_dim: int = 784) -> LabelRegularizedAutoencoder:
        """A freshly initialized model for images of `image_dim` pixels."""
        return LabelRegularizedAutoencoder(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """As for any AAE, and the share of codes in the region of their label."""
        return _match_and_share(model, validation.first(MONITORED))

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """As for any AAE, and the share of codes in the region of their label."""
        return _match_and_share(model, splits.test)


def _match_and_share(model: Any, images: ImageData) -> dict[str, float]:
    codes = codes_of(model, images.images)
    return match(model, images.images, codes=codes) | {
        "region_share": region_share(codes, images.labels, model.prior.region)
    }


class LabelRegularizedAutoencoder(AdversarialAutoencoder):
    """The AAE of Figure 3: each label gets its own region of the prior."""

    def __init__(self, settings: LabelRegularizedSettings, image_dim: int = 784) -> None:
        if not isinstance(settings.prior, LabeledPrior):
            raise ValueError(
                f"{type(settings.prior).__name__} has no regions for labels:"
                " use GaussianMixture or SwissRoll."
            )
        super().__init__(settings, image_dim, label_inputs=settings.prior.classes + 1)
        self.label_scale = settings.label_scale

    def with_label(self, code: Tensor, y: Tensor) -> Tensor:
        """Codes `(N, dim)` beside the one-hot of their labels `(N,)`, the last class where y is -1."""
        classes = self.prior.classes
        switch = torch.where(y == UNLABELED, classes, y)
        one_hot = functional.one_hot(switch, classes + 1).to(code.dtype)
        return torch.cat((code, self.label_scale * one_hot), dim=1)

    def prior_sample(self, batch: Batch) -> Tensor:
        """Samples `(B, dim)` of the regions of the batch's labels, of the whole prior where y is -1."""
        return self.prior.sample_given(batch.y, batch.generator)

    def judged(self, code: Tensor, batch: Batch) -> Tensor:
        """Samples and codes `(B, dim)` beside the one-hot of the labels: positive and negative pairs."""
        return self.with_label(super().judged(code, batch), batch.y)

    def prior_probability(self, code: Tensor) -> Tensor:
        """D(z) `(N,)` of codes `(N, dim)` as the discriminator judges an image without a label."""
        unlabeled = torch.full((len(code),), UNLABELED, device=code.device)
        return self.discriminator(self.with_label(code, unlabeled)).sigmoid()


# Recipes: 10,000 labeled and 40,000 unlabeled images, as the paper says.


# A little of it helps images that show no label; three times as much drives codes out of narrow regions.
NOISE = Corruption(noise_std=0.1)


def _figure_4(
    name: str,
    reproduces: str,
    prior: GaussianMixture | SwissRoll,
    drop: int,
    instance_noise: float = 0.0,
) -> tuple[Recipe, Recipe]:
    model = LabelRegularizedSettings(prior)
    paper = Recipe(name, reproduces, "paper", model, APPENDIX_A21, DataSettings(labels=10_000), film=True)
    sizes = SMALL | {"discriminator_units": 500}
    small = replace(model, **sizes, corruption=NOISE, label_scale=10.0, instance_noise=instance_noise)
    training = TrainingSettings(
        40, reconstruction=Rates(0.0005, 0.9), drops=(drop,), averaging=0.99, precision="auto"
    )
    return in_both_settings(paper, small, training)


RECIPES = (
    _figure_4("labeled-mixture", "Figures 4A and 4B", GaussianMixture(), drop=32),
    # At its first rates the discriminator of the roll gets ahead once the instance noise has gone.
    _figure_4("labeled-swiss-roll", "Figures 4C and 4D", SwissRoll(), drop=24, instance_noise=3.0),
)
