from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import URLError

import numpy as np
import pytest
import torch
from small_data import idx_bytes, md5, write_mnist, write_svhn, write_tfd
from torchvision.datasets import MNIST, SVHN

from aae_utils import data
from aae_utils.data import (
    DataError,
    ImageData,
    Standardizer,
    balanced_subset,
    data_root,
    load,
    load_mnist,
    load_svhn,
    load_tfd,
)

REPOSITORY = Path(__file__).resolve().parents[1]
EMBEDDED = REPOSITORY / "data"
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Only this machine can be reached; asking for any other fails as without a network."""

    def within_this_machine(function, find_host):
        def guarded(*args, **kwargs):
            if find_host(args) != "127.0.0.1":
                raise URLError("the network was asked")
            return function(*args, **kwargs)

        return guarded

    connect = within_this_machine(socket.socket.connect, lambda args: args[1][0])
    monkeypatch.setattr(socket.socket, "connect", connect)
    find = within_this_machine(socket.getaddrinfo, lambda args: args[0])
    monkeypatch.setattr(socket, "getaddrinfo", find)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def mirror(tmp_path):
    """An empty folder and the address at which this machine serves it."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


@pytest.fixture(scope="session")
def mnist() -> dict[str, ImageData]:
    return {split: load_mnist(split, EMBEDDED) for split in data.MNIST_SPLITS}


@pytest.fixture
def small_mnist(tmp_path, monkeypatch) -> Path:
    """Root of a small MNIST that torchvision takes for the real one."""
    root = tmp_path / "with space" / "data"
    sums = write_mnist(root)
    monkeypatch.setattr(MNIST, "resources", list(sums.items()))
    monkeypatch.setattr(MNIST, "mirrors", ["http://mirror.invalid/"])
    monkeypatch.setattr(data, "MNIST_VALIDATION", 10)
    return root


@pytest.fixture
def small_svhn(tmp_path, monkeypatch):
    """Root of a small SVHN that torchvision takes for the real one, and its arrays."""
    root = tmp_path / "svhn"
    counts = {"train": 25, "extra": 12, "test": 11}
    arrays, table = {}, {}
    for seed, (name, count) in enumerate(counts.items()):
        arrays[name] = write_svhn(root, name, count, seed)
        file = f"{name}_32x32.mat"
        table[name] = [f"http://mirror.invalid/{file}", file, md5(root / file)]
    monkeypatch.setattr(SVHN, "split_list", table)
    monkeypatch.setattr(data, "SVHN_VALIDATION", 5)
    return root, arrays


def sentence(call, *args, **kwargs) -> str:
    """The message of the DataError that the call must raise: one line, one sentence."""
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert ". " not in message
    return message


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# MNIST


@pytest.mark.parametrize(
    ("split", "count"),
    [("train", 50_000), ("validation", 10_000), ("all", 60_000), ("test", 10_000)],
)
def test_mnist_sizes_types_and_range(mnist, split, count):
    part = mnist[split]
    assert len(part) == count
    assert part.images.shape == (count, 784)
    assert (part.dim, part.shape) == (784, (28, 28))
    assert part.images.dtype == torch.float32
    assert part.labels.dtype == torch.int64
    assert part.images.min() == 0
    assert part.images.max() == 1
    assert set(part.labels.tolist()) == set(range(10))


def test_mnist_train_and_validation_make_up_the_training_set(mnist):
    assert torch.equal(mnist["all"].images[:50_000], mnist["train"].images)
    assert torch.equal(mnist["all"].images[50_000:], mnist["validation"].images)
    joined = torch.cat([mnist["train"].labels, mnist["validation"].labels])
    assert torch.equal(mnist["all"].labels, joined)


def test_mnist_splits_share_no_image(mnist):
    digests = {
        split: {row.tobytes() for row in mnist[split].images.mul(255).byte().numpy()}
        for split in ("train", "validation", "test")
    }
    assert len(digests["train"]) == 50_000
    assert not digests["train"] & digests["validation"]
    assert not digests["train"] & digests["test"]
    assert not digests["validation"] & digests["test"]


def test_mnist_label_counts_are_the_published_ones(mnist):
    training = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist["all"].labels.bincount().tolist() == training
    assert mnist["test"].labels.bincount().tolist() == test


def test_mnist_first_image_is_a_five(mnist):
    assert mnist["train"].labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    picture = mnist["train"].images[0].reshape(mnist["train"].shape)
    assert picture[5, 12].item() == pytest.approx(3 / 255)
    assert picture[:5].sum() == 0


