from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aae_utils import cli, scheduling
from aae_utils.scheduling import Outcome
from aae_utils.variants import recipe_names

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "distributed")


@pytest.fixture
def aae(capsys, mnist_files, tmp_path, monkeypatch):
    """The command in this process, on a small MNIST and with its runs in a temporary folder."""
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()

    def command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, **options)


# ------------------------------------------------------------------------------ start


def test_the_command_starts_without_heavy_imports():
    code = f"import sys, aae_utils.cli; print([m for m in {HEAVY} if m in sys.modules])"
    assert python("-c", code).stdout == "[]\n"


def test_help_takes_less_than_a_second_of_work():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = python("-m", "aae_utils.cli", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.returncode == 0
    for name in ("list", "train", "evaluate", "reproduce", "study", "report"):
        assert f"• {name}" in answer.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


# ------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "semi"], "Unknown recipe 'semi'"),
        (["train", "baseline-100", "--device", "warp"], "The device 'warp' is not there"),
        (["train", "baseline-100", "--seed", "-1"], "seed must be a whole number"),
        (["train", "clustering-16", "--keep", "encoder", "decodr"], "keep names 'decodr'"),
        (["train", "vae-gaussian", "--training.generator.momentum", "0"], "takes the rates 'generator'"),
        (["train", "baseline-100", "--name", "baseline-all"], "is the name of an unchanged recipe"),
        (["train", "clustering-16", "--model.units", "8", "--name", "clustering-16"], "an unchanged recipe"),
        (["train", "baseline-100", "--device", "meta"], "The device 'meta' cannot train: give one of cpu, "),
        (["train", "reduction-100", "--start.recipe", "nope"], "Unknown recipe 'nope'"),
        (["evaluate", "baseline-100"], "`aae train baseline-100 --setting laptop --seed 0`"),
        (["evaluate", "baseline-100", "--root", "~/nowhere"], "/nowhere: name the folder of the runs"),
        (["list", "--root", "~/nowhere"], "/nowhere: name the folder of the runs"),
        (["report", "--root", "~/nowhere"], "/nowhere: name the folder of the runs"),
        (["evaluate", "semi"], "Unknown recipe 'semi'"),
        (["evaluate", "no/such/folder"], "There is no folder no/such/folder"),
        (["reproduce", "baseline-100", "semi"], "Unknown recipe 'semi'"),
        (["reproduce", "--seeds", "0"], "--seeds must be a whole number from 1"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(aae, arguments, sentence):
    code, out, err = aae(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("aae: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["list", "--bad"], "--bad"),
        (["trian"], "Expected one of"),
        (["report", "x"], "x"),
        (["train", "baseline-100", "--model.unit", "3"], "--model.unit"),
        # fields that other variants have
        (["train", "clustering-16", "--model.label-scale", "5"], "--model.label-scale"),
        (["train", "reduction-10d", "--model.heads.penalty", "5"], "--model.heads.penalty"),
        (["train", "baseline-100", "--model.prior.std", "5"], "--model.prior.std"),
        # values that cannot be meant
        (["train", "clustering-16", "--model.units", "-5"], "units must be a whole number"),
        (["train", "clustering-16", "--model.init-std", "nan"], "init_std must be a finite number"),
        (["train", "clustering-16", "--training.drop-factor", "nan"], "drop_factor must be"),
        (["train", "clustering-16", "--data.images", "0"], "images"),
        (["train", "likelihood-vae", "--data.held-out", "1"], "held_out, unless None, must be"),
        (["train", "clustering-16", "--data.labels", "100"], "clustering-16 reads no labels"),
        (["train", "clustering-16", "--name", "../../x"], "'../../x'"),
    ],
)
def test_unknown_and_irrelevant_settings_are_refused_by_name(aae, arguments, named, tmp_path):
    code, out, err = aae(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert named in " ".join(err.replace("│", " ").split())
    assert not list(tmp_path.rglob("laptop-seed*"))


def test_too_little_memory_is_one_sentence(aae):
    code, _, err = aae("train", "aae-gaussian", "--model.units", 1_000_000)
    assert code == 1
    assert err.startswith("aae: There is not enough memory: ")
    assert err.count("\n") == 1


def test_a_missing_extra_is_one_sentence(aae, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = aae("reproduce", "baseline-100", "--shrink", "--scheduler", "tcp://127.0.0.1:1")
    assert code == 2
    assert "pip install 'aae_utils[cluster]'" in err
    assert err.count("\n") == 1


# ------------------------------------------------------------------------------ train, evaluate, list


def test_a_rehearsal_lies_apart_and_is_evaluated_to_the_same_numbers(aae, tmp_path):
    code, out, _ = aae("train", "aae-gaussian", "--shrink", "--seed", 3)
    folder = tmp_path / "runs-rehearsal" / "aae-gaussian" / "laptop-seed3"
    assert code == 0
    assert "aae-gaussian/laptop-seed3 trained in" in out
    assert out.endswith(f"It lies in {folder}\n")
    assert "was there already" in aae("train", "aae-gaussian", "--shrink", "--seed", 3)[1]

    stored = json.loads((folder / "run.json").read_text())["results"]
    by_folder = aae("evaluate", folder)[1]
    rows = [line.split() for line in by_folder.splitlines() if "reconstruction error" in line]
    assert rows[0][-2:] == [f"{stored['reconstruction_error']:.4f}"] * 2
    assert "was trained with another model.units than its recipe: it is not counted." in by_folder
    for name in ("aae-gaussian/laptop-seed3", "aae-gaussian"):
        again = aae("evaluate", name, "--seed", 3, "--root", tmp_path / "runs-rehearsal")
        assert again == (0, by_folder, "")


def test_a_likelihood_is_for_runs_of_table_1(aae, tmp_path):
    aae("train", "baseline-100", "--shrink")
    options = ["--samples", 100, "--root", tmp_path / "runs-rehearsal"]
    code, _, err = aae("evaluate", "baseline-100", *options)
    assert code == 2
    assert "give a run of Table 1" in err


def test_changed_fields_make_another_run(aae, tmp_path):
    changes = ["--training.epochs", 2, "--model.units", 8, "--data.images", 150]
    assert aae("train", "baseline-all", "--shrink", *changes)[0] == 0
    folder = tmp_path / "runs-rehearsal" / "baseline-all-custom" / "laptop-seed0"
    recipe = json.loads((folder / "run.json").read_text())["recipe"]
    assert recipe["training"]["epochs"] == 2
    assert recipe["model"]["units"] == 8
    assert recipe["data"]["images"] == 150
    code, _, err = aae("train", "baseline-all", "--shrink", "--training.epochs", 3)
    assert code == 2
    assert "holds a run with other settings" in err
    aae("train", "baseline-all", "--shrink", "--training.epochs", 3, "--name", "longer")
    assert (tmp_path / "runs-rehearsal" / "longer" / "laptop-seed0" / "run.json").is_file()


def test_fields_given_as_they_are_keep_the_name(aae, tmp_path):
    aae("train", "baseline-all", "--shrink", "--training.epochs", 1)
    assert (tmp_path / "runs-rehearsal" / "baseline-all" / "laptop-seed0").is_dir()


def test_help_for_a_recipe_lists_its_fields(aae):
    code, out, _ = aae("train", "clustering-16", "--setting", "paper", "--help")
    assert code == 0
    assert "--training.reconstruction.learning-rate" in out
    assert "(default: 1500)" in out


def test_the_list_shows_each_recipe_and_what_does_not_count(aae, tmp_path):
    aae("train", "baseline-100", "--shrink")
    damaged = tmp_path / "runs-rehearsal" / "baseline-100" / "laptop-seed1"
    damaged.mkdir()
    code, out, err = aae("list", "--setting", "laptop", "--root", tmp_path / "runs-rehearsal")
    lines = out.splitlines()[2:]
    assert code == 0
    assert [line.split()[0] for line in lines] == recipe_names()
    (trained,) = [line for line in lines if line.startswith("baseline-100 ")]
    assert "Table 2, MNIST 100 labels, NN baseline" in trained
    assert "25.80" in trained
    assert trained.split()[-1] == "0"
    assert f"{damaged} is not a finished run" in err
    assert "baseline-100/laptop-seed0 was trained with another model.units" in err


def test_the_report_goes_to_a_folder(aae, tmp_path):
    (tmp_path / "runs" / "baseline-100" / "laptop-seed0").mkdir(parents=True)
    code, out, err = aae("report", "--folder", tmp_path / "tables")
    assert code == 0
    assert str(tmp_path / "tables") in out
    assert "is not a finished run" in err
    assert (tmp_path / "tables" / "table_2.md").is_file()


# ------------------------------------------------------------------------------ reproduce


def test_finished_runs_are_skipped_and_failed_ones_told_at_the_end(aae, monkeypatch):
    aae("train", "baseline-100", "--shrink", "--seed", 1)
    asked = []

    def run_here(jobs, processes):
        asked.extend(job.name for job in jobs)
        assert processes == 3
        yield Outcome(jobs[0], "failed", message="It broke.")
        yield Outcome(jobs[1], "trained", 90.0, {"error": 2.5})

    monkeypatch.setattr(scheduling, "run_here", run_here)
    options = ["--seeds", 2, "--jobs", 3, "--shrink"]
    code, out, err = aae("reproduce", "baseline-all", "baseline-100", "baseline-all", *options)
    assert code == 1
    names = ["baseline-all/laptop-seed0", "baseline-100/laptop-seed0", "baseline-all/laptop-seed1"]
    assert asked == names
    lines = out.splitlines()
    assert lines[0].startswith("[1/4] baseline-100/laptop-seed1 there already: error ")
    assert lines[1:] == [
        f"[2/4] {names[0]} failed: It broke.",
        f"[3/4] {names[1]} trained in 90 s: error 2.50 %",
    ]
    assert err == f"1 of 4 runs failed:\n  {names[0]}: It broke.\n"


def test_without_names_all_recipes_on_mnist_are_made(aae, monkeypatch):
    asked = []

    def run_here(jobs, processes):
        asked.extend(jobs)
        yield from ()

    monkeypatch.setattr(scheduling, "run_here", run_here)
    assert aae("reproduce", "--seeds", 1, "--setting", "paper")[0] == 0
    assert {job.recipe.data.dataset for job in asked} == {"mnist"}
    assert {job.recipe.setting for job in asked} == {"paper"}
    assert len(asked) == len([n for n in recipe_names() if "svhn" not in n and "tfd" not in n])


def test_what_a_recipe_starts_from_is_made_first(aae, monkeypatch):
    asked = []

    def run_here(jobs, processes):
        asked.append([job.name for job in jobs])
        yield from ()

    monkeypatch.setattr(scheduling, "run_here", run_here)
    assert aae("reproduce", "reduction-100", "--seeds", 2)[0] == 0
    assert asked == [
        [f"{name}/laptop-seed{seed}" for seed in (0, 1)] for name in ("semi-supervised-100", "reduction-100")
    ]


@pytest.mark.parametrize("training", [False, True], ids=["at the start", "while it trains"])
def test_an_interrupt_ends_cleanly(tmp_path, training):
    """Ctrl-C reaches the command and its processes together, as on a terminal."""
    options = ["baseline-100", "--seeds", "1", "--device", "cpu", "--root", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "aae_utils.cli", "reproduce", *options],
        cwd=REPOSITORY,
        env={**os.environ, "AAE_DATA": str(REPOSITORY / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # tests that run in the background of a shell inherit that interrupts are ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder = tmp_path / "baseline-100" / "laptop-seed0"
    while not folder.parent.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    if training:
        time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == (
        "",
        "aae: interrupted: give the same command again to continue.\n",
    )
    assert process.returncode == 130
    assert_nothing_left(process.pid)
    assert not folder.exists()


def assert_nothing_left(group: int) -> None:
    """No process of the group lives on."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes of group {group} are left")
