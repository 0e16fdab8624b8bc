from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from small_models import (
    ONE_CODE,
    PIXELS,
    SETTINGS,
    TERMS,
    build,
    copy_of,
    make_batch,
    run_phase,
    seeded,
    silence,
    trainer_of,
)
from torch import Tensor, nn
from torch.nn import functional

from aae_utils.data import UNLABELED, DataSettings, balanced_subset, load_splits
from aae_utils.metrics.classification import classification_error
from aae_utils.networks import Corruption, Decoder, Encoder, MissingNetwork
from aae_utils.priors import CustomPrior, Gaussian, GaussianMixture, SwissRoll
from aae_utils.recipes import ModelSettings, in_chunks
from aae_utils.training import Batch, Phase, Rates, Terms, Trainer, TrainingSet, TrainingSettings
from aae_utils.variants.adversarial import (
    discriminator_loss,
    generator_loss,
    squared_error,
)
from aae_utils.variants.dimensionality_reduction import (
    ClusterHeads,
    DimensionalityReductionSettings,
    FixedHeads,
    LearnedHeads,
)
from aae_utils.variants.label_regularized import LabelRegularizedSettings
from aae_utils.variants.semi_supervised import BaselineSettings, SemiSupervisedSettings
from aae_utils.variants.variational import VariationalSettings

pytestmark = pytest.mark.usefixtures("one_thread")

LN2 = math.log(2)
ADVERSARIAL = [name for name, terms in TERMS.items() if "reconstruction" in terms and "kl" not in terms]
WITH_LABELS = [name for name, terms in TERMS.items() if "classification" in terms]

# for every variant: its phases in order, and the parts whose parameters each one changes
ONE_CODE_PHASES = {
    "reconstruction": {"encoder", "decoder"},
    "discriminator": {"discriminator"},
    "generator": {"encoder"},
}
TWO_CODE_PHASES = {
    "reconstruction": {"encoder", "decoder"},
    "discriminators": {"label_discriminator", "style_discriminator"},
    "generator": {"encoder"},
}
# the label's loss does not reach the layer of the style
CLASSIFICATION = {"classification": {"encoder.hidden", "encoder.label"}}
LEARNED_HEADS = {"reconstruction": {"encoder", "decoder", "cluster_heads"}}
CHANGES: dict[str, dict[str, set[str]]] = dict.fromkeys(SETTINGS, ONE_CODE_PHASES) | {
    "variational": {"evidence lower bound": {"encoder", "decoder"}},
    "variational, mixture": {"evidence lower bound": {"encoder", "decoder"}},
    "semi-supervised": TWO_CODE_PHASES | CLASSIFICATION,
    "baseline": {"classification": {"encoder"}},
    "clustering": TWO_CODE_PHASES,
    "reduction": TWO_CODE_PHASES | LEARNED_HEADS | CLASSIFICATION,
    "reduction, unsupervised": TWO_CODE_PHASES | LEARNED_HEADS,
    "reduction, fixed heads": TWO_CODE_PHASES | CLASSIFICATION,
}


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}


def parameters_below(model: nn.Module, parts: set[str]) -> set[str]:
    return {name for name, _ in model.named_parameters() if any(name.startswith(f"{p}.") for p in parts)}


# What a phase does


@pytest.mark.parametrize("name", SETTINGS)
def test_each_phase_changes_its_parameters_and_no_others(name):
    model, batch = build(name), make_batch()
    trainer = trainer_of(model)
    assert [phase.name for phase in trainer.phases] == list(CHANGES[name])
    for number, parts in enumerate(CHANGES[name].values()):
        before = copy_of(model)
        run_phase(trainer, number, batch)
        assert changed(before, model) == parameters_below(model, parts)


@pytest.mark.parametrize("batch_norm", ["encoder", "autoencoder"])
def test_batch_norm_belongs_to_the_autoencoder_alone(batch_norm):
    model = build(replace(SETTINGS["semi-supervised"], batch_norm=batch_norm))
    normalized = {key.split(".")[0] for key in model.state_dict() if "running_mean" in key}
    assert normalized == ({"encoder", "decoder"} if batch_norm == "autoencoder" else {"encoder"})
    trainer, batch = trainer_of(model), make_batch()
    for number, parts in enumerate(CHANGES["semi-supervised"].values()):
        before = copy_of(model)
        run_phase(trainer, number, batch)
        touched = changed(before, model)
        assert touched <= parameters_below(model, parts)
        assert any(name.endswith("weight") for name in touched)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_reports_the_terms_of_its_phases(name):
    losses = trainer_of(build(name)).step(make_batch())
    assert list(losses) == TERMS[name]
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    assert not any(loss.requires_grad for loss in losses.values())


