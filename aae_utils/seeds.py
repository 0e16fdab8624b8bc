"""Independent streams of random numbers that all grow from the one seed of a run."""

from __future__ import annotations

import numpy as np
import torch

from aae_utils.checks import require_known, require_whole

# A new purpose goes to the end: then the streams of all others stay as they are.
PURPOSES = ("weights", "order", "noise", "codes", "prior", "projections", "reader", "samples")


def random_stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` for one purpose, independent of the streams of all other purposes.

    With one seed for everything, the noise of a stochastic posterior would be the very sample of the
    prior that its codes are compared with. Raises ValueError for a purpose that is not in `PURPOSES`
    and for a seed that is not a whole number from 0.
    """
    require_known("purpose", purpose, PURPOSES)
    require_whole("seed", seed, least=0, most=2**32 - 1)
    child = np.random.SeedSequence(seed).spawn(len(PURPOSES))[PURPOSES.index(purpose)]
    return torch.Generator(device).manual_seed(int(child.generate_state(1, np.uint64)[0]))
