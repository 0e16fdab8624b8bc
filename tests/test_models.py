from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from aae_utils.models import (
    AdversarialAutoencoder,
    Batch,
    Classifier,
    ClusteringAutoencoder,
    Corruption,
    DimensionalityReductionAutoencoder,
    LabelRegularizedAutoencoder,
    Phase,
    SemiSupervisedAutoencoder,
    SupervisedAutoencoder,
    VariationalAutoencoder,
    discriminator_loss,
    generator_loss,
    in_chunks,
    squared_error,
)
from aae_utils.priors import UNLABELLED, CustomPrior, Gaussian, GaussianMixture, SwissRoll
from aae_utils.training import Rates, Trainer, TrainingSet, TrainingSettings

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS, UNITS = 20, 12
LN2 = math.log(2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_batch(count: int = 8, hidden: int = 0) -> Batch:
    """Images with the labels 0 to 9 in turn, the first `hidden` of them hidden, and four labelled images."""
    x, y = torch.rand(count, PIXELS, generator=seeded(1)), torch.arange(count) % 10
    labelled_x, labelled_y = x[-4:].clone(), y[-4:].clone()
    y[:hidden] = UNLABELLED
    return Batch(x, y, labelled_x, labelled_y, seeded(2))


def build(kind: Callable[..., nn.Module], *arguments: object, **options: object) -> nn.Module:
    """A small model whose initial weights are large enough for every gradient to be felt."""
    torch.manual_seed(0)
    return kind(*arguments, image_dim=PIXELS, units=UNITS, **{"init_std": 0.3, **options})


MODELS: dict[str, Callable[[], nn.Module]] = {
    "aae": lambda: build(AdversarialAutoencoder, Gaussian(2)),
    "aae, Gaussian posterior": lambda: build(AdversarialAutoencoder, Gaussian(2), posterior="gaussian"),
    "aae, universal posterior": lambda: build(AdversarialAutoencoder, Gaussian(2), posterior="universal"),
    "label-regularized": lambda: build(LabelRegularizedAutoencoder, GaussianMixture()),
    "label-regularized, swiss roll": lambda: build(LabelRegularizedAutoencoder, SwissRoll()),
    "supervised": lambda: build(SupervisedAutoencoder, Gaussian(2)),
    "semi-supervised": lambda: build(SemiSupervisedAutoencoder, Gaussian(3)),
    "clustering": lambda: build(ClusteringAutoencoder, Gaussian(3), classes=6),
    "reduction": lambda: build(DimensionalityReductionAutoencoder, Gaussian(2)),
    "reduction, unsupervised": lambda: build(
        DimensionalityReductionAutoencoder, Gaussian(2), classes=7, supervised=False
    ),
    "reduction, fixed heads": lambda: build(
        DimensionalityReductionAutoencoder, Gaussian(10), fixed_head_scale=10.0
    ),
    "vae": lambda: build(VariationalAutoencoder, Gaussian(2)),
    "vae, mixture": lambda: build(VariationalAutoencoder, GaussianMixture()),
    "classifier": lambda: build(Classifier),
}

ONE_CODE = [
    ("reconstruction", {"encoder", "decoder"}),
    ("discriminator", {"discriminator"}),
    ("generator", {"encoder"}),
]
TWO_CODES = [
    ("reconstruction", {"encoder", "decoder"}),
    ("discriminators", {"label_discriminator", "style_discriminator"}),
    ("generator", {"encoder"}),
]
# the label's loss does not reach the style head
CLASSIFICATION = ("classification", {"encoder.hidden", "encoder.label"})
LEARNED_HEADS = [("reconstruction", {"encoder", "decoder", "heads"}), *TWO_CODES[1:]]

# for every variant: its phases in order, and the parts whose parameters each one changes
CHANGES: dict[str, list[tuple[str, set[str]]]] = {
    "aae": ONE_CODE,
    "aae, Gaussian posterior": ONE_CODE,
    "aae, universal posterior": ONE_CODE,
    "label-regularized": ONE_CODE,
    "label-regularized, swiss roll": ONE_CODE,
    "supervised": ONE_CODE,
    "semi-supervised": [*TWO_CODES, CLASSIFICATION],
    "clustering": TWO_CODES,
    "reduction": [*LEARNED_HEADS, CLASSIFICATION],
    "reduction, unsupervised": LEARNED_HEADS,
    "reduction, fixed heads": [*TWO_CODES, CLASSIFICATION],
    "vae": [("evidence lower bound", {"encoder", "decoder"})],
    "vae, mixture": [("evidence lower bound", {"encoder", "decoder"})],
    "classifier": [("classification", {"encoder"})],
}

TERMS: dict[str, list[str]] = {
    "aae": ["reconstruction", "discriminator", "generator"],
    "aae, Gaussian posterior": ["reconstruction", "discriminator", "generator"],
    "aae, universal posterior": ["reconstruction", "discriminator", "generator"],
    "label-regularized": ["reconstruction", "discriminator", "generator"],
    "label-regularized, swiss roll": ["reconstruction", "discriminator", "generator"],
    "supervised": ["reconstruction", "discriminator", "generator"],
    "semi-supervised": [
        "reconstruction",
        "label_discriminator",
        "style_discriminator",
        "label_generator",
        "style_generator",
        "classification",
    ],
    "clustering": [
        "reconstruction",
        "label_discriminator",
        "style_discriminator",
        "label_generator",
        "style_generator",
    ],
    "vae": ["reconstruction", "kl"],
    "vae, mixture": ["reconstruction", "kl"],
    "classifier": ["classification"],
}
TERMS["reduction, unsupervised"] = ["reconstruction", "head_distance", *TERMS["clustering"][1:]]
TERMS["reduction"] = [*TERMS["reduction, unsupervised"], "classification"]
TERMS["reduction, fixed heads"] = TERMS["semi-supervised"]


def trainer_of(model: nn.Module, batch: Batch, rate: float = 0.1) -> Trainer:
    rates = Rates(rate, 0.0)
    settings = TrainingSettings(1, len(batch.x), rates, rates, rates)
    data = TrainingSet(batch.x, batch.y, batch.labelled_x, batch.labelled_y)
    return Trainer(model, data, settings)


def run_phase(trainer: Trainer, number: int, batch: Batch) -> dict[str, Tensor]:
    """One phase of a step, alone."""
    phases, optimizers = trainer.phases, trainer.optimizers
    trainer.phases, trainer.optimizers = (phases[number],), [optimizers[number]]
    losses = trainer.step(batch)
    trainer.phases, trainer.optimizers = phases, optimizers
    return losses


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}


