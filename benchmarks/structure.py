"""How the code is built, to compare before and after a change: `python -m benchmarks.structure`.

Says what a default run and a block method cross of the pack, in all and in a late step of each kind; how
long the files are that a newcomer reads; which files name each method; lines, functions and nesting of
each folder; which way imports point. Functions are counted as their calls are seen by the profiler.

    python -m benchmarks.structure --json FILE     also writes all of it
    python -m benchmarks.structure --paths         also prints the functions of each step, in order
    python -m benchmarks.structure --static        leaves the runs out, and with them the names
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from demo.host.fetch import ROOT

from . import crossings, directions
from .sources import python_files, sizes

# What a newcomer reads, with where it is; the first file that is there counts. Once outputs were kept in
# the run, and half of the session was the bracket.
READ_FIRST: dict[str, tuple[str, ...]] = {
    "node": ("nodes/scaling_cache.py",),
    "session": ("nodes/host/session.py", "nodes/host/wrappers.py"),
    "run": ("cache_core/run/run.py", "cache_core/run.py"),
    "output cache, or bracket": (
        "cache_core/outputs.py",
        "cache_core/run/outputs.py",
        "nodes/host/bracket.py",
    ),
    "method": ("cache_core/methods/scaling.py", "cache_core/settings.py"),
}
# Written by a script, or measured. `*` crosses folders. Locales are kept by hand; once a script writes
# them, their pattern belongs here.
GENERATED: tuple[str, ...] = (
    "benchmarks/results/*.json",
    "docs/results.md",
    "docs/compatibility.md",
    "docs/methods.md",
    "docs/images/*",
    "tests/*.json",
)
WORKFLOWS = ("workflows/*", "demo/workflows/*.json")
# The node that offers every method, and the input that names them.
OFFERS, METHOD = "ScalingStepCacheAdvanced", "method"


def measure(static: bool = False) -> dict[str, Any]:
    """All there is to say about this tree.

    Args:
        static: whether to leave out what needs the host.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "read_first": read_first(ROOT),
        "folders": folders(ROOT),
        "imports": imports(ROOT),
    }
    if not static:
        found["runs"] = crossings.measure(ROOT)
        found["names"] = {name: named(ROOT, name) for name in method_names()}
    return found


def read_first(root: Path) -> dict[str, dict[str, Any]]:
    """Path and lines of each file that a newcomer reads; those that are nowhere are left out."""
    found: dict[str, dict[str, Any]] = {}
    for role, paths in READ_FIRST.items():
        for path in [path for path in paths if (root / path).is_file()][:1]:
            text = (root / path).read_text(encoding="utf-8")
            found[role] = {"path": path, "lines": len(text.splitlines())}
    return found


def folders(root: Path) -> dict[str, dict[str, Any]]:
    """Sizes of each folder and of all together."""
    files = {name: python_files(root / name) for name in crossings.FOLDERS}
    every = [path for paths in files.values() for path in paths]
    return {name: asdict(sizes(paths)) for name, paths in {**files, "all": every}.items()}


def imports(root: Path) -> dict[str, Any]:
    """How many there are inside the pack, cycles, and what points up."""
    found = directions.graph(root)
    return {
        "modules": len(found),
        "imports": sum(other in found for others in found.values() for other in others),
        "cycles": directions.cycles(found),
        "upward": directions.upward(found),
    }


def method_names() -> list[str]:
    """Published methods, as the user reads them."""
    inputs = crossings.ready()[OFFERS].define_schema().inputs
    return next(list(one.options) for one in inputs if one.id == METHOD)


def named(root: Path, name: str) -> dict[str, Any]:
    """Tracked files that hold a name as whole words, by what keeps them."""
    command = ["git", "grep", "--no-color", "-lzwFI", "-e", name]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if result.returncode > 1:
        raise RuntimeError(result.stderr.strip())
    return sorted_out([path for path in result.stdout.split("\0") if path])


def sorted_out(paths: Sequence[str]) -> dict[str, Any]:
    """How many of the files are of each kind, and those kept by hand."""
    kinds = [kind(path) for path in paths]
    return {
        "by_hand": kinds.count("by hand"),
        "generated": kinds.count("generated"),
        "workflows": kinds.count("workflow"),
        "total": len(paths),
        "paths_by_hand": [p for p, k in zip(paths, kinds, strict=True) if k == "by hand"],
    }


def kind(path: str) -> str:
    """What keeps a file: "by hand", "generated" (or measured) or "workflow"."""
    for name, patterns in (("workflow", WORKFLOWS), ("generated", GENERATED)):
        if any(fnmatch(path, pattern) for pattern in patterns):
            return name
    return "by hand"


def show(found: Mapping[str, Any], paths: bool) -> Iterable[str]:
    """The lines to print.

    Args:
        paths: whether to name the functions of each step.
    """
    yield f"Python {found['python']}"
    for title, run in found.get("runs", {}).items():
        yield from show_run(title, run, paths)
    yield from table("read first", found["read_first"], ("path", "lines"))
    if "names" in found:
        columns = ("by_hand", "generated", "workflows", "total")
        yield from table("files that name a method", found["names"], columns)
    yield from table("folders", found["folders"], tuple(found["folders"]["all"]))
    yield from show_imports(found["imports"])


def show_run(title: str, run: Mapping[str, Any], paths: bool) -> Iterable[str]:
    rows = {
        "node and sampling": run["whole"],
        "sampling": run["sampling"],
        **{f"{k} step {run[k]['step']}": run[k] for k in ("skipped", "computed")},
    }
    head = f"{title}, {run['computed_steps']} of {crossings.STEPS} steps computed"
    yield from table(head, rows, ("files", "functions", "calls"))
    yield from wrapped("files", run["whole"]["paths"])
    for name in ("skipped", "computed") if paths else ():
        yield f"  {name} step, in order:"
        yield from (f"    {function}" for function in run[name]["functions_in_order"])


def show_imports(found: Mapping[str, Any]) -> Iterable[str]:
    yield ""
    yield f"{found['imports']} imports between {found['modules']} modules"
    cycles = [" <-> ".join(ring) for ring in found["cycles"]]
    for title, lines in (("import cycles", cycles), ("imports upward", found["upward"])):
        yield f"  {title}: {len(lines)}"
        yield from (f"    {line}" for line in lines)


def table(title: str, rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """A title, a head and a line per row, numbers to the right."""
    cells = [[title, *(c.replace("_", " ") for c in columns)]]
    cells += [[f"  {name}", *(_cell(row[c]) for c in columns)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["", *(_line(line, widths) for line in cells)]


def wrapped(title: str, names: Sequence[str]) -> list[str]:
    text = f"{title}: {', '.join(names)}"
    return textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="    ")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([cells[0].ljust(widths[0]), *right])


def _cell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file to write everything to")
    parser.add_argument("--paths", action="store_true", help="print what each step calls")
    parser.add_argument("--static", action="store_true", help="leave out what needs the host")
    options = parser.parse_args()
    found = measure(options.static)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for line in show(found, options.paths):
        print(line)


if __name__ == "__main__":
    main()
