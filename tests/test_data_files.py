from __future__ import annotations

import gzip
import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pooch
import pytest
import torchvision.datasets.utils
from small_data import md5, write_tfd
from torchvision.datasets import MNIST, SVHN

from aae_utils import data_files
from aae_utils.data_files import DataError, data_root, read_mnist, read_svhn, read_tfd

EMBEDDED = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Only this machine can be reached; asking for any other fails as without a network."""

    def within_this_machine(function, find_host):
        def guarded(*args, **kwargs):
            if find_host(args) != "127.0.0.1":
                raise OSError(101, "Network is unreachable")
            return function(*args, **kwargs)

        return guarded

    connect = within_this_machine(socket.socket.connect, lambda args: args[1][0])
    monkeypatch.setattr(socket.socket, "connect", connect)
    find = within_this_machine(socket.getaddrinfo, lambda args: args[0])
    monkeypatch.setattr(socket, "getaddrinfo", find)
    monkeypatch.setenv("no_proxy", "*")


class Handler(SimpleHTTPRequestHandler):
    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[:50])
        outputfile.flush()
        self.server.half_way()
        outputfile.write(content[50:])

    def log_message(self, *_args):
        pass


class Mirror(ThreadingHTTPServer):
    """This machine serves `folder`; `half_way` is called in the middle of each file."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.folder = folder
        self.address = f"http://127.0.0.1:{self.server_port}/"
        self.half_way = lambda: None


@pytest.fixture(params=["mnist", "svhn"])
def files(request, tmp_path, monkeypatch):
    """A folder of small data files, one of its files, how that is read, and a mirror of the folder."""
    root = tmp_path / "with space" / "data"
    shutil.copytree(request.getfixturevalue(f"{request.param}_files"), root)
    served = tmp_path / "served"
    served.mkdir()
    for path in root.rglob("*32x32.mat" if request.param == "svhn" else "*.gz"):
        shutil.copy(path, served)
    with Mirror(served) as mirror:
        Thread(target=mirror.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", ["http://mirror.invalid/", mirror.address])
        table = {name: (mirror.address + file, file, md5) for name, (_, file, md5) in SVHN.split_list.items()}
        monkeypatch.setattr(SVHN, "split_list", table)
        if request.param == "mnist":
            yield root, root / "MNIST/raw/t10k-images-idx3-ubyte.gz", partial(read_mnist, name="t10k"), mirror
        else:
            yield root, root / "test_32x32.mat", partial(read_svhn, name="test"), mirror
        mirror.shutdown()


def sentence(call, *args) -> str:
    """The message of the DataError that the call must raise: one line, one sentence."""
    with pytest.raises(DataError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert ". " not in message
    return message


def below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def same(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


# What is there is read and never written to


def test_reading_leaves_the_folder_as_it_is(files):
    root, path, read, _ = files
    before = below(root)
    path.parent.chmod(0o555)
    try:
        images, labels = read(root)
    finally:
        path.parent.chmod(0o755)
    assert (images.dtype, len(images), len(labels)) == (np.uint8, 100, 100)
    assert below(root) == before


@pytest.mark.parametrize("damage", [lambda whole: whole[:-100], lambda whole: b"another file", lambda _: b""])
def test_damaged_file_is_named_and_kept(files, damage):
    root, path, read, _ = files
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    message = sentence(read, root)
    assert f"{path} is truncated or altered" in message
    assert "delete it to have it downloaded again" in message
    assert path.read_bytes() == damaged


def test_unreadable_file_is_named(files, monkeypatch):
    root, path, read, _ = files

    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torchvision.datasets.utils, "check_integrity", refuse)
    message = sentence(read, root)
    assert message == f"{path} cannot be read (Permission denied): make it a file that you can read."


def test_unpacked_mnist_alone_is_enough_when_intact(mnist_files, tmp_path, monkeypatch):
    expected = read_mnist(mnist_files, "train")
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for archive in below(mnist_files):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    monkeypatch.setattr(data_files, "MNIST_UNPACKED", {path.name: md5(path) for path in below(raw)})
    assert same(read_mnist(tmp_path, "train"), expected)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"\0" * 308)
    message = sentence(read_mnist, tmp_path, "train")
    assert f"{raw / 'train-labels-idx1-ubyte.gz'} is missing" in message


def test_checksums_of_unpacked_files_are_those_of_the_embedded_ones(tmp_path):
    for name, expected in data_files.MNIST_UNPACKED.items():
        unpacked = tmp_path / name
        unpacked.write_bytes(gzip.decompress((EMBEDDED / f"MNIST/raw/{name}.gz").read_bytes()))
        assert md5(unpacked) == expected


# What is missing is downloaded


def test_missing_files_are_downloaded_once(files, tmp_path):
    root, path, read, mirror = files
    fresh = tmp_path / "fresh"
    assert same(read(fresh), read(root))
    kept = below(fresh)
    assert kept
    assert all(md5(copy) == md5(root / copy.relative_to(fresh)) for copy in kept)
    assert all(copy.stat().st_mode & 0o777 == copy.parent.stat().st_mode & 0o666 for copy in kept)
    shutil.rmtree(mirror.folder)
    assert same(read(fresh), read(root))


def test_others_see_the_whole_file_or_none(files, tmp_path):
    root, path, read, mirror = files
    target = tmp_path / "fresh" / path.relative_to(root)
    reached, go_on = Event(), Event()

    def wait_once():
        mirror.half_way = lambda: None
        reached.set()
        go_on.wait(30)

    mirror.half_way = wait_once
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(read, tmp_path / "fresh")
        assert reached.wait(30)
        assert not target.exists()
        quick = read(tmp_path / "fresh")
        assert md5(target) == md5(path)
        go_on.set()
        assert same(slow.result(), quick)
    assert md5(target) == md5(path)
    assert same(quick, read(root))


def test_truncated_download_is_never_kept(files, tmp_path):
    root, path, read, mirror = files
    (mirror.folder / path.name).write_bytes(path.read_bytes()[:-10])
    message = sentence(read, tmp_path / "fresh")
    assert f"{path.name} is missing and cannot be downloaded (MD5 hash of downloaded file" in message
    assert below(tmp_path / "fresh") == []


def test_missing_file_without_a_network_is_named(files, monkeypatch):
    root, path, read, mirror = files
    path.unlink()
    before = below(root)
    monkeypatch.setattr(MNIST, "mirrors", ["http://mirror.invalid/"])
    table = {name: ("http://mirror.invalid/x", *rest) for name, (_, *rest) in SVHN.split_list.items()}
    monkeypatch.setattr(SVHN, "split_list", table)
    message = sentence(read, root)
    assert f"{path} is missing and cannot be downloaded (Network is unreachable): connect" in message
    assert "put the original file there, or set AAE_DATA" in message
    assert below(root) == before


def test_folder_that_cannot_be_made_is_named(files, tmp_path):
    root, path, read, _ = files
    (tmp_path / "file").touch()
    message = sentence(read, tmp_path / "file" / "data")
    assert f"{path.name} is missing and cannot be downloaded (Not a directory)" in message
    assert "or set AAE_DATA to a folder that holds it or that you can write to" in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_missing_file_in_a_read_only_folder_is_named(files):
    root, path, read, _ = files
    path.unlink()
    path.parent.chmod(0o555)
    try:
        assert f"{path} is missing and cannot be downloaded (Permission denied)" in sentence(read, root)
    finally:
        path.parent.chmod(0o755)


def test_full_disk_is_named_and_leaves_nothing(files, monkeypatch):
    root, path, read, _ = files
    path.unlink()
    before = below(root)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.core.shutil, "move", full)
    assert f"{path} is missing and cannot be downloaded (No space left on device)" in sentence(read, root)
    assert below(root) == before