def parameters_below(model: nn.Module, parts: set[str]) -> set[str]:
    return {name for name, _ in model.named_parameters() if any(name.startswith(f"{p}.") for p in parts)}


# Which parameters change


@pytest.mark.parametrize("name", MODELS)
def test_each_phase_changes_its_parameters_and_no_others(name):
    model, batch = MODELS[name](), make_batch()
    trainer = trainer_of(model, batch)
    assert [phase.name for phase in trainer.phases] == [phase for phase, _ in CHANGES[name]]
    for number, (_, parts) in enumerate(CHANGES[name]):
        before = copy_of(model)
        run_phase(trainer, number, batch)
        assert changed(before, model) == parameters_below(model, parts)


@pytest.mark.parametrize("batch_norm", ["encoder", "autoencoder"])
def test_batch_norm_belongs_to_the_autoencoder_alone(batch_norm):
    model, batch = build(SemiSupervisedAutoencoder, Gaussian(3), batch_norm=batch_norm), make_batch()
    trainer = trainer_of(model, batch)
    parameters = dict(model.named_parameters())
    for number, (_, parts) in enumerate(CHANGES["semi-supervised"]):
        before = copy_of(model)
        run_phase(trainer, number, batch)
        touched = {key for key in changed(before, model) if key in parameters}
        assert touched <= parameters_below(model, parts)
        assert {key for key in touched if key.endswith("weight")}
    normalized = {key.split(".")[0] for key in model.state_dict() if "running_mean" in key}
    assert normalized == ({"encoder", "decoder"} if batch_norm == "autoencoder" else {"encoder"})
    heads = {key for key in model.state_dict() if "running_mean" in key and "encoder" in key}
    assert len(heads) == 4  # two hidden layers, the label head and the style head


