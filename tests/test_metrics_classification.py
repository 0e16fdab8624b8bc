"""Classifiers, probes and the reader of digits, where the right answer is known."""

from __future__ import annotations

import pytest
import torch
from small_models import seeded
from torch import Tensor

from aae_utils import data
from aae_utils.metrics.classification import (
    DigitReader,
    classification_error,
    linear_probe_error,
    mlp_probe_error,
    requested_share,
)
from aae_utils.metrics.inputs import EvaluationError


class TestError:
    def test_counts_the_differences_in_percent(self) -> None:
        labels = torch.tensor([0, 1, 2, 9])
        assert classification_error(torch.tensor([0, 1, 2, 3]), labels) == 25
        assert classification_error(labels, labels) == 0
        assert requested_share(torch.tensor([0, 1, 2, 3]), labels) == 75

    @pytest.mark.parametrize("predictions", [torch.zeros(3), torch.zeros(2, 10), torch.zeros(0)])
    def test_refuses_other_shapes(self, predictions: Tensor) -> None:
        with pytest.raises(EvaluationError, match="must have shape"):
            classification_error(predictions, torch.zeros(2))


class TestProbes:
    def test_codes_without_the_label_stay_at_chance(self) -> None:
        codes = torch.randn(2000, 5, generator=seeded())
        labels = torch.randint(10, (2000,), generator=seeded(1))
        split = (codes[:1000], labels[:1000], codes[1000:], labels[1000:])
        assert 84 < linear_probe_error(*split) < 96
        assert 84 < mlp_probe_error(*split) < 96

    def test_a_label_on_one_axis_is_read_by_both(self) -> None:
        labels = torch.arange(600) % 2
        codes = torch.randn(600, 4, generator=seeded())
        codes[:, 2] = 100 + 8.0 * labels + 0.1 * codes[:, 2]
        split = (codes[:400], labels[:400], codes[400:], labels[400:])
        assert linear_probe_error(*split) == 0
        assert mlp_probe_error(*split) < 2

    def test_only_the_network_finds_a_ring(self) -> None:
        codes = torch.randn(2000, 2, generator=seeded())
        labels = (codes.norm(dim=1) > 1.18).long()
        split = (codes[:1500], labels[:1500], codes[1500:], labels[1500:])
        assert linear_probe_error(*split) > 25
        assert mlp_probe_error(*split) < 8

    def test_refuses_one_class_and_other_widths(self) -> None:
        codes, labels = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
        with pytest.raises(EvaluationError, match="two classes"):
            linear_probe_error(codes, torch.zeros_like(labels), codes, labels)
        with pytest.raises(EvaluationError, match="same dimension"):
            linear_probe_error(codes, labels, torch.zeros(4, 3), labels)


@pytest.mark.usefixtures("one_thread")
class TestDigitReader:
    def test_reads_real_digits_that_it_has_not_seen(self) -> None:
        train = data.load("mnist", "train").first(10_000)
        held_out = data.load("mnist", "validation").first(2_000)
        reader = DigitReader.train(train.images, train.labels)
        assert classification_error(reader.read(held_out.images), held_out.labels) < 6

    def test_one_seed_gives_one_reader_and_leaves_the_global_stream_alone(self) -> None:
        images, labels = torch.rand(300, 20, generator=seeded()), torch.arange(300) % 3
        before = torch.get_rng_state()
        weights = [DigitReader.train(images, labels, seed).network[0].weight.detach() for seed in (0, 0, 1)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
        assert torch.equal(torch.get_rng_state(), before)

    def test_refuses_images_without_a_label(self) -> None:
        with pytest.raises(EvaluationError, match="whole numbers from 0"):
            DigitReader.train(torch.rand(4, 3), torch.tensor([0, 1, -1, 2]))
        with pytest.raises(EvaluationError, match="same dimension"):
            DigitReader.train(torch.rand(4, 3), torch.tensor([0, 1, 1, 2])).read(torch.rand(2, 5))
