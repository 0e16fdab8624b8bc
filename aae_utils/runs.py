"""A run on disk: recipe, seed, numbers over time, machines, results and float16 weights in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from aae_utils import __version__
from aae_utils.checkpoints import sync_folder, whole_file
from aae_utils.checks import require_number, require_whole
from aae_utils.descriptions import DescriptionError, difference_of, from_plain, to_plain
from aae_utils.errors import out_of_memory
from aae_utils.film import present_name
from aae_utils.networks import MissingNetwork
from aae_utils.recipes import Recipe, Setting
from aae_utils.variants import get_recipe, recipe_names

FORMAT = 2
DESCRIPTION = "run.json"
METRICS = "metrics.csv"
WEIGHTS = "weights.safetensors"
FILM = "film.safetensors"
OWN_RUNS = "runs-own"
"""Where a reader is advised to train what is shipped as a record alone."""
PARTIAL = ".partial"
WRITING = ".writing"

Film = tuple[dict[str, Tensor], dict[str, str]]


class RunError(ValueError):
    """A folder is not a whole run of this project, or a run cannot be written."""


@dataclass(frozen=True)
class Part:
    """Where a stretch of the training ran: code, versions and machine."""

    first_epoch: int
    """Its first epoch; from -1 on where two epochs were prepared before the first (`equilibrium`)."""
    aae_utils: str
    commit: str
    python: str
    torch: str
    machine: str
    system: str
    threads: int
    device: str
    precision: str

    def __post_init__(self) -> None:
        require_whole("first_epoch", self.first_epoch, least=-1)
        require_whole("threads", self.threads)

    @property
    def place(self) -> str:
        """For people: the device, with its threads if it is a processor."""
        if self.device != "cpu":
            return self.device
        return f"cpu, {self.threads} thread{'' if self.threads == 1 else 's'}"


@dataclass(frozen=True)
class StartedFrom:
    """The run whose weights were the initial ones."""

    run: str
    """Recipe, setting and seed."""
    sha256: str
    """Of its weights."""


@dataclass(frozen=True)
class Description:
    """All of a run that is text: what was trained where, and the numbers that its weights reach."""

    format: int
    recipe: Recipe
    seed: int
    image_dim: int
    results: dict[str, float]
    seconds: float
    parts: tuple[Part, ...]
    start: StartedFrom | None
    sha256: dict[str, str]

    def __post_init__(self) -> None:
        require_whole("seed", self.seed, least=0)
        require_whole("image_dim", self.image_dim)
        require_number("seconds", self.seconds, least=0)
        if not self.parts:
            raise ValueError("parts names no place of the training.")


@dataclass(frozen=True)
class Run:
    """A finished run in its folder."""

    folder: Path
    description: Description

    @property
    def recipe(self) -> Recipe:
        """What was trained."""
        return self.description.recipe

    @property
    def seed(self) -> int:
        """The seed of its weights, order and labels; of its noise, too, unless a stack shared that."""
        return self.description.seed

    @property
    def image_dim(self) -> int:
        """Number of pixels of its images."""
        return self.description.image_dim

    @property
    def results(self) -> dict[str, float]:
        """The numbers that its weights reach on the test images."""
        return self.description.results

    @property
    def seconds(self) -> float:
        """How long the training took."""
        return self.description.seconds

    @property
    def parts(self) -> tuple[Part, ...]:
        """Where it was trained; several, if it was interrupted and continued elsewhere."""
        return self.description.parts

    @property
    def name(self) -> str:
        """For people: recipe, setting and seed."""
        return run_name(self.recipe, self.seed)

    @property
    def trained_on(self) -> str:
        """For people: the devices on which it was trained, with the threads that a processor gave it."""
        return ", then ".join(dict.fromkeys(part.place for part in self.parts))

    def history(self) -> pd.DataFrame:
        """One row for each epoch: losses, images per second, validation numbers. RunError for no table."""
        path = self.folder / METRICS
        try:
            table = pd.read_csv(path)
        except (ValueError, OSError) as error:  # the errors of pandas' parser are ValueErrors
            reason = " ".join(str(error).split()).rstrip(".")
            raise RunError(f"{path} is not a table of numbers over time ({reason}): restore it.") from error
        if table.empty or "epoch" not in table:
            raise RunError(f"{path} is not a table of numbers over time (it has no epochs): restore it.")
        return table

    def film(self) -> Film:
        """How q(z) moved: tensors and the names of the losses, see `film.Film.tensors`."""
        if not self.recipe.film:
            raise RunError(f"{self.name} recorded no film: train a recipe with film=True.")
        self._require_weights()
        with safetensors.safe_open(self.folder / FILM, framework="pt") as file:
            tensors = {present_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata()

    def model(self, device: torch.device | str = "cpu") -> nn.Module:
        """The trained model, ready to evaluate; a network that was not kept refuses, by name, to answer."""
        self._require_weights()
        try:
            model = self.recipe.model.build(self.image_dim)
            withhold(model, self.recipe.keep, self.name)
            model.load_state_dict({name: _full(value) for name, value in self.weights().items()})
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            if out_of_memory(error):
                raise
            raise RunError(
                f"The weights in {self.folder} are of another model: delete the folder, then train it again."
            ) from error
        return model.to(device).eval()

    @property
    def has_weights(self) -> bool:
        """Whether the weights were kept; of most seeds only the record is shipped."""
        return WEIGHTS in self.description.sha256

    def weights(self) -> dict[str, Tensor]:
        """The stored weights by name: parameters in float16, running statistics as they are."""
        self._require_weights()
        return safetensors.torch.load_file(self.folder / WEIGHTS)

    def _require_weights(self) -> None:
        if not self.has_weights:
            command = training_command(self.recipe.name, self.recipe.setting, self.seed, OWN_RUNS)
            raise RunError(
                f"Of {self.name} only the record was kept, not the weights: train it again with `{command}`."
            )


def _full(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


# Names and places


def runs_root() -> Path:
    """Where runs lie: the folder named by AAE_RUNS, else `runs/` of the repository."""
    named = os.environ.get("AAE_RUNS")
    return Path(named).expanduser() if named else Path(__file__).resolve().parent.parent / "runs"


def as_root(root: Path | str | None) -> Path:
    """A folder of runs as a path, `~` expanded; None is the usual one."""
    return runs_root() if root is None else Path(root).expanduser()


def existing_root(root: Path | str | None) -> Path:
    """A folder of runs that is there; a RunError says so where it is not."""
    folder = as_root(root)
    try:
        there = folder.is_dir()
        if there:
            os.listdir(folder)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be read ({error.strerror or error}): make it readable, or name another folder"
            " of runs by --root or AAE_RUNS."
        ) from error
    if not there:
        raise RunError(f"There is no folder {folder}: name the folder of the runs by --root or AAE_RUNS.")
    return folder


def run_name(recipe: Recipe, seed: int) -> str:
    """For people, and where a run lies below its root: recipe, setting and seed."""
    return f"{recipe.name}/{recipe.setting}-seed{seed}"


def run_folder(recipe: Recipe, seed: int, root: Path | str | None = None) -> Path:
    """The folder of one run: root/recipe/setting-seedN."""
    return as_root(root) / run_name(recipe, seed)


def training_command(name: str, setting: Setting, seed: int, root: Path | str | None) -> str:
    """The command that makes a run of a recipe below `root`."""
    folder = as_root(root)
    place = "" if folder == runs_root() else f" --root {shlex.quote(str(folder))}"
    return f"aae train {name} --setting {setting} --seed {seed}{place}"


def find_run(
    name: str, setting: Setting = "laptop", seed: int | None = None, root: Path | str | None = None
) -> Run:
    """The run of a recipe by name; RunError says how to make it where there is none.

    Without a seed, the first one whose weights were kept.
    """
    place = as_root(root) / name
    if seed is None:
        seed = shipped_seed(place, setting)
    folder = place / f"{setting}-seed{seed}"
    if not folder.exists():
        command = f"make it with `{training_command(name, setting, seed, root)}`"
        if name not in recipe_names():
            command = "`aae list` names the recipes"
        raise RunError(f"There is no run in {folder}: {command}.")
    run = load_run(folder)
    if run.name != f"{name}/{setting}-seed{seed}":
        raise RunError(f"{folder} holds the run {run.name}: move it to its own place.")
    return run


def shipped_seed(place: Path, setting: Setting) -> int:
    """The lowest seed in the folder `place` of a recipe whose run has weights, else 0."""
    found = [re.fullmatch(rf"{setting}-seed(\d+)", path.parent.name) for path in place.glob(f"*/{WEIGHTS}")]
    return min((int(match[1]) for match in found if match), default=0)


def list_runs(root: Path | str | None = None) -> tuple[list[Run], list[str]]:
    """Every finished run below `root`, and one sentence for each folder that is not one."""
    found: list[Run] = []
    problems: list[str] = []
    for place in _folders_in(as_root(root), problems):
        for folder in _folders_in(place, problems):
            try:
                found.append(load_run(folder))
            except RunError as error:
                problems.append(str(error))
    return found, problems


def _folders_in(place: Path, problems: list[str]) -> list[Path]:
    """The folders in a folder, sorted; one that cannot be read is added to the problems."""
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(_unreadable(place, error))
        return []


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror or error}): make it readable, or move it away."


# Only genuine runs count


def deviation(run: Run) -> str:
    """Why a run does not count as one of its recipe; empty where it does."""
    recipe = run.recipe
    if recipe.name not in recipe_names():
        return f"{run.name} is of no recipe of the book"
    if run.folder.absolute().parts[-2:] != (recipe.name, f"{recipe.setting}-seed{run.seed}"):
        return f"{run.folder} holds the run {run.name}"
    field = difference_of(recipe, get_recipe(recipe.name, recipe.setting))
    return f"{run.name} was trained with another {field} than its recipe" if field else ""


# Weights


def withhold(model: nn.Module, keep: tuple[str, ...], run: str) -> None:
    """Take the networks that a run does not keep from a model; they are named to whoever asks for them."""
    for name in network_names(model):
        if name not in keep:
            setattr(model, name, MissingNetwork(run, name))


def network_names(model: nn.Module) -> list[str]:
    """The networks of a model, which a run may keep."""
    return [name for name, _ in model.named_children()]


def rounded_weights(model: nn.Module, keep: tuple[str, ...]) -> dict[str, Tensor]:
    """The kept networks' weights as they are stored: parameters in float16, running statistics in full."""
    parameters = {name for name, _ in model.named_parameters()}
    return {
        name: (value.half() if name in parameters else value).cpu().contiguous()
        for name, value in model.state_dict().items()
        if name.split(".")[0] in keep
    }


