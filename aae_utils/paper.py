"""What the paper prints: every number of Tables 1 to 3 and of Figure 11, the other methods' rows included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

AAE = "AAE"
"""The method of the paper itself, as its tables call it."""


@dataclass(frozen=True)
class PaperNumber:
    """One number that the paper prints; `text` holds its digits as they are printed."""

    where: str
    """The table or figure, and the column."""
    method: str
    """Whose number it is."""
    metric: str
    """What was measured, by its name in a run's results."""
    text: str
    """As printed, with its ± where there is one."""
    recipe: str | None = None
    """The recipe that measures the same."""

    @property
    def value(self) -> float:
        """The number itself."""
        return float(self.text.split("±")[0])

    @property
    def spread(self) -> float | None:
        """What stands after the ±; None where the paper gives none."""
        _, sign, spread = self.text.partition("±")
        return float(spread) if sign else None


# One table each: its columns as (place, metric), its rows by method; "" where the paper prints nothing.
_LIKELIHOOD_COLUMNS = (
    ("Table 1, MNIST", "log_likelihood"),
    ("Table 1, MNIST", "log_likelihood_10m"),
    ("Table 1, TFD", "log_likelihood"),
    ("Table 1, TFD", "log_likelihood_10m"),
)
_LIKELIHOODS = {
    "DBN": ("138 ± 2", "", "1909 ± 66", ""),
    "Stacked CAE": ("121 ± 1.6", "", "2110 ± 50", ""),
    "Deep GSN": ("214 ± 1.1", "", "1890 ± 29", ""),
    "GAN": ("225 ± 2", "386", "2057 ± 26", ""),
    "GMMN + AE": ("282 ± 2", "", "2204 ± 20", ""),
    AAE: ("340 ± 2", "427", "2252 ± 16", "2522"),
}
_ERROR_COLUMNS = (
    ("Table 2, MNIST 100 labels", "error"),
    ("Table 2, MNIST 1000 labels", "error"),
    ("Table 2, MNIST all labels", "error"),
    ("Table 2, SVHN 1000 labels", "error"),
)
_ERRORS = {
    "NN baseline": ("25.80", "8.73", "1.25", "47.50"),
    "VAE (M1) + TSVM": ("11.82 ± 0.25", "4.24 ± 0.07", "", "55.33 ± 0.11"),
    "VAE (M2)": ("11.97 ± 1.71", "3.60 ± 0.56", "", ""),
    "VAE (M1 + M2)": ("3.33 ± 0.14", "2.40 ± 0.02", "0.96", "36.02 ± 0.10"),
    "VAT": ("2.33", "1.36", "0.64 ± 0.04", "24.63"),
    "CatGAN": ("1.91 ± 0.1", "1.73 ± 0.18", "0.91", ""),
    "Ladder": ("1.06 ± 0.37", "0.84 ± 0.08", "0.57 ± 0.02", ""),
    "ADGM": ("0.96 ± 0.02", "", "", "16.61 ± 0.24"),
    AAE: ("1.90 ± 0.10", "1.60 ± 0.08", "0.85 ± 0.02", "17.70 ± 0.30"),
}
_CLUSTERING_COLUMNS = (
    ("Table 3, 16 clusters", "error"),
    ("Table 3, 20 clusters", "error"),
    ("Table 3, 30 clusters", "error"),
)
_CLUSTERINGS = {"CatGAN": ("", "9.70", ""), AAE: ("9.55 ± 2.05", "", "4.10 ± 1.13")}
_REDUCTION_COLUMNS = (
    ("Figure 11A, 2-D, 1000 labels", "error"),
    ("Figure 11B, 2-D, 100 labels", "error"),
    ("Figure 11C, 2-D, 20 clusters", "error"),
    ("Figure 11D, 10-D, 100 labels", "error"),
)
_REDUCTIONS = {AAE: ("4.20", "6.08", "13.95", "3.90")}
_RECIPES = {
    ("Table 1, MNIST", AAE): "likelihood-mnist",
    ("Table 1, TFD", AAE): "likelihood-tfd",
    ("Table 2, MNIST 100 labels", AAE): "semi-supervised-100",
    ("Table 2, MNIST 1000 labels", AAE): "semi-supervised-1000",
    ("Table 2, MNIST all labels", AAE): "semi-supervised-all",
    ("Table 2, SVHN 1000 labels", AAE): "semi-supervised-svhn-1000",
    ("Table 2, MNIST 100 labels", "NN baseline"): "baseline-100",
    ("Table 2, MNIST 1000 labels", "NN baseline"): "baseline-1000",
    ("Table 2, MNIST all labels", "NN baseline"): "baseline-all",
    ("Table 3, 16 clusters", AAE): "clustering-16",
    ("Table 3, 30 clusters", AAE): "clustering-30",
    ("Figure 11A, 2-D, 1000 labels", AAE): "reduction-1000",
    ("Figure 11B, 2-D, 100 labels", AAE): "reduction-100",
    ("Figure 11C, 2-D, 20 clusters", AAE): "reduction-unsupervised",
    ("Figure 11D, 10-D, 100 labels", AAE): "reduction-10d",
}


def _numbers(columns: Sequence[tuple[str, str]], rows: Mapping[str, Sequence[str]]) -> Iterator[PaperNumber]:
    for method, texts in rows.items():
        for (where, metric), text in zip(columns, texts, strict=True):
            if text:
                yield PaperNumber(where, method, metric, text, _RECIPES.get((where, method)))


PAPER: tuple[PaperNumber, ...] = (
    *_numbers(_LIKELIHOOD_COLUMNS, _LIKELIHOODS),
    *_numbers(_ERROR_COLUMNS, _ERRORS),
    *_numbers(_CLUSTERING_COLUMNS, _CLUSTERINGS),
    *_numbers(_REDUCTION_COLUMNS, _REDUCTIONS),
)
"""Every number of Tables 1 to 3 and of Figure 11."""


def paper_numbers(recipe: str) -> list[PaperNumber]:
    """What the paper prints for a recipe; nothing for the figures without numbers."""
    return [number for number in PAPER if number.recipe == recipe]
