"""Error of reconstructions, beside two that need no code, and the training images nearest to a sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aae_utils.metrics.inputs import EvaluationError, float64, require_points, require_same_width


def reconstruction_error(images: Tensor, reconstructions: Tensor) -> float:
    """Mean squared error per pixel between images and reconstructions, `(N, D)` each."""
    require_points(images, "images")
    if images.shape != reconstructions.shape:
        raise EvaluationError(
            f"Reconstructions must have the shape of the images {tuple(images.shape)}, "
            f"got {tuple(reconstructions.shape)}."
        )
    difference = images.detach() - reconstructions.detach().to(images.device)
    return float64(difference).square().mean().item()


def black_image_error(images: Tensor) -> float:
    """Reconstruction error of answering zero for every pixel: a model above it learned nothing."""
    return reconstruction_error(images, torch.zeros_like(images))


def mean_image_error(images: Tensor) -> float:
    """Reconstruction error of always answering the mean image: what an empty code can reach."""
    require_points(images, "images")
    return reconstruction_error(images, images.mean(dim=0).expand_as(images))


def nearest_training_images(samples: Tensor, training: Tensor, chunk_size: int = 10_000) -> Tensor:
    """Index `(S,)` of the training image that is nearest to each sample (Figure 5, last column).

    `samples` is `(S, D)`, `training` `(N, D)`. The distance is Euclidean; the first of equals counts.
    """
    require_points(samples, "samples")
    require_points(training, "training images")
    require_same_width(samples, training)
    queries = float64(samples)
    closeness = torch.full_like(queries[:, 0], -math.inf)
    nearest = torch.zeros_like(closeness, dtype=torch.int64)
    for start in range(0, len(training), chunk_size):
        images = float64(training[start : start + chunk_size]).to(queries.device)
        # The largest x·s - |x|^2 / 2 belongs to the smallest |x - s|^2.
        values, indices = (queries @ images.T - images.square().sum(dim=1) / 2).max(dim=1)
        nearest = torch.where(values > closeness, indices + start, nearest)
        closeness = torch.maximum(values, closeness)
    return nearest.to(samples.device)
