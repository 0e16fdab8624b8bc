"""What the numbers of a run are called, in which unit they are, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metric:
    """How a number of a run's results is called, in which unit it is, and which way is better."""

    label: str
    unit: str = ""
    decimals: int = 2
    higher_is_better: bool = False

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS = {
    "error": Metric("test error", "%"),
    "majority_vote_error": Metric("test error by majority vote", "%"),
    "nmi": Metric("normalized mutual information", "", 3, True),
    "ari": Metric("adjusted Rand index", "", 3, True),
    "clusters": Metric("clusters", "", 0),
    "empty_clusters": Metric("empty clusters", "", 0),
    "returned_to_cluster": Metric("drawn images that return to their cluster", "%", 1, True),
    "log_likelihood": Metric("log-likelihood, 10,000 samples", "nats", 1, True),
    "log_likelihood_10m": Metric("log-likelihood, 10,000,000 samples", "nats", 1, True),
    "standard_error": Metric("standard error of the log-likelihood over test images", "nats", 1),
    "standard_error_10m": Metric("standard error with 10,000,000 samples over test images", "nats", 1),
    "sigma": Metric("sigma of the Parzen window", "", 3),
    "sigma_10m": Metric("sigma of the Parzen window, 10,000,000 samples", "", 3),
    "region_share": Metric("codes in the region of their label", "%", 1, True),
    "sliced_wasserstein": Metric("sliced Wasserstein distance of q(z) from p(z)", "", 3),
    "reconstruction_error": Metric("reconstruction error, mean square per pixel", "", 4),
    "style_linear_probe_error": Metric("error of a linear classifier on the style", "%", 1, True),
    "style_mlp_probe_error": Metric("error of a small network on the style", "%", 1, True),
    "requested_digit_read": Metric("drawn images in which a reader sees the requested digit", "%", 1, True),
}
"""Every metric of this project, in the order of its tables."""

VALIDATION = "validation_"
"""How the name of a number begins that is measured on validation images."""

DESCRIPTIVE = ("clusters", "sigma", "sigma_10m")
"""Numbers that describe a run and are neither good nor bad."""


def metric_of(name: str) -> Metric:
    """What is known about a number of a run's results or a column of its history.

    An unknown one keeps its own name as its label.
    """
    if name in METRICS or not name.startswith(VALIDATION):
        return METRICS.get(name) or Metric(name.replace("_", " "), "", 3)
    known = metric_of(name.removeprefix(VALIDATION))
    return replace(known, label=f"validation {known.label.removeprefix('test ')}")
