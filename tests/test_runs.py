from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from aae_utils import runs
from aae_utils.recipes import Recipe, build_model, get_recipe, recipe_names, shrink
from aae_utils.runs import (
    DESCRIPTION,
    METRICS,
    WEIGHTS,
    Run,
    RunError,
    environment,
    find_run,
    list_runs,
    load_run,
    rounded_weights,
    run_folder,
    runs_root,
    save_run,
)

pytestmark = pytest.mark.usefixtures("one_thread")

REPOSITORY = Path(__file__).resolve().parents[1]
PIXELS = 30
HISTORY = [
    {"epoch": 1.0, "reconstruction": 12.5, "seconds": 1.25, "images_per_second": 800.0},
    {"epoch": 2.0, "reconstruction": 10.0, "seconds": 1.5, "images_per_second": 700.0},
]
RESULTS = {"sliced_wasserstein": 0.1 + 0.2, "reconstruction_error": 9.75}


def small_recipe(name: str = "aae-gaussian") -> Recipe:
    return shrink(get_recipe(name), units=8)


def small_model(recipe: Recipe) -> nn.Module:
    torch.manual_seed(0)
    return build_model(recipe.model, PIXELS)


def write_run(root: Path, name: str = "aae-gaussian", seed: int = 0) -> Run:
    recipe = small_recipe(name)
    weights = rounded_weights(small_model(recipe), recipe.keep)
    folder = run_folder(recipe, seed, root)
    return save_run(folder, recipe, seed, PIXELS, weights, HISTORY, RESULTS, environment())


