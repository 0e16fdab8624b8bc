"""One class for each variant of the paper: its networks and the loss of each of its phases.

A model is trained by the one loop in `aae_utils.training`, which only asks for `model.phases()`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from aae_utils import evaluation
from aae_utils.networks import (
    ClusterHeads,
    Decoder,
    Discriminator,
    Encoder,
    Output,
    Posterior,
    TwoHeadEncoder,
    reparametrize,
    require_known,
)
from aae_utils.priors import UNLABELLED, Categorical, Gaussian, LabelledPrior, Prior

Reduction = Literal["sum", "mean"]
BatchNorm = Literal["none", "encoder", "autoencoder"]
RateGroup = Literal["reconstruction", "adversarial", "classification"]
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    x `(B, D)` images; y `(B,)` their labels, -1 where the label is hidden; `labelled_x` `(L, D)` and
    `labelled_y` `(L,)` the labelled minibatch of section 5; `generator` the source of all noise.
    """

    x: Tensor
    y: Tensor
    labelled_x: Tensor | None = None
    labelled_y: Tensor | None = None
    generator: torch.Generator | None = None


@dataclass(frozen=True)
class Phase:
    """One update of a training step: minimize the sum of `loss(batch)` over the parameters of `networks`."""

    name: str
    loss: Callable[[Batch], Terms]
    networks: tuple[nn.Module, ...]
    rates: RateGroup

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that this phase, and no other part of the step, updates."""
        return [p for network in self.networks for p in network.parameters() if p.requires_grad]


@dataclass(frozen=True)
class Corruption:
    """Noise on the encoder's input during training only (appendix A.2 and A.3)."""

    noise_std: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.noise_std < 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                "noise_std must be at least 0 and dropout in [0, 1), not"
                f" {self.noise_std} and {self.dropout}."
            )

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Corrupt images `(N, D)`: Gaussian noise, then dropout that keeps the mean."""
        if self.noise_std:
            x = x + self.noise_std * torch.randn(x.shape, generator=generator, device=x.device)
        if self.dropout:
            kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.dropout
            x = x * kept / (1 - self.dropout)
        return x


def squared_error(x: Tensor, reconstruction: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Half the squared Euclidean error of `(N, D)` images, averaged over the minibatch.

    `sum` adds over pixels, as the paper's learning rates need; `mean` averages over them and makes the
    gradient D times smaller.
    """
    error = 0.5 * (x - reconstruction).pow(2)
    return error.sum(1).mean() if reduction == "sum" else error.mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Cross-entropy of the logits of prior samples (real) and codes (fake), `ln 2` when it cannot tell.

    -1/2 E_p(z)[log D(z)] - 1/2 E_q(z)[log(1 - D(z))], the value function of section 1.1.
    """
    return 0.5 * (functional.softplus(-real).mean() + functional.softplus(fake).mean())


def generator_loss(fake: Tensor) -> Tensor:
    """-E_q(z)[log D(z)]: the encoder wants its codes to pass for prior samples, `ln 2` when half do."""
    return functional.softplus(-fake).mean()


def play(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Loss of `discriminator` on prior samples and codes, both in one forward pass."""
    logits = discriminator(torch.cat((real, fake)))
    return discriminator_loss(logits[: len(real)], logits[len(real) :])


