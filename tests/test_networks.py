from __future__ import annotations

import math

import pytest
import torch
from small_models import seeded
from torch import nn

from aae_utils.networks import (
    Corruption,
    Decoder,
    Discriminator,
    Encoder,
    LabelAndStyleEncoder,
    dense,
    hidden_layers,
    reparametrize,
)

pytestmark = pytest.mark.usefixtures("one_thread")

POSTERIORS = ("deterministic", "gaussian", "universal")


def images(count: int = 6, dim: int = 20) -> torch.Tensor:
    return torch.rand(count, dim, generator=seeded(1))


# Layers


def test_weights_start_normal_with_the_papers_std_and_biases_at_zero():
    torch.manual_seed(0)
    layer = dense(400, 300)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert layer.weight.mean().item() == pytest.approx(0, abs=1e-4)
    # kurtosis 3 tells a normal from a uniform distribution, which has 1.8
    assert (layer.weight / layer.weight.std()).pow(4).mean().item() == pytest.approx(3, abs=0.1)
    assert torch.equal(layer.bias, torch.zeros(300))
    assert dense(400, 300, 0.05).weight.std().item() == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize(
    "network",
    [
        Encoder(200, 100, 100),
        LabelAndStyleEncoder(200, 100, 100, 100),
        Decoder(100, 200, 100),
        Discriminator(100, 100),
    ],
    ids=lambda network: type(network).__name__,
)
def test_every_layer_of_a_network_starts_that_way(network):
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    weights = torch.cat([layer.weight.flatten() for layer in layers])
    assert weights.std().item() == pytest.approx(0.01, rel=0.02)
    assert all(not layer.bias.any() for layer in layers)


def test_hidden_layers_are_two_of_relu_units():
    network = hidden_layers(20, 7)
    first, _, second, _ = network
    assert (first.weight.shape, second.weight.shape) == ((7, 20), (7, 7))
    expected = (images() @ first.weight.T).relu() @ second.weight.T
    torch.testing.assert_close(network(images()), expected.relu())
    normalized = hidden_layers(20, 7, batch_norm=True)
    assert [type(module) for module in normalized] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2


# Encoder


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_encoder_maps_images_to_codes(posterior):
    encoder = Encoder(20, 3, 8, posterior=posterior)
    code = encoder(images(), seeded())
    assert code.shape == (6, 3)
    assert code.dtype == torch.float32
    assert encoder(images(0), seeded()).shape == (0, 3)


@pytest.mark.parametrize("posterior", ["gaussian", "universal"])
def test_stochastic_code_follows_the_generator(posterior):
    encoder = Encoder(20, 3, 8, posterior=posterior, init_std=0.3)
    code = encoder(images(), seeded(1))
    assert torch.equal(code, encoder(images(), seeded(1)))
    assert (code != encoder(images(), seeded(2))).all()


def test_gaussian_posterior_has_the_moments_that_it_states():
    torch.manual_seed(0)
    encoder = Encoder(20, 2, 8, posterior="gaussian", init_std=0.5)
    mean, log_variance = encoder.moments(images(1))
    assert mean.shape == log_variance.shape == (1, 2)
    codes = encoder(images(1).expand(40_000, -1), seeded())
    std = (0.5 * log_variance).exp()[0]
    errors = 5 * std / math.sqrt(40_000)
    assert ((codes.mean(0) - mean[0]).abs() < errors).all()
    assert ((codes.std(0) - std).abs() < errors / math.sqrt(2)).all()


def test_universal_posterior_depends_on_its_noise_through_the_network():
    torch.manual_seed(0)
    encoder = Encoder(20, 2, 50, posterior="universal", noise_dim=4, init_std=0.5)
    assert encoder.hidden[0].in_features == 20 + 4
    codes = encoder(images(1).expand(20_000, -1), seeded())
    assert (codes.std(0) > 0.01).all()
    # cutting the weights of the noise leaves the one code of the image
    with torch.no_grad():
        encoder.hidden[0].weight[:, 20:] = 0
    assert torch.allclose(encoder(images(), seeded(1)), encoder(images(), seeded(2)))


@pytest.mark.parametrize("posterior", ["deterministic", "universal"])
def test_moments_of_another_posterior_are_an_error(posterior):
    encoder = Encoder(20, 3, 8, posterior=posterior)
    with pytest.raises(ValueError, match="has no moments; use posterior='gaussian'"):
        encoder.moments(images())


def test_reparametrize_passes_gradients_to_mean_and_variance():
    mean = torch.zeros(3, 2, requires_grad=True)
    log_variance = torch.zeros(3, 2, requires_grad=True)
    code = reparametrize(mean, log_variance, seeded())
    code.sum().backward()
    assert torch.equal(mean.grad, torch.ones(3, 2))
    # d/dlogvar of exp(logvar / 2) * epsilon at 0 is epsilon / 2, and here z is epsilon
    torch.testing.assert_close(log_variance.grad, code.detach() / 2)


# The other networks


def test_label_and_style_share_the_hidden_layers():
    encoder = LabelAndStyleEncoder(20, 10, 4, 8)
    logits, style = encoder(images())
    assert (logits.shape, style.shape) == ((6, 10), (6, 4))
    shared = encoder.hidden(images())
    assert torch.equal(logits, encoder.label(shared))
    assert torch.equal(style, encoder.style(shared))


def test_batch_norm_reaches_label_and_style():
    encoder = LabelAndStyleEncoder(20, 10, 4, 8, batch_norm=True)
    logits, style = encoder(torch.rand(500, 20))
    for values in (logits, style):
        assert values.mean(0).abs().max() < 1e-4
        assert values.std(0, correction=0).tolist() == pytest.approx([1] * values.shape[1], abs=0.2)


# Corruption


def test_input_noise_has_its_std_and_dropout_keeps_the_mean():
    x = torch.full((400, 500), 0.5)
    noise = Corruption(noise_std=0.3)(x, seeded()) - x
    assert noise.std().item() == pytest.approx(0.3, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    dropped = Corruption(dropout=0.2)(x, seeded())
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
    assert dropped.mean().item() == pytest.approx(0.5, abs=0.005)
    assert Corruption()(x, seeded()) is x


# Mistakes


@pytest.mark.parametrize(
    ("network", "what", "width"),
    [
        (Encoder(20, 3, 8), "image", 20),
        (Encoder(20, 3, 8, posterior="gaussian"), "image", 20),
        (Encoder(20, 3, 8, posterior="universal"), "image", 20),
        (LabelAndStyleEncoder(20, 10, 4, 8), "image", 20),
        (Decoder(3, 20, 8), "code", 3),
        (Discriminator(3, 8), "code", 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
@pytest.mark.parametrize("shape", [(6, 21), (20,), (6, 5, 4)])
def test_wrong_widths_are_one_sentence(network, what, width, shape):
    with pytest.raises(ValueError) as caught:
        network(torch.zeros(shape))
    assert str(caught.value) == (
        f"Expected {what}s of shape (N, {width}), got {shape}: pass one flattened {what} a row."
    )