def test_mnist_second_load_is_quick_and_equal(mnist):
    load_mnist("test", EMBEDDED)
    start = time.perf_counter()
    again = load_mnist("test", EMBEDDED)
    assert time.perf_counter() - start < 1
    assert torch.equal(again.images, mnist["test"].images)
    assert torch.equal(again.labels, mnist["test"].labels)


def test_mnist_results_are_independent_of_each_other(small_mnist):
    first = load_mnist("train", small_mnist)
    first.images.zero_()
    first.labels.zero_()
    second = load_mnist("train", small_mnist)
    assert second.images.sum() > 0
    assert second.labels.sum() > 0


def test_reading_leaves_the_folder_as_it_is(small_mnist):
    before = files_below(small_mnist)
    assert len(load_mnist("train", small_mnist)) == 20
    assert files_below(small_mnist) == before


def summary(part: ImageData) -> str:
    return f"{len(part)} {int(part.labels.sum())} {float(part.images.double().mean()):.9f}"


def test_two_processes_load_a_fresh_copy_at_once(tmp_path):
    shutil.copytree(EMBEDDED / "MNIST", tmp_path / "MNIST", ignore=shutil.ignore_patterns("*-ubyte"))
    code = (
        "import sys, torchvision; from aae_utils.data import load_mnist; "
        "print('ready', flush=True); input(); "
        "part = load_mnist('train', sys.argv[1]); "
        "print(len(part), int(part.labels.sum()), f'{float(part.images.double().mean()):.9f}')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("\n")
        other.stdin.flush()
        here = summary(load_mnist("train", tmp_path))
        there, _ = other.communicate(timeout=120)
    assert other.returncode == 0
    assert there.strip() == here
    assert here.startswith("50000 ")


def test_unpacked_files_alone_are_enough_when_intact(small_mnist, monkeypatch):
    expected = load_mnist("all", small_mnist)
    raw, sums = small_mnist / "MNIST" / "raw", {}
    for archive in sorted(raw.iterdir()):
        unpacked = archive.with_suffix("")
        unpacked.write_bytes(gzip.decompress(archive.read_bytes()))
        sums[unpacked.name] = md5(unpacked)
        archive.unlink()
    monkeypatch.setattr(data, "MNIST_UNPACKED", sums)
    assert torch.equal(load_mnist("all", small_mnist).images, expected.images)
    first = raw / "train-images-idx3-ubyte"
    first.write_bytes(first.read_bytes()[:-1])
    assert f"{TRAIN_IMAGES}, " in sentence(load_mnist, "all", small_mnist)


def test_checksums_of_unpacked_files_are_those_of_the_embedded_ones():
    for name, expected in data.MNIST_UNPACKED.items():
        content = gzip.decompress((EMBEDDED / "MNIST" / "raw" / f"{name}.gz").read_bytes())
        assert data.hashlib.md5(content).hexdigest() == expected


def test_truncated_file_is_named(small_mnist):
    load_mnist("train", small_mnist)
    path = small_mnist / "MNIST" / "raw" / TRAIN_IMAGES
    path.write_bytes(path.read_bytes()[:-100])
    message = sentence(load_mnist, "train", small_mnist)
    assert f"{path} is truncated or altered" in message
    assert "delete it" in message
    assert path.exists()


def test_altered_file_is_named(small_mnist):
    path = small_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(10)), mtime=0))
    message = sentence(load_mnist, "train", small_mnist)
    assert f"{path} is truncated or altered (MD5 {md5(path)} instead of " in message


def test_unreadable_file_is_named(small_mnist):
    path = small_mnist / "MNIST" / "raw" / TRAIN_IMAGES
    path.unlink()
    path.mkdir()
    assert f"{path} cannot be read (Is a directory)" in sentence(load_mnist, "train", small_mnist)


def test_missing_file_without_a_network_is_named(small_mnist):
    path = small_mnist / "MNIST" / "raw" / TRAIN_IMAGES
    path.unlink()
    before = files_below(small_mnist)
    message = sentence(load_mnist, "train", small_mnist)
    assert f"{TRAIN_IMAGES} missing in {path.parent} and not downloaded" in message
    assert "the network was asked" in message
    assert "connect to the network, or put the original files there" in message
    assert files_below(small_mnist) == before
    assert socket.getdefaulttimeout() is None


