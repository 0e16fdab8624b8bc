"""Tables from runs with known numbers: what counts, what stands where, and how a difference is said."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

import aae_utils
from aae_utils import report
from aae_utils.metrics.table import DESCRIPTIVE, METRICS, metric_of
from aae_utils.networks import Corruption
from aae_utils.paper import PAPER, PaperNumber, paper_numbers
from aae_utils.priors import GaussianMixture
from aae_utils.recipes import Recipe, shrink
from aae_utils.runs import FORMAT, Description, Part, Run, RunError, save_run
from aae_utils.variants import get_recipe, recipe_names

PART = Part(1, "0.1.0", "0123456789ab", "3.11", "2.14", "x86_64", "Linux", 1, "cpu", "float32")
BASELINE = "Table 2, MNIST 100 labels, NN baseline: test error (%)"


def write_run(
    root: Path, recipe: Recipe, results: dict[str, float], seed: int = 0, seconds: float = 60.0
) -> Run:
    """A run with given numbers, as if it had been trained."""
    folder = root / recipe.name / f"{recipe.setting}-seed{seed}"
    history = [
        {"epoch": float(epoch), "generator": 0.7, "validation_error": 9.0 - epoch, "seconds": seconds / 2}
        for epoch in (1, 2)
    ]
    description = Description(FORMAT, recipe, seed, 784, results, 0.0, (PART,), None, {})
    film = ({"steps": torch.zeros(1)}, {"losses": ""}) if recipe.film else None
    return save_run(folder, description, {"encoder.weight": torch.zeros(1)}, history, film)


@pytest.fixture
def three_seeds(tmp_path) -> Path:
    root = tmp_path / "runs"
    for seed, error in enumerate((2.0, 3.0, 4.0)):
        write_run(root, get_recipe("semi-supervised-100"), {"error": error}, seed)
    return root


# The paper's numbers


def number(where: str, method: str, metric: str = "error") -> PaperNumber:
    (found,) = [n for n in PAPER if (n.where, n.method, n.metric) == (where, method, metric)]
    return found


def test_every_number_of_the_tables_is_there():
    counts = {"Table 1": 15, "Table 2": 29, "Table 3": 3, "Figure 11": 4}
    for start, count in counts.items():
        assert len([n for n in PAPER if n.where.startswith(start)]) == count


def test_numbers_have_value_and_spread():
    ours = number("Table 2, MNIST 100 labels", "AAE")
    assert (ours.value, ours.spread, ours.text) == (1.9, 0.1, "1.90 ± 0.10")
    many = number("Table 1, MNIST", "AAE", "log_likelihood_10m")
    assert (many.value, many.spread, many.recipe) == (427, None, "likelihood-mnist")
    assert number("Table 2, SVHN 1000 labels", "ADGM").value == 16.61
    assert number("Table 3, 20 clusters", "CatGAN").recipe is None
    assert paper_numbers("aae-gaussian") == []


def test_each_number_of_the_model_belongs_to_a_recipe_of_the_same_table():
    for entry in PAPER:
        assert entry.metric in METRICS
        if entry.method == "AAE":
            assert entry.recipe in recipe_names()
        if entry.recipe:
            table = " ".join(entry.where.replace(",", "").split()[:2])
            assert get_recipe(entry.recipe).reproduces.startswith(table)


def test_an_unknown_metric_goes_by_its_name_and_claims_no_unit():
    assert metric_of("some_error").title == "some error"
    assert set(DESCRIPTIVE) <= set(METRICS)


# Paper | ours


def test_results_are_mean_and_deviation_over_seeds(three_seeds):
    table = report.results_table(["semi-supervised-100"], three_seeds)
    assert list(table.columns) == ["paper", "ours", "seeds", "setting"]
    row = table.loc["Table 2, MNIST 100 labels: test error (%)"]
    assert row.to_list() == ["1.90 ± 0.10", "3.00 ± 1.00", 3, "laptop"]


def test_a_recipe_without_runs_shows_the_paper_alone(tmp_path):
    table = report.results_table("baseline-100", tmp_path)
    assert table.loc[BASELINE].to_list() == ["25.80", "-", 0, "-"]


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


def test_runs_of_changed_recipes_are_named_and_not_counted(tmp_path):
    recipe = get_recipe("baseline-100")
    write_run(tmp_path, recipe, {"error": 25.0})
    write_run(tmp_path, shrink(recipe), {"error": 90.0}, seed=1)
    write_run(tmp_path, replace(recipe, name="my-own"), {"error": 80.0})
    runs, problems = report.counted_runs(tmp_path)
    assert [run.name for group in runs.values() for run in group] == ["baseline-100/laptop-seed0"]
    assert [problem.split()[0] for problem in problems] == [
        "baseline-100/laptop-seed1",
        "my-own/laptop-seed0",
    ]
    assert report.results_table("baseline-100", tmp_path).loc[BASELINE].to_list()[1:3] == ["25.00", 1]


def test_an_unknown_recipe_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match="Unknown recipe 'semi'"):
        report.results_table(["semi"], tmp_path)
    for ask in (report.results_table, report.counted_runs, report.write_report):
        with pytest.raises(RunError, match="There is no folder .*nowhere"):
            ask(root=tmp_path / "nowhere")


def test_behind_is_positive_where_ours_is_worse_and_within_the_spread_is_reached(tmp_path):
    write_run(
        tmp_path, get_recipe("likelihood-mnist"), {"log_likelihood": 338.5, "log_likelihood_10m": 500.0}
    )
    write_run(tmp_path, get_recipe("clustering-30"), {"error": 6.1})
    found = {one.number.metric: one for one in report.comparisons(report.counted_runs(tmp_path)[0])}
    assert found["log_likelihood"].behind == pytest.approx(1.5) and found["log_likelihood"].reached
    assert found["log_likelihood_10m"].behind == pytest.approx(-73) and found["log_likelihood_10m"].reached
    assert found["error"].behind == pytest.approx(2.0) and not found["error"].reached


# Deviations


def test_only_the_papers_own_setting_deviates_in_nothing():
    for name in recipe_names():
        assert report.deviations(get_recipe(name, "paper")) == []
        changed = get_recipe(name) != replace(get_recipe(name, "paper"), setting="laptop")
        assert bool(report.deviations(get_recipe(name))) == changed


def test_deviations_are_said_in_words_from_the_first_stage_to_the_data():
    paper = get_recipe("reduction-100", "paper")
    ours = replace(
        paper,
        start=get_recipe("reduction-100").start,
        training=replace(
            paper.training,
            epochs=36,
            drops=(),
            generator=replace(paper.training.generator, learning_rate=0.05, constant=True),
        ),
        model=replace(
            paper.model, units=500, corruption=Corruption(), heads=replace(paper.model.heads, penalty=2.0)
        ),
        data=replace(paper.data, images=1000),
    )
    assert report.deviations(ours) == [
        "first stage: encoder from semi-supervised-100, same labels",
        "epochs: 36 instead of 5,000",
        "generator rate: 0.05 instead of 0.1",
        "generator rate kept at the drops: on instead of off",
        "rates drop after epoch: never instead of 50 and 1,000",
        "units in the layers of encoder and decoder: 500 instead of 1,000",
        "noise on the input: none instead of 0.3",
        "weight of the cluster heads' distance: 2.0 instead of 1.0",
        "number of training images: 1,000 instead of all",
    ]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("clustering-16", "encoder and decoder from clustering-30, with the clusters that last"),
        ("clustering-20", "encoder and decoder from clustering-30, with the clusters that last"),
        ("reduction-unsupervised", "encoder from clustering-20, which starts from clustering-30"),
        ("reduction-100", "encoder from semi-supervised-100, same labels"),
    ],
)
def test_deviations_name_the_stages_before(name, stage):
    assert report.deviations(get_recipe(name))[0] == f"first stage: {stage}"


def test_how_long_samples_are_softened_is_named_where_they_are():
    paper = get_recipe("semi-supervised-100", "paper")
    share = "share of the training with softened samples"
    longer = replace(paper, model=replace(paper.model, softening_share=0.5))
    assert report.deviations(longer) == [f"{share}: 0.5 instead of 0.3"]
    for value in (0.5, 0.3):
        soft = replace(paper, model=replace(paper.model, label_softness=0.1, softening_share=value))
        assert report.deviations(soft)[-1] == f"{share}: {value}"


def test_another_kind_of_prior_is_one_deviation_and_its_parameters_are_named():
    paper = get_recipe("aae-gaussian", "paper")
    other = replace(paper, model=replace(paper.model, prior=GaussianMixture(classes=3)))
    (line,) = report.deviations(other)
    assert line.startswith("prior: GaussianMixture (classes 3, radius 9.5, ")
    assert line.endswith(" instead of Gaussian (dim 2, std 5.0)")


def test_every_word_for_a_field_belongs_to_a_field():
    known = {path for name in recipe_names() for path in paths(get_recipe(name), "")}
    assert set(report._WORDS) <= known


def paths(value: object, path: str) -> set[str]:
    """The dotted names of all fields, of inner dataclasses, too."""
    inner = {name: getattr(value, name) for name in getattr(value, "__dataclass_fields__", {})}
    return {path} | {p for name, v in inner.items() for p in paths(v, f"{path}.{name}".lstrip("."))}


# Time


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.2, "1 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (10 * 86_400, "10 days")],
)
def test_time_in_words(seconds, words):
    assert report.time_in_words(seconds) == words


def test_time_is_the_median_of_the_runs_or_grows_with_the_epochs(tmp_path):
    paper = get_recipe("aae-mixture", "paper")
    short = replace(paper, setting="laptop", training=replace(paper.training, epochs=50))
    runs = report.group_runs(
        write_run(tmp_path, short, {}, seed, seconds) for seed, seconds in enumerate((60.0, 600.0, 6000.0))
    )
    assert str(report.expected_time(short, runs)) == "10 min on cpu, 1 thread"
    estimate = report.expected_time(paper, runs)
    assert estimate is not None
    # the epochs of the first run took 30 seconds each
    assert estimate.seconds == pytest.approx(30.0 * 5000)
    assert str(estimate) == "about 42 h on cpu, 1 thread"
    assert report.expected_time(get_recipe("aae-gaussian"), runs) is None


def test_time_grows_with_the_parameters(tmp_path):
    paper = get_recipe("clustering-16", "paper")
    small = replace(paper, setting="laptop", model=replace(paper.model, units=1000, discriminator_units=1000))
    runs = report.group_runs([write_run(tmp_path, small, {}, seconds=60.0)])
    estimate = report.expected_time(paper, runs)
    assert estimate is not None
    # the square layers have 9 times the weights, the layers at the pixels 3 times
    known = 30.0 * small.training.epochs
    assert 3 * known < estimate.seconds < 9 * known


def test_a_slow_epoch_does_not_lengthen_the_estimate(tmp_path):
    paper = get_recipe("aae-mixture", "paper")
    short = replace(paper, setting="laptop", training=replace(paper.training, epochs=2))
    run = write_run(tmp_path, short, {}, seconds=60.0)
    history = run.history()
    history.loc[1, "seconds"] = 3000.0
    history.to_csv(run.folder / "metrics.csv", index=False)
    estimate = report.expected_time(paper, report.group_runs([run]))
    assert estimate is not None
    assert estimate.seconds == pytest.approx(30.0 * 5000)


def test_on_a_gpu_the_mean_epoch_is_what_an_estimate_takes(tmp_path):
    """There an epoch's time may be that in which its steps were queued."""
    paper = get_recipe("aae-mixture", "paper")
    short = replace(paper, setting="laptop", training=replace(paper.training, epochs=2))
    run = write_run(tmp_path, short, {}, seconds=60.0)
    history = run.history()
    history["seconds"] = [1.0, 59.0]
    history.to_csv(run.folder / "metrics.csv", index=False)
    on_gpu = replace(run, description=replace(run.description, parts=(replace(PART, device="NVIDIA H100"),)))
    estimate = report.expected_time(paper, report.group_runs([on_gpu]))
    assert estimate is not None
    assert estimate.seconds == pytest.approx(30.0 * 5000)


