from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from aae_utils.networks import Corruption
from aae_utils.priors import Gaussian
from aae_utils.recipes import ModelSettings
from aae_utils.training import Trainer, TrainingSet, TrainingSettings
from aae_utils.variants.adversarial import AdversarialSettings
from aae_utils.variants.clustering import ClusteringSettings
from aae_utils.variants.semi_supervised import BaselineSettings, SemiSupervisedSettings
from aae_utils.variants.variational import VariationalSettings

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"
D, U, Z, B, K = 20, 12, 3, 8, 10  # pixels, units, code, minibatch, classes


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("training_step")


def products_of(benchmark, settings: ModelSettings) -> list:
    model = benchmark.sized(settings, U).build(D)
    x, y = torch.rand(B, D), torch.arange(B)
    trainer = Trainer(model, TrainingSet(x, y, x, y), TrainingSettings(1, B))
    return benchmark.needed_products(model, next(trainer.batches()))


def macs(products: list) -> int:
    return sum(product.flops for product in products) // 2


ENCODER, DECODER, DISCRIMINATOR = D * U + U * U + U * Z, Z * U + U * U + U * D, Z * U + U * U + U


def test_products_of_the_adversarial_autoencoder_by_hand(benchmark):
    # forward, weight gradients, and input gradients of all but the encoder's first layer
    reconstruction = B * (2 * (ENCODER + DECODER) + (ENCODER - D * U) + DECODER)
    # twice as many rows; no gradient of the codes
    discriminator = 2 * B * (2 * DISCRIMINATOR + DISCRIMINATOR - Z * U)
    # one pass through the encoder for both updates; the discriminator only passes gradients on
    generator = B * (2 * ENCODER + (ENCODER - D * U) + 2 * DISCRIMINATOR)
    products = products_of(benchmark, AdversarialSettings(Gaussian(Z)))
    assert macs(products) == reconstruction + discriminator + generator


def test_the_classification_phase_needs_no_style(benchmark):
    with_labels = products_of(benchmark, SemiSupervisedSettings(Gaussian(Z), corruption=Corruption(0.3)))
    without = products_of(benchmark, ClusteringSettings(Gaussian(Z), classes=K, batch_norm="none"))
    hidden, label = D * U + U * U, U * K
    expected = B * (2 * (hidden + label) + U * U + label)
    assert macs(with_labels) - macs(without) == expected


def test_products_of_a_classifier_by_hand(benchmark):
    layers = [(D, U), (U, U), (U, K)]
    products = products_of(benchmark, BaselineSettings())
    assert macs(products) == B * (2 * sum(n * m for n, m in layers) + U * U + U * K)
    assert {product.rows for product in products} == {B}
    kinds = [product.kind for product in products if product.layer == "encoder.hidden.0"]
    assert kinds == ["forward", "weight gradient"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_plain_products_compute_what_they_count(precision, benchmark, monkeypatch):
    products = products_of(benchmark, AdversarialSettings(Gaussian(Z)))
    seen: list[tuple[int, torch.dtype]] = []
    multiply = torch.mm

    def counted(left, right, out):
        seen.append((2 * left.shape[0] * left.shape[1] * right.shape[1], out.dtype))
        assert out.shape == (left.shape[0], right.shape[1])
        return multiply(left, right, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    benchmark.plain_products(products, precision)()
    dtype = getattr(torch, precision)
    # codes have Z units and logits one
    narrow = [min(product.inputs, product.outputs) in (Z, 1) for product in products]
    assert seen == [
        (product.flops, torch.float32 if code else dtype)
        for product, code in zip(products, narrow, strict=True)
    ]


def test_a_measurement_takes_turns(benchmark):
    calls: list[str] = []
    works = [lambda: calls.append("step"), lambda: calls.append("plain")]
    times = benchmark.take_turns(works, 0.0, repeats=2)
    assert calls == ["step", "plain"] * 2 + ["step", "step", "plain", "plain"] * 3
    assert [len(spent) for spent in times] == [3, 3]


def test_a_measurement_counts_the_operations_of_a_step(benchmark):
    timing, flops = benchmark.measure(VariationalSettings(units=8), 64, 0.0, "bfloat16")
    assert len(timing.steps) == len(timing.plain) == len(timing.updates) == 3
    code = VariationalSettings().prior.dim
    encoder, decoder = 784 * 8 + 8 * 8 + 8 * 2 * code, code * 8 + 8 * 8 + 8 * 784
    # forward, weights and inputs of every layer, but for the inputs of the first one: the images
    assert flops == 2 * 64 * (3 * (encoder + decoder) - 784 * 8)


def test_the_bound_is_the_share_of_the_products_in_products_and_updates(benchmark):
    timing = benchmark.Timing(steps=[2.0, 2.0, 2.0], plain=[1.0, 3.0, 1.0], updates=[0.25, 1.0, 1.0])
    assert timing.fractions == [0.5, 0.5, 1.5]
    assert timing.bound == 0.75


@pytest.mark.parametrize(("precision", "copies"), [("float32", 0), ("bfloat16", 2 * (4 + 1 + 2))])
def test_plain_updates_move_what_a_step_moves(precision, copies, benchmark, monkeypatch):
    # hidden layers and image: 4 weights of the autoencoder, 1 of the discriminator, 2 of the encoder again;
    # layers that read or write a code are not copied
    trainer = benchmark.make_trainer(
        AdversarialSettings(Gaussian(Z), units=U, discriminator_units=U), B, precision
    )
    updates, seen = benchmark.plain_updates(trainer), []
    monkeypatch.setattr(Tensor, "copy_", lambda target, source: seen.append((target.dtype, source.dtype)))
    moved = [0] * len(trainer.optimizers)
    for number, optimizer in enumerate(trainer.optimizers):
        monkeypatch.setattr(
            optimizer, "step", lambda number=number: moved.__setitem__(number, moved[number] + 1)
        )
    updates()
    assert moved == [1, 1, 1]
    assert len(seen) == copies


@pytest.mark.parametrize(("number", "updates"), [(0, 2), (1, 4)])
def test_the_other_ways_to_write_a_step_train_every_network(number, updates, benchmark):
    peer = importlib.import_module("peers").PEERS[number]
    model = benchmark.sized(peer.settings, U).build(benchmark.IMAGE_DIM)
    before = [parameter.clone() for parameter in model.parameters()]
    losses = next(peer.steps(model, B))
    assert len(losses) == updates
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