@pytest.mark.parametrize("name", MODELS)
def test_a_step_reports_the_terms_of_its_phases(name):
    model, batch = MODELS[name](), make_batch()
    losses = trainer_of(model, batch).step(batch)
    assert list(losses) == TERMS[name]
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    assert not any(loss.requires_grad for loss in losses.values())


@pytest.mark.parametrize("name", MODELS)
def test_a_phase_alone_descends_its_own_loss(name):
    model = MODELS[name]()
    for number in range(len(CHANGES[name])):
        trainer = trainer_of(model, make_batch(), rate=0.003)
        # the same noise every time, so that only the parameters move the loss
        losses = [
            sum(run_phase(trainer, number, replace(make_batch(), generator=seeded(5))).values())
            for _ in range(20)
        ]
        assert losses[-1] < losses[0]


def test_fixed_heads_stay_ten_times_the_identity():
    model, batch = MODELS["reduction, fixed heads"](), make_batch()
    trainer = trainer_of(model, batch)
    for _ in range(3):
        losses = trainer.step(batch)
    assert torch.equal(model.heads.weight, 10 * torch.eye(10))
    assert "head_distance" not in losses


# Shapes of what a trained model answers


@pytest.mark.parametrize("name", [name for name in MODELS if "aae" in name or "vae" in name])
def test_one_code_models_encode_and_decode(name):
    model = MODELS[name]()
    code = model.encode(make_batch().x, seeded())
    assert code.shape == (8, 2)
    images = model.decode(code)
    assert images.shape == (8, PIXELS)
    assert ((images > 0) & (images < 1)).all()


def test_supervised_decoder_takes_style_and_label():
    model, batch = MODELS["supervised"](), make_batch()
    code = model.encode(batch.x)
    images = model.decode(code, batch.y)
    assert (code.shape, images.shape) == ((8, 2), (8, PIXELS))
    assert not torch.allclose(images, model.decode(code, (batch.y + 1) % 10))
    # z knows nothing of the label: the encoder sees the image alone
    assert model.encoder.image_dim == PIXELS
    assert model.discriminator.code_dim == 2


def test_label_scale_is_the_height_of_the_labels_one():
    model = build(SupervisedAutoencoder, Gaussian(2), label_scale=10.0)
    seen = model.with_label(torch.tensor([[0.5, -0.5]]), torch.tensor([3]))
    assert seen.tolist() == [[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0.5, -0.5]]


def test_code_noise_reaches_the_decoder_in_training_only():
    model, batch = build(SupervisedAutoencoder, Gaussian(2), code_noise=2.0), make_batch()
    seen = []
    model.decoder.register_forward_pre_hook(lambda decoder, inputs: seen.append(inputs[0][:, -2:]))
    model.reconstruction_loss(batch)
    noise = torch.randn(8, 2, generator=seeded(2))
    torch.testing.assert_close(seen[0], model.encode(batch.x) + 2 * noise)
    # the discriminator plays for z itself, and a reader decodes what was asked for
    torch.testing.assert_close(model.corrupted_code(batch), model.encode(batch.x))
    model.decode(model.encode(batch.x), batch.y)
    torch.testing.assert_close(seen[1], model.encode(batch.x))
    with pytest.raises(ValueError, match="at least 0, not -1.0"):
        build(SupervisedAutoencoder, Gaussian(2), code_noise=-1.0)


@pytest.mark.parametrize(("name", "classes"), [("semi-supervised", 10), ("clustering", 6)])
def test_two_code_models_predict_encode_and_decode(name, classes):
    model, batch = MODELS[name](), make_batch()
    y, z = model.predict(batch.x), model.encode(batch.x)
    assert (y.shape, z.shape) == ((8, classes), (8, 3))
    torch.testing.assert_close(y.sum(1), torch.ones(8))
    torch.testing.assert_close(model.log_odds(batch.x).sigmoid(), y)
    assert model.decode(y, z).shape == (8, PIXELS)


