from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path

import pandas as pd
import pytest
import torch

from aae_utils import reproduction, scheduling, stacking, variants
from aae_utils.checkpoints import CHECKPOINT
from aae_utils.errors import in_one_line
from aae_utils.recipes import SETTINGS, Recipe, Start, shrink
from aae_utils.runs import WEIGHTS, RunError, load_run
from aae_utils.scheduling import (
    Job,
    first_stages,
    run_here,
    run_job,
    run_on_cluster,
    run_stacked,
    stages,
)
from aae_utils.stacking import Stack
from aae_utils.training import Rates, Trainer, TrainingDiverged
from aae_utils.variants import get_recipe

REPOSITORY = Path(__file__).resolve().parents[1]
LONG = 60  # epochs: about a second, so that a process can be killed in the middle


def job(root: Path, seed: int = 0, epochs: int = 1, **training: int) -> Job:
    """A small run of the baseline that writes a checkpoint after each epoch."""
    recipe = shrink(get_recipe("baseline-100"), epochs=epochs)
    recipe = replace(recipe, training=replace(recipe.training, **training))
    return Job(recipe, seed, root, "cpu", checkpoint_seconds=0)


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> object:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
    return found


def checkpoint(one: Job) -> Path:
    return one.place.with_name(one.place.name + ".partial") / CHECKPOINT


def rows_so_far(one: Job) -> pd.DataFrame:
    """What a run in the making has stored; the newest checkpoint may be just changing its name."""

    def read() -> list | None:
        try:
            return torch.load(checkpoint(one), weights_only=True)["history"]
        except FileNotFoundError:
            return None

    return pd.DataFrame(wait_for(read))


def history(one: Job) -> pd.DataFrame:
    return pd.read_csv(one.place / "metrics.csv")


def assert_continued(one: Job, before: pd.DataFrame) -> None:
    """The seconds of the epochs before the kill are still there: they were not trained again."""
    whole = history(one)
    assert whole["epoch"].to_list() == list(range(1, LONG + 1))
    assert 0 < len(before) < LONG
    assert whole["seconds"][: len(before)].to_list() == pytest.approx(before["seconds"].to_list(), rel=1e-4)


# ------------------------------------------------------------------------------ one run


def test_a_job_is_trained_and_then_found(mnist_files, tmp_path):
    first, second = (run_job(job(tmp_path)) for _ in range(2))
    assert (first.status, second.status) == ("trained", "there already")
    assert first.results == second.results == {"error": first.results["error"]}
    assert [part.threads for part in load_run(job(tmp_path).place).parts] == [1]


def test_a_failed_job_is_an_outcome(mnist_files, tmp_path, monkeypatch):
    outcome = run_job(job(tmp_path, batch_size=1000))
    assert outcome.status == "failed"
    assert outcome.message.startswith("The minibatch (1000) is larger than the training set")

    def broken(*_: object, **__: object) -> None:
        raise KeyError("z")

    monkeypatch.setattr(scheduling, "train_recipe", broken)
    assert run_job(job(tmp_path)).message == "KeyError: 'z'"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_one_sentence(error):
    assert in_one_line(error).startswith("There is not enough memory: run fewer jobs")
    assert in_one_line(RuntimeError("else")) == "RuntimeError: else"


def test_a_run_that_starts_from_another_comes_after_it(tmp_path):
    first, second = job(tmp_path, 0), job(tmp_path, 1)
    later = replace(first, recipe=replace(first.recipe, name="later", start=Start("baseline-100")))
    assert stages([later, first, second]) == [[first, second], [later]]
    assert stages([later]) == [[later]]
    assert stages([]) == []


