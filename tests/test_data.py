from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from small_data import tfd_content

from aae_utils.data import (
    SPLITS,
    UNLABELED,
    DataSettings,
    ImageData,
    LearningSplits,
    Standardizer,
    balanced_subset,
    load,
    load_mnist,
    load_splits,
    load_svhn,
    load_tfd,
)

EMBEDDED = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(scope="module")
def mnist() -> dict[str, ImageData]:
    return {split: load_mnist(split, EMBEDDED) for split in SPLITS["mnist"]}


# The three data sets


def test_mnist_is_the_published_one(mnist):
    training = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist["all"].labels.bincount().tolist() == training
    assert mnist["test"].labels.bincount().tolist() == test
    assert mnist["train"].labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    picture = mnist["train"].images[0].reshape(mnist["train"].shape)
    assert picture[5, 12].item() == pytest.approx(3 / 255)
    assert picture[:5].sum() == 0
    for part in mnist.values():
        assert (part.dim, part.shape) == (784, (28, 28))
        assert (part.images.min(), part.images.max()) == (0, 1)


def test_mnist_train_and_validation_make_up_the_training_set(mnist):
    assert len(mnist["validation"]) == 10_000
    parts = (mnist["train"], mnist["validation"])
    assert torch.equal(mnist["all"].images, torch.cat([part.images for part in parts]))
    assert torch.equal(mnist["all"].labels, torch.cat([part.labels for part in parts]))


def test_mnist_splits_share_no_image(mnist):
    digests = {
        split: {row.tobytes() for row in mnist[split].images.mul(255).byte().numpy()}
        for split in ("train", "validation", "test")
    }
    assert len(set().union(*digests.values())) == sum(map(len, digests.values()))
    assert len(digests["train"]) == 50_000


def test_svhn_pixels_and_labels(svhn_files):
    part = load_svhn("test", svhn_files)
    assert (part.dim, part.shape, len(part)) == (3072, (32, 32, 3), 100)
    original = loadmat(svhn_files / "test_32x32.mat")
    picture = part.images[7].reshape(part.shape)
    np.testing.assert_allclose(picture.numpy() * 255, original["X"][..., 7], atol=1e-4)
    assert original["y"][9, 0] == 10
    assert part.labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_svhn_splits(svhn_files):
    parts = {split: load_svhn(split, svhn_files).images for split in SPLITS["svhn"]}
    assert [len(part) for part in parts.values()] == [200, 100, 20, 220, 320, 100]
    assert torch.equal(parts["all"], torch.cat([parts[key] for key in ("train", "validation", "extra")]))
    assert torch.equal(parts["train-extra"], torch.cat([parts["train"], parts["extra"]]))


def test_tfd_pixels_labels_and_splits(tfd_files):
    parts = {split: load_tfd(split, tfd_files) for split in SPLITS["tfd"]}
    train = parts["train"]
    assert (train.dim, train.shape) == (2304, (48, 48))
    # all 100 faces without an expression, and of the 70 others two sevenths are held out, three at a time
    assert [(part.labels == UNLABELED).sum() for part in parts.values()] == [100, 0, 0]
    assert [len(part) for part in parts.values()] == [100 + 52, 9, 9]
    assert train.labels[100:108].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    original = tfd_content(unlabeled=100, labeled=70)["images"][101]
    np.testing.assert_allclose(train.images[101].reshape(train.shape).numpy() * 255, original, atol=1e-4)
    assert len(torch.cat([part.images for part in parts.values()]).unique(dim=0)) == 170


def test_tfd_folds_differ_in_their_test_images(tfd_files):
    tests = [load_tfd("test", tfd_files, fold=fold).images for fold in range(5)]
    assert len(torch.cat(tests).unique(dim=0)) == sum(map(len, tests))
    with pytest.raises(ValueError, match="fold must be a whole number from 0 to 4, not 5"):
        load_tfd("test", tfd_files, fold=5)


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="Unknown dataset 'cifar': choose one of mnist, svhn, tfd"):
        load("cifar", "train")
    for dataset, splits in SPLITS.items():
        with pytest.raises(ValueError, match=f"Unknown split of {dataset} 'dev': .* {', '.join(splits)}"):
            load(dataset, "dev", tmp_path)


# Images


