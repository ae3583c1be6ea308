"""Find what is wrong with a workflow file, given what the host knows of its nodes."""

from __future__ import annotations

import uuid
from itertools import combinations
from typing import Any

from cli.convert import DYNAMIC, Info, is_widget, specs_of, taken

FRONTEND_ONLY = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
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
    "control_net_name",
    "lora_name",
    "model_name",
    "text_encoder",
    "image",
    "coefficients",
}


def check_value(name: str, spec: list[Any], value: Any) -> str | None:
    """What is wrong with a widget's value, if anything."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list) or kind in ("COMBO", DYNAMIC):
        allowed = kind if isinstance(kind, list) else options["options"]
        allowed = [each["key"] for each in allowed] if kind == DYNAMIC else allowed
        return (
            f"{name}: {value!r} is not offered"
            if name not in FILE_INPUTS and value not in allowed
            else None
        )
    types = {"INT": (int,), "FLOAT": (int, float), "STRING": (str,), "BOOLEAN": (bool,)}
    if not isinstance(value, sum((types[each] for each in kind.split(",")), ())):
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
        # Inputs that grow with what is linked, or come with a choice, have dots in their names.
        given = {name.partition(".")[0] for name in node["inputs"]}
        found += [f"{number}: unknown input {k}" for k in given - set(specs)]
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
                if value[1] >= len(outputs) or outputs[value[1]] not in specs[name][0].split(","):
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
        found += [f"{node['id']}: {problem}" for problem in _widgets(node, info)]
        required = info["input"].get("required", {})
        found += [
            f"{node['id']}: {entry['name']} is not connected"
            for entry in node["inputs"]
            if entry["link"] is None and entry["name"] in required
        ]
    return found


def _widgets(node: dict[str, Any], info: Info) -> list[str]:
    specs = specs_of(info)
    values = [*node["widgets_values"]]
    given = taken(values, specs)
    found = [f"{len(values)} values too many"] if values else []
    # What a newer host added to the end of a node it fills in by itself.
    required = info["input"].get("required", {})
    missing = [n for n, spec in required.items() if is_widget(spec) and n not in given]
    found += [f"no value for {name}" for name in missing]
    linked = {entry["name"] for entry in node["inputs"] if entry["link"] is not None}
    checked = ((n, *each) for n, each in given.items() if n not in linked)
    problems = (check_value(name, spec, value) for name, spec, value in checked)
    return [*found, *(p for p in problems if p)]


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
