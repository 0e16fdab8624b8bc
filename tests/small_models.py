"""Small models of every variant, and minibatches for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aae_utils.data import UNLABELED
from aae_utils.priors import Gaussian, GaussianMixture, SwissRoll
from aae_utils.recipes import ModelSettings
from aae_utils.training import Batch, Rates, Terms, Trainer, TrainingSet, TrainingSettings
from aae_utils.variants.adversarial import AdversarialSettings
from aae_utils.variants.clustering import ClusteringSettings
from aae_utils.variants.dimensionality_reduction import DimensionalityReductionSettings, FixedHeads
from aae_utils.variants.label_regularized import LabelRegularizedSettings
from aae_utils.variants.semi_supervised import BaselineSettings, SemiSupervisedSettings
from aae_utils.variants.supervised import SupervisedSettings
from aae_utils.variants.variational import VariationalSettings

PIXELS = 20
# initial weights large enough for every gradient to be felt
ONE_NETWORK = {"units": 12, "init_std": 0.3}
SIZES = ONE_NETWORK | {"discriminator_units": 12}

SETTINGS: dict[str, ModelSettings] = {
    "adversarial": AdversarialSettings(Gaussian(2), **SIZES),
    "adversarial, Gaussian posterior": AdversarialSettings(Gaussian(2), "gaussian", **SIZES),
    "adversarial, universal posterior": AdversarialSettings(Gaussian(2), "universal", **SIZES),
    "variational": VariationalSettings(Gaussian(2), **ONE_NETWORK),
    "variational, mixture": VariationalSettings(GaussianMixture(), **ONE_NETWORK),
    "label-regularized": LabelRegularizedSettings(GaussianMixture(), **SIZES),
    "label-regularized, swiss roll": LabelRegularizedSettings(SwissRoll(), **SIZES),
    "supervised": SupervisedSettings(Gaussian(2), **SIZES),
    "semi-supervised": SemiSupervisedSettings(Gaussian(3), **SIZES),
    "baseline": BaselineSettings(**ONE_NETWORK),
    "clustering": ClusteringSettings(Gaussian(3), 6, batch_norm="none", **SIZES),
    "reduction": DimensionalityReductionSettings(Gaussian(2), **SIZES),
    "reduction, unsupervised": DimensionalityReductionSettings(Gaussian(2), 7, supervised=False, **SIZES),
    "reduction, fixed heads": DimensionalityReductionSettings(Gaussian(10), heads=FixedHeads(10.0), **SIZES),
}

ONE_CODE = ["reconstruction", "discriminator", "generator"]
TWO_CODES = [
    "reconstruction",
    "label_discriminator",
    "style_discriminator",
    "label_generator",
    "style_generator",
]
# the loss terms of a step, in order
TERMS: dict[str, list[str]] = dict.fromkeys(SETTINGS, ONE_CODE) | {
    "variational": ["reconstruction", "kl"],
    "variational, mixture": ["reconstruction", "kl"],
    "semi-supervised": [*TWO_CODES, "classification"],
    "baseline": ["classification"],
    "clustering": TWO_CODES,
    "reduction": ["reconstruction", "head_distance", *TWO_CODES[1:], "classification"],
    "reduction, unsupervised": ["reconstruction", "head_distance", *TWO_CODES[1:]],
    "reduction, fixed heads": [*TWO_CODES, "classification"],
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(settings: ModelSettings | str, seed: int = 0) -> nn.Module:
    """A small model, by its settings or by its name above."""
    torch.manual_seed(seed)
    return (SETTINGS[settings] if isinstance(settings, str) else settings).build(PIXELS)


def make_batch(count: int = 8, hidden: int = 0, noise: int = 2) -> Batch:
    """Images with the labels 0 to 9 in turn, the first `hidden` of them hidden, and four labeled images."""
    x, y = torch.rand(count, PIXELS, generator=seeded(1)), torch.arange(count) % 10
    labeled_x, labeled_y = x[-4:].clone(), y[-4:].clone()
    y[:hidden] = UNLABELED
    return Batch(x, y, labeled_x, labeled_y, seeded(noise))


def trainer_of(
    model: nn.Module, batch: Batch | None = None, rate: float = 0.1, **settings: object
) -> Trainer:
    """A trainer whose every phase makes plain steps of gradient descent at one rate."""
    batch = batch or make_batch()
    rates = Rates(rate, 0.0)
    data = TrainingSet(batch.x, batch.y, batch.labeled_x, batch.labeled_y)
    return Trainer(model, data, TrainingSettings(1, len(batch.x), *[rates] * 4, **settings))


def run_phase(trainer: Trainer, number: int, batch: Batch) -> Terms:
    """One phase of a step, alone."""
    phases, optimizers = trainer.phases, trainer.optimizers
    trainer.phases, trainer.optimizers = (phases[number],), [optimizers[number]]
    losses = trainer.step(batch)
    trainer.phases, trainer.optimizers = phases, optimizers
    return losses


def silence(network: nn.Module) -> None:
    """Zero all weights and biases: the network answers 0 to everything."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first: object, second: object) -> None:
    """Equal in every bit, however deep."""
    assert type(first) is type(second)
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second
