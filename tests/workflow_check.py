"""Find what is wrong with a workflow file, given what the host knows of its nodes."""

from __future__ import annotations

import uuid
from itertools import combinations
from typing import Any

FRONTEND_ONLY = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
# Of a node: it does not run.
MUTED = 2
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
# Combos that list files of this machine.
FILE_INPUTS = {
    "ckpt_name",
    "unet_name",
    "clip_name",
    "clip_name1",
    "clip_name2",
    "clip_name3",
    "clip_name4",
    "vae_name",
    "image",
    "coefficients",
}
Info = dict[str, Any]


def specs_of(info: Info) -> dict[str, list[Any]]:
    """Inputs of a node in the host's order."""
    return {
        name: info["input"][group][name]
        for group in ("required", "optional")
        for name in info["input_order"].get(group, [])
    }


def is_widget(spec: list[Any]) -> bool:
    return isinstance(spec[0], list) or spec[0] in WIDGETS


def check_value(name: str, spec: list[Any], value: Any) -> str | None:
    """What is wrong with a widget's value, if anything."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list) or kind == "COMBO":
        allowed = kind if isinstance(kind, list) else options["options"]
        return (
            f"{name}: {value!r} is not offered"
            if name not in FILE_INPUTS and value not in allowed
            else None
        )
    types = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}[kind]
    if not isinstance(value, types):
        return f"{name}: {value!r} is no {kind}"
    if kind in ("INT", "FLOAT") and not options.get("min", value) <= value <= options.get(
        "max", value
    ):
        return f"{name}: {value!r} is out of range"
    return None


def check_api(workflow: dict[str, Any], object_info: Info) -> list[str]:
    """Problems of a workflow in API format."""
    found = []
    for number, node in workflow.items():
        info = object_info.get(node["class_type"])
        if info is None:
            found.append(f"{number}: unknown node {node['class_type']}")
            continue
        specs = specs_of(info)
        found += [f"{number}: unknown input {k}" for k in set(node["inputs"]) - set(specs)]
        required = set(info["input"].get("required", {}))
        found += [f"{number}: {k} is missing" for k in required - set(node["inputs"])]
        for name, value in node["inputs"].items():
            if name not in specs:
                continue
            if isinstance(value, list):
                source = workflow.get(value[0])
                outputs = (
                    object_info.get(source["class_type"], {}).get("output", []) if source else []
                )
                if value[1] >= len(outputs) or outputs[value[1]] != specs[name][0]:
                    found.append(f"{number}: {name} gets another type")
            elif problem := check_value(name, specs[name], value):
                found.append(f"{number}: {problem}")
    return found


def check_ui(workflow: dict[str, Any], object_info: Info) -> list[str]:
    """Problems of a workflow as the frontend saves it."""
    nodes = {n["id"]: n for n in workflow["nodes"]}
    found = [*_overlaps(workflow["nodes"]), *_links(workflow["links"], nodes)]
    try:
        uuid.UUID(workflow["id"])
    except ValueError:
        found.append(f"id: {workflow['id']!r} is no UUID, the frontend wants one")
    for node in workflow["nodes"]:
        if node["type"] in FRONTEND_ONLY:
            continue
        info = object_info.get(node["type"])
        if info is None:
            found.append(f"{node['id']}: unknown node {node['type']}")
            continue
        if not node["properties"].get("cnr_id"):
            found.append(f"{node['id']}: no cnr_id")
        found += [
            f"{node['id']}: model {m['name']} has no https address"
            for m in node["properties"].get("models", [])
            if not m["url"].startswith("https://")
        ]
        found += [f"{node['id']}: {problem}" for problem in _widgets(node, specs_of(info))]
        required = info["input"].get("required", {})
        found += [
            f"{node['id']}: {entry['name']} is not connected"
            for entry in node["inputs"]
            if entry["link"] is None and entry["name"] in required
        ]
    return found


def widget_inputs(node: dict[str, Any], specs: dict[str, list[Any]]) -> dict[str, Any]:
    """Widget values of a saved node by name."""
    values = iter(node["widgets_values"])
    out = {}
    for name, spec in specs.items():
        if is_widget(spec):
            out[name] = next(values)
            if len(spec) > 1 and spec[1].get("control_after_generate"):
                next(values)
    return out


def to_api(workflow: dict[str, Any], object_info: Info) -> dict[str, Any]:
    """What the frontend would send for a saved workflow: class and inputs per node."""
    links = {entry[0]: entry for entry in workflow["links"]}
    out = {}
    for node in workflow["nodes"]:
        if node["type"] in FRONTEND_ONLY or node["mode"] == MUTED:
            continue
        inputs = widget_inputs(node, specs_of(object_info[node["type"]]))
        for entry in node["inputs"]:
            if entry["link"] is not None:
                inputs[entry["name"]] = [str(links[entry["link"]][1]), links[entry["link"]][2]]
        out[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return out


def _widgets(node: dict[str, Any], specs: dict[str, list[Any]]) -> list[str]:
    wanted = sum(
        1 + bool(len(spec) > 1 and spec[1].get("control_after_generate"))
        for spec in specs.values()
        if is_widget(spec)
    )
    if len(node["widgets_values"]) != wanted:
        return [f"{len(node['widgets_values'])} widget values, the node has {wanted}"]
    values = widget_inputs(node, specs)
    problems = (check_value(name, specs[name], value) for name, value in values.items())
    return [p for p in problems if p]


def _links(links: list[list[Any]], nodes: dict[int, dict[str, Any]]) -> list[str]:
    found = []
    for number, source, out_slot, target, in_slot, kind in links:
        try:
            output = nodes[source]["outputs"][out_slot]
            entry = nodes[target]["inputs"][in_slot]
        except (KeyError, IndexError):
            found.append(f"link {number}: an end is missing")
            continue
        if not output["type"] == entry["type"] == kind:
            found.append(f"link {number}: types differ")
        if number not in output["links"] or entry["link"] != number:
            found.append(f"link {number}: the nodes do not know it")
    return found


def _overlaps(nodes: list[dict[str, Any]]) -> list[str]:
    title = 30

    def box(node: dict[str, Any]) -> tuple[float, float, float, float]:
        (x, y), (width, height) = node["pos"], node["size"]
        return x, y - title, x + width, y + height

    found = []
    for a, b in combinations(nodes, 2):
        (ax, ay, az, aw), (bx, by, bz, bw) = box(a), box(b)
        if ax < bz and bx < az and ay < bw and by < aw:
            found.append(f"{a['type']} and {b['type']} overlap")
    return found
