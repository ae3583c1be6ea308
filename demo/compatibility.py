"""What this pack needs of a ComfyUI checkout, what is there, and what does not work without the rest.

Usage: python -m demo.compatibility [FOLDER] [--json FILE]

Looks at features and never at version numbers. FOLDER is COMFYUI_PATH by default, else the pinned host.
The exit code is 1 if something is missing without which the pack does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .host.fetch import ROOT, FetchError, ensure_host, host_python


@dataclasses.dataclass(frozen=True)
class Feature:
    """Something of the host.

    Attributes:
        name: what it is.
        found: gives whether it is there, or says more about it; an error says that it is not.
        without: what does not work without it.
        needed: whether the pack does nothing without it.
    """

    name: str
    found: Callable[[], bool | str]
    without: str
    needed: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        name: of the feature.
        found: whether it is there.
        detail: what was found, or what does not work.
        needed: whether the pack does nothing without it.
    """

    name: str
    found: bool
    detail: str
    needed: bool


def look(feature: Feature) -> Row:
    """Whether a feature is there."""
    try:
        found = feature.found()
        why = ""
    except Exception as error:
        found, why = False, f" ({type(error).__name__}: {error})".splitlines()[0]
    detail = f"{feature.without}{why}" if not found else found if isinstance(found, str) else ""
    return Row(feature.name, bool(found), detail, feature.needed)


def features() -> Iterator[Feature]:
    """All that the pack uses of the host, most important first."""
    for point, use in (
        ("OUTER_SAMPLE", "no cache knows where a run begins and ends"),
        ("PREDICT_NOISE", "no cache knows where a step begins"),
        ("CALC_COND_BATCH", "no cache can leave out the model"),
    ):
        yield Feature(f"wrapper {point}", lambda point=point: wrapper(point), use, needed=True)
    yield Feature(
        "wrapper APPLY_MODEL",
        lambda: wrapper("APPLY_MODEL"),
        "no methods inside the network; those on whole steps work",
    )
    yield Feature(
        "wrapper PREPARE_SAMPLING",
        lambda: wrapper("PREPARE_SAMPLING"),
        "the host is not told what the cache holds",
    )
    yield Feature(
        "options that a run can change",
        lambda: has("comfy.model_patcher", "create_model_options_clone"),
        "no cache has a place for its state",
        needed=True,
    )
    for name in ("add_wrapper_with_key", "remove_wrappers_with_key"):
        yield Feature(
            f"ModelPatcher.{name}",
            lambda name=name: has("comfy.model_patcher", f"ModelPatcher.{name}"),
            "the nodes cannot put a cache on a model",
            needed=True,
        )
    yield Feature(
        "ModelPatcher.set_model_patch_replace",
        lambda: has("comfy.model_patcher", "ModelPatcher.set_model_patch_replace"),
        "no methods inside the network",
    )
    yield Feature(
        "memory estimate from a shape",
        lambda: has("comfy.model_base", "BaseModel.memory_required"),
        "the host is not told what the cache holds",
    )
    yield Feature(
        "nodes of the new kind",
        lambda: has("comfy_api.latest", "ComfyExtension") and has("comfy_api.latest", "io.Schema"),
        "the host does not see the nodes",
        needed=True,
    )
    for name, use in (
        ("not_idempotent", "two equal nodes share one report"),
        ("search_aliases", "the nodes are found by their names alone"),
    ):
        yield Feature(f"schema field {name}", lambda name=name: schema_field(name), use)
    yield Feature(
        "replacement of missing nodes",
        lambda: has("comfy_api.latest", "io.NodeReplace"),
        "nodes of other caches in a workflow are replaced by hand",
    )
    yield Feature("the nodes of this pack", nodes, "some or all nodes do not load", needed=True)
    yield Feature(
        "messages to the page",
        lambda: source_has("server", "send_sync"),
        "progress and summary stand in the log alone",
    )
    yield Feature(
        "id of the running prompt",
        lambda: has("comfy_execution.utils", "get_executing_context"),
        "the nodes do not load",
        needed=True,
    )
    yield Feature(
        "folders for models of a new kind",
        lambda: has("folder_paths", "add_model_folder_path"),
        "the nodes do not load",
        needed=True,
    )
    yield Feature("samplers of the host", samplers, "their evaluations are counted while they run")
    yield Feature(
        "split of the conditionings over GPUs",
        lambda: source_has("comfy.samplers", "multigpu"),
        "nothing is lost: one GPU per run, or Raylight",
    )
    yield from families()


def families() -> Iterator[Feature]:
    """The networks whose blocks the pack reaches."""
    try:
        from scaling_cache.nodes.families import FAMILIES
    except (ImportError, AttributeError):
        # The pack does not load, which its own row says.
        return
    for family in FAMILIES:
        hooked = any(stack.call is None for stack in family.stacks) and not family.unet
        nested = any("." in stack.attribute for stack in family.stacks)
        for name in family.classes:
            yield Feature(
                f"{family.name}: {name.rsplit('.', 1)[1]}",
                lambda name=name, hooked=hooked, nested=nested: network(name, hooked, nested),
                "no methods inside this network; those on whole steps work",
            )