class TwoPasses(Batch):
    """A minibatch that computes what the phases share anew for each of them, with the same noise."""

    def once(self, name: str, compute: Callable[[], object]) -> object:
        now = self.generator.get_state()
        if name not in self.shared:
            self.shared[name] = now
            return compute()
        self.generator.set_state(self.shared[name])
        value = compute()
        self.generator.set_state(now)
        return value


@pytest.mark.parametrize("name", ["adversarial, universal posterior", "label-regularized", "clustering"])
def test_one_pass_through_the_encoder_serves_the_regularization_phase(name):
    settings = replace(SETTINGS[name], corruption=Corruption(noise_std=0.3, dropout=0.2))
    ends, passes = [], []
    for kind in (Batch, TwoPasses):
        model, batch = build(settings), make_batch()
        model.encoder.register_forward_hook(lambda *_, kind=kind: passes.append(kind))
        trainer_of(model).step(kind(batch.x, batch.y, generator=batch.generator))
        ends.append(copy_of(model))
    assert (passes.count(Batch), passes.count(TwoPasses)) == (2, 3)
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_a_batch_with_other_noise_shares_nothing_with_the_first():
    batch = make_batch()
    batch.once("code", lambda: 1)
    assert replace(batch, generator=seeded(3)).once("code", lambda: 2) == 2


@pytest.mark.parametrize("name", ["adversarial", "semi-supervised", "clustering", "reduction", "variational"])
def test_labels_of_the_images_are_not_looked_at(name):
    ends = []
    for hidden in (0, 8):
        model, batch = build(name), make_batch(hidden=hidden)
        trainer_of(model, batch).step(batch)
        ends.append(copy_of(model))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


# Values of the losses


def test_squared_error_of_known_images():
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    reconstruction = torch.tensor([[0.5, 1.0], [1.0, -1.0]])
    # 1/2 (0.25 + 0) and 1/2 (0 + 4), averaged over two images, or over two images of two pixels
    assert squared_error(x, reconstruction).item() == pytest.approx((0.125 + 2) / 2)
    assert squared_error(x, reconstruction, "mean").item() == pytest.approx((0.125 + 2) / 4)


def read(codes: Tensor) -> Tensor:
    """A discriminator that takes the code itself for the logit."""
    return codes[:, 0]


def test_adversarial_losses_of_known_logits():
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [3.0], [0.0]])
    d_real, d_fake = real.sigmoid(), fake.sigmoid()
    expected = -d_real.log().mean() - (1 - d_fake).log().mean()
    torch.testing.assert_close(discriminator_loss(read, real, fake), expected)
    torch.testing.assert_close(generator_loss(read, fake), -d_fake.log().mean())


def test_the_discriminators_rate_is_the_stated_one():
    model, batch = build("adversarial"), make_batch()
    discriminator = model.discriminator
    real = model.prior.sample(8, seeded(2))  # the first that the batch's noise is asked for
    d_real, d_fake = discriminator(real).sigmoid(), discriminator(model.encode(batch.x)).sigmoid()
    value = -d_real.log().mean() - (1 - d_fake).log().mean()  # E[-log D] + E[-log(1 - D)], section 1.1
    gradients = torch.autograd.grad(value, list(discriminator.parameters()))
    before = [parameter.clone() for parameter in discriminator.parameters()]
    run_phase(trainer_of(model, rate=0.25), 1, batch)
    for weight, start, gradient in zip(discriminator.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(weight, start - 0.25 * gradient)


def test_a_blind_discriminator_moves_by_its_rate_between_two_points():
    weight = torch.zeros(1, requires_grad=True)
    loss = discriminator_loss(lambda codes: codes[:, 0] * weight, torch.ones(4, 1), -torch.ones(2, 1))
    loss.backward()
    # each side pulls with 1/2: d/dw softplus(-w) = -1/2 at 0, twice
    assert (loss.item(), weight.grad.item()) == pytest.approx((2 * LN2, -1))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_models_with_silent_networks_have_known_losses(name):
    model, batch = build(name), make_batch()
    for part, network in model.named_children():
        if part == "decoder" or "discriminator" in part:
            silence(network)
    losses: Terms = {}
    for phase in model.phases():
        losses |= phase.loss(batch)
    # a silent sigmoid decoder paints every pixel 1/2
    expected = 0.5 * (batch.x - 0.5).pow(2).sum() / 8
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)
    for term, value in losses.items():
        if term.endswith(("discriminator", "generator")):
            assert value.item() == pytest.approx(LN2 if term.endswith("generator") else 2 * LN2)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_ignorant_classifier_costs_ln_of_the_number_of_classes(name):
    model = build(name)
    silence(model.encoder)
    loss = model.classification_loss(make_batch())["classification"]
    assert loss.item() == pytest.approx(math.log(10))


