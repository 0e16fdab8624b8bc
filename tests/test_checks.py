from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from aae_utils.checks import require_flag, require_kind, require_known, require_number, require_whole
from aae_utils.data import DataSettings
from aae_utils.networks import Corruption
from aae_utils.priors import Categorical, Gaussian, GaussianMixture, SwissRoll
from aae_utils.recipes import Recipe, Start, shrink
from aae_utils.training import Rates, TrainingSet, TrainingSettings
from aae_utils.variants import get_recipe
from aae_utils.variants.adversarial import AdversarialSettings
from aae_utils.variants.clustering import ClusteringSettings
from aae_utils.variants.dimensionality_reduction import (
    DimensionalityReductionSettings,
    FixedHeads,
    LearnedHeads,
)
from aae_utils.variants.label_regularized import LabelRegularizedSettings
from aae_utils.variants.semi_supervised import BaselineSettings, SemiSupervisedSettings
from aae_utils.variants.supervised import SupervisedSettings
from aae_utils.variants.variational import VariationalSettings

NAN, INFINITE = math.nan, math.inf
RECIPE = shrink(get_recipe("aae-gaussian"))

# what is set, the values that cannot be meant, and the field that the sentence names
IMPOSSIBLE = [
    (lambda value: Gaussian(value), (0, -2, 1.5, True, 10**12), "dim of the prior"),
    (lambda value: Gaussian(2, value), (0, -1.0, NAN, INFINITE, "5"), "std of the prior"),
    (lambda value: GaussianMixture(classes=value), (0, None), "classes of the prior"),
    (lambda value: GaussianMixture(radius=value), (-1.0, NAN), "radius of the prior"),
    (lambda value: GaussianMixture(radial_std=value), (0.0, NAN), "radial_std of the prior"),
    (lambda value: GaussianMixture(tangential_std=value), (0.0, NAN), "tangential_std of the prior"),
    (lambda value: SwissRoll(turn=value), (0.0, INFINITE), "turn of the prior"),
    (lambda value: SwissRoll(noise_std=value), (-0.1, NAN), "noise_std of the prior"),
    (lambda value: Categorical(value), (0, 2.0), "classes of the prior"),
    (lambda value: Corruption(noise_std=value), (-0.1, INFINITE, NAN), "noise_std"),
    (lambda value: Corruption(dropout=value), (-0.1, 1.0, NAN), "dropout"),
    (lambda value: AdversarialSettings(units=value), (-5, 0, 10**12, 12.0), "units"),
    (lambda value: AdversarialSettings(discriminator_units=value), (-5, 10**12), "discriminator_units"),
    (lambda value: AdversarialSettings(init_std=value), (0.0, NAN, INFINITE), "init_std"),
    (lambda value: AdversarialSettings(instance_noise=value), (-0.1, NAN, "1"), "instance_noise"),
    (lambda value: AdversarialSettings(posterior=value), ("normal", None), "posterior"),
    (lambda value: AdversarialSettings(output=value), ("tanh",), "output"),
    (lambda value: AdversarialSettings(reduction=value), ("max",), "reduction"),
    (lambda value: VariationalSettings(units=value), (-5, 10**12), "units"),
    (lambda value: VariationalSettings(init_std=value), (NAN, -0.1), "init_std"),
    (lambda value: VariationalSettings(output=value), ("tanh",), "output"),
    (lambda value: LabelRegularizedSettings(label_scale=value), (0.0, NAN), "label_scale"),
    (lambda value: SupervisedSettings(classes=value), (0, 1, 10**12), "classes"),
    (lambda value: SupervisedSettings(label_scale=value), (-1.0, NAN), "label_scale"),
    (lambda value: SupervisedSettings(code_noise=value), (-1.0, INFINITE), "code_noise"),
    (lambda value: SemiSupervisedSettings(classes=value), (0, -1, 1), "classes"),
    (lambda value: SemiSupervisedSettings(style_prior=value), (3,), "style_prior"),
    (lambda value: BaselineSettings(classes=value), (1,), "classes"),
    (lambda value: BaselineSettings(corruption=value), (0.3,), "corruption"),
    (lambda value: ClusteringSettings(corruption=value), (0.3,), "corruption"),
    (lambda value: AdversarialSettings(corruption=value), (0.3, None), "corruption"),
    (lambda value: AdversarialSettings(prior=value), (3, None), "prior"),
    (lambda value: VariationalSettings(prior=value), (3,), "prior"),
    (lambda value: VariationalSettings(corruption=value), (0.3,), "corruption"),
    (lambda value: DimensionalityReductionSettings(heads=value), (10.0,), "heads"),
    (lambda value: SemiSupervisedSettings(batch_norm=value), ("all", True), "batch_norm"),
    (lambda value: SemiSupervisedSettings(reduction=value), ("max",), "reduction"),
    (lambda value: ClusteringSettings(units=value), (-5, 0), "units"),
    (lambda value: ClusteringSettings(init_std=value), (NAN,), "init_std"),
    (lambda value: LearnedHeads(distance=value), (-1.0, NAN), "distance of the heads"),
    (lambda value: LearnedHeads(penalty=value), (-1.0, INFINITE), "penalty of the heads"),
    (lambda value: FixedHeads(value), (0.0, NAN), "scale of the heads"),
    (lambda value: DimensionalityReductionSettings(supervised=value), ("yes", 1), "supervised"),
    (lambda value: BaselineSettings(units=value), (-5, 10**12), "units"),
    (lambda value: Rates(value), (0.0, -0.1, NAN, INFINITE), "learning_rate"),
    (lambda value: Rates(0.1, value), (1.0, -0.1, NAN), "momentum"),
    (lambda value: Rates(0.1, 0.1, value), ("rms",), "optimizer"),
    (lambda value: Rates(0.1, constant=value), ("no", 1), "constant"),
    (lambda value: TrainingSettings(value), (0, -1, 1.5, 10**12), "epochs"),
    (lambda value: TrainingSettings(1, value), (0, 10**12), "batch_size"),
    (lambda value: TrainingSettings(1, drops=(3, value)), (0, 2.5), "drops"),
    (lambda value: TrainingSettings(1, drop_factor=value), (0.0, -3.0, NAN, 1.5), "drop_factor"),
    (lambda value: TrainingSettings(1, drops=value), (5, [5]), "drops"),
    (lambda value: TrainingSettings(1, reconstruction=value), (0.1, None), "reconstruction"),
    (lambda value: Start(value), (3, None), "recipe of the start"),
    (lambda value: Start("baseline-100", value), ((), "encoder"), "parts of the start"),
    (lambda value: replace(RECIPE, model=value), (None,), "model"),
    (lambda value: replace(RECIPE, training=value), (3,), "training"),
    (lambda value: replace(RECIPE, data=value), ("mnist",), "data"),
    (lambda value: replace(RECIPE, start=value), ("baseline-100",), "start"),
    (lambda value: TrainingSettings(1, averaging=value), (1.0, -0.1, NAN), "averaging"),
    (lambda value: TrainingSettings(1, precision=value), ("half",), "precision"),
    (lambda value: DataSettings(dataset=value), ("cifar",), "dataset"),
    (lambda value: DataSettings(images=value), (0, 10**12, 1.5), "images"),
    (lambda value: DataSettings(labels=value), (0, -1, "some"), "labels"),
    (lambda value: replace(RECIPE, name=value), ("../x", "A B", "", 3), "name"),
    (lambda value: replace(RECIPE, setting=value), ("gpu",), "setting"),
    (lambda value: replace(RECIPE, keep=value), ((), "encoder"), "keep"),
    (lambda value: replace(RECIPE, film=value), (1, "yes"), "film"),
]


