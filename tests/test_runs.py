from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from aae_utils.checkpoints import whole_file
from aae_utils.descriptions import DescriptionError, difference_of, from_plain, to_plain
from aae_utils.recipes import SETTINGS, Recipe, shrink
from aae_utils.runs import (
    DESCRIPTION,
    FILM,
    FORMAT,
    METRICS,
    WEIGHTS,
    Description,
    Run,
    RunError,
    StartedFrom,
    add_results,
    as_root,
    deviation,
    existing_root,
    find_run,
    keep_record,
    list_runs,
    load_run,
    network_names,
    rounded_weights,
    run_folder,
    runs_root,
    save_run,
    sha256,
    this_part,
    withhold,
)
from aae_utils.variants import get_recipe, recipe_names

pytestmark = pytest.mark.usefixtures("one_thread")

REPOSITORY = Path(__file__).resolve().parents[1]
PIXELS = 30
HISTORY = [
    {"epoch": 1.0, "reconstruction": 12.5, "seconds": 1.25, "images_per_second": 800.0},
    {"epoch": 2.0, "reconstruction": 10.0, "seconds": 1.5, "images_per_second": 700.0},
]
RESULTS = {"sliced_wasserstein": 0.1 + 0.2, "reconstruction_error": 9.75}
FRAMES = ({"codes": torch.arange(6.0).view(1, 3, 2).half()}, {"losses": "generator"})


def small_recipe(name: str = "vae-mixture") -> Recipe:
    return shrink(get_recipe(name), units=8)


def small_model(recipe: Recipe) -> nn.Module:
    torch.manual_seed(0)
    return recipe.model.build(PIXELS)


def write_run(root: Path, recipe: Recipe | None = None, seed: int = 0, **changes: object) -> Run:
    recipe = recipe or small_recipe()
    parts = (this_part(1, "cpu", "float32"),)
    start = StartedFrom("vae-gaussian/laptop-seed0", "0" * 64)
    description = Description(FORMAT, recipe, seed, PIXELS, RESULTS, 0.0, parts, start, {})
    weights = rounded_weights(small_model(recipe), recipe.keep)
    folder = run_folder(recipe, seed, root)
    film = FRAMES if recipe.film else None
    return save_run(folder, replace(description, **changes), weights, HISTORY, film)


def sentence(call: Callable[[], object]) -> str:
    """The message of the RunError that the call must raise: one line."""
    with pytest.raises(RunError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / DESCRIPTION
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


# Plain values and back


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_comes_back_from_its_description(name, setting):
    recipe = get_recipe(name, setting)
    assert from_plain(json.loads(json.dumps(to_plain(recipe))), Recipe) == recipe


def test_models_priors_and_heads_say_what_they_are():
    mixture, heads = (to_plain(get_recipe(name))["model"] for name in ("aae-mixture", "reduction-10d"))
    assert (mixture["variant"], mixture["prior"]["kind"]) == ("adversarial", "GaussianMixture")
    assert (heads["variant"], heads["heads"]["kind"]) == ("dimensionality-reduction", "FixedHeads")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda recipe: recipe.pop("film"), "film"),
        (lambda recipe: recipe["model"].pop("init_std"), "init_std"),
        (lambda recipe: recipe["model"].pop("variant"), "variant"),
        (lambda recipe: recipe["model"]["prior"].pop("radius"), "radius"),
        (lambda recipe: recipe["training"]["generator"].pop("constant"), "constant"),
        (lambda recipe: recipe["model"].update(label_scale=5), "label_scale"),
        (lambda recipe: recipe["model"].update(variant="transformer"), "transformer"),
        (lambda recipe: recipe["model"].update(units="many"), "units"),
        (lambda recipe: recipe["model"].update(units="8"), "units"),
        (lambda recipe: recipe["model"].update(units=0), "units must be a whole number"),
        (lambda recipe: recipe.update(film=1), "film"),
        (lambda recipe: recipe.update(keep="encoder"), "keep"),
        (lambda recipe: recipe.update(training=[]), "training"),
        (lambda recipe: recipe["training"]["generator"].update(optimizer="rms"), "optimizer"),
        (lambda recipe: recipe["data"].update(labels="some"), "labels"),
    ],
)
def test_nothing_is_completed_or_guessed(change, named):
    values = to_plain(get_recipe("aae-mixture"))
    change(values)
    with pytest.raises(DescriptionError, match=named):
        from_plain(values, Recipe)