# Section 2: the VAE


@pytest.mark.parametrize("std", [1.0, 5.0])
def test_kl_to_a_gaussian_is_that_of_torch(std):
    model = VariationalSettings(Gaussian(3, std), units=4).build(PIXELS)
    mean, log_variance = torch.randn(6, 3, generator=seeded()), torch.randn(6, 3, generator=seeded(1))
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(3), std * torch.ones(3))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(model.divergence(mean, log_variance, mean), expected)


def test_estimated_kl_to_the_mixture_has_the_right_mean():
    model, prior = build("variational, mixture"), GaussianMixture()
    mean, log_variance = torch.tensor([[7.0, 2.0]]), torch.tensor([[0.4, -1.0]])
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    step = 0.05
    grid = torch.cartesian_prod(torch.arange(-3, 17, step), torch.arange(-8, 12, step))
    log_q = posterior.log_prob(grid).sum(1)
    by_integration = (log_q.exp() * (log_q - prior.log_prob(grid))).double().sum().item() * step**2
    count = 100_000
    means, log_variances = mean.expand(count, 2), log_variance.expand(count, 2)
    z = means + (0.5 * log_variances).exp() * torch.randn(count, 2, generator=seeded())
    estimates = model.divergence(means, log_variances, z)
    error = 5 * estimates.std().item() / math.sqrt(count)
    assert estimates.mean().item() == pytest.approx(by_integration, abs=error)
    assert error < 0.05 * by_integration


def test_likelihoods_of_a_silent_decoder():
    batch = make_batch()
    for output, expected in (
        ("sigmoid", PIXELS * LN2),  # Bernoulli with probability 1/2
        ("linear", 0.5 * batch.x.pow(2).sum().item() / 8),  # unit Gaussian around 0
    ):
        model = build(replace(SETTINGS["variational"], output=output))
        silence(model.decoder)
        assert model.loss(batch)["reconstruction"].item() == pytest.approx(expected, rel=1e-5)


def test_vae_loss_is_the_mean_over_the_minibatch():
    model, batch = build("variational"), make_batch(noise=3)
    terms = model.loss(batch)
    mean, log_variance = model.encoder.moments(batch.x)
    torch.testing.assert_close(terms["kl"], model.divergence(mean, log_variance, mean).mean())
    z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=seeded(3))
    bernoulli = torch.distributions.Bernoulli(model.decode(z), validate_args=False)
    torch.testing.assert_close(terms["reconstruction"], -bernoulli.log_prob(batch.x).sum(1).mean())


# Section 2.3: labels in the regularization


def test_label_switch_has_an_extra_class_for_hidden_labels():
    model = build(replace(SETTINGS["label-regularized"], label_scale=3.0))
    code = torch.tensor([[1.5, -2.0], [0.0, 3.0]])
    seen = model.with_label(code, torch.tensor([4, UNLABELED]))
    assert seen.shape == (2, 2 + 11)
    assert torch.equal(seen[:, :2], code)
    assert seen[:, 2:].nonzero().tolist() == [[0, 4], [1, 10]]
    assert seen[:, 2:].sum().item() == 2 * 3


@pytest.mark.parametrize("name", ["label-regularized", "label-regularized, swiss roll"])
def test_discriminator_sees_prior_samples_of_the_images_labels(name):
    model, batch = build(name), make_batch(400, hidden=100)
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.discriminator_loss(batch)
    real, fake = seen[0].chunk(2)
    switch = torch.where(batch.y == UNLABELED, 10, batch.y)
    assert torch.equal(real[:, 2:].argmax(1), switch)
    assert torch.equal(fake[:, 2:].argmax(1), switch)
    torch.testing.assert_close(fake[:, :2], model.encode(batch.x))
    regions = model.prior.region(real[:, :2])
    assert (regions[100:] == batch.y[100:]).float().mean() > 0.9
    assert len(regions[:100].unique()) == 10