# Written and read


def save_run(
    folder: Path,
    description: Description,
    weights: dict[str, Tensor],
    history: list[dict[str, float]],
    film: Film | None = None,
) -> Run:
    """Write a run beside its final place and move it there at once; OSError when it cannot be written.

    The description gets its `seconds` and `sha256` here.
    """
    partial = folder.with_name(folder.name + WRITING)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(partial / WEIGHTS, safetensors.torch.save(weights))
        table = pd.DataFrame(history).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        _write(partial / METRICS, table.encode())
        if film is not None:
            _write(partial / FILM, safetensors.torch.save(*film))
        seconds = round(sum(row["seconds"] for row in history), 1)
        sums = {path.name: sha256(path) for path in sorted(partial.iterdir())}
        _describe(partial, replace(description, seconds=seconds, sha256=sums))
        os.replace(partial, folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return load_run(folder)


def _describe(folder: Path, description: Description) -> None:
    text = json.dumps(to_plain(description), indent=1, allow_nan=False)
    _write(folder / DESCRIPTION, text.encode() + b"\n")


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)


def add_results(run: Run, results: dict[str, float]) -> Run:
    """Store numbers that were computed later from a run's weights; RunError when that cannot be written."""
    try:
        _describe(run.folder, replace(run.description, results=run.results | results))
    except OSError as error:
        raise RunError(
            f"{run.folder / DESCRIPTION} cannot be written ({error.strerror or error}): make it writable."
        ) from error
    return load_run(run.folder)