def test_the_first_difference_is_named():
    recipe = get_recipe("aae-mixture")
    other = replace(recipe, training=replace(recipe.training, epochs=3))
    assert difference_of(recipe, other) == "training.epochs"
    assert difference_of(recipe, get_recipe("aae-mixture")) == ""


# Written and read again


def test_a_run_is_read_as_it_was_written(tmp_path):
    written = write_run(tmp_path, seed=3)
    run = load_run(str(tmp_path / "vae-mixture" / "laptop-seed3"))
    assert run == written
    assert run.recipe == small_recipe()
    assert (run.name, run.seed, run.image_dim) == ("vae-mixture/laptop-seed3", 3, PIXELS)
    assert run.results == RESULTS
    assert run.seconds == 2.8  # the sum over epochs, to a tenth of a second
    assert run.history().to_dict("records") == HISTORY
    assert run.description.start == StartedFrom("vae-gaussian/laptop-seed0", "0" * 64)


def test_a_run_is_three_files_with_the_rights_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        folder = write_run(tmp_path).folder
    finally:
        os.umask(before)
    found = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert found == [folder / name for name in (METRICS, DESCRIPTION, WEIGHTS)]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o640}


def test_a_film_is_stored_where_the_recipe_asks_for_one(tmp_path):
    run = write_run(tmp_path, replace(small_recipe("vae-gaussian"), film=True))
    tensors, names = load_run(run.folder).film()
    assert torch.equal(tensors["codes"], FRAMES[0]["codes"])
    assert names == FRAMES[1]
    assert "recorded no film" in sentence(write_run(tmp_path).film)
    (run.folder / FILM).unlink()
    assert f"({FILM} is missing)" in sentence(lambda: load_run(run.folder))


@pytest.mark.parametrize("name", recipe_names())
def test_the_kept_weights_come_back_and_the_others_are_refused_by_name(name, tmp_path):
    recipe = small_recipe(name)
    original, model = small_model(recipe), write_run(tmp_path, replace(recipe, film=False)).model()
    parameters = dict(original.named_parameters())
    kept = {key: value for key, value in original.state_dict().items() if key.split(".")[0] in recipe.keep}
    assert not model.training
    assert set(model.state_dict()) == set(kept)
    for key, value in kept.items():
        expected = value.half().float() if key in parameters else value
        assert torch.equal(model.state_dict()[key], expected)
        assert model.state_dict()[key].dtype == value.dtype
    for network in set(network_names(original)) - set(recipe.keep):
        wanted = f"The run {name}/laptop-seed0 did not keep the weights of its {network}"
        with pytest.raises(ValueError, match=wanted):
            getattr(model, network)(torch.zeros(1, 2))


def test_a_stored_film_is_read_by_the_names_of_now(tmp_path):
    run = write_run(tmp_path, replace(small_recipe("vae-gaussian"), film=True))
    answers = torch.arange(4, dtype=torch.uint8).view(1, 2, 2)
    save_file({"critic": answers}, run.folder / FILM, FRAMES[1])
    tensors, names = run.film()
    assert tensors.keys() == {"discriminator"} and names == FRAMES[1]
    assert torch.equal(tensors["discriminator"], answers)


def test_parameters_are_kept_in_float16_and_running_statistics_in_full(tmp_path):
    recipe = small_recipe("clustering-16")
    model = small_model(recipe)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.fill_(0.1)
    weights = rounded_weights(model, recipe.keep)
    statistics = [value for key, value in weights.items() if key.endswith("running_mean")]
    assert statistics
    assert all(torch.equal(value, torch.full_like(value, 0.1)) for value in statistics)
    stored = load_file(write_run(tmp_path).folder / WEIGHTS)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert {key.split(".")[0] for key in stored} == {"encoder", "decoder"}


