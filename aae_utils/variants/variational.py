"""Section 2, Figures 2C and 2D: the variational autoencoder that the paper compares with (chapter 1).

The same networks; in place of a discriminator, the KL divergence of each q(z|x) from the prior p(z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from aae_utils.checks import require_kind, require_known, require_number, require_whole
from aae_utils.data import ImageData, Splits
from aae_utils.networks import Corruption, Decoder, Encoder, Output, reparametrize
from aae_utils.priors import Gaussian, GaussianMixture, Prior
from aae_utils.recipes import ModelSettings, Recipe, in_both_settings
from aae_utils.training import Batch, Phase, Rates, Terms, TrainingSettings
from aae_utils.variants.adversarial import GAUSSIAN, MIXTURE, MONITORED, match, squared_error


@dataclass(frozen=True)
class VariationalSettings(ModelSettings):
    """A variational autoencoder in plain values."""

    variant: ClassVar[str] = "variational"

    prior: Gaussian | GaussianMixture = Gaussian(2, 5.0)
    """p(z); it needs a density, so the swiss roll is out."""
    units: int = 1000
    """Units in each of the two hidden layers of encoder and decoder."""
    output: Output = "sigmoid"
    """The decoder's output unit: sigmoid (a Bernoulli p(x|z)) or linear (a Gaussian of variance 1)."""
    corruption: Corruption = Corruption()
    """Noise on the encoder's input in training."""
    init_std: float = 0.01
    """Standard deviation of the initial weights."""

    def __post_init__(self) -> None:
        require_kind("prior", self.prior, Prior)
        require_kind("corruption", self.corruption, Corruption)
        require_whole("units", self.units)
        require_known("output", self.output, get_args(Output))
        require_number("init_std", self.init_std, above=0)

    def build(self, image_dim: int = 784) -> VariationalAutoencoder:
        """A freshly initialized model for images of `image_dim` pixels."""
        return VariationalAutoencoder(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """Distance of q(z) from p(z) and reconstruction error on some validation images."""
        return match(model, validation.first(MONITORED).images)

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """Distance of q(z) from p(z) and reconstruction error on the test images."""
        return match(model, splits.test.images)


class VariationalAutoencoder(nn.Module):
    """The VAE of Figures 2C and 2D.

    The KL divergence to a Gaussian prior is exact; to a mixture it is estimated with one sample.
    """

    prior: Any

    def __init__(self, settings: VariationalSettings, image_dim: int = 784) -> None:
        super().__init__()
        if not hasattr(settings.prior, "log_prob"):
            raise ValueError(
                f"A VAE needs the density of its prior and {type(settings.prior).__name__} has none:"
                " use Gaussian or GaussianMixture."
            )
        self.prior = settings.prior
        self.corruption = settings.corruption
        dim, units, init_std = self.prior.dim, settings.units, settings.init_std
        self.encoder = Encoder(image_dim, dim, units, posterior="gaussian", init_std=init_std)
        self.decoder = Decoder(dim, image_dim, units, output=settings.output, init_std=init_std)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: encoder and decoder descend the negative evidence lower bound."""
        networks = (self.encoder, self.decoder)
        return (Phase("evidence lower bound", self.loss, networks, "reconstruction"),)

    def loss(self, batch: Batch) -> Terms:
        """-log p(x|z), Bernoulli (sigmoid) or unit Gaussian (linear), plus KL(q(z|x) || p(z)), in nats."""
        x = self.corruption(batch.x, batch.generator)
        mean, log_variance = self.encoder.moments(x)
        z = reparametrize(mean, log_variance, batch.generator)
        return {
            "reconstruction": self._negative_log_likelihood(batch.x, z),
            "kl": self.divergence(mean, log_variance, z).mean(),
        }

    def _negative_log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        logits = self.decoder.logits(z)
        if self.decoder.output == "linear":
            return squared_error(x, logits)
        error = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return error / len(x)

    def divergence(self, mean: Tensor, log_variance: Tensor, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)) in nats, `(N,)`, from the moments and samples `(N, dim)` of q(z|x)."""
        if isinstance(self.prior, Gaussian):
            variance = self.prior.std**2
            ratio = (log_variance.exp() + mean.pow(2)) / variance
            return 0.5 * (ratio - 1 - log_variance + math.log(variance)).sum(1)
        posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp(), validate_args=False)
        return posterior.log_prob(z).sum(1) - self.prior.log_prob(z)

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw codes z ~ q(z|x), `(N, dim)`, of images `(N, D)`: samples of the aggregated posterior."""
        return self.encoder(x, generator)

    def decode(self, code: Tensor) -> Tensor:
        """Images `(N, D)` of codes `(N, dim)`."""
        return self.decoder(code)


# Recipes. The paper says nothing on the training of its VAEs; ours take Adam.

ADAM = Rates(1e-3, 0.9, "adam")


def _figure_2(
    name: str, reproduces: str, prior: Gaussian | GaussianMixture, film: bool = False
) -> tuple[Recipe, Recipe]:
    model = VariationalSettings(prior)
    training = TrainingSettings(1000, reconstruction=ADAM, drops=(800,))
    paper = Recipe(name, reproduces, "paper", model, training, film=film)
    small = replace(model, units=500, init_std=0.05)
    return in_both_settings(paper, small, replace(training, epochs=14, drops=(10,)))


RECIPES = (
    _figure_2("vae-gaussian", "Figure 2C", GAUSSIAN, film=True),
    _figure_2("vae-mixture", "Figure 2D", MIXTURE),
)
