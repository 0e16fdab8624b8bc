"""Figures are checked as arrays and artists: what is drawn where, on what scale, what color."""

from __future__ import annotations

import io
import math
import runpy
from xml.etree import ElementTree

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from scipy.stats import norm

from aae_utils import figures
from aae_utils.figures import FigureError

NAN = float("nan")


@pytest.fixture(autouse=True)
def own_settings():
    """Leave matplotlib's settings as they were."""
    with matplotlib.rc_context():
        yield


def flat(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value)


def drawn_picture(figure) -> np.ndarray:
    (axes,) = figure.axes
    (image,) = axes.images
    return np.asarray(image.get_array())


def drawn_points(axes) -> np.ndarray:
    (points,) = axes.collections
    return np.asarray(points.get_offsets())


def tick_labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


# --- codes -----------------------------------------------------------------------------------


def test_each_code_is_drawn_in_the_color_of_its_digit():
    points = np.stack((np.arange(10.0), -np.arange(10.0)), axis=1)
    (axes,) = figures.codes(torch.tensor(points), torch.arange(10)).axes
    colors = axes.collections[0].get_facecolors()[:, :3]
    for (first, second), color in zip(drawn_points(axes), colors, strict=True):
        assert second == -first
        assert tuple(color) == pytest.approx(to_rgb(figures.DIGIT_COLORS[int(first)]))


def test_codes_are_rasterized_for_vector_output():
    (axes,) = figures.codes(np.zeros((3, 2))).axes
    assert axes.collections[0].get_rasterized()


def test_limits_hold_every_code_and_a_given_limit_counts_those_outside():
    points = [[0.0, 1.0], [-8.0, 2.0], [3.0, 4.0]]
    (axes,) = figures.codes(points).axes
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-8.4, 8.4))
    assert not axes.texts
    (narrow,) = figures.codes(points, limits=3.5).axes
    assert narrow.get_xlim() == narrow.get_ylim() == (-3.5, 3.5)
    assert [text.get_text() for text in narrow.texts] == ["2 outside"]


def test_round_things_are_drawn_round():
    (axes,) = figures.codes(np.ones((3, 2))).axes
    assert axes.get_aspect() == 1
    (grid,) = figures.image_grid(np.zeros((2, 3, 784))).axes
    assert grid.get_aspect() == 1


def test_codes_that_all_lie_at_the_origin_still_have_a_scale():
    (axes,) = figures.codes(np.zeros((3, 2))).axes
    assert axes.get_xlim() == (-1, 1)


def test_panels_share_one_scale():
    figure = figures.codes_beside_prior(
        [("codes", [[1.0, 2.0]], [3]), ("prior", torch.tensor([[0.0, -20.0]]), None)]
    )
    assert [axes.get_title() for axes in figure.axes] == ["codes", "prior"]
    for axes in figure.axes:
        assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-21, 21))
    assert len(figure.legends) == 1


def test_panels_without_labels_have_no_legend_of_digits():
    assert not figures.codes_beside_prior([("prior", np.ones((2, 2)), None)]).legends


def test_a_figure_is_drawn_into_given_axes():
    figure, axes = plt.subplots()
    plt.close(figure)
    assert figures.codes(np.ones((4, 2)), [0, 1, 2, 3], ax=axes) is figure
    assert len(drawn_points(axes)) == 4


def test_new_figures_are_closed_so_that_a_notebook_shows_them_once():
    before = plt.get_fignums()
    figures.codes(np.ones((4, 2)))
    figures.image_grid(np.ones((1, 1, 784)))
    assert plt.get_fignums() == before


# --- grids of images -------------------------------------------------------------------------


def test_tile_places_every_pixel():
    images = np.arange(2 * 3 * 6).reshape(2, 3, 6) / 100
    picture = figures.tile(images, shape=(3, 2))
    assert picture.shape == (6, 6, 3)
    for row in range(2):
        for column in range(3):
            part = picture[3 * row : 3 * row + 3, 2 * column : 2 * column + 2, 1]
            assert np.array_equal(part, images[row, column].reshape(3, 2))


