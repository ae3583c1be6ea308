"""Change a user's workflow in API format: settings, and a Cache Report. Functions on dictionaries."""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .convert import Info, specs_of
from .workflow import Workflow, is_cache, is_finite, is_link, is_own_cache, label

REPORT = "ScalingCacheReport"
_ADDED = "scaling_cache_report"


def with_speedup(workflow: Workflow, speedup: float) -> Workflow:
    """The workflow with this speed-up on all cache nodes that have one; those at 1, which are switched
    off, stay so.

    Raises:
        ValueError: if there is none, or it is not finite.
    """
    if not is_finite(speedup):
        raise ValueError(f"--speedup: must be finite, got {speedup}")
    changed = copy.deepcopy(workflow)
    caches = [
        entry["inputs"]
        for entry in changed.values()
        if is_cache(entry) and "speedup" in entry["inputs"]
    ]
    if not caches:
        raise ValueError(
            "--speedup: the workflow has no cache node with a speedup; add Scaling Cache"
        )
    used = [inputs for inputs in caches if _goes_by_speedup(inputs)]
    if not used:
        raise ValueError(
            "--speedup: no cache node of the workflow goes by it; set its mode to 'target speed-up', or "
            "its method to 'Scaling Cache'"
        )
    for inputs in [inputs for inputs in used if inputs["speedup"] != 1] or used:
        inputs["speedup"] = speedup
    return changed


def _goes_by_speedup(inputs: dict[str, Any]) -> bool:
    """Whether no other mode or method is chosen; a linked one may be this one."""
    chosen = {"mode": "target speed-up", "method": "Scaling Cache"}
    values = {name: inputs.get(name, value) for name, value in chosen.items()}
    return all(is_link(values[name]) or values[name] == value for name, value in chosen.items())


def with_input(
    workflow: Workflow, assignment: str, known: Callable[[str], Info | None]
) -> Workflow:
    """The workflow with one input set.

    Args:
        assignment: NODE.INPUT=VALUE; the value is JSON, or else a text.
        known: what the host says of a kind of node; asked for inputs that the workflow leaves out.

    Raises:
        ValueError: unless it names an input that is not linked, and a finite value.
    """
    place, equals, text = assignment.partition("=")
    node, dot, field = place.strip().partition(".")
    if not (equals and dot and node and field):
        raise ValueError(f"--set: must be like 12.seed=7, got {assignment}")
    changed = copy.deepcopy(workflow)
    if node not in changed:
        raise ValueError(f"--set: there is no node {node}; there are {', '.join(changed)}")
    inputs = changed[node]["inputs"]
    if is_link(inputs.get(field)):
        raise ValueError(f"--set: {field} of {label(workflow, node)} comes from another node")
    if field not in inputs:
        info = known(changed[node]["class_type"])
        # An input that grows has names like images.image0.
        if info is not None and field.partition(".")[0] not in specs_of(info):
            names = ", ".join(specs_of(info))
            raise ValueError(f"--set: {label(workflow, node)} has no {field}; it has {names}")
    try:
        inputs[field] = json.loads(text)
    except ValueError:
        inputs[field] = text
    if not is_finite(inputs[field]):
        raise ValueError(
            f"--set: {field} of {label(workflow, node)} must be finite, got {inputs[field]}"
        )
    return changed


def with_report(workflow: Workflow, metadata: bool = False) -> tuple[Workflow, str]:
    """The workflow with a Cache Report, and its node id; one that is there already is kept. It stands
    before the first Save Image, else before what makes pictures into a video or saves them, and else
    reports on the latent that is decoded.

    Args:
        metadata: write the statistics into the pictures.

    Raises:
        ValueError: if there is nothing to report on, or no cache.
    """
    changed = copy.deepcopy(workflow)
    for node, entry in changed.items():
        if entry["class_type"] == REPORT:
            entry["inputs"]["metadata"] = metadata or entry["inputs"].get("metadata", False)
            return changed, node
    shown = _shown(changed)
    if not shown:
        raise ValueError("--report: the workflow has no pictures and no latent to report on")
    caches = [(place, _cache_before(changed, place)) for place in shown]
    found = next(((place, cache) for place, cache in caches if cache is not None), None)
    if found is None:
        raise ValueError("--report: no cache node of this pack leads to what is saved")
    (inputs, field), cache = found
    told = {"latent" if field == "samples" else field: inputs[field]}
    changed[_ADDED] = {
        "class_type": REPORT,
        "inputs": {**told, "model": [cache, 0], "metadata": metadata},
    }
    if field == "images":
        inputs[field] = [_ADDED, 2]
    return changed, _ADDED


def _shown(workflow: Workflow) -> list[tuple[dict[str, Any], str]]:
    """Inputs of a workflow that take what was made, with their field, the most telling first."""
    places = [
        (entry, field)
        for entry in workflow.values()
        for field in ("images", "samples")
        if is_link(entry["inputs"].get(field)) and "model" not in entry["inputs"]
    ]
    order = {"SaveImage": 0, "CreateVideo": 1}
    places.sort(key=lambda place: (place[1] != "images", order.get(place[0]["class_type"], 2)))
    return [(entry["inputs"], field) for entry, field in places]


def _cache_before(workflow: Workflow, place: tuple[dict[str, Any], str]) -> str | None:
    """The nearest cache node that leads to an input."""
    inputs, field = place
    found = _upstream(workflow, inputs[field][0])
    return next((node for node in found if is_own_cache(workflow[node])), None)


def _upstream(workflow: Workflow, node: str) -> Iterator[str]:
    """A node and all that feed it, nearest first."""
    waiting, seen = deque([node]), {node}
    while waiting:
        node = waiting.popleft()
        yield node
        for value in workflow[node]["inputs"].values():
            if is_link(value) and value[0] not in seen:
                seen.add(value[0])
                waiting.append(value[0])