def wrapper(point: str) -> bool:
    from comfy.patcher_extension import WrappersMP

    return hasattr(WrappersMP, point)


def has(module: str, path: str) -> bool:
    """Whether a module has something, by a dotted path."""
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return True


def schema_field(name: str) -> bool:
    from comfy_api.latest import io

    return name in {field.name for field in dataclasses.fields(io.Schema)}


def source_has(module: str, word: str) -> bool:
    """Whether the source of a module holds a word; it need not be imported."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"no module {module}")
    return word in Path(spec.origin).read_text(encoding="utf-8")


def network(name: str, hooked: bool, nested: bool) -> bool | str:
    """Whether the host has a network class and offers replacement hooks around its blocks.

    Args:
        hooked: whether the pack goes by such hooks.
        nested: whether the blocks are those of another class within the network.
    """
    package = "comfy" if name.startswith("ldm.") else "comfy.ldm"
    module, _, kind = f"{package}.{name}".rpartition(".")
    found = getattr(importlib.import_module(module), kind)
    if not hooked:
        return "blocks without hooks, reached by stand-ins"
    if nested:
        return source_has(module, "patches_replace")
    # The loop over the blocks may be in any method of the host's own classes.
    own = [base for base in found.__mro__ if base.__module__.startswith("comfy.")]
    return any("patches_replace" in inspect.getsource(base) for base in own)


def nodes() -> str:
    """Load the pack as the host does, and build the schema of each node."""
    from scaling_cache import comfy_entrypoint

    async def load() -> list[Any]:
        return await (await comfy_entrypoint()).get_node_list()

    made = [node.define_schema() for node in asyncio.run(load())]
    return f"{len(made)} nodes"


def samplers() -> str:
    """Which of the host's samplers have to be counted while they run."""
    import comfy.samplers
    from scaling_cache.nodes.host.sampling import sampler_traits

    schedule = tuple(1 - step / 20 for step in range(21))
    names = comfy.samplers.KSampler.SAMPLERS
    made = {name: comfy.samplers.sampler_object(name) for name in names}
    unknown = [n for n in names if sampler_traits(made[n], schedule).evaluations is None]
    known = f"{len(names) - len(unknown)} of {len(names)} known"
    return f"{known}, read as they run: {', '.join(unknown)}" if unknown else known


def version() -> str:
    """What the host calls itself, for the heading alone."""
    try:
        return importlib.import_module("comfyui_version").__version__
    except (ImportError, AttributeError):
        return "unknown version"


def report() -> list[Row]:
    """All features of the host of this process."""
    from .host.inprocess import import_host, import_pack

    import_pack()
    import_host()
    # The host's networks find each other only once the host has loaded its own parts.
    importlib.import_module("comfy.sd")
    return [look(feature) for feature in features()]


def show(rows: list[Row], folder: Path) -> str:
    """The report as text."""
    width = max(len(row.name) for row in rows)
    marks = {True: "yes", False: "no "}
    lines = [f"ComfyUI {version()} in {folder}", ""]
    lines += [f"{marks[row.found]}  {row.name:{width}}  {row.detail}".rstrip() for row in rows]
    missing = [row for row in rows if not row.found]
    needed = [row.name for row in missing if row.needed]
    lines += ["", f"{len(rows) - len(missing)} of {len(rows)} features found"]
    lines.append(f"Does not work: {', '.join(needed)} missing" if needed else "The pack works")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.compatibility", description=__doc__)
    parser.add_argument("folder", nargs="?", help="a ComfyUI checkout")
    parser.add_argument("--json", type=Path, help="write the report to this file as well")
    given = parser.parse_args(arguments)
    if given.folder:
        os.environ["COMFYUI_PATH"] = given.folder
    try:
        folder = ensure_host()
        python = host_python()
    except FetchError as error:
        raise SystemExit(str(error)) from error
    if Path(python) != Path(sys.executable):
        command = [python, "-m", "demo.compatibility"]
        command += ["--json", str(given.json.resolve())] if given.json else []
        environment = {**os.environ, "COMFYUI_PYTHON": python}
        try:
            return subprocess.run(command, cwd=ROOT, env=environment).returncode
        except OSError as error:
            raise SystemExit(f"COMFYUI_PYTHON: {python} cannot be run ({error})") from error
    try:
        rows = report()
    except Exception as error:
        raise SystemExit(
            f"{folder} cannot be loaded with {python} ({type(error).__name__}: {error}): install its "
            "requirements.txt there, or name another Python in COMFYUI_PYTHON"
        ) from None
    print(show(rows, folder))
    if given.json:
        found = {"host": version(), "features": [dataclasses.asdict(row) for row in rows]}
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(row.needed and not row.found for row in rows))


if __name__ == "__main__":
    sys.exit(main())