def test_the_part_of_a_training_is_on_record():
    part = this_part(4, "cpu", "bfloat16")
    assert (part.first_epoch, part.device, part.precision) == (4, "cpu", "bfloat16")
    assert part.torch == torch.__version__
    assert part.threads == torch.get_num_threads()
    assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?|unknown", part.commit)


def test_a_copy_without_git_is_told_its_commit(monkeypatch):
    monkeypatch.setenv("AAE_COMMIT", "0123456789ab")
    assert this_part(1, "cpu", "float32").commit == "0123456789ab"
    monkeypatch.setenv("AAE_COMMIT", "")
    assert this_part(1, "cpu", "float32").commit != ""


def test_the_places_of_a_training_are_told_once_each(tmp_path):
    here = this_part(1, "cpu", "float32")
    there = replace(here, first_epoch=2, device="NVIDIA T4")
    run = write_run(tmp_path, parts=(here, there, replace(there, first_epoch=3)))
    assert run.trained_on == "cpu, 1 thread, then NVIDIA T4"


def test_results_can_be_added_later(tmp_path):
    run = write_run(tmp_path)
    later = add_results(run, {"log_likelihood": 3.5})
    assert later.results == RESULTS | {"log_likelihood": 3.5}
    assert load_run(run.folder) == later
    assert replace(later.description, results=RESULTS) == run.description


# Records without weights


def record_of(root: Path, name: str = "vae-gaussian") -> tuple[Run, Run]:
    """A run with a film, and the record that is kept of it."""
    run = write_run(root, replace(small_recipe(name), film=name == "vae-gaussian"))
    return run, keep_record(run)


def test_a_record_is_the_run_without_its_weights_and_film(tmp_path):
    run, record = record_of(tmp_path)
    assert sorted(path.name for path in record.folder.iterdir()) == [METRICS, DESCRIPTION]
    assert (run.has_weights, record.has_weights) == (True, False)
    sums = {METRICS: run.description.sha256[METRICS]}
    assert record.description == replace(run.description, sha256=sums)
    assert record.history().to_dict("records") == HISTORY


def test_a_record_counts_as_a_whole_run(tmp_path):
    record = keep_record(write_run(tmp_path, get_recipe("baseline-100")))
    assert deviation(record) == ""
    assert list_runs(tmp_path) == ([record], [])
    assert find_run("baseline-100", root=tmp_path) == record
    assert add_results(record, {"more": 1.0}).results == RESULTS | {"more": 1.0}
    assert not load_run(record.folder).has_weights
    assert keep_record(record) == record


@pytest.mark.parametrize("ask", [Run.weights, Run.model, Run.film])
def test_what_was_not_kept_is_one_sentence(ask, tmp_path):
    _, record = record_of(tmp_path)
    assert sentence(lambda: ask(record)) == (
        "Of vae-gaussian/laptop-seed0 only the record was kept, not the weights: train it again with"
        " `aae train vae-gaussian --setting laptop --seed 0 --root runs-own`."
    )


def test_a_record_without_a_film_speaks_of_its_recipe(tmp_path):
    _, record = record_of(tmp_path, "vae-mixture")
    assert sentence(record.film).startswith("vae-mixture/laptop-seed0 recorded no film: ")


def test_the_table_of_a_record_is_still_checked(tmp_path):
    _, record = record_of(tmp_path)
    path = record.folder / METRICS
    path.write_text(path.read_text().replace("12.5", "11.5"))
    assert sentence(lambda: load_run(record.folder)).startswith(f"{path} was changed or cut short: ")


def test_a_record_that_cannot_be_written_is_said_and_loses_nothing(tmp_path, monkeypatch):
    run = write_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        message = sentence(lambda: keep_record(run))
    assert message == f"{run.folder} cannot be written (Permission denied): make it writable."
    assert load_run(run.folder) == run
    assert load_run(run.folder).weights()


# Roots, and runs in them


def test_the_root_may_be_named_in_several_ways(monkeypatch, tmp_path):
    monkeypatch.delenv("AAE_RUNS", raising=False)
    assert runs_root() == REPOSITORY / "runs"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AAE_RUNS", "~/mine")
    assert as_root(None) == runs_root() == tmp_path / "mine"
    assert as_root("~/other") == tmp_path / "other"
    assert run_folder(small_recipe(), 4, "~/x") == tmp_path / "x" / "vae-mixture" / "laptop-seed4"


