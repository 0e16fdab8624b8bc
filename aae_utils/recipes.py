"""What a recipe is: everything that makes one figure or table row, in plain values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from aae_utils import Setting
from aae_utils.checks import require_flag, require_kind, require_known
from aae_utils.data import LABELS, DataSettings, ImageData, Splits
from aae_utils.training import Rates, TrainingSettings

SETTINGS: tuple[Setting, ...] = get_args(Setting)
DIGITS = 10
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class ModelSettings:
    """A model in plain values, and what is measured on it; each variant has its own fields."""

    variant: ClassVar[str]
    """Name of the variant in a run's description."""
    needs_labels: ClassVar[bool] = False
    """Whether the model reads the label of every image (section 4)."""
    only_labeled_images: ClassVar[bool] = False
    """Whether an epoch is a pass over the labeled images alone (the baseline of Table 2)."""
    measured: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    """The networks that `measure` cannot do without: a run has to keep them."""

    def build(self, image_dim: int = 784) -> nn.Module:
        """A freshly initialized model for images of `image_dim` pixels."""
        raise NotImplementedError

    def monitor(self, model: Any, validation: ImageData) -> dict[str, float]:
        """What is followed from epoch to epoch, from validation images alone."""
        raise NotImplementedError

    def measure(self, model: Any, splits: Splits) -> dict[str, float]:
        """The numbers that a model reaches on the test images, by the paper's rule for its section.

        Samples that a measure needs are the same for every run, so that runs differ by their training alone.
        """
        raise NotImplementedError

    def label_count(self) -> int | None:
        """How many labels the model can tell apart; None where it reads none."""
        return None


@dataclass(frozen=True)
class Start:
    """Initial weights from another run of the same seed and setting, in place of random ones."""

    recipe: str
    """Name of the recipe whose run gives them."""
    parts: tuple[str, ...] = ("encoder",)
    """Which networks or layers, by the beginning of their weights' names."""

    def __post_init__(self) -> None:
        require_kind("recipe of the start", self.recipe, str)
        require_kind("parts of the start", self.parts, tuple)
        if not self.parts:
            raise ValueError("parts of the start must name a network: without one nothing is taken over.")


@dataclass(frozen=True)
class Recipe:
    """Everything that makes one figure or table row."""

    name: str
    """Under which its runs are kept."""
    reproduces: str
    """The paper's figure or table row."""
    setting: Setting
    """laptop, or paper."""
    model: ModelSettings
    """The model of the variant."""
    training: TrainingSettings
    """How it is trained."""
    data: DataSettings = field(default_factory=DataSettings)
    """What it learns from."""
    keep: tuple[str, ...] = ("encoder", "decoder")
    """The networks whose weights the run stores."""
    film: bool = False
    """Whether the run records how q(z) moves in the plane."""
    start: Start | None = None
    """A first stage: the run whose weights it starts from."""

    def __post_init__(self) -> None:
        require_kind("name", self.name, str)
        require_kind("model", self.model, ModelSettings)
        require_kind("training", self.training, TrainingSettings)
        require_kind("data", self.data, DataSettings)
        require_kind("keep", self.keep, tuple)
        require_kind("start, unless None,", self.start, Start, type(None))
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"The name of a recipe is of small letters, digits and single hyphens, not {self.name!r}."
            )
        require_known("setting", self.setting, SETTINGS)
        require_flag("film", self.film)
        if self.film and getattr(getattr(self.model, "prior", None), "dim", None) != 2:
            raise ValueError(f"{self.name} cannot record a film: that shows codes z in a prior's plane.")
        if not self.keep:
            raise ValueError("keep names no network: a run without weights cannot be evaluated.")
        if self.data.standardize and getattr(self.model, "output", "linear") == "sigmoid":
            raise ValueError("A sigmoid does not reach standardized pixels: use output='linear'.")
        labels, most = self.data.labels, self.model.label_count()
        if self.model.needs_labels and labels != "all":
            raise ValueError(f"{self.name} needs the label of every image: use labels='all', not {labels!r}.")
        if labels is not None and most is None:
            raise ValueError(f"{self.name} reads no labels: use labels=None, not {labels!r}.")
        count = LABELS[self.data.dataset]
        if labels is not None and most is not None and most < count:
            raise ValueError(
                f"classes must be at least {count}, as many as {self.data.dataset} has labels, not {most}."
            )


APPENDIX_A21 = TrainingSettings(epochs=5000, drops=(50, 1000))
"""The paper's training for MNIST; the `paper` setting takes it where the paper is silent, too."""


def in_both_settings(
    paper: Recipe, model: ModelSettings, training: TrainingSettings, **changes: Any
) -> tuple[Recipe, Recipe]:
    """A recipe on a laptop, with another model and training, and in the paper's setting."""
    return replace(paper, setting="laptop", model=model, training=training, **changes), paper


def late_drop(epochs: int, **changes: Any) -> TrainingSettings:
    """Laptop training: rates fall after four fifths of the epochs; bfloat16 or TensorFloat32 where fast."""
    return TrainingSettings(epochs, drops=(4 * epochs // 5,), precision="auto", **changes)


def steady_game(
    epochs: int,
    *,
    slower: int,
    reconstruction: float = 0.01,
    discriminator: float = 0.1,
    generator: float = 0.1,
) -> TrainingSettings:
    """Laptop training for a q(z) that has to match p(z) closely.

    `reconstruction`, `discriminator` and `generator` are the learning rates of the three phases. After epoch
    `slower` the reconstruction learns at a tenth of its rate while the game goes on. Weights are averaged.
    """
    return TrainingSettings(
        epochs,
        reconstruction=Rates(reconstruction, 0.9),
        discriminator=Rates(discriminator, 0.1, constant=True),
        generator=Rates(generator, 0.1, constant=True),
        drops=(slower,),
        averaging=0.99,
        precision="auto",
    )


def calmer_games(epochs: int, calmer: int) -> TrainingSettings:
    """Laptop training in which both games calm down at the end.

    After epoch `calmer` the discriminators and their generator learn at a fifth of the paper's rates, while
    reconstruction and classification go on as before. Weights are averaged.
    """
    return TrainingSettings(
        epochs,
        reconstruction=Rates(0.01, 0.9, constant=True),
        classification=Rates(0.1, 0.9, constant=True),
        drops=(calmer,),
        drop_factor=0.2,
        averaging=0.99,
        precision="auto",
    )


def shrink(recipe: Recipe, images: int = 200, epochs: int = 1, units: int = 16) -> Recipe:
    """The same recipe in seconds: fewer images, epochs and units. What is documented is what is tested."""
    labels = recipe.data.labels if recipe.data.labels in (None, "all") else 100
    narrow = {f.name: units for f in fields(recipe.model) if f.name in ("units", "discriminator_units")}
    return replace(
        recipe,
        model=replace(recipe.model, **narrow),
        data=replace(recipe.data, images=images, held_out=images, labels=labels),
        training=replace(recipe.training, epochs=epochs, batch_size=min(recipe.training.batch_size, 50)),
        start=None,
    )


@torch.no_grad()
def in_chunks(function: Callable[[Tensor], Tensor], values: Tensor, size: int = 2000) -> Tensor:
    """Apply `function` to `(N, ...)` values, `size` rows at a time and without gradients."""
    return torch.cat([function(chunk) for chunk in values.split(size)])
