"""A run on disk: recipe, seed, numbers over time, machine, results and float16 weights in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aae_utils import __version__
from aae_utils.recipes import Recipe, Setting, build_model

DESCRIPTION = "run.json"
METRICS = "metrics.csv"
WEIGHTS = "weights.safetensors"
PARTIAL = ".partial"


class RunError(ValueError):
    """A folder is not a whole run of this project, or a run cannot be written."""


@dataclass(frozen=True)
class Run:
    """A finished run: what was trained, how it went, and the numbers that its weights reach."""

    folder: Path
    recipe: Recipe
    seed: int
    image_dim: int
    results: dict[str, float]
    environment: dict[str, Any]
    seconds: float

    @property
    def name(self) -> str:
        """For people: recipe, setting and seed."""
        return f"{self.recipe.name}/{self.recipe.setting}-seed{self.seed}"

    def history(self) -> pd.DataFrame:
        """One row for each epoch: losses, images per second, validation numbers."""
        return pd.read_csv(self.folder / METRICS)

    def model(self, device: torch.device | str = "cpu") -> nn.Module:
        """The trained model, ready to evaluate; networks that were not kept are freshly initialized."""
        try:
            weights = {k: v.float() if v.is_floating_point() else v for k, v in self._weights().items()}
            model = build_model(self.recipe.model, self.image_dim)
            expected = {name for name in model.state_dict() if name.split(".")[0] in self.recipe.keep}
            if set(weights) != expected:
                raise ValueError("other networks")
            model.load_state_dict(weights, strict=False)
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise RunError(
                f"The weights in {self.folder} are of another model: train the run again."
            ) from error
        return model.to(device).eval()

    def _weights(self) -> dict[str, Tensor]:
        return load_file(self.folder / WEIGHTS)


def runs_root() -> Path:
    """Where runs lie: the folder named by AAE_RUNS, else `runs/` of the repository."""
    named = os.environ.get("AAE_RUNS")
    return Path(named) if named else Path(__file__).resolve().parent.parent / "runs"


def run_folder(recipe: Recipe, seed: int, root: Path | None = None) -> Path:
    """The folder of one run: root/recipe/setting-seedN."""
    return (root or runs_root()) / recipe.name / f"{recipe.setting}-seed{seed}"


def rounded_weights(model: nn.Module, keep: tuple[str, ...]) -> dict[str, Tensor]:
    """The kept networks' weights as they are stored: parameters in float16, running averages as they are."""
    parameters = {name for name, _ in model.named_parameters()}
    return {
        name: (value.half() if name in parameters else value).cpu().contiguous()
        for name, value in model.state_dict().items()
        if name.split(".")[0] in keep
    }


def save_run(
    folder: Path,
    recipe: Recipe,
    seed: int,
    image_dim: int,
    weights: dict[str, Tensor],
    history: list[dict[str, float]],
    results: dict[str, float],
    machine: dict[str, Any],
) -> Run:
    """Write a run beside its final place and move it there at once; RunError when it cannot be written."""
    partial = folder.with_name(folder.name + ".writing")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(weights, partial / WEIGHTS)
        pd.DataFrame(history).to_csv(partial / METRICS, index=False, float_format="%.6g")
        description = {
            "recipe": recipe.to_json(),
            "seed": seed,
            "image_dim": image_dim,
            "results": results,
            "seconds": round(sum(row["seconds"] for row in history), 1),
            "environment": machine,
            "sha256": {name: _sha256(partial / name) for name in (METRICS, WEIGHTS)},
        }
        (partial / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
        os.replace(partial, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"The run could not be written to {folder} ({reason}): free some space or"
            " choose another folder, then give the same command again; no training is lost."
        ) from error
    return load_run(folder)


def add_results(run: Run, results: dict[str, float]) -> Run:
    """Store numbers that were computed later from a run's weights; RunError when that cannot be written."""
    path = run.folder / DESCRIPTION
    partial = path.with_suffix(".writing")
    try:
        values = json.loads(path.read_text())
        values["results"] |= results
        partial.write_text(json.dumps(values, indent=1) + "\n")
        os.replace(partial, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}).") from error
    return load_run(run.folder)


def load_run(folder: Path | str) -> Run:
    """Read a run; RunError says in one sentence why a folder is not a whole run."""
    folder = Path(folder)
    if folder.name.endswith((PARTIAL, ".writing")):
        raise RunError(f"{folder} is a run in the making: finish it with the command that began it.")
    for name in (DESCRIPTION, METRICS, WEIGHTS):
        if not (folder / name).is_file():
            raise RunError(f"{folder} is not a finished run ({name} is missing): train it again.")
    try:
        values = json.loads((folder / DESCRIPTION).read_text())
        damaged = [name for name in (METRICS, WEIGHTS) if values["sha256"][name] != _sha256(folder / name)]
        run = Run(
            folder,
            Recipe.from_json(values["recipe"]),
            int(values["seed"]),
            int(values["image_dim"]),
            dict(values["results"]),
            dict(values["environment"]),
            float(values["seconds"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise RunError(f"{folder / DESCRIPTION} is not the description of a run: {error}") from error
    if damaged:
        raise RunError(f"{folder / damaged[0]} was changed or cut short: restore or train it again.")
    return run


def find_run(name: str, setting: Setting = "laptop", seed: int = 0, root: Path | None = None) -> Run:
    """The run of a recipe by name; RunError says how to make it where there is none."""
    folder = (root or runs_root()) / name / f"{setting}-seed{seed}"
    if not folder.exists():
        raise RunError(
            f"There is no run in {folder}: make it with `aae train {name} --setting {setting} --seed {seed}`."
        )
    run = load_run(folder)
    if (run.recipe.name, run.recipe.setting, run.seed) != (name, setting, seed):
        raise RunError(f"{folder} holds the run {run.name}: move it to its own place.")
    return run


def list_runs(root: Path | None = None) -> tuple[list[Run], list[str]]:
    """Every finished run below `root`, and one sentence for each folder that is not one."""
    root = root or runs_root()
    found: list[Run] = []
    problems: list[str] = []
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        try:
            found.append(load_run(folder))
        except RunError as error:
            problems.append(str(error))
    return found, problems


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Versions, code and machine, for the record."""
    device = torch.device(device)
    return {
        "aae_utils": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _commit() -> str:
    """The commit of this package's code, marked `+changes` where the files differ from it."""
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
