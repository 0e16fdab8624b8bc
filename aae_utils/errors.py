"""Whatever goes wrong, in one sentence."""

from __future__ import annotations

import errno
import traceback

import torch

MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""How torch says on processors, on Windows, on Apple's GPUs and for CUDA that there is none left."""


def in_one_line(error: BaseException) -> str:
    """The sentence of an error of this package; other errors keep the name of their class."""
    if out_of_memory(error):
        return "There is not enough memory: run fewer jobs, end other programs, or lower units."
    if isinstance(error, ValueError) or type(error).__module__.startswith("aae_utils"):
        return " ".join(str(error).split())
    return " ".join("".join(traceback.format_exception_only(error)).split())


def out_of_memory(error: BaseException) -> bool:
    """Whether a program ran out of memory; often torch says so by a RuntimeError of many meanings."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY)


def device_failed(error: BaseException) -> bool:
    """Whether a GPU has failed, for any reason but a lack of memory: nothing can go on there."""
    failure = getattr(torch, "AcceleratorError", ())  # older releases of PyTorch have no name for it
    return isinstance(error, failure) and not out_of_memory(error)