def test_a_root_that_does_not_exist_is_said(tmp_path):
    assert sentence(lambda: existing_root(str(tmp_path / "none"))).startswith(
        f"There is no folder {tmp_path / 'none'}: "
    )
    assert existing_root(tmp_path) == tmp_path


def test_runs_are_found_by_name(tmp_path):
    write_run(tmp_path, seed=1)
    assert find_run("vae-mixture", seed=1, root=str(tmp_path)).seed == 1
    message = sentence(lambda: find_run("aae-mixture", "paper", 2, tmp_path))
    assert str(tmp_path / "aae-mixture" / "paper-seed2") in message
    command = f"aae train aae-mixture --setting paper --seed 2 --root {tmp_path}"
    assert message.endswith(f"make it with `{command}`.")
    assert sentence(lambda: find_run("aae-mix", root=tmp_path)).endswith("`aae list` names the recipes.")


def test_without_a_seed_the_first_run_with_weights_is_found(tmp_path):
    assert "vae-mixture/laptop-seed0" in sentence(lambda: find_run("vae-mixture", root=tmp_path))
    for seed in (1, 2, 10):
        write_run(tmp_path, seed=seed)
    write_run(tmp_path, replace(small_recipe(), setting="paper"), seed=0)
    assert find_run("vae-mixture", root=tmp_path).seed == 1
    for seed in (1, 2):
        keep_record(find_run("vae-mixture", seed=seed, root=tmp_path))
    found = find_run("vae-mixture", root=tmp_path)
    assert (found.seed, found.recipe.setting) == (10, "laptop")
    # where none has weights, the record of seed 0
    keep_record(found)
    keep_record(write_run(tmp_path, seed=0))
    assert find_run("vae-mixture", root=tmp_path).seed == 0


def test_listing_finds_runs_and_names_what_is_none(tmp_path):
    for name, seed in (("vae-mixture", 0), ("vae-gaussian", 1), ("vae-gaussian", 0)):
        write_run(tmp_path, replace(small_recipe(name), film=False), seed)
    (tmp_path / "vae-gaussian" / "laptop-seed2.partial").mkdir()
    (tmp_path / "vae-gaussian" / ".laptop-seed2.lock").touch()
    (tmp_path / "holiday" / "pictures").mkdir(parents=True)
    damaged = write_run(tmp_path, seed=5).folder
    (damaged / DESCRIPTION).write_text("{")
    found, problems = list_runs(tmp_path)
    names = ["vae-gaussian/laptop-seed0", "vae-gaussian/laptop-seed1", "vae-mixture/laptop-seed0"]
    assert [run.name for run in found] == names
    assert [problem.split(" is ")[0] for problem in problems] == [
        str(tmp_path / "holiday" / "pictures"),
        str(tmp_path / "vae-gaussian" / "laptop-seed2.partial"),
        str(damaged / DESCRIPTION),
    ]
    assert list_runs(tmp_path / "missing") == ([], [])


def test_a_genuine_run_is_known_from_inside_its_folder_too(tmp_path, monkeypatch):
    run = write_run(tmp_path, get_recipe("baseline-100"))
    for place, name in ((run.folder, "."), (run.folder.parent, run.folder.name)):
        monkeypatch.chdir(place)
        assert deviation(load_run(name)) == ""


def test_only_unchanged_runs_of_the_book_in_their_place_are_genuine(tmp_path):
    recipe = get_recipe("baseline-100")
    true = write_run(tmp_path, recipe)
    assert not deviation(true)
    shrunk = write_run(tmp_path / "shrunk", shrink(recipe))
    assert deviation(shrunk) == (
        "baseline-100/laptop-seed0 was trained with another model.units than its recipe"
    )
    own = write_run(tmp_path, replace(recipe, name="mine"))
    assert deviation(own) == "mine/laptop-seed0 is of no recipe of the book"
    moved = load_run(shutil.copytree(true.folder, tmp_path / "baseline-100" / "laptop-seed7"))
    assert deviation(moved) == f"{moved.folder} holds the run baseline-100/laptop-seed0"
    message = sentence(lambda: find_run("baseline-100", seed=7, root=tmp_path))
    assert message == f"{deviation(moved)}: move it to its own place."


