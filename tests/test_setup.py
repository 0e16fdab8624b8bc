"""The files that say what is installed agree with each other, and with the words around them."""

from __future__ import annotations

import ast
import json
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
OWNERS = packages_distributions()
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


# Imported inside of functions alone: one where a notebook runs, the other where a cluster is asked for.
IMPORTED_IF_INSTALLED = {"matplotlib-inline", "distributed"}


def test_package_imports_only_what_it_declares() -> None:
    declared = {canonicalize_name(one.name) for one in DEPENDENCIES} | IMPORTED_IF_INSTALLED
    for path in sorted((ROOT / "aae_utils").rglob("*.py")):
        for module in (
            imported_modules(path.read_text("utf-8")) - set(sys.stdlib_module_names) - {"aae_utils"}
        ):
            owners = {canonicalize_name(owner) for owner in OWNERS.get(module, [module])}
            assert owners & declared, f"{path.name} imports {module}: add it to pyproject.toml"


def imported_modules(code: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


# Used without being imported: a file, and the words by which it is used there.
USED_OTHERWISE = {
    "tabulate": ("aae_utils/cli.py", "to_markdown("),
    "jupyter-book": ("Makefile", "jupyter-book build"),
    "jupyter": ("Makefile", "jupyter lab"),
    "nbval": ("Makefile", "--nbval-lax"),
    "mypy": ("Makefile", "/mypy"),
    "ruff": ("Makefile", "/ruff check"),
    "pre-commit": ("Makefile", "/pre-commit install"),
    "uv": ("Makefile", "/uv pip compile"),
}


@pytest.mark.parametrize("declared", DECLARED, ids=str)
def test_every_dependency_is_used(declared: Requirement) -> None:
    if declared.name in USED_OTHERWISE:
        path, words = USED_OTHERWISE[declared.name]
        assert words in read(path), f"{path} does not use {declared.name} any more: take it out"
        return
    names = {canonicalize_name(name) for name in (declared.name, *declared.extras)}
    modules = {module for module, owners in OWNERS.items() if names & set(map(canonicalize_name, owners))}
    assert modules & IMPORTED, f"nothing imports {declared.name}: take it out of pyproject.toml"


def all_imported_modules() -> set[str]:
    """What any Python file or notebook of the project imports."""
    folders = [ROOT / name for name in ("aae_utils", "book", "benchmarks", "tests")]
    codes = [path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py")]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        codes += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return {module for code in codes for module in imported_modules(without_magics(code))}


def without_magics(code: str) -> str:
    """The code of a notebook's cell without lines for IPython alone."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)


IMPORTED = all_imported_modules()


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


def test_documents_name_only_targets_that_exist() -> None:
    documents = ["README.md", "CONTRIBUTING.md", "environment.yml", ".ci/run", *book_pages()]
    for document in documents:
        named = set(re.findall(r"(?:^|`)\s*make ([a-z-]+)", read(document), re.MULTILINE))
        assert named <= TARGETS, f"{document} names a command that the Makefile does not have"


def book_pages() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "book").glob("*.md"))


def test_what_is_installed_elsewhere_is_the_configured_repository() -> None:
    configured = yaml.safe_load(read("_config.yml"))["repository"]["url"]
    pages = [*book_pages(), *(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb"))]
    address = re.compile(r"(?:git clone|git\+|address = ).*?(https?://[\w./-]+)")
    assert {found for page in pages for found in address.findall(read(page))} == {configured}


def test_help_lists_every_target_for_people() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("book", "test", "serve", "lint", "format", "clean", "bench", "lab"):
        assert f"make {target} " in listed.stdout


def test_clean_removes_the_tables_of_the_book() -> None:
    commands = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "book/_tables" in commands.stdout.split()
    assert ".venv" not in commands.stdout.split()


def test_continuous_integration_looks_for_every_browser_of_the_tests() -> None:
    (names,) = re.findall(r"^BROWSERS = \((.*)\)$", read("tests/browser.py"), re.MULTILINE)
    (looked_for,) = re.findall(r"command -v (chromium .*?) >", read(".ci/run"))
    assert looked_for.split() == re.findall(r'"(.*?)"', names)


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
