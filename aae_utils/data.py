"""MNIST, SVHN and the Toronto Face Database as tensors, and the splits of them that a run uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from aae_utils.checks import require_flag, require_known, require_whole
from aae_utils.data_files import data_root, read_mnist, read_svhn, read_tfd

UNLABELED = -1
"""The label of an image that has none, or whose label is hidden."""

SPLITS = {
    "mnist": ("train", "validation", "all", "test"),
    "svhn": ("train", "validation", "extra", "train-extra", "all", "test"),
    "tfd": ("train", "validation", "test"),
}
LABELS = {"mnist": 10, "svhn": 10, "tfd": 7}
"""Digits, and expressions."""
HELD_OUT = ("validation", "test")
BRIGHTEST = 16.0
"""Larger values are bytes from 0 to 255, unless others lie below 0: then they are standardized. Values above
1 alone say nothing, since a standardized face can be brighter everywhere than the average one."""
MNIST_VALIDATION = 10_000
FEWEST = 10
"""Fewer images show one class only or give no likelihood a spread: what is measured after training fails."""
SVHN_VALIDATION = 5_000

Device = torch.device | str


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set of flattened images on one device.

    `images` is `(N, D)` float32, pixels in [0, 1] or standardized; `labels` is `(N,)` int64 with -1 for
    "no label"; `shape` is how to show one row as a picture: `row.reshape(shape)`. Raises ValueError for
    anything else, such as values that are not finite, or pixels that are still bytes from 0 to 255.
    """

    images: Tensor
    labels: Tensor
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        require_images(self.images)
        require_labels(self.labels, len(self.images))
        if math.prod(self.shape) != self.dim:
            raise ValueError(
                f"shape {self.shape} has {math.prod(self.shape)} pixels, but images have {self.dim}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dim(self) -> int:
        """Number of values in one image, D."""
        return self.images.shape[1]

    def subset(self, indices: Tensor) -> ImageData:
        """The images at `indices`, `(M,)` int64, in that order."""
        indices = indices.to(self.images.device)
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def first(self, count: int | None) -> ImageData:
        """The first `count` images; all of them for None, or where there are no more."""
        if count is not None:
            require_whole("count", count)
        return replace(self, images=self.images[:count], labels=self.labels[:count])


def require_images(images: Tensor, name: str = "images") -> None:
    """Do nothing for images as those of `ImageData`; a ValueError names the field."""
    if not isinstance(images, Tensor) or images.ndim != 2 or images.dtype != torch.float32:
        raise ValueError(f"{name} must be an (N, D) tensor of float32, not {_described(images)}.")
    if images.numel() == 0:
        return
    low, high = images.min().item(), images.max().item()
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError(f"{name} must be finite, but some values are infinite or not a number.")
    if low >= 0 and high > BRIGHTEST:
        raise ValueError(f"{name} must be pixels in [0, 1], not {low:g} to {high:g}: divide bytes by 255.")


def require_labels(labels: Tensor, count: int, name: str = "labels", least: int = UNLABELED) -> None:
    """Do nothing for one whole label for each image, from `least` on; a ValueError names the field."""
    if not isinstance(labels, Tensor) or labels.shape != (count,) or labels.dtype != torch.int64:
        raise ValueError(f"{name} must be a ({count},) tensor of int64, not {_described(labels)}.")
    if count > 0 and labels.min() < least:
        wanted = f"{least} (no label)" if least == UNLABELED else f"{least}"
        raise ValueError(f"{name} must be {wanted} or more, not {int(labels.min())}.")


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    return type(value).__name__


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


@dataclass(frozen=True)
class DataSettings:
    """What a run learns from; raises ValueError, which names the field, for values that cannot be meant."""

    dataset: Literal["mnist", "svhn", "tfd"] = "mnist"
    pool: str = "train"  # the split to learn from; "all" of MNIST or TFD has the validation images, too
    labels: int | Literal["all"] | None = None  # how many images show their label; None: not one
    standardize: bool = False  # every pixel to mean 0 and standard deviation 1 (appendix A.1)
    images: int | None = None  # only the first so many images of the pool; None: all
    held_out: int | None = None  # only the first so many validation and test images, for a quick look

    def __post_init__(self) -> None:
        require_known("dataset", self.dataset, SPLITS)
        if self.pool in HELD_OUT:
            raise ValueError(
                f"pool must be images to learn from, and {self.pool!r} is held out: use 'train'."
            )
        pools = [split for split in SPLITS[self.dataset] if split not in HELD_OUT]
        require_known(f"pool of {self.dataset}", self.pool, pools)
        if self.labels not in (None, "all"):
            require_whole('labels, unless None or "all",', self.labels)
        require_flag("standardize", self.standardize)
        for name in ("images", "held_out"):
            if getattr(self, name) is not None:
                require_whole(f"{name}, unless None,", getattr(self, name), least=FEWEST)


@dataclass(frozen=True, eq=False)
class LearningSplits:
    """The images that decisions may rest on; there is no test image among them.

    `train` is a run's pool, and a `standardizer`, if any, has been applied to all images.
    """

    train: ImageData
    validation: ImageData
    standardizer: Standardizer | None

    def pixels(self, images: Tensor) -> Tensor:
        """From what a model sees, `(N, D)`, back to pixels in [0, 1]."""
        return images if self.standardizer is None else self.standardizer.inverse(images).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Splits(LearningSplits):
    """All images of a run: those that it learns from and is judged by on the way, and the test images."""

    test: ImageData


def load_learning_splits(settings: DataSettings, device: Device = "cpu") -> LearningSplits:
    """The images that `settings` name, without the test images, of which nothing is read.

    What standardizes them is measured on the training images alone. Raises DataError for files that cannot
    be used.
    """
    train = load(settings.dataset, settings.pool, device=device).first(settings.images)
    validation = load(settings.dataset, "validation", device=device).first(settings.held_out)
    standardizer = Standardizer.fit(train.images) if settings.standardize else None
    train, validation = (_standardized(part, standardizer) for part in (train, validation))
    return LearningSplits(train, validation, standardizer)


def load_splits(settings: DataSettings, device: Device = "cpu") -> Splits:
    """The images that `settings` name, test images included; DataError for files that cannot be used."""
    seen = load_learning_splits(settings, device)
    test = load(settings.dataset, "test", device=device).first(settings.held_out)
    return Splits(seen.train, seen.validation, seen.standardizer, _standardized(test, seen.standardizer))


def _standardized(part: ImageData, standardizer: Standardizer | None) -> ImageData:
    return part if standardizer is None else replace(part, images=standardizer(part.images))


def load(dataset: str, split: str, root: Path | str | None = None, device: Device = "cpu") -> ImageData:
    """A split of "mnist", "svhn" or "tfd" (fold 0); see the loader of each for its splits.

    Raises ValueError for an unknown name and DataError for files that cannot be used.
    """
    require_known("dataset", dataset, LOADERS)
    return LOADERS[dataset](split, root, device)


def load_mnist(split: str = "train", root: Path | str | None = None, device: Device = "cpu") -> ImageData:
    """MNIST, `(N, 784)` in [0, 1], labels 0 to 9, from `root/MNIST/raw/*.gz`.

    Splits: "train" (the first 50,000 training images), "validation" (the last 10,000), "all" (both) and
    "test" (10,000). Missing files are downloaded. Raises DataError for files that cannot be used.
    """
    require_known("split of mnist", split, SPLITS["mnist"])
    images, labels = read_mnist(_folder(root), "t10k" if split == "test" else "train")
    part = _part(split, len(labels), MNIST_VALIDATION)
    return _image_data(images[part], labels[part], (28, 28), device)


def load_svhn(split: str = "train", root: Path | str | None = None, device: Device = "cpu") -> ImageData:
    """SVHN's 32x32 crops, `(N, 3072)` in [0, 1], labels 0 to 9, from `root/train_32x32.mat` etc.

    Splits: "train" (the training images without the last 5,000), "validation" (those 5,000), "extra" (531,131
    easier images, 6.5 GB as float32), "train-extra" (both, without the validation images), "all" (with them)
    and "test". Missing files are downloaded. Raises DataError for files that cannot be used.
    """
    require_known("split of svhn", split, SPLITS["svhn"])
    # which part of which file
    parts = {
        "train": {"train": "train"},
        "validation": {"train": "validation"},
        "train-extra": {"train": "train", "extra": "all"},
        "all": {"train": "all", "extra": "all"},
    }.get(split, {split: "all"})
    images, labels = [], []
    for file, part in parts.items():
        pixels, digits = read_svhn(_folder(root), file)
        chosen = _part(part, len(digits), SVHN_VALIDATION)
        images.append(pixels[chosen])
        labels.append(digits[chosen])
    return _image_data(np.concatenate(images), np.concatenate(labels), (32, 32, 3), device)


def load_tfd(
    split: str = "train", root: Path | str | None = None, device: Device = "cpu", fold: int = 0
) -> ImageData:
    """Toronto Face Database, `(N, 2304)` in [0, 1], from the user's own `root/TFD_48x48.mat`.

    Labels are the seven expressions as 0 to 6, and -1 for faces without one. Splits: "train" (all unlabeled
    faces and the training part of the fold), "validation" and "test". `fold` is 0 to 4. Raises DataError
    where the file is missing or has another layout.
    """
    require_known("split of tfd", split, SPLITS["tfd"])
    images, expressions, folds = read_tfd(_folder(root))
    require_whole("fold", fold, least=0, most=4)
    # In a column of `folds`: 0 unlabeled, 1 training, 2 validation, 3 test.
    members = {"train": (0, 1), "validation": (2,), "test": (3,)}[split]
    chosen = np.isin(folds[:, fold], members)
    labels = np.where(expressions > 0, expressions - 1, UNLABELED)
    return _image_data(images[chosen], labels[chosen], (48, 48), device)


LOADERS: dict[str, Callable[[str, Path | str | None, Device], ImageData]] = {
    "mnist": load_mnist,
    "svhn": load_svhn,
    "tfd": load_tfd,
}


def balanced_subset(labels: Tensor, count: int, seed: int) -> Tensor:
    """Sorted indices `(count,)` with equally many images of each class, drawn at random by `seed`.

    The choice depends on the labels and the seed alone, not on the device, and for one seed a smaller subset
    is part of a larger one. Labels of -1 are never chosen. Raises ValueError where `count` is not a positive
    multiple of the number of classes or a class is too small.
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


def _folder(root: Path | str | None) -> Path:
    return data_root() if root is None else Path(root).expanduser()


def _part(split: str, count: int, validation: int) -> slice:
    cut = count - validation
    return {"train": slice(0, cut), "validation": slice(cut, count)}.get(split, slice(0, count))


def _image_data(images: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], device: Device) -> ImageData:
    # The bytes travel to the device, a quarter of what floats would take.
    pixels = torch.from_numpy(images).to(device).flatten(1) / 255
    return ImageData(pixels, torch.from_numpy(labels.astype(np.int64)).to(device), shape)
