"""The files of MNIST, SVHN and the Toronto Face Database: found, downloaded, checked and read."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

# pooch, scipy.io and torchvision are imported where they are used: torchvision doubles the time that
# importing torch takes, and most programs never read a file.

TFD_FILE = "TFD_48x48.mat"

# torchvision knows the checksums of the archives only, these are of their contents.
MNIST_UNPACKED = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class DataError(ValueError):
    """A data file is missing, damaged or out of reach; the message says which and what to do."""


def data_root() -> Path:
    """Folder of the data files: $AAE_DATA, else `data` beside the package, else `./data`."""
    chosen = os.environ.get("AAE_DATA")
    if chosen:
        return Path(chosen).expanduser()
    beside_package = Path(__file__).resolve().parents[1] / "data"
    return beside_package if (beside_package / "MNIST").is_dir() else Path("data")


def read_mnist(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bytes `(N, 28, 28)` and labels `(N,)` of MNIST's "train" or "t10k" files in `root/MNIST/raw`."""
    stem = root / "MNIST" / "raw" / name
    return _read_idx(Path(f"{stem}-images-idx3-ubyte.gz")), _read_idx(Path(f"{stem}-labels-idx1-ubyte.gz"))


def read_svhn(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bytes `(N, 32, 32, 3)` and labels `(N,)` of SVHN's "train", "extra" or "test" file in `root`."""
    from torchvision.datasets import SVHN

    address, file, md5 = SVHN.split_list[name]
    _require_original(root / file, [address], md5)
    content = _read_mat(root / file)
    images = np.ascontiguousarray(np.moveaxis(content["X"], 3, 0))
    return images, content["y"].reshape(-1) % 10  # the digit 0 has the label 10


def read_tfd(root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `(N, 48, 48)`, expressions `(N,)` and folds `(N, 5)` of the user's own file in `root`."""
    path = root / TFD_FILE
    if not os.path.exists(path):
        raise DataError(
            f"{path} is missing: the Toronto Face Database is not openly downloadable, so ask its "
            "owners for the file and put it there."
        )
    content = _read_mat(path)
    count = len(content.get("images", ()))
    wanted = {"images": (count, 48, 48), "labs_ex": (count, 1), "folds": (count, 5)}
    arrays = {key: content[key] for key in wanted if key in content}
    if {key: array.shape for key, array in arrays.items()} != wanted or arrays["images"].dtype != np.uint8:
        found = ", ".join(f"{key} {array.shape} {array.dtype}" for key, array in arrays.items())
        raise DataError(
            f"{path} has {found or 'no array'} instead of images (N, 48, 48) uint8, labs_ex (N, 1) and "
            f"folds (N, 5): use the original {TFD_FILE}."
        )
    return arrays["images"], arrays["labs_ex"].reshape(-1).astype(np.int64), arrays["folds"]


def _read_idx(archive: Path) -> np.ndarray:
    """The bytes in one file of MNIST, from its archive or, where that is missing, from its unpacked copy."""
    from torchvision.datasets import MNIST

    unpacked = archive.with_suffix("")
    if not os.path.exists(archive) and _is_original(unpacked, MNIST_UNPACKED[unpacked.name]):
        content = unpacked.read_bytes()
    else:
        addresses = [mirror + archive.name for mirror in MNIST.mirrors]
        _require_original(archive, addresses, dict(MNIST.resources)[archive.name])
        content = gzip.decompress(archive.read_bytes())
    # idx: two zeros, type, rank, big-endian sizes, values
    rank = content[3]
    sizes = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(bytearray(content), np.uint8, offset=4 + 4 * rank).reshape(sizes)


def _require_original(path: Path, addresses: Iterable[str], md5: str) -> None:
    """Download `path` if it is missing; DataError if that fails, or if it is there but not the original."""
    if not os.path.exists(path):
        _download(path, addresses, md5)
    elif not _is_original(path, md5):
        raise DataError(
            f"{path} is truncated or altered (its MD5 is not {md5}): "
            "put the original file there, or delete it to have it downloaded again."
        )


def _is_original(path: Path, md5: str) -> bool:
    from torchvision.datasets.utils import check_integrity

    try:
        return check_integrity(path, md5)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({_reason(error)}): make it a file that you can read."
        ) from error


def _download(path: Path, addresses: Iterable[str], md5: str) -> None:
    """Try each address; other processes see all of the file or nothing."""
    import pooch

    for address in addresses:
        try:
            pooch.retrieve(address, f"md5:{md5}", path.name, path.parent, progressbar=True)
            # pooch leaves a file that its owner alone can read
            with contextlib.suppress(OSError):
                path.chmod(path.parent.stat().st_mode & 0o666)
            return
        except (OSError, ValueError) as error:
            failure = error
    raise DataError(
        f"{path} is missing and cannot be downloaded ({_reason(failure)}): connect to the network, put the "
        "original file there, or set AAE_DATA to a folder that holds it or that you can write to."
    ) from failure


def _reason(error: BaseException) -> str:
    """What went wrong in a few words: those of the system where it said so, below what libraries say."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).strip().split(". ")[0].rstrip(".") or type(error).__name__


def _read_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    # scipy raises almost any exception for a damaged file: zlib.error, TypeError, ValueError, ...
    try:
        return dict(loadmat(path))
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as a MATLAB file ({_reason(error)}): put the original there."
        ) from error
