"""Section 2: an autoencoder whose codes a discriminator pushes to follow a prior (chapter 1).

The encoder and the decoder learn to reconstruct; the discriminator learns to tell codes from samples of the
prior p(z), and the encoder, now its opponent, learns to be taken for p(z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from aae_utils.checks import require_kind, require_known, require_number, require_whole
from aae_utils.data import ImageData, Splits
from aae_utils.metrics.matching import prior_distance
from aae_utils.metrics.reconstruction import reconstruction_error
from aae_utils.networks import (
    Corruption,
    Decoder,
    Discriminator,
    Encoder,
    Output,
    Posterior,
    with_noise,
)
from aae_utils.priors import Gaussian, GaussianMixture, Prior, SwissRoll
from aae_utils.recipes import (
    APPENDIX_A21,
    ModelSettings,
    Recipe,
    in_both_settings,
    in_chunks,
    steady_game,
)
from aae_utils.seeds import random_stream
from aae_utils.training import Batch, Phase, Rates, Terms, falling

Reduction = Literal["sum", "mean"]
MONITORED = 2000
BLURRED_SHARE = 0.6
"""The share of a training after which the discriminator sees codes without instance noise."""


def squared_error(x: Tensor, reconstruction: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Half the squared Euclidean error of `(N, D)` images, averaged over the minibatch.

    `sum` adds over pixels, as the paper's learning rates need; `mean` averages over them and makes the
    gradient D times smaller.
    """
    error = 0.5 * (x - reconstruction).pow(2)
    return error.sum(1).mean() if reduction == "sum" else error.mean()


def discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """-E_p(z)[log D(z)] - E_q(z)[log(1 - D(z))], the value function of section 1.1, for codes `(N, dim)`.

    Samples of the prior are real, codes are fake. It is 2 ln 2 when the discriminator cannot tell them apart.
    """
    logits = discriminator(torch.cat((real, fake)))
    real, fake = logits[: len(real)], logits[len(real) :]
    # -log sigmoid(a) = softplus(-a), -log(1 - sigmoid(a)) = softplus(a)
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """-E_q(z)[log D(z)]: the encoder wants its codes `(N, dim)` to pass for samples.

    It is ln 2 when the discriminator answers one half to each of them.
    """
    return functional.softplus(-discriminator(fake)).mean()


