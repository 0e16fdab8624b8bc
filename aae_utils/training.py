"""The one training loop: every variant's phases in the paper's alternating order (section 2)."""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from aae_utils.models import Batch, Phase
from aae_utils.networks import require_known

CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint.previous.pt"
AVERAGING_INTERVAL = 10
Precision = Literal["float32", "bfloat16", "auto"]


class TrainingDiverged(RuntimeError):
    """A loss is no longer finite."""


class CheckpointError(RuntimeError):
    """A checkpoint exists but cannot be used."""


class PhasedModel(Protocol):
    """What the loop needs of a model, beside being an `nn.Module`."""

    def phases(self) -> tuple[Phase, ...]:
        """The updates of one step, in order."""
        ...


@dataclass(frozen=True)
class Rates:
    """Learning rate and momentum of one group of phases (appendix A.2.1); `constant` ones never drop."""

    learning_rate: float
    momentum: float = 0.9
    optimizer: Literal["sgd", "adam"] = "sgd"
    constant: bool = False


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train; the defaults are the rates of appendix A.2.1.

    `drops` are the epochs after which the rates are multiplied by `drop_factor`. With `averaging` (a decay
    such as 0.99, applied every 10 steps) the result is the exponential moving average of the weights.
    `precision` is that of the matrix products; weights, losses and updates are float32 throughout. `auto`
    takes bfloat16 where the device multiplies it faster than float32.
    """

    epochs: int
    batch_size: int = 100
    reconstruction: Rates = Rates(0.01, 0.9)
    adversarial: Rates = Rates(0.1, 0.1)
    classification: Rates = Rates(0.1, 0.9)
    drops: tuple[int, ...] = ()
    drop_factor: float = 0.1
    averaging: float = 0.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError("epochs and batch_size must be at least 1.")
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging is a decay in [0, 1), not {self.averaging}.")
        if any(epoch < 1 for epoch in self.drops) or self.drop_factor <= 0:
            raise ValueError(
                "drops are epochs from 1 on and drop_factor is greater than 0, not"
                f" {self.drops} and {self.drop_factor}."
            )
        require_known("precision", self.precision, get_args(Precision))


@dataclass(frozen=True)
class TrainingSet:
    """What a run may look at: images `(N, D)`, visible labels `(N,)` (-1 hidden), labelled images."""

    x: Tensor
    y: Tensor
    labelled_x: Tensor | None = None
    labelled_y: Tensor | None = None

    def __post_init__(self) -> None:
        if self.x.dim() != 2 or self.y.shape != self.x.shape[:1]:
            raise ValueError(
                f"Expected images (N, D) and one label each, got {tuple(self.x.shape)} and"
                f" {tuple(self.y.shape)}."
            )
        if (self.labelled_x is None) != (self.labelled_y is None):
            raise ValueError("Give labelled_x and labelled_y together, or neither.")
        if self.labelled_y is not None and self.labelled_x is not None:
            count = len(self.labelled_y)
            if count == 0 or self.labelled_x.shape != (count, self.x.shape[1]):
                raise ValueError(
                    f"Expected labelled images ({max(count, 1)}, {self.x.shape[1]}) beside {count} labels,"
                    f" got {tuple(self.labelled_x.shape)}."
                )

    def __len__(self) -> int:
        return len(self.x)


@dataclass
class History:
    """One row of numbers for each finished epoch."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def series(self, name: str) -> list[float]:
        """The value of one column over the epochs that have it."""
        return [row[name] for row in self.rows if name in row]


Monitor = Callable[[nn.Module], dict[str, float]]


