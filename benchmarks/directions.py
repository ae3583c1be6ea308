"""Which way imports point: cycles between modules, and imports from a lower layer of a higher one.

Every import counts, those inside functions and those for type checkers too. That a module makes its
package's `__init__` run does not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .sources import python_files

# Modules or packages from low to high, such as ("cache_core.predict", "cache_core.run"): none may import
# one to its right. The longest name that fits a module is its layer; what has none is not judged.
LAYERS: tuple[str, ...] = (
    "cache_core.predict",
    "cache_core.planning",
    "cache_core.decide",
    "cache_core.run",
    "cache_core.outputs",
    "cache_core.blocks",
    "cache_core.negative",
    "cache_core.methods",
    "cache_core.calibration",
    "nodes",
)
CORE = "cache_core"
# Packages of the pack; `nodes` without dots is the host's module.
PACKAGES = (CORE, "nodes")
HOST = {"execution", "folder_paths", "latent_preview", "nodes", "server"}

Graph = Mapping[str, Sequence[str]]


def graph(root: Path) -> Graph:
    """What each module of the pack imports: modules of the pack by dotted name, others with a leading
    colon."""
    paths = {module_name(root, p): p for folder in PACKAGES for p in python_files(root / folder)}
    return {name: sorted(set(_imports(name, path, paths))) for name, path in paths.items()}


def module_name(root: Path, path: Path) -> str:
    """Dotted, from the root of the tree."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def cycles(imports: Graph) -> list[list[str]]:
    """Modules that import each other, directly or over others; one list for all that hang together."""
    reach = {name: reachable(imports, name) for name in imports}
    rings = {frozenset(o for o in found if n in reach[o]) for n, found in reach.items()}
    return sorted(sorted(ring) for ring in rings if ring)


def reachable(imports: Graph, start: str) -> set[str]:
    """Modules of the pack that a module imports, directly or over others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = {name for name in imports[waiting.pop()] if name in imports} - found
        found |= new
        waiting += new
    return found


def upward(imports: Graph, layers: Sequence[str] = LAYERS) -> list[str]:
    """Imports that point up, as `importer -> imported`."""
    return [
        f"{name} -> {other.lstrip(':')}"
        for name, others in sorted(imports.items())
        for other in others
        if leaves_core(name, other) or climbs(name, other, layers)
    ]


def leaves_core(name: str, other: str) -> bool:
    """Whether the core imports the nodes or the host."""
    if name.split(".")[0] != CORE:
        return False
    top = other.lstrip(":").split(".")[0]
    return top != CORE and (top.startswith("comfy") or top in HOST)


def climbs(name: str, other: str, layers: Sequence[str]) -> bool:
    """Whether a layer imports a higher one."""
    low, high = layer(name, layers), layer(other, layers)
    return low is not None and high is not None and low < high


def layer(name: str, layers: Sequence[str]) -> int | None:
    """Place of a module, counted from below."""
    fits = [one for one in layers if f"{name}.".startswith(f"{one}.")]
    return layers.index(max(fits, key=len)) if fits else None


def _imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (_absolute(alias.name, known) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _from(package, node, known)


def _from(package: str, node: ast.ImportFrom, known: Mapping[str, Path]) -> Iterator[str]:
    """Modules that a statement takes names from, or that the names are."""
    if not node.level:
        yield _absolute(node.module or "", known)
        return
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    base = ".".join([*above, *filter(None, [node.module])])
    for alias in node.names:
        inner = f"{base}.{alias.name}".lstrip(".")
        if found := next((one for one in (inner, base) if one in known), None):
            yield found


def _absolute(module: str, known: Mapping[str, Path]) -> str:
    own = module.split(".")[0] == CORE and module in known
    return module if own else f":{module}"
