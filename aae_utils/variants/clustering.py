"""Section 6: the network of section 5 without any label finds clusters (chapter 6).

The label code has one unit for each cluster. Matched to one-hot vectors, it must sort the images into groups;
the style code takes what varies within a group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from aae_utils.data import ImageData, Splits
from aae_utils.metrics.classification import requested_share
from aae_utils.metrics.clustering import clustering_report
from aae_utils.networks import Corruption
from aae_utils.priors import Gaussian
from aae_utils.recipes import Recipe, Start, in_both_settings, in_chunks, late_drop
from aae_utils.training import TrainingSettings
from aae_utils.variants.semi_supervised import BatchNorm, TwoCodeAutoencoder, TwoCodeSettings, drawn


@dataclass(frozen=True)
class ClusteringSettings(TwoCodeSettings):
    """A clustering adversarial autoencoder in plain values."""

    variant: ClassVar[str] = "clustering"

    style_prior: Gaussian = Gaussian(5)
    """p(z) of the style."""
    classes: int = 16
    """Number of clusters."""
    batch_norm: BatchNorm = "encoder"
    """Where batch normalization stands; without it in the encoder y collapses."""

    def build(self, image_dim: int = 784) -> ClusteringAutoencoder:
        """A freshly initialized model for images of `image_dim` pixels."""
        return ClusteringAutoencoder(self, image_dim)

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """The clustering numbers of the validation images, which also name the clusters."""
        return cluster_numbers(model, validation, validation)

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """The clustering numbers of the test images, and how often a drawn image returns to its cluster."""
        returned = returned_share(model, splits)
        return cluster_numbers(model, splits.test, splits.validation) | {"returned_to_cluster": returned}


class ClusteringAutoencoder(TwoCodeAutoencoder):
    """The AAE of section 6: the phases of Figure 8 that need no label."""


def cluster_numbers(model: Any, test: ImageData, validation: ImageData) -> dict[str, float]:
    """Error by the paper's rule (the surest validation image names a cluster), and others beside it."""
    naming = in_chunks(model.log_odds, validation.images)
    scores = naming if test is validation else in_chunks(model.log_odds, test.images)
    return clustering_report(scores, test.labels, naming, validation.labels)


def returned_share(model: TwoCodeAutoencoder, splits: Splits) -> float:
    """How often the image of a cluster and a random style is put into that cluster again, in percent."""
    asked, images = drawn(model, splits.test.images.device)
    return requested_share(in_chunks(model.predict, images).argmax(1), asked)


# Recipes: appendix A.3.


def _table_3(
    clusters: int, reproduces: str, training: TrainingSettings, start: Start | None = None
) -> tuple[Recipe, Recipe]:
    model = ClusteringSettings(
        classes=clusters, units=3000, discriminator_units=3000, corruption=Corruption(dropout=0.2)
    )
    paper = Recipe(f"clustering-{clusters}", reproduces, "paper", model, TrainingSettings(1500, drops=(50,)))
    small = replace(model, units=1000, discriminator_units=1000, corruption=Corruption(noise_std=0.3))
    return in_both_settings(paper, small, training, start=start)


# Fewer clusters start from what thirty have become, with those that last (`narrowing`).
FROM_THIRTY = Start("clustering-30", ("encoder", "decoder"))

RECIPES = (
    _table_3(16, "Table 3, 16 clusters and Figure 9", late_drop(4), FROM_THIRTY),
    # the paper prints twenty for CatGAN alone; here Figure 11C starts from them
    _table_3(20, "Table 3, 20 clusters", late_drop(4), FROM_THIRTY),
    _table_3(30, "Table 3, 30 clusters", late_drop(100)),
)
