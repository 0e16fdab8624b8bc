"""A diagnosis, not a method: start a model right, and watch whether its objective keeps it there.

For two epochs every image shows the right answer, by one more cross-entropy on y. Then the model is left to
its recipe. If its error stays low, the objective prefers the digits and a training from scratch fails to find
them; if the error rises to where such a training arrives, the objective prefers something else. The labels
that this takes are more than the paper uses, so no number of it is a result of the model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from aae_utils.data import ImageData, LearningSplits
from aae_utils.recipes import DIGITS, Recipe
from aae_utils.reproduction import make_monitor, note_part, resume
from aae_utils.training import Batch, Phase, Terms, Trainer
from aae_utils.variants.semi_supervised import TwoCodeSettings, cross_entropy

PREPARED_EPOCHS = 2


def require_label_code(recipe: Recipe) -> None:
    """Do nothing if a right start is defined for the recipe; a ValueError says why it is not."""
    model = recipe.model
    if not isinstance(model, TwoCodeSettings):
        raise ValueError(f"{recipe.name} cannot be started right: its model has no label code y.")
    if model.classes < DIGITS:
        raise ValueError(f"{recipe.name} cannot be started right: {model.classes} clusters are too few.")


def start_right(trainer: Trainer, recipe: Recipe, splits: LearningSplits, work: Path) -> None:
    """Train the trainer's model for two epochs with the right answers, as its first stage.

    Checkpoints lie in `work`. The rows of these epochs are noted as `prepared` and numbered -1 and 0, so that
    epoch 1 is the first under the recipe's own rules. TrainingDiverged when a loss is no longer finite.
    """
    note_part(trainer)
    seed = trainer.notes["seed"]
    answers = right_answers(recipe, splits.train, seed)
    settings = replace(recipe.training, epochs=PREPARED_EPOCHS, drops=(), averaging=0.0)
    first = Trainer(TaughtModel(trainer.model), replace(trainer.data, y=answers), settings, seed)
    first.notes = dict(trainer.notes)
    resume(first, work / "prepared")
    note_part(first)
    monitor = make_monitor(recipe, splits.validation)
    first.fit(lambda taught: monitor(taught.model), work / "prepared", progress=False)  # type: ignore[arg-type]
    parts = first.notes["parts"]
    trainer.notes["parts"] = [part | {"first_epoch": part["first_epoch"] - PREPARED_EPOCHS} for part in parts]
    note_part(trainer)
    trainer.notes["prepared"] = [row | {"epoch": row["epoch"] - PREPARED_EPOCHS} for row in first.history]


class TaughtModel(nn.Module):
    """A model with one more phase, in which every image of the minibatch shows its right answer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def phases(self) -> tuple[Phase, ...]:
        """The model's own phases, then the cross-entropy on all answers."""
        own: tuple[Phase, ...] = self.model.phases()  # type: ignore[operator]
        return (*own, Phase("every answer", self.answer_loss, (self.model.encoder,), "classification"))  # type: ignore[arg-type]

    def answer_loss(self, batch: Batch) -> Terms:
        """-log q(y|x) of the right answers."""
        logits = self.model.encoder(self.model.corruption(batch.x, batch.generator))[0]  # type: ignore[operator]
        return {"every_answer": cross_entropy(logits, batch.y)["classification"]}


def right_answers(recipe: Recipe, images: ImageData, seed: int) -> Tensor:
    """Which unit of y is right for each image, `(N,)`: its digit, or a cluster of that digit alone."""
    require_label_code(recipe)
    if recipe.model.label_count() is not None:
        return images.labels
    return clusters_of_digits(images, recipe.model.classes, seed)  # type: ignore[attr-defined]


def clusters_of_digits(images: ImageData, clusters: int, seed: int) -> Tensor:
    """Cluster of each image `(N,)`: every digit is split by k-means on its pixels into its share of them.

    Where the digits do not share them evenly, those whose images vary most get one more.
    """
    from sklearn.cluster import KMeans

    digits = images.labels.unique().tolist()
    pixels = {digit: images.images[images.labels == digit] for digit in digits}
    varied = sorted(digits, key=lambda digit: -pixels[digit].var(0, correction=0).sum().item())
    answers, taken = torch.empty_like(images.labels), 0
    for place, digit in enumerate(varied):
        share = clusters // len(digits) + (place < clusters % len(digits))
        parts = KMeans(share, n_init=1, random_state=seed).fit_predict(pixels[digit].cpu().numpy())
        answers[images.labels == digit] = torch.as_tensor(parts, dtype=torch.int64).to(answers.device) + taken
        taken += share
    return answers
