from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aae_utils import report
from aae_utils.recipes import Recipe, get_recipe, recipe_names, shrink
from aae_utils.runs import Run, save_run

MACHINE = {"device": "cpu", "threads": 1, "commit": "0123456789ab"}


def write_run(
    root: Path, recipe: Recipe, results: dict[str, float], seed: int = 0, seconds: float = 60.0
) -> Run:
    """A run with given numbers, as if it had been trained."""
    folder = root / recipe.name / f"{recipe.setting}-seed{seed}"
    history = [{"epoch": 1.0, "reconstruction": 9.0 + seed, "generator": 0.7, "seconds": seconds}]
    weights = {"encoder.weight": torch.zeros(1)}
    return save_run(folder, recipe, seed, 784, weights, history, results, MACHINE)


@pytest.fixture
def three_seeds(tmp_path) -> Path:
    for seed, error in enumerate((2.0, 3.0, 4.0)):
        write_run(tmp_path, get_recipe("semi-supervised-100"), {"error": error}, seed)
    return tmp_path


# ------------------------------------------------------------------------------ the paper's numbers


def number(where: str, method: str, metric: str = "error") -> report.PaperNumber:
    (found,) = [n for n in report.PAPER if (n.where, n.method, n.metric) == (where, method, metric)]
    return found


def test_every_number_of_the_tables_is_there():
    counts = {"Table 1": 15, "Table 2": 29, "Table 3": 3, "Figure 11": 4}
    for start, count in counts.items():
        assert len([n for n in report.PAPER if n.where.startswith(start)]) == count


def test_numbers_have_value_spread_and_unit():
    ours = number("Table 2, MNIST 100 labels", "AAE")
    assert (ours.value, ours.spread, ours.unit, ours.text) == (1.9, 0.1, "%", "1.90 ± 0.10")
    assert ours.recipe == "semi-supervised-100"
    many = number("Table 1, MNIST", "AAE", "log_likelihood_10m")
    assert (many.value, many.spread, many.unit, many.recipe) == (427, None, "nats", "likelihood-mnist")
    assert number("Table 2, SVHN 1000 labels", "ADGM").value == 16.61
    assert number("Table 3, 20 clusters", "CatGAN").recipe is None


def test_each_number_of_the_model_belongs_to_a_recipe_of_the_same_table():
    for entry in report.PAPER:
        if entry.method == "AAE":
            assert entry.recipe in recipe_names()
        if entry.recipe:
            table = " ".join(entry.where.replace(",", "").split()[:2])
            assert get_recipe(entry.recipe).reproduces.startswith(table)


# ------------------------------------------------------------------------------ paper | ours


def test_results_are_mean_and_deviation_over_seeds(three_seeds):
    table = report.results_table(["semi-supervised-100"], three_seeds)
    assert list(table.columns) == ["paper", "ours", "seeds", "setting"]
    assert table.loc["Table 2, MNIST 100 labels: test error (%)"].to_list() == [
        "1.90 ± 0.10",
        "3.00 ± 1.00",
        3,
        "laptop",
    ]


def test_a_recipe_without_runs_shows_the_paper_alone(tmp_path):
    table = report.results_table("baseline-100", tmp_path)
    assert table.loc["Table 2, MNIST 100 labels, NN baseline: test error (%)"].to_list() == [
        "25.80",
        "-",
        0,
        "-",
    ]


def test_numbers_beyond_the_paper_follow_with_their_names(tmp_path):
    results = {"error": 20.0, "nmi": 0.75, "clusters": 16.0, "something_new": 1.0}
    write_run(tmp_path, get_recipe("clustering-16"), results)
    table = report.results_table("clustering-16", tmp_path, why=True)
    assert list(table.index) == [
        "Table 3, 16 clusters: test error (%)",
        "Table 3, 16 clusters and Figure 9: normalized mutual information",
        "Table 3, 16 clusters and Figure 9: something new",
    ]
    assert table["ours"].to_list() == ["20.00", "0.750", "1.000"]
    assert "epochs" in table["why they differ"].iloc[0]


def test_both_settings_stand_below_each_other(tmp_path):
    for setting, error in (("laptop", 3.0), ("paper", 2.0)):
        write_run(tmp_path, get_recipe("baseline-all", setting), {"error": error})
    table = report.results_table("baseline-all", tmp_path)
    assert table["setting"].to_list() == ["laptop", "paper"]
    assert table["ours"].to_list() == ["3.00", "2.00"]


def test_an_unknown_recipe_is_named():
    with pytest.raises(ValueError, match="Unknown recipe 'semi'"):
        report.results_table(["semi"])


# ------------------------------------------------------------------------------ deviations


@pytest.mark.parametrize("name", recipe_names())
def test_the_papers_setting_deviates_in_nothing(name):
    assert report.deviations(get_recipe(name, "paper")) == []


def test_words_for_differences_belong_to_fields_and_other_fields_go_by_their_names():
    assert set(report._DIFFERENCES) <= set(report._fields(get_recipe("reduction-10d")))
    difference = report._difference("model.new_thing")
    assert difference.format(ours=2, paper=1) == "new thing: 2 instead of 1"


def test_deviations_are_said_in_words():
    paper = get_recipe("semi-supervised-100", "paper")
    training = replace(paper.training, epochs=36, drops=(28,))
    model = replace(paper.model, units=500, input_noise=0.0)
    assert report.deviations(replace(paper, training=training, model=model)) == [
        "epochs: 36 instead of 5,000",
        "rates lowered after epoch 28 instead of 50 and 1,000",
        "500 units in the layers of encoder and decoder instead of 1,000",
        "input noise of standard deviation none instead of 0.3",
    ]


