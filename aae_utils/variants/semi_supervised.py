"""Section 5: a label code and a style code, each with its own discriminator (chapter 5).

The encoder answers with a label y, matched to one-hot vectors, and a style z, matched to a Gaussian. A few
labeled images say which label is which digit; the baseline beside it sees those images alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from aae_utils.checks import require_flag, require_kind, require_known, require_number, require_whole
from aae_utils.data import DataSettings, ImageData, Splits
from aae_utils.metrics import clustering
from aae_utils.metrics.classification import STYLES, classification_error, requested_digit_read
from aae_utils.networks import (
    Corruption,
    Decoder,
    Discriminator,
    Encoder,
    LabelAndStyleEncoder,
    MissingNetwork,
    Output,
)
from aae_utils.priors import Categorical, Gaussian, Prior, softened
from aae_utils.recipes import (
    APPENDIX_A21,
    ModelSettings,
    Recipe,
    calmer_games,
    in_both_settings,
    in_chunks,
    late_drop,
)
from aae_utils.seeds import random_stream
from aae_utils.training import Batch, Phase, Rates, Terms, TrainingSettings, falling
from aae_utils.variants.adversarial import (
    Reduction,
    discriminator_loss,
    generator_loss,
    squared_error,
)

BatchNorm = Literal["none", "encoder", "autoencoder"]


@dataclass(frozen=True)
class TwoCodeSettings(ModelSettings):
    """What the models of sections 5 to 7 have in common: a label code y and a style code z."""

    style_prior: Gaussian = Gaussian(10)
    """p(z) of the style."""
    classes: int = 10
    """Units of the label code: labels, or clusters."""
    label_softness: float = 0.0
    """How much of its one a sample of Cat(y) gives away at most, to all units at random, in the beginning."""
    softening_share: float = 0.3
    """Share of the training in which that falls to zero: from there on the samples are one-hot."""
    label_halvings: float = 0.0
    """How often the rates of the game on y halve in the course of the training, evenly."""
    match_label: bool = True
    """Whether y is matched to Cat(y)."""
    match_style: bool = True
    """Whether z is matched to its prior."""
    units: int = 1000
    """Units in each of the two hidden layers of encoder and decoder."""
    discriminator_units: int = 1000
    """Units in each of the two hidden layers of both discriminators."""
    output: Output = "sigmoid"
    """The decoder's output unit: sigmoid for pixels in [0, 1], linear for standardized ones."""
    corruption: Corruption = Corruption()
    """Noise on the encoder's input in training."""
    batch_norm: BatchNorm = "none"
    """Where batch normalization stands: nowhere, in the encoder, or in encoder and decoder."""
    reduction: Reduction = "sum"
    """Whether the reconstruction error adds over pixels or averages over them."""
    init_std: float = 0.01
    """Standard deviation of the initial weights."""

    def __post_init__(self) -> None:
        require_kind("style_prior", self.style_prior, Prior)
        require_whole("classes", self.classes, least=2)
        for name in ("units", "discriminator_units"):
            require_whole(name, getattr(self, name))
        require_kind("corruption", self.corruption, Corruption)
        require_known("output", self.output, get_args(Output))
        require_known("batch_norm", self.batch_norm, get_args(BatchNorm))
        require_known("reduction", self.reduction, get_args(Reduction))
        require_number("label_softness", self.label_softness, least=0, below=1)
        require_number("softening_share", self.softening_share, above=0, most=1)
        require_number("label_halvings", self.label_halvings, least=0)
        require_flag("match_label", self.match_label)
        require_flag("match_style", self.match_style)
        if not (self.match_label or self.match_style):
            raise ValueError("match_label and match_style are both off: then nothing of the code is matched.")
        require_number("init_std", self.init_std, above=0)


