from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from aae_utils.recipes import ModelSettings, build_model
from aae_utils.training import Trainer, TrainingSet, TrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "training_step.py"
D, U, Z, B, K = 20, 12, 3, 8, 10  # pixels, units, code, minibatch, classes


@pytest.fixture(scope="module")
def benchmark():
    specification = importlib.util.spec_from_file_location("training_step", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["training_step"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["training_step"]


def products_of(benchmark, variant: str, **settings: object) -> list:
    sizes = {"units": U, "discriminator_units": U, "code_dim": Z}
    model = build_model(ModelSettings(variant, **{**sizes, **settings}), D)
    x, y = torch.rand(B, D), torch.arange(B)
    trainer = Trainer(model, TrainingSet(x, y, x, y), TrainingSettings(1, B))
    return benchmark.needed_products(model, next(trainer.batches()))


def macs(products: list) -> int:
    return sum(product.flops for product in products) // 2


ENCODER, DECODER, DISCRIMINATOR = D * U + U * U + U * Z, Z * U + U * U + U * D, Z * U + U * U + U


def test_products_of_the_adversarial_autoencoder_by_hand(benchmark):
    # forward, weight gradients, and input gradients of all but the encoder's first layer
    reconstruction = B * (2 * (ENCODER + DECODER) + (ENCODER - D * U) + DECODER)
    # codes without gradients; twice as many rows; no gradient of the codes
    discriminator = B * ENCODER + 2 * B * (2 * DISCRIMINATOR + DISCRIMINATOR - Z * U)
    # the discriminator only passes gradients on
    generator = B * (2 * ENCODER + (ENCODER - D * U) + 2 * DISCRIMINATOR)
    assert macs(products_of(benchmark, "aae")) == reconstruction + discriminator + generator


def test_the_classification_phase_needs_no_style(benchmark):
    with_labels = products_of(benchmark, "semi-supervised", input_noise=0.3)
    without = products_of(benchmark, "semi-supervised", supervised=False)
    hidden, label = D * U + U * U, U * K
    expected = B * (2 * (hidden + label) + U * U + label)
    assert macs(with_labels) - macs(without) == expected


def test_products_of_a_classifier_by_hand(benchmark):
    layers = [(D, U), (U, U), (U, K)]
    products = products_of(benchmark, "classifier")
    assert macs(products) == B * (2 * sum(n * m for n, m in layers) + U * U + U * K)
    assert {product.rows for product in products} == {B}
    kinds = [product.kind for product in products if product.layer == "encoder.hidden.0"]
    assert kinds == ["forward", "weight gradient"]


def test_plain_products_compute_what_they_count(benchmark, monkeypatch):
    products = products_of(benchmark, "aae")
    seen: list[int] = []
    multiply = torch.mm

    def counted(left, right, out):
        seen.append(2 * left.shape[0] * left.shape[1] * right.shape[1])
        assert out.shape == (left.shape[0], right.shape[1])
        return multiply(left, right, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    benchmark.plain_products(products)()
    assert seen == [product.flops for product in products]


def test_a_measurement_takes_turns(benchmark):
    timing, flops = benchmark.measure(ModelSettings("vae", units=8, discriminator_units=8), 64, 0.0)
    assert len(timing.steps) == len(timing.plain) == 3
    assert all(0 < fraction < 1.5 for fraction in timing.fractions)
    assert flops > 0
