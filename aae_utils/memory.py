"""The C library's memory: what one training step frees, the next one takes again."""

from __future__ import annotations

import ctypes
import sys

# numbers of glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
A_GIBIBYTE = 2**30


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for this process; False where the C library is another one or refuses.

    By default it hands large blocks back to the system and asks for them again, and a step's gradients are
    written to pages that the system clears each time. What the process holds does not grow beyond its peak.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    accepted = [mallopt(name, A_GIBIBYTE) for name in (MMAP_THRESHOLD, TRIM_THRESHOLD)]
    return all(accepted)
