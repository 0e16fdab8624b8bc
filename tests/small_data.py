"""Small data files in the layout of the real ones."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
from scipy.io import savemat


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def idx_bytes(values: np.ndarray) -> bytes:
    """The idx format of MNIST: two zeros, type 8 (bytes), rank, big-endian sizes, values."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_mnist(root: Path, train: int = 30, test: int = 10) -> dict[str, str]:
    """Write the four archives below `root`; returns the MD5 of each by its name."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    sums = {}
    for prefix, count in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (count, 28, 28))
        labels = np.arange(count) % 10
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            path = raw / f"{prefix}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx_bytes(values), mtime=0))
            sums[path.name] = md5(path)
    return sums


def write_svhn(root: Path, name: str, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Write `{name}_32x32.mat`: X is 32x32x3xN bytes, y is Nx1 with 10 for the digit 0."""
    root.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    labels = (np.arange(count) % 10 + 1).astype(np.uint8).reshape(-1, 1)
    savemat(root / f"{name}_32x32.mat", {"X": images, "y": labels}, do_compression=True)
    return images, labels


def tfd_content(unlabeled: int = 20, labeled: int = 21) -> dict[str, np.ndarray]:
    """The arrays of TFD: expressions 1 to 7 or -1, and five folds of 0 (unlabeled), 1, 2 and 3."""
    count = unlabeled + labeled
    random = np.random.default_rng(0)
    expressions = np.full((count, 1), -1, dtype=np.int16)
    expressions[unlabeled:, 0] = np.arange(labeled) % 7 + 1
    folds = np.zeros((count, 5), dtype=np.uint8)
    for fold in range(5):
        # Of every seven labeled faces five train, one validates and one tests.
        place = (np.arange(labeled) // 3 + fold) % 7
        folds[unlabeled:, fold] = np.where(place == 5, 2, np.where(place == 6, 3, 1))
    return {
        "images": random.integers(0, 256, (count, 48, 48), dtype=np.uint8),
        "labs_ex": expressions,
        "labs_id": np.arange(count, dtype=np.int16).reshape(-1, 1),
        "folds": folds,
    }


def write_tfd(root: Path, **changes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Write `TFD_48x48.mat`; `changes` replaces arrays, and None leaves one out."""
    root.mkdir(parents=True, exist_ok=True)
    content = {**tfd_content(), **changes}
    content = {key: values for key, values in content.items() if values is not None}
    savemat(root / "TFD_48x48.mat", content)
    return content
