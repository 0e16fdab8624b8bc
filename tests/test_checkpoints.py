from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import interrupted
import pytest
import torch
from interrupted import EPOCHS, MODELS, ONE_CODE, STEPS, make_trainer
from small_models import assert_same

from aae_utils.checkpoints import (
    CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    whole_file,
)
from aae_utils.training import SPEED, Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def end_of(trainer: Trainer) -> dict[str, object]:
    """All that a training leaves, but for its durations."""
    state = trainer.state_dict()
    state["history"] = [{k: v for k, v in row.items() if k not in SPEED} for row in state["history"]]
    return state


@pytest.fixture(scope="module")
def uninterrupted(one_thread) -> dict[str, dict[str, object]]:
    """How each small training ends when nothing happens to it."""
    ends = {}
    for name in MODELS:
        trainer = make_trainer(name)
        trainer.fit(progress=False)
        ends[name] = end_of(trainer)
    return ends


def train_and_interrupt(folder: Path, name: str = ONE_CODE, steps: int = 3 * STEPS + 3) -> None:
    """Train with a checkpoint at every epoch and stop after some steps."""
    trainer, done = make_trainer(name), []
    run_step = trainer.step

    def step(batch):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return run_step(batch)

    trainer.step = step
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(checkpoints=folder, checkpoint_seconds=0, progress=False)


def resumed(folder: Path, name: str = ONE_CODE, done: int = 3) -> dict[str, object]:
    """Resume in a trainer that began elsewhere, so that all it knows is from the checkpoint."""
    trainer, epochs = make_trainer(name, seed=77), []
    run_epoch = trainer.run_epoch
    trainer.run_epoch = lambda bar: epochs.append(trainer.epoch) or run_epoch(bar)
    trainer.resume(folder)
    trainer.fit(checkpoints=folder, checkpoint_seconds=0, progress=False)
    assert epochs == list(range(done, EPOCHS))
    return end_of(trainer)


# Interruption and resumption


