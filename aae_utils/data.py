"""MNIST, SVHN and the Toronto Face Database as tensors on a device."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# torchvision and scipy.io are imported where they are used: torchvision doubles the time that
# importing torch takes, and most programs that use this module never read a file.

NO_LABEL = -1
MNIST_VALIDATION = 10_000
SVHN_VALIDATION = 5_000
TFD_FILE = "TFD_48x48.mat"
MNIST_SPLITS = ("train", "validation", "all", "test")
SVHN_SPLITS = ("train", "validation", "extra", "train-extra", "all", "test")
TFD_SPLITS = ("train", "validation", "test")
NETWORK_TIMEOUT = 30.0  # seconds without an answer

# torchvision knows the checksums of the archives only, these are of their contents.
MNIST_UNPACKED = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

Device = torch.device | str


class DataError(ValueError):
    """A data file is missing, damaged or out of reach; the message says which and what to do."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set of flattened images on one device.

    `images` is `(N, D)` float32 in [0, 1], `labels` is `(N,)` int64 with -1 for "no label", and
    `shape` is how to show one row as a picture: `row.reshape(shape)`. Raises ValueError where the
    three do not fit together.
    """

    images: Tensor
    labels: Tensor
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        count, pixels = len(self.labels), math.prod(self.shape)
        if self.images.shape != (count, pixels):
            raise ValueError(
                f"images has the shape {tuple(self.images.shape)}, but {count} labels and pictures "
                f"of shape {self.shape} need ({count}, {pixels})."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dim(self) -> int:
        """Number of values in one image, D."""
        return self.images.shape[1]

    def to(self, device: Device) -> ImageData:
        """The same images and labels on `device`."""
        return ImageData(self.images.to(device), self.labels.to(device), self.shape)

    def subset(self, indices: Tensor) -> ImageData:
        """The images at `indices`, `(M,)` int64, in that order."""
        indices = indices.to(self.images.device)
        return ImageData(self.images[indices], self.labels[indices], self.shape)


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Maps every pixel to mean 0 and standard deviation 1 over a training set (appendix A.1).

    `mean` and `std` are `(D,)`. A pixel that never changes gets std 1, so it is only shifted.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def fit(cls, images: Tensor) -> Standardizer:
        """Measure the mean and standard deviation of each pixel of `(N, D)` images, N >= 1."""
        if images.ndim != 2 or len(images) == 0:
            raise ValueError(f"images must have the shape (N, D), N >= 1, not {tuple(images.shape)}.")
        mean, std = images.mean(dim=0), images.std(dim=0, correction=0)
        # Rounding leaves a constant pixel with a tiny std instead of zero.
        return cls(mean, torch.where(std > 1e-6, std, torch.ones_like(std)))

    def __call__(self, images: Tensor) -> Tensor:
        """Standardized `(N, D)` images."""
        return (images - self.mean) / self.std

    def inverse(self, images: Tensor) -> Tensor:
        """Standardized `(N, D)` images mapped back to pixel values."""
        return images * self.std + self.mean

    def to(self, device: Device) -> Standardizer:
        """The same map on `device`."""
        return Standardizer(self.mean.to(device), self.std.to(device))


def data_root() -> Path:
    """Folder of the data files: $AAE_DATA, else `data` beside the package, else `./data`."""
    chosen = os.environ.get("AAE_DATA")
    if chosen:
        return Path(chosen).expanduser()
    beside_package = Path(__file__).resolve().parents[1] / "data"
    return beside_package if (beside_package / "MNIST").is_dir() else Path("data")


def load(dataset: str, split: str, root: Path | str | None = None, device: Device = "cpu") -> ImageData:
    """A split of "mnist", "svhn" or "tfd" (fold 0); see the loader of each for its splits.

    Raises ValueError for an unknown name and DataError for files that cannot be used.
    """
    if dataset not in LOADERS:
        raise ValueError(f'Unknown dataset "{dataset}": choose one of {", ".join(LOADERS)}.')
    return LOADERS[dataset](split, root, device)


def load_mnist(split: str = "train", root: Path | str | None = None, device: Device = "cpu") -> ImageData:
    """MNIST, `(N, 784)` in [0, 1], labels 0 to 9, from `root/MNIST/raw/*.gz`.

    Splits: "train" (the first 50,000 training images), "validation" (the last 10,000), "all"
    (both) and "test" (10,000). Missing files are downloaded. Raises DataError for files that
    cannot be used.
    """
    _check_split("mnist", split, MNIST_SPLITS)
    raw = _folder(root) / "MNIST" / "raw"
    images, labels = _read_mnist(raw, _file_states(raw))["test" if split == "test" else "train"]
    part = _part(split, len(labels), MNIST_VALIDATION)
    return _image_data(images[part], labels[part], (28, 28), device)


def load_svhn(split: str = "train", root: Path | str | None = None, device: Device = "cpu") -> ImageData:
    """SVHN's 32x32 crops, `(N, 3072)` in [0, 1], labels 0 to 9, from `root/train_32x32.mat` etc.

    Splits: "train" (the training images without the last 5,000), "validation" (those 5,000),
    "extra" (531,131 easier images, 6.5 GB as float32), "train-extra" (both, without the validation
    images), "all" (all training images and extra), "test".
    Missing files are downloaded. Raises DataError for files that cannot be used.
    """
    _check_split("svhn", split, SVHN_SPLITS)
    # which part of which file
    parts = {
        "train": {"train": "train"},
        "validation": {"train": "validation"},
        "train-extra": {"train": "train", "extra": "all"},
        "all": {"train": "all", "extra": "all"},
    }.get(split, {split: "all"})
    images, labels = [], []
    for file, part in parts.items():
        pixels, digits = _read_svhn(_folder(root), file)
        chosen = _part(part, len(digits), SVHN_VALIDATION)
        images.append(pixels[chosen])
        labels.append(digits[chosen])
    return _image_data(torch.cat(images), torch.cat(labels), (32, 32, 3), device)


def load_tfd(
    split: str = "train", root: Path | str | None = None, device: Device = "cpu", fold: int = 0
) -> ImageData:
    """Toronto Face Database, `(N, 2304)` in [0, 1], from the user's own `root/TFD_48x48.mat`.

    Labels are the seven expressions as 0 to 6, and -1 for faces without one. Splits: "train" (all
    unlabelled faces and the training part of the fold), "validation" and "test". `fold` is 0 to 4.
    Raises DataError where the file is missing or has another layout.
    """
    _check_split("tfd", split, TFD_SPLITS)
    images, expressions, folds = _read_tfd(_folder(root) / TFD_FILE)
    if not 0 <= fold < folds.shape[1]:
        raise ValueError(f"Unknown fold {fold}: choose 0 to {folds.shape[1] - 1}.")
    # In a column of `folds`: 0 unlabelled, 1 training, 2 validation, 3 test.
    members = {"train": (0, 1), "validation": (2,), "test": (3,)}[split]
    chosen = np.isin(folds[:, fold], members)
    labels = np.where(expressions > 0, expressions - 1, NO_LABEL)
    return _image_data(torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen]), (48, 48), device)


LOADERS: dict[str, Callable[[str, Path | str | None, Device], ImageData]] = {
    "mnist": load_mnist,
    "svhn": load_svhn,
    "tfd": load_tfd,
}


def balanced_subset(labels: Tensor, count: int, seed: int) -> Tensor:
    """Sorted indices `(count,)` with equally many images of each class, drawn at random by `seed`.

    The choice depends on the labels and the seed alone, not on the device, and for one seed a
    smaller subset is part of a larger one. Labels of -1 are never chosen. Raises ValueError where
    `count` is not a positive multiple of the number of classes or a class is too small.
    """
    on_cpu = labels.cpu()
    classes = on_cpu[on_cpu >= 0].unique().tolist()
    if not classes or count < 1 or count % len(classes) != 0:
        raise ValueError(
            f"A balanced subset of {count} images cannot be drawn from {len(classes)} classes: "
            "choose a positive multiple of the number of classes."
        )
    generator = torch.Generator().manual_seed(seed)
    each = count // len(classes)
    chosen = [_draw(on_cpu, label, each, generator) for label in classes]
    return torch.cat(chosen).sort().values.to(labels.device)


def _draw(labels: Tensor, label: int, count: int, generator: torch.Generator) -> Tensor:
    members = (labels == label).nonzero().flatten()
    if len(members) < count:
        raise ValueError(
            f"Class {label} has {len(members)} images, but {count} are wanted: choose a smaller subset."
        )
    return members[torch.randperm(len(members), generator=generator)[:count]]


def _check_split(dataset: str, split: str, known: tuple[str, ...]) -> None:
    if split not in known:
        raise ValueError(f'Unknown split "{split}" of {dataset}: choose one of {", ".join(known)}.')


def _folder(root: Path | str | None) -> Path:
    return data_root() if root is None else Path(root).expanduser()


def _part(split: str, count: int, validation: int) -> slice:
    cut = count - validation
    return {"train": slice(0, cut), "validation": slice(cut, count)}.get(split, slice(0, count))


def _image_data(images: Tensor, labels: Tensor, shape: tuple[int, ...], device: Device) -> ImageData:
    # The bytes travel to the device, a quarter of what floats would take; labels may be shared.
    pixels = images.to(device).flatten(1) / 255
    return ImageData(pixels, labels.to(device, torch.int64, copy=True), shape)


def _mnist_archives() -> list[tuple[str, str]]:
    """Name and MD5 of the four archives, as torchvision has them."""
    from torchvision.datasets import MNIST

    return list(MNIST.resources)


def _file_states(raw: Path) -> tuple[tuple[int, int] | None, ...]:
    """Size and time of each MNIST file, so that one that has changed on disk is read again."""
    paths = [raw / name for name in [*dict(_mnist_archives()), *MNIST_UNPACKED]]
    stats = [path.stat() if path.is_file() else None for path in paths]
    return tuple(stat and (stat.st_size, stat.st_mtime_ns) for stat in stats)


@lru_cache(maxsize=1)
def _read_mnist(raw: Path, states: tuple[tuple[int, int] | None, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """Training and test set, bytes and labels, by torchvision from copies of the files in `raw`.

    torchvision unpacks archives in place. It is given a folder of its own, so that `raw` may be
    read-only and processes that start together never see each other's half-written files.
    """
    from torchvision.datasets import MNIST

    with _scratch_folder() as scratch:
        copies = scratch / "MNIST" / "raw"
        copies.mkdir(parents=True)
        missing = _copy_checked(raw, copies)
        if missing:
            _require_writable(raw, missing[0])
        with _download_errors(raw, missing):
            parts = {
                name: MNIST(str(scratch), train=name == "train", download=True) for name in ("train", "test")
            }
        for name in missing:
            _put_in_place(copies / name, raw / name)
        return {name: (part.data, part.targets) for name, part in parts.items()}


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="aae-data-")
    except OSError as error:
        raise DataError(_scratch_message(error)) from error
    with folder as name:
        yield Path(name)


def _scratch_message(error: BaseException) -> str:
    return (
        f"No temporary folder to unpack MNIST in ({_reason(error)}): "
        "set TMPDIR to a folder with 100 MB of free space that you can write to."
    )


def _copy_checked(raw: Path, copies: Path) -> list[str]:
    """Copy the intact files of `raw`; return the names of the archives that are missing."""
    from torchvision.datasets.utils import check_integrity

    archives = _mnist_archives()
    missing = [name for name, _ in archives if not (raw / name).exists()]
    if missing and all(check_integrity(raw / name, md5) for name, md5 in MNIST_UNPACKED.items()):
        for name in MNIST_UNPACKED:
            shutil.copyfile(raw / name, copies / name)
        return []
    for name, md5 in archives:
        if name not in missing:
            content = _read_checked(raw / name, md5)
            try:
                (copies / name).write_bytes(content)
            except OSError as error:
                raise DataError(_scratch_message(error)) from error
    return missing


def _read_checked(path: Path, md5: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({_reason(error)}): make it a file that you can read."
        ) from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(_damaged_message(path, f"MD5 {found} instead of {md5}"))
    return content


def _damaged_message(path: Path, finding: str) -> str:
    return (
        f"{path} is truncated or altered ({finding}): "
        "put the original file there, or delete it to have it downloaded again."
    )


def _require_writable(folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"{folder / name} is missing and cannot be downloaded, because its folder cannot be "
            f"written to ({_reason(error)}): put the file there, or set AAE_DATA to a folder that "
            "holds the data or that you can write to."
        ) from error


@contextmanager
def _download_errors(folder: Path, missing: list[str]) -> Iterator[None]:
    """Turn what torchvision raises into one sentence; give up on a network that stays silent."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout or NETWORK_TIMEOUT)
    try:
        yield
    except (RuntimeError, OSError, HTTPException) as error:
        if not missing:
            raise DataError(_scratch_message(error)) from error
        raise DataError(
            f"{', '.join(missing)} missing in {folder} and not downloaded ({_reason(error)}): "
            "connect to the network, or put the original files there."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__


def _put_in_place(source: Path, target: Path) -> None:
    """Copy a file so that other processes see all of it or nothing."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(source, part)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"{target} cannot be written ({_reason(error)}): free some space, or set AAE_DATA to a "
            "folder that you can write to."
        ) from error


def _read_svhn(root: Path, name: str) -> tuple[Tensor, Tensor]:
    """Bytes `(N, 32, 32, 3)` and labels `(N,)` of one SVHN file, by torchvision."""
    from torchvision.datasets import SVHN

    _, file, md5 = SVHN.split_list[name]
    if not (root / file).exists():
        _download_svhn(root, name, file)
    try:
        part = SVHN(str(root), split=name)
    except RuntimeError as error:
        raise DataError(_damaged_message(root / file, f"its MD5 is not {md5}")) from error
    except OSError as error:
        raise DataError(
            f"{root / file} cannot be read ({_reason(error)}): make it a file that you can read."
        ) from error
    images = torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 2, 3, 1)))
    return images, torch.from_numpy(part.labels)


def _download_svhn(root: Path, name: str, file: str) -> None:
    from torchvision.datasets import SVHN

    _require_writable(root, file)
    # Inside `root`, because the files are large and then moving one costs nothing.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch:
        with _download_errors(root, [file]):
            SVHN(scratch, split=name, download=True)
        os.replace(Path(scratch) / file, root / file)


def _read_tfd(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `(N, 48, 48)`, expressions `(N,)` and folds `(N, 5)` of a TFD file."""
    if not path.exists():
        raise DataError(
            f"{path} is missing: the Toronto Face Database is not openly downloadable, so ask its "
            "owners for the file and put it there."
        )
    content = _read_mat(path)
    lacking = [key for key in ("images", "labs_ex", "folds") if key not in content]
    if lacking:
        raise DataError(f"{path} has no {' and no '.join(lacking)}: use the original {TFD_FILE}.")
    images, folds = content["images"], content["folds"]
    expressions = content["labs_ex"].astype(np.int64).reshape(-1)
    count = len(images)
    if (
        images.dtype != np.uint8
        or images.shape != (count, 48, 48)
        or expressions.shape != (count,)
        or folds.ndim != 2
        or len(folds) != count
    ):
        raise DataError(
            f"{path} has images {images.shape} {images.dtype}, labs_ex "
            f"{content['labs_ex'].shape} and folds {folds.shape} instead of (N, 48, 48) uint8, "
            f"(N, 1) and (N, 5): use the original {TFD_FILE}."
        )
    return images, expressions, folds


def _read_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    # scipy raises almost any exception for a damaged file: zlib.error, TypeError, ValueError, ...
    try:
        return dict(loadmat(path))
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as a MATLAB file ({_reason(error)}): put the original {TFD_FILE} there."
        ) from error