def test_prior_probability_is_that_of_an_image_without_a_label():
    model, code = build("label-regularized"), torch.tensor([[9.0, 1.0]])
    one_hot = torch.zeros(1, 11)
    one_hot[0, 10] = 1
    expected = model.discriminator(torch.cat((code, one_hot), 1)).sigmoid()
    torch.testing.assert_close(model.prior_probability(code), expected)


@pytest.mark.parametrize(("progress", "std"), [(0.0, 4.0), (0.3, 2.0), (0.6, 0.0), (1.0, 0.0)])
@pytest.mark.parametrize("kind", [float, torch.tensor])
@pytest.mark.parametrize("name", ["adversarial", "label-regularized", "supervised"])
def test_instance_noise_is_on_all_that_the_discriminator_sees_and_falls(name, kind, progress, std):
    model = build(replace(SETTINGS[name], instance_noise=4.0))
    batch, seen = replace(make_batch(), progress=kind(progress)), []
    model.discriminator.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0][:, : model.prior.dim])
    )
    model.discriminator_loss(batch)
    model.generator_loss(batch)
    noise = seeded(2)
    draw = model.prior.sample_given if name == "label-regularized" else None
    code = model.encode(batch.x)
    real = draw(batch.y, noise) if draw else model.prior.sample(len(code), noise)
    blur = [std * torch.randn(code.shape, generator=noise) for _ in range(3)]
    torch.testing.assert_close(seen[0], torch.cat((real + blur[0], code + blur[1])), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen[1], code + blur[2], rtol=1e-5, atol=1e-5)


def test_no_instance_noise_draws_nothing():
    model, batch = build("adversarial"), make_batch()
    code = torch.ones(4, 2)
    assert model.judged(code, batch) is code
    assert torch.equal(batch.generator.get_state(), seeded(2).get_state())


# Section 4: labels to the decoder


def test_label_scale_is_the_height_of_the_labels_one():
    model = build(replace(SETTINGS["supervised"], label_scale=10.0))
    seen = model.with_label(torch.tensor([[0.5, -0.5]]), torch.tensor([3]))
    assert seen.tolist() == [[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0.5, -0.5]]


def test_code_noise_reaches_the_decoder_in_training_only():
    model, batch = build(replace(SETTINGS["supervised"], code_noise=2.0)), make_batch()
    seen = []
    model.decoder.register_forward_pre_hook(lambda decoder, inputs: seen.append(inputs[0][:, -2:]))
    model.reconstruction_loss(batch)
    noise = torch.randn(8, 2, generator=seeded(2))
    torch.testing.assert_close(seen[0], model.encode(batch.x) + 2 * noise)
    # the discriminator plays for z itself, and a reader decodes what was asked for
    torch.testing.assert_close(model.corrupted_code(batch), model.encode(batch.x))
    model.decode(model.encode(batch.x), batch.y)
    torch.testing.assert_close(seen[1], model.encode(batch.x))


