"""One classic script from plain ES modules, so that a page works from a folder as well as from a server.

Browsers refuse module files under file://. The sources therefore keep to rules that lines can tell:

1. imports stand at the start of a line and name a file beside it: `import { a, b as c } from "./file.js";`
2. exports stand at the start of a line, before a function, a class or a constant: `export function name`
3. modules do not import each other in a circle

Each module becomes a function that is called once and returns what it exports.
"""

from __future__ import annotations

import re
from pathlib import Path

IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"\./([\w.-]+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
UNKNOWN = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class BundleError(ValueError):
    """A source does not keep to the rules above; the message says which file and line."""


def bundle(entry: Path) -> str:
    """The script of `entry` and all that it imports, in strict mode and without global names."""
    modules: dict[str, str] = {}
    _collect(entry, modules, ())
    return '(() => {\n"use strict";\n' + "\n".join(modules.values()) + "\n})();\n"


def sources(entry: Path) -> list[Path]:
    """The file `entry` and all that it imports."""
    modules: dict[str, str] = {}
    _collect(entry, modules, ())
    return [entry.with_name(f"{name}.js") for name in modules]


def _collect(path: Path, modules: dict[str, str], above: tuple[str, ...]) -> None:
    name = path.name.removesuffix(".js")
    if name in above:
        raise BundleError(f"{path.name} imports itself through {', '.join(above)}: break the circle.")
    if name in modules:
        return
    text = path.read_text("utf-8")
    for _, other in IMPORT.findall(text):
        _collect(path.with_name(f"{other}.js"), modules, (*above, name))
    modules[name] = _module(name, text, path.name)


def _module(name: str, text: str, file: str) -> str:
    exports = EXPORT.findall(text)
    text = IMPORT.sub(lambda found: f"const {{{_aliases(found[1])}}} = {_variable(found[2])};\n", text)
    text = EXPORT.sub("", text)
    if unknown := UNKNOWN.search(text):
        raise BundleError(f"{file}: `{unknown[0]}` is not a form that the bundler knows, see bundle.py.")
    return f"const {_variable(name)} = (() => {{\n{text}return {{ {', '.join(exports)} }};\n}})();"


def _aliases(names: str) -> str:
    return re.sub(r"(\w+) as (\w+)", r"\1: \2", names)


def _variable(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name)