@pytest.fixture
def chain(monkeypatch) -> list[str]:
    """Made-up recipes: wide, middle from a wide one, narrow and a map from a middle one."""
    networks, layers = ("encoder", "decoder"), ("encoder.hidden", "encoder.label")
    made = {
        "wide": ("clustering-30", None),
        "middle": ("clustering-30", Start("wide", networks)),
        "narrow": ("clustering-16", Start("middle", networks)),
        "map": ("reduction-unsupervised", Start("middle", layers)),
    }
    for name, (like, start) in made.items():
        pair = tuple(replace(get_recipe(like, setting), name=name, start=start) for setting in SETTINGS)
        monkeypatch.setitem(variants._RECIPES, name, pair)
    return list(made)


def test_runs_are_staged_by_how_many_must_come_before(chain, tmp_path):
    one, two, three, four = (Job(get_recipe(name), 0, tmp_path) for name in chain)
    assert stages([four, three, two, one]) == [[one], [two], [four, three]]
    assert stages([two, four]) == [[two], [four]]


def test_first_stages_are_all_runs_that_a_run_stands_on_the_earliest_first(chain):
    wide, middle = get_recipe("wide"), get_recipe("middle")
    assert first_stages(wide, 2) == []
    assert first_stages(middle, 2) == [(wide, 2)]
    assert first_stages(get_recipe("narrow"), 2) == [(wide, 2), (middle, 2)]
    paper = first_stages(get_recipe("map", "paper"), 1)
    assert {recipe.setting for recipe, _ in paper} == {"paper"} and len(paper) == 2
    assert first_stages(get_recipe("reduction-1000"), 3) == [(get_recipe("semi-supervised-1000"), 3)]


def test_a_run_that_another_process_trains_is_refused_or_waited_for(mnist_files, tmp_path, monkeypatch):
    """A worker may be believed dead and live on: its run is then given out twice, but trained once."""
    recipe: Recipe = job(tmp_path).recipe
    fit, began, goes_on, trained = reproduction.fit, threading.Event(), threading.Event(), []

    def slow(*arguments):
        began.set()
        assert goes_on.wait(60)
        trained.append(1)
        return fit(*arguments)

    monkeypatch.setattr(reproduction, "fit", slow)
    runs: list = []

    def make() -> None:
        runs.append(reproduction.train_recipe(recipe, 0, tmp_path, "cpu", progress=False, wait=True))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert began.wait(60)
    with pytest.raises(RunError, match="Another process is training"):
        reproduction.train_recipe(recipe, 0, tmp_path, "cpu", progress=False)
    goes_on.set()
    for thread in threads:
        thread.join(60)
    assert len(runs) == 2
    assert runs[0].results == runs[1].results
    assert trained == [1]


# ------------------------------------------------------------------------------ one machine


def test_a_killed_run_continues(tmp_path):
    one, rows = job(tmp_path, 0, LONG), []

    def kill() -> None:
        wait_for(lambda: checkpoint(one).exists())
        rows.append(rows_so_far(one))
        (child,) = multiprocessing.active_children()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    (outcome,) = run_here([one], 2)
    killer.join()
    assert outcome.status == "trained"
    assert_continued(one, rows[0])
    assert not multiprocessing.active_children()


