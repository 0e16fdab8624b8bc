"""Tests of the memory that training keeps."""

import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import torch
from aae_utils.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for size in (2**20, 10 * 2**20) * 2:
    torch.ones(size)
before = faults()
for size in (2**20, 10 * 2**20) * 20:
    torch.ones(size)
print(faults() - before)
"""


def faults(choice: str) -> int:
    """Pages that the system had to give for twenty tensors of 4 MB and twenty of 40 MB, one at a time."""
    command = [sys.executable, "-c", COUNT, choice]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_used_again():
    assert 4 * faults("keep") < faults("leave")