def test_tile_scales_to_its_limits_and_clips():
    images = np.array([-2.0, -1.0, 0.0, 1.0, 5.0]).reshape(1, 5, 1)
    picture = figures.tile(images, shape=(1, 1), limits=(-1, 1))
    assert picture[0, :, 0] == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 2, 4)])
def test_tile_reads_both_orders_of_color_images(shape):
    image = np.arange(24).reshape(2, 4, 3) / 24
    flattened = image if shape[2] == 3 else image.transpose(2, 0, 1)
    picture = figures.tile(flattened.reshape(1, 1, 24), shape=shape)
    assert picture == pytest.approx(image)


def test_tile_shows_absent_images_and_the_gap_apart_from_black_and_white():
    images = np.stack((flat(0.0, 2, 4), flat(NAN, 2, 4)), axis=1)
    picture = figures.tile(images, shape=(2, 2), separator=1)
    assert picture.shape == (4, 2 + figures.SEPARATOR_PIXELS + 2, 3)
    assert (picture[:, :2] == 0).all()
    assert (picture[:, 2:-2] == to_rgb(figures.GAP_COLOR)).all()
    assert picture[:, -2:] == pytest.approx(np.ones((4, 2, 3)) * to_rgb(figures.ABSENT_COLOR))
    assert to_rgb(figures.ABSENT_COLOR) != to_rgb(figures.GAP_COLOR)


def test_image_grid_cuts_a_list_of_images_into_rows():
    images = torch.rand(6, 784, generator=torch.Generator().manual_seed(0))
    picture = drawn_picture(figures.image_grid(images, rows=2))
    assert picture.shape == (56, 84, 3)
    assert picture[28:, 28:56, 0] == pytest.approx(images[4].reshape(28, 28).double().numpy())


def test_image_grid_labels_stand_at_the_middle_of_their_images():
    figure = figures.image_grid(
        np.zeros((2, 3, 16)),
        shape=(4, 4),
        row_labels=["a", "b"],
        column_labels=["x", "y", "z"],
        separator=2,
    )
    (axes,) = figure.axes
    assert tick_labels(axes.yaxis) == ["a", "b"]
    assert tick_labels(axes.xaxis) == ["x", "y", "z"]
    assert list(axes.get_yticks()) == [1.5, 5.5]
    assert list(axes.get_xticks()) == [1.5, 5.5, 9.5 + figures.SEPARATOR_PIXELS]


def test_image_grid_gives_every_pixel_whole_screen_pixels():
    figures.use_style()
    figure = figures.image_grid(np.zeros((17, 17, 784)))
    width, height = figure.get_size_inches() * figures.RETINA * figures.SCREEN_DPI / (17 * 28)
    assert width == pytest.approx(height) and width == pytest.approx(round(width)) and width >= 1


def test_manifold_and_percentile_grid_have_the_same_order():
    codes = figures.percentile_grid(3)
    # one pixel an image: its brightness is first the horizontal, then the vertical coordinate
    for coordinate, grows in ((0, [0, 0.5, 1]), (1, None)):
        shade = (codes[:, coordinate : coordinate + 1] - codes.min()) / (codes.max() - codes.min())
        picture = drawn_picture(figures.manifold(shade, 3, shape=(1, 1)))[:, :, 0]
        if grows is not None:
            assert picture[0] == pytest.approx(grows, abs=1e-6)
        else:
            assert picture[:, 0] == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_manifolds_stand_side_by_side():
    figure = figures.manifolds([("0", np.zeros((4, 9))), ("1", np.ones((4, 9)))], 2, shape=(3, 3))
    assert [axes.get_title() for axes in figure.axes] == ["0", "1"]
    assert [axes.images[0].get_array().mean() for axes in figure.axes] == [0, 1]


