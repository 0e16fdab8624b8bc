"""Time the training step of each model beside plain matrix products of the same shapes and precision.

python benchmarks/training_step.py --threads 1 2 --precisions bfloat16 float32
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

from aae_utils.memory import keep_freed_memory
from aae_utils.networks import CodeLayer, Corruption
from aae_utils.priors import Gaussian
from aae_utils.recipes import ModelSettings
from aae_utils.training import (
    Batch,
    Precision,
    Trainer,
    TrainingSet,
    TrainingSettings,
    resolve_precision,
)
from aae_utils.variants.adversarial import AdversarialSettings
from aae_utils.variants.clustering import ClusteringSettings
from aae_utils.variants.dimensionality_reduction import DimensionalityReductionSettings
from aae_utils.variants.label_regularized import LabelRegularizedSettings
from aae_utils.variants.semi_supervised import BaselineSettings, SemiSupervisedSettings
from aae_utils.variants.supervised import SupervisedSettings
from aae_utils.variants.variational import VariationalSettings

IMAGE_DIM = 784
NOISE = Corruption(noise_std=0.3)
MODELS: dict[str, ModelSettings] = {
    "adversarial": AdversarialSettings(Gaussian(8, 5.0)),
    "variational": VariationalSettings(Gaussian(8, 5.0)),
    "label-regularized": LabelRegularizedSettings(),
    "supervised": SupervisedSettings(),
    "semi-supervised": SemiSupervisedSettings(corruption=NOISE),
    "clustering": ClusteringSettings(corruption=NOISE),
    "dimensionality reduction": DimensionalityReductionSettings(corruption=NOISE),
    "baseline": BaselineSettings(),
}
TARGETS = {(1, 100): 0.80, (1, 512): 0.90, (2, 100): 0.70, (2, 512): 0.85}
"""Fractions in bfloat16 on an idle machine, by threads and images in the minibatch."""
IMPORT_TARGET = 0.3

Kind = Literal["forward", "weight gradient", "input gradient"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Product:
    """One matrix product of a linear layer with weight `(outputs, inputs)` on `rows` rows."""

    layer: str
    rows: int
    inputs: int
    outputs: int
    kind: Kind
    reads_or_writes_a_code: bool = False

    @property
    def flops(self) -> int:
        """Multiplications and additions, the same for all three kinds."""
        return 2 * self.rows * self.inputs * self.outputs


class Calls:
    """The calls of a model's linear layers in one training step, and the backward passes through each."""

    def __init__(self, model: nn.Module) -> None:
        self.layers = {layer: name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        self.calls: list[tuple[nn.Linear, Tensor, Tensor]] = []
        self.updated: list[set[nn.Parameter]] = []
        self.phase: set[nn.Parameter] = set()
        self.handles = [layer.register_forward_hook(self._watch) for layer in self.layers]

    def _watch(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        updated: set[nn.Parameter] = set()
        self.calls.append((layer, inputs[0], output))
        self.updated.append(updated)
        if output.requires_grad:
            # a pass through the encoder that two phases share meets the gradients of one of them alone
            output.register_hook(lambda _: updated.update(self.phase))

    def run(self, model: nn.Module, batch: Batch) -> None:
        """One training step without its updates."""
        for phase in model.phases():  # type: ignore[operator]
            self.phase = set(phase.parameters())
            torch.stack(list(phase.loss(batch).values())).sum().backward(inputs=phase.parameters())
        for handle in self.handles:
            handle.remove()

    def products(self) -> Iterator[Product]:
        """What of these calls some loss depends on: outputs, and gradients of weights and inputs."""
        for (layer, x, output), updated in zip(self.calls, self.updated, strict=True):
            code = isinstance(layer, CodeLayer)
            sizes = (self.layers[layer], len(x), layer.in_features, layer.out_features)
            if updated or not output.requires_grad:
                yield Product(*sizes, "forward", code)
            if layer.weight in updated:
                yield Product(*sizes, "weight gradient", code)
            if updated and x.requires_grad:
                yield Product(*sizes, "input gradient", code)


def needed_products(model: nn.Module, batch: Batch) -> list[Product]:
    """The matrix products of one training step, and no more than its phases need.

    A layer's output is needed where a loss depends on it, its weight's gradient where the phase updates
    the weight, its input's gradient where the input depends on what the phase updates.
    """
    calls = Calls(model)
    calls.run(model, batch)
    return list(calls.products())


def plain_products(products: list[Product], precision: str = "float32") -> Callable[[], None]:
    """A function that computes these products and nothing else, into memory that is there already."""
    memory: dict[tuple[str, str, int], Tensor] = {}

    def tensor(p: Product, name: str, rows: int, columns: int) -> Tensor:
        dtype = torch.float32 if p.reads_or_writes_a_code else DTYPES[precision]
        # one tensor for each layer and role, as in a network: more would only fill the cache
        return memory.setdefault((p.layer, name, rows), torch.randn(rows, columns).to(dtype))

    def operands(p: Product) -> tuple[Tensor, Tensor, Tensor]:
        weight = tensor(p, "weight", p.outputs, p.inputs)
        x, y = tensor(p, "x", p.rows, p.inputs), tensor(p, "y", p.rows, p.outputs)
        if p.kind == "forward":
            return x, weight.T, y
        if p.kind == "weight gradient":
            return y.T, x, tensor(p, "weight gradient", p.outputs, p.inputs)
        return y, weight, tensor(p, "input gradient", p.rows, p.inputs)

    jobs = [operands(product) for product in products]

    def run() -> None:
        for left, right, out in jobs:
            torch.mm(left, right, out=out)

    return run


def plain_updates(trainer: Trainer) -> Callable[[], None]:
    """A function that does the updates of a step, as separate passes over the weights, and nothing else.

    Each optimizer moves its weights once; in bfloat16 each weight that a phase moves is rounded once, into
    memory that is there already, and so is each gradient widened to float32. The trainer's weights change.
    """
    copies: list[tuple[Tensor, Tensor]] = []
    for phase in trainer.phases:
        for weights in phase.parameters():
            weights.grad = torch.zeros_like(weights)
        for layer in (layer for network in phase.networks for layer in network.modules()):
            rounded = trainer.precision == "bfloat16" and not isinstance(layer, CodeLayer)
            if rounded and isinstance(layer, nn.Linear):
                weights = layer.weight.detach()
                copies.append((torch.empty_like(weights, dtype=torch.bfloat16), weights))
                copies.append((torch.empty_like(weights), weights.bfloat16()))

    def run() -> None:
        for optimizer in trainer.optimizers:
            optimizer.step()
        for target, source in copies:
            target.copy_(source)

    return run


def make_trainer(
    settings: ModelSettings, batch_size: int, precision: Precision = "float32", images: int = 6000
) -> Trainer:
    """A trainer on random images, with all their labels."""
    torch.manual_seed(0)
    x, y = torch.rand(images, IMAGE_DIM), torch.randint(10, (images,))
    data = TrainingSet(x, y, x[:1000], y[:1000])
    training = TrainingSettings(1, batch_size, precision=precision)
    return Trainer(settings.build(IMAGE_DIM), data, training)


def endless(trainer: Trainer) -> Iterator[Batch]:
    """Epoch after epoch of minibatches."""
    while True:
        yield from trainer.batches()


def take_turns(works: list[Callable[[], object]], seconds: float, repeats: int = 1) -> list[list[float]]:
    """Run `works` one after the other, round after round; the seconds of each in every round."""
    times: list[list[float]] = [[] for _ in works]
    for work in works * 2:
        work()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for work, spent in zip(works, times, strict=True):
            start = time.perf_counter()
            for _ in range(repeats):
                work()
            spent.append((time.perf_counter() - start) / repeats)
    return times


@dataclass(frozen=True)
class Timing:
    """Seconds of one training step, of its plain products and of its plain updates, round after round."""

    steps: list[float]
    plain: list[float]
    updates: list[float]

    @property
    def fractions(self) -> list[float]:
        """The share of a step that the products alone would take, sorted."""
        return sorted(plain / step for plain, step in zip(self.plain, self.steps, strict=True))

    @property
    def bound(self) -> float:
        """The fraction of a step that were nothing but its products and updates, median over the rounds."""
        shares = [plain / (plain + rest) for plain, rest in zip(self.plain, self.updates, strict=True)]
        return statistics.median(shares)


def measure(
    settings: ModelSettings, batch_size: int, seconds: float, precision: Precision = "float32"
) -> tuple[Timing, int]:
    """Time steps, plain products and plain updates by turns for some seconds; also the FLOPs of a step."""
    trainer = make_trainer(settings, batch_size, precision)
    batches = endless(trainer)
    products = needed_products(trainer.model, next(batches))
    works: list[Callable[[], object]] = [
        lambda: trainer.step(next(batches)),
        plain_products(products, trainer.precision),
        plain_updates(make_trainer(settings, batch_size, precision)),
    ]
    steps, plain, updates = take_turns(works, seconds, max(1, 512 // batch_size))
    return Timing(steps, plain, updates), sum(product.flops for product in products)


def sized(settings: ModelSettings, units: int) -> ModelSettings:
    """The same model with `units` in all hidden layers."""
    names = {field.name for field in fields(settings)} & {"units", "discriminator_units"}
    return replace(settings, **dict.fromkeys(names, units))


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


def print_table(
    threads: int, precision: Precision, batches: tuple[int, ...], units: int, seconds: float
) -> None:
    """One line for each model and size of the minibatch."""
    torch.set_num_threads(threads)
    known = resolve_precision(precision, "cpu")
    print(
        f"{known}, threads: {threads}, layers of {units} units, {IMAGE_DIM} pixels, torch {torch.__version__}"
    )
    print(
        f"{'model':<26}{'batch':>6}{'fraction':>10}{'(quartiles)':>15}{'bound':>8}{'images/s':>10}"
        f"{'GFLOP/step':>12}"
    )
    for name, settings in MODELS.items():
        for batch_size in batches:
            timing, flops = measure(sized(settings, units), batch_size, seconds, precision)
            low, middle, high = statistics.quantiles(timing.fractions, n=4)
            images = batch_size / statistics.median(timing.steps)
            quartiles = f"({low:.2f}-{high:.2f})"
            print(
                f"{name:<26}{batch_size:>6}{middle:>10.2f}{quartiles:>15}{timing.bound:>8.2f}"
                f"{images:>10.0f}{flops / 1e9:>12.2f}",
                flush=True,
            )
    for (count, batch_size), target in TARGETS.items():
        if (count, known) == (threads, "bfloat16") and batch_size in batches:
            print(f"target: {target} at {batch_size} images, on an idle machine")


def main(
    threads: tuple[int, ...] = (1,),
    precisions: tuple[Precision, ...] = ("auto",),
    batches: tuple[int, ...] = (100, 512),
    units: int = 1000,
    seconds: float = 2.0,
) -> None:
    """Print what share of a training step plain matrix products of the same shapes would take.

    Args:
        threads: threads for torch; runs use one for each process.
        precisions: auto is what runs use, bfloat16 where the machine multiplies it faster.
        batches: sizes of the minibatch.
        units: width of the hidden layers.
        seconds: time for each model and size.
    """
    keep_freed_memory()
    for precision in precisions:
        for count in threads:
            print_table(count, precision, batches, units, seconds)
            print()
    for module in ("aae_utils", "aae_utils.reproduction"):
        print(f"import {module}: {import_seconds(module):.2f} s beyond torch")
    print(f"target: {IMPORT_TARGET} s for aae_utils")


if __name__ == "__main__":
    tyro.cli(main)