# The Toronto Face Database is the user's own file


def test_tfd_missing_file_is_named(tmp_path):
    message = sentence(read_tfd, tmp_path)
    assert f"{tmp_path / 'TFD_48x48.mat'} is missing" in message
    assert "put it there" in message


@pytest.mark.parametrize("kept", [0, 100, 50_000])
def test_tfd_truncated_file_is_named(tmp_path, kept):
    write_tfd(tmp_path)
    path = tmp_path / "TFD_48x48.mat"
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path} cannot be read as a MATLAB file" in sentence(read_tfd, tmp_path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"images": np.zeros((41, 96, 96), dtype=np.uint8)}, "has images (41, 96, 96) uint8, labs_ex"),
        ({"images": np.zeros((41, 48, 48))}, "has images (41, 48, 48) float64, labs_ex"),
        ({"labs_ex": np.ones((40, 1), dtype=np.uint8)}, "labs_ex (40, 1) uint8"),
        ({"folds": np.ones((41, 4), dtype=np.uint8)}, "folds (41, 4) uint8 instead of"),
        (
            {"labs_ex": None, "folds": None},
            "has images (41, 48, 48) uint8 instead of images (N, 48, 48) uint8",
        ),
        ({"images": None, "labs_ex": None, "folds": None}, "has no array instead of"),
    ],
)
def test_tfd_file_of_another_layout_is_named(tmp_path, changes, found):
    write_tfd(tmp_path, **changes)
    message = sentence(read_tfd, tmp_path)
    assert message.startswith(f"{tmp_path / 'TFD_48x48.mat'} has ")
    assert found in message


# Folders


def test_data_root_prefers_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AAE_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.setenv("AAE_DATA", "~/images")
    assert data_root() == Path.home() / "images"


def test_data_root_is_beside_the_package_or_here(monkeypatch, tmp_path):
    monkeypatch.delenv("AAE_DATA", raising=False)
    assert data_root() == EMBEDDED
    monkeypatch.setattr(data_files, "__file__", str(tmp_path / "site" / "aae_utils" / "data_files.py"))
    assert data_root() == Path("data")