@pytest.mark.parametrize(("progress", "std"), [(0.0, 4.0), (0.4, 2.5), (0.8, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_code_noise_falls_to_its_last_value_over_four_fifths_of_the_training(kind, progress, std):
    model = build(replace(SETTINGS["supervised"], code_noise=4.0, last_code_noise=1.0))
    z = torch.ones(5000, 2)
    batch = replace(make_batch(), progress=kind(progress))
    torch.testing.assert_close(
        model.noisy(z, batch), z + std * torch.randn(z.shape, generator=seeded(2)), rtol=1e-5, atol=1e-5
    )


def test_code_noise_without_a_last_value_stays():
    model = build(replace(SETTINGS["supervised"], code_noise=4.0))
    z = torch.zeros(6, 2)
    ends = [model.noisy(z, replace(make_batch(), progress=progress)) for progress in (0.0, 1.0)]
    assert torch.equal(*ends)
    batch = make_batch()
    assert build("supervised").noisy(z, batch) is z
    assert torch.equal(batch.generator.get_state(), seeded(2).get_state())


def test_code_noise_may_fall_to_nothing():
    model = build(replace(SETTINGS["supervised"], code_noise=4.0, last_code_noise=0.0))
    z = torch.rand(6, 2)
    assert torch.equal(model.noisy(z, replace(make_batch(), progress=0.9)), z)


@pytest.mark.parametrize("value", [-0.1, 2.5, math.nan, "1", True])
def test_code_noise_falls_and_never_rises(value):
    with pytest.raises(ValueError, match="last_code_noise must be a finite number at least 0 and at most 2"):
        replace(SETTINGS["supervised"], code_noise=2.0, last_code_noise=value)


def test_supervised_decoder_needs_every_label():
    model, batch = build("supervised"), make_batch(hidden=1)
    needs = "needs a label from 0 to 9 for every image"
    for labels in (None, batch.y, torch.full((8,), 10)):
        with pytest.raises(ValueError, match=needs):
            model.decode(torch.zeros(8, 2), labels)
    with pytest.raises(ValueError, match=needs):
        trainer_of(model, batch).step(batch)


# Sections 5 to 7: two codes


def test_two_games_see_one_hots_and_gaussian_samples():
    model, batch = build("semi-supervised"), make_batch(200)
    seen: dict[str, Tensor] = {}
    for name in ("label_discriminator", "style_discriminator"):
        network = getattr(model, name)
        network.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    model.discriminator_loss(batch)
    real_y, fake_y = seen["label_discriminator"].chunk(2)
    real_z, fake_z = seen["style_discriminator"].chunk(2)
    assert torch.equal(real_y.max(1).values, torch.ones(200))
    assert torch.equal(real_y.sum(1), torch.ones(200))
    torch.testing.assert_close(fake_y, model.predict(batch.x))
    torch.testing.assert_close(fake_z, model.encode(batch.x))
    assert real_z.std().item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["semi-supervised", "clustering", "reduction"])
@pytest.mark.parametrize("off", ["label", "style"])
def test_a_code_that_is_not_matched_plays_no_game(name, off):
    model = build(replace(SETTINGS[name], **{f"match_{off}": False}))
    before = copy_of(model)
    losses = trainer_of(model).step(make_batch())
    assert list(losses) == [term for term in TERMS[name] if not term.startswith(f"{off}_")]
    moved = {key.split(".")[0] for key in changed(before, model)}
    other = {"label": "style", "style": "label"}[off]
    assert f"{other}_discriminator" in moved
    assert f"{off}_discriminator" not in moved


def test_one_of_the_two_codes_is_matched():
    with pytest.raises(ValueError, match="match_label and match_style are both off: then nothing of the"):
        replace(SETTINGS["clustering"], match_label=False, match_style=False)
    for name in ("match_label", "match_style"):
        with pytest.raises(ValueError, match=f"{name} must be True or False, not 1"):
            replace(SETTINGS["clustering"], **{name: 1})


def label_samples(progress: object, **settings: object) -> Tensor:
    """What the label's discriminator takes for true at a moment of the training, `(200, 6)`."""
    model = build(replace(SETTINGS["clustering"], **settings))
    seen: list[Tensor] = []
    model.label_discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.discriminator_loss(replace(make_batch(200), progress=progress))
    return seen[0].chunk(2)[0]


@pytest.mark.parametrize("kind", [float, torch.tensor])
@pytest.mark.parametrize("share", [0.3, 0.05, 1.0])
def test_label_samples_are_soft_at_first_and_one_hot_after_a_share_of_the_training(kind, share):
    for part, most in ((0.0, 0.8), (0.5, 0.4), (0.9, 0.08)):
        real = label_samples(kind(part * share), label_softness=0.8, softening_share=share)
        torch.testing.assert_close(real.sum(1), torch.ones(200))
        given = 1 - real.max(1).values
        assert 0.5 * most < given.max() <= most
    for progress in (share, 0.5 + share / 2, 1.0):
        real = label_samples(kind(progress), label_softness=0.8, softening_share=share)
        assert set(real.unique().tolist()) == {0.0, 1.0}


def test_without_softness_no_noise_is_drawn_for_it():
    torch.testing.assert_close(label_samples(0.0), label_samples(0.9))
    model, batch = build("clustering"), make_batch()
    model.discriminator_loss(batch)
    expected = seeded(2)
    model.label_prior.sample(8, expected)
    model.style_prior.sample(8, expected)
    assert torch.equal(batch.generator.get_state(), expected.get_state())


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan, "0.5"])
def test_softness_is_a_share(value):
    with pytest.raises(ValueError, match="label_softness must be a finite number at least 0 and below 1"):
        replace(SETTINGS["clustering"], label_softness=value)


