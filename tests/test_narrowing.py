from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_models import PIXELS, SETTINGS, build
from torch import Tensor, nn

from aae_utils import narrowing, reproduction
from aae_utils.data import load_splits
from aae_utils.narrowing import lasting_clusters, narrowed, reconstruction_errors
from aae_utils.recipes import Recipe, Start, shrink
from aae_utils.reproduction import make_trainer, train_recipe
from aae_utils.runs import RunError
from aae_utils.variants import get_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


class Centers(nn.Module):
    """Clusters that are points of a line: an image belongs to the nearest one, which draws itself."""

    def __init__(self, *centers: float) -> None:
        super().__init__()
        self.centers = torch.tensor(centers)[:, None]
        self.classes = len(centers)

    def predict(self, images: Tensor) -> Tensor:
        nearest = (images - self.centers.T).abs().argmin(1)
        return torch.nn.functional.one_hot(nearest, self.classes).float()

    def encode(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 1)

    def decode(self, y: Tensor, z: Tensor) -> Tensor:
        return y @ self.centers


def images(**counts: int) -> Tensor:
    """So many images at the points that the names of the arguments end in: at_20=3 are three at 20."""
    points = [float(name.removeprefix("at_")) for name, count in counts.items() for _ in range(count)]
    return torch.tensor(points)[:, None]


# Which clusters last


def test_a_duplicate_goes_first_although_it_is_large():
    model = Centers(20.0, 0.0, 10.0, 1.0)
    shown = images(at_20=1, at_0=30, at_10=1, at_1=20)
    assert lasting_clusters(model, shown, 3).tolist() == [0, 1, 2]


def test_of_two_twins_the_one_with_fewer_images_goes():
    assert lasting_clusters(Centers(0.0, 10.0, 1.0), images(at_0=3, at_10=1, at_1=5), 2).tolist() == [1, 2]


def test_the_images_of_a_cluster_that_is_gone_count_for_the_one_that_took_them():
    """0 and 1 are twins: of their eight images five lie at 0, and six at 20 are more than five."""
    model = Centers(20.0, 10.0, 1.0, 0.0)
    shown = images(at_20=6, at_10=20, at_1=3, at_0=5)
    assert lasting_clusters(model, shown, 3).tolist() == [0, 1, 3]
    assert lasting_clusters(model, shown, 2).tolist() == [1, 3]


def test_clusters_without_images_go_first():
    assert lasting_clusters(Centers(0.0, 40.0, 3.0), images(at_0=2, at_3=1), 2).tolist() == [0, 2]


def test_as_many_clusters_as_there_are_all_last():
    assert lasting_clusters(Centers(0.0, 1.0), images(at_0=2), 2).tolist() == [0, 1]


def test_the_first_images_decide(monkeypatch):
    model, shown = Centers(0.0, 1.0, 10.0), images(at_0=4, at_10=4, at_1=9)
    assert lasting_clusters(model, shown, 2).tolist() == [1, 2]
    monkeypatch.setattr(narrowing, "IMAGES", 8)
    assert lasting_clusters(model, shown, 2).tolist() == [0, 2]


def test_each_image_is_drawn_with_every_cluster_and_its_own_style():
    model = build("clustering").eval()
    shown = torch.rand(2003, PIXELS, generator=torch.Generator().manual_seed(0))
    errors = reconstruction_errors(model, shown)
    assert errors.shape == (2003, 6)
    assert not errors.requires_grad
    for image, cluster in ((0, 0), (7, 5), (2002, 3)):
        one_hot = torch.eye(6)[cluster][None]
        drawn = model.decode(one_hot, model.encode(shown[image][None]))
        expected = 0.5 * (shown[image] - drawn[0]).pow(2).sum()
        torch.testing.assert_close(errors[image, cluster], expected)


# Their weights


