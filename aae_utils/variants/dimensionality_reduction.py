"""Section 7: a cluster head plus a style, added up, is a map of the images (chapter 7).

W_C turns the label code into a cluster head, a point of the plane; the style moves an image around its head.
The decoder sees only their sum, which is the representation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aae_utils.checks import require_flag, require_kind, require_number
from aae_utils.data import DataSettings, ImageData, Splits
from aae_utils.networks import Corruption
from aae_utils.priors import Gaussian
from aae_utils.recipes import APPENDIX_A21, Recipe, Start, in_both_settings, late_drop
from aae_utils.training import Batch, Phase, Rates, Terms, TrainingSettings
from aae_utils.variants.clustering import cluster_numbers
from aae_utils.variants.semi_supervised import (
    SemiSupervisedAutoencoder,
    TwoCodeAutoencoder,
    TwoCodeSettings,
    answer_error,
)


@dataclass(frozen=True)
class LearnedHeads:
    """W_C is learned, and pairs of heads that come too close cost something."""

    distance: float = 6.0
    """Threshold eta of the Euclidean distance between two heads, below which they cost."""
    penalty: float = 1.0
    """Weight of that cost; 0 leaves it out."""

    def __post_init__(self) -> None:
        require_number("distance of the heads", self.distance, least=0)
        require_number("penalty of the heads", self.penalty, least=0)


@dataclass(frozen=True)
class FixedHeads:
    """W_C is a multiple of the identity, and nothing of it is learned (Figure 11D)."""

    scale: float = 10.0
    """The multiple."""

    def __post_init__(self) -> None:
        require_number("scale of the heads", self.scale, above=0)


@dataclass(frozen=True)
class DimensionalityReductionSettings(TwoCodeSettings):
    """An adversarial autoencoder for dimensionality reduction in plain values."""

    variant: ClassVar[str] = "dimensionality-reduction"
    measured: ClassVar[tuple[str, ...]] = ("encoder",)

    style_prior: Gaussian = Gaussian(2)
    """p(z) of the style; its dimension is that of the representation."""
    heads: LearnedHeads | FixedHeads = LearnedHeads()
    """The cluster heads W_C."""
    supervised: bool = True
    """Whether there is a classification phase, for labeled images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_flag("supervised", self.supervised)
        require_kind("heads", self.heads, LearnedHeads, FixedHeads)
        if isinstance(self.heads, FixedHeads) and self.classes != self.style_prior.dim:
            raise ValueError(
                "Fixed heads are a multiple of the identity and need as many dimensions of style_prior as"
                f" classes, not {self.style_prior.dim} and {self.classes}."
            )

    def label_count(self) -> int | None:
        """One unit of the label code for each label; clusters have none."""
        return self.classes if self.supervised else None

    def build(self, image_dim: int = 784) -> DimensionalityReductionAutoencoder:
        """A freshly initialized model for images of `image_dim` pixels."""
        return DimensionalityReductionAutoencoder(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """Classification error, or the clustering numbers, of the validation images."""
        return self._numbers(model, validation, validation)

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """Classification error, or the clustering numbers, of the test images."""
        return self._numbers(model, splits.test, splits.validation)

    def _numbers(self, model: Any, test: ImageData, validation: ImageData) -> dict[str, float]:
        if self.supervised:
            return {"error": answer_error(model, test)}
        return cluster_numbers(model, test, validation)


class ClusterHeads(nn.Module):
    """W_C of Figure 10: one point of the code space for each class or cluster."""

    def __init__(self, classes: int, dim: int, settings: LearnedHeads | FixedHeads) -> None:
        super().__init__()
        if isinstance(settings, FixedHeads):
            self.weight = nn.Parameter(settings.scale * torch.eye(dim), requires_grad=False)
        else:
            self.weight = nn.Parameter(torch.randn(classes, dim))

    def forward(self, y: Tensor) -> Tensor:
        """Cluster heads `(N, dim)` of label codes y `(N, classes)`: y W_C."""
        with torch.autocast(y.device.type, enabled=False):
            return y.float() @ self.weight

    def distance_penalty(self, threshold: float) -> Tensor:
        """Sum over pairs of heads of how far their distance falls short of `threshold` (section 7)."""
        squares = (self.weight[:, None] - self.weight).pow(2).sum(2)
        own = torch.eye(len(self.weight), device=self.weight.device)  # a root has no slope at zero
        return (threshold - (squares + own).sqrt()).clamp(min=0).triu(1).sum()


class DimensionalityReductionAutoencoder(SemiSupervisedAutoencoder):
    """The AAE of Figure 10: the representation is a cluster head y W_C plus the style z."""

    def __init__(self, settings: DimensionalityReductionSettings, image_dim: int = 784) -> None:
        super().__init__(settings, image_dim)
        self.supervised = settings.supervised
        self.heads = settings.heads
        self.cluster_heads = ClusterHeads(self.classes, self.style_prior.dim, settings.heads)

    def phases(self) -> tuple[Phase, ...]:
        """Reconstruction and regularization as in section 5; classification where there are labels."""
        return super().phases() if self.supervised else TwoCodeAutoencoder.phases(self)

    def autoencoder(self) -> tuple[nn.Module, ...]:
        """The networks that the reconstruction phase updates: W_C among them."""
        return (self.encoder, self.decoder, self.cluster_heads)

    def decoder_inputs(self) -> int:
        """Width of the representation."""
        return self.style_prior.dim

    def decoder_code(self, y: Tensor, z: Tensor) -> Tensor:
        """The representation y W_C + z, `(N, dim)`: all that the decoder sees."""
        return self.cluster_heads(y) + z

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """Reconstruction error, plus a linear penalty on pairs of learned heads that are too close."""
        terms = super().reconstruction_loss(batch)
        if isinstance(self.heads, LearnedHeads) and self.heads.penalty:
            penalty = self.cluster_heads.distance_penalty(self.heads.distance)
            terms["head_distance"] = self.heads.penalty * penalty
        return terms

    def represent(self, x: Tensor) -> Tensor:
        """Representation `(N, dim)` of clean images `(N, D)` (Figure 11)."""
        logits, z = self.encoder(x)
        return self.decoder_code(logits.softmax(1), z)


# Recipes. Section 7 has no appendix: the `paper` setting takes the rates and the noise of A.2.1.

NOISE = Corruption(noise_std=0.3)
# Slow, since the validation error of the maps rises as they are drawn. No study varies these rates.
SLOW_RECONSTRUCTION = Rates(0.002, 0.9)
SLOWER_RECONSTRUCTION = Rates(0.0005, 0.9)
FROM_SECTION_5 = Start("semi-supervised-100", ("encoder.hidden", "encoder.label"))
FROM_SECTION_6 = Start("clustering-20", ("encoder.hidden", "encoder.label"))


def _figure_11(
    name: str,
    reproduces: str,
    model: DimensionalityReductionSettings,
    labels: int | None,
    small: DimensionalityReductionSettings,
    training: TrainingSettings,
    start: Start | None = None,
) -> tuple[Recipe, Recipe]:
    paper = Recipe(
        name,
        reproduces,
        "paper",
        model,
        APPENDIX_A21,
        DataSettings(labels=labels),
        keep=("encoder", "cluster_heads", "decoder"),
    )
    return in_both_settings(paper, small, training, start=start)


def _labeled(
    name: str,
    reproduces: str,
    model: DimensionalityReductionSettings,
    labels: int,
    training: TrainingSettings,
    start: Start | None = None,
) -> tuple[Recipe, Recipe]:
    small = replace(model, discriminator_units=500, init_std=0.05)
    return _figure_11(name, reproduces, model, labels, small, training, start)


def _unsupervised(epochs: int) -> tuple[Recipe, Recipe]:
    model = DimensionalityReductionSettings(
        corruption=NOISE, classes=20, batch_norm="encoder", supervised=False
    )
    training = late_drop(epochs, reconstruction=SLOW_RECONSTRUCTION)
    return _figure_11(
        "reduction-unsupervised", "Figure 11C, 20 clusters", model, None, model, training, FROM_SECTION_6
    )


PLANE = DimensionalityReductionSettings(corruption=NOISE)
TEN_DIMENSIONS = replace(PLANE, style_prior=Gaussian(10), heads=FixedHeads(10.0))

RECIPES = (
    _labeled(
        "reduction-1000",
        "Figure 11A, 1000 labels",
        PLANE,
        1000,
        late_drop(12, averaging=0.99, reconstruction=SLOW_RECONSTRUCTION),
        replace(FROM_SECTION_5, recipe="semi-supervised-1000"),
    ),
    _labeled(
        "reduction-100",
        "Figure 11B, 100 labels",
        PLANE,
        100,
        late_drop(8, averaging=0.99, reconstruction=SLOWER_RECONSTRUCTION),
        FROM_SECTION_5,
    ),
    _unsupervised(epochs=4),
    _labeled(
        "reduction-10d",
        "Figure 11D, 100 labels",
        TEN_DIMENSIONS,
        100,
        late_drop(8, averaging=0.99, reconstruction=SLOWER_RECONSTRUCTION),
        FROM_SECTION_5,
    ),
)
