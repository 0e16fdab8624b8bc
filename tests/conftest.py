"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_data import md5, tfd_content, write_mnist, write_svhn, write_tfd


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks are fastest, and bit-identical between processes, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mnist_archives(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Root of 300 training and 100 test images in MNIST's format, and their checksums."""
    root = tmp_path_factory.mktemp("mnist")
    return root, write_mnist(root, train=300, test=100)


@pytest.fixture
def mnist_files(mnist_archives, monkeypatch) -> Path:
    """A small MNIST in place of the real one: 200 training, 100 validation and 100 test images."""
    from torchvision.datasets import MNIST

    from aae_utils import data

    root, sums = mnist_archives
    monkeypatch.setattr(MNIST, "resources", list(sums.items()))
    monkeypatch.setattr(data, "MNIST_VALIDATION", 100)
    monkeypatch.setenv("AAE_DATA", str(root))
    return root


@pytest.fixture
def svhn_files(tmp_path, monkeypatch) -> Path:
    """A small SVHN in place of the real one, in its .mat layout."""
    from torchvision.datasets import SVHN

    from aae_utils import data

    root, table = tmp_path / "svhn", {}
    for name, count in {"train": 300, "extra": 20, "test": 100}.items():
        write_svhn(root, name, count)
        file = f"{name}_32x32.mat"
        table[name] = ["http://mirror.invalid/", file, md5(root / file)]
    monkeypatch.setattr(SVHN, "split_list", table)
    monkeypatch.setattr(data, "SVHN_VALIDATION", 100)
    monkeypatch.setenv("AAE_DATA", str(root))
    return root


@pytest.fixture
def tfd_files(tmp_path, monkeypatch) -> Path:
    """A small Toronto Face Database in place of the real one, in its .mat layout."""
    root = tmp_path / "tfd"
    write_tfd(root, **tfd_content(unlabeled=100, labeled=70))
    monkeypatch.setenv("AAE_DATA", str(root))
    return root