def make_images(**changes) -> ImageData:
    fields = {
        "images": torch.arange(12.0).reshape(3, 4) / 12,
        "labels": torch.tensor([5, 6, 7]),
        "shape": (2, 2),
    }
    return ImageData(**(fields | changes))


def test_image_data_subset_and_first():
    whole = make_images()
    part = whole.subset(torch.tensor([2, 0]))
    assert (len(part), part.dim, part.shape, part.labels.tolist()) == (2, 4, (2, 2), [7, 5])
    assert torch.equal(part.images, whole.images[[2, 0]])
    assert torch.equal(whole.first(2).images, whole.images[:2])
    assert whole.first(2).labels.tolist() == [5, 6]
    assert len(whole.first(None)) == len(whole.first(99)) == 3
    assert len(whole.subset(torch.empty(0, dtype=torch.int64))) == 0
    with pytest.raises(ValueError, match="count must be a whole number from 1"):
        whole.first(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(3, 4, dtype=torch.uint8)}, r"images .* float32, not \(3, 4\) torch.uint8"),
        ({"images": torch.zeros(3, 2, 2)}, r"images must be an \(N, D\) tensor .* not \(3, 2, 2\)"),
        ({"images": np.zeros((3, 4), dtype=np.float32)}, "images must be an .* tensor .* not ndarray"),
        ({"images": torch.full((3, 4), torch.nan)}, "images must be finite"),
        ({"images": torch.full((3, 4), -torch.inf)}, "images must be finite"),
        ({"images": torch.arange(12.0).reshape(3, 4) * 20}, r"pixels in \[0, 1\], not 0 to 220: divide"),
        ({"labels": torch.tensor([5.0, 6.0, 7.0])}, r"labels .* int64, not \(3,\) torch.float32"),
        ({"labels": torch.tensor([5, 6])}, r"labels must be a \(3,\) tensor of int64, not \(2,\)"),
        ({"labels": [5, 6, 7]}, "labels .* not list"),
        ({"labels": torch.tensor([5, -2, 7])}, "labels must be -1 .* or more, not -2"),
        ({"shape": (2, 3)}, r"shape \(2, 3\) has 6 pixels, but images have 4"),
    ],
)
def test_image_data_refuses_what_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        make_images(**changes)


def test_standardized_images_are_images():
    images = torch.tensor([[-0.1, 30.0], [-0.1, -30.0], [0.2, 0.0]])
    assert make_images(images=images, shape=(1, 2)).images is images
    # one face, brighter everywhere than the average
    assert len(make_images(images=torch.full((3, 4), 2.5))) == 3


def test_standardizer_known_values():
    images = torch.tensor([[1.0, 5.0, 0.1], [3.0, 9.0, 0.1]])
    standardizer = Standardizer.fit(images)
    # a pixel that never changes is only shifted
    torch.testing.assert_close(standardizer.std, torch.tensor([1.0, 2.0, 1.0]))
    expected = torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
    torch.testing.assert_close(standardizer(images), expected)
    torch.testing.assert_close(standardizer.inverse(expected), images)


@pytest.mark.parametrize("shape", [(0, 4), (4,)])
def test_standardizer_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"must have the shape \(N, D\)"):
        Standardizer.fit(torch.zeros(shape))


# Settings and splits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "cifar"}, "Unknown dataset 'cifar': choose one of mnist, svhn, tfd"),
        ({"pool": "test"}, "pool must be images to learn from, and 'test' is held out"),
        ({"dataset": "svhn", "pool": "validation"}, "pool .* 'validation' is held out"),
        ({"pool": "extra"}, "Unknown pool of mnist 'extra': choose one of train, all"),
        ({"labels": "some"}, "labels, unless None or \"all\", must be a whole number .* not 'some'"),
        ({"labels": 0}, "labels, .* not 0"),
        ({"labels": True}, "labels, .* not True"),
        ({"standardize": "yes"}, "standardize must be True or False, not 'yes'"),
        ({"images": 9}, "images, unless None, must be a whole number from 10 .* not 9"),
        ({"held_out": 2.5}, "held_out, .* not 2.5"),
        ({"held_out": 1}, "held_out, unless None, must be a whole number from 10 .* not 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DataSettings(**changes)


def test_splits_are_the_pool_and_the_held_out_images(mnist_files):
    settings = DataSettings(labels="all")
    whole = load_splits(settings)
    assert [len(part) for part in (whole.train, whole.validation, whole.test)] == [200, 100, 100]
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(whole, name).images, load_mnist(name).images)
    assert whole.pixels(whole.test.images) is whole.test.images
    assert len(load_splits(replace(settings, pool="all")).train) == 300


