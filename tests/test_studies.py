"""Studies: what a file must say, what a training leaves without test images, and what counts."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import pytest
import torch

from aae_utils import cli, data, report, reproduction, scheduling, studies
from aae_utils.data import UNLABELED, ImageData, load_learning_splits
from aae_utils.descriptions import to_plain
from aae_utils.equilibrium import clusters_of_digits, right_answers, start_right
from aae_utils.metrics.inputs import NotFinite
from aae_utils.recipes import Start, shrink
from aae_utils.reproduction import make_monitor, make_trainer
from aae_utils.runs import WEIGHTS, StartedFrom
from aae_utils.studies import StudyError, all_studies, load_record, load_study, require_measure, state_of
from aae_utils.training import Trainer, TrainingDiverged
from aae_utils.variants import get_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

STARTED_RIGHT = [
    "clustering-16",
    "clustering-30",
    "reduction-unsupervised",
    "reduction-100",
    "semi-supervised-100",
]
TEXT = """
question = "Which start is better?"
recipes = ["{recipe}"]
seeds = [0, 1]
measure = "validation_error"

[base]
training.epochs = 2
training.batch_size = 50
training.drops = []
model.units = 16
model.discriminator_units = 16

[[variations]]
name = "Started right"
start = "right"

[[variations]]
name = "from scratch, faster"
start = "scratch"
training.generator.learning_rate = 0.3
"""


@pytest.fixture
def root(tmp_path, mnist_files) -> Path:
    """A folder with one small study."""
    return write(tmp_path / "studies")


def write(root: Path, text: str = TEXT, recipe: str = "clustering-16") -> Path:
    root.mkdir(exist_ok=True)
    (root / "starts.toml").write_text(text.replace("{recipe}", recipe))
    return root


def trials(root: Path) -> list[studies.Trial]:
    return [replace(t, device="cpu", checkpoint_seconds=0) for t in load_study("starts", root).trials(root)]


def make(trial: studies.Trial) -> studies.Record:
    return studies.train(trial)


def problem(root: Path) -> str:
    """The one sentence on a record that does not count."""
    (sentence,) = state_of(load_study("starts", root), root).problems
    assert "\n" not in sentence
    return sentence


# What a file says


def test_every_study_of_the_book_can_be_made():
    found, problems = all_studies(Path(__file__).resolve().parents[1] / "studies")
    assert len(found) >= 7 and problems == []
    for study in found:
        require_measure(study)
        assert study.question.endswith("?")


def test_variations_change_what_they_name_and_nothing_else(root):
    right, scratch = load_study("starts", root).trials(root)[:2]
    recipe = get_recipe("clustering-16")
    rates = replace(recipe.training.generator, learning_rate=0.3)
    training = replace(recipe.training, epochs=2, batch_size=50, drops=())
    assert right.recipe.training == training
    assert scratch.recipe.training == replace(training, generator=rates)
    assert right.recipe.model == replace(recipe.model, units=16, discriminator_units=16)
    assert right.place == root / "starts" / "clustering-16" / "started-right-seed0.json"
    assert pickle.loads(pickle.dumps(right)) == right  # it travels to another process


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('recipes = ["{recipe}"]', 'recipes = ["clusters"]', "Unknown recipe 'clusters'"),
        ("seeds = [0, 1]", "seeds = []", "seeds is empty"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "the seeds name 0 twice"),
        ("seeds = [0, 1]", "seed = [0, 1]", "'seeds' is missing or unknown"),
        ("generator.learning_rate", "generator.rate", "Unknown field of clustering-16.training.generator"),
        ("training.generator", "train.generator", "Unknown part of a recipe 'train'"),
        ("rate = 0.3", "rate = -1", "learning_rate must be a finite number"),
        ('"right"', '"left"', "Unknown start 'left'"),
        ("Started right", "From scratch faster", "'from-scratch-faster' twice"),
        ("model.units = 16", "model.classes = 4", "4 clusters are too few"),
        ("[base]", "[base", "is not a study"),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence(tmp_path, old, new, named):
    root = write(tmp_path, TEXT.replace(old, new))
    with pytest.raises(StudyError) as caught:
        load_study("starts", root)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_models_with_a_label_code_are_started_right(tmp_path):
    text = TEXT.replace('"right"', '"recipe"').replace('"scratch"', '"right"')
    with pytest.raises(StudyError, match="aae-gaussian cannot be started right"):
        load_study("starts", write(tmp_path, text, "aae-gaussian"))


def test_an_unknown_measure_is_answered_with_the_known_ones(root):
    study = replace(load_study("starts", root), measure="validation_errors")
    with pytest.raises(StudyError, match="choose one of validation_error, validation_majority_vote_error"):
        require_measure(study)


START = 'start = {recipe = "clustering-30", parts = ["encoder"]}'


def started(root: Path, start: str = START, recipe: str = "clustering-16") -> Path:
    """A study whose first variation starts from a run that it names."""
    return write(root, TEXT.replace('start = "right"', start), recipe)


def test_a_variation_may_name_the_run_that_it_starts_from(tmp_path):
    root = started(tmp_path)
    named, scratch = load_study("starts", root).trials(root)[:2]
    assert named.recipe.start == Start("clustering-30", ("encoder",))
    assert scratch.recipe.start is None
    assert named.variation.start == "recipe"
    assert named.stackable


def test_a_part_of_a_start_may_be_changed(tmp_path):
    root = started(tmp_path, 'start = {parts = ["encoder"]}')
    recipe = load_study("starts", root).trials(root)[0].recipe
    assert recipe.start == replace(get_recipe("clustering-16").start, parts=("encoder",))


def test_a_recipe_without_a_start_may_get_one(tmp_path):
    root = started(tmp_path, START.replace("encoder", "encoder.hidden"), "semi-supervised-100")
    recipe = load_study("starts", root).trials(root)[0].recipe
    assert recipe.start == Start("clustering-30", ("encoder.hidden",))


def test_a_start_without_a_recipe_is_one_sentence_where_there_was_none(tmp_path):
    with pytest.raises(StudyError, match="Unknown recipe ''") as caught:
        load_study("starts", started(tmp_path, 'start = {parts = ["encoder"]}', "semi-supervised-100"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "named"),
    [
        (
            'start = {recipe = "clustering-30", part = ["encoder"]}',
            "Unknown field of clustering-16.start 'part'",
        ),
        ('start = {recipe = "clustering-60"}', "Unknown recipe 'clustering-60': choose one of aae-gaussian,"),
        ('start = {recipe = "clustering-30", parts = []}', "parts of the start must name a network"),
        ('start = {recipe = 7, parts = ["encoder"]}', "recipe"),
        ('start = ["clustering-30"]', "Unknown start ['clustering-30']"),
    ],
)
def test_a_start_that_is_none_is_one_sentence(tmp_path, start, named):
    with pytest.raises(StudyError) as caught:
        load_study("starts", started(tmp_path, start))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


# A training


@pytest.mark.parametrize("recipe", STARTED_RIGHT)
def test_a_record_has_its_prepared_epochs_marked_and_no_test_image_is_read(
    recipe, mnist_files, tmp_path, monkeypatch
):
    load = data.load

    def no_test_images(dataset: str, split: str, **options: object) -> ImageData:
        assert split != "test"
        return load(dataset, split, **options)

    monkeypatch.setattr(data, "load", no_test_images)
    root = write(tmp_path / "studies", recipe=recipe)
    right, scratch = trials(root)[:2]
    record = make(right)
    assert record == load_record(right.place)
    assert record.history["epoch"] == [-1, 0, 1, 2]
    assert [part.first_epoch for part in record.parts] == [-1]
    assert [value is None for value in record.history["every_answer"]] == [False, False, True, True]
    assert all(0 <= value <= 100 for value in record.history["validation_error"])
    assert record.recipe == to_plain(right.recipe) and record.recipe["start"] is None
    assert make(scratch).history["epoch"] == [1, 2]
    assert [path.name for path in root.rglob("*") if path.suffix in (".pt", ".safetensors", ".partial")] == []


def test_the_last_row_of_a_record_has_the_results_of_validation_images(root, monkeypatch):
    load = data.load

    def no_test_images(dataset: str, split: str, **options: object) -> ImageData:
        assert split != "test"
        return load(dataset, split, **options)

    monkeypatch.setattr(data, "load", no_test_images)
    trial = trials(root)[1]
    history = make(trial).history
    returned = history["validation_returned_to_cluster"]
    assert returned[0] is None and 0 <= returned[1] <= 100
    assert all(value is not None for value in history["validation_error"])
    assert trial.make()[1]["validation_returned_to_cluster"] == returned[1]
    measures = studies.measures_of(trial.recipe)
    assert set(measures) == {name for name in history if name.startswith("validation_")}
    assert measures[-1] == "validation_returned_to_cluster"


def test_a_trial_starts_from_the_run_that_its_variation_names(mnist_files, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    monkeypatch.setenv("AAE_RUNS", str(runs))
    monkeypatch.setattr(reproduction, "deviation", lambda run: "")
    run = reproduction.train_recipe(shrink(get_recipe("clustering-30")), 0, runs, "cpu", progress=False)
    root = started(tmp_path / "studies", START)
    record = make(trials(root)[0])
    assert record.started_from == StartedFrom("clustering-30/laptop-seed0", run.description.sha256[WEIGHTS])
    assert record.recipe["start"] == {"recipe": "clustering-30", "parts": ["encoder"]}


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(scheduling, "_in_own_process", lambda job, *_: scheduling.run_job(job))


def test_trials_of_several_seeds_are_trained_as_a_stack(root, in_this_process):
    made = [trial for trial in trials(root) if trial.variation.start == "scratch"]
    assert [trial.stackable for trial in made] == [True, True]
    assert {outcome.status for outcome in scheduling.run_stacked(made, 1)} == {"trained"}
    for trial in made:
        record = load_record(trial.place)
        assert (record.seed, record.history["epoch"], record.failure) == (trial.seed, [1, 2], "")
        assert [value is None for value in record.history["validation_error"]] == [True, False]
    assert not list(root.rglob("*.partial"))


def test_a_right_start_is_trained_alone(root, in_this_process):
    right, scratch = trials(root)[:2]
    assert not right.stackable
    outcomes = scheduling.run_stacked([right, scratch], 1)
    assert {outcome.job.name: outcome.status for outcome in outcomes} == {
        right.name: "trained",
        scratch.name: "trained",
    }
    assert load_record(right.place).history["epoch"] == [-1, 0, 1, 2]


def test_a_divergence_in_a_stack_is_recorded_too(root, in_this_process):
    write(root, TEXT.replace("rate = 0.3", "rate = 1e30"))
    made = [trial for trial in trials(root) if trial.variation.start == "scratch"]
    outcomes = list(scheduling.run_stacked(made, 1))
    assert {outcome.status for outcome in outcomes} == {"failed"}
    assert all("no longer finite" in outcome.message for outcome in outcomes)
    assert all("no longer finite" in load_record(trial.place).failure for trial in made)
    assert not list(root.rglob("*.partial"))


def test_a_stack_that_fails_late_leaves_its_epochs_on_record(root, in_this_process, monkeypatch):
    made = [trial for trial in trials(root) if trial.variation.start == "scratch"]
    require_finite = Trainer.require_finite

    def diverge(self, losses, epoch):
        if epoch == 2:
            raise TrainingDiverged("It broke.")
        require_finite(self, losses, epoch)

    monkeypatch.setattr(Trainer, "require_finite", diverge)
    outcomes = list(scheduling.run_stacked(made, 1, every=1))
    assert [(outcome.status, outcome.message) for outcome in outcomes] == [("failed", "It broke.")] * 2
    for trial in made:
        record = load_record(trial.place)
        assert (record.seed, record.failure) == (trial.seed, "It broke.")
        assert record.history["epoch"] == [1]
        assert len(record.parts) == 1
    assert not list(root.rglob("*.partial"))
    # found, and not trained again
    monkeypatch.setattr(studies, "train", None)
    assert {outcome.message for outcome in scheduling.run_stacked(made, 1)} == {"It broke."}


def test_epochs_that_were_not_judged_are_no_part_of_a_curve(root):
    finish(root)
    place = trials(root)[1].place
    set_field("history", {"epoch": [1.0, 2.0], "validation_error": [None, 6.0]})(place)
    curves = state_of(load_study("starts", root), root).curves("clustering-16")
    shown = curves[(curves["variation"] == "from scratch, faster") & (curves["seed"] == 0)]
    assert shown[["epoch", "validation_error"]].to_numpy().tolist() == [[2.0, 6.0]]
    assert curves.index.is_unique and len(curves) == 11


def test_what_was_shown_is_taken_away_again(mnist_files, tmp_path):
    recipe = shrink(get_recipe("clustering-16"))
    splits = load_learning_splits(recipe.data)
    trainer = make_trainer(recipe, splits, seed=0)
    before = trainer.model.encoder.label[0].weight.clone()
    start_right(trainer, recipe, splits, tmp_path)
    assert not torch.equal(trainer.model.encoder.label[0].weight, before)
    assert [phase.name for phase in trainer.phases] == ["reconstruction", "discriminators", "generator"]
    assert (trainer.data.y == UNLABELED).all()
    assert trainer.epoch == 0
    assert not any(optimizer.state for optimizer in trainer.optimizers)


def test_each_digit_is_split_into_its_share_of_the_clusters():
    digits = torch.arange(10).repeat_interleave(20)
    # the higher a digit, the more its images vary
    pixels = torch.rand(200, 6, generator=torch.Generator().manual_seed(0)) * (digits[:, None] + 1) / 10
    answers = clusters_of_digits(ImageData(pixels, digits, (2, 3)), 16, seed=0)
    shares = [len(answers[digits == digit].unique()) for digit in range(10)]
    assert shares == [1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert sorted(answers.unique().tolist()) == list(range(16))


def test_where_units_are_labels_the_label_is_the_answer(mnist_files):
    recipe = shrink(get_recipe("reduction-100"))
    images = load_learning_splits(recipe.data).train
    assert torch.equal(right_answers(recipe, images, 0), images.labels)


def interrupt(trial: studies.Trial, epoch: int, monkeypatch: pytest.MonkeyPatch, **fit: object) -> None:
    """Train a trial up to the beginning of an epoch, with other settings of `Trainer.fit` if given."""
    run_epoch, count = Trainer.run_epoch, 0

    def interrupted(self, *arguments):
        nonlocal count
        count += 1
        if count == epoch:
            raise KeyboardInterrupt
        return run_epoch(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", interrupted)
        patch.setattr(Trainer, "fit", partialmethod(Trainer.fit, **fit))
        with pytest.raises(KeyboardInterrupt):
            make(trial)


@pytest.mark.parametrize("epoch", [2, 4], ids=["while it is prepared", "after that"])
def test_an_interrupted_training_ends_as_if_it_had_not_been(root, tmp_path, monkeypatch, epoch):
    trial = trials(root)[0]
    whole = make(replace(trial, root=tmp_path / "whole"))
    interrupt(trial, epoch, monkeypatch)
    assert not trial.place.exists()
    again = make(trial)
    for history in (whole.history, again.history):
        del history["seconds"]
    assert again.history == whole.history


def test_a_record_says_where_its_prepared_epochs_were_trained(root, monkeypatch):
    trial, this_part = trials(root)[0], reproduction.this_part
    interrupt(trial, 2, monkeypatch, checkpoint_seconds=0)
    monkeypatch.setattr(
        reproduction, "this_part", lambda *place: replace(this_part(*place), machine="another")
    )
    parts = make(trial).parts
    assert [part.first_epoch for part in parts] == [-1, 0]
    assert parts[0].machine != "another" == parts[1].machine


def test_a_divergence_is_recorded_shown_and_not_tried_again(root, monkeypatch):
    write(root, TEXT.replace("rate = 0.3", "rate = 1e30"))
    trial = trials(root)[1]
    with pytest.raises(TrainingDiverged):
        trial.make()
    monkeypatch.setattr(studies, "train", None)
    with pytest.raises(TrainingDiverged, match="no longer finite"):
        trial.make()
    state = state_of(load_study("starts", root), root)
    assert [failed.name for failed, _ in state.failed] == [trial.name]
    table = studies.findings_table(state).set_index("variation")
    assert table.loc["from scratch, faster"].to_list()[1:] == ["0", "failed", "-"]


def test_broken_weights_are_a_divergence(mnist_files):
    recipe = shrink(get_recipe("clustering-16"))
    model = recipe.model.build()
    model.encoder.label[0].weight.data[0, 0] = math.nan
    with pytest.raises(TrainingDiverged, match="weights are no longer finite"):
        make_monitor(recipe, load_learning_splits(recipe.data).validation)(model)


# What counts


def finish(root: Path) -> None:
    """Records with known numbers: seed 0 ends at 5 (right) and 6 (scratch), seed 1 one higher."""
    for place, trial in enumerate(trials(root)):
        end = 5.0 + place % 2 + trial.seed
        prepared = trial.variation.start == "right"
        history = {
            "epoch": [-1.0, 0.0, 1.0, 2.0][0 if prepared else 2 :],
            "validation_error": [4.0, 3.0, 4.5, end][0 if prepared else 2 :],
        }
        trial.place.parent.mkdir(parents=True, exist_ok=True)
        record = studies.Record(
            studies.FORMAT,
            "starts",
            trial.variation.name,
            trial.variation.start,
            trial.seed,
            to_plain(trial.recipe),
            "",
            60.0,
            (),
            None,
            history,
        )
        studies.save_record(trial.place, record)


def test_findings_are_finals_by_seed_and_their_mean(root):
    finish(root)
    state = state_of(load_study("starts", root), root)
    assert (len(state.records), state.missing, state.problems) == (4, [], [])
    assert [list(row.values())[1:] for row in studies.findings_rows(state, "clustering-16")] == [
        ["0, 1", "5.00, 6.00", "5.50"],
        ["0, 1", "6.00, 7.00", "6.50"],
    ]


def set_field(name: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return change


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda path: path.write_text(path.read_text()[:100]), "is damaged"),
        (set_field("seed", 3), "another seed"),
        (set_field("start", "scratch"), "is damaged (its history does not go from epoch 1 to 2)"),
        (set_field("recipe", {"name": "clustering-16"}), "another setting"),
        (set_field("history", {"epoch": [-1.0, 0.0, 1.0, 2.0]}), "has not measured validation_error"),
        (set_field("history", {}), "is damaged (its history has no epochs)"),
        (
            set_field("history", {"epoch": [], "validation_error": []}),
            "is damaged (its history has no epochs)",
        ),
        (set_field("history", {"validation_error": [5.0]}), "is damaged (its history has no epochs)"),
        (
            set_field("history", {"epoch": [1.0, 2.0], "validation_error": [4.5, 5.0]}),
            "is damaged (its history does not go from epoch -1 to 2)",
        ),
        (set_field("history", {"epoch": [1.0], "validation_error": []}), "different lengths"),
        (lambda path: path.rename(path.with_name("other-seed0.json")), "no such variation"),
    ],
)
def test_a_record_that_cannot_be_used_is_named_and_not_counted(root, spoil, named):
    finish(root)
    spoil(trials(root)[0].place)
    assert named in problem(root)
    assert len(state_of(load_study("starts", root), root).records) == 3


@pytest.mark.parametrize("history", [{}, {"epoch": [-1.0, 0.0], "validation_error": [4.0, 3.0]}])
def test_a_failed_training_may_have_fewer_epochs(root, history):
    finish(root)
    place = trials(root)[0].place
    set_field("failure", "It broke.")(place)
    set_field("history", history)(place)
    assert load_record(place).history == history


def test_a_training_that_failed_before_its_first_measurement_counts_as_failed(root):
    """Some measures are taken after the last epoch alone."""
    finish(root)
    place = trials(root)[1].place
    set_field("failure", "It broke.")(place)
    set_field("history", {"epoch": [1.0], "reconstruction": [8.0]})(place)
    state = state_of(load_study("starts", root), root)
    assert state.problems == []
    assert [record.failure for _, record in state.failed] == ["It broke."]
    assert "from scratch, faster (failed)" not in set(state.curves("clustering-16")["variation"])


def test_codes_that_are_not_finite_in_the_prepared_epochs_are_a_divergence(root, monkeypatch):
    def monitor(*_):
        raise NotFinite("The codes hold NaN or infinite values.")

    monkeypatch.setattr("aae_utils.equilibrium.make_monitor", lambda *_: monitor)
    right = trials(root)[0]
    record = make(right)
    assert "no longer finite" in record.failure
    assert right.place.exists() and not right.work.exists()


def test_from_scratch_is_from_scratch_whatever_the_others_start_from(tmp_path):
    base = '[base]\nstart = {recipe = "clustering-30", parts = ["encoder"]}'
    root = write(tmp_path / "studies", TEXT.replace("[base]", base))
    assert [trial.recipe.start for trial in load_study("starts", root).trials(root)[:2]] == [None, None]


def test_a_training_from_scratch_has_every_epoch_of_its_recipe(root):
    finish(root)
    place = trials(root)[1].place
    set_field("history", {"epoch": [1.0], "validation_error": [6.0]})(place)
    assert "from-scratch-faster-seed0.json is damaged" in problem(root)
    assert "from epoch 1 to 2" in problem(root)


def test_a_record_with_another_start_is_stale(root):
    finish(root)
    set_field("start", "recipe")(trials(root)[1].place)
    assert "another start" in problem(root)


def test_records_of_a_changed_study_are_stale(root):
    finish(root)
    write(root, TEXT.replace("rate = 0.3", "rate = 0.4"))
    state = state_of(load_study("starts", root), root)
    assert len(state.records) == 2
    assert all("another training.generator.learning_rate" in sentence for sentence in state.problems)


def test_a_text_that_changes_nothing_makes_no_record_stale(root, monkeypatch):
    finish(root)
    recipe = replace(get_recipe("clustering-16"), reproduces="another sentence")
    monkeypatch.setattr(studies, "get_recipe", lambda name: recipe)
    assert state_of(load_study("starts", root), root).problems == []


# The command and the page


@pytest.fixture
def aae(capsys, root, in_this_process, monkeypatch):
    """The command in this process, which also trains; studies lie in `root`."""
    monkeypatch.setenv("AAE_STUDIES", str(root))

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["study", *arguments])
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


def test_the_command_makes_what_is_missing_and_says_what_came_out(aae, root):
    first, *others = trials(root)
    for trial in others:
        make(trial)
    code, out, err = aae("starts", "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.startswith(f"[1/1] {first.name} trained in ")
    assert "Which start is better?" in out
    assert aae("starts")[1].startswith("Which start is better?")
    line = aae()[1].splitlines()[2].split()
    assert line[0] == "starts" and " ".join(line[-6:]) == "4 of 4 0 0 open"


def test_a_rehearsal_lies_apart(aae, root):
    assert aae("starts", "--shrink", "--device", "cpu")[0] == 0
    assert len(list(root.with_name("studies-rehearsal").rglob("*.json"))) == 4
    assert list(root.rglob("*.json")) == []


def test_a_file_that_is_no_study_hides_none_of_the_others(aae, root, tmp_path, monkeypatch):
    (root / "bad.toml").write_text("question = ")
    code, out, err = aae()
    assert (code, err) == (0, "")
    assert "bad.toml is not a study" in out
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["starts", "-"]
    assert "`aae study starts`" in page(root, tmp_path / "tables", monkeypatch)[0]
    _, problems = report.write_report(tmp_path / "tables" / "runs", tmp_path / "tables")
    assert [problem.count("bad.toml is not a study") for problem in problems] == [1]


def test_what_does_not_count_is_told(aae, root):
    finish(root)
    trials(root)[0].place.write_text("{}")
    code, _, err = aae("starts")
    assert code == 1
    assert "started-right-seed0.json is damaged" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["ends"], "There is no study 'ends'"), (["starts", "--jobs", "0"], "--jobs must be a whole number")],
)
def test_a_mistake_is_answered_in_one_sentence(aae, arguments, sentence):
    code, out, err = aae(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err and err.count("\n") == 1


def page(root: Path, folder: Path, monkeypatch) -> tuple[str, str]:
    monkeypatch.setenv("AAE_STUDIES", str(root))
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    report.write_report(folder / "runs", folder)
    return (folder / "studies.md").read_text(), (folder / "equilibria.md").read_text()


def test_a_page_without_records_says_so(root, tmp_path, monkeypatch):
    text, equilibria = page(root, tmp_path / "tables", monkeypatch)
    assert text.startswith("None of the 4 trainings that the studies ask for is recorded yet.\n")
    assert "`aae study starts`" in text and "figure" not in text
    assert equilibria == "No recipe has been started right yet.\n"


def test_the_page_shows_question_numbers_curves_and_verdict(root, tmp_path, monkeypatch):
    finish(root)
    write(root, TEXT.replace("measure =", 'verdict = "The right one."\nmeasure ='))
    text, equilibria = page(root, tmp_path / "tables", monkeypatch)
    assert text.startswith("4 of the 4 trainings that the studies ask for are recorded.\n")
    for part in ("Which start is better?", "5.00, 6.00", "The right one.", "learning_rate = 0.3"):
        assert part in text
    (picture,) = (tmp_path / "tables").glob("study-*.svg")
    assert f"_tables/{picture.name}" in text
    assert equilibria.startswith("In the one recipe below")
    row = [cell.strip() for cell in equilibria.splitlines()[-1].strip("|").split("|")]
    assert row[:4] == ["`clustering-16`", "3.0", "5.5 (2 epochs)", "6.5 (2 epochs)"]


def test_a_failed_training_is_no_part_of_a_mean(root):
    finish(root)
    set_field("failure", "It broke.")(trials(root)[0].place)
    state = state_of(load_study("starts", root), root)
    curves = state.curves("clustering-16")
    assert list(curves["variation"].cat.categories) == [
        "Started right",
        "from scratch, faster",
        "Started right (failed)",
    ]
    first = next(studies.findings_rows(state, "clustering-16"))
    assert list(first.values())[2:] == ["failed, 6.00", "6.00 (1 of 2)"]