@pytest.mark.parametrize("value", [0.0, 1.1, math.nan, "0.5"])
def test_a_share_of_softened_samples_is_a_part_of_the_training(value):
    with pytest.raises(ValueError, match="softening_share must be a finite number above 0 and at most 1"):
        replace(SETTINGS["clustering"], softening_share=value)


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_the_game_on_y_slows_down_and_that_on_z_does_not(kind):
    def gradients(halvings: float, progress: float, loss: str) -> dict[str, Tensor]:
        model = build(replace(SETTINGS["clustering"], label_halvings=halvings))
        batch = replace(make_batch(), progress=kind(progress))
        terms = getattr(model, loss)(batch)
        values.append({name: term.item() for name, term in terms.items()})
        part = "label_discriminator" if loss == "discriminator_loss" else "encoder.label"
        torch.stack(list(terms.values())).sum().backward()
        found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        style = {n: g for n, g in found.items() if n.startswith(("style_discriminator", "encoder.style"))}
        return {name: found[name] for name in found if name.startswith(part)} | style

    for loss in ("discriminator_loss", "generator_loss"):
        values: list[dict[str, float]] = []
        usual = gradients(0.0, 0.5, loss)
        assert {name.split(".")[0] for name in usual} > {"style_discriminator"}
        for progress, pace in ((0.0, 1.0), (0.25, 0.5), (0.5, 0.25), (1.0, 0.0625)):
            for name, gradient in gradients(4.0, progress, loss).items():
                of_z = name.startswith(("style_discriminator", "encoder.style"))
                torch.testing.assert_close(gradient, usual[name] * (1.0 if of_z else pace))
            assert values[-1] == pytest.approx(values[0])


@pytest.mark.parametrize("value", [-1.0, math.inf, "4", True])
def test_halvings_are_a_number(value):
    with pytest.raises(ValueError, match="label_halvings must be a finite number at least 0"):
        replace(SETTINGS["clustering"], label_halvings=value)


@pytest.mark.parametrize(("name", "classes"), [("semi-supervised", 10), ("clustering", 6)])
def test_two_code_models_predict_encode_and_decode(name, classes):
    model, batch = build(name), make_batch()
    y, z = model.predict(batch.x), model.encode(batch.x)
    assert (y.shape, z.shape) == ((8, classes), (8, 3))
    torch.testing.assert_close(y.sum(1), torch.ones(8))
    torch.testing.assert_close(model.log_odds(batch.x).sigmoid(), y)
    assert model.decode(y, z).shape == (8, PIXELS)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_classification_needs_labeled_images(name):
    model, batch = build(name), replace(make_batch(), labeled_x=None, labeled_y=None)
    with pytest.raises(ValueError, match="needs labeled images: give the trainer some"):
        trainer_of(model, batch).step(batch)


def test_representation_is_head_plus_style():
    model, batch = build("reduction"), make_batch()
    y, z = model.predict(batch.x), model.encode(batch.x)
    expected = y @ model.cluster_heads.weight + z
    torch.testing.assert_close(model.represent(batch.x), expected)
    torch.testing.assert_close(model.decode(y, z), model.decoder(expected))


def heads(*points: list[float]) -> ClusterHeads:
    made = ClusterHeads(len(points), 2, LearnedHeads())
    with torch.no_grad():
        made.weight.copy_(torch.tensor(points))
    return made