def sentence(call: Callable[[], object]) -> str:
    """The message of the RunError that the call must raise: one line, ending like a sentence."""
    with pytest.raises(RunError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Written and read again


def test_a_run_is_read_as_it_was_written(tmp_path):
    written, run = write_run(tmp_path, seed=3), load_run(tmp_path / "aae-gaussian" / "laptop-seed3")
    assert run == written
    assert run.recipe == small_recipe()
    assert (run.name, run.seed, run.image_dim) == ("aae-gaussian/laptop-seed3", 3, PIXELS)
    assert run.results == RESULTS
    assert run.seconds == 2.8  # the sum over epochs, to a tenth of a second
    assert run.history().to_dict("records") == HISTORY
    assert run.environment == environment()


def test_a_run_is_three_files_and_leaves_nothing_beside_them(tmp_path):
    write_run(tmp_path)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [f"aae-gaussian/laptop-seed0/{name}" for name in (METRICS, DESCRIPTION, WEIGHTS)]


@pytest.mark.parametrize("name", recipe_names())
def test_the_kept_weights_come_back_rounded_to_float16(name, tmp_path):
    recipe = small_recipe(name)
    original, model = small_model(recipe), write_run(tmp_path, name).model()
    assert not model.training
    parameters = dict(model.named_parameters())
    kept = {key: value for key, value in original.state_dict().items() if key.split(".")[0] in recipe.keep}
    assert kept
    for key, value in kept.items():
        expected = value.half().float() if key in parameters else value
        assert torch.equal(model.state_dict()[key], expected)
        assert model.state_dict()[key].dtype == value.dtype


def test_only_the_networks_that_a_reader_needs_are_kept(tmp_path):
    weights = load_file(write_run(tmp_path).folder / WEIGHTS)
    assert {key.split(".")[0] for key in weights} == {"encoder", "decoder"}
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_running_averages_are_kept_in_full():
    recipe = small_recipe("clustering-16")
    model = small_model(recipe)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.fill_(0.1)
    weights = rounded_weights(model, recipe.keep)
    averages = [value for key, value in weights.items() if key.endswith("running_mean")]
    assert averages
    assert all(torch.equal(value, torch.full_like(value, 0.1)) for value in averages)


def test_the_environment_is_on_record():
    found = environment()
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert {"aae_utils", "commit", "python", "machine", "system"} <= set(found)


def test_runs_root_may_be_named(monkeypatch, tmp_path):
    monkeypatch.delenv("AAE_RUNS", raising=False)
    assert runs_root() == REPOSITORY / "runs"
    monkeypatch.setenv("AAE_RUNS", str(tmp_path))
    assert runs_root() == tmp_path
    assert run_folder(small_recipe(), 4) == tmp_path / "aae-gaussian" / "laptop-seed4"


# Found and listed


def test_runs_are_found_by_name(tmp_path):
    write_run(tmp_path, seed=1)
    assert find_run("aae-gaussian", seed=1, root=tmp_path).seed == 1
    message = sentence(lambda: find_run("aae-mixture", "paper", 2, tmp_path))
    assert str(tmp_path / "aae-mixture" / "paper-seed2") in message
    assert message.endswith("make it with `aae train aae-mixture --setting paper --seed 2`.")


def test_a_run_in_the_place_of_another_is_named(tmp_path):
    write_run(tmp_path, seed=1)
    place = tmp_path / "aae-mixture" / "laptop-seed0"
    shutil.copytree(tmp_path / "aae-gaussian" / "laptop-seed1", place)
    message = sentence(lambda: find_run("aae-mixture", root=tmp_path))
    assert message == f"{place} holds the run aae-gaussian/laptop-seed1: move it to its own place."


def test_listing_finds_runs_and_names_what_is_none(tmp_path):
    for name, seed in (("vae-mixture", 0), ("aae-gaussian", 1), ("aae-gaussian", 0)):
        write_run(tmp_path, name, seed)
    (tmp_path / "aae-gaussian" / "laptop-seed2.partial").mkdir()
    (tmp_path / "aae-gaussian" / ".laptop-seed2.lock").touch()
    (tmp_path / "holiday" / "pictures").mkdir(parents=True)
    found, problems = list_runs(tmp_path)
    names = ["aae-gaussian/laptop-seed0", "aae-gaussian/laptop-seed1", "vae-mixture/laptop-seed0"]
    assert [run.name for run in found] == names
    assert len(problems) == 2
    assert "laptop-seed2.partial is a run in the making" in problems[0]
    assert f"{tmp_path / 'holiday' / 'pictures'} is not a finished run" in problems[1]


def test_listing_an_empty_or_missing_folder_finds_nothing(tmp_path):
    assert list_runs(tmp_path) == ([], [])
    assert list_runs(tmp_path / "missing") == ([], [])


# Folders that are no whole run: named, and never loaded


@pytest.mark.parametrize("missing", [DESCRIPTION, METRICS, WEIGHTS])
def test_a_half_written_run_is_named(missing, tmp_path):
    folder = write_run(tmp_path).folder
    (folder / missing).unlink()
    message = sentence(lambda: load_run(folder))
    assert message == f"{folder} is not a finished run ({missing} is missing): train it again."
    assert list_runs(tmp_path) == ([], [message])


@pytest.mark.parametrize("ending", [".partial", ".writing"])
def test_a_run_in_the_making_is_named_even_if_it_looks_whole(ending, tmp_path):
    folder = write_run(tmp_path).folder
    making = folder.rename(folder.with_name(folder.name + ending))
    message = sentence(lambda: load_run(making))
    assert message.startswith(f"{making} is a run in the making")


@pytest.mark.parametrize("name", [METRICS, WEIGHTS])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "altered"])
def test_damaged_files_are_named(name, damage, tmp_path):
    path = write_run(tmp_path).folder / name
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:-1],
            "emptied": b"",
            "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        }[damage]
    )
    message = sentence(lambda: load_run(path.parent))
    assert message == f"{path} was changed or cut short: restore or train it again."


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / DESCRIPTION
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("recipe"),
        lambda values: values.pop("sha256"),
        lambda values: values["sha256"].pop(WEIGHTS),
        lambda values: values.update(sha256=[]),
        lambda values: values.update(seed="first"),
        lambda values: values.update(results=None),
        lambda values: values.update(environment=5),
        lambda values: values.update(recipe="aae-gaussian"),
        lambda values: values["recipe"].update(training=[]),
    ],
)
def test_an_edited_description_is_named(change, tmp_path):
    folder = write_run(tmp_path).folder
    edit(folder, change)
    message = sentence(lambda: load_run(folder))
    assert message.startswith(f"{folder / DESCRIPTION} is not the description of a run: ")
    assert list_runs(tmp_path) == ([], [message])


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"recipe": 1}', "\x00\x01"])
def test_a_description_that_is_none_is_named(content, tmp_path):
    folder = write_run(tmp_path).folder
    (folder / DESCRIPTION).write_text(content)
    assert "is not the description of a run" in sentence(lambda: load_run(folder))


def test_a_description_that_is_no_text_is_named(tmp_path):
    folder = write_run(tmp_path).folder
    (folder / DESCRIPTION).write_bytes(b"\xff\xfe\x00")
    assert "is not the description of a run" in sentence(lambda: load_run(folder))


