"""Time the training step of each model beside plain matrix products of the same shapes.

python benchmarks/training_step.py --threads 2
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

from aae_utils.models import Batch, Phase
from aae_utils.recipes import ModelSettings, build_model
from aae_utils.training import Trainer, TrainingSet, TrainingSettings

IMAGE_DIM = 784
TARGET = 0.75
IMPORT_TARGET = 0.3
MODELS: dict[str, ModelSettings] = {
    "AAE": ModelSettings("aae", code_dim=8),
    "VAE": ModelSettings("vae", code_dim=8),
    "label-regularized": ModelSettings("label-regularized", "mixture"),
    "supervised": ModelSettings("supervised", code_dim=15),
    "semi-supervised": ModelSettings("semi-supervised", code_dim=10, input_noise=0.3),
    "clustering": ModelSettings("clustering", code_dim=5, classes=16, batch_norm="encoder"),
    "dimensionality reduction": ModelSettings("dimensionality-reduction", input_noise=0.3),
    "classifier": ModelSettings("classifier"),
}


@dataclass(frozen=True)
class Product:
    """One matrix product of a linear layer with weight `(outputs, inputs)` on `rows` rows."""

    layer: str
    rows: int
    inputs: int
    outputs: int
    kind: Literal["forward", "weight gradient", "input gradient"]

    @property
    def flops(self) -> int:
        """Multiplications and additions, the same for all three kinds."""
        return 2 * self.rows * self.inputs * self.outputs


def needed_products(model: nn.Module, batch: Batch) -> list[Product]:
    """The matrix products of one training step, and no more than its phases need.

    A layer's output is needed where a loss depends on it, its weight's gradient where the phase updates
    the weight, its input's gradient where the input depends on what the phase updates.
    """
    layers = {layer: name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    return [product for phase in model.phases() for product in _products_of(phase, layers, batch)]


def _products_of(phase: Phase, layers: dict[nn.Linear, str], batch: Batch) -> list[Product]:
    calls: list[tuple[nn.Linear, Tensor, Tensor]] = []
    reached: set[int] = set()

    def watch(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        number = len(calls)
        calls.append((layer, inputs[0], output))
        if output.requires_grad:
            output.register_hook(lambda _: reached.add(number))

    handles = [layer.register_forward_hook(watch) for layer in layers]
    torch.stack(list(phase.loss(batch).values())).sum().backward(inputs=phase.parameters())
    for handle in handles:
        handle.remove()
    updated = set(phase.parameters())
    products = []
    for number, (layer, x, output) in enumerate(calls):
        kinds: list[Literal["forward", "weight gradient", "input gradient"]] = []
        if number in reached or not output.requires_grad:
            kinds.append("forward")
        if number in reached and layer.weight in updated:
            kinds.append("weight gradient")
        if number in reached and x.requires_grad:
            kinds.append("input gradient")
        sizes = (layers[layer], len(x), layer.in_features, layer.out_features)
        products += [Product(*sizes, kind) for kind in kinds]
    return products


def plain_products(products: list[Product]) -> Callable[[], None]:
    """A function that computes these products and nothing else, into memory that is there already."""
    memory: dict[tuple[str, str, int], Tensor] = {}

    def tensor(layer: str, name: str, rows: int, columns: int) -> Tensor:
        # one tensor for each layer and role, as in a network: more would only fill the cache
        return memory.setdefault((layer, name, rows), torch.randn(rows, columns))

    jobs = []
    for p in products:
        weight = tensor(p.layer, "weight", p.outputs, p.inputs)
        x, y = tensor(p.layer, "x", p.rows, p.inputs), tensor(p.layer, "y", p.rows, p.outputs)
        jobs.append(
            {
                "forward": (x, weight.T, y),
                "weight gradient": (y.T, x, tensor(p.layer, "weight gradient", p.outputs, p.inputs)),
                "input gradient": (y, weight, tensor(p.layer, "input gradient", p.rows, p.inputs)),
            }[p.kind]
        )

    def run() -> None:
        for left, right, out in jobs:
            torch.mm(left, right, out=out)

    return run


def make_trainer(settings: ModelSettings, batch_size: int, images: int = 6000) -> Trainer:
    """A trainer on random images, with all their labels."""
    torch.manual_seed(0)
    x, y = torch.rand(images, IMAGE_DIM), torch.randint(10, (images,))
    data = TrainingSet(x, y, x[:1000], y[:1000])
    return Trainer(build_model(settings, IMAGE_DIM), data, TrainingSettings(1, batch_size))


def endless(trainer: Trainer) -> Iterator[Batch]:
    """Epoch after epoch of minibatches."""
    while True:
        yield from trainer.batches()


@dataclass(frozen=True)
class Timing:
    """Seconds of one training step and of its plain products, in turns, round after round."""

    steps: list[float]
    plain: list[float]

    @property
    def fractions(self) -> list[float]:
        """The share of a step that the products alone would take, sorted."""
        return sorted(plain / step for plain, step in zip(self.plain, self.steps, strict=True))


def measure(settings: ModelSettings, batch_size: int, seconds: float) -> tuple[Timing, int]:
    """Time steps and plain products by turns for some seconds; also the FLOPs of a step."""
    trainer = make_trainer(settings, batch_size)
    batches = endless(trainer)
    products = needed_products(trainer.model, next(batches))
    run_plain = plain_products(products)
    repeats = max(1, 512 // batch_size)

    def timed(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - start) / repeats

    timing, end = Timing([], []), time.perf_counter() + seconds
    for _ in range(2):
        trainer.step(next(batches))
        run_plain()
    while time.perf_counter() < end or len(timing.steps) < 3:
        timing.steps.append(timed(lambda: trainer.step(next(batches))))
        timing.plain.append(timed(run_plain))
    return timing, sum(product.flops for product in products)


def import_seconds(module: str, repeats: int = 3) -> float:
    """How long importing `module` takes in a process that has imported torch, the best of some tries."""
    code = (
        f"import time, torch; start = time.perf_counter();import {module}; print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", code]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(repeats)
    ]
    return min(float(output) for output in outputs)


def main(
    threads: int = 2, batches: tuple[int, ...] = (100, 512), units: int = 1000, seconds: float = 2.0
) -> None:
    """Print what share of a training step plain matrix products of the same shapes would take.

    Args:
        threads: threads for torch.
        batches: sizes of the minibatch.
        units: width of the hidden layers.
        seconds: time for each model and size.
    """
    torch.set_num_threads(threads)
    print(f"torch {torch.__version__}, {threads} threads, layers of {units} units, {IMAGE_DIM} pixels")
    print(f"{'model':<26}{'batch':>6}{'fraction':>10}{'(quartiles)':>15}{'images/s':>10}{'GFLOP/step':>12}")
    for name, settings in MODELS.items():
        sized = replace(settings, units=units, discriminator_units=units)
        for batch_size in batches:
            timing, flops = measure(sized, batch_size, seconds)
            low, middle, high = statistics.quantiles(timing.fractions, n=4)
            images = batch_size / statistics.median(timing.steps)
            quartiles = f"({low:.2f}-{high:.2f})"
            print(
                f"{name:<26}{batch_size:>6}{middle:>10.2f}{quartiles:>15}{images:>10.0f}{flops / 1e9:>12.2f}",
                flush=True,
            )
    print(f"target: {TARGET} for the AAE at each size, on an idle machine")
    for module in ("aae_utils", "aae_utils.reproduction"):
        print(f"import {module}: {import_seconds(module):.2f} s beyond torch")
    print(f"target: {IMPORT_TARGET} s for aae_utils")


if __name__ == "__main__":
    tyro.cli(main)