def load_run(folder: Path | str) -> Run:
    """Read a run; RunError says in one sentence why a folder is not a whole run."""
    folder = Path(folder).expanduser()
    if folder.name.endswith((PARTIAL, WRITING)):
        raise RunError(f"{folder} is a run in the making: finish it with the command that began it.")
    try:
        return _read_run(folder)
    except OSError as error:
        raise RunError(_unreadable(Path(error.filename or folder), error)) from error


def _read_run(folder: Path) -> Run:
    if not stat.S_ISDIR(_mode(folder)):
        raise RunError(f"There is no folder {folder}: name the folder of a run.")
    _require_file(folder, DESCRIPTION)
    description = _read_description(folder / DESCRIPTION)
    for name in _file_names(description):
        _require_file(folder, name)
        if description.sha256.get(name) != sha256(folder / name):
            raise RunError(
                f"{folder / name} was changed or cut short: restore it, or delete the folder and train"
                " the run again."
            )
    return Run(folder, description)


def _file_names(description: Description) -> list[str]:
    if WEIGHTS not in description.sha256:
        return [METRICS]
    return [METRICS, WEIGHTS, *[FILM] * description.recipe.film]


def keep_record(run: Run) -> Run:
    """Delete a run's weights and film and keep its record; RunError when that cannot be written."""
    sums = {name: value for name, value in run.description.sha256.items() if name == METRICS}
    try:
        _describe(run.folder, replace(run.description, sha256=sums))
        for name in (WEIGHTS, FILM):
            (run.folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"{run.folder} cannot be written ({error.strerror or error}): make it writable."
        ) from error
    return load_run(run.folder)


def _require_file(folder: Path, name: str) -> None:
    if not stat.S_ISREG(_mode(folder / name)):
        raise RunError(
            f"{folder} is not a finished run ({name} is missing): delete the folder, then train it again."
        )


def _mode(path: Path) -> int:
    """What lies at a path, for `stat`, 0 for nothing; OSError where nobody may look."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _read_description(path: Path) -> Description:
    text = path.read_bytes()
    try:
        values = json.loads(text.decode())
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise DescriptionError(f"its format is {values.get('format')!r}, and this program reads {FORMAT}")
        return from_plain(values, Description)
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not the description of a run ({error}): restore it, or delete the folder and train"
            " the run again."
        ) from error


def this_part(first_epoch: int, device: torch.device | str, precision: str) -> Part:
    """Versions, code and machine of this process, for the record."""
    device = torch.device(device)
    return Part(
        first_epoch,
        __version__,
        _commit(),
        platform.python_version(),
        torch.__version__,
        platform.machine(),
        platform.system(),
        torch.get_num_threads(),
        torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision,
    )


def _commit() -> str:
    """The commit of this package's code, marked `+changes` where the files differ from it.

    A copy without git takes it from AAE_COMMIT.
    """
    if named := os.environ.get("AAE_COMMIT"):
        return named
    here = str(Path(__file__).resolve().parent)
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", here, *command], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for command in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "."))
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+changes" if changes else "")


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
