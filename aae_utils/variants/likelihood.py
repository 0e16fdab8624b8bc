"""Section 3: the likelihood of test images under a Parzen window on samples of the model (chapter 3).

Images drawn from the model carry a small Gaussian each; their sum is a density, and its logarithm at the test
images, in nats, is Table 1. The models are those of section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from aae_utils.data import DataSettings, Splits
from aae_utils.metrics.parzen import LikelihoodEstimate, SampleStream, parzen_estimate
from aae_utils.priors import Gaussian
from aae_utils.recipes import APPENDIX_A21, Recipe, in_both_settings, late_drop, steady_game
from aae_utils.seeds import random_stream
from aae_utils.training import Rates, TrainingSettings
from aae_utils.variants.adversarial import SMALL, AdversarialSettings
from aae_utils.variants.variational import ADAM, VariationalSettings

SAMPLES = 10_000
VALIDATION_IMAGES = 2000
"""So many choose sigma."""


@dataclass(frozen=True)
class LikelihoodSettings(AdversarialSettings):
    """The adversarial autoencoder of Table 1, in plain values."""

    variant: ClassVar[str] = "likelihood"
    prior: Gaussian = Gaussian(8, 5.0)
    """p(z), from which the samples come."""

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """As for any AAE, and the log-likelihood with 10,000 samples."""
        return super().measure(model, splits) | _numbers(likelihood(model, splits))


@dataclass(frozen=True)
class VariationalLikelihoodSettings(VariationalSettings):
    """The variational autoencoder beside it, in plain values."""

    variant: ClassVar[str] = "variational-likelihood"
    prior: Gaussian = Gaussian(8, 5.0)
    """p(z), from which the samples come."""

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """As for any VAE, and the log-likelihood with 10,000 samples."""
        return super().measure(model, splits) | _numbers(likelihood(model, splits))


def likelihood(
    model: Any,
    splits: Splits,
    samples: int = SAMPLES,
    *,
    sigmas: Sequence[float] | None = None,
    progress: bool = False,
    seed: int = 0,
) -> LikelihoodEstimate:
    """Parzen log-likelihood of the test images under `samples` images drawn from the model, in nats.

    Sigma is chosen on the first 2,000 validation images, among `sigmas` if they are given. More than 10,000
    samples are drawn anew in chunks and never held in memory.
    """
    device = splits.test.images.device
    stream = random_stream(seed, "samples", device)

    @torch.no_grad()
    def draw(count: int) -> Tensor:
        return splits.pixels(model.decode(model.prior.sample(count, stream, device)))

    return parzen_estimate(
        splits.pixels(splits.test.images),
        splits.pixels(splits.validation.first(VALIDATION_IMAGES).images),
        draw(samples) if samples <= SAMPLES else SampleStream(draw, samples),
        sigmas=sigmas,
        progress=progress,
    )


def narrower(sigma: float) -> list[float]:
    """Widths below the one chosen with 10,000 samples, among which to choose: more samples want less."""
    return [factor * sigma for factor in (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)]


def _numbers(estimate: LikelihoodEstimate) -> dict[str, float]:
    return {
        "log_likelihood": estimate.mean,
        "standard_error": estimate.standard_error,
        "sigma": estimate.sigma,
    }


# Recipes: the networks of appendix A.1, which states no rates.


def _mnist() -> tuple[Recipe, Recipe]:
    """The samples come from p(z), so q(z) must match it."""
    model = LikelihoodSettings()
    paper = Recipe("likelihood-mnist", "Table 1 and Figure 5, MNIST", "paper", model, APPENDIX_A21)
    training = steady_game(60, slower=40, reconstruction=0.005, generator=0.2)
    return in_both_settings(paper, model, training)


def _vae() -> tuple[Recipe, Recipe]:
    model = VariationalLikelihoodSettings()
    training = TrainingSettings(1000, drops=(800,), reconstruction=ADAM)
    paper = Recipe("likelihood-vae", "Table 1, VAE with the same networks", "paper", model, training)
    return in_both_settings(paper, model, late_drop(30, reconstruction=ADAM))


def _tfd() -> tuple[Recipe, Recipe]:
    model = LikelihoodSettings(Gaussian(15, 10.0), output="linear")
    data = DataSettings("tfd", standardize=True)
    paper = Recipe("likelihood-tfd", "Table 1 and Figure 5, TFD", "paper", model, APPENDIX_A21, data)
    training = TrainingSettings(14, drops=(10,), reconstruction=Rates(0.001, 0.9))
    return in_both_settings(paper, replace(model, **SMALL), training)


RECIPES = (_mnist(), _vae(), _tfd())
