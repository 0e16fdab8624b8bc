from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from interrupted import STEPS, toy_data
from small_models import SETTINGS, TERMS, build, copy_of
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from aae_utils.checkpoints import load_checkpoint
from aae_utils.networks import Corruption
from aae_utils.recipes import ModelSettings
from aae_utils.training import (
    Phase,
    Rates,
    Trainer,
    TrainingDiverged,
    TrainingSet,
    TrainingSettings,
    falling,
    float32_products,
    resolve_precision,
    shuffled,
)

pytestmark = pytest.mark.usefixtures("one_thread")

ONE_OF_EACH = ["adversarial", "semi-supervised", "reduction", "variational", "baseline"]


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


def make_trainer(
    model: str | ModelSettings, epochs: int = 1, seed: int = 0, weights: int = 0, **settings: object
) -> Trainer:
    return Trainer(build(model, weights), toy_data(), TrainingSettings(epochs, 10, **settings), seed)


# The loop


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adversarial", ["reconstruction", "discriminator", "generator"]),
        ("semi-supervised", ["reconstruction", "discriminators", "generator", "classification"]),
        ("variational", ["evidence lower bound"]),
    ],
)
def test_phases_run_in_the_papers_order_at_every_step(name, expected):
    trainer = make_trainer(name, epochs=2)
    order: list[str] = []
    for phase, optimizer in zip(trainer.phases, trainer.optimizers, strict=True):
        optimizer.register_step_post_hook(lambda *_, name=phase.name: order.append(name))
    trainer.fit(progress=False)
    assert order == expected * 2 * STEPS


def test_an_epoch_shows_every_image_at_most_once():
    trainer = make_trainer("adversarial")
    seen = torch.cat([batch.x for batch in trainer.batches()])
    assert seen.shape == (60, 20)
    assert len(seen.unique(dim=0)) == 60
    assert not torch.equal(seen, torch.cat([batch.x for batch in trainer.batches()]))


def test_labels_stay_with_their_images():
    data = toy_data()
    for batch in make_trainer("semi-supervised").batches():
        for x, y in zip(batch.x, batch.y, strict=True):
            assert data.y[(data.x == x).all(1)].item() == y
        for x, y in zip(batch.labeled_x, batch.labeled_y, strict=True):
            assert data.y[(data.x == x).all(1)].item() == y


def test_every_step_has_a_labeled_minibatch():
    batches = list(make_trainer("semi-supervised").batches())
    assert [len(batch.labeled_x) for batch in batches] == [10] * STEPS
    # 21 labeled images fill 60 places: each comes twice or three times
    counts = torch.cat([batch.labeled_x for batch in batches]).unique(dim=0, return_counts=True)[1]
    assert len(counts) == 21
    assert set(counts.tolist()) == {2, 3}


def test_fewer_labels_than_a_minibatch_are_shown_whole_at_every_step():
    data = toy_data()
    few = TrainingSet(data.x, data.y, data.labeled_x[:4], data.labeled_y[:4])
    trainer = Trainer(build("semi-supervised"), few, TrainingSettings(1, 10))
    for batch in trainer.batches():
        assert sorted(batch.labeled_y.tolist()) == sorted(few.labeled_y.tolist())


@pytest.mark.parametrize(("size", "count"), [(7, 7), (7, 20), (7, 3), (1, 4)])
def test_shuffled_uses_all_indices_equally_often(size, count):
    order = shuffled(size, count, torch.Generator().manual_seed(0))
    assert len(order) == count
    counts = order.bincount(minlength=size)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", ["label-regularized", "supervised", "semi-supervised"])
def test_a_label_that_the_model_has_no_place_for_is_refused(name):
    model = build(name)
    data = toy_data()
    data = replace(data, y=torch.full_like(data.y, model.label_count))
    with pytest.raises(ValueError) as caught:
        Trainer(model, data, TrainingSettings(1, 10))
    most = model.label_count
    labels = f"{most + 1} for labels from 0 to {most}"
    assert str(caught.value) == f"classes must be at least {labels}, not {most}."


def test_labels_that_no_phase_reads_may_be_any():
    data = toy_data()
    trainer = Trainer(build("clustering"), replace(data, y=data.y + 100), TrainingSettings(1, 10))
    trainer.fit(progress=False)
    assert trainer.epoch == 1


def test_a_model_on_another_device_than_its_images_is_refused():
    with pytest.raises(ValueError, match="The model is on meta and the images are on cpu: move one of them."):
        Trainer(build("adversarial").to("meta"), toy_data(), TrainingSettings(1, 10))


def test_a_minibatch_larger_than_the_set_is_an_error():
    with pytest.raises(ValueError) as caught:
        Trainer(build("adversarial"), toy_data(), TrainingSettings(1, 100))
    assert str(caught.value) == "The minibatch (100) is larger than the training set (63): lower batch_size."