def test_a_recipe_of_another_version_is_named(tmp_path):
    folder = write_run(tmp_path).folder
    edit(folder, lambda values: values["recipe"]["model"].update(attention_heads=8))
    message = sentence(lambda: load_run(folder))
    assert "This is not a recipe of this version" in message
    assert "attention_heads" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["recipe"]["model"].update(units=9),
        lambda values: values["recipe"]["model"].update(variant="semi-supervised"),
        lambda values: values["recipe"]["model"].update(variant="transformer"),
        lambda values: values["recipe"]["model"].update(units="many"),
        lambda values: values["recipe"].update(keep=["encoder"]),
        lambda values: values.update(image_dim=PIXELS + 1),
    ],
)
def test_weights_of_another_model_are_never_loaded(change, tmp_path):
    folder = write_run(tmp_path).folder
    edit(folder, change)
    run = load_run(folder)
    message = sentence(run.model)
    assert message == f"The weights in {folder} are of another model: train the run again."


# Trouble when writing


def fail(*_args: object, **_options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_as_safetensors_does(*_args: object, **_options: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("place", "failure"),
    [
        ("save_file", fail_as_safetensors_does),
        ("save_file", fail),
        ("pd.DataFrame.to_csv", fail),
        ("os.replace", fail),
    ],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(place, failure, tmp_path, monkeypatch):
    monkeypatch.setattr(f"aae_utils.runs.{place}", failure)
    message = sentence(lambda: write_run(tmp_path))
    assert message.startswith(
        f"The run could not be written to {tmp_path / 'aae-gaussian' / 'laptop-seed0'} ("
    )
    assert "No space left on device" in message
    assert message.endswith("give the same command again; no training is lost.")
    assert list((tmp_path / "aae-gaussian").iterdir()) == []


def test_what_a_killed_process_left_is_written_over(tmp_path):
    left = tmp_path / "aae-gaussian" / "laptop-seed0.writing"
    left.mkdir(parents=True)
    (left / "old").touch()
    folder = write_run(tmp_path).folder
    assert sorted(path.name for path in folder.iterdir()) == [METRICS, DESCRIPTION, WEIGHTS]
    assert not left.exists()


# The runs in this repository


def tracked_files() -> list[Path]:
    """Files below runs/ that belong to the repository; all of them in a copy that git does not know."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--", "runs"],
            capture_output=True,
            text=True,
            check=True,
        )
        names = [name for name in answer.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "runs").rglob("*")]
    return [REPOSITORY / name for name in names if (REPOSITORY / name).is_file()]


TRACKED = tracked_files()
SHIPPED = sorted({path.parent for path in TRACKED if path.parent != REPOSITORY / "runs"})


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_shipped_run_is_whole(folder):
    run = load_run(folder)
    assert folder == REPOSITORY / "runs" / run.name
    assert run.recipe.name in recipe_names()
    assert sorted(path.name for path in TRACKED if path.parent == folder) == [METRICS, DESCRIPTION, WEIGHTS]
    history = run.history()
    assert history["epoch"].tolist() == list(range(1, run.recipe.training.epochs + 1))
    # stored in tenths of a second
    assert run.seconds == pytest.approx(history["seconds"].sum(), rel=1e-3, abs=0.051)
    assert run.results
    assert all(torch.isfinite(value).all() for value in run.model().state_dict().values())


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_shipped_run_speaks_of_no_place_on_the_machine_that_made_it(folder):
    described = (folder / DESCRIPTION).read_text()
    places = "|".join(("home", "root", "tmp", "Users"))
    assert not re.search(rf"(/({places})/|\\\\Users)", described)


def test_shipped_weights_stay_within_120_megabytes():
    sizes = [path.stat().st_size for path in TRACKED if path.name == WEIGHTS]
    assert len(sizes) == len(SHIPPED)
    assert sum(sizes) <= 120e6


def test_weights_are_read_by_safetensors_alone(tmp_path):
    folder = write_run(tmp_path).folder
    # a file of another format in its place, with its checksum in order
    torch.save({"encoder": torch.zeros(2)}, folder / WEIGHTS)
    edit(folder, lambda values: values["sha256"].update({WEIGHTS: runs._sha256(folder / WEIGHTS)}))
    assert "are of another model" in sentence(load_run(folder).model)
    save_file({"encoder": torch.zeros(2)}, folder / WEIGHTS)
    edit(folder, lambda values: values["sha256"].update({WEIGHTS: runs._sha256(folder / WEIGHTS)}))
    assert "are of another model" in sentence(load_run(folder).model)
