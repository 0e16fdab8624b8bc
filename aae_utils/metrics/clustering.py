"""From clusters to digits, and how often they are wrong (section 6, Table 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aae_utils.metrics.classification import classification_error
from aae_utils.metrics.inputs import require_labels, require_scores


def log_odds(logits: Tensor) -> Tensor:
    """Log-odds, log q(y_i|x) / (1 - q(y_i|x)), of the softmax of logits `(N, K)`, in nats.

    It rises with q(y_i|x) and never rounds: in float32 a softmax is exactly 1 for hundreds of images, and
    nobody can tell which of them is the surest.
    """
    clusters = logits.shape[1]
    own = torch.eye(clusters, dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].masked_fill(own, -math.inf)
    return logits - others.logsumexp(2)


def cluster_labels(validation_scores: Tensor, validation_labels: Tensor) -> Tensor:
    """Label of each cluster by the rule of section 6, `(K,)`.

    Cluster i gets the true label of the validation example x_n with the largest q(y_i | x_n), the
    first one if several tie. `validation_scores` is `(N, K)` and rises with q(y_i | x_n): its
    `log_odds`, or the probabilities where none of them rounds to 1. `validation_labels` is `(N,)`.
    """
    require_scores(validation_scores, validation_labels, "validation")
    most_certain = validation_scores.argmax(dim=0)
    return validation_labels.to(most_certain.device)[most_certain]


def clustering_error(test_scores: Tensor, test_labels: Tensor, cluster_to_label: Tensor) -> float:
    """Error in percent when each point gets the label of its most probable cluster (Table 3).

    `test_scores` is `(N, K)`, `test_labels` `(N,)`, `cluster_to_label` `(K,)` as from
    `cluster_labels`.
    """
    require_scores(test_scores, test_labels, "test")
    require_labels(cluster_to_label, test_scores.shape[1], "cluster labels")
    clusters = test_scores.argmax(dim=1)
    return classification_error(cluster_to_label.to(clusters.device)[clusters], test_labels)


def majority_vote_error(test_scores: Tensor, test_labels: Tensor) -> float:
    """Error in percent when each cluster takes the commonest true label among its own test points.

    Many papers report this one. It reads the test labels, so it is at most the error of any other
    labeling.
    """
    require_scores(test_scores, test_labels, "test")
    clusters = test_scores.argmax(dim=1)
    _, label_index = test_labels.to(clusters.device).unique(return_inverse=True)
    classes = int(label_index.max()) + 1
    table = torch.bincount(clusters * classes + label_index, minlength=test_scores.shape[1] * classes)
    correct = table.view(-1, classes).amax(dim=1).sum().item()
    return 100 * (len(test_labels) - correct) / len(test_labels)


def clustering_report(
    test_scores: Tensor,
    test_labels: Tensor,
    validation_scores: Tensor,
    validation_labels: Tensor,
) -> dict[str, float]:
    """All clustering numbers of section 6 by name.

    `error` (the paper's rule) and `majority_vote_error` in percent, `nmi` (normalized mutual
    information) and `ari` (adjusted Rand index) with 1 for a perfect clustering, `clusters`, and
    `empty_clusters`: those that no test point belongs to.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    require_scores(test_scores, test_labels, "test")
    labels_of_clusters = cluster_labels(validation_scores, validation_labels)
    clusters = test_scores.argmax(dim=1).cpu().numpy()
    labels = test_labels.cpu().numpy()
    count = test_scores.shape[1]
    return {
        "error": clustering_error(test_scores, test_labels, labels_of_clusters),
        "majority_vote_error": majority_vote_error(test_scores, test_labels),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "clusters": float(count),
        "empty_clusters": float(count - len(set(clusters.tolist()))),
    }
