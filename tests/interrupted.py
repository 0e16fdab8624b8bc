"""A small training run that can be interrupted at any step: imported by tests and started as a process."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from small_models import SETTINGS, build

from aae_utils.data import UNLABELED, ImageData
from aae_utils.film import Film
from aae_utils.networks import Corruption
from aae_utils.priors import SwissRoll
from aae_utils.recipes import ModelSettings
from aae_utils.training import Rates, Trainer, TrainingSet, TrainingSettings

EPOCHS, STEPS = 5, 6  # of the trainers made here
ADAM = Rates(1e-3, 0.9, "adam")
CORRUPTION = Corruption(0.3, 0.2)
MODELS: dict[str, ModelSettings] = {
    "one code, with a film": replace(
        SETTINGS["adversarial, universal posterior"], prior=SwissRoll(), corruption=CORRUPTION
    ),
    "two codes, batch-normalized": replace(SETTINGS["semi-supervised"], batch_norm="autoencoder"),
    "reduction": replace(SETTINGS["reduction"], corruption=CORRUPTION),
}
ONE_CODE = "one code, with a film"


def toy_data(images: int = STEPS * 10 + 3, pixels: int = 20) -> TrainingSet:
    """Random images in which every third label is visible."""
    x = torch.rand(images, pixels, generator=torch.Generator().manual_seed(9))
    y = torch.where(torch.arange(images) % 3 == 0, torch.arange(images) % 10, UNLABELED)
    return TrainingSet(x, y, x[y >= 0], y[y >= 0])


def make_trainer(name: str = ONE_CODE, seed: int = 0) -> Trainer:
    """A trainer in which all that a checkpoint must carry matters: rates, momentum, averages, noise."""
    settings = TrainingSettings(
        EPOCHS,
        10,
        ADAM,
        Rates(0.1, 0.5),
        Rates(0.1, 0.9),
        drops=(1, 3),
        averaging=0.0 if "batch" in name else 0.9,
    )
    data = toy_data()
    images = ImageData(data.x, torch.arange(len(data)) % 10, (4, 5))
    film = Film(images, EPOCHS * STEPS) if "film" in name else None
    return Trainer(build(MODELS[name], seed), data, settings, seed, film)


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