@pytest.mark.parametrize(
    ("make", "value", "field"),
    [
        pytest.param(make, value, field, id=f"{field}={value!r}")
        for make, values, field in IMPOSSIBLE
        for value in values
    ],
)
def test_every_value_is_checked_where_it_is_set(make, value, field):
    with pytest.raises(ValueError) as caught:
        make(value)
    sentence = str(caught.value)
    assert field in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("x", "y", "labeled", "words"),
    [
        (torch.zeros(5, 4, 4), torch.zeros(5).long(), (), r"x must be an \(N, D\) tensor .* not \(5, 4, 4\)"),
        (torch.zeros(5, 4).byte(), torch.zeros(5).long(), (), "x must be .* of float32, not .* torch.uint8"),
        (torch.zeros(5, 4), torch.zeros(6).long(), (), r"y must be a \(5,\) tensor of int64, not \(6,\)"),
        (torch.zeros(5, 4), torch.zeros(5), (), "y must be .* int64, not .* torch.float32"),
        (
            torch.zeros(5, 4).double(),
            torch.zeros(5).long(),
            (),
            "x must be .* of float32, not .* torch.float64",
        ),
        (torch.full((5, 4), NAN), torch.zeros(5).long(), (), "x must be finite"),
        (torch.full((5, 4), 255.0), torch.zeros(5).long(), (), r"x must be pixels in \[0, 1\]"),
        (torch.zeros(5, 4), torch.full((5,), -2), (), r"y must be -1 \(no label\) or more, not -2"),
        (torch.zeros(5, 4), torch.zeros(5).long(), ((2, 4), None), "labeled_x and labeled_y together"),
        (
            torch.zeros(5, 4),
            torch.zeros(5).long(),
            ((2, 3), (2,)),
            r"labeled_x must be .* of 4 pixels, .* not \(2, 3\)",
        ),
        (
            torch.zeros(5, 4),
            torch.zeros(5).long(),
            ((3, 4), (2,)),
            r"labeled_y must be a \(3,\) tensor of int64, not \(2,\)",
        ),
        (
            torch.zeros(5, 4),
            torch.zeros(5).long(),
            ((0, 4), (0,)),
            r"labeled_x must be at least one image of 4 pixels",
        ),
    ],
)
def test_images_and_labels_that_do_not_fit_are_an_error(x, y, labeled, words):
    images, labels = labeled or (None, None)
    with pytest.raises(ValueError, match=words):
        TrainingSet(
            x,
            y,
            None if images is None else torch.zeros(images),
            None if labels is None else torch.zeros(labels).long(),
        )