class Process:
    """In place of a pool of one process: what is submitted is done at once, in the calling thread."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable, *arguments: object) -> Future:
        future: Future = Future()
        future.set_result(function(*arguments))
        return future


def test_a_failed_run_stops_no_other(mnist_files, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "ProcessPoolExecutor", Process)
    jobs = [job(tmp_path, 0, batch_size=1000), job(tmp_path, 1), job(tmp_path, 2)]
    outcomes = {outcome.job.seed: outcome for outcome in run_here(jobs, 2)}
    assert {seed: outcome.status for seed, outcome in outcomes.items()} == {
        0: "failed",
        1: "trained",
        2: "trained",
    }
    assert "larger than the training set" in outcomes[0].message


def test_a_run_that_always_dies_is_given_up(monkeypatch, tmp_path):
    attempts = []

    class Dying(Process):
        def submit(self, *_: object) -> Future:
            attempts.append(1)
            raise scheduling.BrokenProcessPool

    monkeypatch.setattr(scheduling, "ProcessPoolExecutor", Dying)
    (outcome,) = run_here([job(tmp_path)], 2)
    assert outcome.status == "failed"
    assert "was killed 3 times" in outcome.message
    assert len(attempts) == scheduling.ATTEMPTS


def test_processes_are_started_where_interrupts_are_blocked(monkeypatch, tmp_path):
    """Else Ctrl-C on a terminal would tear a process out of its imports, with a traceback."""
    blocked = []

    class Starting(Process):
        def submit(self, *_: object) -> Future:
            resource_tracker.ensure_running()  # as the start of a process does
            blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
            raise RuntimeError

    monkeypatch.setattr(scheduling, "ProcessPoolExecutor", Starting)
    with pytest.raises(RuntimeError):
        list(run_here([job(tmp_path)], 1))
    assert signal.SIGINT in blocked[0]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


# ------------------------------------------------------------------------------ stacks


@pytest.fixture
def in_this_process(monkeypatch, mnist_files, one_thread) -> None:
    """What is stored after a stack is stored here; what starts may be shrunk."""
    monkeypatch.setattr(scheduling, "ProcessPoolExecutor", Process)
    monkeypatch.setattr(reproduction, "deviation", lambda run: "")
    monkeypatch.setattr(stacking, "PAUSE", 0.0)


def stackable(root: Path, seed: int = 0, name: str = "clustering-30", **training: object) -> Job:
    recipe = shrink(get_recipe(name), epochs=2)
    changed = {"precision": "float32", "drops": ()} | training
    recipe = replace(recipe, training=replace(recipe.training, **changed))
    return Job(recipe, seed, root, "cpu", checkpoint_seconds=0)


def statuses(outcomes: Iterator[scheduling.Outcome]) -> dict[str, str]:
    return {outcome.job.name: outcome.status for outcome in outcomes}


def test_stacked_jobs_have_the_outcomes_of_jobs_in_processes(in_this_process, tmp_path):
    def jobs(root: Path) -> list[Job]:
        return [
            stackable(root, 0),
            stackable(root, 1),
            job(root),
            stackable(root, 3, "semi-supervised-100", batch_size=1000),
        ]

    here = {o.job.name: o for o in run_here(jobs(tmp_path / "here"), 1)}
    stacked = {o.job.name: o for o in run_stacked(jobs(tmp_path / "stacked"), 2)}
    assert {name: o.status for name, o in stacked.items()} == {name: o.status for name, o in here.items()}
    assert {name: o.message for name, o in stacked.items()} == {name: o.message for name, o in here.items()}
    assert {name: set(o.results) for name, o in stacked.items()} == {
        name: set(o.results) for name, o in here.items()
    }
    assert sorted(o.status for o in stacked.values()) == ["failed", "trained", "trained", "trained"]
    for name, outcome in stacked.items():
        if outcome.status == "trained":
            run, alone = load_run(outcome.job.place), load_run(here[name].job.place)
            # somebody may commit between the two trainings
            parts, expected = ([replace(part, commit="") for part in one.parts] for one in (run, alone))
            assert parts == expected
            assert outcome.seconds == run.seconds
            assert list(run.history()) == list(alone.history())
    assert not list((tmp_path / "stacked").rglob("*.partial"))


def test_validation_numbers_of_stacked_jobs_are_taken_now_and_then(in_this_process, tmp_path):
    one = stackable(tmp_path, epochs=5)
    assert statuses(run_stacked([one], 1, every=2)) == {one.name: "trained"}
    rows = history(one)
    assert rows["epoch"].to_list() == [1, 2, 3, 4, 5]
    assert rows["validation_error"].isna().to_list() == [True, False, True, False, False]
    assert not rows["reconstruction"].isna().any()


def test_the_first_seed_of_a_stack_is_the_run_that_it_would_be_alone(in_this_process, tmp_path):
    one, same = stackable(tmp_path / "stacked"), stackable(tmp_path / "alone")
    list(run_stacked([one], 1))
    run_job(same)
    weights, expected = (load_run(each.place).weights() for each in (one, same))
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-2, atol=1e-3)


def with_start(one: Job) -> Job:
    return replace(one, recipe=replace(one.recipe, start=get_recipe(one.recipe.name).start))


def test_a_stack_waits_for_the_runs_that_it_starts_from(in_this_process, chain, tmp_path):
    wide = stackable(tmp_path, 0, "wide")
    middle = with_start(stackable(tmp_path, 0, "middle"))
    last = [with_start(stackable(tmp_path, 0, "narrow")), with_start(stackable(tmp_path, 0, "map"))]
    jobs = [*last, middle, wide]
    assert statuses(run_stacked(jobs, 2)) == {one.name: "trained" for one in jobs}
    started = {one.name: load_run(one.place).description.start for one in jobs}
    assert started.pop(middle.name).run == wide.name
    assert [started.pop(one.name).run for one in last] == [middle.name] * 2
    assert set(started.values()) == {None}


def test_what_waits_for_a_run_that_fails_fails_in_one_sentence(in_this_process, tmp_path, monkeypatch):
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "none"))
    broken, sound = stackable(tmp_path, batch_size=1000), stackable(tmp_path, 0, "semi-supervised-100")
    later = with_start(stackable(tmp_path, 0, "clustering-16"))
    outcomes = {outcome.job: outcome for outcome in run_stacked([later, broken, sound], 1)}
    assert [outcomes[one].status for one in (later, broken, sound)] == ["failed", "failed", "trained"]
    assert "train it first with `aae train clustering-30 " in outcomes[later].message
    assert "\n" not in outcomes[later].message


def test_a_diverging_stack_fails_and_stops_no_other(in_this_process, tmp_path):
    broken = [stackable(tmp_path, seed, generator=Rates(1e30)) for seed in range(2)]
    sound = stackable(tmp_path, 0, "semi-supervised-100")
    outcomes = {outcome.job: outcome for outcome in run_stacked([*broken, sound], 1)}
    assert [outcomes[one].status for one in (*broken, sound)] == ["failed", "failed", "trained"]
    assert "is no longer finite" in outcomes[broken[1]].message
    assert not broken[0].place.exists()


def test_a_stack_that_fails_late_leaves_no_checkpoints(in_this_process, tmp_path, monkeypatch):
    """Continued from them, it would fail again."""
    jobs, there = [stackable(tmp_path, seed, epochs=3) for seed in range(2)], []
    require_finite = Trainer.require_finite

    def diverge(self: Trainer, losses: dict[str, float], epoch: int) -> None:
        if epoch == 3:
            there.extend(one for one in jobs if checkpoint(one).exists())
            raise TrainingDiverged("It broke.")
        require_finite(self, losses, epoch)

    monkeypatch.setattr(Trainer, "require_finite", diverge)
    outcomes = list(run_stacked(jobs, 1, every=1))
    assert [(outcome.status, outcome.message) for outcome in outcomes] == [("failed", "It broke.")] * 2
    assert there == 2 * jobs
    assert not list(tmp_path.rglob("*.partial"))


def results_of(jobs: list[Job]) -> list[tuple]:
    """Weights, numbers and history of finished runs, without the times."""
    found = []
    for one in jobs:
        run = load_run(one.place)
        rows = (
            run.history().drop(columns=["seconds", "images_per_second"]).fillna(-1.0)
        )  # no NaN equals another
        found.append(((run.folder / WEIGHTS).read_bytes(), run.results, rows.to_dict("list")))
    return found


def interrupt_stacks(epoch: int, monkeypatch) -> None:
    """Ctrl-C when a stack has that many epochs behind it."""
    advance = Stack.advance

    def interrupted(self: Stack) -> None:
        if self.trainers[0].epoch == epoch:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Stack, "advance", interrupted)


def epochs_of_stacks(monkeypatch) -> list[tuple[list[int], int]]:
    """Where the stacks that are made from here on begin: their seeds, and the epochs behind them."""
    begun: list[tuple[list[int], int]] = []

    class Noted(Stack):
        def __init__(self, trainers: list[Trainer], *rest: object) -> None:
            begun.append(([trainer.notes["seed"] for trainer in trainers], trainers[0].epoch))
            super().__init__(trainers, *rest)

    monkeypatch.setattr(scheduling, "Stack", Noted)
    return begun


def test_an_interrupted_stack_goes_on_to_the_same_result(in_this_process, tmp_path, monkeypatch):
    """Its judged epochs leave checkpoints: it is stopped after the fifth, and goes on from the fourth."""
    adam = {"epochs": 6, "reconstruction": Rates(1e-3, 0.9, "adam"), "drops": (3, 5)}

    def jobs(root: Path) -> list[Job]:
        return [stackable(root, seed, **adam) for seed in range(2)]

    whole, cut = jobs(tmp_path / "whole"), jobs(tmp_path / "cut")
    list(run_stacked(whole, 1, every=2))
    with monkeypatch.context() as patch:
        interrupt_stacks(5, patch)
        with pytest.raises(KeyboardInterrupt):
            list(run_stacked(cut, 1, every=2))
    assert [rows_so_far(one)["epoch"].to_list() for one in cut] == [[1, 2, 3, 4]] * 2
    begun = epochs_of_stacks(monkeypatch)
    assert set(statuses(run_stacked(cut, 1, every=2)).values()) == {"trained"}
    assert begun == [([0, 1], 4)]
    found = results_of(cut)
    assert found == results_of(whole)
    assert found[0][0] != found[1][0]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_seed_that_cannot_begin_stops_no_other_of_its_stack(in_this_process, tmp_path):
    held, free = stackable(tmp_path, 0), stackable(tmp_path, 1)
    with reproduction.only_process(held.folder, wait=False):
        outcomes = {outcome.job: outcome for outcome in run_stacked([held, free], 1)}
    assert [outcomes[one].status for one in (held, free)] == ["failed", "trained"]
    assert "Another process is training" in outcomes[held].message


def test_a_step_that_breaks_stops_no_other_stack(in_this_process, tmp_path, monkeypatch):
    broken, sound = stackable(tmp_path), stackable(tmp_path, 0, "semi-supervised-100")
    step = Stack.step

    def fail(self: Stack) -> None:
        if self.trainers[0].notes["recipe"]["name"] == broken.recipe.name:
            raise RuntimeError("CUDA error: misaligned address")
        step(self)

    monkeypatch.setattr(Stack, "step", fail)
    outcomes = {outcome.job: outcome for outcome in run_stacked([broken, sound], 1)}
    assert [outcomes[one].status for one in (broken, sound)] == ["failed", "trained"]
    assert outcomes[broken].message == "RuntimeError: CUDA error: misaligned address"


@pytest.mark.filterwarnings("ignore:No checkpoint was written")
def test_a_full_disk_at_the_end_of_a_stack_is_a_failure(in_this_process, tmp_path, monkeypatch):
    """Trained again alone, the seed would be another training than the one that ended."""
    one = stackable(tmp_path)
    monkeypatch.setattr(scheduling, "save_checkpoint", lambda *_: False)
    (outcome,) = run_stacked([one], 1)
    assert outcome.status == "failed"
    assert outcome.message.endswith(f"could not be written to {one.work}: free some space or memory.")
    assert not one.place.exists()


def test_a_failure_that_cannot_be_recorded_stops_no_other_stack(in_this_process, tmp_path, monkeypatch):
    broken, sound = stackable(tmp_path, generator=Rates(1e30)), stackable(tmp_path, 0, "semi-supervised-100")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Job, "fail", refuse)
    outcomes = {outcome.job: outcome for outcome in run_stacked([broken, sound], 1)}
    assert [outcomes[one].status for one in (broken, sound)] == ["failed", "trained"]
    assert "is no longer finite" in outcomes[broken].message
    assert "No space left on device" in outcomes[broken].message


def test_what_waits_beside_stacks_is_not_begun_after_a_stop(tmp_path, monkeypatch):
    begun = []

    def slowly(one: Job, *_: object) -> scheduling.Outcome:
        begun.append(one)
        time.sleep(0.2)
        return scheduling.Outcome(one, "trained")

    monkeypatch.setattr(scheduling, "_in_own_process", slowly)
    outcomes = run_stacked([job(tmp_path, seed) for seed in range(6)], 1)
    next(outcomes)
    outcomes.close()
    assert len(begun) < 4


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [1, 2, 3]), (60.0, [3])])
def test_checkpoints_of_a_stack_are_as_rare_as_asked_for(
    seconds, expected, in_this_process, tmp_path, monkeypatch
):
    saved, save = [], scheduling.save_checkpoint

    def noted(work: Path, state: dict) -> bool:
        saved.append(len(state["history"]))
        return save(work, state)

    monkeypatch.setattr(scheduling, "save_checkpoint", noted)
    one = replace(stackable(tmp_path, epochs=3), checkpoint_seconds=seconds)
    assert statuses(run_stacked([one], 1, every=1)) == {one.name: "trained"}
    assert saved == expected


def test_seeds_that_a_stop_left_at_different_epochs_are_trained_apart(in_this_process, tmp_path, monkeypatch):
    jobs = [stackable(tmp_path, seed) for seed in range(3)]
    run_epoch = Trainer.run_epoch

    def interrupted(self: Trainer, *arguments: object) -> dict[str, float]:
        if self.epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_job(jobs[1])
    begun = epochs_of_stacks(monkeypatch)
    assert set(statuses(run_stacked(jobs, 1)).values()) == {"trained"}
    assert sorted(begun) == [([0, 2], 0), ([1], 1)]
    assert [history(one)["epoch"].to_list() for one in jobs] == [[1, 2]] * 3


def test_finished_runs_are_found_by_a_stack_and_not_trained_again(in_this_process, tmp_path, monkeypatch):
    first, second = stackable(tmp_path), stackable(tmp_path, 1)
    run_job(first)
    stacked: list[int] = []
    note = scheduling.note_part
    monkeypatch.setattr(
        scheduling, "note_part", lambda trainer: stacked.append(trainer.notes["seed"]) or note(trainer)
    )
    outcomes = statuses(run_stacked([first, second], 1))
    assert outcomes == {first.name: "there already", second.name: "trained"}
    assert stacked == [1]


def test_a_stack_whose_runs_were_being_stored_is_finished(in_this_process, tmp_path, monkeypatch):
    """It was interrupted when one run was whole, one a checkpoint after the last epoch, and one nothing."""
    jobs = [stackable(tmp_path, seed) for seed in range(3)]
    run_job(jobs[0])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reproduction, "evaluate_model", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_job(jobs[1])
    assert checkpoint(jobs[1]).exists()
    assert set(statuses(run_stacked(jobs, 1)).values()) == {"there already", "trained"}
    assert all(one.place.exists() for one in jobs)


@pytest.mark.parametrize(
    ("name", "expected"), [("aae-gaussian", False), ("baseline-100", False), ("clustering-16", True)]
)
def test_films_and_labeled_images_alone_are_not_stacked(name, expected, tmp_path):
    recipe = get_recipe(name)
    assert Job(recipe, 0, tmp_path).stackable is expected
    assert Job(replace(recipe, film=False), 0, tmp_path).stackable is (name != "baseline-100")


# ------------------------------------------------------------------------------ a cluster


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start `dask ...` in the background; what is left of it ends with the test."""
    pytest.importorskip("distributed")
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    log = tmp_path / "dask.log"
    with ExitStack() as stack, log.open("w") as file:

        def dask(*arguments: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": path},
                stdout=file,
                stderr=file,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield dask


def scheduler_address(start: Callable[..., subprocess.Popen], folder: Path) -> str:
    note = folder / "scheduler.json"
    start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(note))

    def address() -> str | None:
        try:
            return json.loads(note.read_text())["address"]
        except (FileNotFoundError, ValueError):
            return None

    return str(wait_for(address))


