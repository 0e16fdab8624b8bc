"""Many runs at once: each in a process of its own on this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import torch
from tqdm import tqdm

from aae_utils.checkpoints import save_checkpoint
from aae_utils.data import DataSettings, LearningSplits, load_learning_splits
from aae_utils.errors import in_one_line
from aae_utils.recipes import Recipe
from aae_utils.reproduction import (
    best_device,
    make_monitor,
    make_trainer,
    note_part,
    only_process,
    resume,
    train_recipe,
    work_folder,
)
from aae_utils.runs import run_folder, run_name
from aae_utils.stacking import Stack, train_together
from aae_utils.training import Trainer
from aae_utils.variants import get_recipe, stages_before

Status = Literal["trained", "there already", "failed"]

ATTEMPTS = 3
CONNECT_SECONDS = 10
WORKER_SECONDS = 60  # workers import PyTorch first
# A process trains one run at a time, with one thread: what it computes may not depend on its neighbors.
_ONE_RUN = threading.Lock()


@dataclass(frozen=True)
class Job:
    """One run to be made; `root` is a folder that every process can write to."""

    recipe: Recipe
    seed: int
    root: Path
    device: str | None = None
    checkpoint_seconds: float = 60.0

    @property
    def place(self) -> Path:
        """Where the finished run will lie."""
        return run_folder(self.recipe, self.seed, self.root)

    @property
    def name(self) -> str:
        """For people: recipe, setting and seed."""
        return run_name(self.recipe, self.seed)

    @property
    def runs(self) -> Path:
        """The folder of the runs that it may start from."""
        return self.root

    @property
    def stackable(self) -> bool:
        """Whether a stack of several seeds can train it: they must see the same images, and no film."""
        return not self.recipe.film and not self.recipe.model.only_labeled_images

    @property
    def folder(self) -> Path:
        """What its lock and its folder of checkpoints are named after."""
        return self.place

    @property
    def work(self) -> Path:
        """Where its checkpoints lie while it is trained."""
        return work_folder(self.folder)

    def trainer(self, splits: LearningSplits, device: torch.device) -> Trainer:
        """A trainer that goes on from the newest checkpoint, if there is one."""
        trainer = make_trainer(self.recipe, splits, self.seed, device, self.root)
        resume(trainer, self.work)
        return trainer

    def fail(self, trainer: Trainer, why: str) -> None:
        """Take the checkpoints of a training away that failed: continued, it would fail again."""
        shutil.rmtree(self.work, ignore_errors=True)

    def make(self, wait: bool = False) -> tuple[float, dict[str, float]]:
        """Train the run, or find it finished: its seconds and results.

        With `wait`, another process that is training it is waited for.
        """
        run = train_recipe(
            self.recipe,
            self.seed,
            self.root,
            self.device,
            progress=False,
            checkpoint_seconds=self.checkpoint_seconds,
            wait=wait,
        )
        return run.seconds, run.results


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the seconds and results of its run, or in a sentence why there is none."""

    job: Job
    status: Status
    seconds: float = 0.0
    results: dict[str, float] = field(default_factory=dict)
    message: str = ""


def run_job(job: Job, wait: bool = False) -> Outcome:
    """Train a job on one thread, or find its run finished; whatever goes wrong becomes a failed outcome.

    With `wait`, a run that another process is training is waited for.
    """
    with _ONE_RUN:
        torch.set_num_threads(1)
        status: Status = "there already" if job.place.exists() else "trained"
        try:
            seconds, results = job.make(wait)
        except Exception as error:  # one run must not stop the others
            return Outcome(job, "failed", message=in_one_line(error))
        return Outcome(job, status, seconds, results)


def stages(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs that start from random weights, then those that start from their runs, and so on."""
    by_depth: dict[int, list[Job]] = {}
    for job in jobs:
        by_depth.setdefault(len(stages_before(job.recipe)), []).append(job)
    return [by_depth[depth] for depth in sorted(by_depth)]


def first_stages(recipe: Recipe, seed: int) -> list[tuple[Recipe, int]]:
    """The recipes and seeds whose runs a recipe with this seed starts from, the earliest first."""
    if recipe.start is None:
        return []
    first = get_recipe(recipe.start.recipe, recipe.setting)
    return [*first_stages(first, seed), (first, seed)]


# ------------------------------------------------------------------------------ one machine


def run_here(jobs: Sequence[Job], processes: int) -> Generator[Outcome]:
    """Run jobs on this machine, so many at once, each in a process of its own; outcomes as they come.

    A run whose process is killed is tried again from its newest checkpoint. When the iteration ends early, or
    this process dies, the processes end, too.
    """
    with _processes(processes) as submit:
        for future in as_completed([submit(job) for job in jobs]):
            yield future.result()


@contextmanager
def _processes(count: int) -> Iterator[Callable[[Job], Future[Outcome]]]:
    """Runs each job in a process of its own, so many at once; they end with the block."""
    resource_tracker.ensure_running()  # its start would let interrupts through again in a thread
    lifeline, held = multiprocessing.Pipe(duplex=False)
    stopped = threading.Event()
    with ThreadPoolExecutor(count, initializer=_leave_interrupts_alone) as threads:
        try:
            yield lambda job: threads.submit(_in_own_process, job, lifeline, stopped)
        finally:
            stopped.set()
            held.close()
            threads.shutdown(cancel_futures=True)
            lifeline.close()


def _leave_interrupts_alone() -> None:
    """Ctrl-C is for the command, which ends its processes itself; they inherit what their thread blocks."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _in_own_process(job: Job, lifeline: Connection, stopped: threading.Event) -> Outcome:
    for _ in range(ATTEMPTS):
        if stopped.is_set():
            break
        try:
            with ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), _end_with_parent, (lifeline,)
            ) as pool:
                return pool.submit(run_job, job).result()
        except BrokenProcessPool:
            continue
    why = "was stopped" if stopped.is_set() else f"was killed {ATTEMPTS} times: is there enough memory?"
    return Outcome(job, "failed", message=f"Its process {why}")


