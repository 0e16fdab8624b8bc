"""Clustering numbers on clusters whose error can be counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aae_utils.metrics.clustering import (
    cluster_labels,
    clustering_error,
    clustering_report,
    log_odds,
    majority_vote_error,
)
from aae_utils.metrics.inputs import EvaluationError

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def one_hot(clusters: list[int], count: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(clusters), count).float()


def test_a_permuted_perfect_clustering_has_no_error() -> None:
    probabilities = one_hot([2, 2, 0, 0, 1, 1], 3)
    report = clustering_report(probabilities, LABELS, probabilities, LABELS)
    assert report["error"] == report["majority_vote_error"] == report["empty_clusters"] == 0
    assert report["nmi"] == pytest.approx(1)
    assert report["ari"] == pytest.approx(1)


def test_all_in_one_cluster_gets_one_class_right() -> None:
    probabilities = one_hot([3] * 6, 5)
    report = clustering_report(probabilities, LABELS, probabilities, LABELS)
    assert report["error"] == pytest.approx(100 * 4 / 6)
    assert report["majority_vote_error"] == pytest.approx(100 * 4 / 6)
    assert (report["clusters"], report["empty_clusters"]) == (5, 4)
    assert report["nmi"] == pytest.approx(0, abs=1e-9)
    assert report["ari"] == pytest.approx(0, abs=1e-9)


def test_rule_takes_the_most_certain_validation_example_and_not_the_majority() -> None:
    validation = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.2, 0.8]])
    assert cluster_labels(validation, torch.tensor([5, 5, 7, 1])).tolist() == [7, 1]
    test = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.9, 0.1], [0.3, 0.7]])
    labels = torch.tensor([5, 5, 7, 1])
    assert clustering_error(test, labels, torch.tensor([7, 1])) == 50
    assert majority_vote_error(test, labels) == 25


def test_a_cluster_without_points_still_gets_a_label() -> None:
    validation = torch.tensor([[0.6, 0.1, 0.3], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4]])
    assert cluster_labels(validation, torch.tensor([8, 3, 4])).tolist() == [8, 3, 4]


def test_the_first_of_several_equally_certain_examples_decides() -> None:
    validation = torch.full((4, 2), 0.5)
    assert cluster_labels(validation, torch.tensor([6, 1, 2, 3])).tolist() == [6, 6]


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_odds(logits), logits.double().softmax(1).logit().float())


def test_log_odds_find_the_surest_example_where_probabilities_round_to_one() -> None:
    logits = torch.tensor([[40.0, 0.0], [60.0, 0.0], [0.0, 30.0], [-90.0, 30.0]])
    labels = torch.tensor([5, 7, 1, 2])
    assert cluster_labels(logits.double().softmax(1), labels).tolist() == [5, 2]
    assert cluster_labels(log_odds(logits), labels).tolist() == [7, 2]


def test_majority_vote_takes_labels_that_do_not_start_at_zero() -> None:
    assert majority_vote_error(one_hot([0, 0, 1, 1], 4), torch.tensor([70, 90, 90, 90])) == 25


def test_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(EvaluationError, match="test labels must have shape"):
        majority_vote_error(torch.zeros(4, 2), torch.zeros(3))
    with pytest.raises(EvaluationError, match="cluster labels must have shape"):
        clustering_error(torch.zeros(4, 2), torch.zeros(4), torch.zeros(3))
    with pytest.raises(EvaluationError, match="validation scores"):
        cluster_labels(torch.zeros(4), torch.zeros(4))
    with pytest.raises(EvaluationError, match="NaN"):
        cluster_labels(torch.full((4, 2), math.nan), torch.zeros(4))