def test_neighbors_are_the_last_column_behind_a_gap():
    figure = figures.samples_with_neighbors(flat(0.25, 2, 3, 4), flat(0.75, 2, 4), shape=(2, 2))
    picture = drawn_picture(figure)
    assert (picture[:, :6] == 0.25).all()
    assert (picture[:, 6 : 6 + figures.SEPARATOR_PIXELS] == 1).all()
    assert (picture[:, -2:] == 0.75).all()
    assert tick_labels(figure.axes[0].xaxis)[-1] == "nearest"


def test_style_grid_names_the_digit_of_each_column():
    (axes,) = figures.style_grid(np.zeros((2, 10, 784))).axes
    assert tick_labels(axes.xaxis) == [str(digit) for digit in range(10)]


def test_clusters_show_head_members_and_emptiness():
    members = np.stack((flat(0.5, 2, 4), flat(NAN, 2, 4)))
    figure = figures.clusters(flat(1.0, 2, 4), members, [7, -1], [1234, 0], shape=(2, 2))
    picture = drawn_picture(figure)
    assert (picture[:, :2] == 1).all()
    assert (picture[:2, -4:] == 0.5).all()
    assert picture[2:, -4:] == pytest.approx(np.ones((2, 4, 3)) * to_rgb(figures.ABSENT_COLOR))
    assert tick_labels(figure.axes[0].yaxis) == ["0: digit 7 (1,234)", "1: empty"]


def test_a_cluster_without_a_digit_says_so():
    figure = figures.clusters(np.ones((1, 4)), np.ones((1, 1, 4)), [-1], [5], shape=(2, 2))
    assert tick_labels(figure.axes[0].yaxis) == ["0: no digit (5)"]


# --- percentiles and projections -------------------------------------------------------------


@pytest.mark.parametrize(("size", "std"), [(1, 1.0), (4, 1.0), (17, 5.0)])
def test_percentile_grid_is_the_inverse_gaussian_cdf(size, std):
    grid = figures.percentile_grid(size, std).reshape(size, size, 2).numpy()
    expected = norm.ppf((np.arange(size) + 0.5) / size, scale=std)
    for index in range(size):
        assert grid[index, :, 0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert grid[:, index, 1] == pytest.approx(expected[::-1], rel=1e-6, abs=1e-6)


def test_circle_projection_of_the_paper_s_heads_is_exact():
    heads = 10 * torch.eye(10)
    angles = 2 * math.pi * torch.arange(10) / 10
    circle = 10 * torch.stack((angles.cos(), angles.sin()), dim=1)
    matrix = figures.circle_projection(heads)
    assert matrix.shape == (10, 2)
    assert torch.allclose(matrix, circle / 10, atol=1e-7)
    assert torch.allclose(heads @ matrix, circle, atol=1e-5)


def test_circle_projection_takes_any_independent_heads_to_the_radius_asked_for():
    heads = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    projected = heads @ figures.circle_projection(heads, radius=3.0)
    expected = 3 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert torch.allclose(projected, expected, atol=1e-4)


def test_heads_are_marked_with_their_digit():
    heads = torch.tensor([[5.0, 0.0], [-30.0, 1.0]])
    (axes,) = figures.heads_projection(np.ones((3, 2)), [4, 4, 4], heads, [4, -1]).axes
    assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [(5, 0), (-30, 1)]
    assert [text.get_text() for text in axes.texts] == ["4", "\N{EN DASH}"]
    assert axes.get_xlim() == pytest.approx((-31.5, 31.5))


# --- losses, comparison and confusion ----------------------------------------------------------


def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "reconstruction": [30.0, 20.0, 15.0],
            "style_discriminator": [0.6, 1.2, 1.38],
            "style_generator": [0.9, 0.8, 0.7],
            "classification": [2.0, 0.1, 0.01],
            "validation_error": [NAN, 4.0, 3.0],
            "validation_reconstruction_error": [0.05, 0.04, 0.03],
            "seconds": [1.0, 1.0, 1.0],
            "images_per_second": [900.0, 1000.0, 5000.0],
        }
    )