def test_cluster_heads_pick_and_mix_their_points():
    two = heads([0.0, 2.0], [4.0, 0.0])
    assert two(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist() == [[0.0, 2.0], [2.0, 1.0]]


def test_heads_that_are_too_close_cost_and_are_pushed_apart():
    three = heads([0.0, 0.0], [3.0, 4.0], [0.0, 1.0])
    # the pairs are 5, 1 and sqrt(18) apart
    assert three.distance_penalty(4.5).item() == pytest.approx((4.5 - 1) + (4.5 - math.sqrt(18)))
    assert three.distance_penalty(0.9).item() == 0
    two = heads([0.0, 0.0], [1.0, 0.0])
    two.distance_penalty(5.0).backward()
    assert two.weight.grad.tolist() == [[1.0, 0.0], [-1.0, 0.0]]


@pytest.mark.parametrize("threshold", [0.5, 2.0, 50.0])
def test_the_distance_penalty_is_that_of_torch(threshold):
    torch.manual_seed(0)
    made = ClusterHeads(20, 3, LearnedHeads())
    values = made.distance_penalty(threshold), (threshold - torch.pdist(made.weight)).clamp(min=0).sum()
    torch.testing.assert_close(*values)
    gradients = [torch.autograd.grad(value, made.weight)[0] for value in values]
    torch.testing.assert_close(*gradients)
    assert gradients[0].isfinite().all()


def test_head_distance_is_weighted_or_left_out():
    terms = {
        penalty: build(replace(SETTINGS["reduction"], heads=LearnedHeads(6.0, penalty))).reconstruction_loss(
            make_batch()
        )
        for penalty in (0.0, 1.0, 0.1)
    }
    assert list(terms[0.0]) == ["reconstruction"]
    assert terms[1.0]["head_distance"].item() > 1
    torch.testing.assert_close(terms[0.1]["head_distance"], 0.1 * terms[1.0]["head_distance"])


def test_fixed_heads_stay_ten_times_the_identity():
    model = build("reduction, fixed heads")
    trainer = trainer_of(model)
    for _ in range(3):
        trainer.step(make_batch())
    assert torch.equal(model.cluster_heads.weight, 10 * torch.eye(10))
    with pytest.raises(ValueError, match="as many dimensions of style_prior as classes, not 2 and 10"):
        DimensionalityReductionSettings(Gaussian(2), heads=FixedHeads())


# What the variants have in common


@pytest.mark.parametrize(
    "name", [name for name, terms in TERMS.items() if terms == ONE_CODE or "kl" in terms]
)
def test_one_code_models_encode_and_decode(name):
    model, batch = build(name), make_batch()
    code = model.encode(batch.x, seeded())
    assert code.shape == (8, 2)
    images = model.decode(code, batch.y) if name == "supervised" else model.decode(code)
    assert images.shape == (8, PIXELS)
    assert ((images > 0) & (images < 1)).all()


def test_only_training_sees_corrupted_images_and_the_target_is_clean():
    model, batch = build(replace(SETTINGS["adversarial"], corruption=Corruption(noise_std=0.3))), make_batch()
    torch.testing.assert_close(model.encode(batch.x), model.encoder(batch.x))
    assert not torch.allclose(model.corrupted_code(batch), model.encoder(batch.x))
    silence(model.decoder)
    expected = 0.5 * (batch.x - 0.5).pow(2).sum() / 8
    assert model.reconstruction_loss(batch)["reconstruction"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("prior", [Gaussian(2), CustomPrior(2, lambda n, g, d: torch.rand(n, 2))])
def test_label_regularization_needs_a_prior_with_regions(prior):
    with pytest.raises(ValueError, match="has no regions for labels: .*GaussianMixture"):
        LabelRegularizedSettings(prior).build()


def test_vae_needs_a_prior_with_a_density():
    with pytest.raises(ValueError, match="SwissRoll has none: use Gaussian or GaussianMixture"):
        VariationalSettings(SwissRoll()).build()


def test_a_reader_s_own_prior_can_be_followed():
    square = CustomPrior(2, lambda count, generator, device: torch.rand(count, 2, generator=generator))
    losses = trainer_of(build(replace(SETTINGS["adversarial"], prior=square))).step(make_batch())
    assert list(losses) == ONE_CODE


def test_a_network_that_was_not_kept_says_so():
    model = build("semi-supervised")
    model.decoder = MissingNetwork("semi-supervised-1000, seed 0", "decoder")
    with pytest.raises(ValueError, match="semi-supervised-1000, seed 0 did not keep .* of its decoder"):
        model.decode(torch.eye(10), torch.zeros(10, 3))
    assert model.predict(make_batch().x).shape == (8, 10)


def test_chunks_give_what_the_whole_gives():
    values = torch.rand(11, 3, requires_grad=True)
    doubled = in_chunks(lambda x: 2 * x, values, size=4)
    assert torch.equal(doubled, 2 * values)
    assert not doubled.requires_grad


# bfloat16


CODE = [8.0, 8.01, 16.0, 16.01, 31.99, 32.0]


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def test_codes_leave_the_encoder_with_all_their_digits():
    encoder = Encoder(PIXELS, len(CODE), 12)
    silence(encoder.code)
    with torch.no_grad():
        encoder.code[0].bias.copy_(torch.tensor(CODE))
    with bfloat16():
        assert encoder(make_batch().x)[0].tolist() == pytest.approx(CODE, abs=1e-6)


@pytest.mark.parametrize("network", ["decoder", "discriminator"])
def test_codes_that_differ_by_a_hundredth_are_told_apart(network):
    first = getattr(build("adversarial"), network).hidden[0]
    codes = torch.tensor([[value, 0.0] for value in CODE])
    with torch.no_grad():
        first.weight.fill_(1.0)
    with bfloat16():
        assert first(codes)[:, 0].tolist() == pytest.approx(CODE, abs=1e-5)


def test_a_probability_just_below_one_stays_there():
    model = build("semi-supervised")
    silence(model.encoder.label)
    with torch.no_grad():
        model.encoder.label[0].bias[3] = 9.8
    sure = 1 / (1 + 9 * math.exp(-9.8))
    assert 0.9995 < sure < 1
    with bfloat16():
        for y in (model.predict(make_batch().x), model.corrupted_codes(make_batch())[0]):
            assert y[:, 3].tolist() == pytest.approx([sure] * 8, abs=1e-6)


CODE_LAYERS = re.compile(
    r"encoder\.(code|label|style)\.0|(decoder|discriminator)\.hidden\.0|discriminator\.logit\.0"
)


@pytest.mark.parametrize("name", SETTINGS)
def test_whatever_reads_or_writes_a_code_is_float32(name):
    model, seen = build(name), {}
    for key, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, x, output, key=key: seen.update({key: output.dtype}))
    losses = trainer_of(model, precision="bfloat16").step(make_batch())
    exact = {key for key, dtype in seen.items() if dtype == torch.float32}
    assert exact == {key for key in seen if CODE_LAYERS.search(key)}
    assert exact < set(seen)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", SETTINGS)
def test_bfloat16_comes_near_to_float32(name):
    plain, rounded = (
        trainer_of(build(name), precision=precision).step(make_batch())
        for precision in ("float32", "bfloat16")
    )
    for term, loss in rounded.items():
        torch.testing.assert_close(loss, plain[term], rtol=0.02, atol=0.02)


# Another variant is another model


@dataclass(frozen=True)
class PlainSettings(ModelSettings):
    """An autoencoder without a prior."""

    variant: ClassVar[str] = "plain"
    units: int = 12

    def build(self, image_dim: int = 784) -> nn.Module:
        return PlainAutoencoder(self, image_dim)


class PlainAutoencoder(nn.Module):
    def __init__(self, settings: PlainSettings, image_dim: int) -> None:
        super().__init__()
        self.encoder = Encoder(image_dim, 2, settings.units, init_std=0.3)
        self.decoder = Decoder(2, image_dim, settings.units, init_std=0.3)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("reconstruction", self.loss, (self.encoder, self.decoder), "reconstruction"),)

    def loss(self, batch: Batch) -> Terms:
        return {"reconstruction": squared_error(batch.x, self.decoder(self.encoder(batch.x)))}