def test_missing_files_are_downloaded_by_torchvision(small_mnist, mirror, tmp_path, monkeypatch):
    expected = load_mnist("all", small_mnist)
    folder, address = mirror
    shutil.copytree(small_mnist / "MNIST" / "raw", folder, dirs_exist_ok=True)
    monkeypatch.setattr(MNIST, "mirrors", [address])
    fresh = tmp_path / "fresh"
    assert torch.equal(load_mnist("all", fresh).images, expected.images)
    assert files_below(fresh) == files_below(small_mnist)
    shutil.rmtree(folder)
    assert torch.equal(load_mnist("all", fresh).images, expected.images)


def test_truncated_download_is_never_kept(small_mnist, mirror, tmp_path, monkeypatch):
    folder, address = mirror
    shutil.copytree(small_mnist / "MNIST" / "raw", folder, dirs_exist_ok=True)
    (folder / TRAIN_IMAGES).write_bytes(b"half a file")
    monkeypatch.setattr(MNIST, "mirrors", [address])
    message = sentence(load_mnist, "all", tmp_path / "fresh")
    assert "not downloaded (File not found or corrupted)" in message
    assert files_below(tmp_path / "fresh") == []


def test_unwritable_folder_is_named(small_mnist, tmp_path):
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "data"
    message = sentence(load_mnist, "train", root)
    assert f"{root / 'MNIST' / 'raw' / TRAIN_IMAGES} is missing" in message
    assert "its folder cannot be written to (Not a directory)" in message
    assert "set AAE_DATA" in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(small_mnist):
    raw = small_mnist / "MNIST" / "raw"
    raw.chmod(0o555)
    try:
        assert len(load_mnist("train", small_mnist)) == 20
        raw.chmod(0o755)
        (raw / TRAIN_IMAGES).unlink()
        raw.chmod(0o555)
        assert "cannot be written to (Permission denied)" in sentence(load_mnist, "train", small_mnist)
    finally:
        raw.chmod(0o755)


def test_folder_that_fills_up_is_named(small_mnist, mirror, monkeypatch):
    folder, address = mirror
    (small_mnist / "MNIST" / "raw" / TRAIN_IMAGES).rename(folder / TRAIN_IMAGES)
    monkeypatch.setattr(MNIST, "mirrors", [address])

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.os, "replace", full)
    message = sentence(load_mnist, "train", small_mnist)
    assert f"{TRAIN_IMAGES} cannot be written (No space left on device)" in message
    assert not [name for name in files_below(small_mnist) if name.endswith(".part")]


def test_missing_temporary_folder_is_named(small_mnist, monkeypatch):
    def refuse(**_kwargs):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(data.tempfile, "TemporaryDirectory", refuse)
    message = sentence(load_mnist, "train", small_mnist)
    assert "No usable temporary directory found" in message
    assert "set TMPDIR" in message


# SVHN


def test_svhn_pixels_and_labels(small_svhn):
    root, arrays = small_svhn
    part = load_svhn("test", root)
    images, labels = arrays["test"]
    assert (part.dim, part.shape, len(part)) == (3072, (32, 32, 3), 11)
    picture = part.images[7].reshape(part.shape)
    np.testing.assert_allclose(picture.numpy() * 255, images[..., 7], atol=1e-4)
    assert labels[9, 0] == 10
    assert part.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert part.images.dtype == torch.float32
    assert part.labels.dtype == torch.int64


def test_svhn_splits(small_svhn):
    root, _ = small_svhn
    parts = {split: load_svhn(split, root) for split in data.SVHN_SPLITS}
    assert [len(part) for part in parts.values()] == [20, 5, 12, 32, 37, 11]
    whole = torch.cat([parts[name].images for name in ("train", "validation", "extra")])
    assert torch.equal(parts["all"].images, whole)
    learned = torch.cat([parts[name].images for name in ("train", "extra")])
    assert torch.equal(parts["train-extra"].images, learned)


def test_svhn_truncated_file_is_named(small_svhn):
    root, _ = small_svhn
    path = root / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:-10])
    message = sentence(load_svhn, "train", root)
    assert f"{path} is truncated or altered" in message


def test_svhn_unreadable_file_is_named(small_svhn, monkeypatch):
    root, _ = small_svhn

    def refuse(_self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SVHN, "_check_integrity", refuse)
    message = sentence(load_svhn, "test", root)
    assert f"{root / 'test_32x32.mat'} cannot be read (Permission denied)" in message


def test_svhn_missing_file_without_a_network_is_named(small_svhn):
    root, _ = small_svhn
    (root / "extra_32x32.mat").unlink()
    before = files_below(root)
    message = sentence(load_svhn, "all", root)
    assert f"extra_32x32.mat missing in {root} and not downloaded" in message
    assert sorted(path.name for path in root.iterdir()) == before
    assert len(load_svhn("test", root)) == 11