def test_losses_have_a_panel_each_and_percent_only_where_it_is_percent():
    figure = figures.losses(history())
    assert [axes.get_title() for axes in figure.axes] == [
        "reconstruction",
        "style discriminator",
        "style generator",
        "classification",
        "validation error (%)",
        "validation reconstruction error",
    ]
    assert figure.axes[4].lines[0].get_xydata().tolist() == [[2, 4], [3, 3]]
    assert "1,000 images per second" in figure.get_supxlabel()


def test_losses_are_called_what_they_are_and_counts_have_whole_numbers_on_their_axis():
    columns = ("kl", "head_distance", "validation_nmi", "validation_ari", "validation_sliced_wasserstein")
    table = pd.DataFrame({"epoch": [1, 2], **dict.fromkeys(columns, [1.0, 2.0])})
    table = table.assign(validation_clusters=16, validation_empty_clusters=0)
    panels = figures.losses(table).axes
    assert [axes.get_title() for axes in panels] == [
        "KL",
        "head penalty",
        "validation NMI",
        "validation ARI",
        "validation sliced Wasserstein",
        "validation empty clusters",
    ]
    low, high = panels[-1].get_ylim()
    ticks = [tick for tick in panels[-1].get_yticks() if low <= tick <= high]
    assert ticks == [0, 1]