def _end_with_parent(lifeline: Connection) -> None:
    """Watch the pipe that the parent holds open: it closes when the parent wants us to end, or is dead."""
    # a bar's own lock is shared between processes, and Python complains of it when one ends like this
    tqdm.set_lock(threading.RLock())

    def watch() -> None:
        try:
            lifeline.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# ------------------------------------------------------------------------------ one GPU


def run_stacked(jobs: Sequence[Job], processes: int, every: int = 5) -> Generator[Outcome]:
    """Train jobs on a GPU side by side, the seeds of each recipe as one stack; outcomes as stacks end.

    Validation numbers are taken in every fifth epoch and in the last one. What is trained is measured and
    stored by processes as in `run_here`, so many at once. Jobs that no stack can train, and those that are
    finished, go there whole. A stack waits for the stacks of the same call that it starts from.
    """
    stackable = [job for job in jobs if job.stackable and not job.place.exists()]
    open_places = {job.place for job in stackable}
    trained: dict[Stack, list[tuple[Job, Trainer]]] = {}
    unfit: list[Outcome] = []
    locks: dict[Path, ExitStack] = {}

    def fail(group: Sequence[Job], message: str) -> None:
        unfit.extend(Outcome(job, "failed", message=message) for job in group)
        open_places.difference_update(job.place for job in group)

    def blocked(job: Job) -> bool:
        """Whether a run that the job starts from is still to come."""
        firsts = first_stages(job.recipe, job.seed)
        return any(run_folder(*first, job.runs) in open_places for first in firsts)

    def stacks() -> Iterator[Stack | None]:
        seen: dict[DataSettings, LearningSplits] = {}
        waiting = _groups(stackable)
        while waiting:
            group = next((group for group in waiting if not any(map(blocked, group))), None)
            if group is None:
                yield None
                continue
            waiting.remove(group)
            made: list[tuple[Job, Trainer]] = []
            for job in group:  # one that cannot begin must not stop the others
                try:
                    made.append((job, _trainer(job, seen, locks)))
                except (ValueError, RuntimeError, OSError) as error:
                    _release([job], locks)
                    fail([job], in_one_line(error))
            try:
                fresh = _stacks(made, seen, every)
            except (ValueError, RuntimeError) as error:
                _release([job for job, _ in made], locks)
                fail([job for job, _ in made], in_one_line(error))
                continue
            trained.update(fresh)
            yield from fresh

    with _processes(processes) as submit:

        def finish(job: Job) -> Future[Outcome]:
            future = submit(job)
            future.add_done_callback(lambda _: open_places.discard(job.place))
            return future

        finishing = {finish(job) for job in jobs if job not in stackable}
        for stack in train_together(stacks()):
            part = trained.pop(stack)
            if not stack.broken and len(stack.failures) < len(part):
                try:
                    stack.scatter(optimizers=bool(stack.failures))
                except RuntimeError as error:  # a device that has failed stops no other stack
                    stack.broken = in_one_line(error)
            if stack.broken:  # no fault of the training: its checkpoints stay, and nothing is recorded
                _release([job for job, _ in part], locks)
                fail([job for job, _ in part], stack.broken)
                continue
            for place, (job, trainer) in enumerate(part):
                if place in stack.failures:
                    fail([job], _failed(job, trainer, stack.failures[place]))
                    saved = False
                else:
                    saved = _saved(job, trainer)
                    if not saved:
                        remedy = "free some space or memory"
                        fail([job], f"Its weights could not be written to {job.work}: {remedy}.")
                _release([job], locks)  # not before: until here what lies in its folder is this process's
                if saved:  # to be measured and stored, or, after the failure of another seed, to go on alone
                    finishing.add(finish(job))
            ended = {future for future in finishing if future.done()}
            finishing -= ended
            yield from (future.result() for future in ended)
        yield from unfit
        for future in as_completed(finishing):
            yield future.result()


def _saved(job: Job, trainer: Trainer) -> bool:
    """Whether a checkpoint is on the disk; a device that has failed is a warning, too."""
    try:
        return save_checkpoint(job.work, trainer.state_dict())
    except RuntimeError as error:
        warnings.warn(in_one_line(error), stacklevel=2)
        return False


