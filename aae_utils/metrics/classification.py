"""Errors of predicted labels: of classifiers, of probes that read codes, and of a reader of images."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from aae_utils.metrics.inputs import EvaluationError, require_labels, require_points, require_same_width
from aae_utils.seeds import random_stream

STYLES = 1000
"""In so many random styles each label is drawn, to be read."""


def classification_error(predictions: Tensor, labels: Tensor) -> float:
    """Share of predictions `(N,)` that differ from the labels `(N,)`, in percent (Table 2)."""
    require_labels(predictions, len(labels), "predictions")
    require_labels(labels, len(predictions), "labels")
    return 100 * (predictions != labels.to(predictions.device)).sum().item() / len(labels)


def requested_share(read: Tensor, requested: Tensor) -> float:
    """Share of images in which the requested label is read, in percent; both are `(N,)`.

    What is requested is the digit of a style grid (sections 4 and 5) or the cluster that an image was
    decoded from (section 6); what is read comes from a `DigitReader` or from the encoder.
    """
    return 100 - classification_error(read, requested)


# What a code says about the label (sections 2.3 and 4)


def linear_probe_error(
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    *,
    seed: int = 0,
) -> float:
    """Test error in percent of a logistic regression that reads the label from the code alone.

    Codes are `(N, D)`, labels `(N,)`. Near chance (90 % for ten equally common digits) means that
    no linear rule finds the label in the style code. Codes are standardized by the training codes.
    """
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(max_iter=200, random_state=seed)
    return _probe_error(classifier, train_codes, train_labels, test_codes, test_labels)


def mlp_probe_error(
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
    *,
    seed: int = 0,
) -> float:
    """As `linear_probe_error`, with 100 hidden ReLU units: finds the label where no plane does."""
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier((100,), batch_size=100, max_iter=30, random_state=seed)
    return _probe_error(classifier, train_codes, train_labels, test_codes, test_labels)


def _probe_error(
    classifier: Any,
    train_codes: Tensor,
    train_labels: Tensor,
    test_codes: Tensor,
    test_labels: Tensor,
) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _require_examples(train_codes, train_labels, "training", "codes")
    _require_examples(test_codes, test_labels, "test", "codes")
    require_same_width(test_codes, train_codes)
    probe = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        # A probe is stopped after a fixed, short time by intention.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train_codes.detach().cpu().numpy(), train_labels.cpu().numpy())
    predictions = torch.from_numpy(probe.predict(test_codes.detach().cpu().numpy()))
    return classification_error(predictions, test_labels.cpu())


# What an image shows (sections 4 and 5)


class DigitReader:
    """A classifier of real images that says which digit a generated image shows.

    It knows no autoencoder and has seen no generated image. It works on the CPU, so that every machine
    trains the same reader.
    """

    UNITS = 256
    EPOCHS = 6
    BATCH_SIZE = 100
    LEARNING_RATE = 1e-3

    def __init__(self, network: nn.Sequential) -> None:
        self.network = network

    @classmethod
    def train(cls, images: Tensor, labels: Tensor, seed: int = 0) -> DigitReader:
        """Train a reader on images `(N, D)` and their labels `(N,)`, whole numbers from 0.

        Takes seconds on one core, and gives the same reader for the same seed. Raises
        `EvaluationError` for shapes that do not fit, labels of one class, and images without a label.
        """
        _require_examples(images, labels, "training", "images")
        if labels.is_floating_point() or int(labels.min()) < 0:
            raise EvaluationError(
                "A reader learns from labels that are whole numbers from 0: leave images without a label out."
            )
        images, labels = images.detach().cpu().float(), labels.cpu().long()
        stream = random_stream(seed, "reader")
        network = _perceptron((images.shape[1], cls.UNITS, cls.UNITS, int(labels.max()) + 1), stream)
        optimizer = torch.optim.Adam(network.parameters(), cls.LEARNING_RATE)
        with torch.enable_grad():
            for _ in range(cls.EPOCHS):
                for batch in torch.randperm(len(images), generator=stream).split(cls.BATCH_SIZE):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
                    optimizer.step()
        return cls(network)

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """Labels `(N,)` that the images `(N, D)` show."""
        require_points(images, "images")
        first_weight = next(self.network.parameters())  # (units, D)
        require_same_width(images, first_weight)
        return self.network(images.cpu().float()).argmax(dim=1).to(images.device)


def requested_digit_read(
    requested: Tensor, drawn: Tensor, images: Tensor, labels: Tensor, seed: int = 0
) -> float:
    """Share of `(N, D)` drawn images in which a reader sees the requested `(N,)` digits, in percent.

    The reader learns from real images `(M, D)` and their labels `(M,)`.
    """
    return requested_share(DigitReader.train(images, labels, seed).read(drawn), requested)


def _perceptron(sizes: tuple[int, ...], stream: torch.Generator) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them, and He's weights."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        # Without torch's own initialization, which would move the global stream of random numbers.
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=stream)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _require_examples(points: Tensor, labels: Tensor, part: str, name: str) -> None:
    require_points(points, f"{part} {name}")
    require_labels(labels, len(points), f"{part} labels")
    if part == "training" and len(labels.unique()) < 2:
        raise EvaluationError("Training labels of at least two classes are needed, got one.")
