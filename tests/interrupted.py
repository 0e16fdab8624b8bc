"""A small training run that can be interrupted at any step: imported by tests and started as a process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import nn

from aae_utils.models import (
    AdversarialAutoencoder,
    Corruption,
    DimensionalityReductionAutoencoder,
    SemiSupervisedAutoencoder,
)
from aae_utils.priors import UNLABELLED, Gaussian, SwissRoll
from aae_utils.training import Rates, Trainer, TrainingSet, TrainingSettings

EPOCHS, STEPS = 5, 6  # of the trainers made here
ADAM = Rates(1e-3, 0.9, "adam")


def toy_data(images: int = STEPS * 10 + 3, pixels: int = 20) -> TrainingSet:
    """Random images in which every third label is visible."""
    x = torch.rand(images, pixels, generator=torch.Generator().manual_seed(9))
    y = torch.where(torch.arange(images) % 3 == 0, torch.arange(images) % 10, UNLABELLED)
    return TrainingSet(x, y, x[y >= 0], y[y >= 0])


def one_code() -> nn.Module:
    return AdversarialAutoencoder(
        SwissRoll(), 20, 12, posterior="universal", init_std=0.2, corruption=Corruption(0.3, 0.2)
    )


def two_codes() -> nn.Module:
    return SemiSupervisedAutoencoder(Gaussian(3), 20, 12, init_std=0.2, batch_norm="autoencoder")


def reduction() -> nn.Module:
    return DimensionalityReductionAutoencoder(Gaussian(2), 20, 12, init_std=0.2)


MODELS = {"one code": one_code, "two codes": two_codes, "reduction": reduction}


def make_trainer(name: str = "one code", seed: int = 0) -> Trainer:
    """A trainer in which all that a checkpoint must carry matters: rates, momentum, averages, noise."""
    torch.manual_seed(seed)
    settings = TrainingSettings(
        EPOCHS, 10, ADAM, Rates(0.1, 0.5), Rates(0.1, 0.9), drops=(1, 3), averaging=0.9
    )
    return Trainer(MODELS[name](), toy_data(), settings, seed)


def wait_in_epoch(trainer: Trainer, epoch: int, step: int) -> None:
    """Make `trainer` say so and wait to be killed when it reaches a step in the middle of an epoch."""
    run_step, done = trainer.step, 0

    def step_or_wait(batch):
        nonlocal done
        if done == (epoch - 1) * trainer.steps_per_epoch + step:
            print("waiting", flush=True)
            time.sleep(600)
        done += 1
        return run_step(batch)

    trainer.step = step_or_wait  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    trainer = make_trainer()
    wait_in_epoch(trainer, epoch=4, step=3)
    trainer.fit(checkpoints=Path(sys.argv[1]), checkpoint_seconds=0, progress=False)
