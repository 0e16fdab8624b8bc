"""Tests of the memory that training keeps."""

import subprocess
import sys

import pytest

COUNT = """
import sys
from aae_utils.memory import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    print("refused")
    sys.exit()

import resource
import torch

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

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
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if answer == "refused":
        pytest.skip("The C library of this machine does not keep freed memory.")
    return int(answer)


def test_freed_memory_is_used_again():
    assert 4 * faults("keep") < faults("leave")
