"""Several seeds of a recipe trained as one model: their weights lie stacked, and each step serves them all.

On a CPU that gains nothing. On a GPU the kernels of one network of the paper are far too small for the
device, and the host is too slow to launch them; here one kernel works for all seeds, a step is launched as
one CUDA graph, and the graphs of several recipes run side by side on streams of their own.

Each seed keeps its labels, its initial weights and its order of the images; the noise of all of them comes
from the stream of the first one. With one seed a stack computes what its trainer would have computed.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim.swa_utils import get_ema_multi_avg_fn

from aae_utils.errors import in_one_line
from aae_utils.metrics.inputs import NotFinite
from aae_utils.training import (
    AVERAGING_INTERVAL,
    WILD,
    Batch,
    Monitor,
    Phase,
    Rates,
    Terms,
    Trainer,
    TrainingDiverged,
    float32_products,
    make_optimizer,
    shuffled,
)

WARM_UP = 2
"""Steps before a graph is captured: optimizers and totals get their memory in the first one."""
CHUNK = 100
"""Steps that are launched at once."""
AT_ONCE = 8
"""Stacks that train at the same time: more of them do no more work together."""
PAUSE = 0.5
"""Seconds until it is asked again whether a stack that waits for other runs can begin."""
QUEUED = 3
"""Chunks that may wait on a stream: enough to keep the device busy while the host does something else."""


class _Losses(nn.Module):
    """A model whose call is the loss of one of its phases, so that `functional_call` can lend it weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, phase: Phase, batch: Batch) -> Terms:
        """The loss terms."""
        return phase.loss(batch)


