"""Turn a workflow as the browser saves it into what /prompt takes; the host says what its nodes have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Info = dict[str, Any]
# Modes of a node: it does not run; it hands on what it gets.
MUTED, BYPASSED = 2, 4
# What a subgraph's inputs are to the links within, and how a widget on it is told that is an input.
_INSIDE, _LINKED = -10, "-1"
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
    """The nodes of a workflow, those in its subgraphs by their ways, such as "5:3", and which output each
    link comes from."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        folded = workflow.get("definitions", {}).get("subgraphs", ())
        self._folded = {each["id"]: each for each in folded}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._sources: dict[tuple[str, Any], tuple[str, int]] = {}
        # What is set on a subgraph, by the node within that it is for.
        self._given: dict[str, dict[str, Any]] = {}
        self._running: list[str] = []
        self._lay_out(workflow, "", (), True)

    def _lay_out(
        self, graph: dict[str, Any], way: str, around: tuple[str, ...], runs: bool
    ) -> None:
        for link in graph["links"]:
            ends = ("id", "origin_id", "origin_slot")
            number, source, slot = (
                [link[end] for end in ends] if isinstance(link, dict) else link[:3]
            )
            self._sources[way, number] = f"{way}{source}", slot
        for node in graph["nodes"]:
            self._nodes[number := f"{way}{node['id']}"] = node
            kind, on = node["type"], runs and node.get("mode") not in (MUTED, BYPASSED)
            if kind in around:
                raise ValueError(f"WORKFLOW: the subgraph {kind} holds itself")
            if inside := self._folded.get(kind):
                for (at, name), value in _set_outside(node).items():
                    self._given.setdefault(f"{number}:{at}", {})[name] = value
                self._lay_out(inside, f"{number}:", (*around, kind), on)
            elif on and not _of_the_page(node):
                self._running.append(number)

    def api(self, known: Callable[[str], Info | None]) -> dict[str, Any]:
        return {number: self._entry(number, known) for number in self._running}

    def _entry(self, number: str, known: Callable[[str], Info | None]) -> dict[str, Any]:
        node = self._nodes[number]
        kind = node["type"]
        info = known(kind)
        if info is None:
            raise ValueError(
                f"WORKFLOW: the host has no node {kind} (a node of the page alone, or one that is not "
                f"installed); {_HOW}"
            )
        values, specs = node.get("widgets_values") or [], specs_of(info)
        if isinstance(values, dict):
            inputs = {name: values[name] for name in specs if name in values}
        else:
            inputs = {name: value for name, (_, value) in taken([*values], specs).items()}
        inputs |= {k: v for k, v in self._given.get(number, {}).items() if k in inputs}
        for entry in node.get("inputs", ()):
            if entry.get("link") is not None:
                own = inputs.pop(entry["name"], None)
                value = self._value(_way(number), entry["link"], own)
                if value is not None:
                    inputs[entry["name"]] = value
        return {"class_type": kind, "inputs": inputs, "_meta": {"title": node.get("title") or kind}}

    def _value(self, way: str, link: Any, own: Any) -> Any:
        """What comes over a link: an output, or the value of a primitive; None from a muted node, and
        what the input has of its own if a subgraph gets nothing for it."""
        for _ in range(3 * len(self._nodes)):
            number, slot = self._sources[way, link]
            if number == f"{way}{_INSIDE}":
                outer = self._nodes[way[:-1]]
                name = self._folded[outer["type"]]["inputs"][slot]["name"]
                own = self._given.get(f"{way}{_LINKED}", {}).get(name, own)
                way, link = _way(way[:-1]), _link_to(outer, name)
                if link is None:
                    return own
                continue
            node = self._nodes[number]
            if node.get("mode") == MUTED:
                return None
            if node["type"] == "PrimitiveNode":
                return node["widgets_values"][0]
            if node["type"] == "Reroute":
                link = node["inputs"][0]["link"]
            elif node.get("mode") == BYPASSED:
                link = _passed_on(node, slot)
            elif inside := self._folded.get(node["type"]):
                way, link = f"{number}:", next(iter(inside["outputs"][slot]["linkIds"]), None)
            else:
                return [number, slot]
            if link is None:
                return None
        raise ValueError("WORKFLOW: nodes that hand on their input are linked in a ring")


def _way(number: str) -> str:
    """Of the graph that a node is in."""
    return number[: number.rfind(":") + 1]


def _link_to(node: dict[str, Any], name: str) -> Any:
    return next((one.get("link") for one in node.get("inputs", ()) if one["name"] == name), None)


def _set_outside(node: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Values on a subgraph by node and widget, or by its own input; none where they cannot be told."""
    shown = [(str(at), name) for at, name in node.get("properties", {}).get("proxyWidgets", ())]
    own = [(_LINKED, one["name"]) for one in node.get("inputs", ()) if one.get("widget")]
    order = [*(each for each in own if each not in shown), *shown]
    values = node.get("widgets_values") or []
    if not isinstance(values, list) or len(values) != len(order):
        return {}
    return {at: value for at, value in zip(order, values, strict=True) if value is not None}


def _of_the_page(node: dict[str, Any]) -> bool:
    return node["type"] in NOTES or node["type"] in ("Reroute", "PrimitiveNode")


def _passed_on(node: dict[str, Any], slot: int) -> Any:
    """The link that a node which is passed by gives at an output: of its type, best at its place."""
    kind = node["outputs"][slot]["type"]
    inputs = node["inputs"][slot : slot + 1] + node["inputs"]
    return next((one["link"] for one in inputs if one["type"] in (kind, "*")), None)