def test_machines_of_an_interrupted_run_are_named_in_order(tmp_path):
    run = write_run(tmp_path, get_recipe("baseline-100"), {})
    parts = (PART, replace(PART, first_epoch=2), replace(PART, device="NVIDIA H100", first_epoch=3))
    moved = replace(run, description=replace(run.description, parts=parts))
    assert moved.trained_on == "cpu, 1 thread, then NVIDIA H100"


# The command's tables


def test_the_list_of_recipes_has_the_first_number_of_each(three_seeds):
    table = report.recipes_table(
        [get_recipe("semi-supervised-100"), get_recipe("aae-gaussian")], report.counted_runs(three_seeds)[0]
    )
    first, second = table.to_dict("records")
    assert (first["number"], first["paper"], first["ours"], first["seeds"]) == (
        "test error (%)",
        "1.90 ± 0.10",
        "3.00 ± 1.00",
        "3",
    )
    assert (second["number"], second["paper"], second["ours"], second["time"]) == ("", "-", "-", "-")


def test_a_number_computed_again_stands_beside_the_stored_one(tmp_path):
    run = write_run(tmp_path, get_recipe("baseline-100"), {"error": 25.0})
    table = report.evaluation_table(run, {"error": 26.5, "nmi": 0.5})
    assert table.to_dict("list") == {
        "number": ["test error (%)", "normalized mutual information"],
        "stored": ["25.0000", "-"],
        "again": ["26.5000", "0.5000"],
    }
    assert report.results_in_words({"error": 25.0, "nmi": 0.5}) == "error 25.00 %, nmi 0.500"


