"""Errors of reconstructions that can be counted by hand."""

from __future__ import annotations

import pytest
import torch

from aae_utils.metrics.inputs import EvaluationError
from aae_utils.metrics.reconstruction import (
    black_image_error,
    mean_image_error,
    nearest_training_images,
    reconstruction_error,
)


def test_mean_squared_error_per_pixel() -> None:
    images = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert reconstruction_error(images, images) == 0
    assert reconstruction_error(images, torch.full((2, 2), 0.5)) == 0.25
    assert black_image_error(images) == 0.75
    # The first pixel has mean 0.5 and variance 0.25, the second does not vary.
    assert mean_image_error(images) == pytest.approx(0.125)


def test_reconstructions_of_another_shape_are_refused() -> None:
    with pytest.raises(EvaluationError, match="shape of the images"):
        reconstruction_error(torch.zeros(2, 3), torch.zeros(3, 2))


@pytest.mark.parametrize("chunk_size", [64, 10_000])
def test_nearest_training_image_has_the_smallest_of_all_distances(chunk_size: int) -> None:
    training = torch.rand(500, 784, generator=torch.Generator().manual_seed(1))
    samples = torch.rand(40, 784, generator=torch.Generator().manual_seed(2))
    samples[0] = training[499]
    distances = (samples[:, None].double() - training.double()).square().sum(dim=2)
    nearest = nearest_training_images(samples, training, chunk_size)
    assert nearest[0] == 499
    assert torch.equal(nearest, distances.argmin(dim=1))


def test_first_of_equal_training_images_counts_and_another_width_is_refused() -> None:
    assert nearest_training_images(torch.ones(1, 2), torch.ones(6, 2), 2).tolist() == [0]
    with pytest.raises(EvaluationError, match="same dimension"):
        nearest_training_images(torch.ones(1, 3), torch.ones(6, 2))
