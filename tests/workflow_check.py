"""Find what is wrong with a workflow file, given what the host knows of its nodes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import combinations
from typing import Any

FRONTEND_ONLY = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
# Of a node: it does not run.
MUTED = 2
# A combo of newer hosts whose choice brings inputs of its own.
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC}
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
    "lora_name",
    "model_name",
    "text_encoder",
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
    """Whether an input is set in the node; of several types, any may be."""
    return isinstance(spec[0], list) or bool(set(spec[0].split(",")) & WIDGETS)


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


def widget_inputs(node: dict[str, Any], specs: dict[str, list[Any]]) -> dict[str, Any]:
    """Widget values of a saved node by name."""
    return {name: value for name, (_, value) in _taken(iter(node["widgets_values"]), specs).items()}


def _taken(
    values: Iterator[Any], specs: dict[str, list[Any]], before: str = ""
) -> dict[str, tuple[list[Any], Any]]:
    """Widgets and their values, those that a choice brings behind it."""
    out = {}
    for name, spec in specs.items():
        if not is_widget(spec):
            continue
        options = spec[1] if len(spec) > 1 else {}
        try:
            out[before + name] = spec, (value := next(values))
        except StopIteration:
            break
        if options.get("control_after_generate"):
            next(values, None)
        for option in options["options"] if spec[0] == DYNAMIC else ():
            if option["key"] == value:
                inside = {
                    **option["inputs"].get("required", {}),
                    **option["inputs"].get("optional", {}),
                }
                out |= _taken(values, inside, f"{before}{name}.")
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


def _widgets(node: dict[str, Any], info: Info) -> list[str]:
    specs = specs_of(info)
    values = iter(node["widgets_values"])
    taken = _taken(values, specs)
    found = [f"{len(rest)} values too many" for rest in [list(values)] if rest]
    # What a newer host added to the end of a node it fills in by itself.
    required = info["input"].get("required", {})
    missing = [n for n, spec in required.items() if is_widget(spec) and n not in taken]
    found += [f"no value for {name}" for name in missing]
    linked = {entry["name"] for entry in node["inputs"] if entry["link"] is not None}
    checked = ((n, *each) for n, each in taken.items() if n not in linked)
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