def test_a_new_variant_trains_like_the_others():
    x = torch.rand(4, PIXELS, generator=seeded()).repeat(15, 1)
    data = TrainingSet(x, torch.full((60,), UNLABELED))
    trainer = Trainer(build(PlainSettings()), data, TrainingSettings(40, 10, Rates(0.05, 0.9)))
    trainer.fit(progress=False)
    losses = [row["reconstruction"] for row in trainer.history]
    assert losses[-1] < 0.5 * losses[0]


# Real digits


def halved(images: Tensor) -> Tensor:
    """Digits `(N, 784)` at half the resolution, `(N, 196)`."""
    return functional.avg_pool2d(images.view(-1, 1, 28, 28), 2).flatten(1)


def test_unlabeled_digits_help_to_read_digits():
    splits = load_splits(DataSettings(labels=1000, images=10_000, held_out=2000))
    x, y = halved(splits.train.images), splits.train.labels
    chosen = balanced_subset(y, 1000, seed=0)
    labeled = (x[chosen], y[chosen])
    sizes = {"units": 100, "init_std": 0.05}
    semi_supervised = SemiSupervisedSettings(discriminator_units=100, corruption=Corruption(0.2), **sizes)
    training = TrainingSettings(12, drops=(9,), reconstruction=Rates(0.02, 0.9), averaging=0.9)
    everything = TrainingSet(x, torch.full_like(y, UNLABELED), *labeled)

    def error_of(settings: ModelSettings, data: TrainingSet, training: TrainingSettings) -> float:
        torch.manual_seed(0)
        model = Trainer(settings.build(x.shape[1]), data, training).fit(progress=False)
        answers = in_chunks(model.predict, halved(splits.test.images)).argmax(1)
        return classification_error(answers, splits.test.labels)

    baseline = error_of(BaselineSettings(**sizes), TrainingSet(*labeled, *labeled), TrainingSettings(40))
    assert baseline > 9
    assert error_of(semi_supervised, everything, training) < 0.7 * baseline


@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_says_how_many_labels_it_has_places_for(name):
    """The trainer asks the model and not its settings."""
    model = build(name)
    assert getattr(model, "label_count", None) == SETTINGS[name].label_count()