# The book's tables


def cells(path: Path) -> list[list[str]]:
    """The rows of a Markdown table, its head included, with plain spaces."""
    lines = path.read_text().replace("\u00a0", " ").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines if line.startswith("|")]


def test_the_glance_counts_the_stages_of_what_is_reached(tmp_path):
    for name, error in (("reduction-unsupervised", 9.0), ("reduction-10d", 3.0)):
        write_run(tmp_path / "runs", get_recipe(name), {"error": error})
    report.write_report(tmp_path / "runs", tmp_path / "tables")
    glance = (tmp_path / "tables" / "glance.md").read_text()
    assert "Figure 11C, 2-D, 20 clusters (trained in three stages, where the paper has one)" in glance
    assert "Figure 11D, 10-D, 100 labels (trained in two stages, where the paper has one)" in glance


def test_the_report_tells_what_is_there_and_how_to_get_the_rest(three_seeds, tmp_path):
    root, folder = three_seeds, tmp_path / "tables"
    (root / "baseline-100" / "laptop-seed0").mkdir(parents=True)
    write_run(root, get_recipe("likelihood-mnist"), {"log_likelihood": 341.0})
    files, problems = report.write_report(root, folder)
    assert sorted([*files, folder / ".written"]) == sorted(folder.iterdir())
    assert len(problems) == 1 and "baseline-100" in problems[0]
    assert ["MNIST 100 labels", "1.90 ± 0.10", "3.00 ± 1.00", "3"] in cells(folder / "table_2.md")
    assert ["MNIST 1000 labels", "1.60 ± 0.08", "-", "no run yet"] in cells(folder / "table_2.md")
    assert "- `semi-supervised-100`: epochs: " in (folder / "table_2.md").read_text()
    glance = [row[1:] for row in cells(folder / "glance.md")]
    assert ["340 ± 2", "341.0", "1", "-1.0 nats", "reached"] in glance
    assert ["1.90 ± 0.10", "3.00 ± 1.00", "3", "+1.10 points", "falls short"] in glance
    assert (
        "Of 2 numbers of the paper that runs of ours have measured, 1 is reached and 1 not."
        in (folder / "glance.md").read_text()
    )
    missing = (folder / "missing.md").read_text()
    assert "`aae train baseline-1000`" in missing and "`aae train semi-supervised-100`" not in missing
    assert "`aae train semi-supervised-100 --setting paper`" in missing
    assert "`aae evaluate likelihood-mnist --setting laptop --samples 10000000`" in missing
    assert (folder / "runs.md").read_text().count("0123456789ab") == 4
    assert "GMMN + AE" in (folder / "paper_table_1.md").read_text()