@dataclass(frozen=True)
class AdversarialSettings(ModelSettings):
    """An adversarial autoencoder in plain values."""

    variant: ClassVar[str] = "adversarial"

    prior: Gaussian | GaussianMixture | SwissRoll = Gaussian(2, 5.0)
    """p(z), which the codes are to follow."""
    posterior: Posterior = "deterministic"
    """q(z|x): deterministic, gaussian, or universal (a function of the image and of noise)."""
    units: int = 1000
    """Units in each of the two hidden layers of encoder and decoder."""
    discriminator_units: int = 1000
    """Units in each of the two hidden layers of the discriminator."""
    output: Output = "sigmoid"
    """The decoder's output unit: sigmoid for pixels in [0, 1], linear for standardized ones."""
    corruption: Corruption = Corruption()
    """Noise on the encoder's input in training."""
    reduction: Reduction = "sum"
    """Whether the reconstruction error adds over pixels or averages over them."""
    init_std: float = 0.01
    """Standard deviation of the initial weights."""
    instance_noise: float = 0.0
    """Standard deviation at first of Gaussian noise on the samples and the codes that the discriminator sees;
    it falls to 0 by three fifths of the training. Not in the paper."""

    def __post_init__(self) -> None:
        require_kind("prior", self.prior, Prior)
        require_known("posterior", self.posterior, get_args(Posterior))
        require_whole("units", self.units)
        require_whole("discriminator_units", self.discriminator_units)
        require_known("output", self.output, get_args(Output))
        require_kind("corruption", self.corruption, Corruption)
        require_known("reduction", self.reduction, get_args(Reduction))
        require_number("init_std", self.init_std, above=0)
        require_number("instance_noise", self.instance_noise, least=0)

    def build(self, image_dim: int = 784) -> AdversarialAutoencoder:
        """A freshly initialized model for images of `image_dim` pixels."""
        return AdversarialAutoencoder(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """Distance of q(z) from p(z) and reconstruction error on some validation images."""
        return match(model, validation.first(MONITORED).images)

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """Distance of q(z) from p(z) and reconstruction error on the test images."""
        return match(model, splits.test.images)


class AdversarialAutoencoder(nn.Module):
    """The AAE of section 2 and Figure 1, for any prior with `dim` and `sample`.

    `label_inputs` and `label_outputs` are for the variants whose discriminator or decoder sees a label, too.
    """

    prior: Any

    def __init__(
        self,
        settings: AdversarialSettings,
        image_dim: int = 784,
        *,
        label_inputs: int = 0,
        label_outputs: int = 0,
    ) -> None:
        super().__init__()
        self.prior, self.label_count = settings.prior, settings.label_count()
        self.corruption = settings.corruption
        self.reduction: Reduction = settings.reduction
        self.instance_noise = settings.instance_noise
        dim, units, init_std = self.prior.dim, settings.units, settings.init_std
        self.encoder = Encoder(image_dim, dim, units, posterior=settings.posterior, init_std=init_std)
        self.decoder = Decoder(
            dim + label_outputs, image_dim, units, output=settings.output, init_std=init_std
        )
        self.discriminator = Discriminator(
            dim + label_inputs, settings.discriminator_units, init_std=init_std
        )

    def phases(self) -> tuple[Phase, ...]:
        """Reconstruction, then regularization: the discriminator, then the encoder as its generator."""
        autoencoder = (self.encoder, self.decoder)
        return (
            Phase("reconstruction", self.reconstruction_loss, autoencoder, "reconstruction"),
            Phase("discriminator", self.discriminator_loss, (self.discriminator,), "discriminator"),
            Phase("generator", self.generator_loss, (self.encoder,), "generator"),
        )

    def corrupted_code(self, batch: Batch) -> Tensor:
        """Draw z ~ q(z|x) of the batch's corrupted images, `(B, dim)`."""
        return self.encoder(self.corruption(batch.x, batch.generator), batch.generator)

    def regularized_code(self, batch: Batch) -> Tensor:
        """Z ~ q(z|x), `(B, dim)`, of the regularization phase.

        The discriminator's update does not touch the encoder, so one pass through it serves both updates.
        """
        return batch.once("code", lambda: self.corrupted_code(batch))

    def prior_sample(self, batch: Batch) -> Tensor:
        """As many samples `(B, dim)` of the prior as the batch has images."""
        return self.prior.sample(len(batch.x), batch.generator, batch.x.device)

    def judged(self, code: Tensor, batch: Batch) -> Tensor:
        """What the discriminator sees of samples and codes `(B, dim)` at this moment of the training.

        Instance noise joins the parts of a prior that has gaps, and the encoder feels a part that it does not
        use yet.
        """
        if not self.instance_noise:
            return code
        std = self.instance_noise * falling(batch.progress, BLURRED_SHARE)
        return with_noise(code, std, batch.generator)

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """1/2 ||x - p(x|z)||^2 with z ~ q(z|x)."""
        reconstruction = self.decoder(self.corrupted_code(batch))
        return {"reconstruction": squared_error(batch.x, reconstruction, self.reduction)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Tell samples of the prior (positive) from codes (negative)."""
        fake = self.regularized_code(batch).detach()
        real = self.judged(self.prior_sample(batch), batch)
        return {"discriminator": discriminator_loss(self.discriminator, real, self.judged(fake, batch))}

    def generator_loss(self, batch: Batch) -> Terms:
        """Fool the discriminator."""
        fake = self.judged(self.regularized_code(batch), batch)
        return {"generator": generator_loss(self.discriminator, fake)}

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Codes `(N, dim)` of clean images `(N, D)`; a stochastic posterior draws one sample each."""
        return self.encoder(x, generator)

    def decode(self, code: Tensor) -> Tensor:
        """Images `(N, D)` of codes `(N, dim)`."""
        return self.decoder(code)

    def prior_probability(self, code: Tensor) -> Tensor:
        """D(z) `(N,)`: how surely the discriminator takes codes `(N, dim)` for samples of the prior."""
        return self.discriminator(code).sigmoid()


def codes_of(model: Any, images: Tensor, seed: int = 0) -> Tensor:
    """Codes `(N, dim)` of images `(N, D)`; a stochastic posterior draws one code each, fixed by the seed."""
    stream = random_stream(seed, "codes", images.device)
    return in_chunks(lambda x: model.encode(x, stream), images)


def match(model: Any, images: Tensor, seed: int = 0, codes: Tensor | None = None) -> dict[str, float]:
    """How far q(z) is from p(z), and the reconstruction error, of images `(N, D)`; `codes` if known."""
    codes = codes_of(model, images, seed) if codes is None else codes
    decode: Callable[[Tensor], Tensor] = model.decode
    return {
        "sliced_wasserstein": prior_distance(model.prior, codes, seed),
        "reconstruction_error": reconstruction_error(images, in_chunks(decode, codes)),
    }


# Recipes. The paper states no rates for its figures: the `paper` setting takes those of appendix A.2.1.

GAUSSIAN, MIXTURE = Gaussian(2, 5.0), GaussianMixture()
SLOW_DISCRIMINATOR = Rates(0.05, 0.1)
"""Half the paper's rate."""
SMALL: dict[str, Any] = {"units": 500, "discriminator_units": 250, "init_std": 0.05}
"""Smaller networks. Larger initial weights, since from N(0, 0.01^2) a discriminator sleeps for epochs."""


def _figure_2(
    name: str,
    reproduces: str,
    model: AdversarialSettings,
    discriminator: float = 0.1,
    film: bool = False,
) -> tuple[Recipe, Recipe]:
    paper = Recipe(name, reproduces, "paper", model, APPENDIX_A21, film=film)
    training = steady_game(24, slower=10, discriminator=discriminator)
    return in_both_settings(paper, replace(model, **SMALL), training)


def _figure_2b() -> tuple[Recipe, Recipe]:
    """The mixture has gaps: it needs a blurred start, and an autoencoder that yields to the discriminator."""
    model = AdversarialSettings(MIXTURE)
    paper = Recipe("aae-mixture", "Figure 2B", "paper", model, APPENDIX_A21)
    small = replace(model, **SMALL | {"discriminator_units": 500}, instance_noise=3.0)
    training = steady_game(
        30, slower=12, reconstruction=0.0005, discriminator=SLOW_DISCRIMINATOR.learning_rate
    )
    return in_both_settings(paper, small, training)


RECIPES = (
    _figure_2("aae-gaussian", "Figures 2A and 2E", AdversarialSettings(GAUSSIAN), film=True),
    _figure_2b(),
    _figure_2(
        "aae-gaussian-posterior",
        "Section 2, Gaussian q(z|x)",
        AdversarialSettings(GAUSSIAN, posterior="gaussian"),
        SLOW_DISCRIMINATOR.learning_rate,
    ),
    _figure_2(
        "aae-universal-posterior",
        "Section 2, universal approximator q(z|x)",
        AdversarialSettings(GAUSSIAN, posterior="universal"),
        SLOW_DISCRIMINATOR.learning_rate,
    ),
)