class AdversarialAutoencoder(nn.Module):
    """The AAE of section 2 and Figure 1: an autoencoder whose codes a discriminator pushes to p(z)."""

    def __init__(
        self,
        prior: Prior,
        image_dim: int = 784,
        units: int = 1000,
        *,
        discriminator_units: int | None = None,
        posterior: Posterior = "deterministic",
        output: Output = "sigmoid",
        corruption: Corruption | None = None,
        reduction: Reduction = "sum",
        init_std: float = 0.01,
        label_inputs: int = 0,
        label_outputs: int = 0,
    ) -> None:
        super().__init__()
        require_known("reduction", reduction, get_args(Reduction))
        self.prior = prior
        self.corruption = corruption or Corruption()
        self.reduction: Reduction = reduction
        self.encoder = Encoder(image_dim, prior.dim, units, posterior=posterior, init_std=init_std)
        self.decoder = Decoder(prior.dim + label_outputs, image_dim, units, output=output, init_std=init_std)
        self.discriminator = Discriminator(
            prior.dim + label_inputs, discriminator_units or units, init_std=init_std
        )

    def phases(self) -> tuple[Phase, ...]:
        """Reconstruction, then regularization: the discriminator, then the encoder as its generator."""
        return (
            Phase(
                "reconstruction",
                self.reconstruction_loss,
                (self.encoder, self.decoder),
                "reconstruction",
            ),
            Phase("discriminator", self.discriminator_loss, (self.discriminator,), "adversarial"),
            Phase("generator", self.generator_loss, (self.encoder,), "adversarial"),
        )

    def corrupted_code(self, batch: Batch) -> Tensor:
        """Draw z ~ q(z|x) of the batch's corrupted images, `(B, dim)`."""
        return self.encoder(self.corruption(batch.x, batch.generator), batch.generator)

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """1/2 ||x - p(x|z)||^2 with z ~ q(z|x)."""
        reconstruction = self.decoder(self.corrupted_code(batch))
        return {"reconstruction": squared_error(batch.x, reconstruction, self.reduction)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Tell samples of the prior (positive) from codes (negative)."""
        with torch.no_grad():
            fake = self.corrupted_code(batch)
        real = self.prior.sample(len(fake), batch.generator, fake.device)
        return {"discriminator": play(self.discriminator, real, fake)}

    def generator_loss(self, batch: Batch) -> Terms:
        """Fool the discriminator."""
        return {"generator": generator_loss(self.discriminator(self.corrupted_code(batch)))}

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Codes `(N, dim)` of clean images `(N, D)`; a stochastic posterior draws one sample each."""
        return self.encoder(x, generator)

    def decode(self, code: Tensor) -> Tensor:
        """Images `(N, D)` of codes `(N, dim)`."""
        return self.decoder(code)


class LabelRegularizedAutoencoder(AdversarialAutoencoder):
    """Section 2.3, Figure 3: the discriminator also sees a one-hot label, so each label gets its own region.

    The one-hot vector has an extra class for images without a label. `label_scale` is the height of its one:
    near the size of the codes, the discriminator looks at the label from the start.
    """

    prior: LabelledPrior

    def __init__(
        self,
        prior: LabelledPrior,
        image_dim: int = 784,
        units: int = 1000,
        *,
        label_scale: float = 1.0,
        **options: Any,
    ):
        if not isinstance(prior, LabelledPrior):
            raise ValueError(
                f"{type(prior).__name__} has no regions for labels: use GaussianMixture or SwissRoll."
            )
        super().__init__(prior, image_dim, units, label_inputs=prior.classes + 1, **options)
        self.label_scale = label_scale

    def with_label(self, code: Tensor, y: Tensor) -> Tensor:
        """Codes `(N, dim)` beside the one-hot of their labels, the last class where y is -1."""
        classes = self.prior.classes
        switch = torch.where(y == UNLABELLED, classes, y)
        one_hot = functional.one_hot(switch, classes + 1).to(code.dtype)
        return torch.cat((code, self.label_scale * one_hot), dim=1)

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Positive: a sample of the label's region and the label; negative: a code and its image's label."""
        with torch.no_grad():
            fake = self.corrupted_code(batch)
        real = self.prior.sample_given(batch.y, batch.generator)
        real, fake = self.with_label(real, batch.y), self.with_label(fake, batch.y)
        return {"discriminator": play(self.discriminator, real, fake)}

    def generator_loss(self, batch: Batch) -> Terms:
        """Fool the discriminator that knows the label."""
        code = self.with_label(self.corrupted_code(batch), batch.y)
        return {"generator": generator_loss(self.discriminator(code))}


class SupervisedAutoencoder(AdversarialAutoencoder):
    """Section 4, Figure 6: the decoder gets the one-hot label, so the code z keeps only the style.

    `label_scale` is the height of the label's one: the higher, the sooner the decoder learns to look at
    it. `code_noise` is the standard deviation of Gaussian noise that the decoder meets on z in training.
    With it z cannot say everything, so a digit that is said by z takes the place of style, and the decoder
    does better to read it from the label.
    """

    def __init__(
        self,
        prior: Prior,
        image_dim: int = 784,
        units: int = 1000,
        *,
        classes: int = 10,
        label_scale: float = 1.0,
        code_noise: float = 0.0,
        **options: Any,
    ):
        if code_noise < 0:
            raise ValueError(f"code_noise is a standard deviation, at least 0, not {code_noise}.")
        super().__init__(prior, image_dim, units, label_outputs=classes, **options)
        self.classes = classes
        self.label_scale = label_scale
        self.blur = Corruption(noise_std=code_noise)

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """1/2 ||x - p(x|y, z)||^2 with the true label y and z ~ q(z|x)."""
        z = self.blur(self.corrupted_code(batch), batch.generator)
        # not decode(): its look at the labels would make every step wait for the device
        reconstruction = self.decoder(self.with_label(z, batch.y))
        return {"reconstruction": squared_error(batch.x, reconstruction, self.reduction)}

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


class SemiSupervisedAutoencoder(nn.Module):
    """Section 5, Figure 8: a label code y matched to Cat(y), a style code z matched to N(0, I)."""

    def __init__(
        self,
        style_prior: Prior | None = None,
        image_dim: int = 784,
        units: int = 1000,
        *,
        classes: int = 10,
        discriminator_units: int | None = None,
        output: Output = "sigmoid",
        corruption: Corruption | None = None,
        batch_norm: BatchNorm = "none",
        reduction: Reduction = "sum",
        init_std: float = 0.01,
        supervised: bool = True,
    ) -> None:
        super().__init__()
        require_known("reduction", reduction, get_args(Reduction))
        require_known("batch_norm", batch_norm, get_args(BatchNorm))
        self.label_prior = Categorical(classes)
        self.style_prior = style_prior or Gaussian(10)
        self.classes = classes
        self.corruption = corruption or Corruption()
        self.reduction: Reduction = reduction
        self.supervised = supervised
        style_dim = self.style_prior.dim
        self.encoder = TwoHeadEncoder(
            image_dim,
            classes,
            style_dim,
            units,
            batch_norm=batch_norm != "none",
            init_std=init_std,
        )
        self.decoder = Decoder(
            self.decoder_inputs(),
            image_dim,
            units,
            output=output,
            batch_norm=batch_norm == "autoencoder",
            init_std=init_std,
        )
        critic_units = discriminator_units or units
        self.label_discriminator = Discriminator(classes, critic_units, init_std=init_std)
        self.style_discriminator = Discriminator(style_dim, critic_units, init_std=init_std)

    def phases(self) -> tuple[Phase, ...]:
        """Reconstruction, regularization of y and z, and semi-supervised classification if supervised."""
        phases = (
            Phase("reconstruction", self.reconstruction_loss, self.autoencoder(), "reconstruction"),
            Phase(
                "discriminators",
                self.discriminator_loss,
                (self.label_discriminator, self.style_discriminator),
                "adversarial",
            ),
            Phase("generator", self.generator_loss, (self.encoder,), "adversarial"),
        )
        if not self.supervised:
            return phases
        classification = Phase("classification", self.classification_loss, (self.encoder,), "classification")
        return (*phases, classification)

    def autoencoder(self) -> tuple[nn.Module, ...]:
        """The networks that the reconstruction phase updates."""
        return (self.encoder, self.decoder)

    def decoder_inputs(self) -> int:
        """Width of the decoder's input."""
        return self.classes + self.style_prior.dim

    def decoder_code(self, y: Tensor, z: Tensor) -> Tensor:
        """What the decoder sees of y `(N, classes)` and z `(N, style)`: both, side by side."""
        return torch.cat((y, z), dim=1)

    def corrupted_codes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Label code q(y|x) `(B, classes)` and style z `(B, style)` of the corrupted images."""
        logits, z = self.encoder(self.corruption(batch.x, batch.generator))
        return logits.softmax(1), z

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """1/2 ||x - p(x|y, z)||^2, without looking at the label of x."""
        reconstruction = self.decoder(self.decoder_code(*self.corrupted_codes(batch)))
        return {"reconstruction": squared_error(batch.x, reconstruction, self.reduction)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Two games: one-hot samples of Cat(y) against q(y|x), samples of p(z) against z."""
        with torch.no_grad():
            y, z = self.corrupted_codes(batch)
        real_y = self.label_prior.sample(len(y), batch.generator, y.device)
        real_z = self.style_prior.sample(len(z), batch.generator, z.device)
        return {
            "label_discriminator": play(self.label_discriminator, real_y, y),
            "style_discriminator": play(self.style_discriminator, real_z, z),
        }

    def generator_loss(self, batch: Batch) -> Terms:
        """Fool both discriminators at once."""
        y, z = self.corrupted_codes(batch)
        return {
            "label_generator": generator_loss(self.label_discriminator(y)),
            "style_generator": generator_loss(self.style_discriminator(z)),
        }

    def classification_loss(self, batch: Batch) -> Terms:
        """Cross-entropy of q(y|x) on the labelled minibatch."""
        if batch.labelled_x is None or batch.labelled_y is None:
            raise ValueError(
                "The classification phase needs labelled images: give the trainer some, or build the"
                " model with supervised=False."
            )
        logits, _ = self.encoder(self.corruption(batch.labelled_x, batch.generator))
        return {"classification": functional.cross_entropy(logits, batch.labelled_y)}

    def predict(self, x: Tensor) -> Tensor:
        """q(y|x) `(N, classes)` of clean images `(N, D)`: probabilities of labels or clusters."""
        return self.encoder(x)[0].softmax(1)

    def log_odds(self, x: Tensor) -> Tensor:
        """How surely clean images `(N, D)` belong to each cluster, `(N, classes)` log-odds of q(y|x)."""
        return evaluation.log_odds(self.encoder(x)[0])

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Style z `(N, style)` of clean images `(N, D)`."""
        return self.encoder(x)[1]

    def decode(self, y: Tensor, z: Tensor) -> Tensor:
        """Images `(N, D)` of label codes y `(N, classes)` and styles z `(N, style)`."""
        return self.decoder(self.decoder_code(y, z))


class ClusteringAutoencoder(SemiSupervisedAutoencoder):
    """Section 6: the network of Figure 8 without labels; y has one unit for each cluster."""

    def __init__(self, style_prior: Prior | None = None, *arguments: Any, **options: Any) -> None:
        super().__init__(style_prior or Gaussian(5), *arguments, supervised=False, **options)


class DimensionalityReductionAutoencoder(SemiSupervisedAutoencoder):
    """Section 7, Figure 10: the representation is a cluster head y W_C plus the style z.

    With `fixed_head_scale` W_C is that multiple of the identity and nothing of it is learned.
    """

    def __init__(
        self,
        style_prior: Prior | None = None,
        image_dim: int = 784,
        units: int = 1000,
        *,
        head_distance: float = 6.0,
        head_penalty: float = 1.0,
        fixed_head_scale: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(style_prior or Gaussian(2), image_dim, units, **options)
        self.head_distance = head_distance
        self.head_penalty = 0.0 if fixed_head_scale is not None else head_penalty
        self.heads = ClusterHeads(self.classes, self.style_prior.dim, fixed_scale=fixed_head_scale)

    def autoencoder(self) -> tuple[nn.Module, ...]:
        """The networks that the reconstruction phase updates: W_C among them."""
        return (self.encoder, self.decoder, self.heads)

    def decoder_inputs(self) -> int:
        """Width of the representation."""
        return self.style_prior.dim

    def decoder_code(self, y: Tensor, z: Tensor) -> Tensor:
        """The representation y W_C + z, `(N, dim)`: all that the decoder sees."""
        return self.heads(y) + z

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """Reconstruction error, plus a linear penalty on pairs of heads closer than `head_distance`."""
        terms = super().reconstruction_loss(batch)
        if self.head_penalty:
            penalty = self.head_penalty * self.heads.distance_penalty(self.head_distance)
            terms["head_distance"] = penalty
        return terms

    def represent(self, x: Tensor) -> Tensor:
        """Representation `(N, dim)` of clean images `(N, D)` (Figure 11)."""
        logits, z = self.encoder(x)
        return self.decoder_code(logits.softmax(1), z)


class VariationalAutoencoder(nn.Module):
    """The VAE that Figure 2 compares with: the same networks, a KL term in place of the discriminator.

    The KL divergence to a Gaussian prior is exact, to any other prior with a density it is estimated with
    one sample (which the mixture of Figure 2D needs).
    """

    def __init__(
        self,
        prior: Prior,
        image_dim: int = 784,
        units: int = 1000,
        *,
        corruption: Corruption | None = None,
        output: Output = "sigmoid",
        init_std: float = 0.01,
    ) -> None:
        super().__init__()
        if not hasattr(prior, "log_prob"):
            raise ValueError(
                f"A VAE needs the density of its prior and {type(prior).__name__} has none:"
                " use Gaussian or GaussianMixture."
            )
        self.prior: Any = prior
        self.corruption = corruption or Corruption()
        self.encoder = Encoder(image_dim, prior.dim, units, posterior="gaussian", init_std=init_std)
        self.decoder = Decoder(prior.dim, image_dim, units, output=output, init_std=init_std)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: encoder and decoder descend the negative evidence lower bound."""
        networks = (self.encoder, self.decoder)
        return (Phase("evidence lower bound", self.loss, networks, "reconstruction"),)

    def loss(self, batch: Batch) -> Terms:
        """-log p(x|z), Bernoulli (sigmoid) or unit Gaussian (linear), plus KL(q(z|x) || p(z))."""
        x = self.corruption(batch.x, batch.generator)
        mean, log_variance = self.encoder.moments(x)
        z = reparametrize(mean, log_variance, batch.generator)
        logits = self.decoder.logits(z)
        if self.decoder.output == "sigmoid":
            error = functional.binary_cross_entropy_with_logits(logits, batch.x, reduction="sum")
            reconstruction = error / len(batch.x)
        else:
            reconstruction = squared_error(batch.x, logits)
        return {
            "reconstruction": reconstruction,
            "kl": self.divergence(mean, log_variance, z).mean(),
        }

    def divergence(self, mean: Tensor, log_variance: Tensor, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)) in nats, `(N,)`."""
        if isinstance(self.prior, Gaussian):
            variance = self.prior.std**2
            ratio = (log_variance.exp() + mean.pow(2)) / variance
            return 0.5 * (ratio - 1 - log_variance + torch.tensor(variance).log()).sum(1)
        posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp(), validate_args=False)
        return posterior.log_prob(z).sum(1) - self.prior.log_prob(z)

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw codes z ~ q(z|x), `(N, dim)`, of images `(N, D)`: samples of the aggregated posterior."""
        return self.encoder(x, generator)

    def decode(self, code: Tensor) -> Tensor:
        """Images `(N, D)` of codes `(N, dim)`."""
        return self.decoder(code)