def test_svhn_unwritable_folder_is_named(small_svhn, tmp_path):
    (tmp_path / "file").touch()
    message = sentence(load_svhn, "test", tmp_path / "file" / "data")
    assert "test_32x32.mat is missing and cannot be downloaded" in message


def test_svhn_is_downloaded_by_torchvision(small_svhn, mirror, tmp_path, monkeypatch):
    root, _ = small_svhn
    folder, address = mirror
    shutil.copytree(root, folder, dirs_exist_ok=True)
    expected = load_svhn("test", root)
    table = {
        name: [f"{address}{file}", file, checksum] for name, (_, file, checksum) in SVHN.split_list.items()
    }
    monkeypatch.setattr(SVHN, "split_list", table)
    fresh = tmp_path / "fresh"
    assert torch.equal(load_svhn("test", fresh).images, expected.images)
    assert [path.name for path in fresh.iterdir()] == ["test_32x32.mat"]


# Toronto Face Database


def test_tfd_pixels_labels_and_splits(tmp_path):
    content = write_tfd(tmp_path)
    parts = {split: load_tfd(split, tmp_path) for split in data.TFD_SPLITS}
    assert [len(part) for part in parts.values()] == [20 + 15, 3, 3]
    train = parts["train"]
    assert (train.dim, train.shape) == (2304, (48, 48))
    assert train.labels[:20].tolist() == [-1] * 20
    assert train.labels[20:].tolist() == [0, 1, 2, 3, 4, 5, 6] * 2 + [0]
    np.testing.assert_allclose(
        train.images[21].reshape(train.shape).numpy() * 255, content["images"][21], atol=1e-4
    )
    rows = torch.cat([part.images for part in parts.values()])
    assert len(rows.unique(dim=0)) == 41


def test_tfd_folds_differ_in_their_test_images(tmp_path):
    write_tfd(tmp_path)
    tests = [load_tfd("test", tmp_path, fold=fold).images for fold in range(5)]
    assert len(torch.cat(tests).unique(dim=0)) == 15
    for fold in (-1, 5):
        with pytest.raises(ValueError, match=rf"Unknown fold {fold}: choose 0 to 4\."):
            load_tfd("test", tmp_path, fold=fold)


def test_tfd_missing_file_is_named(tmp_path):
    message = sentence(load_tfd, "train", tmp_path)
    assert f"{tmp_path / 'TFD_48x48.mat'} is missing" in message
    assert "put it there" in message


@pytest.mark.parametrize("kept", [0, 100, 50_000])
def test_tfd_truncated_file_is_named(tmp_path, kept):
    write_tfd(tmp_path)
    path = tmp_path / "TFD_48x48.mat"
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path} cannot be read as a MATLAB file" in sentence(load_tfd, "train", tmp_path)


def test_tfd_file_without_an_array_is_named(tmp_path):
    write_tfd(tmp_path, folds=None, labs_ex=None)
    assert "has no labs_ex and no folds" in sentence(load_tfd, "train", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((41, 96, 96), dtype=np.uint8)},
        {"images": np.zeros((41, 48, 48))},
        {"labs_ex": np.ones((40, 1))},
        {"folds": np.ones((40, 5))},
    ],
    ids=["size", "type", "labels", "folds"],
)
def test_tfd_file_of_another_layout_is_named(tmp_path, changes):
    write_tfd(tmp_path, **changes)
    message = sentence(load_tfd, "train", tmp_path)
    assert f"{tmp_path / 'TFD_48x48.mat'} has images" in message
    assert "instead of (N, 48, 48) uint8, (N, 1) and (N, 5)" in message


# Names and folders


def test_load_finds_each_dataset(small_mnist, small_svhn, tmp_path):
    write_tfd(tmp_path)
    assert load("mnist", "validation", small_mnist).shape == (28, 28)
    assert load("svhn", "test", small_svhn[0]).shape == (32, 32, 3)
    assert load("tfd", "test", tmp_path).shape == (48, 48)


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match='Unknown dataset "cifar": choose one of mnist, svhn, tfd'):
        load("cifar", "train")
    for dataset, known in (
        ("mnist", "train, validation, all, test"),
        ("svhn", "train, validation, extra, train-extra, all, test"),
        ("tfd", "train, validation, test"),
    ):
        with pytest.raises(ValueError, match=f'Unknown split "dev" of {dataset}: .* {known}'):
            load(dataset, "dev", tmp_path)