# Folders that are no whole run: named, and never loaded


def test_a_folder_that_does_not_exist_is_said(tmp_path):
    message = sentence(lambda: load_run(tmp_path / "none"))
    assert message == f"There is no folder {tmp_path / 'none'}: name the folder of a run."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed", [".", DESCRIPTION, METRICS, WEIGHTS, ".."])
def test_what_may_not_be_read_is_named_and_stops_nothing(closed, tmp_path):
    path = (write_run(tmp_path, seed=1).folder / closed).resolve()
    write_run(tmp_path, replace(small_recipe(), name="other"))
    path.chmod(0)
    found, problems = list_runs(tmp_path)
    path.chmod(0o700)
    assert [run.name for run in found] == ["other/laptop-seed0"]
    (problem,) = problems
    assert "cannot be read (Permission denied)" in problem


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("method", ["read_bytes", "open", "stat"])
def test_a_run_that_may_not_be_read_is_named(method, tmp_path, monkeypatch):
    folder = write_run(tmp_path).folder
    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        assert "cannot be read (Permission denied): " in sentence(lambda: load_run(folder))


def test_a_root_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        assert f"{tmp_path} cannot be read (" in sentence(lambda: existing_root(tmp_path))


@pytest.mark.parametrize("content", ["", "epoch,loss\n", "a\n1\n", 'epoch\n"1\n', "epoch\n1\n1,2,3\n"])
def test_a_table_that_is_none_is_named(content, tmp_path):
    run = write_run(tmp_path)
    (run.folder / METRICS).write_text(content)
    message = sentence(run.history)
    assert message.startswith(f"{run.folder / METRICS} is not a table of numbers over time (")


@pytest.mark.parametrize(
    ("field", "value"), [("image_dim", -4), ("seconds", -1.0), ("seed", -1), ("parts", [])]
)
def test_a_description_of_nothing_possible_is_refused(field, value, tmp_path):
    path = write_run(tmp_path).folder / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    message = sentence(lambda: load_run(path.parent))
    assert message.startswith(f"{path} is not the description of a run (")
    assert field in message


@pytest.mark.parametrize("missing", [DESCRIPTION, METRICS, WEIGHTS])
def test_a_half_written_run_is_named(missing, tmp_path):
    folder = write_run(tmp_path).folder
    (folder / missing).unlink()
    assert sentence(lambda: load_run(folder)) == (
        f"{folder} is not a finished run ({missing} is missing): delete the folder, then train it again."
    )


@pytest.mark.parametrize("ending", [".partial", ".writing"])
def test_a_run_in_the_making_is_named_even_if_it_looks_whole(ending, tmp_path):
    folder = write_run(tmp_path).folder
    making = folder.rename(folder.with_name(folder.name + ending))
    assert sentence(lambda: load_run(making)).startswith(f"{making} is a run in the making")


@pytest.mark.parametrize("name", [METRICS, WEIGHTS])
@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_files_are_named(name, damage, tmp_path):
    path = write_run(tmp_path).folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-1] if damage == "truncated" else content)
    message = sentence(lambda: load_run(path.parent))
    assert message.startswith(f"{path} was changed or cut short: ")


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("recipe"),
        lambda values: values.pop("start"),
        lambda values: values.update(seed="first"),
        lambda values: values.update(results=None),
        lambda values: values.update(mood="good"),
        lambda values: values["parts"][0].pop("commit"),
        lambda values: values["recipe"].pop("film"),
        lambda values: values.update(sha256=[]),
    ],
)
def test_an_edited_description_is_named(change, tmp_path):
    folder = write_run(tmp_path).folder
    edit(folder, change)
    message = sentence(lambda: load_run(folder))
    assert message.startswith(f"{folder / DESCRIPTION} is not the description of a run (")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"recipe": 1}', b"\x00\x01", b"\xff\xfe\x00"])
def test_a_description_that_is_none_is_named(content, tmp_path):
    folder = write_run(tmp_path).folder
    (folder / DESCRIPTION).write_bytes(content)
    assert "is not the description of a run" in sentence(lambda: load_run(folder))


