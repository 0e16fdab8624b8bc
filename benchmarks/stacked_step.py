"""Time a training step of section 5 for several seeds that are trained as one stack.

python benchmarks/stacked_step.py --seeds 1 5
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
import tyro

from aae_utils.data import load_learning_splits
from aae_utils.reproduction import best_device, make_trainer
from aae_utils.stacking import CHUNK, Stack
from aae_utils.variants import get_recipe


def milliseconds_a_step(seeds: int, chunks: int, device: torch.device) -> float:
    """The time of a step for all seeds together, after a first chunk in which a GPU captures the step."""
    recipe = get_recipe("semi-supervised-100", "paper")
    recipe = replace(recipe, training=replace(recipe.training, precision="auto"))
    splits = load_learning_splits(recipe.data, device)
    trainers = [make_trainer(recipe, splits, seed, device) for seed in range(seeds)]
    stack = Stack(trainers, [lambda model: {}] * seeds, every=recipe.training.epochs)
    seconds = []
    for _ in range(chunks + 1):
        start = time.perf_counter()
        stack.advance()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds[1:]) / CHUNK


def main(seeds: tuple[int, ...] = (1, 5), chunks: int = 3, device: str | None = None) -> None:
    """Print the milliseconds of a step for each number of seeds: the fastest of a few chunks of steps.

    Args:
        seeds: how many seeds a stack has.
        chunks: how many chunks are timed; an epoch has five.
        device: cpu or cuda (default: the fastest there is).
    """
    chosen = torch.device(device or best_device())
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type
    print(f"torch {torch.__version__}, {name}, minibatches of 100, {CHUNK} steps a chunk")
    for count in seeds:
        print(f"{count} seeds: {milliseconds_a_step(count, chunks, chosen):.2f} ms a step")


if __name__ == "__main__":
    tyro.cli(main)