class Trainer:
    """A model, its optimizers (one for each phase) and its data, one epoch after the other.

    Everything random comes from one generator on the model's device, seeded once.
    """

    def __init__(
        self, model: nn.Module, data: TrainingSet, settings: TrainingSettings, seed: int = 0
    ) -> None:
        if len(data) < settings.batch_size:
            raise ValueError(
                f"The minibatch ({settings.batch_size}) is larger than the training set ({len(data)}):"
                " lower batch_size."
            )
        self.model = model
        self.data = data
        self.settings = settings
        self.device = data.x.device
        self.precision = resolve_precision(settings.precision, self.device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.phases: tuple[Phase, ...] = model.phases()  # type: ignore[operator]
        self.optimizers = [self._optimizer(phase) for phase in self.phases]
        self.schedules = [
            MultiStepLR(optimizer, self._drops(phase), settings.drop_factor)
            for phase, optimizer in zip(self.phases, self.optimizers, strict=True)
        ]
        self.averaged: nn.Module | None = None
        self.history = History()

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history.rows)

    @property
    def steps_per_epoch(self) -> int:
        """Full minibatches in one pass over the images; a smaller rest waits for the next shuffle."""
        return len(self.data) // self.settings.batch_size

    @property
    def result(self) -> nn.Module:
        """The trained model: averaged over the late steps where the settings ask for it."""
        return self.averaged or self.model

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        rates = self._rates(phase)
        fused = self.device.type in ("cpu", "cuda")
        parameters = phase.parameters()
        if rates.optimizer == "adam":
            betas = (rates.momentum, 0.999)
            return torch.optim.Adam(parameters, rates.learning_rate, betas=betas, fused=fused)
        return torch.optim.SGD(parameters, rates.learning_rate, momentum=rates.momentum, fused=fused)

    def _rates(self, phase: Phase) -> Rates:
        rates: Rates = getattr(self.settings, phase.rates)
        return rates

    def _drops(self, phase: Phase) -> list[int]:
        return [] if self._rates(phase).constant else list(self.settings.drops)

    def average(self) -> None:
        """Move the averaged weights towards the weights; the first time, begin with these."""
        # torch's AveragedModel counts its updates in a tensor, and the host would wait for it
        if self.averaged is None:
            self.averaged = copy.deepcopy(self.model)
            return
        move = get_ema_multi_avg_fn(self.settings.averaging)
        move(list(self.averaged.parameters()), list(self.model.parameters()), 0)
        for kept, new in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            kept.copy_(new)

    def batches(self) -> Iterator[Batch]:
        """The minibatches of one epoch, shuffled, with as many labelled minibatches beside them."""
        steps, size = self.steps_per_epoch, self.settings.batch_size
        order = shuffled(len(self.data), steps * size, self.generator)
        labelled_order = self._labelled_order(steps)
        for step in range(steps):
            index = order[step * size : (step + 1) * size]
            labelled_x = labelled_y = None
            if labelled_order is not None:
                chosen = labelled_order[step]
                labelled_x, labelled_y = self.data.labelled_x[chosen], self.data.labelled_y[chosen]  # type: ignore[index]
            yield Batch(self.data.x[index], self.data.y[index], labelled_x, labelled_y, self.generator)

    def _labelled_order(self, steps: int) -> Tensor | None:
        if self.data.labelled_x is None:
            return None
        size = min(self.settings.batch_size, len(self.data.labelled_x))
        return shuffled(len(self.data.labelled_x), steps * size, self.generator).view(steps, size)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Run every phase once; return the loss terms, still on the device."""
        losses: dict[str, Tensor] = {}
        for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                terms = phase.loss(batch)
            optimizer.zero_grad()
            # only this phase's gradients are computed: a generator step leaves the discriminator alone
            torch.stack(list(terms.values())).sum().backward(inputs=phase.parameters())
            optimizer.step()
            losses |= {name: term.detach() for name, term in terms.items()}
        return losses

    def run_epoch(self, on_step: Callable[[int], object] = lambda images: None) -> dict[str, float]:
        """One pass over the images; return the mean of each loss. Nothing waits for the device in between."""
        self.model.train()
        start = time.perf_counter()
        totals: dict[str, Tensor] = {}
        for number, batch in enumerate(self.batches()):
            for name, value in self.step(batch).items():
                totals[name] = totals[name] + value if name in totals else value
            if self.settings.averaging and number % AVERAGING_INTERVAL == 0:
                self.average()
            on_step(len(batch.x))
        means = {name: float(total) / self.steps_per_epoch for name, total in totals.items()}
        seconds = time.perf_counter() - start
        for schedule in self.schedules:
            schedule.step()
        rate = self.steps_per_epoch * self.settings.batch_size / seconds
        return means | {"seconds": seconds, "images_per_second": rate}

    def fit(
        self,
        monitor: Monitor | None = None,
        checkpoints: Path | None = None,
        checkpoint_seconds: float = 60.0,
        progress: bool | None = None,
    ) -> nn.Module:
        """Train to the last epoch, from the newest checkpoint if there is one, and return the result.

        `monitor(model)` adds numbers to each epoch's row. `progress=None` shows a bar on terminals only.
        Raises TrainingDiverged when a loss is no longer finite.
        """
        if checkpoints is not None:
            self.resume(checkpoints)
        saved = time.monotonic()
        with self._progress_bar(progress) as bar:
            while self.epoch < self.settings.epochs:
                losses = self.run_epoch(bar.update)
                self._require_finite(losses)
                row = {"epoch": self.epoch + 1.0} | losses | self._monitored(monitor)
                self.history.rows.append(row)
                bar.set_postfix({name: f"{row[name]:.3g}" for name in row if name in losses})
                due = time.monotonic() - saved >= checkpoint_seconds
                if checkpoints is not None and (due or self.epoch == self.settings.epochs):
                    save_checkpoint(checkpoints, self.state_dict())
                    saved = time.monotonic()
        return self.result.eval()

    @contextmanager
    def _progress_bar(self, progress: bool | None) -> Iterator[tqdm]:
        images = self.steps_per_epoch * self.settings.batch_size
        with tqdm(
            total=images * self.settings.epochs,
            initial=images * self.epoch,
            unit="image",
            unit_scale=True,
            disable=None if progress is None else not progress,
        ) as bar:
            yield bar

    def _monitored(self, monitor: Monitor | None) -> dict[str, float]:
        if monitor is None:
            return {}
        return monitor(self.result.eval())

    def _require_finite(self, losses: dict[str, float]) -> None:
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        if broken:
            raise TrainingDiverged(
                f"The loss {broken[0]!r} is no longer finite in epoch {self.epoch + 1}: lower the"
                " learning rates."
            )

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "generator": self.generator.get_state(),
            "history": self.history.rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        if self.settings.averaging:
            self.averaged = copy.deepcopy(self.model)
            self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self.generator.set_state(state["generator"].cpu())
        self.history.rows = state["history"]

    def resume(self, folder: Path) -> None:
        """Continue from the newest whole checkpoint in `folder`; start afresh where there is none."""
        state = load_checkpoint(folder, self.device)
        if state is None:
            return
        try:
            self.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"The checkpoint in {folder} belongs to another model or settings: delete that folder"
                " or choose another one."
            ) from error


def resolve_precision(precision: Precision, device: torch.device | str) -> Literal["float32", "bfloat16"]:
    """The precision that `auto` stands for on this device; any other stands for itself."""
    if precision != "auto":
        return precision
    return "bfloat16" if multiplies_bfloat16(torch.device(device)) else "float32"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for matrix products in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    ask = getattr(torch.cpu, "get_capabilities", None)  # older releases of PyTorch cannot tell
    capabilities = ask() if ask else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def shuffled(size: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices below `size`, from as many whole shuffles as it takes: all are used equally often."""
    shuffles = [
        torch.randperm(size, generator=generator, device=generator.device)
        for _ in range(math.ceil(count / size))
    ]
    return torch.cat(shuffles)[:count]


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the newest checkpoint and keep the one before; a full disk costs the checkpoint, not the run."""
    newest, partial = folder / CHECKPOINT, folder / (CHECKPOINT + ".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        if newest.exists():
            os.replace(newest, folder / PREVIOUS_CHECKPOINT)
        os.replace(partial, newest)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            partial.unlink()
        warnings.warn(
            f"No checkpoint was written to {folder} ({error}): training goes on, free some space.",
            stacklevel=2,
        )


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None where there is none at all.

    A damaged one is skipped with a warning; CheckpointError when checkpoints exist and none can be read.
    """
    found = [folder / name for name in (CHECKPOINT, PREVIOUS_CHECKPOINT)]
    found = [path for path in found if path.exists()]
    for path in found:
        try:
            return _read_checkpoint(path, device)
        except Exception as error:  # torch.load raises many kinds for a damaged file
            warnings.warn(f"{path} cannot be read ({error}): trying the one before.", stacklevel=2)
    if found:
        raise CheckpointError(
            f"No checkpoint in {folder} can be read: delete the folder to train from the start."
        )
    return None


def _read_checkpoint(path: Path, device: torch.device | str) -> dict[str, Any]:
    # torch.load reads over the checksums in the file, and a training resumed from altered numbers goes on
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"the checksum of {damaged} is wrong")
    return torch.load(path, map_location=device, weights_only=True)