def test_representation_is_head_plus_style():
    model, batch = MODELS["reduction"](), make_batch()
    y, z = model.predict(batch.x), model.encode(batch.x)
    expected = y @ model.heads.weight + z
    torch.testing.assert_close(model.represent(batch.x), expected)
    torch.testing.assert_close(model.decode(y, z), model.decoder(expected))


def test_chunks_give_what_the_whole_gives():
    values = torch.rand(11, 3, requires_grad=True)
    doubled = in_chunks(lambda x: 2 * x, values, size=4)
    assert torch.equal(doubled, 2 * values)
    assert not doubled.requires_grad


# Values of the losses


def test_squared_error_of_known_images():
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    reconstruction = torch.tensor([[0.5, 1.0], [1.0, -1.0]])
    # 1/2 (0.25 + 0) and 1/2 (0 + 4), averaged over two images, or over two images of two pixels
    assert squared_error(x, reconstruction).item() == pytest.approx((0.125 + 2) / 2)
    assert squared_error(x, reconstruction, "mean").item() == pytest.approx((0.125 + 2) / 4)


def test_blind_discriminator_costs_ln_2():
    blind = torch.zeros(5)
    assert discriminator_loss(blind, blind).item() == pytest.approx(LN2)
    assert generator_loss(blind).item() == pytest.approx(LN2)


def test_adversarial_losses_of_known_logits():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    d_real, d_fake = real.sigmoid(), fake.sigmoid()
    expected = -0.5 * d_real.log().mean() - 0.5 * (1 - d_fake).log().mean()
    torch.testing.assert_close(discriminator_loss(real, fake), expected)
    torch.testing.assert_close(generator_loss(fake), -d_fake.log().mean())


def test_a_perfect_discriminator_costs_nothing_and_the_generator_everything():
    sure = torch.full((3,), 50.0)
    assert discriminator_loss(sure, -sure).item() == pytest.approx(0, abs=1e-9)
    assert generator_loss(-sure).item() == pytest.approx(50)
    assert discriminator_loss(-sure, sure).item() == pytest.approx(50)