def start_worker(start: Callable[..., subprocess.Popen], address: str, name: str) -> subprocess.Popen:
    host = ("--host", "127.0.0.1", "--no-nanny", "--death-timeout", "60")
    return start("worker", address, "--name", name, "--nthreads", "1", *host)


def test_a_killed_worker_loses_no_run_and_none_is_trained_twice(start, tmp_path):
    import distributed

    address = scheduler_address(start, tmp_path)
    workers = {name: start_worker(start, address, name) for name in ("first", "second")}
    jobs = [job(tmp_path / "runs", seed, LONG) for seed in range(3)]
    killed: list[tuple[Job, pd.DataFrame]] = []

    def kill() -> None:
        with distributed.Client(address) as client:
            client.wait_for_workers(2)
            begun = wait_for(lambda: [one for one in jobs if checkpoint(one).exists()])
            names = {url: w["name"] for url, w in client.scheduler_info()["workers"].items()}
            place = next(
                names[url]
                for url, keys in client.processing().items()
                if any(str(key).startswith(begun[0].name) for key in keys)
            )
            killed.append((begun[0], rows_so_far(begun[0])))
            workers[place].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = list(run_on_cluster(jobs, address))
    killer.join()
    assert sorted(outcome.job.seed for outcome in outcomes) == [0, 1, 2]
    assert {outcome.status for outcome in outcomes} == {"trained"}
    assert sum(worker.poll() is None for worker in workers.values()) == 1
    (taken_over, before) = killed[0]
    assert_continued(taken_over, before)
    for one in jobs:
        assert history(one)["epoch"].to_list() == list(range(1, LONG + 1))
    direct = replace(taken_over, root=tmp_path / "direct")
    run_job(direct)
    assert (direct.place / WEIGHTS).read_bytes() == (taken_over.place / WEIGHTS).read_bytes()