def test_a_phase_skips_parameters_that_are_not_learned():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert Phase("name", lambda batch: {}, (layer,), "generator").parameters() == [layer.weight]


def test_batches_know_how_much_of_the_training_is_over():
    trainer, seen = make_trainer("adversarial", epochs=2), []
    run_step = trainer.step
    trainer.step = lambda batch: seen.append(batch.progress) or run_step(batch)
    trainer.fit(progress=False)
    assert trainer.all_steps == 12
    assert seen == pytest.approx([step / 12 for step in range(12)])


def test_what_falls_is_gone_at_its_share_of_the_training():
    progress = [0.0, 0.2, 0.4, 0.41, 1.0]
    assert [falling(value, 0.4) for value in progress] == pytest.approx([1, 0.5, 0, 0, 0])
    on_device = falling(torch.tensor(progress), 0.4)
    assert on_device.tolist() == pytest.approx([1, 0.5, 0, 0, 0])


# Streams of random numbers


@pytest.mark.parametrize("name", ["adversarial, universal posterior", "semi-supervised", "variational"])
def test_the_seed_decides_the_training(name):
    ends = []
    for number, seed in enumerate((3, 3, 4)):
        trainer = make_trainer(name, epochs=2, seed=seed)
        torch.manual_seed(number)  # the global generator plays no part
        trainer.fit(progress=False)
        ends.append(copy_of(trainer.model))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert not all(torch.equal(ends[0][key], ends[2][key]) for key in ends[0])


def test_the_order_knows_nothing_of_noise_weights_and_model():
    noisy = replace(SETTINGS["adversarial, universal posterior"], corruption=Corruption(0.3, 0.2))
    orders = []
    for model, weights in ((noisy, 0), ("adversarial", 0), ("adversarial", 1)):
        trainer, seen = make_trainer(model, weights=weights), []
        for batch in trainer.batches():
            trainer.step(batch)
            seen.append(batch.x)
        orders.append(torch.cat(seen))
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


def test_the_noise_knows_nothing_of_the_order():
    plain, labeled = make_trainer("adversarial"), make_trainer("adversarial")
    list(labeled.batches())
    assert torch.equal(torch.rand(5, generator=plain.noise), torch.rand(5, generator=labeled.noise))
    fresh = make_trainer("adversarial")
    assert not torch.equal(torch.rand(5, generator=fresh.noise), torch.rand(5, generator=fresh.order))


# Rates, momentum, averages


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
def test_momentum_by_hand(momentum):
    trainer = slide(steps=7, reconstruction=Rates(0.01, momentum))
    trainer.fit(progress=False)
    assert trainer.model.w.item() == pytest.approx(after(7, 0.01, momentum), rel=1e-5)


def test_every_phase_has_its_own_rate_and_momentum():
    groups = {
        "reconstruction": (0.01, 0.9),
        "discriminator": (0.1, 0.2),
        "generator": (0.2, 0.1),
        "classification": (0.3, 0.8),
    }
    rates = {group: Rates(*values) for group, values in groups.items()}
    trainer = slide(*groups, steps=5, **rates)
    trainer.fit(progress=False)
    expected = sum(after(5, *values) for values in groups.values())
    assert trainer.model.w.item() == pytest.approx(expected, rel=1e-5)


def test_rates_drop_after_the_stated_epochs():
    trainer = slide(epochs=6, drops=(2, 4), reconstruction=Rates(1.0, 0.0))
    ends: list[float] = [0.0]
    trainer.fit(lambda model: ends.append(model.w.item()) or {}, progress=False)
    # four steps in each epoch
    moves = [before - now for before, now in zip(ends[:-1], ends[1:], strict=True)]
    assert moves == pytest.approx([4, 4, 0.4, 0.4, 0.04, 0.04], rel=1e-4)


def test_constant_rates_do_not_drop():
    settings = {"reconstruction": Rates(1.0, 0.0, constant=True), "generator": Rates(10.0, 0.0)}
    trainer = slide("reconstruction", "generator", steps=1, epochs=3, drops=(1, 2), **settings)
    trainer.fit(progress=False)
    # three times 1, beside 10, then 1, then 0.1
    assert trainer.model.w.item() == pytest.approx(-3 - 11.1)


def test_adam_moves_by_its_rate_at_first():
    trainer = slide(steps=1, reconstruction=Rates(0.02, 0.8, "adam"))
    trainer.fit(progress=False)
    assert trainer.model.w.item() == pytest.approx(-0.02, rel=1e-4)
    assert trainer.optimizers[0].param_groups[0]["betas"] == (0.8, 0.999)