def silence(network: nn.Module) -> None:
    """Zero all weights and biases: the network answers 0 to everything."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()


@pytest.mark.parametrize("name", [name for name in MODELS if "vae" not in name and name != "classifier"])
def test_models_with_silent_networks_have_known_losses(name):
    model, batch = MODELS[name](), make_batch()
    silence(model.decoder)
    for part, network in model.named_children():
        if "discriminator" in part:
            silence(network)
    losses: dict[str, Tensor] = {}
    for phase in model.phases():
        losses |= phase.loss(batch)
    # a silent sigmoid decoder paints every pixel 1/2
    expected = 0.5 * (batch.x - 0.5).pow(2).sum() / 8
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)
    adversarial = {key: value.item() for key, value in losses.items() if "tor" in key}
    assert adversarial
    assert adversarial == pytest.approx(dict.fromkeys(adversarial, LN2))


def test_reduction_of_the_reconstruction_cost():
    losses = [
        build(AdversarialAutoencoder, Gaussian(2), reduction=reduction).reconstruction_loss(make_batch())
        for reduction in ("sum", "mean")
    ]
    by_sum, by_mean = (loss["reconstruction"].item() for loss in losses)
    assert by_sum == pytest.approx(PIXELS * by_mean, rel=1e-5)


@pytest.mark.parametrize("name", ["semi-supervised", "reduction", "classifier"])
def test_ignorant_classifier_costs_ln_of_the_number_of_classes(name):
    model = MODELS[name]()
    silence(model.encoder)
    loss = model.classification_loss(make_batch())["classification"]
    assert loss.item() == pytest.approx(math.log(10))


def test_head_distance_is_part_of_the_reconstruction_phase():
    model = build(
        DimensionalityReductionAutoencoder, Gaussian(2), classes=3, head_distance=4.5, head_penalty=0.1
    )
    with torch.no_grad():
        model.heads.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    terms = model.reconstruction_loss(make_batch())
    # the pairs are 5, 1 and sqrt(18) apart
    expected = 0.1 * ((4.5 - 1) + (4.5 - math.sqrt(18)))
    assert terms["head_distance"].item() == pytest.approx(expected)
    free = build(DimensionalityReductionAutoencoder, Gaussian(2), head_penalty=0.0)
    assert list(free.reconstruction_loss(make_batch())) == ["reconstruction"]


# The VAE


@pytest.mark.parametrize("std", [1.0, 5.0])
def test_kl_to_a_gaussian_is_that_of_torch(std):
    model = build(VariationalAutoencoder, Gaussian(3, std))
    mean, log_variance = torch.randn(6, 3, generator=seeded()), torch.randn(6, 3, generator=seeded(1))
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(3), std * torch.ones(3))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(model.divergence(mean, log_variance, mean), expected)


def test_monte_carlo_kl_to_the_mixture_has_the_right_mean():
    model, prior = build(VariationalAutoencoder, GaussianMixture()), GaussianMixture()
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


def test_vae_likelihoods_of_a_silent_decoder():
    batch = make_batch()
    for output, expected in (
        ("sigmoid", PIXELS * LN2),  # Bernoulli with probability 1/2
        ("linear", 0.5 * batch.x.pow(2).sum().item() / 8),  # unit Gaussian around 0
    ):
        model = build(VariationalAutoencoder, Gaussian(2), output=output)
        silence(model.decoder)
        assert model.loss(batch)["reconstruction"].item() == pytest.approx(expected, rel=1e-5)


def test_vae_loss_is_the_mean_over_the_minibatch():
    model, batch = MODELS["vae"](), make_batch()
    terms = model.loss(replace(batch, generator=seeded(3)))
    mean, log_variance = model.encoder.moments(batch.x)
    torch.testing.assert_close(terms["kl"], model.divergence(mean, log_variance, mean).mean())
    z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=seeded(3))
    images = model.decode(z)
    bernoulli = torch.distributions.Bernoulli(images, validate_args=False).log_prob(batch.x)
    torch.testing.assert_close(terms["reconstruction"], -bernoulli.sum(1).mean())


# Labels


def test_label_switch_has_an_extra_class_for_hidden_labels():
    model = MODELS["label-regularized"]()
    code = torch.tensor([[1.5, -2.0], [0.0, 3.0]])
    seen = model.with_label(code, torch.tensor([4, UNLABELLED]))
    assert seen.shape == (2, 2 + 11)
    assert torch.equal(seen[:, :2], code)
    assert seen[:, 2:].nonzero().tolist() == [[0, 4], [1, 10]]
    assert seen[:, 2:].sum().item() == 2


@pytest.mark.parametrize("name", ["label-regularized", "label-regularized, swiss roll"])
def test_discriminator_sees_prior_samples_of_the_images_labels(name):
    model, batch = MODELS[name](), make_batch(400, hidden=100)
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.discriminator_loss(batch)
    real, fake = seen[0].chunk(2)
    switch = torch.where(batch.y == UNLABELLED, 10, batch.y)
    assert torch.equal(real[:, 2:].argmax(1), switch)
    assert torch.equal(fake[:, 2:].argmax(1), switch)
    torch.testing.assert_close(fake[:, :2], model.encode(batch.x))
    regions = model.prior.region(real[:, :2])
    assert (regions[100:] == batch.y[100:]).float().mean() > 0.9
    assert len(regions[:100].unique()) == 10


def test_two_games_see_one_hots_and_gaussian_samples():
    model, batch = MODELS["semi-supervised"](), make_batch(200)
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


@pytest.mark.parametrize("name", ["aae", "semi-supervised", "clustering", "reduction", "vae"])
def test_labels_of_the_images_are_not_looked_at(name):
    batch = make_batch()
    others = replace(make_batch(), y=torch.full((8,), UNLABELLED))
    ends = []
    for seen in (batch, others):
        model = MODELS[name]()
        trainer_of(model, seen).step(seen)
        ends.append(copy_of(model))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


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


def test_only_training_sees_corrupted_images():
    model = build(AdversarialAutoencoder, Gaussian(2), corruption=Corruption(noise_std=0.3))
    x = make_batch().x
    torch.testing.assert_close(model.encode(x), model.encoder(x))
    assert not torch.allclose(model.corrupted_code(make_batch()), model.encoder(x))


def test_the_target_of_the_reconstruction_is_clean():
    model = build(AdversarialAutoencoder, Gaussian(2), corruption=Corruption(noise_std=0.3))
    silence(model.decoder)
    batch = make_batch()
    expected = 0.5 * (batch.x - 0.5).pow(2).sum() / 8
    assert model.reconstruction_loss(batch)["reconstruction"].item() == pytest.approx(expected.item())


# Mistakes


@pytest.mark.parametrize("prior", [Gaussian(2), CustomPrior(2, lambda n, g, d: torch.rand(n, 2))])
def test_label_regularization_needs_a_prior_with_regions(prior):
    with pytest.raises(ValueError, match="has no regions for labels: use GaussianMixture or SwissRoll"):
        LabelRegularizedAutoencoder(prior)


def test_vae_needs_a_prior_with_a_density():
    with pytest.raises(ValueError, match="SwissRoll has none: use Gaussian or GaussianMixture"):
        VariationalAutoencoder(SwissRoll())


def test_fixed_heads_need_as_many_dimensions_as_classes():
    with pytest.raises(ValueError, match="as many dimensions as classes, not 2 and 10"):
        build(DimensionalityReductionAutoencoder, Gaussian(2), fixed_head_scale=10.0)


@pytest.mark.parametrize("name", ["semi-supervised", "reduction", "classifier"])
def test_classification_needs_labelled_images(name):
    model, batch = MODELS[name](), replace(make_batch(), labelled_x=None, labelled_y=None)
    with pytest.raises(ValueError, match="needs labelled images: give the trainer some"):
        trainer_of(model, batch).step(batch)


def test_supervised_decoder_needs_every_label():
    model, batch = MODELS["supervised"](), make_batch(hidden=1)
    needs = "needs a label from 0 to 9 for every image"
    with pytest.raises(ValueError, match=needs):
        model.decode(torch.zeros(8, 2))
    with pytest.raises(ValueError, match=needs):
        model.decode(torch.zeros(8, 2), batch.y)
    with pytest.raises(ValueError, match=needs):
        model.decode(torch.zeros(1, 2), torch.tensor([10]))
    with pytest.raises(ValueError, match=needs):
        trainer_of(model, batch).step(batch)


@pytest.mark.parametrize("name", MODELS)
def test_images_of_another_width_are_one_sentence(name):
    wide = torch.zeros(8, PIXELS + 1)
    model, batch = MODELS[name](), replace(make_batch(), x=wide, labelled_x=wide)
    with pytest.raises(ValueError, match=rf"Expected images of shape \(N, {PIXELS}\), got \(8, 21\)"):
        model.phases()[0].loss(batch)


@pytest.mark.parametrize("settings", [{"noise_std": -0.1}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_corruption_is_an_error(settings):
    with pytest.raises(ValueError, match="noise_std must be at least 0 and dropout in"):
        Corruption(**settings)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="Unknown reduction 'max': choose one of sum, mean"):
        build(AdversarialAutoencoder, Gaussian(2), reduction="max")
    with pytest.raises(ValueError, match="Unknown reduction 'max': choose one of sum, mean"):
        build(SemiSupervisedAutoencoder, Gaussian(2), reduction="max")
    with pytest.raises(ValueError, match="'all': choose one of none, encoder, autoencoder"):
        build(SemiSupervisedAutoencoder, Gaussian(2), batch_norm="all")


def test_a_phase_skips_parameters_that_are_not_learned():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert Phase("name", lambda batch: {}, (layer,), "adversarial").parameters() == [layer.weight]
