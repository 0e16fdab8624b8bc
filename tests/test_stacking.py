from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from interrupted import toy_data
from small_models import SETTINGS, assert_same, build, copy_of
from torch import nn

from aae_utils import stacking
from aae_utils.checkpoints import save_checkpoint
from aae_utils.data import LearningSplits, load_learning_splits
from aae_utils.film import Film
from aae_utils.metrics.inputs import NotFinite
from aae_utils.networks import Corruption
from aae_utils.recipes import ModelSettings, Recipe, shrink
from aae_utils.reproduction import make_monitor, make_trainer
from aae_utils.stacking import Stack, train_together
from aae_utils.training import (
    SPEED,
    WILD,
    Phase,
    Rates,
    Trainer,
    TrainingDiverged,
    TrainingSet,
    TrainingSettings,
)
from aae_utils.variants import VARIANTS, get_recipe
from aae_utils.variants.semi_supervised import SemiSupervisedAutoencoder
from aae_utils.variants.supervised import SupervisedAutoencoder

pytestmark = pytest.mark.usefixtures("one_thread")

ADAM = Rates(1e-3, 0.9, "adam")
# the recipe of every variant that asks most of a stack
RECIPES = [
    "aae-universal-posterior",
    "vae-mixture",
    "likelihood-mnist",
    "likelihood-vae",
    "labeled-mixture",
    "supervised-mnist",
    "semi-supervised-100",
    "semi-supervised-all",
    "baseline-100",
    "clustering-16",
    "reduction-100",
    "reduction-unsupervised",
]


def nothing(model: nn.Module) -> dict[str, float]:
    return {}


def small(name: str, epochs: int = 2, **training: object) -> Recipe:
    """A recipe of three steps in an epoch, in float32, with weights large enough for all gradients."""
    recipe = shrink(get_recipe(name), images=170, epochs=epochs)
    training = {"precision": "float32", "drops": (1,)} | training
    return replace(
        recipe,
        film=False,
        model=replace(recipe.model, init_std=0.2),
        training=replace(recipe.training, **training),
    )


def trainers_of(recipe: Recipe, splits: LearningSplits, *seeds: int) -> list[Trainer]:
    return [make_trainer(recipe, splits, seed) for seed in seeds]


TOYS = toy_data()


def toy(
    model: str | ModelSettings = "semi-supervised",
    seed: int = 0,
    data: TrainingSet | None = None,
    weights: int | None = None,
    epochs: int = 2,
    **training: object,
) -> Trainer:
    """A small trainer of six steps in an epoch."""
    settings = TrainingSettings(epochs, 10, **training)
    return Trainer(build(model, seed if weights is None else weights), data or TOYS, settings, seed)


def stack_of(*trainers: Trainer, monitor: Callable = nothing, every: int = 1) -> Stack:
    return Stack(trainers, [monitor] * len(trainers), every)


def train(*trainers: Trainer, monitor: Callable = nothing, every: int = 1) -> Stack:
    (stack,) = train_together([stack_of(*trainers, monitor=monitor, every=every)])
    return stack


def numbers(trainer: Trainer) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in SPEED} for row in trainer.history]


def assert_close(first: nn.Module, second: nn.Module) -> None:
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=1e-4, atol=1e-5)


# One seed: the same training