@dataclass(frozen=True)
class SemiSupervisedSettings(TwoCodeSettings):
    """A semi-supervised adversarial autoencoder in plain values."""

    variant: ClassVar[str] = "semi-supervised"
    measured: ClassVar[tuple[str, ...]] = ("encoder",)

    def label_count(self) -> int:
        """One unit of the label code for each label."""
        return self.classes

    def build(self, image_dim: int = 784) -> SemiSupervisedAutoencoder:
        """A freshly initialized model for images of `image_dim` pixels."""
        return SemiSupervisedAutoencoder(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """Classification error on the validation images."""
        return {"error": answer_error(model, validation)}

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """Classification error; where the decoder was kept, also whether it draws the requested digit."""
        numbers = {"error": answer_error(model, splits.test)}
        if not isinstance(model.decoder, MissingNetwork):
            numbers["requested_digit_read"] = requested_digit_read(
                *drawn(model, splits.test.images.device), splits.train.images, splits.train.labels
            )
        return numbers


def answer_error(model: Any, images: ImageData) -> float:
    """Error in percent when the answer is the label with the largest q(y|x) (Table 2)."""
    return classification_error(in_chunks(model.predict, images.images).argmax(1), images.labels)


@torch.no_grad()
def drawn(model: TwoCodeAutoencoder, device: torch.device) -> tuple[Tensor, Tensor]:
    """Every label code `(K * S,)` with the same S random styles, and the decoder's images `(K * S, D)`."""
    styles = model.style_prior.sample(STYLES, random_stream(0, "samples", device), device)
    codes = torch.eye(model.classes, device=device)
    images = [model.decode(code.expand(STYLES, -1), styles) for code in codes]
    return torch.arange(model.classes, device=device).repeat_interleave(STYLES), torch.cat(images)


class TwoCodeAutoencoder(nn.Module):
    """The networks of Figure 8 with the phases that need no label: reconstruction and regularization."""

    def __init__(self, settings: TwoCodeSettings, image_dim: int = 784) -> None:
        super().__init__()
        self.label_prior = Categorical(settings.classes)
        self.style_prior = settings.style_prior
        self.label_softness, self.softening_share = settings.label_softness, settings.softening_share
        self.label_halvings = settings.label_halvings
        self.match_label, self.match_style = settings.match_label, settings.match_style
        self.classes, self.label_count = settings.classes, settings.label_count()
        self.corruption = settings.corruption
        self.reduction: Reduction = settings.reduction
        style_dim, units, init_std = settings.style_prior.dim, settings.units, settings.init_std
        self.encoder = LabelAndStyleEncoder(
            image_dim,
            settings.classes,
            style_dim,
            units,
            batch_norm=settings.batch_norm != "none",
            init_std=init_std,
        )
        self.decoder = Decoder(
            self.decoder_inputs(),
            image_dim,
            units,
            output=settings.output,
            batch_norm=settings.batch_norm == "autoencoder",
            init_std=init_std,
        )
        width = settings.discriminator_units
        self.label_discriminator = Discriminator(settings.classes, width, init_std=init_std)
        self.style_discriminator = Discriminator(style_dim, width, init_std=init_std)

    def phases(self) -> tuple[Phase, ...]:
        """Reconstruction, then regularization of y and z: both discriminators, then their generator."""
        matched = ((self.label_discriminator, self.match_label), (self.style_discriminator, self.match_style))
        discriminators = tuple(discriminator for discriminator, plays in matched if plays)
        return (
            Phase("reconstruction", self.reconstruction_loss, self.autoencoder(), "reconstruction"),
            Phase("discriminators", self.discriminator_loss, discriminators, "discriminator"),
            Phase("generator", self.generator_loss, (self.encoder,), "generator"),
        )

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

    def regularized_codes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Y and z of the regularization phase: one pass through the encoder serves both its updates."""
        return batch.once("codes", lambda: self.corrupted_codes(batch))

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """1/2 ||x - p(x|y, z)||^2, without looking at the label of x."""
        reconstruction = self.decoder(self.decoder_code(*self.corrupted_codes(batch)))
        return {"reconstruction": squared_error(batch.x, reconstruction, self.reduction)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Two games: one-hot samples of Cat(y) against q(y|x), samples of p(z) against z."""
        y, z = (code.detach() for code in self.regularized_codes(batch))
        terms: Terms = {}
        if self.match_label:
            real = self.label_prior.sample(len(y), batch.generator, y.device)
            if self.label_softness:
                most = self.label_softness * falling(batch.progress, self.softening_share)
                real = softened(real, most, batch.generator)
            loss = discriminator_loss(self.label_discriminator, real, y)
            terms["label_discriminator"] = slowed(loss, self.label_halvings, batch.progress)
        if self.match_style:
            real = self.style_prior.sample(len(z), batch.generator, z.device)
            terms["style_discriminator"] = discriminator_loss(self.style_discriminator, real, z)
        return terms

    def generator_loss(self, batch: Batch) -> Terms:
        """Fool both discriminators at once."""
        y, z = self.regularized_codes(batch)
        terms: Terms = {}
        if self.match_label:
            loss = generator_loss(self.label_discriminator, y)
            terms["label_generator"] = slowed(loss, self.label_halvings, batch.progress)
        if self.match_style:
            terms["style_generator"] = generator_loss(self.style_discriminator, z)
        return terms

    def predict(self, x: Tensor) -> Tensor:
        """q(y|x) `(N, classes)` of clean images `(N, D)`: probabilities of labels or clusters."""
        return self.encoder(x)[0].softmax(1)

    def log_odds(self, x: Tensor) -> Tensor:
        """How surely clean images `(N, D)` belong to each label, `(N, classes)` log-odds of q(y|x)."""
        return clustering.log_odds(self.encoder(x)[0])

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Style z `(N, style)` of clean images `(N, D)`."""
        return self.encoder(x)[1]

    def decode(self, y: Tensor, z: Tensor) -> Tensor:
        """Images `(N, D)` of label codes y `(N, classes)` and styles z `(N, style)`."""
        return self.decoder(self.decoder_code(y, z))


def slowed(loss: Tensor, halvings: float, progress: float | Tensor) -> Tensor:
    """A loss of the same value whose gradient has halved so often when the training ends.

    Under SGD this halves the learning rate of this loss alone.
    """
    if not halvings:
        return loss
    pace = 0.5 ** (halvings * progress)
    return pace * loss + (1 - pace) * loss.detach()


def cross_entropy(logits: Tensor, labels: Tensor) -> Terms:
    """-log q(y|x) of the true labels `(L,)`, averaged: the semi-supervised classification phase."""
    return {"classification": functional.cross_entropy(logits, labels)}


def labeled_images(batch: Batch) -> tuple[Tensor, Tensor]:
    """The labeled minibatch `(L, D)`, `(L,)`; a ValueError where the trainer has none."""
    if batch.labeled_x is None or batch.labeled_y is None:
        raise ValueError("The classification phase needs labeled images: give the trainer some.")
    return batch.labeled_x, batch.labeled_y


class SemiSupervisedAutoencoder(TwoCodeAutoencoder):
    """The AAE of Figure 8, with the semi-supervised classification phase."""

    def phases(self) -> tuple[Phase, ...]:
        """Reconstruction, regularization of y and z, and semi-supervised classification."""
        return (*super().phases(), self.classification_phase())

    def classification_phase(self) -> Phase:
        """The update that labeled images bring."""
        return Phase("classification", self.classification_loss, (self.encoder,), "classification")

    def classification_loss(self, batch: Batch) -> Terms:
        """Cross-entropy of q(y|x) on the labeled minibatch."""
        x, y = labeled_images(batch)
        return cross_entropy(self.encoder(self.corruption(x, batch.generator))[0], y)


@dataclass(frozen=True)
class BaselineSettings(ModelSettings):
    """The row "NN" of Table 2 in plain values: a classifier that sees the labeled images alone."""

    variant: ClassVar[str] = "baseline"
    only_labeled_images: ClassVar[bool] = True
    measured: ClassVar[tuple[str, ...]] = ("encoder",)

    classes: int = 10
    """Number of labels."""
    units: int = 1000
    """Units in each of the two hidden layers."""
    corruption: Corruption = Corruption()
    """Noise on the input in training."""
    init_std: float = 0.01
    """Standard deviation of the initial weights."""

    def __post_init__(self) -> None:
        require_whole("classes", self.classes, least=2)
        require_whole("units", self.units)
        require_kind("corruption", self.corruption, Corruption)
        require_number("init_std", self.init_std, above=0)

    def label_count(self) -> int:
        """One output for each label."""
        return self.classes

    def build(self, image_dim: int = 784) -> Classifier:
        """A freshly initialized model for images of `image_dim` pixels."""
        return Classifier(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """Classification error on the validation images."""
        return {"error": answer_error(model, validation)}

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """Classification error on the test images."""
        return {"error": answer_error(model, splits.test)}


class Classifier(nn.Module):
    """The encoder's hidden layers and a softmax, trained on the labels alone."""

    def __init__(self, settings: BaselineSettings, image_dim: int = 784) -> None:
        super().__init__()
        self.classes, self.label_count = settings.classes, settings.label_count()
        self.corruption = settings.corruption
        self.encoder = Encoder(image_dim, settings.classes, settings.units, init_std=settings.init_std)

    def phases(self) -> tuple[Phase, ...]:
        """One phase: cross-entropy on the labeled images."""
        return (Phase("classification", self.classification_loss, (self.encoder,), "classification"),)

    def classification_loss(self, batch: Batch) -> Terms:
        """Cross-entropy of q(y|x) on the labeled minibatch."""
        x, y = labeled_images(batch)
        return cross_entropy(self.encoder(self.corruption(x, batch.generator)), y)

    def predict(self, x: Tensor) -> Tensor:
        """q(y|x) `(N, classes)` of images `(N, D)`."""
        return self.encoder(x).softmax(1)


# Recipes: appendix A.2.1 for MNIST, A.2.2 for SVHN.

A21 = SemiSupervisedSettings(corruption=Corruption(noise_std=0.3))


def _mnist(
    labels: int | Literal["all"], small: SemiSupervisedSettings, training: TrainingSettings
) -> tuple[Recipe, Recipe]:
    paper = Recipe(
        f"semi-supervised-{labels}",
        f"Table 2, MNIST {labels} labels",
        "paper",
        A21,
        APPENDIX_A21,
        DataSettings(labels=labels),
        keep=("encoder", "decoder") if labels == 100 else ("encoder",),
    )
    return in_both_settings(paper, small, training)


def _svhn() -> tuple[Recipe, Recipe]:
    model = SemiSupervisedSettings(
        Gaussian(20),
        units=4000,
        discriminator_units=4000,
        output="linear",
        corruption=Corruption(dropout=0.2),
        batch_norm="autoencoder",
    )
    training = TrainingSettings(
        1000,
        reconstruction=Rates(0.0001, 0.9),
        discriminator=Rates(0.01, 0.1),
        generator=Rates(0.01, 0.1),
        drops=(250,),
    )
    paper = Recipe(
        "semi-supervised-svhn-1000",
        "Table 2, SVHN 1000 labels",
        "paper",
        model,
        training,
        DataSettings("svhn", "train-extra", labels=1000, standardize=True),
        keep=("encoder",),
    )
    return in_both_settings(
        paper,
        replace(model, units=1000, discriminator_units=1000),
        replace(training, epochs=50, drops=(40,)),
        data=replace(paper.data, pool="train"),
    )


def _baseline(labels: int | Literal["all"], epochs: int) -> tuple[Recipe, Recipe]:
    paper = Recipe(
        f"baseline-{labels}",
        f"Table 2, MNIST {labels} labels, NN baseline",
        "paper",
        BaselineSettings(init_std=0.05),
        TrainingSettings(epochs),
        DataSettings(labels=labels),
        keep=("encoder",),
    )
    return replace(paper, setting="laptop"), paper


RECIPES = (
    _mnist(
        100,
        replace(A21, label_softness=0.1, softening_share=0.24),  # for twelve epochs
        late_drop(50, averaging=0.99),
    ),
    _mnist(
        1000,
        replace(A21, label_softness=0.1, softening_share=0.24),  # for twelve epochs
        calmer_games(50, calmer=30),
    ),
    _mnist("all", replace(A21, label_softness=0.1), late_drop(80, averaging=0.99)),
    _svhn(),
    _baseline(100, epochs=500),
    _baseline(1000, epochs=200),
    _baseline("all", epochs=12),
)
