"""Section 4: the label goes to the decoder, so that the code keeps only the style (chapter 4).

The decoder reads the digit from a one-hot label; the code z, matched to p(z), need not say it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from aae_utils.checks import require_number, require_whole
from aae_utils.data import DataSettings, ImageData, Splits
from aae_utils.metrics.classification import (
    STYLES,
    linear_probe_error,
    mlp_probe_error,
    requested_digit_read,
)
from aae_utils.metrics.matching import prior_distance
from aae_utils.metrics.reconstruction import reconstruction_error
from aae_utils.networks import with_noise
from aae_utils.priors import Gaussian
from aae_utils.recipes import APPENDIX_A21, Recipe, in_both_settings, late_drop
from aae_utils.seeds import random_stream
from aae_utils.training import Batch, Terms, falling
from aae_utils.variants.adversarial import (
    MONITORED,
    SLOW_DISCRIMINATOR,
    AdversarialAutoencoder,
    AdversarialSettings,
    codes_of,
    squared_error,
)

NOISE_SHARE = 0.8
"""Share of the training after which the noise on the code is at its last value."""


@dataclass(frozen=True)
class SupervisedSettings(AdversarialSettings):
    """A supervised adversarial autoencoder in plain values."""

    variant: ClassVar[str] = "supervised"
    needs_labels: ClassVar[bool] = True

    prior: Gaussian = Gaussian(15)
    """p(z) of the style."""
    classes: int = 10
    """Number of labels."""
    label_scale: float = 1.0
    """Height of the label's one: the higher, the sooner the decoder looks at it."""
    code_noise: float = 0.0
    """Standard deviation of noise on z before the decoder in training. With it z cannot say everything, and
    the decoder does better to read the digit from the label."""
    last_code_noise: float | None = None
    """To this the noise falls over four fifths of the training; None: it stays."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("classes", self.classes, least=2)
        require_number("label_scale", self.label_scale, above=0)
        require_number("code_noise", self.code_noise, least=0)
        if self.last_code_noise is not None:
            require_number("last_code_noise", self.last_code_noise, least=0, most=self.code_noise)

    def label_count(self) -> int:
        """As many labels as the decoder's one-hot vector has places."""
        return self.classes

    def build(self, image_dim: int = 784) -> SupervisedAutoencoder:
        """A freshly initialized model for images of `image_dim` pixels."""
        return SupervisedAutoencoder(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """Distance of q(z) from p(z) on some validation images."""
        codes = codes_of(model, validation.first(MONITORED).images)
        return {"sliced_wasserstein": prior_distance(model.prior, codes)}

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """Match, reconstruction, what a probe reads from the style, and whether the label is obeyed."""
        test, validation = splits.test, splits.validation
        codes = codes_of(model, test.images)
        probe = (codes_of(model, validation.images), validation.labels, codes, test.labels)
        return {
            "sliced_wasserstein": prior_distance(model.prior, codes),
            "reconstruction_error": reconstruction_error(test.images, decoded(model, codes, test.labels)),
            "style_linear_probe_error": linear_probe_error(*probe),
            "style_mlp_probe_error": mlp_probe_error(*probe),
            "requested_digit_read": requested_digit_read(
                *drawn(model, splits.test.images.device), splits.train.images, splits.train.labels
            ),
        }


class SupervisedAutoencoder(AdversarialAutoencoder):
    """The AAE of Figure 6: content y to the decoder, style z matched to the prior."""

    def __init__(self, settings: SupervisedSettings, image_dim: int = 784) -> None:
        super().__init__(settings, image_dim, label_outputs=settings.classes)
        self.classes = settings.classes
        self.label_scale = settings.label_scale
        self.code_noise = settings.code_noise
        self.last_code_noise = settings.last_code_noise

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """1/2 ||x - p(x|y, z)||^2 with the true label y and z ~ q(z|x)."""
        z = self.noisy(self.corrupted_code(batch), batch)
        # not decode(): its look at the labels would make every step wait for the device
        reconstruction = self.decoder(self.with_label(z, batch.y))
        return {"reconstruction": squared_error(batch.x, reconstruction, self.reduction)}

    def noisy(self, z: Tensor, batch: Batch) -> Tensor:
        """Styles `(B, dim)` with the noise of this moment of the training."""
        if not self.code_noise:
            return z
        std: float | Tensor = self.code_noise
        if self.last_code_noise is not None:
            fallen = 1 - falling(batch.progress, NOISE_SHARE)
            std = self.code_noise + fallen * (self.last_code_noise - self.code_noise)
        return with_noise(z, std, batch.generator)

    def decode(self, code: Tensor, y: Tensor | None = None) -> Tensor:
        """Images `(N, D)` of styles `(N, dim)` and labels y `(N,)`."""
        if y is None or bool(((y < 0) | (y >= self.classes)).any()):
            raise ValueError(self._labels_needed())
        return self.decoder(self.with_label(code, y))

    def with_label(self, code: Tensor, y: Tensor) -> Tensor:
        """The one-hot of labels y `(N,)` beside styles `(N, dim)`: what the decoder sees."""
        try:
            one_hot = functional.one_hot(y, self.classes)
        except RuntimeError as error:
            raise ValueError(self._labels_needed()) from error
        return torch.cat((self.label_scale * one_hot.to(code.dtype), code), 1)

    def _labels_needed(self) -> str:
        return f"The supervised decoder needs a label from 0 to {self.classes - 1} for every image."


@torch.no_grad()
def decoded(model: Any, codes: Tensor, labels: Tensor) -> Tensor:
    """Images `(N, D)` of styles `(N, dim)` and labels `(N,)`."""
    pairs = zip(codes.split(2000), labels.split(2000), strict=True)
    return torch.cat([model.decode(z, y) for z, y in pairs])


def drawn(model: SupervisedAutoencoder, device: torch.device) -> tuple[Tensor, Tensor]:
    """Every label `(K * S,)` in the same S random styles, and the decoder's images `(K * S, D)`."""
    styles = model.prior.sample(STYLES, random_stream(0, "samples", device), device)
    labels = torch.arange(model.classes, device=device).repeat_interleave(STYLES)
    return labels, decoded(model, styles.repeat(model.classes, 1), labels)


# Recipes. The paper states the style's 15 dimensions and nothing on the training.


def _figure_7(dataset: Any) -> tuple[Recipe, Recipe]:
    model = SupervisedSettings()
    paper = Recipe(
        f"supervised-{dataset}",
        f"Figure 7, {dataset.upper()}",
        "paper",
        model,
        APPENDIX_A21,
        DataSettings(dataset, labels="all"),
    )
    small = replace(model, discriminator_units=500, init_std=0.05, label_scale=5.0, code_noise=0.7)
    return in_both_settings(paper, small, late_drop(60, averaging=0.99, discriminator=SLOW_DISCRIMINATOR))


RECIPES = (_figure_7("mnist"), _figure_7("svhn"))