def test_players_have_a_line_where_they_cannot_tell():
    levels = {
        axes.get_title(): [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        for axes in figures.losses(history()).axes
    }
    assert levels.pop("style discriminator") == [pytest.approx(2 * math.log(2))]
    assert levels.pop("style generator") == [pytest.approx(math.log(2))]
    assert not any(levels.values())


def test_several_seeds_give_their_mean_and_a_band_between_the_extremes():
    worse = history()
    worse["reconstruction"] += 4
    (axes,) = figures.losses([history(), worse], columns=["reconstruction"]).axes
    assert axes.lines[0].get_ydata().tolist() == [32, 22, 17]
    (band,) = axes.collections
    assert {tuple(corner) for corner in band.get_paths()[0].vertices} >= {(1, 30), (1, 34), (3, 15), (3, 19)}


def test_a_loss_that_falls_by_orders_of_magnitude_has_a_logarithmic_axis():
    scales = {axes.get_title(): axes.get_yscale() for axes in figures.losses(history()).axes}
    assert {title for title, scale in scales.items() if scale == "log"} == {"classification"}


def test_comparison_draws_a_point_for_each_seed_and_leaves_out_missing_values():
    rows = [
        {"name": "first", "paper": 1.9, "paper_std": 0.1, "ours": [2.1, 2.7]},
        {"name": "second", "paper": 4.0, "ours": None},
        {"name": "third", "paper": None, "ours": 5.0, "ours_std": 0.5},
    ]
    (axes,) = figures.comparison(rows).axes
    assert tick_labels(axes.yaxis) == ["first", "second", "third"]
    points = {tuple(place) for c in axes.collections for place in np.round(c.get_offsets(), 6)}
    assert points >= {(2.1, 0), (2.7, 0), (5.0, 2)} and not {1.0} & {height for _, height in points}
    bars = {container.get_label(): container for container in axes.containers}
    marks = bars["paper"].lines[0].get_xydata()
    assert marks[:2].tolist() == [[1.9, 0], [4.0, 1]] and math.isnan(marks[2, 0])
    (segments,) = bars["paper"].lines[2]
    assert segments.get_segments()[0][:, 0] == pytest.approx([1.8, 2.0])


def test_confusion_gives_the_share_of_each_digit():
    answers, labels = [0, 0, 2, 1], [0, 0, 0, 1]
    axes = figures.confusion(answers, labels, what="cluster").axes[0]
    shares = np.asarray(axes.collections[0].get_array()).reshape(3, 2)
    assert shares == pytest.approx(np.array([[2 / 3, 0], [0, 1], [1 / 3, 0]]))
    assert [text.get_text() for text in axes.texts] == ["67", "", "", "100", "33", ""]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("digit", "cluster")


def test_confusion_leaves_blank_what_rounds_to_nothing():
    axes = figures.confusion([0] * 199 + [1], [0] * 200).axes[0]
    assert [text.get_text() for text in axes.texts] == ["100", ""]  # of 99.5 and 0.5 %


def test_densities_of_every_coordinate_lie_over_those_of_the_prior():
    random = np.random.default_rng(0)
    points, samples = random.normal(3, 1, (400, 3)), random.normal(0, 1, (400, 3))
    figure = figures.code_densities(points, torch.tensor(samples))
    assert [axes.get_xlabel() for axes in figure.axes] == [f"coordinate {n}" for n in (1, 2, 3)]
    for axes in figure.axes:
        x, density = axes.lines[0].get_xydata().T
        assert x[density.argmax()] == pytest.approx(3, abs=0.5)


# --- style -----------------------------------------------------------------------------------

# How red-blind and green-blind eyes see linear RGB (Machado, Oliveira and Fernandes 2009).
EYES = {
    "normal": np.eye(3),
    "red-blind": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "green-blind": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def oklab(linear: np.ndarray) -> np.ndarray:
    """Coordinates in which distances are about as large as they look (Ottosson 2020)."""
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(linear @ np.transpose(to_cones)) @ np.transpose(to_lab)


def closest_colors(colors: tuple[str, ...], eye: np.ndarray) -> float:
    encoded = np.array([to_rgb(color) for color in colors])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = oklab(np.clip(linear @ eye.T, 0, 1))
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    return distances[np.triu_indices(len(colors), 1)].min()


@pytest.mark.parametrize("eye", EYES)
def test_digits_can_be_told_apart_by_all_eyes(eye):
    assert len(figures.DIGIT_COLORS) == 10
    assert closest_colors(figures.DIGIT_COLORS, EYES[eye]) > 0.12
    # the measure itself can fail: matplotlib's ten colors are too close for red-blind eyes
    tab10 = tuple(matplotlib.color_sequences["tab10"])
    assert closest_colors(tab10, EYES["red-blind"]) < 0.05


def test_use_style_makes_sharp_pictures_and_can_be_repeated():
    figures.use_style()
    once = dict(plt.rcParams)
    figures.use_style()
    assert dict(plt.rcParams) == once
    file = io.BytesIO()
    with matplotlib.rc_context({"savefig.bbox": None}):
        figures.image_grid(np.zeros((1, 1, 784))).savefig(file)
    height, width = plt.imread(io.BytesIO(file.getvalue())).shape[:2]
    assert (height, width) == (112, 112)


# --- what a reader may get wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: figures.codes(np.ones((5, 3))), r"shape \(N, 2\), got \(5, 3\)"),
        (lambda: figures.codes(np.ones((0, 2))), r"shape \(N, 2\), got \(0, 2\)"),
        (lambda: figures.codes([[1.0, NAN]]), "not finite"),
        (lambda: figures.codes(np.ones((5, 2)), [1, 2]), "5 codes need as many labels"),
        (lambda: figures.codes(np.ones((2, 2)), [1, 12]), "digits 0 to 9, not 1 to 12"),
        (lambda: figures.codes_beside_prior([]), "no panels"),
        (lambda: figures.image_grid(np.ones((5, 784)), rows=2), "rows that divides N"),
        (lambda: figures.image_grid(np.ones((6, 784))), "rows that divides N"),
        (lambda: figures.image_grid(np.ones((1, 2, 700))), "700 values do not fit"),
        (lambda: figures.image_grid(np.ones((1, 2, 784)), separator=2), "separator"),
        (lambda: figures.image_grid(np.ones((1, 2, 784)), limits=(1, 1)), "limits"),
        (lambda: figures.image_grid(np.ones((1, 2, 784)), row_labels=["a", "b"]), "1 rows need 1"),
        (lambda: figures.tile(np.ones((1, 2, 784)), shape=(784,)), "shape is"),
        (lambda: figures.manifold(np.ones((10, 784)), 3), r"\(9, D\), not \(10, 784\)"),
        (lambda: figures.manifolds([], 3), "no panels"),
        (lambda: figures.percentile_grid(0), "size at least 1"),
        (lambda: figures.percentile_grid(3, std=0.0), "std above 0"),
        (
            lambda: figures.samples_with_neighbors(np.ones((2, 3, 4)), np.ones((3, 4))),
            r"neighbors \(R, D\)",
        ),
        (lambda: figures.style_grid(np.ones((10, 784))), r"shape \(R, C, D\)"),
        (
            lambda: figures.clusters(np.ones((2, 4)), np.ones((2, 3, 4)), [1], [1, 1]),
            r"labels \(K,\)",
        ),
        (
            lambda: figures.heads_projection(np.ones((3, 2)), None, np.ones((2, 2)), [1]),
            "each of the 2 heads",
        ),
        (lambda: figures.circle_projection(np.ones(4)), r"shape \(m, n\)"),
        (lambda: figures.losses(pd.DataFrame({"loss": [1.0]})), "no column 'epoch'"),
        (lambda: figures.losses(pd.DataFrame({"epoch": [1]})), "no column of a loss"),
        (lambda: figures.losses(history(), columns=["kl"]), "no column kl"),
        (lambda: figures.losses([]), "no history"),
        (lambda: figures.comparison([{"name": "a", "paper": 1.0}]), "missing: ours"),
        (lambda: figures.confusion([1, 2], [1]), r"shapes \(2,\) and \(1,\)"),
        (lambda: figures.confusion([-1], [1]), "whole numbers from 0"),
        (lambda: figures.confusion([0, 3], [0, 1], answer_names=["a"]), "4 answers need as many"),
        (lambda: figures.code_densities(np.ones((5, 2)), np.ones((5, 3))), "of the same dim"),
    ],
)
def test_a_wrong_input_is_refused_in_one_sentence(draw, says):
    with pytest.raises(FigureError, match=says) as refused:
        draw()
    message = str(refused.value)
    assert message.endswith(".") and "\n" not in message
    assert ". " not in message