def test_progress_counts_the_runs_whose_error_fell_after_the_drop(tmp_path):
    recipe = get_recipe("clustering-16")
    dropped = replace(recipe, training=replace(recipe.training, epochs=2, drops=(1,)))
    run = write_run(tmp_path, dropped, {"error": 8.0})
    text = report._book_tables()._progress_text(report.group_runs([run]))
    assert text.startswith("In 1 of the 1 runs below whose error was taken")
    assert "8.0 (1)" in text and "7.0 (2)" in text


def test_the_book_includes_every_file_that_is_written(three_seeds, tmp_path):
    pages = report.tables_folder().parent
    lines = "\n".join(
        (pages / page).read_text() for page in ("results.md", "losses.md", "lab_notebook.md")
    ).splitlines()
    included = {line.split("_tables/")[1] for line in lines if "{include}" in line}
    files, _ = report.write_report(three_seeds, tmp_path / "tables")
    assert included == {file.name for file in files if file.suffix == ".md"}


def test_pictures_are_drawn_once_and_removed_when_they_no_longer_hold(tmp_path):
    root, folder = tmp_path / "runs", tmp_path / "tables"
    write_run(root, get_recipe("baseline-100"), {"error": 25.0})
    report.write_report(root, folder)
    (first,) = folder.glob("losses-*.svg")
    assert "_tables/" + first.name in (folder / "losses_baseline.md").read_text()
    assert "<svg" in first.read_text()
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    report.write_report(root, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    write_run(root, get_recipe("baseline-100"), {"error": 26.0}, seed=1)
    report.write_report(root, folder)
    (second,) = folder.glob("losses-*.svg")
    assert second.name != first.name


def test_a_report_removes_what_an_earlier_one_wrote_and_nothing_else(tmp_path):
    root, folder = tmp_path / "runs", tmp_path / "tables"
    root.mkdir()
    folder.mkdir()
    own = [folder / name for name in ("diary.md", "drawing.svg", "losses-notes.svg")]
    outside = tmp_path / "outside.md"
    for path in (*own, outside):
        path.write_text("mine")
    report.write_report(root, folder)
    stale = folder / "losses_of-old.md"
    stale.write_text("old")
    with (folder / ".written").open("a") as noted:
        noted.write(f"{stale.name}\n../{outside.name}\n")
    report.write_report(root, folder)
    assert not stale.exists()
    assert [path.read_text() for path in (*own, outside)] == ["mine"] * 4


def test_a_changed_drawing_gives_a_picture_another_name(tmp_path, monkeypatch):
    tables = report._book_tables()
    package = tmp_path / "aae_utils"
    shutil.copytree(Path(aae_utils.__file__).parent / "figures", package / "figures")
    monkeypatch.setattr(aae_utils, "__file__", str(package / "__init__.py"))
    names = {tables._digest(["the same numbers"])}
    for module in ("curves.py", "style.py"):
        with (package / "figures" / module).open("a") as code:
            code.write("# another line\n")
        names.add(tables._digest(["the same numbers"]))
    monkeypatch.setattr(tables, "__file__", str(package / "figures" / "style.py"))
    names.add(tables._digest(["the same numbers"]))
    assert len(names) == 4


def test_a_picture_cut_short_by_a_full_disk_is_drawn_again(tmp_path, monkeypatch):
    root, folder = tmp_path / "runs", tmp_path / "tables"
    write_run(root, get_recipe("baseline-100"), {"error": 25.0})

    def full_disk(self, file, **options):
        file.write(b"<svg")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", full_disk)
        with pytest.raises(OSError, match="No space"):
            report.write_report(root, folder)
    assert list(folder.iterdir()) == []
    report.write_report(root, folder)
    pictures = list(folder.glob("*.svg"))
    assert pictures and all(path.read_text().endswith("</svg>\n") for path in pictures)


def test_cells_of_a_table_hold_their_bars(tmp_path):
    root = tmp_path / "runs"
    write_run(root, get_recipe("aae-gaussian-posterior"), {"sliced_wasserstein": 0.5})
    report.write_report(root, tmp_path / "tables")
    assert r"Gaussian q(z\|x)" in (tmp_path / "tables" / "figures.md").read_text()
