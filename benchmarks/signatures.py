"""What the product calls of a ComfyUI, and how that host takes it: names and parameters, as facts that
can be checked where that host is not at hand.

    python -m benchmarks.signatures            of the pinned host
    python -m benchmarks.signatures FOLDER     of another checkout, with its Python or COMFYUI_PYTHON
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.host.fetch import ROOT, ensure_host, host_python

FOLDER = Path(__file__).parent / "results" / "signatures"
# Packages of the host that the product imports.
HOST = (
    "comfy",
    "comfy_api",
    "comfy_execution",
    "folder_paths",
    "latent_preview",
    "nodes",
)


@dataclass(frozen=True)
class Use:
    """A name of the host in the product's code.

    Attributes:
        name: dotted, with its module.
        positional, keywords: with which it is called; None where it is not, or with what is only known
            when it runs.
        where: file and line.
    """

    name: str
    positional: int | None
    keywords: tuple[str, ...]
    where: str


def uses() -> list[Use]:
    """All names of the host that the product's code spells out."""
    files = [path for folder in ("nodes", "cache_core") for path in (ROOT / folder).rglob("*.py")]
    return [use for path in sorted(files) for use in _of(path)]


def _of(path: Path) -> Iterator[Use]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = dict(_imported(tree))
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute | ast.Name) or id(node) in inner:
            continue
        first, *rest = ast.unparse(node).split(".")
        name = ".".join([known.get(first, ""), *rest])
        if first not in known or name in HOST or not re.fullmatch(r"[\w.]+", name):
            continue
        where = f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
        call = calls.get(id(node))
        if call is None or _stars(call):
            yield Use(name, None, (), where)
        else:
            keywords = tuple(keyword.arg for keyword in call.keywords if keyword.arg)
            yield Use(name, len(call.args), keywords, where)


def _stars(call: ast.Call) -> bool:
    """Whether arguments of a call are only known when it runs."""
    return any(isinstance(a, ast.Starred) for a in call.args) or any(
        not k.arg for k in call.keywords
    )


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Local names and what they are of the host."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                if top in HOST:
                    yield alias.asname or top, alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in HOST:
            for alias in node.names if not node.level else ():
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def parameters(name: str) -> list[str] | None:
    """Parameters of a name in the host of this process, `*` and `**` before those that take the rest and
    `=` behind those with a default; an empty list for what is no function.

    Raises:
        AttributeError, ImportError: if it is not there.
    """
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        break
    else:
        raise ImportError(name)
    if not callable(found):
        return []
    try:
        return [_told(each) for each in inspect.signature(found).parameters.values()]
    except ValueError:  # made in C
        return ["*args", "**kwargs"]


def _told(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    only = "!" if parameter.kind is parameter.KEYWORD_ONLY else ""
    default = "" if stars or parameter.default is parameter.empty else "="
    return f"{stars}{only}{parameter.name}{default}"


def misfit(use: Use, taken: list[str] | None) -> str:
    """Why a host does not take a call; empty if it does.

    Args:
        taken: parameters by `parameters`, None for a name that is not there.
    """
    if taken is None:
        return f"{use.where}: no {use.name}"
    if use.positional is None:
        return ""
    named = [name for name in taken if not name.startswith("*")]
    plain = [name.strip("=") for name in named if not name.startswith("!")]
    if use.positional > len(plain) and not any(n[0] == "*" and n[1] != "*" for n in taken):
        return f"{use.where}: {use.name} takes {len(plain)} arguments, not {use.positional}"
    every = {name.strip("!=") for name in named}
    if not any(name.startswith("**") for name in taken):
        for keyword in use.keywords:
            if keyword not in every:
                return f"{use.where}: {use.name} has no argument {keyword}"
    given = {*plain[: use.positional], *use.keywords}
    left = {name.strip("!") for name in named if not name.endswith("=")} - given
    return f"{use.where}: {use.name} needs {', '.join(sorted(left))}" if left else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="a ComfyUI checkout")
    given = parser.parse_args()
    if given.folder:
        os.environ["COMFYUI_PATH"] = given.folder
    ensure_host()
    if Path(python := host_python()) != Path(sys.executable):
        environment = {**os.environ, "COMFYUI_PYTHON": python}
        command = [python, "-m", "benchmarks.signatures"]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode
    from demo.compatibility import version
    from demo.host.inprocess import import_host

    # Its own folders before others of their names.
    sys.path.insert(0, str(import_host()))
    found: dict[str, list[str] | None] = {}
    for name in sorted({use.name for use in uses()}):
        try:
            found[name] = parameters(name)
        except (AttributeError, ImportError):
            found[name] = None
    FOLDER.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(taken)}" for name, taken in found.items())
    (FOLDER / f"{version()}.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"ComfyUI {version()}: {len(found)} names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
