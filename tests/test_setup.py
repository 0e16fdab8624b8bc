"""The files that say what is installed agree with each other, and with the words around them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aae_utils import __version__

ROOT = Path(__file__).resolve().parent.parent


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
DEPENDENCIES = requirements(PROJECT["dependencies"])
EXTRAS = {name: requirements(lines) for name, lines in PROJECT["optional-dependencies"].items()}
DECLARED = [*DEPENDENCIES, *(one for extra in EXTRAS.values() for one in extra)]
LOCK = requirements(read("requirements.lock").splitlines())
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), re.MULTILINE))


def tracked_texts() -> list[str]:
    """Every text file that git keeps, or would keep if it were added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("This folder is no git checkout, so nothing in it is tracked.")
    paths = [ROOT / name for name in names.decode().split("\0") if name]
    return [str(path.relative_to(ROOT)) for path in paths if path.is_file() and is_text(path)]


def is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" not in file.read(8192)


# ------------------------------------------------------------------ pyproject.toml and the lock


@pytest.mark.parametrize("declared", DECLARED, ids=str)
def test_lock_pins_every_dependency_within_its_range(declared: Requirement) -> None:
    name = canonicalize_name(declared.name)
    pins = [pin for pin in LOCK if canonicalize_name(pin.name) == name]
    assert pins, f"{declared} is missing from requirements.lock: run `make lock`"
    for pin in pins:
        (version,) = pin.specifier
        assert declared.specifier.contains(version.version), f"{pin} is not {declared}"


def test_lock_holds_exact_versions_and_nothing_else() -> None:
    assert len(LOCK) > 100, "a lock of all that is installed is longer than this"
    for pin in LOCK:
        assert [version.operator for version in pin.specifier] == ["=="], f"{pin} is not exact"
        assert pin.url is None, f"{pin} names a place"


def test_lock_pins_a_package_once() -> None:
    names = [canonicalize_name(pin.name) for pin in LOCK]
    assert sorted(names) == sorted(set(names))


def test_lock_belongs_to_no_index_and_no_machine() -> None:
    found = re.findall(r"https?:|file:|--?[a-z-]*index|--find-links|@ ", read("requirements.lock"))
    assert found == []


def test_jupyter_book_is_pinned_on_both_ends() -> None:
    (book,) = [one for one in EXTRAS["book"] if one.name == "jupyter-book"]
    assert book.specifier.contains("1.0.4.post1")
    assert not book.specifier.contains("0.15.1")
    assert not book.specifier.contains("2.0.0")
    assert not book.specifier.contains("2.1.7")


@pytest.mark.parametrize("extra", ["book", "lab", "test", "cluster", "tensorboard", "dev"])
def test_extra_exists(extra: str) -> None:
    assert EXTRAS[extra]


def test_package_imports_only_what_it_declares() -> None:
    declared = {canonicalize_name(one.name) for one in DECLARED}
    # dask[distributed] installs both
    declared.add("distributed")
    installed = packages_distributions()
    for path in sorted((ROOT / "aae_utils").glob("*.py")):
        for module in imported_modules(path) - set(sys.stdlib_module_names) - {"aae_utils"}:
            owners = {canonicalize_name(owner) for owner in installed.get(module, [module])}
            assert owners & declared, f"{path.name} imports {module}: add it to pyproject.toml"


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


# --------------------------------------------------------------------- the other ways to install


def test_conda_environment_installs_what_make_installs() -> None:
    environment = yaml.safe_load(read("environment.yml"))["dependencies"]
    (pip,) = [one["pip"] for one in environment if isinstance(one, dict)]
    assert pip == ["-r requirements.lock", "-e ."]
    makefile = read("Makefile")
    assert "-r requirements.lock" in makefile
    assert "--editable ." in makefile


def test_conda_environment_has_a_python_that_the_package_accepts() -> None:
    environment = yaml.safe_load(read("environment.yml"))["dependencies"]
    (python,) = [one for one in environment if str(one).startswith("python=")]
    wanted = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert wanted.contains(python.removeprefix("python="))
    assert not wanted.contains("3.10")


def test_version_is_the_same_everywhere() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert str(yaml.safe_load(read("CITATION.cff"))["version"]) == __version__


# ------------------------------------------------------------------------- commands and documents


def test_readme_has_the_two_commands() -> None:
    commands = re.findall(r"^\s*(?:\$ )?make ([a-z-]+)", read("README.md"), re.MULTILINE)
    assert {"book", "test"} <= set(commands)


def test_documents_name_only_targets_that_exist() -> None:
    documents = ["README.md", "CONTRIBUTING.md", "environment.yml", ".ci/run", *book_pages()]
    for document in documents:
        named = set(re.findall(r"(?:^|`)\s*make ([a-z-]+)", read(document), re.MULTILINE))
        assert named <= TARGETS, f"{document} names a command that the Makefile does not have"


def book_pages() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "book").glob("*.md"))


def test_help_lists_every_target_for_people() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("book", "test", "serve", "lint", "format", "clean", "bench", "lab"):
        assert f"make {target} " in listed.stdout


def test_continuous_integration_runs_everything() -> None:
    script = read(".ci/run")
    assert "set -euo pipefail" in script
    places = [script.index(f"make {target}") for target in ("test", "lint", "book")]
    assert places == sorted(places)


def test_notebooks_run_with_an_explicit_timeout_in_one_process() -> None:
    (command,) = re.findall(r"^\t.*--nbval-lax.*$", read("Makefile"), re.MULTILINE)
    assert re.search(r"--nbval-cell-timeout=\d+", command)
    assert " -n" not in command


def test_tracked_files_name_no_folder_of_a_machine() -> None:
    names = tracked_texts()
    assert "pyproject.toml" in names
    homes = re.compile(r"(?<![\w.])/(?:home|Users|root|work|workspace)/[\w.-]+")
    here = [place for place in {str(ROOT), str(Path.home())} if place.count("/") > 1]
    for name in names:
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        found = homes.findall(text) + [place for place in here if f"{place}/" in text]
        assert not found, f"{name} names {found[0]}"