def test_data_root_prefers_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AAE_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.setenv("AAE_DATA", "~/images")
    assert data_root() == Path.home() / "images"


def test_data_root_is_beside_the_package_or_here(monkeypatch, tmp_path):
    monkeypatch.delenv("AAE_DATA", raising=False)
    assert data_root() == EMBEDDED
    monkeypatch.setattr(data, "__file__", str(tmp_path / "site" / "aae_utils" / "data.py"))
    assert data_root() == Path("data")


def test_root_defaults_to_the_data_root(small_mnist, monkeypatch):
    monkeypatch.setenv("AAE_DATA", str(small_mnist))
    assert len(load_mnist("all")) == 30


# Tensors


def test_image_data_subset_and_device():
    images = torch.arange(12.0).reshape(3, 4)
    whole = ImageData(images, torch.tensor([5, 6, 7]), (2, 2))
    part = whole.subset(torch.tensor([2, 0]))
    assert part.labels.tolist() == [7, 5]
    assert torch.equal(part.images, images[[2, 0]])
    assert part.shape == (2, 2)
    moved = whole.to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
    with pytest.raises(AttributeError):
        whole.labels = torch.zeros(3)


def test_image_data_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"shape \(3, 4\), but 2 labels .* need \(2, 6\)"):
        ImageData(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64), (2, 3))


@pytest.mark.parametrize("count", [100, 1000])
def test_balanced_subset_has_equally_many_of_each_digit(mnist, count):
    labels = mnist["train"].labels
    indices = balanced_subset(labels, count, seed=3)
    assert indices.shape == (count,)
    assert indices.dtype == torch.int64
    assert labels[indices].bincount().tolist() == [count // 10] * 10
    assert (indices.diff() > 0).all()


def test_balanced_subset_depends_on_the_seed_alone(mnist):
    labels = mnist["train"].labels
    first = balanced_subset(labels, 100, seed=0)
    state = torch.get_rng_state()
    torch.manual_seed(99)
    assert torch.equal(balanced_subset(labels, 100, seed=0), first)
    torch.set_rng_state(state)
    assert not torch.equal(balanced_subset(labels, 100, seed=1), first)
    larger = balanced_subset(labels, 1000, seed=0)
    assert torch.isin(first, larger).all()


def test_balanced_subset_is_the_same_on_every_machine():
    labels = torch.arange(100) % 10
    expected = [2, 8, 10, 16, 24, 31, 40, 42, 47, 55, 57, 66, 69, 73, 75, 88, 91, 93, 94, 99]
    assert balanced_subset(labels, 20, seed=0).tolist() == expected


def test_balanced_subset_draws_every_image_equally_often():
    labels = torch.arange(20) % 2
    drawn = torch.stack([balanced_subset(labels, 4, seed) for seed in range(1000)])
    # Each of 20 images is in 1 of 5 subsets: 200 of 1000, with a standard deviation of 12.6.
    assert ((drawn.flatten().bincount(minlength=20) - 200).abs() < 5 * 12.6).all()


def test_balanced_subset_never_takes_unlabelled_images():
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
        balanced_subset(torch.full((5,), -1), 5, seed=0)


def test_standardizer_known_values():
    images = torch.tensor([[1.0, 5.0, 0.1], [3.0, 9.0, 0.1]])
    standardizer = Standardizer.fit(images)
    torch.testing.assert_close(standardizer.mean, torch.tensor([2.0, 7.0, 0.1]))
    torch.testing.assert_close(standardizer.std, torch.tensor([1.0, 2.0, 1.0]))
    expected = torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
    torch.testing.assert_close(standardizer(images), expected)


def test_standardizer_on_mnist(mnist):
    images = mnist["validation"].images
    standardizer = Standardizer.fit(images)
    standardized = standardizer(images)
    assert standardized.isfinite().all()
    assert standardized.mean(dim=0).abs().max() < 1e-3
    changing = images.std(dim=0) > 0
    torch.testing.assert_close(
        standardized[:, changing].std(dim=0, correction=0), torch.ones(int(changing.sum()))
    )
    torch.testing.assert_close(standardizer.inverse(standardized), images, atol=1e-5, rtol=0)
    assert standardizer.to("meta").mean.device.type == "meta"


@pytest.mark.parametrize("shape", [(0, 4), (4,)])
def test_standardizer_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"must have the shape \(N, D\)"):
        Standardizer.fit(torch.zeros(shape))