class Client:
    """In place of Dask's: two workers, one of them with several threads."""

    def wait_for_workers(self, count: int, timeout: float) -> None:
        pass

    def nthreads(self) -> dict[str, int]:
        return {"tcp://10.0.0.1:1": 1, "tcp://10.0.0.2:1": 4}


class Idle(Client):
    """A scheduler that nobody works for."""

    def wait_for_workers(self, count: int, timeout: float) -> None:
        raise TimeoutError


def test_absent_workers_and_crowded_ones_are_refused():
    with pytest.raises(ValueError, match=r"10\.0\.0\.2:1 has several threads"):
        scheduling._require_workers(Client(), "tcp://10.0.0.3:1")
    with pytest.raises(ValueError, match="10.0.0.3:1 has no workers: start some with `dask worker tcp"):
        scheduling._require_workers(Idle(), "tcp://10.0.0.3:1")


def test_an_absent_scheduler_is_refused(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(scheduling, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"No Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"):
        list(run_on_cluster([], "tcp://127.0.0.1:1"))


def test_a_scheduler_that_is_gone_is_one_sentence(tmp_path):
    class Lost:
        def result(self) -> scheduling.Outcome:
            raise CancelledError("scheduler-connection-lost")

    outcome = scheduling._gathered(Lost(), job(tmp_path))
    assert outcome.status == "failed"
    assert outcome.message.startswith("The Dask scheduler is gone: start it again")


def test_a_run_that_only_the_worker_sees_counts_as_failed(tmp_path):
    class Done:
        def result(self) -> scheduling.Outcome:
            return scheduling.Outcome(job(tmp_path), "trained", 1.0, {"error": 2.0})

    outcome = scheduling._gathered(Done(), job(tmp_path))
    assert outcome.status == "failed"
    assert "give a shared --root" in outcome.message