def _failed(job: Job, trainer: Trainer, why: str) -> str:
    """Record that a training failed; what to say of it, and of a record that cannot be written."""
    try:
        job.fail(trainer, why)
    except (ValueError, OSError) as error:
        return f"{why} {in_one_line(error)}"
    return why


def _trainer(job: Job, seen: dict[DataSettings, LearningSplits], locks: dict[Path, ExitStack]) -> Trainer:
    """A job's trainer, under its lock; trainers on the same images share them in the device's memory."""
    device, data = torch.device(job.device or best_device()), job.recipe.data
    if data not in seen:
        seen[data] = load_learning_splits(data, device)
    locks[job.place] = ExitStack()
    locks[job.place].enter_context(only_process(job.folder, wait=False))
    trainer = job.trainer(seen[data], device)
    note_part(trainer)
    return trainer


def _release(group: Sequence[Job], locks: dict[Path, ExitStack]) -> None:
    for job in group:
        locks.pop(job.place, ExitStack()).close()


def _stacks(
    made: Sequence[tuple[Job, Trainer]], seen: dict[DataSettings, LearningSplits], every: int
) -> dict[Stack, list[tuple[Job, Trainer]]]:
    """The stacks of a group, with their jobs: one, unless a stop has left its seeds at different epochs."""
    stacks = {}
    for part in _at_the_same_epoch(made):
        monitors = [make_monitor(job.recipe, seen[job.recipe.data].validation) for job, _ in part]
        stack = Stack([trainer for _, trainer in part], monitors, every)
        stack.keep = _Checkpoints(stack, part)
        stacks[stack] = part
    return stacks


def _at_the_same_epoch(made: Sequence[tuple[Job, Trainer]]) -> list[list[tuple[Job, Trainer]]]:
    """The trainers that can go on together: a stop may have left them at different epochs."""
    parts: dict[int, list[tuple[Job, Trainer]]] = {}
    for job, trainer in made:
        parts.setdefault(trainer.epoch, []).append((job, trainer))
    return list(parts.values())


class _Checkpoints:
    """Saves the trainers of a stack from time to time."""

    def __init__(self, stack: Stack, part: Sequence[tuple[Job, Trainer]]) -> None:
        self.stack, self.part = stack, part
        self.saved = time.monotonic()

    def __call__(self) -> None:
        """Save them if the last time is long enough ago."""
        if self.stack.finished or time.monotonic() - self.saved < self.part[0][0].checkpoint_seconds:
            return
        self.stack.scatter()
        for job, trainer in self.part:
            save_checkpoint(job.work, trainer.state_dict())
        self.saved = time.monotonic()


def _groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs that differ in nothing but their seed, together."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(repr(replace(job, seed=0)), []).append(job)
    return list(groups.values())


# ------------------------------------------------------------------------------ a Dask cluster


def run_on_cluster(jobs: Sequence[Job], address: str) -> Generator[Outcome]:
    """Run jobs on the workers of a Dask scheduler that see the same folders; outcomes as they come.

    The run of a worker that dies goes to another one, which waits for the run's lock and continues from the
    newest checkpoint. ValueError when Dask is not installed, nobody answers, there is no worker, or one has
    several threads.
    """
    distributed = _distributed()
    with _connect(distributed, address) as client:
        _require_workers(client, address)
        futures = {
            client.submit(run_job, job, True, pure=False, key=f"{job.name}-{uuid4().hex}"): job
            for job in jobs
        }
        try:
            for future in distributed.as_completed(futures):
                yield _gathered(future, futures[future])
        finally:
            client.cancel(list(futures))


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ValueError(
            "Runs on a cluster need Dask: install it with `pip install 'aae_utils[cluster]'`, or leave out"
            " --scheduler."
        ) from None
    for name in ("distributed", "distributed.client"):  # a scheduler that is gone is one sentence of ours
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


def _connect(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(
            f"No Dask scheduler answers at {address!r}: start one with `dask scheduler` and give the address"
            " that it prints, such as tcp://127.0.0.1:8786."
        ) from error


def _require_workers(client: Any, address: str) -> None:
    """There are workers, and each has one thread; those that are just starting are waited for."""
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError:
        raise ValueError(
            f"The scheduler at {address} has no workers: start some with"
            f" `dask worker {address} --nthreads 1 --nworkers N`."
        ) from None
    crowded = [worker for worker, threads in client.nthreads().items() if threads > 1]
    if crowded:
        raise ValueError(
            f"The worker {crowded[0]} has several threads, and a run takes a process: start the workers"
            " with `dask worker ADDRESS --nthreads 1 --nworkers N`."
        )


def _gathered(future: Any, job: Job) -> Outcome:
    try:
        outcome: Outcome = future.result()
    except CancelledError:
        return Outcome(
            job,
            "failed",
            message="The Dask scheduler is gone: start it again, then give the same command to continue.",
        )
    except Exception as error:  # among others KilledWorker: this run took several workers with it
        return Outcome(job, "failed", message=in_one_line(error))
    if outcome.status != "failed" and not job.place.exists():
        return Outcome(
            job, "failed", message=f"It was trained, but {job.place} is not here: give a shared --root."
        )
    return outcome