def test_splits_may_be_cut(mnist_files):
    whole = load_splits(DataSettings())
    cut = load_splits(DataSettings(images=50, held_out=20))
    assert [len(part) for part in (cut.train, cut.validation, cut.test)] == [50, 20, 20]
    assert torch.equal(cut.train.images, whole.train.images[:50])
    assert torch.equal(cut.validation.labels, whole.validation.labels[:20])


def test_splits_are_standardized_by_their_training_images(tfd_files):
    settings = DataSettings("tfd", images=60)
    raw, splits = load_splits(settings), load_splits(replace(settings, standardize=True))
    torch.testing.assert_close(splits.train.images.mean(0), torch.zeros(2304), atol=1e-4, rtol=0)
    torch.testing.assert_close(splits.train.images.std(0, correction=0), torch.ones(2304), atol=1e-3, rtol=0)
    mean, std = raw.train.images.mean(0), raw.train.images.std(0, correction=0)
    expected = (raw.test.images - mean) / std
    torch.testing.assert_close(splits.test.images, expected, atol=1e-3, rtol=1e-3)
    assert torch.equal(splits.validation.labels, raw.validation.labels)
    torch.testing.assert_close(splits.pixels(splits.test.images), raw.test.images, atol=1e-5, rtol=0)


def test_pixels_lie_between_black_and_white():
    images = make_images()
    standardizer = Standardizer(torch.full((4,), 0.5), torch.full((4,), 0.25))
    splits = LearningSplits(images, images, standardizer)
    codes = torch.tensor([[-3.0, -2.0, 1.0, 9.0]])
    assert splits.pixels(codes).tolist() == [[0.0, 0.0, 0.75, 1.0]]


# The images that show their label


def test_the_labels_of_the_shipped_runs(mnist):
    chosen = balanced_subset(mnist["train"].labels, 100, seed=0)
    assert chosen[:10].tolist() == [280, 556, 825, 1069, 1938, 2546, 2571, 2861, 3196, 3228]


@pytest.mark.parametrize("count", [100, 1000])
def test_balanced_subset_has_equally_many_of_each_digit(mnist, count):
    labels = mnist["train"].labels
    indices = balanced_subset(labels, count, seed=3)
    assert indices.dtype == torch.int64
    assert labels[indices].bincount().tolist() == [count // 10] * 10
    assert (indices.diff() > 0).all()


def test_balanced_subset_depends_on_the_seed_alone(mnist):
    labels = mnist["train"].labels
    first = balanced_subset(labels, 100, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert torch.equal(balanced_subset(labels, 100, seed=0), first)
    assert not torch.equal(balanced_subset(labels, 100, seed=1), first)
    assert torch.isin(first, balanced_subset(labels, 1000, seed=0)).all()


def test_balanced_subset_draws_every_image_equally_often():
    labels = torch.arange(20) % 2
    drawn = torch.stack([balanced_subset(labels, 4, seed) for seed in range(1000)])
    # Each of 20 images is in 1 of 5 subsets: 200 of 1000, with a standard deviation of 12.6.
    assert ((drawn.flatten().bincount(minlength=20) - 200).abs() < 5 * 12.6).all()


def test_balanced_subset_never_takes_unlabeled_images():
    labels = torch.tensor([-1, 0, -1, 1, -1, 0, 1])
    assert balanced_subset(labels, 4, seed=0).tolist() == [1, 3, 5, 6]


@pytest.mark.parametrize("count", [0, -10, 15])
def test_balanced_subset_refuses_unequal_shares(count):
    with pytest.raises(ValueError, match=f"subset of {count} images .* from 10 classes"):
        balanced_subset(torch.arange(100) % 10, count, seed=0)


def test_balanced_subset_refuses_small_classes_and_no_labels():
    with pytest.raises(ValueError, match="Class 1 has 1 images, but 2 are wanted"):
        balanced_subset(torch.tensor([0, 0, 0, 1]), 4, seed=0)
    with pytest.raises(ValueError, match="from 0 classes"):
        balanced_subset(torch.full((5,), UNLABELED), 5, seed=0)