@pytest.mark.parametrize("version", [None, 1, 3])
def test_another_format_is_named(version, tmp_path):
    folder = write_run(tmp_path).folder
    edit(folder, lambda values: values.update(format=version) if version else values.pop("format"))
    assert f"its format is {version}, and this program reads {FORMAT}" in sentence(lambda: load_run(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["recipe"]["model"].update(units=9),
        lambda values: values["recipe"].update(keep=["encoder"]),
        lambda values: values.update(image_dim=PIXELS + 1),
    ],
)
def test_weights_of_another_model_are_never_loaded(change, tmp_path):
    folder = write_run(tmp_path).folder
    edit(folder, change)
    message = sentence(load_run(folder).model)
    assert message.startswith(f"The weights in {folder} are of another model: ")


def test_too_little_memory_does_not_make_weights_another_models(tmp_path, monkeypatch):
    run = write_run(tmp_path)

    def build(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(type(run.recipe.model), "build", build)
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        run.model()
    assert not isinstance(caught.value, RunError)


def test_weights_are_read_by_safetensors_alone(tmp_path):
    folder = write_run(tmp_path).folder
    for write in (torch.save, save_file):  # a pickle, and foreign weights, with their checksums in order
        write({"encoder": torch.zeros(2)}, folder / WEIGHTS)
        edit(folder, lambda values: values["sha256"].update({WEIGHTS: sha256(folder / WEIGHTS)}))
        assert "are of another model" in sentence(load_run(folder).model)


# Trouble when writing


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_run(tmp_path)
    assert list((tmp_path / "vae-mixture").iterdir()) == []


def test_files_are_on_the_disk_before_they_get_their_names(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("rename"), rename(old, new)))
    with whole_file(tmp_path / "file") as file:
        file.write(b"content")
    assert done[:2] == ["fsync", "rename"]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    left = tmp_path / "vae-mixture" / "laptop-seed0.writing"
    left.mkdir(parents=True)
    (left / "old").touch()
    folder = write_run(tmp_path).folder
    assert sorted(path.name for path in folder.iterdir()) == [METRICS, DESCRIPTION, WEIGHTS]
    assert not left.exists()


def test_networks_can_be_withheld_from_any_model():
    model = small_model(small_recipe("semi-supervised-100"))
    withhold(model, ("encoder",), "mine")
    assert {name.split(".")[0] for name in model.state_dict()} == {"encoder"}
    model.encoder(torch.rand(2, PIXELS))
    with pytest.raises(ValueError, match="The run mine did not keep the weights of its decoder"):
        model.decode(torch.zeros(1, 10), torch.zeros(1, 10))


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
def test_a_shipped_run_is_whole_and_genuine(folder):
    run = load_run(folder)
    assert deviation(run) == ""
    names = {METRICS, DESCRIPTION}
    if run.has_weights:
        names |= {WEIGHTS, FILM} if run.recipe.film else {WEIGHTS}
    assert {path.name for path in TRACKED if path.parent == folder} == names
    history = run.history()
    assert history["epoch"].tolist() == list(range(1, run.recipe.training.epochs + 1))
    # stored in tenths of a second
    assert run.seconds == pytest.approx(history["seconds"].sum(), rel=1e-3, abs=0.051)
    assert run.results
    if run.has_weights:
        assert all(torch.isfinite(value).all() for value in run.model().state_dict().values())


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_shipped_run_started_from_the_shipped_run_that_it_names(folder):
    start = load_run(folder).description.start
    weights = start and REPOSITORY / "runs" / start.run / WEIGHTS
    assert not (weights and weights.exists()) or start.sha256 == sha256(weights)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_shipped_run_speaks_of_no_place_on_the_machine_that_made_it(folder):
    described = (folder / DESCRIPTION).read_text()
    places = "|".join(("home", "root", "tmp", "Users"))
    assert not re.search(rf"(/({places})/|\\\\Users)", described)


def test_shipped_weights_stay_within_120_megabytes():
    sizes = [path.stat().st_size for path in TRACKED if path.suffix == ".safetensors"]
    assert len(sizes) >= sum(load_run(folder).has_weights for folder in SHIPPED) > 0
    assert sum(sizes) <= 120e6
