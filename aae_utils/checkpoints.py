"""Files that are whole or not there, and the checkpoints that a stopped training continues from."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from aae_utils.errors import device_failed, out_of_memory

CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint.previous.pt"
NEW_CHECKPOINT = "checkpoint.new.pt"


class CheckpointError(RuntimeError):
    """A checkpoint exists but cannot be used."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its place at `path` when all of it is on the disk, and otherwise never does.

    It gets the access rights that the umask gives. Raises what the writing raises, OSError on a full disk.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power failure, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save_checkpoint(folder: Path, state: dict[str, Any]) -> bool:
    """Write the newest checkpoint and keep the one before; say whether it is on the disk.

    A full disk or memory costs the checkpoint and brings a warning; the one before stays, and training
    goes on. A device that has failed is no matter of space: its error is passed on.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / NEW_CHECKPOINT, state)
        with suppress(FileNotFoundError):
            os.replace(folder / CHECKPOINT, folder / PREVIOUS_CHECKPOINT)
        os.replace(folder / NEW_CHECKPOINT, folder / CHECKPOINT)
    except (OSError, RuntimeError, MemoryError) as error:  # torch reports a full disk as RuntimeError
        if device_failed(error):
            raise
        what = "memory" if out_of_memory(error) else "space"
        warnings.warn(
            f"No checkpoint was written to {folder} ({error}): training goes on, free some {what}.",
            stacklevel=2,
        )
        return False
    return True


def _write(path: Path, state: dict[str, Any]) -> None:
    with whole_file(path) as file:
        torch.save(state, file)


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None where there is none at all.

    A damaged one is skipped with a warning; CheckpointError when checkpoints exist and none can be read.
    """
    found = [folder / name for name in (NEW_CHECKPOINT, CHECKPOINT, PREVIOUS_CHECKPOINT)]
    found = [path for path in found if path.exists()]
    for path in found:
        try:
            return _read_checkpoint(path, device)
        except PermissionError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}): make it readable.") from error
        except Exception as error:  # torch.load raises many kinds for a damaged file
            if out_of_memory(error):
                raise
            warnings.warn(f"{path} cannot be read ({error}): trying the one before.", stacklevel=2)
    if found:
        raise CheckpointError(
            f"No checkpoint in {folder} can be read: delete the folder to train from the start."
        )
    return None


def _read_checkpoint(path: Path, device: torch.device | str) -> dict[str, Any]:
    # torch.load reads over the checksums in the file, and a training resumed from altered numbers goes on
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__} and no state of a training")
    return state