def test_the_average_counts_steps_over_the_whole_training():
    # seven epochs of four steps: averaged after the steps 10 and 20, where the parameter is -10 and -20
    trainer = slide(steps=4, epochs=7, reconstruction=Rates(1.0, 0.0), averaging=0.9)
    result = trainer.fit(progress=False)
    assert result.w.item() == pytest.approx(0.9 * -10 + 0.1 * -20)
    assert trainer.model.w.item() == -28


def test_without_averaging_the_last_weights_are_the_result():
    trainer = slide(steps=25)
    assert trainer.fit(progress=False) is trainer.model


def test_averaging_with_batch_normalization_is_refused():
    with pytest.raises(ValueError, match="set averaging or batch_norm off"):
        make_trainer(replace(SETTINGS["clustering"], batch_norm="encoder"), averaging=0.9)


@pytest.mark.parametrize(("size", "labeled", "field"), [(1, 4, "batch_size"), (4, 1, "labeled_x")])
def test_one_image_cannot_be_normalized(size, labeled, field):
    model = build(replace(SETTINGS["semi-supervised"], batch_norm="encoder"))
    x, y = torch.rand(8, 20), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"{field} must be at least 2 .*with batch normalization, not 1"):
        Trainer(model, TrainingSet(x, y, x[:labeled], y[:labeled]), TrainingSettings(1, size))


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


@pytest.mark.parametrize(("capability", "expected"), [((8, 0), "tensorfloat32"), ((7, 5), "float32")])
def test_auto_takes_tensorfloat32_on_newer_gpus(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", "cuda") == expected
    assert resolve_precision("auto", torch.device("cuda", 0)) == expected
    assert resolve_precision("float32", "cuda") == "float32"


@pytest.mark.parametrize(
    ("precision", "inside"), [("tensorfloat32", "high"), ("float32", "highest"), ("bfloat16", "highest")]
)
def test_products_are_of_tensorfloat32_inside_a_step_only(precision, inside):
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(KeyError), float32_products(precision):
        assert torch.get_float32_matmul_precision() == inside
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"


# What is recorded


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_history_columns(name):
    trainer = make_trainer(name, epochs=2)
    trainer.fit(lambda model: {"validation_error": 7.0}, progress=False)
    expected = ["epoch", *TERMS[name], "seconds", "images_per_second", "validation_error"]
    assert [list(row) for row in trainer.history] == [expected] * 2
    assert [row["epoch"] for row in trainer.history] == [1, 2]
    for row in trainer.history:
        assert row["images_per_second"] == pytest.approx(60 / row["seconds"])


def test_history_holds_the_mean_of_each_loss():
    trainer = slide(steps=4, reconstruction=Rates(1.0, 0.0))
    trainer.fit(progress=False)
    # the loss is the parameter itself, before each of the four steps: 0, -1, -2, -3
    assert trainer.history[0]["w"] == -1.5


def test_the_monitor_sees_the_result_in_evaluation_mode():
    trainer = make_trainer("semi-supervised", epochs=4, averaging=0.5)
    training_modes, seen = [], []
    run_step = trainer.step
    trainer.step = lambda batch: training_modes.append(trainer.model.training) or run_step(batch)
    trainer.fit(lambda model: seen.append((model, model.training)) or {}, progress=False)
    assert [model is trainer.averaged for model, _ in seen] == [False, True, True, True]
    assert not any(training for _, training in seen)
    assert training_modes == [True] * 4 * STEPS


def test_progress_shows_losses_and_images_per_second(capsys):
    make_trainer("adversarial").fit(progress=True)
    shown = capsys.readouterr().err
    assert "reconstruction=" in shown
    assert "image/s" in shown
    assert "seconds=" not in shown and "images_per_second=" not in shown  # they are no losses
    make_trainer("adversarial").fit(progress=False)
    assert capsys.readouterr().err == ""


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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SETTINGS)
def test_no_step_waits_for_the_device(name, precision, request):
    settings = {"averaging": 0.9, "reconstruction": Rates(1e-3, 0.9, "adam"), "precision": precision}
    trainer = make_trainer(name, **settings)
    if name == "supervised":
        trainer.data.y.clamp_(min=0)
    with request.getfixturevalue("no_waiting"):  # only now: what the trainer is given may be looked at
        for batch in trainer.batches():
            trainer.step(batch)
            trainer.average()


def test_waiting_would_be_noticed(no_waiting):
    with no_waiting, pytest.raises(AssertionError, match="waits for the device"):
        bool(torch.ones(3).any())
    with no_waiting, pytest.raises(AssertionError, match="brought to the host"):
        torch.ones(3).cpu()


@pytest.mark.parametrize("name", ["adversarial", "semi-supervised"])
def test_an_epoch_reads_each_loss_once(name, monkeypatch):
    trainer, reads = make_trainer(name), []
    read = torch.Tensor.__float__
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: reads.append(1) or read(self))
    trainer.run_epoch()
    assert len(reads) == len(TERMS[name])