def test_a_killed_process_is_resumed_bit_for_bit(tmp_path, uninterrupted):
    process = subprocess.Popen(
        [sys.executable, interrupted.__file__, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        text=True,
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert_same(resumed(tmp_path), uninterrupted[ONE_CODE])


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_resumed_bit_for_bit(name, tmp_path, uninterrupted):
    train_and_interrupt(tmp_path, name)
    assert_same(resumed(tmp_path, name), uninterrupted[name])


def test_the_averaged_weights_are_part_of_it(uninterrupted):
    end = uninterrupted[ONE_CODE]
    assert end["steps"] == EPOCHS * STEPS
    assert any(not torch.equal(end["averaged"][key], end["model"][key]) for key in end["model"])


def test_interrupted_in_the_first_epoch_starts_again(tmp_path):
    train_and_interrupt(tmp_path, steps=2)
    assert load_checkpoint(tmp_path) is None


def test_a_finished_training_is_not_run_again(tmp_path, uninterrupted):
    trainer = make_trainer()
    trainer.fit(checkpoints=tmp_path, progress=False)
    assert trainer.saved_epoch == EPOCHS
    assert_same(resumed(tmp_path, done=EPOCHS), uninterrupted[ONE_CODE])


@pytest.mark.parametrize("size", [0, 100, -200])
def test_a_truncated_checkpoint_gives_way_to_the_one_before(size, tmp_path, uninterrupted):
    train_and_interrupt(tmp_path)
    newest = tmp_path / CHECKPOINT
    newest.write_bytes(newest.read_bytes()[:size])
    with pytest.warns(UserWarning, match=f"{CHECKPOINT} cannot be read .* trying the one before"):
        end = resumed(tmp_path, done=2)
    assert_same(end, uninterrupted[ONE_CODE])


def test_an_altered_checkpoint_gives_way_to_the_one_before(tmp_path, uninterrupted):
    train_and_interrupt(tmp_path)
    newest = tmp_path / CHECKPOINT
    content = bytearray(newest.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{CHECKPOINT} cannot be read"):
        end = resumed(tmp_path, done=2)
    assert_same(end, uninterrupted[ONE_CODE])


NO_MEMORY = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
)


@pytest.mark.parametrize("error", NO_MEMORY)
def test_too_little_memory_is_no_damage(error, tmp_path, monkeypatch):
    """Nobody should delete sound checkpoints because another program holds the memory."""
    train_and_interrupt(tmp_path)

    def load(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(type(error)):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("error", NO_MEMORY)
def test_too_little_memory_for_a_sound_checkpoint_does_not_make_it_another_models(
    error, tmp_path, monkeypatch
):
    train_and_interrupt(tmp_path)

    def load(*_):
        raise error

    trainer = make_trainer()
    monkeypatch.setattr(trainer.model, "load_state_dict", load)
    with pytest.raises(type(error)) as caught:
        trainer.resume(tmp_path)
    assert caught.value is error


def test_a_training_does_not_go_on_on_another_kind_of_device(tmp_path):
    trainer = make_trainer()
    assert save_checkpoint(tmp_path, trainer.state_dict() | {"device": "cuda"})
    with pytest.raises(CheckpointError) as caught:
        trainer.resume(tmp_path)
    assert str(caught.value) == (
        f"The training in {tmp_path} was begun on cuda and cannot go on elsewhere: continue it there"
        " (--device cuda), or delete that folder to train from the start."
    )


def test_a_checkpoint_that_holds_something_else_is_damaged(tmp_path):
    torch.save([1, 2], tmp_path / CHECKPOINT)
    with (
        pytest.warns(UserWarning, match="it holds a list and no state of a training"),
        pytest.raises(CheckpointError, match="delete the folder to train from the start"),
    ):
        make_trainer().resume(tmp_path)


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="older releases of PyTorch")
def test_the_error_of_a_failed_device_is_no_matter_of_space(tmp_path, monkeypatch):
    failure = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    def save(*_):
        raise failure

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(torch.AcceleratorError):
        save_checkpoint(tmp_path, {})


@pytest.mark.parametrize("error", [*NO_MEMORY, OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_too_little_memory_costs_the_checkpoint_alone(error, tmp_path, monkeypatch):
    def save(*_):
        raise error

    monkeypatch.setattr(torch, "save", save)
    with pytest.warns(UserWarning, match="training goes on, free some memory"):
        assert not save_checkpoint(tmp_path, {})


def test_a_checkpoint_that_may_not_be_read_is_no_damage_either(tmp_path, monkeypatch):
    train_and_interrupt(tmp_path)

    def load(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\): make it readable"):
        load_checkpoint(tmp_path)


def test_killed_while_the_checkpoint_was_written(tmp_path, uninterrupted):
    train_and_interrupt(tmp_path)
    # the moment between the two renames, and a half-written file beside them
    (tmp_path / CHECKPOINT).rename(tmp_path / PREVIOUS_CHECKPOINT)
    (tmp_path / f"{CHECKPOINT}.partial").write_bytes(b"half")
    assert_same(resumed(tmp_path), uninterrupted[ONE_CODE])


def test_no_readable_checkpoint_is_an_error(tmp_path):
    for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
        (tmp_path / name).write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(CheckpointError, match=f"No checkpoint in {tmp_path} can be read: delete the folder"),
    ):
        make_trainer().resume(tmp_path)


@pytest.mark.parametrize("other", [name for name in MODELS if name != ONE_CODE])
def test_a_checkpoint_of_another_model_is_an_error(other, tmp_path):
    train_and_interrupt(tmp_path, other)
    with pytest.raises(CheckpointError) as caught:
        make_trainer().resume(tmp_path)
    assert str(caught.value) == (
        f"The checkpoint in {tmp_path} belongs to another model or settings: delete that folder or"
        " choose another one."
    )


@pytest.mark.parametrize("change", [{"film": None}, {"optimizers": []}])
def test_a_checkpoint_of_other_settings_is_an_error(change, tmp_path):
    save_checkpoint(tmp_path, {**make_trainer().state_dict(), **change})
    with pytest.raises(CheckpointError, match="another model or settings"):
        make_trainer().resume(tmp_path)


def test_something_else_in_a_checkpoints_place_is_an_error(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="another model or settings"):
        make_trainer().resume(tmp_path)


# A full disk


@contextmanager
def full_disk(size: int = 1000) -> Iterator[None]:
    """No file may grow beyond `size` bytes, which writing notices like a disk without space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(tmp_path, uninterrupted):
    trainer = make_trainer()
    with (
        pytest.warns(UserWarning, match=f"No checkpoint was written to {tmp_path} .* free some space"),
        full_disk(),
    ):
        trainer.fit(checkpoints=tmp_path, checkpoint_seconds=0, progress=False)
    assert_same(end_of(trainer), uninterrupted[ONE_CODE])
    assert trainer.saved_epoch == 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_more_than_once_leaves_it_too(tmp_path, uninterrupted):
    train_and_interrupt(tmp_path)
    for _ in range(3):
        with pytest.warns(UserWarning, match="No checkpoint was written"), full_disk():
            assert not save_checkpoint(tmp_path, make_trainer().state_dict())
    assert_same(resumed(tmp_path), uninterrupted[ONE_CODE])


def test_a_folder_that_cannot_be_made_costs_the_checkpoint_and_not_the_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="No checkpoint was written"):
        make_trainer().fit(checkpoints=tmp_path / "file" / "folder", progress=False)


def test_checkpoints_are_written_as_often_as_asked(tmp_path):
    trainer = make_trainer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.fit(checkpoints=tmp_path, checkpoint_seconds=1e9, progress=False)
    # only the last epoch was due
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


# Whole files


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_access_rights_of_the_umask(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        assert save_checkpoint(tmp_path, {"step": 1})
    finally:
        os.umask(before)
    assert (tmp_path / CHECKPOINT).stat().st_mode & 0o777 == mode


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before"
    with whole_file(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]
