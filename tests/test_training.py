from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import interrupted
import pytest
import torch
from interrupted import STEPS, make_trainer, toy_data
from test_models import MODELS, TERMS, make_batch, trainer_of
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from aae_utils.models import Phase
from aae_utils.training import (
    CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    CheckpointError,
    Rates,
    Trainer,
    TrainingDiverged,
    TrainingSet,
    TrainingSettings,
    load_checkpoint,
    resolve_precision,
    save_checkpoint,
    shuffled,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class Slide(nn.Module):
    """Parameters whose gradient is always 1, so that theory tells where they end."""

    def __init__(self, *groups: str) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.groups = groups or ("reconstruction",)

    def phases(self) -> tuple[Phase, ...]:
        return tuple(Phase(group, lambda batch: {"w": self.w.sum()}, (self,), group) for group in self.groups)


def slide(*groups: str, steps: int = 4, **settings: object) -> Trainer:
    data = TrainingSet(torch.zeros(steps, 1), torch.zeros(steps, dtype=torch.int64))
    return Trainer(Slide(*groups), data, TrainingSettings(**{"epochs": 1, "batch_size": 1, **settings}))


def after(steps: int, rate: float, momentum: float) -> float:
    """Where SGD with momentum takes a parameter whose gradient is 1."""
    position = velocity = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1
        position -= rate * velocity
    return position


# The loop


@pytest.mark.parametrize("name", ["aae", "semi-supervised", "clustering", "vae"])
def test_phases_run_in_the_papers_order_at_every_step(name):
    trainer = make_toy_trainer(name, epochs=2)
    order: list[str] = []
    for phase, optimizer in zip(trainer.phases, trainer.optimizers, strict=True):
        optimizer.register_step_post_hook(lambda *_, name=phase.name: order.append(name))
    trainer.fit(progress=False)
    expected = {
        "aae": ["reconstruction", "discriminator", "generator"],
        "semi-supervised": ["reconstruction", "discriminators", "generator", "classification"],
        "clustering": ["reconstruction", "discriminators", "generator"],
        "vae": ["evidence lower bound"],
    }[name]
    assert order == expected * 2 * trainer.steps_per_epoch


def make_toy_trainer(name: str, epochs: int = 1, seed: int = 0, **settings: object) -> Trainer:
    return Trainer(MODELS[name](), toy_data(), TrainingSettings(epochs, 10, **settings), seed)


def test_an_epoch_shows_every_image_at_most_once():
    trainer = make_toy_trainer("aae")
    seen = torch.cat([batch.x for batch in trainer.batches()])
    assert seen.shape == (60, 20)
    assert len(seen.unique(dim=0)) == 60
    assert not torch.equal(seen, torch.cat([batch.x for batch in trainer.batches()]))


def test_labels_stay_with_their_images():
    data = toy_data()
    for batch in make_toy_trainer("semi-supervised").batches():
        for x, y in zip(batch.x, batch.y, strict=True):
            assert data.y[(data.x == x).all(1)].item() == y
        for x, y in zip(batch.labelled_x, batch.labelled_y, strict=True):
            assert data.y[(data.x == x).all(1)].item() == y


def test_every_step_has_a_labelled_minibatch():
    trainer = make_toy_trainer("semi-supervised")
    batches = list(trainer.batches())
    assert [len(batch.labelled_x) for batch in batches] == [10] * STEPS
    # 21 labelled images fill 60 places: each comes twice or three times
    counts = torch.cat([batch.labelled_x for batch in batches]).unique(dim=0, return_counts=True)[1]
    assert len(counts) == 21
    assert set(counts.tolist()) == {2, 3}


def test_fewer_labels_than_a_minibatch_are_shown_whole_at_every_step():
    data = toy_data()
    few = TrainingSet(data.x, data.y, data.labelled_x[:4], data.labelled_y[:4])
    trainer = Trainer(MODELS["semi-supervised"](), few, TrainingSettings(1, 10))
    for batch in trainer.batches():
        assert sorted(batch.labelled_y.tolist()) == sorted(few.labelled_y.tolist())


@pytest.mark.parametrize(("size", "count"), [(7, 7), (7, 20), (7, 3), (1, 4)])
def test_shuffled_uses_all_indices_equally_often(size, count):
    order = shuffled(size, count, torch.Generator().manual_seed(0))
    assert len(order) == count
    counts = order.bincount(minlength=size)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", ["aae, universal posterior", "semi-supervised", "vae"])
def test_the_seed_decides_the_training(name):
    ends = []
    for seed in (3, 3, 4):
        trainer = make_toy_trainer(name, epochs=2, seed=seed)
        torch.manual_seed(len(ends))  # the global generator plays no part
        trainer.fit(progress=False)
        ends.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


# Rates, momentum, averages


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
def test_momentum_by_hand(momentum):
    trainer = slide(steps=7, reconstruction=Rates(0.01, momentum))
    trainer.fit(progress=False)
    assert trainer.model.w.item() == pytest.approx(after(7, 0.01, momentum), rel=1e-5)


def test_every_phase_has_its_own_rate_and_momentum():
    trainer = slide("reconstruction", "adversarial", "classification", steps=5)
    trainer.fit(progress=False)
    expected = after(5, 0.01, 0.9) + after(5, 0.1, 0.1) + after(5, 0.1, 0.9)
    assert trainer.model.w.item() == pytest.approx(expected, rel=1e-5)


def test_rates_drop_after_the_stated_epochs():
    trainer = slide(epochs=6, drops=(2, 4), reconstruction=Rates(1.0, 0.0))
    ends: list[float] = [0.0]
    trainer.fit(lambda model: ends.append(model.w.item()) or {}, progress=False)
    # four steps in each epoch
    moves = [before - now for before, now in zip(ends[:-1], ends[1:], strict=True)]
    assert moves == pytest.approx([4, 4, 0.4, 0.4, 0.04, 0.04], rel=1e-4)


def test_adam_moves_by_its_rate_at_first():
    trainer = slide(steps=1, reconstruction=Rates(0.02, 0.9, "adam"))
    trainer.fit(progress=False)
    assert trainer.model.w.item() == pytest.approx(-0.02, rel=1e-4)
    assert isinstance(trainer.optimizers[0], torch.optim.Adam)
    assert trainer.optimizers[0].param_groups[0]["betas"] == (0.9, 0.999)


def test_constant_rates_do_not_drop():
    settings = {"reconstruction": Rates(1.0, 0.0, constant=True), "adversarial": Rates(10.0, 0.0)}
    trainer = slide("reconstruction", "adversarial", steps=1, epochs=3, drops=(1, 2), **settings)
    trainer.fit(progress=False)
    # three times 1, beside 10, then 1, then 0.1
    assert trainer.model.w.item() == pytest.approx(-3 - 11.1)


def test_result_is_the_moving_average_where_asked():
    trainer = slide(steps=25, reconstruction=Rates(1.0, 0.0), averaging=0.9)
    result = trainer.fit(progress=False)
    # after the steps 1, 11 and 21 the parameter is -1, -11 and -21; the first starts the average
    expected = 0.9 * (0.9 * -1 + 0.1 * -11) + 0.1 * -21
    assert result.w.item() == pytest.approx(expected)
    assert trainer.model.w.item() == -25
    assert slide().fit(progress=False).w.item() != 0


@pytest.mark.parametrize("name", ["aae", "semi-supervised", "reduction", "vae", "classifier"])
def test_bfloat16_rounds_products_and_leaves_weights_and_losses_in_float32(name):
    plain, rounded = (make_toy_trainer(name, epochs=1, precision=p) for p in ("float32", "bfloat16"))
    expected, losses = plain.step(next(plain.batches())), rounded.step(next(rounded.batches()))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert {p.dtype for p in rounded.model.parameters()} == {torch.float32}
    for term, loss in losses.items():
        torch.testing.assert_close(loss, expected[term], rtol=0.02, atol=0.01)
    moved = zip(plain.model.parameters(), rounded.model.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in moved)


def test_auto_takes_bfloat16_where_it_is_faster(monkeypatch):
    capabilities = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_precision("auto", "cpu") == "bfloat16"
    assert resolve_precision("float32", "cpu") == "float32"
    capabilities["avx512_bf16"] = False
    assert resolve_precision("auto", "cpu") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"
    assert resolve_precision("auto", "mps") == "float32"
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older PyTorch
    assert resolve_precision("auto", "cpu") == "float32"


# What is recorded


@pytest.mark.parametrize("name", ["aae", "semi-supervised", "reduction", "vae", "classifier"])
def test_history_columns(name):
    trainer = make_toy_trainer(name, epochs=2)
    trainer.fit(lambda model: {"validation_error": 7.0}, progress=False)
    expected = ["epoch", *TERMS[name], "seconds", "images_per_second", "validation_error"]
    assert [list(row) for row in trainer.history.rows] == [expected] * 2
    assert trainer.history.series("epoch") == [1, 2]
    assert trainer.history.series("validation_error") == [7, 7]
    assert trainer.history.series("unknown") == []
    row = trainer.history.rows[0]
    assert row["images_per_second"] == pytest.approx(60 / row["seconds"])


def test_history_holds_the_mean_of_each_loss():
    trainer = slide(steps=4, reconstruction=Rates(1.0, 0.0))
    trainer.fit(progress=False)
    # the loss is the parameter itself, before each of the four steps: 0, -1, -2, -3
    assert trainer.history.series("w") == [-1.5]


def test_the_monitor_sees_the_result_in_evaluation_mode():
    trainer = make_toy_trainer("semi-supervised", epochs=2, averaging=0.5)
    training_modes, seen = [], []
    run_step = trainer.step
    trainer.step = lambda batch: training_modes.append(trainer.model.training) or run_step(batch)
    trainer.fit(lambda model: seen.append((model, model.training)) or {}, progress=False)
    assert all(model is trainer.averaged and not training for model, training in seen)
    assert training_modes == [True] * 2 * STEPS


def test_progress_shows_losses_and_images_per_second(capsys):
    make_toy_trainer("aae").fit(progress=True)
    shown = capsys.readouterr().err
    assert "reconstruction=" in shown
    assert "image/s" in shown
    make_toy_trainer("aae").fit(progress=False)
    assert capsys.readouterr().err == ""


# Nothing waits for the device inside an epoch


class NoWaiting(TorchDispatchMode):
    """Fails on operations whose result the host must wait for."""

    WAITING = {
        torch.ops.aten._local_scalar_dense,
        torch.ops.aten.nonzero,
        torch.ops.aten.masked_select,
        torch.ops.aten._unique2,
        torch.ops.aten.equal,
    }

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in self.WAITING:
            raise AssertionError(f"{function} waits for the device")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def no_waiting(monkeypatch):
    """A mode in which a step that waits for the device fails, wherever the wait comes from."""
    one_hot = torch.nn.functional.one_hot

    def on_gpus_one_hot_checks_nothing(*args):
        with _disable_current_modes():
            return one_hot(*args)

    def refuse(self, *args):
        raise AssertionError("a tensor was brought to the host")

    monkeypatch.setattr(torch.nn.functional, "one_hot", on_gpus_one_hot_checks_nothing)
    for method in ("item", "tolist", "numpy", "cpu", "__array__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, method, refuse)
    return NoWaiting()


@pytest.mark.parametrize("name", MODELS)
def test_no_step_waits_for_the_device(name, no_waiting):
    settings = {"averaging": 0.9, "reconstruction": Rates(1e-3, 0.9, "adam")}
    trainer = make_toy_trainer(name, **settings)
    if name == "supervised":
        trainer.data.y.clamp_(min=0)
    with no_waiting:
        for batch in trainer.batches():
            trainer.step(batch)
            trainer.average()


def test_waiting_would_be_noticed(no_waiting):
    with no_waiting, pytest.raises(AssertionError, match="waits for the device"):
        bool(torch.ones(3).any())
    with no_waiting, pytest.raises(AssertionError, match="brought to the host"):
        torch.ones(3).cpu()


@pytest.mark.parametrize("name", ["aae", "semi-supervised"])
def test_an_epoch_reads_each_loss_once(name, monkeypatch):
    trainer, reads = make_toy_trainer(name), []
    read = torch.Tensor.__float__
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: reads.append(1) or read(self))
    trainer.run_epoch()
    assert len(reads) == len(TERMS[name])


# Interruption and resumption


def end_of(trainer: Trainer) -> dict[str, object]:
    """All that a training leaves, but for its durations."""
    state = trainer.state_dict()
    durations = ("seconds", "images_per_second")
    state["history"] = [{k: v for k, v in row.items() if k not in durations} for row in state["history"]]
    return state


def assert_same(first: object, second: object) -> None:
    """Equal in every bit, however deep."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, dict[str, object]]:
    """How each small training ends when nothing happens to it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    ends = {}
    for name in interrupted.MODELS:
        trainer = make_trainer(name)
        trainer.fit(progress=False)
        ends[name] = end_of(trainer)
    torch.set_num_threads(before)
    return ends


def train_and_interrupt(folder: Path, name: str = "one code", steps: int = 3 * STEPS + 3) -> None:
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


def resumed(folder: Path, name: str = "one code", done: int = 3) -> dict[str, object]:
    """Resume in a trainer that began elsewhere, so that all it knows is from the checkpoint."""
    trainer, epochs = make_trainer(name, seed=77), []
    run_epoch = trainer.run_epoch
    trainer.run_epoch = lambda bar: epochs.append(trainer.epoch) or run_epoch(bar)
    trainer.fit(checkpoints=folder, checkpoint_seconds=0, progress=False)
    assert epochs == list(range(done, interrupted.EPOCHS))
    return end_of(trainer)


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
    assert_same(resumed(tmp_path), uninterrupted["one code"])


@pytest.mark.parametrize("name", interrupted.MODELS)
def test_every_kind_of_model_is_resumed_bit_for_bit(name, tmp_path, uninterrupted):
    train_and_interrupt(tmp_path, name)
    assert_same(resumed(tmp_path, name), uninterrupted[name])


def test_interrupted_in_the_first_epoch_starts_again(tmp_path):
    train_and_interrupt(tmp_path, steps=2)
    assert load_checkpoint(tmp_path) is None


def test_a_finished_training_is_not_run_again(tmp_path, uninterrupted):
    trainer = make_trainer()
    trainer.fit(checkpoints=tmp_path, progress=False)
    assert_same(resumed(tmp_path, done=interrupted.EPOCHS), uninterrupted["one code"])


@pytest.mark.parametrize("size", [0, 100, -200])
def test_a_truncated_checkpoint_gives_way_to_the_one_before(size, tmp_path, uninterrupted):
    train_and_interrupt(tmp_path)
    newest = tmp_path / CHECKPOINT
    newest.write_bytes(newest.read_bytes()[:size])
    with pytest.warns(UserWarning, match=f"{CHECKPOINT} cannot be read .* trying the one before"):
        end = resumed(tmp_path, done=2)
    assert_same(end, uninterrupted["one code"])


def test_an_altered_checkpoint_gives_way_to_the_one_before(tmp_path, uninterrupted):
    train_and_interrupt(tmp_path)
    newest = tmp_path / CHECKPOINT
    content = bytearray(newest.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{CHECKPOINT} cannot be read"):
        end = resumed(tmp_path, done=2)
    assert_same(end, uninterrupted["one code"])


def test_killed_while_the_checkpoint_was_written(tmp_path, uninterrupted):
    train_and_interrupt(tmp_path)
    # the moment between the two renames, and a half-written file beside them
    (tmp_path / CHECKPOINT).rename(tmp_path / PREVIOUS_CHECKPOINT)
    (tmp_path / f"{CHECKPOINT}.partial").write_bytes(b"half")
    assert_same(resumed(tmp_path), uninterrupted["one code"])


def test_no_readable_checkpoint_is_an_error(tmp_path):
    train_and_interrupt(tmp_path)
    for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
        (tmp_path / name).write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(CheckpointError, match=f"No checkpoint in {tmp_path} can be read: delete the folder"),
    ):
        resumed(tmp_path)


@pytest.mark.parametrize("other", ["two codes", "reduction"])
def test_a_checkpoint_of_another_model_is_an_error(other, tmp_path):
    train_and_interrupt(tmp_path, other)
    with pytest.raises(CheckpointError) as caught:
        make_trainer("one code").fit(checkpoints=tmp_path, progress=False)
    assert str(caught.value) == (
        f"The checkpoint in {tmp_path} belongs to another model or settings: delete that folder or"
        " choose another one."
    )


def test_a_checkpoint_of_other_settings_is_an_error(tmp_path):
    save_checkpoint(tmp_path, {**make_trainer().state_dict(), "averaged": None})
    with pytest.raises(CheckpointError, match="another model or settings"):
        make_trainer().fit(checkpoints=tmp_path, progress=False)


def test_something_else_in_a_checkpoints_place_is_an_error(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="another model or settings"):
        make_trainer().fit(checkpoints=tmp_path, progress=False)


# Trouble on the way


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")]
)
def test_a_full_disk_costs_the_checkpoint_and_not_the_run(error, tmp_path, monkeypatch, uninterrupted):
    def fail(state, path):
        Path(path).write_bytes(b"the beginning")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    trainer = make_trainer()
    with pytest.warns(UserWarning, match=f"No checkpoint was written to {tmp_path} .* free some space"):
        trainer.fit(checkpoints=tmp_path, checkpoint_seconds=0, progress=False)
    assert_same(end_of(trainer), uninterrupted["one code"])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, uninterrupted):
    train_and_interrupt(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
        with pytest.warns(UserWarning, match="No checkpoint was written"):
            save_checkpoint(tmp_path, {})
    assert_same(resumed(tmp_path), uninterrupted["one code"])


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


def test_a_diverging_loss_is_named_with_its_epoch(tmp_path):
    trainer, calls = slide(epochs=5, steps=4), []

    def loss(batch):
        calls.append(1)
        w = trainer.model.w.sum()
        return {"steady": w, "explosive": w * float("nan") if len(calls) == 8 else w}

    trainer.phases = (Phase("both", loss, (trainer.model,), "reconstruction"),)
    with pytest.raises(TrainingDiverged) as caught:
        trainer.fit(checkpoints=tmp_path, checkpoint_seconds=0, progress=False)
    assert str(caught.value) == (
        "The loss 'explosive' is no longer finite in epoch 2: lower the learning rates."
    )
    assert trainer.epoch == 1
    assert load_checkpoint(tmp_path)["model"]["w"].isfinite().all()


# Mistakes


def test_a_minibatch_larger_than_the_set_is_an_error():
    with pytest.raises(ValueError) as caught:
        Trainer(MODELS["aae"](), toy_data(), TrainingSettings(1, 100))
    assert str(caught.value) == "The minibatch (100) is larger than the training set (63): lower batch_size."


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs and batch_size must be at least 1."),
        ({"epochs": 1, "batch_size": 0}, "epochs and batch_size must be at least 1."),
        (
            {"epochs": 1, "precision": "half"},
            "Unknown precision 'half': choose one of float32, bfloat16, auto.",
        ),
        ({"epochs": 1, "averaging": 1.0}, "averaging is a decay in [0, 1), not 1.0."),
        ({"epochs": 1, "averaging": -0.1}, "averaging is a decay in [0, 1), not -0.1."),
        (
            {"epochs": 1, "drops": (0,)},
            "drops are epochs from 1 on and drop_factor is greater than 0, not (0,) and 0.1.",
        ),
        (
            {"epochs": 1, "drop_factor": -3.0},
            "drops are epochs from 1 on and drop_factor is greater than 0, not () and -3.0.",
        ),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError) as caught:
        TrainingSettings(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("x", "y", "labelled", "message"),
    [
        ((5, 4, 4), (5,), (), "Expected images (N, D) and one label each, got (5, 4, 4) and (5,)."),
        ((5, 4), (6,), (), "Expected images (N, D) and one label each, got (5, 4) and (6,)."),
        ((5, 4), (5,), ((2, 4),), "Give labelled_x and labelled_y together, or neither."),
        ((5, 4), (5,), ((2, 3), (2,)), "Expected labelled images (2, 4) beside 2 labels, got (2, 3)."),
        ((5, 4), (5,), ((3, 4), (2,)), "Expected labelled images (2, 4) beside 2 labels, got (3, 4)."),
        ((5, 4), (5,), ((0, 4), (0,)), "Expected labelled images (1, 4) beside 0 labels, got (0, 4)."),
    ],
)
def test_images_and_labels_that_do_not_fit_are_an_error(x, y, labelled, message):
    with pytest.raises(ValueError) as caught:
        TrainingSet(torch.zeros(x), torch.zeros(y), *(torch.zeros(shape) for shape in labelled))
    assert str(caught.value) == message


def test_one_step_is_what_the_loop_repeats():
    batch = make_batch()
    losses = trainer_of(MODELS["aae"](), batch).step(batch)
    again = trainer_of(MODELS["aae"](), make_batch()).step(make_batch())
    assert_same(losses, again)