@pytest.mark.parametrize("batch_norm", ["none", "encoder", "autoencoder"])
def test_a_narrowed_model_answers_and_draws_as_the_wide_one_does(batch_norm):
    settings = replace(SETTINGS["clustering"], batch_norm=batch_norm)
    wide, narrow = build(settings), build(replace(settings, classes=3), seed=1).eval()
    shown = torch.rand(9, PIXELS, generator=torch.Generator().manual_seed(0))
    wide.train()
    wide.encoder(shown)  # running statistics of its own for each cluster
    wide.eval()
    kept = torch.tensor([1, 4, 5])
    weights = narrowed(wide.state_dict(), kept, 6)
    own = {name: value for name, value in narrow.state_dict().items() if "label_discriminator" in name}
    narrow.load_state_dict(weights | own)
    torch.testing.assert_close(narrow.encoder(shown)[0], wide.encoder(shown)[0][:, kept])
    torch.testing.assert_close(narrow.encode(shown), wide.encode(shown))
    styles = torch.randn(3, 3)
    torch.testing.assert_close(narrow.decode(torch.eye(3), styles), wide.decode(torch.eye(6)[kept], styles))


def test_narrowing_leaves_the_wide_weights_as_they_are():
    weights = build("clustering").state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    narrowed(weights, torch.tensor([0, 2]), 6)
    assert all(torch.equal(weights[name], value) for name, value in before.items())


# A training that starts from more clusters


def stages(first: str, second: str) -> tuple[Recipe, Recipe]:
    start = get_recipe(second).start
    assert start.recipe == first
    return shrink(get_recipe(first)), replace(shrink(get_recipe(second)), start=start)


def test_a_training_keeps_the_lasting_clusters_of_a_wider_run(mnist_files, tmp_path, monkeypatch):
    first, second = stages("clustering-30", "clustering-16")
    monkeypatch.setattr(reproduction, "deviation", lambda run: "")
    run = train_recipe(first, 0, tmp_path, "cpu", progress=False)
    splits = load_splits(second.data)
    trainer = make_trainer(second, splits, 0, root=tmp_path)
    kept = lasting_clusters(run.model(), splits.train.images, 16)
    assert len(kept) == 16 and kept.tolist() == sorted(set(kept.tolist()))
    wide, model = run.model(), trainer.model.eval()
    shown = splits.train.images[:20]
    torch.testing.assert_close(model.encoder(shown)[0], wide.encoder(shown)[0][:, kept])
    styles = torch.randn(16, 5)
    torch.testing.assert_close(model.decode(torch.eye(16), styles), wide.decode(torch.eye(30)[kept], styles))
    assert trainer.notes["start"]["run"] == "clustering-30/laptop-seed0"


def test_a_map_starts_from_a_wider_clustering(mnist_files, tmp_path, monkeypatch):
    first, second = get_recipe("clustering-30"), get_recipe("reduction-unsupervised")
    first, second = shrink(first), replace(shrink(second), start=replace(second.start, recipe=first.name))
    monkeypatch.setattr(reproduction, "deviation", lambda run: "")
    run = train_recipe(first, 0, tmp_path, "cpu", progress=False)
    splits = load_splits(second.data)
    model = make_trainer(second, splits, 0, root=tmp_path).model.eval()
    kept = lasting_clusters(run.model(), splits.train.images, 20)
    shown = splits.train.images[:20]
    torch.testing.assert_close(model.encoder(shown)[0], run.model().encoder(shown)[0][:, kept])


def test_the_map_starts_from_all_twenty_of_its_clusters(mnist_files, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "deviation", lambda run: "")
    train_recipe(shrink(get_recipe("clustering-30")), 0, tmp_path, "cpu", progress=False)
    first = get_recipe("clustering-20")
    first = train_recipe(replace(shrink(first), start=first.start), 0, tmp_path, "cpu", progress=False)
    recipe = get_recipe("reduction-unsupervised")
    second = replace(shrink(recipe), start=recipe.start)
    splits = load_splits(second.data)
    model = make_trainer(second, splits, 0, root=tmp_path).model.eval()
    shown = splits.train.images[:20]
    torch.testing.assert_close(model.encoder(shown)[0], first.model().encoder(shown)[0])


def test_no_training_starts_from_fewer_clusters(mnist_files, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "deviation", lambda run: "")
    train_recipe(shrink(get_recipe("clustering-16")), 0, tmp_path, "cpu", progress=False)
    more = replace(shrink(get_recipe("clustering-30")), start=Start("clustering-16", ("encoder",)))
    with pytest.raises(RunError, match="clustering-30 cannot start from .*: its encoder was not kept or has"):
        make_trainer(more, load_splits(more.data), 0, root=tmp_path)