def test_labeled_images_have_labels():
    x, y = torch.zeros(2, 4), torch.tensor([0, -1])
    with pytest.raises(ValueError, match="labeled_y must be 0 or more, not -1"):
        TrainingSet(x, y, x, y)


def test_sentences():
    for check, sentence in (
        (lambda: require_whole("units", 0), "units must be a whole number from 1 to 1,000,000, not 0."),
        (
            lambda: require_whole("units", np.int64(3)),
            "units must be a whole number from 1 to 1,000,000, not np.int64(3): use int().",
        ),
        (
            lambda: require_number("rate", 2.0, above=0, below=1),
            "rate must be a finite number above 0 and below 1, not 2.0.",
        ),
        (lambda: require_number("rate", NAN), "rate must be a finite number, not nan."),
        (lambda: require_known("color", "red", ("blue", 3)), "Unknown color 'red': choose one of blue, 3."),
        (lambda: require_kind("name", 3, str), "name must be text, not 3."),
        (lambda: require_kind("start", 3, Start, type(None)), "start must be Start, not 3."),
        (lambda: require_flag("film", 1), "film must be True or False, not 1."),
    ):
        with pytest.raises(ValueError) as caught:
            check()
        assert str(caught.value) == sentence


def test_bounds_are_allowed_or_not_as_they_say():
    require_whole("count", 3, least=3, most=3)
    require_number("share", 0.0, least=0, most=0)
    require_number("share", 1, above=0, most=1)
    for bound in ({"above": 1}, {"below": 1}):
        with pytest.raises(ValueError, match="share"):
            require_number("share", 1, **bound)


def test_labels_need_as_many_classes_as_digits():
    with pytest.raises(ValueError, match="classes must be at least 10, as many as mnist has labels, not 4"):
        Recipe(
            "few",
            "",
            "laptop",
            SemiSupervisedSettings(classes=4),
            TrainingSettings(1),
            DataSettings(labels=100),
        )
    with pytest.raises(ValueError, match="needs the label of every image"):
        Recipe("some", "", "laptop", SupervisedSettings(), TrainingSettings(1), DataSettings(labels=100))
