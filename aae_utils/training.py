"""The one training loop: every variant's phases in the paper's alternating order (section 2)."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import MultiStepLR
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from aae_utils.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from aae_utils.checks import require_flag, require_kind, require_known, require_number, require_whole
from aae_utils.data import require_images, require_labels
from aae_utils.errors import out_of_memory
from aae_utils.film import Film
from aae_utils.seeds import random_stream

AVERAGING_INTERVAL = 10
SPEED = ("seconds", "images_per_second")
"""What an epoch's row has beside losses and validation numbers."""
Precision = Literal["float32", "bfloat16", "auto"]
ResolvedPrecision = Literal["float32", "bfloat16", "tensorfloat32"]
Optimizer = Literal["sgd", "adam"]
RateGroup = Literal["reconstruction", "discriminator", "generator", "classification"]
RATE_GROUPS: tuple[RateGroup, ...] = get_args(RateGroup)
Terms = dict[str, Tensor]
Monitor = Callable[[nn.Module], dict[str, float]]
Shared = TypeVar("Shared")


WILD = "What the model makes of images is no longer finite: lower the learning rates."
"""Why a training ends whose losses are finite while its codes or images are not."""


class TrainingDiverged(RuntimeError):
    """A loss is no longer finite."""


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    x `(B, D)` images; y `(B,)` their labels, -1 where the label is hidden; `labeled_x` `(L, D)` and
    `labeled_y` `(L,)` the labeled minibatch of section 5; `generator` the source of all noise; `progress` the
    share of the training's steps that is over, from 0 to 1.
    """

    x: Tensor
    y: Tensor
    labeled_x: Tensor | None = None
    labeled_y: Tensor | None = None
    generator: torch.Generator | None = None
    progress: float | Tensor = 0.0
    shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, name: str, compute: Callable[[], Shared]) -> Shared:
        """What `compute` returns: the first phase of a step that asks computes it, the next one finds it."""
        if name not in self.shared:
            self.shared[name] = compute()
        value: Shared = self.shared[name]
        return value


@dataclass(frozen=True)
class Phase:
    """One update of a training step: minimize the sum of `loss(batch)` over the parameters of `networks`."""

    name: str
    loss: Callable[[Batch], Terms]
    networks: tuple[nn.Module, ...]
    rates: RateGroup

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that this phase updates; other phases of the step may update them, too."""
        return [p for network in self.networks for p in network.parameters() if p.requires_grad]


