"""Turn a workflow as the browser saves it into what /prompt takes; the host says what its nodes have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Info = dict[str, Any]
# Modes of a node: it does not run; it hands on what it gets.
MUTED, BYPASSED = 2, 4
NOTES = frozenset({"Note", "MarkdownNote"})
# A combo of newer hosts whose choice brings inputs of its own.
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
_WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", DYNAMIC})
# What the browser keeps behind a number: how it changes from run to run.
_CONTROL = frozenset({"fixed", "increment", "decrement", "randomize"})
_SEEDS = frozenset({"seed", "noise_seed"})
_HOW = "in ComfyUI choose File > Export (API) and give that file"


def to_api(workflow: dict[str, Any], known: Callable[[str], Info | None]) -> dict[str, Any]:
    """Class and inputs of each node that runs, by its id.

    Args:
        workflow: as the browser saves it.
        known: what the host's /object_info says of a kind of node; None of one that it lacks.

    Raises:
        ValueError: if it has a part that the browser alone can tell.
    """
    try:
        return _Graph(workflow).api(known)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"WORKFLOW: is not as the browser saves one; {_HOW}") from error


def specs_of(info: Info) -> dict[str, list[Any]]:
    """Inputs of a node in the host's order."""
    groups, order = info["input"], info.get("input_order", {})
    return {
        name: groups[group][name]
        for group in ("required", "optional")
        for name in order.get(group, groups.get(group, {}))
    }


def is_widget(spec: list[Any]) -> bool:
    """Whether an input is set in the node; of several types, any may be."""
    if len(spec) > 1 and spec[1].get("forceInput"):
        return False
    return isinstance(spec[0], list) or bool(set(spec[0].split(",")) & _WIDGETS)


def taken(
    values: list[Any], specs: dict[str, list[Any]], before: str = ""
) -> dict[str, tuple[list[Any], Any]]:
    """Take the values of widgets off a list, by name and with their specs, those that a choice brings
    behind it."""
    out = {}
    for name, spec in specs.items():
        if not is_widget(spec):
            continue
        if not values:
            break
        options = spec[1] if len(spec) > 1 else {}
        out[before + name] = spec, (value := values.pop(0))
        controlled = options.get("control_after_generate", name in _SEEDS)
        if controlled and values and values[0] in _CONTROL:
            values.pop(0)
        for option in options["options"] if spec[0] == DYNAMIC else ():
            if option["key"] == value:
                groups = (option["inputs"].get(group, {}) for group in ("required", "optional"))
                inside = {name: spec for group in groups for name, spec in group.items()}
                out |= taken(values, inside, f"{before}{name}.")
    return out


class _Graph:
    """The nodes of a workflow, and which output each link comes from."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        self._nodes = {node["id"]: node for node in workflow["nodes"]}
        self._sources: dict[Any, tuple[Any, int]] = {}
        for link in workflow["links"]:
            ends = ("id", "origin_id", "origin_slot")
            number, *source = [link[end] for end in ends] if isinstance(link, dict) else link[:3]
            self._sources[number] = source[0], source[1]

    def api(self, known: Callable[[str], Info | None]) -> dict[str, Any]:
        return {
            str(number): self._entry(node, known)
            for number, node in self._nodes.items()
            if node.get("mode") not in (MUTED, BYPASSED) and not _of_the_page(node)
        }

    def _entry(self, node: dict[str, Any], known: Callable[[str], Info | None]) -> dict[str, Any]:
        kind = node["type"]
        info = known(kind)
        if info is None:
            raise ValueError(
                f"WORKFLOW: the host has no node {kind} (a subgraph, a node of the page alone, or one "
                f"that is not installed); {_HOW}"
            )
        values, specs = node.get("widgets_values") or [], specs_of(info)
        if isinstance(values, dict):
            inputs = {name: values[name] for name in specs if name in values}
        else:
            inputs = {name: value for name, (_, value) in taken([*values], specs).items()}
        for entry in node.get("inputs", ()):
            if entry.get("link") is not None:
                value = self._value(entry["link"])
                inputs.pop(entry["name"], None)
                if value is not None:
                    inputs[entry["name"]] = value
        return {"class_type": kind, "inputs": inputs, "_meta": {"title": node.get("title") or kind}}

    def _value(self, link: Any) -> Any:
        """What comes over a link: an output, or the value of a primitive; None from a muted node."""
        for _ in self._nodes:
            number, slot = self._sources[link]
            node = self._nodes[number]
            if node.get("mode") == MUTED:
                return None
            if node["type"] == "PrimitiveNode":
                return node["widgets_values"][0]
            if node["type"] == "Reroute":
                link = node["inputs"][0]["link"]
            elif node.get("mode") == BYPASSED:
                link = _passed_on(node, slot)
            else:
                return [str(number), slot]
            if link is None:
                return None
        raise ValueError("WORKFLOW: nodes that hand on their input are linked in a ring")


def _of_the_page(node: dict[str, Any]) -> bool:
    return node["type"] in NOTES or node["type"] in ("Reroute", "PrimitiveNode")


def _passed_on(node: dict[str, Any], slot: int) -> Any:
    """The link that a node which is passed by gives at an output: of its type, best at its place."""
    kind = node["outputs"][slot]["type"]
    inputs = node["inputs"][slot : slot + 1] + node["inputs"]
    return next((one["link"] for one in inputs if one["type"] in (kind, "*")), None)