def test_long_names_of_variations_leave_the_curves_their_room():
    curves = pd.DataFrame(
        {"epoch": [1, 2] * 2, "variation": ["a"] * 2 + ["b " * 60] * 2, "validation_error": 4 * [3.0]}
    )
    figure = figures.variations(curves, "validation_error")
    figure.canvas.draw()
    (axes,) = figure.axes
    place = axes.get_position()
    assert place.width > 0.7 and place.height > 0.4
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[0] == "a" and max(map(len, names[1].splitlines())) <= 40


# --- the diagrams of the book ----------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3, 6, 8, 10])
def test_a_diagram_is_a_picture_with_a_title_that_loads_nothing(number, request):
    folder = request.config.rootpath / "book" / "_static" / "figures"
    root = ElementTree.parse(folder / f"figure{number}.svg").getroot()
    svg = "{http://www.w3.org/2000/svg}"
    assert root.tag == svg + "svg" and root.get("viewBox")
    title = root.find(svg + "title")
    assert title is not None and title.text and title.text.startswith(f"Figure {number}: ")
    links = [v for e in root.iter() for k, v in e.attrib.items() if k.rpartition("}")[2] == "href"]
    assert all(link.startswith("#") for link in links)
    assert not list(root.iter(svg + "text")), "text must be drawn as paths: fonts differ"


def test_the_shipped_diagrams_are_those_that_the_script_draws(request, tmp_path):
    folder = request.config.rootpath / "book" / "_static" / "figures"
    script = runpy.run_path(str(folder / "draw.py"))
    assert {f"figure{number}.svg" for number in script["FIGURES"]} == {
        path.name for path in folder.glob("*.svg")
    }
    draw, height, title = script["FIGURES"][6]
    fresh = script["render"](draw, height, f"Figure 6: {title}")
    assert groups(fresh) == groups((folder / "figure6.svg").read_text())


def groups(svg: str) -> list[str | None]:
    """The names of all parts in their order; coordinates may differ between releases."""
    return [e.get("id") for e in ElementTree.fromstring(svg.encode()).iter() if e.tag[-2:] == "}g"]