@dataclass(frozen=True)
class Rates:
    """Learning rate and momentum of one group of phases (appendix A.2.1)."""

    learning_rate: float
    """Of each update of the group's phases."""
    momentum: float = 0.9
    """Of SGD; for Adam the decay of the first moment."""
    optimizer: Optimizer = "sgd"
    """sgd, or adam."""
    constant: bool = False
    """Whether the rate stays when the others drop."""

    def __post_init__(self) -> None:
        require_number("learning_rate", self.learning_rate, above=0)
        require_number("momentum", self.momentum, least=0, below=1)
        require_known("optimizer", self.optimizer, get_args(Optimizer))
        require_flag("constant", self.constant)


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train; the defaults are the rates of appendix A.2.1."""

    epochs: int
    """Passes over the images."""
    batch_size: int = 100
    """Images in a minibatch."""
    reconstruction: Rates = Rates(0.01, 0.9)
    """Rates of the reconstruction phase."""
    discriminator: Rates = Rates(0.1, 0.1)
    """Rates of the discriminators, whose loss is the sum over prior samples and codes."""
    generator: Rates = Rates(0.1, 0.1)
    """Rates of the encoder against the discriminators."""
    classification: Rates = Rates(0.1, 0.9)
    """Rates of the semi-supervised classification phase."""
    drops: tuple[int, ...] = ()
    """Epochs after which the rates are multiplied by drop_factor."""
    drop_factor: float = 0.1
    """What a drop makes of a rate."""
    averaging: float = 0.0
    """Decay of a moving average of the weights, moved every 10 steps; 0 takes the last weights."""
    precision: Precision = "float32"
    """Of matrix products; auto takes bfloat16 where a CPU multiplies it faster, and TensorFloat32 on NVIDIA's
    GPUs since 2020. Codes, losses and updates are float32 throughout."""

    def __post_init__(self) -> None:
        require_whole("epochs", self.epochs)
        require_whole("batch_size", self.batch_size)
        for group in RATE_GROUPS:
            require_kind(group, getattr(self, group), Rates)
        require_kind("drops", self.drops, tuple)
        for epoch in self.drops:
            require_whole("drops", epoch)
        require_number("drop_factor", self.drop_factor, above=0, most=1)
        require_number("averaging", self.averaging, least=0, below=1)
        require_known("precision", self.precision, get_args(Precision))


@dataclass(frozen=True)
class TrainingSet:
    """What a run may look at: images `(N, D)`, visible labels `(N,)` (-1 hidden), labeled images."""

    x: Tensor
    y: Tensor
    labeled_x: Tensor | None = None
    labeled_y: Tensor | None = None

    def __post_init__(self) -> None:
        require_images(self.x, "x")
        require_labels(self.y, len(self.x), "y")
        if (self.labeled_x is None) != (self.labeled_y is None):
            raise ValueError("Give labeled_x and labeled_y together, or neither.")
        if self.labeled_x is not None and self.labeled_y is not None:
            require_images(self.labeled_x, "labeled_x")
            require_labels(self.labeled_y, len(self.labeled_x), "labeled_y", least=0)
            if len(self.labeled_x) == 0 or self.labeled_x.shape[1] != self.x.shape[1]:
                raise ValueError(
                    f"labeled_x must be at least one image of {self.x.shape[1]} pixels, as those of x, not"
                    f" {tuple(self.labeled_x.shape)}."
                )

    def __len__(self) -> int:
        return len(self.x)


class Trainer:
    """A model, its optimizers (one for each phase) and its data, one epoch after the other.

    `history` holds one row of numbers for each finished epoch, `saved_epoch` is the last one whose checkpoint
    is on the disk, and `notes` are plain values that checkpoints carry along. The order of the images and the
    noise come from two independent streams of the seed, on the device of model and data. With a `film` the
    movement of q(z) is recorded. ValueError says what does not fit together.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TrainingSet,
        settings: TrainingSettings,
        seed: int = 0,
        film: Film | None = None,
    ) -> None:
        if len(data) < settings.batch_size:
            raise ValueError(
                f"The minibatch ({settings.batch_size}) is larger than the training set ({len(data)}):"
                " lower batch_size."
            )
        _require_labels(model, data)
        elsewhere = [p.device for p in model.parameters() if p.device != data.x.device]
        if elsewhere:
            raise ValueError(
                f"The model is on {elsewhere[0]} and the images are on {data.x.device}: move one of them."
            )
        normalized = any(isinstance(module, _BatchNorm) for module in model.modules())
        if normalized and settings.batch_size == 1:
            raise ValueError("batch_size must be at least 2 with batch normalization, not 1.")
        if normalized and data.labeled_x is not None and len(data.labeled_x) == 1:
            raise ValueError("labeled_x must be at least 2 images with batch normalization, not 1.")
        if settings.averaging and normalized:
            raise ValueError(
                "averaging is for models without batch normalization, whose running statistics belong to the"
                " last weights: set averaging or batch_norm off."
            )
        self.model = model
        self.data = data
        self.settings = settings
        self.film = film
        self.device = data.x.device
        self.precision = resolve_precision(settings.precision, self.device)
        self.order = random_stream(seed, "order", self.device)
        self.noise = random_stream(seed, "noise", self.device)
        self.phases: tuple[Phase, ...] = model.phases()  # type: ignore[operator]
        self.optimizers = [self._optimizer(phase) for phase in self.phases]
        self.schedules = [
            MultiStepLR(optimizer, self._drops(phase), settings.drop_factor)
            for phase, optimizer in zip(self.phases, self.optimizers, strict=True)
        ]
        self.averaged: nn.Module | None = None
        self.steps = 0
        self.saved_epoch = 0
        self.notes: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def steps_per_epoch(self) -> int:
        """Full minibatches in one pass over the images; a smaller rest waits for the next shuffle."""
        return len(self.data) // self.settings.batch_size

    @property
    def all_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.settings.epochs

    @property
    def result(self) -> nn.Module:
        """The trained model: averaged over the late steps where the settings ask for it."""
        return self.averaged or self.model

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        rates = self._rates(phase)
        return make_optimizer(phase.parameters(), rates, rates.learning_rate, self.device)

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

    def batches(self) -> Iterator[Batch]:
        """The minibatches of one epoch, shuffled, with as many labeled minibatches beside them."""
        steps, size = self.steps_per_epoch, self.settings.batch_size
        order = shuffled(len(self.data), steps * size, self.order)
        labeled_order = self.labeled_order(steps)
        for step in range(steps):
            index = order[step * size : (step + 1) * size]
            labeled_x = labeled_y = None
            if labeled_order is not None:
                chosen = labeled_order[step]
                labeled_x, labeled_y = self.data.labeled_x[chosen], self.data.labeled_y[chosen]  # type: ignore[index]
            x, y, progress = self.data.x[index], self.data.y[index], self.steps / self.all_steps
            yield Batch(x, y, labeled_x, labeled_y, self.noise, progress)

    def labeled_order(self, steps: int) -> Tensor | None:
        """Which labeled images stand beside each minibatch of an epoch, `(steps, L)`; None without any."""
        if self.data.labeled_x is None:
            return None
        size = min(self.settings.batch_size, len(self.data.labeled_x))
        return shuffled(len(self.data.labeled_x), steps * size, self.order).view(steps, size)

    def step(self, batch: Batch) -> Terms:
        """Run every phase once; return the loss terms, still on the device."""
        losses: Terms = {}
        with float32_products(self.precision):
            for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                    terms = phase.loss(batch)
                optimizer.zero_grad()
                # only this phase's gradients are computed: a generator step leaves the discriminator alone
                torch.stack(list(terms.values())).sum().backward(inputs=phase.parameters())
                optimizer.step()
                losses |= {name: term.detach() for name, term in terms.items()}
        self.steps += 1
        if self.settings.averaging and self.steps % AVERAGING_INTERVAL == 0:
            self.average()
        if self.film is not None:
            self.film.observe(self.model, losses)
        return losses

    def run_epoch(self, on_step: Callable[[int], object] = lambda images: None) -> dict[str, float]:
        """One pass over the images; return the mean of each loss, and how fast it went.

        Nothing waits for the device in between, but for the moments of a film.
        """
        self.model.train()
        if self.film is not None and not self.steps:
            self.film.observe(self.model, {})
        start = time.perf_counter()
        totals: Terms = {}
        for batch in self.batches():
            for name, value in self.step(batch).items():
                totals[name] = totals[name] + value if name in totals else value
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
        """Train to the last epoch and return the result; `resume` first to go on from a checkpoint.

        `monitor(model)` adds numbers to each epoch's row. `progress=None` shows a bar on terminals only.
        Raises TrainingDiverged when a loss is no longer finite.
        """
        saved = time.monotonic()
        with self._progress_bar(progress) as bar:
            while self.epoch < self.settings.epochs:
                losses = self.run_epoch(bar.update)
                self.require_finite(losses, self.epoch + 1)
                row = {"epoch": self.epoch + 1.0} | losses | self._monitored(monitor)
                self.history.append(row)
                bar.set_postfix({name: f"{losses[name]:.3g}" for name in losses if name not in SPEED})
                due = time.monotonic() - saved >= checkpoint_seconds
                if checkpoints is not None and (due or self.epoch == self.settings.epochs):
                    if save_checkpoint(checkpoints, self.state_dict()):
                        self.saved_epoch = self.epoch
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

    def require_finite(self, losses: dict[str, float], epoch: int) -> None:
        """Do nothing if all losses of an epoch are finite; TrainingDiverged names one that is not."""
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        if broken:
            raise TrainingDiverged(
                f"The loss {broken[0]!r} is no longer finite in epoch {epoch}: lower the learning rates."
            )

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on."""
        return {
            "device": self.device.type,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "order": self.order.get_state(),
            "noise": self.noise.get_state(),
            "steps": self.steps,
            "film": self.film.state_dict() if self.film else None,
            "notes": self.notes,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        if state["averaged"] is not None:
            self.averaged = copy.deepcopy(self.model)
            self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self.order.set_state(state["order"].cpu())
        self.noise.set_state(state["noise"].cpu())
        self.steps = state["steps"]
        if self.film is not None:
            self.film.load_state_dict(state["film"])
        self.notes = state["notes"]
        self.history = state["history"]
        self.saved_epoch = self.epoch

    def resume(self, folder: Path, accept: Callable[[dict[str, Any]], object] = lambda notes: None) -> None:
        """Continue from the newest whole checkpoint in `folder`; start afresh where there is none.

        `accept` gets the checkpoint's notes first and may raise.
        """
        state = load_checkpoint(folder, self.device)
        if state is None:
            return
        accept(state.get("notes", {}))
        begun = state.get("device", self.device.type)
        if begun != self.device.type:  # its streams of random numbers cannot go on elsewhere
            raise CheckpointError(
                f"The training in {folder} was begun on {begun} and cannot go on elsewhere: continue it there"
                f" (--device {begun}), or delete that folder to train from the start."
            )
        try:
            self.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            if out_of_memory(error):
                raise
            raise CheckpointError(
                f"The checkpoint in {folder} belongs to another model or settings: delete that folder"
                " or choose another one."
            ) from error


def _require_labels(model: nn.Module, data: TrainingSet) -> None:
    """ValueError for a label that the model has no place for; a step cannot look without waiting."""
    most = getattr(model, "label_count", None)
    shown = data.y if data.labeled_y is None else torch.cat((data.y, data.labeled_y))
    highest = int(shown.max())
    if most is not None and highest >= most:
        raise ValueError(
            f"classes must be at least {highest + 1} for labels from 0 to {highest}, not {most}."
        )


def make_optimizer(
    parameters: list[nn.Parameter] | list[Tensor], rates: Rates, rate: float | Tensor, device: torch.device
) -> torch.optim.Optimizer:
    """The optimizer of a group of phases; a `rate` that is a tensor can be read by a captured step."""
    fused = device.type in ("cpu", "cuda")
    if rates.optimizer == "adam":
        captured = device.type == "cuda" and isinstance(rate, Tensor)
        betas = (rates.momentum, 0.999)
        return torch.optim.Adam(parameters, rate, betas=betas, fused=fused, capturable=captured)
    return torch.optim.SGD(parameters, rate, momentum=rates.momentum, fused=fused)


def falling(progress: float | Tensor, until: float) -> float | Tensor:
    """From 1 at the training's beginning to 0 where the share `until` of it is over, and 0 from there on."""
    left = 1 - progress / until
    return left.clamp(min=0) if isinstance(left, Tensor) else max(0.0, left)


def resolve_precision(precision: Precision, device: torch.device | str) -> ResolvedPrecision:
    """The precision that `auto` stands for on this device; any other stands for itself.

    GPUs since 2020 multiply in TensorFloat32, float32 with a mantissa of 10 bits, and need no copies.
    """
    device = torch.device(device)
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "tensorfloat32" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    return "bfloat16" if multiplies_bfloat16(device) else "float32"


@contextmanager
def float32_products(precision: ResolvedPrecision) -> Iterator[None]:
    """Let float32 products, those of gradients too, be of TensorFloat32 where that is the precision."""
    before = torch.get_float32_matmul_precision()
    if precision == "tensorfloat32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a CPU has instructions for matrix products in bfloat16."""
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
