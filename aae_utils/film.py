"""How q(z) moves during a training: the codes of some validation images at some sixty moments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from aae_utils.data import ImageData
from aae_utils.metrics.matching import prior_distance
from aae_utils.seeds import random_stream

IMAGES = 1000
MOMENTS = 60
GRID = 48
FORMER_NAMES = {"critic": "discriminator"}
"""What older checkpoints and stored films call a part, and its name now."""


class Film:
    """Codes in the plane, D(z) around them, losses and distance to the prior, dense where they move fast.

    `steps` is the length of the whole training; the first moment is before the first step. Losses are means
    over the steps since the moment before.
    """

    def __init__(self, validation: ImageData, steps: int) -> None:
        self.images = validation.images[:IMAGES]
        self.labels = validation.labels[:IMAGES]
        self.moments = moments(steps)
        self.step = 0
        self.limit = 0.0
        self.frames: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}
        self.summed = 0

    def observe(self, model: Any, losses: dict[str, Tensor]) -> None:
        """Look at the model after one more step (before the first one: no losses), and record its moments."""
        if losses:
            self.step += 1
            self.summed += 1
            self.sums = {name: self.sums.get(name, 0) + value for name, value in losses.items()}
        if self.step in self.moments and len(self.frames) < len(self.moments):
            self.frames.append(self._frame(model))
            self.sums, self.summed = {}, 0

    @torch.no_grad()
    def _frame(self, model: Any) -> dict[str, Any]:
        was_training = model.training
        model.eval()
        device = self.images.device
        codes = model.encode(self.images, random_stream(0, "codes", device))
        if not self.limit:
            self.limit = _limit(model.prior, device)
        frame = {
            "step": self.step,
            "codes": codes.half().cpu(),
            "losses": {name: float(total) / self.summed for name, total in self.sums.items()},
            "distance": prior_distance(model.prior, codes),
        }
        if hasattr(model, "prior_probability"):
            frame["discriminator"] = (255 * model.prior_probability(_grid(self.limit, device))).byte().cpu()
        model.train(was_training)
        return frame

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the film depends on."""
        return {
            "step": self.step,
            "limit": self.limit,
            "frames": self.frames,
            "sums": self.sums,
            "summed": self.summed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.step, self.limit = state["step"], state["limit"]
        self.frames = [_on_host(frame) for frame in state["frames"]]  # a checkpoint is read onto the device
        self.sums, self.summed = state["sums"], state["summed"]

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The film as it is stored: tensors, and the names of the losses.

        steps (T,), codes (T, N, 2) float16, labels (N,) uint8, losses (T, L), distance (T,), limit (1,), and
        discriminator (T, G, G) uint8 where the model has one: 255 D(z) on a square grid from -limit to limit,
        rows from the lowest second coordinate up, columns from the lowest first coordinate.
        """
        names = list(self.frames[-1]["losses"])
        rows = [[frame["losses"].get(name, math.nan) for name in names] for frame in self.frames]
        tensors = {
            "steps": torch.tensor([frame["step"] for frame in self.frames]),
            "codes": torch.stack([frame["codes"] for frame in self.frames]),
            "labels": self.labels.to("cpu", torch.uint8),
            "losses": torch.tensor(rows),
            "distance": torch.tensor([frame["distance"] for frame in self.frames]),
            "limit": torch.tensor([self.limit]),
        }
        if "discriminator" in self.frames[-1]:
            answers = torch.stack([frame["discriminator"] for frame in self.frames])
            tensors["discriminator"] = answers.view(-1, GRID, GRID)
        return tensors, {"losses": ",".join(names)}


def _on_host(frame: dict[str, Any]) -> dict[str, Any]:
    return {
        present_name(name): value.cpu() if isinstance(value, Tensor) else value
        for name, value in frame.items()
    }


def present_name(name: str) -> str:
    """The name that a part of a film has now, whatever it was called when it was stored."""
    return FORMER_NAMES.get(name, name)


def moments(steps: int) -> tuple[int, ...]:
    """About sixty steps from 0 to `steps`, evenly spaced in their logarithm."""
    count, found = MOMENTS, [0, steps]
    while len(found) < min(MOMENTS, steps + 1):
        found = sorted({0, *(round(steps ** (k / count)) for k in range(count + 1))})
        count += 4
    return tuple(found)


def _limit(prior: Any, device: torch.device) -> float:
    """A little beyond the prior's samples, so that the square shows all of them."""
    sample = prior.sample(10_000, random_stream(0, "prior", device), device)
    return 1.15 * float(sample.abs().max())


def _grid(limit: float, device: torch.device) -> Tensor:
    steps = torch.linspace(-limit, limit, GRID, device=device)
    second, first = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((first.flatten(), second.flatten()), dim=1)
