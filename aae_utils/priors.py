"""Prior distributions p(z) that the aggregated posterior q(z) is matched to (sections 2 to 2.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from aae_utils.checks import require_number, require_whole
from aae_utils.data import UNLABELED


@runtime_checkable
class Prior(Protocol):
    """Anything with a dimension that can be sampled."""

    @property
    def dim(self) -> int:
        """Length of a code."""
        ...

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw `(count, dim)` codes."""
        ...


@runtime_checkable
class LabeledPrior(Prior, Protocol):
    """A prior with one region for each label (section 2.3, Figure 4)."""

    @property
    def classes(self) -> int:
        """Number of labels."""
        ...

    def sample_given(self, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw `(N, dim)` codes, each from the region of its label; -1 draws from the whole prior."""
        ...

    def region(self, codes: Tensor) -> Tensor:
        """Label `(N,)` of the region that each of the `(N, dim)` codes lies in."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Isotropic Gaussian N(0, std^2 I), the prior of Figures 2A, 5 and 7."""

    dim: int
    std: float = 1.0

    def __post_init__(self) -> None:
        require_whole("dim of the prior", self.dim)
        require_number("std of the prior", self.std, above=0)

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw `(count, dim)` codes."""
        return self.std * torch.randn(count, self.dim, generator=generator, device=device)

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log-density `(N,)` in nats of `(N, dim)` codes."""
        constant = self.dim * math.log(self.std * math.sqrt(2 * math.pi))
        return -codes.pow(2).sum(1) / (2 * self.std**2) - constant


@dataclass(frozen=True)
class GaussianMixture:
    """Ten 2-D Gaussians on a circle, long axis outwards (Figures 2B and 4A).

    The paper draws but does not state the geometry; the defaults were measured from Figure 4.
    """

    classes: int = 10
    radius: float = 9.5
    radial_std: float = 2.6
    tangential_std: float = 0.55

    def __post_init__(self) -> None:
        require_whole("classes of the prior", self.classes)
        require_number("radius of the prior", self.radius, least=0)
        require_number("radial_std of the prior", self.radial_std, above=0)
        require_number("tangential_std of the prior", self.tangential_std, above=0)

    @property
    def dim(self) -> int:
        """Length of a code: the mixture lies in the plane."""
        return 2

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw `(count, 2)` codes, every component equally likely."""
        labels = torch.full((count,), UNLABELED, device=device)
        return self.sample_given(labels, generator)

    def sample_given(self, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw `(N, 2)` codes, code i from component `labels[i]`; -1 draws from the whole mixture.

        Labels from `classes` on are not refused: in a training step a look at them would wait for the device.
        """
        component = _fill_unlabeled(labels, self.classes, generator)
        offsets = torch.randn(len(labels), 2, generator=generator, device=labels.device)
        return self.place(component, offsets)

    def place(self, component: Tensor, offsets: Tensor) -> Tensor:
        """Map `(N, 2)` standard-normal offsets (radial, tangential) to codes of the components `(N,)`."""
        angle = component * (2 * math.pi / self.classes)
        radial = self.radius + self.radial_std * offsets[:, 0]
        tangential = self.tangential_std * offsets[:, 1]
        cos, sin = angle.cos(), angle.sin()
        return torch.stack((radial * cos - tangential * sin, radial * sin + tangential * cos), dim=1)

    def component_log_prob(self, codes: Tensor) -> Tensor:
        """Log-density `(N, classes)` in nats of `(N, 2)` codes under each single component."""
        angle = torch.arange(self.classes, device=codes.device) * (2 * math.pi / self.classes)
        along = codes @ torch.stack((angle.cos(), angle.sin()))
        across = codes @ torch.stack((-angle.sin(), angle.cos()))
        squares = ((along - self.radius) / self.radial_std) ** 2 + (across / self.tangential_std) ** 2
        return -squares / 2 - math.log(2 * math.pi * self.radial_std * self.tangential_std)

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log-density `(N,)` in nats of `(N, 2)` codes under the mixture."""
        return self.component_log_prob(codes).logsumexp(1) - math.log(self.classes)

    def region(self, codes: Tensor) -> Tensor:
        """Component `(N,)` under which each of the `(N, 2)` codes is most likely."""
        return self.component_log_prob(codes).argmax(1)


@dataclass(frozen=True)
class SwissRoll:
    """A spiral r = theta in the plane, cut into ten segments, one a label (Figures 4C and 4D).

    Position u in [0, 1] along the roll has the angle `turn * sqrt(u)`, so samples spread evenly over
    its length. The geometry was measured from Figure 4; the paper does not state it.
    """

    classes: int = 10
    turn: float = 14.0
    noise_std: float = 0.25

    def __post_init__(self) -> None:
        require_whole("classes of the prior", self.classes)
        require_number("turn of the prior", self.turn, above=0)
        require_number("noise_std of the prior", self.noise_std, least=0)

    @property
    def dim(self) -> int:
        """Length of a code: the roll lies in the plane."""
        return 2

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw `(count, 2)` codes from the whole roll."""
        labels = torch.full((count,), UNLABELED, device=device)
        return self.sample_given(labels, generator)

    def sample_given(self, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw `(N, 2)` codes, code i from segment `labels[i]`; -1 draws from the whole roll.

        Labels from `classes` on are not refused: in a training step a look at them would wait for the device.
        """
        segment = _fill_unlabeled(labels, self.classes, generator)
        position = torch.rand(len(labels), generator=generator, device=labels.device)
        noise = torch.randn(len(labels), 2, generator=generator, device=labels.device)
        return self.axis((segment + position) / self.classes) + self.noise_std * noise

    def axis(self, position: Tensor) -> Tensor:
        """Points `(N, 2)` on the roll's axis at positions u `(N,)` in [0, 1] (Figure 4D)."""
        angle = self.turn * position.sqrt()
        return torch.stack((angle * angle.cos(), angle * angle.sin()), dim=1)

    def region(self, codes: Tensor) -> Tensor:
        """Segment `(N,)` whose axis is nearest to each of the `(N, 2)` codes."""
        position = (torch.arange(2000, device=codes.device) + 0.5) / 2000
        nearest = torch.cdist(codes, self.axis(position)).argmin(1)
        return (position[nearest] * self.classes).long()


@dataclass(frozen=True)
class Categorical:
    """Uniform one-hot vectors Cat(y), the prior of the label code (sections 5 to 7)."""

    classes: int = 10

    def __post_init__(self) -> None:
        require_whole("classes of the prior", self.classes)

    @property
    def dim(self) -> int:
        """Length of a one-hot vector."""
        return self.classes

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw `(count, classes)` one-hot vectors, float."""
        labels = torch.randint(self.classes, (count,), generator=generator, device=device)
        return torch.nn.functional.one_hot(labels, self.classes).float()


def softened(vectors: Tensor, most: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One-hot vectors `(N, K)` that give up to the share `most` of their one to all classes at random.

    A softmax is never exactly one-hot. Against hard vectors a discriminator can win by that alone.
    """
    share = most * torch.rand(len(vectors), 1, generator=generator, device=vectors.device)
    spread = torch.rand(vectors.shape, generator=generator, device=vectors.device)
    return (1 - share) * vectors + share * spread / spread.sum(1, keepdim=True)


@dataclass(frozen=True)
class CustomPrior:
    """Any sampler of the reader's: `sampler(count, generator, device)` returns `(count, dim)` codes."""

    dim: int
    sampler: Callable[[int, torch.Generator | None, torch.device | str], Tensor]

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw `(count, dim)` codes; a sampler that returns another shape is a ValueError."""
        codes = self.sampler(count, generator, device)
        if codes.shape != (count, self.dim):
            raise ValueError(
                f"The prior's sampler returned shape {tuple(codes.shape)}, but ({count}, {self.dim})"
                " was asked for: make it return (count, dim)."
            )
        return codes


def _fill_unlabeled(labels: Tensor, classes: int, generator: torch.Generator | None) -> Tensor:
    drawn = torch.randint(classes, labels.shape, generator=generator, device=labels.device)
    return torch.where(labels == UNLABELED, drawn, labels)