class Stack:
    """Trainers of one recipe, equal but for their seeds, that go from epoch to epoch together.

    `advance` queues a few steps and does not wait for them. After `epoch` has grown, and at the end, the
    trainers hold weights and history as if each had trained alone, and after `scatter` their optimizers, too.
    A seed that diverges ends the stack, and `failures` says why, by the seed's place; the others may go on.
    `broken` says what else ended it: no fault of the training.
    `keep`, if there is one, is called after each epoch that was judged. ValueError where the trainers do not
    fit together.
    """

    def __init__(self, trainers: Sequence[Trainer], monitors: Sequence[Monitor], every: int = 1) -> None:
        first = trainers[0]
        if any(_kind(other) != _kind(first) or other.film is not None for other in trainers):
            raise ValueError(
                "A stack needs trainers of one recipe without a film, on the same images, at the same epoch."
            )
        self.trainers, self.monitors, self.every = list(trainers), list(monitors), every
        self.keep: Callable[[], object] | None = None
        self.settings, self.device = first.settings, first.device
        self.cuda = self.device.type == "cuda"
        self.stream = torch.cuda.Stream(self.device) if self.cuda else None
        self.failures: dict[int, str] = {}
        self.broken = ""
        self._started: float | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._events: list[torch.cuda.Event] = []
        self._warm = 0
        self._done = 0  # steps of this epoch that are queued or finished
        if self.stream is not None:  # the trainers may still be filled on another stream
            self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with self._on_stream():
            self._gather()

    # What the device works on

    def _gather(self) -> None:
        """Stack weights, averages and optimizers of the trainers, and the data that they differ in."""
        first, seeds = self.trainers[0], len(self.trainers)
        self.mold = _Losses(copy.deepcopy(first.model).train())
        self.phases: tuple[Phase, ...] = self.mold.model.phases()  # type: ignore[operator]
        self.weights, self.buffers = _stacked([trainer.model for trainer in self.trainers])
        self.averaged: dict[str, Tensor] = {}
        if first.averaged is not None:
            self.averaged = _stacked([trainer.averaged for trainer in self.trainers])[0]  # type: ignore[misc]
        names = {id(weight): name for name, weight in self.mold.model.named_parameters()}
        self.updated = [[names[id(p)] for p in phase.parameters()] for phase in self.phases]
        self.optimizers = [
            self._optimizer(number, [self.weights[name] for name in updated])
            for number, updated in enumerate(self.updated)
        ]
        steps, size = first.steps_per_epoch, self.settings.batch_size
        self.order = torch.zeros(seeds, steps, size, dtype=torch.int64, device=self.device)
        self.y = torch.stack([trainer.data.y for trainer in self.trainers])
        self.labeled = [trainer.data for trainer in self.trainers if trainer.data.labeled_x is not None]
        self.labeled_order: Tensor | None = None
        if self.labeled:
            count = min(size, len(first.data.labeled_x))  # type: ignore[arg-type]
            self.labeled_order = torch.zeros(seeds, steps, count, dtype=torch.int64, device=self.device)
            self.labeled_x, self.labeled_y = self._labeled_images()
        self.position = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.progress = torch.tensor(first.steps / first.all_steps, dtype=torch.float64, device=self.device)
        self.totals: Terms = {}

    def _labeled_images(self) -> tuple[list[Tensor] | Tensor, Tensor]:
        labels = torch.stack([data.labeled_y for data in self.labeled])  # type: ignore[misc]
        images = [data.labeled_x for data in self.labeled]
        if all(x is self.trainers[0].data.x for x in images):
            return self.trainers[0].data.x, labels
        return list(images), labels  # type: ignore[arg-type]

    def _optimizer(self, number: int, weights: list[Tensor]) -> torch.optim.Optimizer:
        """The phase's optimizer for stacked weights; its rate is a tensor, which a captured step reads."""
        trainers = [trainer.optimizers[number] for trainer in self.trainers]
        rates: Rates = getattr(self.settings, self.phases[number].rates)
        rate = torch.tensor(trainers[0].param_groups[0]["lr"], device=self.device)
        made = make_optimizer(weights, rates, rate, self.device)
        for place, weight in enumerate(weights):
            states = [trainer.state.get(trainer.param_groups[0]["params"][place]) for trainer in trainers]
            if all(states):
                made.state[weight] = {
                    name: _joined([state[name] for state in states], weight)  # type: ignore[index]
                    for name in states[0]  # type: ignore[union-attr]
                }
        return made

    # Steps

    def step(self) -> None:
        """Every phase once, for all seeds, on the next minibatch of each."""
        with float32_products(self.trainers[0].precision):
            self._step()

    def _step(self) -> None:
        index = self.order.index_select(1, self.position)[:, 0]
        images = {"x": self.trainers[0].data.x[index], "y": self.y.gather(1, index)}
        if self.labeled_order is not None:
            chosen = self.labeled_order.index_select(1, self.position)[:, 0]
            if isinstance(self.labeled_x, list):
                images["labeled_x"] = torch.stack(
                    [x[one] for x, one in zip(self.labeled_x, chosen, strict=True)]
                )
            else:
                images["labeled_x"] = self.labeled_x[chosen]
            images["labeled_y"] = self.labeled_y.gather(1, chosen)
        shared: dict[str, Any] = {}
        for phase, optimizer, updated in zip(self.phases, self.optimizers, self.updated, strict=True):
            terms, shared = self._terms(phase, images, shared)
            weights = [self.weights[name] for name in updated]
            loss = torch.stack(list(terms.values())).sum()
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = None if gradient is None else _laid_out_as(weight, gradient)
            optimizer.step()
            for name, term in terms.items():
                if name not in self.totals:
                    self.totals[name] = torch.zeros_like(term)
                self.totals[name].add_(term.detach())
        self.position.add_(1)
        self.progress.add_(1 / self.trainers[0].all_steps)

    def _terms(
        self, phase: Phase, images: dict[str, Tensor], shared: dict[str, Any]
    ) -> tuple[Terms, dict[str, Any]]:
        """Loss terms of a phase, `(S,)` each, and what it leaves for the next phases of the step."""
        noise, progress = self.trainers[0].noise, self.progress.float()

        def of_one(
            weights: dict[str, Tensor],
            buffers: dict[str, Tensor],
            images: dict[str, Tensor],
            shared: dict[str, Any],
        ) -> tuple[Terms, dict[str, Any]]:
            batch = Batch(**images, generator=noise, progress=progress)
            batch.shared.update(shared)
            lent = {f"model.{name}": value for name, value in (weights | buffers).items()}
            half = self.trainers[0].precision == "bfloat16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                terms: Terms = functional_call(self.mold, lent, (phase, batch))
            return terms, dict(batch.shared)

        result: tuple[Terms, dict[str, Any]] = vmap(of_one, randomness="different")(
            self.weights, self.buffers, images, shared
        )
        return result

    def advance(self) -> None:
        """Queue the next steps; at the end of an epoch wait for them where the epoch is to be judged."""
        trainer = self.trainers[0]
        with self._on_stream():
            if not self._done:
                self._begin_epoch()
            count = min(CHUNK, trainer.steps_per_epoch - self._done)
            for _ in range(count):
                self._next_step()
            self._done += count
            if self.cuda:
                event = torch.cuda.Event()
                event.record(self.stream)
                self._events.append(event)
            if self._done == trainer.steps_per_epoch:
                self._end_epoch()

    def _next_step(self) -> None:
        if not self.cuda or self._warm < WARM_UP:
            self.step()
            self._warm += 1
        else:
            if self._graph is None:
                self._capture()
            assert self._graph is not None
            self._graph.replay()
        for trainer in self.trainers:
            trainer.steps += 1
        if self.settings.averaging and self.steps % AVERAGING_INTERVAL == 0:
            self._average()

    def _capture(self) -> None:
        """Record a step as a graph; recording runs nothing."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.trainers[0].noise)
        assert self.stream is not None
        self.stream.synchronize()
        # not torch.cuda.graph, which would make all other stacks wait, too
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            self.step()
        finally:
            graph.capture_end()
        self._graph = graph

    @torch.no_grad()
    def _average(self) -> None:
        if not self.averaged:
            self.averaged = {name: weight.detach().clone() for name, weight in self.weights.items()}
            return
        move = get_ema_multi_avg_fn(self.settings.averaging)
        move(list(self.averaged.values()), list(self.weights.values()), 0)

    # Epochs

    @property
    def steps(self) -> int:
        """Steps that the trainers have behind them."""
        return self.trainers[0].steps

    @property
    def finished(self) -> bool:
        """Whether the last epoch is over, or the training has failed."""
        return bool(self.failures or self.broken) or self.trainers[0].epoch >= self.settings.epochs

    @property
    def ready(self) -> bool:
        """Whether more steps should be queued; an epoch that is to be judged waits until it has run."""
        self._events = [event for event in self._events if not event.query()]
        last = self._done + CHUNK >= self.trainers[0].steps_per_epoch
        return len(self._events) < (1 if last and self._judged else QUEUED)

    @property
    def _judged(self) -> bool:
        epoch = self.trainers[0].epoch + 1
        return epoch % self.every == 0 or epoch == self.settings.epochs

    def _begin_epoch(self) -> None:
        if self._started is None:  # a stack may wait for a place before its first step
            self._started = time.perf_counter()
        size = self.settings.batch_size
        for row, trainer in enumerate(self.trainers):
            steps = trainer.steps_per_epoch
            drawn = shuffled(len(trainer.data), steps * size, trainer.order)
            self.order[row] = drawn.view(steps, size)
            labeled = trainer.labeled_order(steps)
            if labeled is not None and self.labeled_order is not None:
                self.labeled_order[row] = labeled
        self.position.zero_()
        for total in self.totals.values():
            total.zero_()

    def _end_epoch(self) -> None:
        """Let the trainers know; where the epoch is judged, with what the monitors see."""
        self._done = 0
        first = self.trainers[0]
        means = {name: total / first.steps_per_epoch for name, total in self.totals.items()}
        judged = self._judged
        if judged:
            self.scatter(optimizers=False)
        now = time.perf_counter()
        seconds, self._started = now - (self._started or now), now
        for place, (trainer, monitor) in enumerate(zip(self.trainers, self.monitors, strict=True)):
            row: dict[str, Any] = {"epoch": trainer.epoch + 1.0}
            row |= {name: mean[place] for name, mean in means.items()}
            row |= {"seconds": seconds, "images_per_second": self._images_per_second(seconds)}
            if judged:
                row = _on_host(row)
                trainer.history[:] = [_on_host(earlier) for earlier in trainer.history]
                try:
                    _require_finite(trainer, row, list(means))
                    row |= monitor(trainer.result.eval())
                except TrainingDiverged as error:
                    self.failures[place] = str(error)
                    continue
                except NotFinite:
                    self.failures[place] = WILD
                    continue
            trainer.history.append(row)
            with warnings.catch_warnings():
                # torch looks for a step of the optimizer, but the stack's own has made it
                warnings.simplefilter("ignore", UserWarning)
                for schedule in trainer.schedules:
                    schedule.step()
        if self.failures:
            return
        for mine, theirs in zip(self.optimizers, first.optimizers, strict=True):
            mine.param_groups[0]["lr"].fill_(theirs.param_groups[0]["lr"])
        if judged and self.keep is not None:
            self.keep()

    def _images_per_second(self, seconds: float) -> float:
        return self.trainers[0].steps_per_epoch * self.settings.batch_size / seconds

    @torch.no_grad()
    def scatter(self, optimizers: bool = True) -> None:
        """Give weights and averages back to the trainers, with `optimizers` all that they go on from."""
        with self._on_stream():
            for place, trainer in enumerate(self.trainers):
                if self.averaged and trainer.averaged is None:
                    trainer.averaged = copy.deepcopy(trainer.model)
                _give(trainer.model, self.weights | self.buffers, place)
                if trainer.averaged is not None:
                    _give(trainer.averaged, self.averaged, place)
                for mine, theirs in zip(self.optimizers, trainer.optimizers, strict=True):
                    pairs = zip(mine.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True)
                    for stacked, weight in pairs if optimizers else ():
                        theirs.state[weight] = {
                            name: _part(value, place) for name, value in mine.state[stacked].items()
                        }
        if self.stream is not None:  # who reads the trainers now does it on another stream
            self.stream.synchronize()

    def _on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.cuda else nullcontext()


def _require_finite(trainer: Trainer, row: dict[str, Any], losses: Sequence[str]) -> None:
    """TrainingDiverged names the first epoch with a loss that is not finite; the history ends before it."""
    for place, epoch in enumerate([*trainer.history, row]):
        try:
            trainer.require_finite({name: epoch[name] for name in losses}, int(epoch["epoch"]))
        except TrainingDiverged:
            del trainer.history[place:]
            raise


def _kind(trainer: Trainer) -> tuple[Any, ...]:
    """What the trainers of a stack have in common."""
    shapes = [(name, value.shape) for name, value in trainer.model.state_dict().items()]
    recipe = trainer.notes.get("recipe")
    return (type(trainer.model), shapes, recipe, trainer.settings, trainer.epoch, id(trainer.data.x))


def train_together(stacks: Iterable[Stack | None], at_once: int = AT_ONCE) -> Iterator[Stack]:
    """Train stacks side by side, so many at once; each is returned as it finishes.

    They are taken from `stacks` when their turn comes; None says that the next one is not there yet.
    """
    waiting, running = iter(stacks), list[Stack]()
    ended, pause = False, 0.0
    while running or not ended:
        if not ended and len(running) < at_once and time.monotonic() >= pause:
            try:
                fresh = next(waiting)
            except StopIteration:
                ended = True
            else:
                if fresh is None:
                    pause = time.monotonic() + PAUSE
                else:
                    running.append(fresh)
        moved = False
        for stack in list(running):
            if stack.finished:
                running.remove(stack)
                yield stack
            elif stack.ready:
                moved = True
                try:
                    stack.advance()
                except torch.OutOfMemoryError:
                    stack.broken = "There is not enough memory on the device: train fewer seeds at once."
                except Exception as error:  # one stack must not stop the others
                    stack.broken = in_one_line(error)
        if not moved:
            time.sleep(0.0005)


def _stacked(models: Sequence[nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of equal models, `(S, ...)` each."""
    weights, buffers = stack_module_state(list(models))
    return {name: _transposed_in_memory(weight) for name, weight in weights.items()}, buffers


