from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from interrupted import EPOCHS, STEPS, make_trainer, toy_data
from small_models import TERMS, build, seeded
from torch import Tensor, nn

from aae_utils.data import ImageData
from aae_utils.film import GRID, IMAGES, MOMENTS, Film, moments
from aae_utils.metrics.matching import prior_distance
from aae_utils.priors import Gaussian
from aae_utils.seeds import random_stream
from aae_utils.training import Trainer, TrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")


class Half(nn.Module):
    """Codes are half of the images; D(z) is the steepest to the right, and rises a little upwards."""

    prior = Gaussian(2, 3.0)

    def encode(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x[:, :2] / 2

    def prior_probability(self, code: Tensor) -> Tensor:
        return (code[:, 0] + code[:, 1] / 10).sigmoid()


def validation(count: int = 40) -> ImageData:
    return ImageData(torch.rand(count, 4, generator=seeded()), torch.arange(count) % 10, (2, 2))


def filmed(steps: int = 30, images: ImageData | None = None) -> Film:
    """A film in which the loss of step k is k."""
    film, model = Film(images or validation(), steps), Half()
    film.observe(model, {})
    for step in range(1, steps + 1):
        film.observe(model, {"loss": torch.tensor(float(step))})
    return film


@pytest.mark.parametrize("steps", [1, 2, 30, 59, 60, 1000, 20_000, 1_000_000])
def test_moments_are_some_sixty_from_the_first_to_the_last(steps):
    found = moments(steps)
    assert (found[0], found[-1]) == (0, steps)
    assert list(found) == sorted(set(found))
    assert min(MOMENTS, steps + 1) <= len(found) <= 1.2 * MOMENTS


def test_moments_are_evenly_spaced_in_their_logarithm():
    late = [math.log(step) for step in moments(100_000) if step > 300]
    gaps = [after - before for before, after in zip(late[:-1], late[1:], strict=True)]
    assert max(gaps) < 1.1 * min(gaps)


def test_shapes_and_types_of_what_is_stored():
    tensors, names = filmed(steps=300, images=validation(IMAGES + 5)).tensors()
    count = len(moments(300))
    stored = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
    assert stored == {
        "steps": ((count,), torch.int64),
        "codes": ((count, IMAGES, 2), torch.float16),
        "labels": ((IMAGES,), torch.uint8),
        "losses": ((count, 1), torch.float32),
        "distance": ((count,), torch.float32),
        "limit": ((1,), torch.float32),
        "discriminator": ((count, GRID, GRID), torch.uint8),
    }
    assert names == {"losses": "loss"}
    assert tensors["steps"].tolist() == list(moments(300))


def test_codes_labels_and_distance_are_those_of_the_images():
    film, images = filmed(), validation()
    tensors, _ = film.tensors()
    codes = images.images[:, :2] / 2
    assert torch.equal(tensors["codes"][7], codes.half())
    assert torch.equal(tensors["labels"].long(), images.labels)
    assert tensors["distance"][7].item() == pytest.approx(prior_distance(Half.prior, codes))


def test_losses_are_means_over_the_steps_since_the_moment_before():
    film = filmed(steps=1000)
    losses = film.tensors()[0]["losses"][:, 0].tolist()
    assert math.isnan(losses[0])
    marks = moments(1000)
    means = [(before + 1 + now) / 2 for before, now in zip(marks[:-1], marks[1:], strict=True)]
    assert losses[1:] == pytest.approx(means)


def test_rows_of_the_discriminator_go_up_and_columns_go_right():
    tensors, _ = filmed().tensors()
    discriminator, limit = tensors["discriminator"][0].float(), tensors["limit"].item()
    assert (discriminator.diff(dim=1) >= 0).all()
    for row, column, point in (
        (0, 0, (-limit, -limit)),
        (0, GRID - 1, (limit, -limit)),
        (GRID - 1, 0, (-limit, limit)),
    ):
        expected = 255 * Half().prior_probability(torch.tensor([point])).item()
        assert discriminator[row, column].item() == pytest.approx(expected, abs=1)
    middle = GRID // 2
    assert discriminator[0, middle] < discriminator[GRID - 1, middle]


def test_the_square_shows_the_whole_prior():
    limit = filmed().tensors()[0]["limit"].item()
    sample = Half.prior.sample(10_000, random_stream(0, "prior"))
    assert limit == pytest.approx(1.15 * sample.abs().max().item())


@pytest.mark.parametrize("name", ["adversarial", "label-regularized", "variational"])
def test_a_trainer_films_every_step(name):
    data = toy_data()
    film = Film(ImageData(data.x, torch.zeros(len(data)).long(), (4, 5)), 2 * STEPS)
    Trainer(build(name), data, TrainingSettings(2, 10), film=film).fit(progress=False)
    tensors, names = film.tensors()
    assert tensors["steps"].tolist() == list(range(2 * STEPS + 1))
    assert names["losses"].split(",") == TERMS[name]
    assert tensors["losses"][1:].isfinite().all()
    assert ("discriminator" in tensors) == (name != "variational")
    assert not torch.equal(tensors["codes"][0], tensors["codes"][-1])


def test_filming_changes_nothing():
    filmed_run, plain = make_trainer(), make_trainer()
    plain.film = None
    for trainer in (filmed_run, plain):
        trainer.fit(progress=False)
    pairs = zip(filmed_run.model.parameters(), plain.model.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)
    assert len(filmed_run.film.frames) == EPOCHS * STEPS + 1


def cut_after_ten_steps() -> dict[str, Any]:
    film, model = Film(validation(), 30), Half()
    film.observe(model, {})
    for step in range(1, 11):
        film.observe(model, {"loss": torch.tensor(float(step))})
    return film.state_dict()


def continued(state: dict[str, Any]) -> dict[str, Tensor]:
    film, model = Film(validation(), 30), Half()
    film.load_state_dict(state)
    for step in range(11, 31):
        film.observe(model, {"loss": torch.tensor(float(step))})
    return film.tensors()[0]


def test_a_film_goes_on_from_a_checkpoint_that_was_read_onto_another_device():
    state = cut_after_ten_steps()
    moved: list[Tensor] = []

    class Elsewhere(Tensor):
        def cpu(self) -> Tensor:
            moved.append(self.as_subclass(Tensor))
            return moved[-1]

    frames = [
        {
            name: value.as_subclass(Elsewhere) if isinstance(value, Tensor) else value
            for name, value in frame.items()
        }
        for frame in state["frames"]
    ]
    tensors, expected = continued(state | {"frames": frames}), filmed().tensors()[0]
    assert len(moved) == 2 * len(frames)
    assert all(
        torch.equal(tensors[name].nan_to_num(), value.nan_to_num()) for name, value in expected.items()
    )


def test_a_film_goes_on_from_a_checkpoint_with_the_former_name_of_the_discriminator():
    state = cut_after_ten_steps()
    for frame in state["frames"]:
        frame["critic"] = frame.pop("discriminator")
    tensors, expected = continued(state), filmed().tensors()[0]
    assert tensors.keys() == expected.keys()
    assert torch.equal(tensors["discriminator"], expected["discriminator"])