def test_the_recipes_below_are_of_all_variants():
    assert {get_recipe(name).model.variant for name in RECIPES} == set(VARIANTS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_stack_of_one_seed_computes_what_its_trainer_computes(name, mnist_files):
    recipe = small(name)
    splits = load_learning_splits(recipe.data)
    monitor = make_monitor(recipe, splits.validation)
    alone, stacked = trainers_of(recipe, splits, 3, 3)
    before = copy_of(alone.model)
    alone.fit(monitor, progress=False)
    stack = train(stacked, monitor=monitor)
    assert not stack.failures
    assert (stacked.epoch, stacked.steps) == (alone.epoch, alone.steps) == (2, alone.all_steps)
    assert_close(stacked.model, alone.model)
    moved = [(alone.model.state_dict()[key] - value).abs().max().item() for key, value in before.items()]
    assert max(moved) > 1e-3
    for row, expected in zip(numbers(stacked), numbers(alone), strict=True):
        assert list(row) == list(expected)
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert [list(row) for row in stacked.history] == [list(row) for row in alone.history]
    assert all(type(value) is float for row in stacked.history for value in row.values())


def test_a_stack_averages_as_its_trainer_does():
    settings = {"epochs": 5, "averaging": 0.5, "reconstruction": ADAM}
    alone, stacked = toy("reduction", **settings), toy("reduction", **settings)
    alone.fit(progress=False)
    seen = []
    train(stacked, monitor=lambda model: seen.append((model is stacked.averaged, model.training)) or {})
    # averaged for the first time after ten steps, in the second epoch
    assert seen == [(False, False)] + [(True, False)] * 4
    assert_close(stacked.averaged, alone.averaged)
    assert_close(stacked.model, alone.model)
    assert not torch.equal(stacked.averaged.decoder.image[0].weight, stacked.model.decoder.image[0].weight)


def test_rates_fall_in_a_stack_when_those_of_its_trainer_do():
    settings = {"epochs": 3, "drops": (1,), "generator": Rates(0.1, 0.1, constant=True)}
    stacked = toy("clustering", **settings)
    stack = stack_of(stacked)
    rates = []
    while not stack.finished:
        stack.advance()
        rates.append([optimizer.param_groups[0]["lr"].item() for optimizer in stack.optimizers])
    assert rates[0] == pytest.approx([0.001, 0.01, 0.1])
    assert rates[1] == rates[2] == rates[0]


def test_the_progress_of_a_stack_is_that_of_its_steps(monkeypatch):
    seen: list[float] = []
    trainer = toy(epochs=2)
    run_terms = Stack._terms

    def terms(self, phase, images, shared):
        if phase.name == "reconstruction":
            seen.append(self.progress.item())
        return run_terms(self, phase, images, shared)

    monkeypatch.setattr(Stack, "_terms", terms)
    train(trainer)
    assert seen == pytest.approx([step / 12 for step in range(12)])


# Several seeds: each on its own


def hidden_labels(*seeds: int) -> list[TrainingSet]:
    """The same images, with other labels visible for each seed."""
    y = torch.arange(len(TOYS)) % 10
    sets = []
    for seed in seeds:
        visible = (torch.arange(len(TOYS)) + seed) % 3 == 0
        sets.append(
            TrainingSet(TOYS.x, torch.where(visible, y, -1), TOYS.x[visible].clone(), y[visible].clone())
        )
    return sets


def test_a_seed_knows_nothing_of_its_neighbor():
    first, other, third = hidden_labels(0, 1, 2)
    ends = []
    for data, weights in ((other, 1), (third, 1), (other, 7)):
        mine, neighbor = toy(seed=0, data=first), toy(seed=1, data=data, weights=weights)
        train(mine, neighbor)
        ends.append((copy_of(mine.model), copy_of(neighbor.model), numbers(mine)))
    for mine, neighbor, history in ends[1:]:
        assert_same(mine, ends[0][0])
        assert history == ends[0][2]
        assert not torch.equal(neighbor["encoder.label.0.weight"], ends[0][1]["encoder.label.0.weight"])


def all_labels(*seeds: int) -> list[TrainingSet]:
    y = torch.arange(len(TOYS)) % 10
    return [TrainingSet(TOYS.x, (y + seed) % 10, TOYS.x, (y + seed) % 10) for seed in seeds]


@pytest.mark.parametrize(
    ("parent", "settings", "show"),
    [
        (SemiSupervisedAutoencoder, "semi-supervised", hidden_labels),
        (SemiSupervisedAutoencoder, "semi-supervised", all_labels),
        (SupervisedAutoencoder, "supervised", all_labels),
    ],
    ids=["some labels", "all labels", "labels to the decoder"],
)
def test_each_seed_keeps_its_labels_weights_and_order(parent, settings, show):
    """Without the samples of the priors, which are noise, seeds compute what they compute alone."""

    class Noiseless(parent):
        def phases(self) -> tuple[Phase, ...]:
            kept = ("reconstruction", "classification")
            return tuple(phase for phase in super().phases() if phase.rates in kept)

    def trainers() -> list[Trainer]:
        made = []
        for seed, data in zip((4, 5, 6), show(4, 5, 6), strict=True):
            torch.manual_seed(seed)
            model = Noiseless(SETTINGS[settings], 20)
            made.append(Trainer(model, data, TrainingSettings(3, 10), seed))
        return made

    alone, stacked = trainers(), trainers()
    train(*stacked)
    for mine, expected in zip(stacked, alone, strict=True):
        expected.fit(progress=False)
        assert_close(mine.model, expected.model)
        for row, wanted in zip(numbers(mine), numbers(expected), strict=True):
            assert row == pytest.approx(wanted, rel=1e-4)


def test_the_noise_of_two_seeds_is_not_the_same():
    settings = replace(SETTINGS["adversarial"], corruption=Corruption(noise_std=0.5))
    twins = [toy(settings, seed=0), toy(settings, seed=0)]
    train(*twins)
    first, second = (copy_of(trainer.model) for trainer in twins)
    assert not torch.equal(first["encoder.hidden.0.weight"], second["encoder.hidden.0.weight"])


# Resumed


@pytest.mark.parametrize("name", ["semi-supervised", "reduction", "adversarial, universal posterior"])
def test_a_stack_goes_on_from_the_checkpoints_of_another(name, tmp_path):
    settings = {"epochs": 4, "reconstruction": ADAM, "drops": (1, 3), "averaging": 0.5}
    model = replace(SETTINGS[name], corruption=Corruption(0.3, 0.2))
    whole, cut, again = (toy(model, **settings) for _ in range(3))
    train(whole)
    stack = stack_of(cut)
    while cut.epoch < 2:
        stack.advance()
    stack.scatter(optimizers=True)
    save_checkpoint(tmp_path, cut.state_dict())
    torch.rand(3, generator=cut.noise)  # what the first one does from here on plays no part
    stack.advance()
    again.resume(tmp_path)
    assert (again.epoch, again.steps) == (2, 12)
    train(again)
    assert_same(copy_of(again.model), copy_of(whole.model))
    assert_same(copy_of(again.averaged), copy_of(whole.averaged))
    assert numbers(again) == numbers(whole)


def test_a_trainer_goes_on_from_the_checkpoint_of_a_stack(tmp_path):
    settings = {"epochs": 4, "reconstruction": ADAM, "averaging": 0.5}
    alone, cut, again = (toy("reduction", **settings) for _ in range(3))
    alone.fit(progress=False)
    stack = stack_of(cut)
    while cut.epoch < 3:
        stack.advance()
    stack.scatter()
    save_checkpoint(tmp_path, cut.state_dict())
    again.resume(tmp_path)
    again.fit(progress=False)
    assert_close(again.model, alone.model)
    assert_close(again.averaged, alone.averaged)


def test_each_trainer_gets_its_own_part_of_the_optimizers():
    settings = {"epochs": 1, "reconstruction": ADAM}
    trainers = [toy("clustering", seed, **settings) for seed in range(3)]
    stack = train(*trainers)
    stack.scatter(optimizers=True)
    for place, trainer in enumerate(trainers):
        weight = trainer.model.encoder.hidden[0].weight
        state = trainer.optimizers[0].state[weight]
        stacked = stack.optimizers[0].state[stack.weights["encoder.hidden.0.weight"]]
        assert torch.equal(state["exp_avg"], stacked["exp_avg"][place])
        assert state["step"].item() == 6
    assert torch.equal(weight, stack.weights["encoder.hidden.0.weight"][2])


@pytest.mark.parametrize("name", ["semi-supervised", "reduction", "clustering"])
def test_what_a_trainer_gets_back_lies_in_memory_as_its_weights_do(name):
    """Fused optimizers look at nothing else: a moment in another order would be another moment."""
    trainers = [toy(name, seed, epochs=1, reconstruction=ADAM) for seed in range(2)]
    train(*trainers).scatter(optimizers=True)
    states = 0
    for trainer in trainers:
        for optimizer in trainer.optimizers:
            for weight, state in optimizer.state.items():
                for value in state.values():
                    if isinstance(value, torch.Tensor) and value.dim():
                        states += 1
                        assert value.stride() == weight.stride()
    assert states > 20


@pytest.mark.filterwarnings("error::UserWarning")
def test_rates_that_fall_bring_no_warning():
    train(toy("clustering", epochs=3, drops=(1,)))


# Judged now and then


def test_epochs_are_judged_every_so_often_and_at_the_end():
    trainers, judged = [toy("clustering", seed, epochs=7) for seed in range(2)], []

    def monitor(model: nn.Module) -> dict[str, float]:
        judged.append((trainers[0].epoch + 1, model.encoder.hidden[0].weight.clone()))
        return {"validation_error": 5.0}

    train(*trainers, monitor=monitor, every=3)
    for trainer in trainers:
        assert trainer.epoch == 7
        assert [row["epoch"] for row in trainer.history] == list(range(1, 8))
        assert [row["epoch"] for row in trainer.history if "validation_error" in row] == [3, 6, 7]
        assert all(type(value) is float for row in trainer.history for value in row.values())
    # a judged model has the weights of that moment
    weights = [weight for _, weight in judged]
    assert len(weights) == 6
    assert not any(torch.equal(weights[0], other) for other in weights[1:])
    assert torch.equal(weights[4], trainers[0].model.encoder.hidden[0].weight)


def test_the_clock_of_a_stack_starts_with_its_first_step(monkeypatch):
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    monkeypatch.setattr(stacking.time, "perf_counter", clock)
    stack = stack_of(toy(epochs=1))
    now = 100.0  # so long it waits for others
    list(train_together([stack]))
    assert stack.trainers[0].history[0]["seconds"] == 1


def test_what_is_judged_can_be_kept():
    trainer, kept = toy(epochs=5), []
    stack = stack_of(trainer, every=2)
    stack.keep = lambda: kept.append((trainer.epoch, type(trainer.history[-1]["reconstruction"])))
    assert list(train_together([stack])) == [stack]
    assert kept == [(2, float), (4, float), (5, float)]


def test_what_is_judged_more_rarely_is_trained_as_before():
    often, rarely = toy(epochs=4), toy(epochs=4)
    train(often, every=1)
    train(rarely, every=4)
    assert_same(copy_of(rarely.model), copy_of(often.model))
    assert numbers(rarely) == numbers(often)


# What goes wrong


def with_film(trainer: Trainer) -> Trainer:
    trainer.film = object.__new__(Film)
    return trainer


def of_recipe(name: str, trainer: Trainer) -> Trainer:
    trainer.notes["recipe"] = {"name": name}
    return trainer


def trained_for_an_epoch(trainer: Trainer) -> Trainer:
    trainer.history.append({"epoch": 1.0})
    return trainer


@pytest.mark.parametrize(
    "other",
    [
        lambda: toy("adversarial", 1, epochs=3),
        lambda: toy("adversarial", 1, generator=Rates(0.2)),
        lambda: toy("adversarial", 1, data=toy_data()),
        lambda: with_film(toy("adversarial", 1)),
        lambda: trained_for_an_epoch(toy("adversarial", 1)),
        lambda: toy("adversarial, universal posterior", 1),
        lambda: toy(replace(SETTINGS["adversarial"], units=13), 1),
        lambda: of_recipe("labeled-mixture", toy("adversarial", 1)),
    ],
    ids=["epochs", "rates", "images", "film", "epoch", "model", "sizes", "recipe"],
)
def test_trainers_that_do_not_fit_together_are_refused(other):
    with pytest.raises(ValueError) as caught:
        stack_of(toy("adversarial"), other())
    assert str(caught.value) == (
        "A stack needs trainers of one recipe without a film, on the same images, at the same epoch."
    )


def test_one_trainer_with_a_film_is_refused_too():
    with pytest.raises(ValueError, match="without a film"):
        stack_of(with_film(toy("adversarial")))


def test_a_stack_whose_loss_is_not_finite_says_so():
    trainers = [toy("clustering", seed, epochs=4) for seed in range(2)]
    with torch.no_grad():
        trainers[1].model.decoder.image[0].weight.fill_(math.nan)
    stack = train(*trainers, every=2)
    assert stack.finished
    assert next(iter(stack.failures.values())).startswith(
        "The loss 'reconstruction' is no longer finite in epoch 1: lower"
    )
    assert trainers[0].epoch < 4


def test_a_stack_whose_weights_are_not_finite_says_so():
    def monitor(model: nn.Module) -> dict[str, float]:
        raise TrainingDiverged("The weights are no longer finite.")

    assert train(toy(), monitor=monitor).failures[0] == "The weights are no longer finite."


def test_a_stack_whose_codes_are_not_finite_says_so():
    def monitor(model: nn.Module) -> dict[str, float]:
        raise NotFinite("The codes hold NaN or infinite values.")

    trainer = toy()
    assert train(trainer, monitor=monitor).failures[0] == WILD
    assert trainer.epoch == 0


def test_a_stack_that_takes_too_much_memory_says_so_and_stops_no_other(monkeypatch):
    step = Stack.step

    def step_or_fail(self: Stack) -> None:
        if len(self.trainers) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        step(self)

    monkeypatch.setattr(Stack, "step", step_or_fail)
    large, sound = stack_of(toy(), toy(seed=1)), stack_of(toy())
    done = list(train_together([large, sound]))
    assert {stack: stack.broken for stack in done} == {
        large: "There is not enough memory on the device: train fewer seeds at once.",
        sound: "",
    }
    assert sound.trainers[0].epoch == 2


def test_a_failed_stack_stops_no_other():
    broken, sound = toy(generator=Rates(1e30)), toy(epochs=3)
    done = list(train_together([stack_of(broken), stack_of(sound)]))
    assert [bool(stack.failures) for stack in done] == [True, False]
    assert sound.epoch == 3


# Side by side


def test_stacks_are_made_when_their_turn_comes(monkeypatch):
    monkeypatch.setattr(stacking, "PAUSE", 0.0)
    running: list[int] = []
    most = 0

    def stacks() -> Iterator[Stack | None]:
        nonlocal most
        for number in range(4):
            yield None
            running.append(number)
            most = max(most, len(running))
            yield stack_of(toy(epochs=2, seed=number))

    finished = []
    for stack in train_together(stacks(), at_once=2):
        running.pop(0)
        finished.append(stack.trainers[0])
        assert stack.finished
    assert len(finished) == 4
    assert most == 2
    assert all(trainer.epoch == 2 for trainer in finished)


def test_a_stack_that_has_nothing_to_do_is_returned():
    trainer = trained_for_an_epoch(toy(epochs=1))
    before = copy_of(trainer.model)
    assert train(trainer).finished
    assert_same(copy_of(trainer.model), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of CUDA")
@pytest.mark.parametrize("name", ["semi-supervised", "reduction", "clustering", "supervised"])
def test_a_captured_step_computes_what_the_trainers_compute(name):
    """Eighteen steps, of which all but the first two are replayed from the graph."""
    data = toy_data()
    shown = data.y.clamp(min=0) if name == "supervised" else data.y
    there = TrainingSet(data.x.cuda(), shown.cuda(), data.labeled_x.cuda(), data.labeled_y.cuda())
    settings = {"epochs": 3, "drops": (2,)}
    alone, stacked = (
        Trainer(build(name).cuda(), there, TrainingSettings(batch_size=10, **settings)) for _ in range(2)
    )
    alone.fit(progress=False)
    stack = train(stacked)
    assert stack._graph is not None
    assert not stack.failures
    assert [row["epoch"] for row in stacked.history] == [1, 2, 3]
    torch.testing.assert_close(stacked.model.state_dict(), alone.model.state_dict(), rtol=1e-2, atol=1e-3)