def test_a_shrunk_run_says_so():
    lines = report.deviations(shrink(get_recipe("clustering-30")))
    assert "only the first 200 training images" in lines
    assert "only the first 200 validation and test images" in lines


def test_units_of_a_discriminator_do_not_matter_where_there_is_none():
    paper = get_recipe("vae-gaussian", "paper")
    assert report.deviations(replace(paper, model=replace(paper.model, discriminator_units=7))) == []


# ------------------------------------------------------------------------------ time


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.2, "1 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (10 * 86_400, "10 days")],
)
def test_time_in_words(seconds, words):
    assert report.time_in_words(seconds) == words


def test_time_is_the_median_of_the_runs_or_grows_with_the_epochs(tmp_path):
    paper = get_recipe("aae-mixture", "paper")
    short = replace(paper, setting="laptop", training=replace(paper.training, epochs=50))
    runs = report._grouped(
        write_run(tmp_path, short, {}, seed, seconds) for seed, seconds in enumerate((60.0, 600.0, 6000.0))
    )
    measured = report.expected_time(short, runs)
    assert str(measured) == "10 min on cpu, 1 thread"
    reckoned = report.expected_time(paper, runs)
    assert reckoned is not None
    assert reckoned.seconds == pytest.approx(60.0 * 5000 / 50)
    assert str(reckoned) == "about 100 min on cpu, 1 thread"
    assert report.expected_time(get_recipe("aae-gaussian"), runs) is None


def test_time_grows_with_the_parameters(tmp_path):
    paper = get_recipe("clustering-16", "paper")
    small = replace(paper, setting="laptop", model=replace(paper.model, units=1000, discriminator_units=1000))
    runs = report._grouped([write_run(tmp_path, small, {}, seconds=60.0)])
    reckoned = report.expected_time(paper, runs)
    assert reckoned is not None
    # the square layers have 9 times the weights, the layers at the pixels 3 times
    assert 3 * 60 < reckoned.seconds < 9 * 60


# ------------------------------------------------------------------------------ the book's tables


def cells(path: Path) -> list[list[str]]:
    """The rows of a Markdown table, its head included, with plain spaces."""
    lines = path.read_text().replace("\u00a0", " ").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]


def test_the_report_tells_what_is_there_and_how_to_get_the_rest(three_seeds, tmp_path):
    root, folder = three_seeds, tmp_path / "tables"
    (root / "baseline-100" / "laptop-seed0").mkdir(parents=True)
    write_run(root, get_recipe("likelihood-mnist"), {"log_likelihood": 341.0})
    files, problems = report.write_report(root, folder)
    assert sorted(files) == sorted(folder.iterdir())
    assert problems == [str(problem) for problem in problems if "baseline-100" in problem]
    assert len(problems) == 1
    errors = cells(folder / "table_2.md")
    assert ["1.90 ± 0.10", "3.00 ± 1.00", "3", "laptop"] in [row[1:5] for row in errors]
    assert "`aae train baseline-1000 --setting laptop --seed 0`" in [row[-1] for row in errors]
    later = "`aae evaluate likelihood-mnist --setting laptop --samples 10000000`"
    assert ["427", "not measured", "0", "laptop", later] in [row[1:] for row in cells(folder / "table_1.md")]
    behind = [row[1:] for row in cells(folder / "behind.md")]
    assert ["340 ± 2", "341.0", "1", "laptop", "-1.0 nats", "reached"] in behind
    assert ["1.90 ± 0.10", "3.00 ± 1.00", "3", "laptop", "+1.10 points", "falls short"] in behind
    assert "aae train semi-supervised-100 --setting laptop" not in (folder / "missing.md").read_text()
    assert "`aae train semi-supervised-100 --setting paper" in (folder / "missing.md").read_text()
    assert (folder / "runs.md").read_text().count("0123456789ab") == 4
    assert "GMMN + AE" in (folder / "paper_table_1.md").read_text()


def test_the_book_finds_every_file_that_its_results_page_includes(tmp_path):
    page = (report.tables_folder().parent / "results.md").read_text()
    included = {line.split("_tables/")[1] for line in page.splitlines() if "{include}" in line}
    files, _ = report.write_report(tmp_path / "no runs", tmp_path / "tables")
    assert included == {file.name for file in files}


def test_pictures_are_drawn_once_and_removed_when_they_no_longer_hold(tmp_path):
    root, folder = tmp_path / "runs", tmp_path / "tables"
    run = write_run(root, get_recipe("baseline-100"), {"error": 25.0})
    report.write_report(root, folder)
    (first,) = folder.glob("losses-*.svg")
    assert "_tables/" + first.name in (folder / "losses_classifier.md").read_text()
    assert "<svg" in first.read_text()
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    report.write_report(root, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    shutil.rmtree(run.folder)
    report.write_report(root, folder)
    assert not list(folder.glob("*.svg"))


def test_cells_of_a_table_hold_their_bars(tmp_path):
    write_run(tmp_path, get_recipe("aae-gaussian-posterior"), {"sliced_wasserstein": 0.5})
    assert r"Gaussian q(z\|x)" in report._group_markdown(
        "figures", report._grouped(report.list_runs(tmp_path)[0])
    )


def test_a_number_computed_again_stands_beside_the_stored_one(tmp_path):
    run = write_run(tmp_path, get_recipe("baseline-100"), {"error": 25.0})
    table = report.evaluation_table(run, {"error": 26.5, "nmi": 0.5})
    assert table.to_dict("list") == {
        "number": ["test error (%)", "normalized mutual information"],
        "stored": ["25.0000", "-"],
        "again": ["26.5000", "0.5000"],
    }