class Classifier(nn.Module):
    """The baseline "NN" of Table 2: the encoder's hidden layers and a softmax, on the labels alone."""

    def __init__(
        self,
        image_dim: int = 784,
        units: int = 1000,
        *,
        classes: int = 10,
        corruption: Corruption | None = None,
        init_std: float = 0.01,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.corruption = corruption or Corruption()
        self.encoder = Encoder(image_dim, classes, units, init_std=init_std)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: cross-entropy on the labelled images."""
        return (Phase("classification", self.classification_loss, (self.encoder,), "classification"),)

    def classification_loss(self, batch: Batch) -> Terms:
        """Cross-entropy of q(y|x) on the labelled minibatch."""
        if batch.labelled_x is None or batch.labelled_y is None:
            raise ValueError("A classifier needs labelled images: give the trainer some.")
        logits = self.encoder(self.corruption(batch.labelled_x, batch.generator))
        return {"classification": functional.cross_entropy(logits, batch.labelled_y)}

    def predict(self, x: Tensor) -> Tensor:
        """q(y|x) `(N, classes)` of images `(N, D)`."""
        return self.encoder(x).softmax(1)


@torch.no_grad()
def in_chunks(function: Callable[[Tensor], Tensor], values: Tensor, size: int = 2000) -> Tensor:
    """Apply `function` to `(N, ...)` values, `size` rows at a time and without gradients."""
    return torch.cat([function(chunk) for chunk in values.split(size)])