def _transposed_in_memory(weight: Tensor) -> Tensor:
    """A stack of matrices with their columns, not their rows, in one piece: as their gradients come."""
    if weight.dim() != 3:
        return weight
    laid_out = weight.detach().mT.contiguous().mT
    return laid_out.requires_grad_(weight.requires_grad)


def _laid_out_as(weight: Tensor, value: Tensor) -> Tensor:
    """The same values, in memory as the weight is: fused optimizers look at nothing else."""
    return value if value.stride() == weight.stride() else torch.empty_like(weight).copy_(value)


def _joined(values: Sequence[Any], weight: Tensor) -> Any:
    """The states of several optimizers as that of one; a count of steps is the same for all."""
    first = values[0]
    if not isinstance(first, Tensor):
        return first
    return first.clone() if first.dim() == 0 else _laid_out_as(weight, torch.stack(list(values)))


def _part(value: Any, place: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    # in memory row by row, as the trainer's own weights are
    return value.clone() if value.dim() == 0 else value[place].clone(memory_format=torch.contiguous_format)


def _give(model: nn.Module, stacked: dict[str, Tensor], place: int) -> None:
    state = model.state_dict()
    for name, value in stacked.items():
        state[name].copy_(value[place])


def _on_host(row: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) for name, value in row.items()}
