"""The files of a workflow: what the frontend saves, laid out in columns, and what /prompt takes.

A graph is described by `Node` and `Graph`; the running host's /object_info says which widgets its nodes
have and in which order.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cache_core import VERSION

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
REGISTRY_NAME = "scalingcache"
HOST_VERSION = "0.3.75"
COLUMN_GAP, ROW_GAP, TITLE = 30, 15, 30
# Below this pack's nodes: Nodes 2.0 does not fold their advanced inputs.
ROOM_TO_UNFOLD = 40
# The frontend's mode of a node that does not run.
MUTED = 2
Link = tuple[str, int]
Places = dict[str, tuple[tuple[int, int], tuple[int, int]]]
# The frontend's blue, for the nodes of this pack.
OWN_COLOURS = {"color": "#223", "bgcolor": "#335"}
# What the frontend fits a graph into in a window of 1600 x 1000; below a zoom of 0.57 it draws no text.
WINDOW = 1200, 750
READABLE = 0.6
# Widths that nodes may have where they find no room as they are; wider ones show pictures.
WIDTHS = 420, 340, 300
# Pixels that a letter of a note takes at most.
LETTER = 8
# What the nodes of a subgraph link to for its inputs, and the frontend's number of it.
OUTSIDE, INPUTS = "outside", -10


@dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
        kind: the host's node id.
        column: place from left to right; nodes of a column stand below each other.
        inputs: widget values, and links as (name of another node, its output slot).
        size: width and height; a height of 0 is worked out from the widgets.
        models: files to download as (name, folder, address), for the missing-models dialog.
        muted: whether it waits until the user wakes it.
    """

    kind: str
    column: int
    inputs: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (320, 0)
    title: str = ""
    models: tuple[tuple[str, str, str], ...] = ()
    muted: bool = False


@dataclass(frozen=True)
class Graph:
    """A workflow and where its files go."""

    name: str
    folder: Path
    nodes: dict[str, Node]
    note: str


def outside(slot: int) -> Link:
    """An input of the subgraph that the graph is in."""
    return OUTSIDE, slot


def link(node: str, slot: int = 0) -> Link:
    """The output of another node."""
    return node, slot


def is_own(node: Node) -> bool:
    """Whether a node is one of this pack."""
    return node.kind.startswith("Scaling")


def is_widget(spec: list[Any]) -> bool:
    return isinstance(spec[0], list) or spec[0] in WIDGET_TYPES


def input_specs(info: dict[str, Any]) -> dict[str, list[Any]]:
    """Inputs of a node in the host's order."""
    groups = info["input"]
    return {
        name: groups[group][name]
        for group in ("required", "optional")
        for name in info.get("input_order", {}).get(group, groups.get(group, {}))
    }


def api_format(graph: Graph) -> dict[str, Any]:
    """The graph as the host's /prompt takes it, with node names as numbers; without muted nodes."""
    number = numbers(graph)
    return {
        str(number[name]): {
            "class_type": node.kind,
            "inputs": {
                key: [str(number[value[0]]), value[1]] if isinstance(value, tuple) else value
                for key, value in node.inputs.items()
            },
            "_meta": {"title": node.title or node.kind},
        }
        for name, node in graph.nodes.items()
        if not node.muted
    }


def numbers(graph: Graph) -> dict[str, int]:
    return {OUTSIDE: INPUTS, **{name: i for i, name in enumerate(graph.nodes, 1)}}


def ui_format(graph: Graph, object_info: dict[str, Any]) -> dict[str, Any]:
    """The graph as the frontend saves it."""
    places = layout(graph, object_info)
    nodes, links = saved(graph, object_info, places)
    width = max(x + w for (x, _), (w, _) in places.values())
    nodes.append(note_node(graph, len(nodes) + 1, width))
    return {
        "id": identity(graph.name),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def saved(
    graph: Graph, object_info: dict[str, Any], places: Places
) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """Nodes and links of a graph."""
    number = numbers(graph)
    links: list[list[Any]] = []
    nodes: list[dict[str, Any]] = []
    for order, (name, node) in enumerate(graph.nodes.items()):
        info = object_info[node.kind]
        specs = input_specs(info)
        inputs = []
        for key, spec in specs.items():
            linked = isinstance(node.inputs.get(key), tuple)
            if is_widget(spec) and not linked:
                continue
            entry: dict[str, Any] = {"name": key, "type": spec[0], "link": None}
            if is_widget(spec):
                entry["widget"] = {"name": key}
            if linked:
                source, slot = node.inputs[key]
                entry["link"] = len(links) + 1
                target = [number[name], len(inputs)]
                links.append([len(links) + 1, number[source], slot, *target, spec[0]])
            inputs.append(entry)
        position, size = places[name]
        nodes.append(
            {
                "id": number[name],
                "type": node.kind,
                "pos": list(position),
                "size": list(size),
                "flags": {},
                "order": order,
                "mode": MUTED if node.muted else 0,
                "inputs": inputs,
                "outputs": [
                    {"name": title, "type": kind, "links": [], "slot_index": i}
                    for i, (title, kind) in enumerate(
                        zip(info["output_name"], info["output"], strict=True)
                    )
                ],
                "properties": properties(node),
                "widgets_values": widget_values(node, specs),
                **({"title": node.title} if node.title else {}),
                **(OWN_COLOURS if is_own(node) else {}),
            }
        )
    by_id = {n["id"]: n for n in nodes}
    for found, source, slot, *_ in links:
        if source in by_id:
            by_id[source]["outputs"][slot]["links"].append(found)
    return nodes, links


def widget_values(node: Node, specs: dict[str, list[Any]]) -> list[Any]:
    values = []
    for key, spec in specs.items():
        if not is_widget(spec):
            continue
        options = spec[1] if len(spec) > 1 else {}
        value = node.inputs.get(key)
        values.append(
            options.get("default") if value is None or isinstance(value, tuple) else value
        )
        if options.get("control_after_generate"):
            values.append("randomize")
    return values


def properties(node: Node) -> dict[str, Any]:
    own = is_own(node)
    models = [{"name": n, "url": u, "directory": d} for n, d, u in node.models]
    return {
        "cnr_id": REGISTRY_NAME if own else "comfy-core",
        "ver": VERSION if own else HOST_VERSION,
        "Node name for S&R": node.kind,
        **({"models": models} if models else {}),
    }


def note_node(graph: Graph, number: int, width: int) -> dict[str, Any]:
    """What the reader should know, above the graph and as wide, in a size that shows all of it."""
    height = note_height(graph.note, width)
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [0, -height - TITLE - ROW_GAP],
        "size": [width, height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "About",
        "properties": {},
        "widgets_values": [graph.note],
        "color": "#432",
        "bgcolor": "#653",
    }


def note_height(note: str, width: int) -> int:
    letters = width // LETTER
    paragraphs = [paragraph for paragraph in note.split("\n") if paragraph]
    return 60 + 26 * sum(1 + len(paragraph) // letters for paragraph in paragraphs)


def layout(graph: Graph, object_info: dict[str, Any]) -> Places:
    """Position and size of each node: columns from left to right, nodes below each other. The first way
    that can be read counts: a column for each stage, then stages below each other too, then the same with
    nodes that are less wide."""
    tries: list[Places] = []
    for widest in WIDTHS:
        sizes = {
            name: (_width(node, widest), node.size[1] or height(node, object_info[node.kind]))
            for name, node in graph.nodes.items()
        }
        for place in (_columns, _poured):
            found = (place(graph, sizes, most) for most in range(500, 2400, 20))
            tries.append(max(found, key=partial(zoom, graph.note)))
            if zoom(graph.note, tries[-1]) >= READABLE:
                return tries[-1]
    return max(tries, key=partial(zoom, graph.note))


def _width(node: Node, widest: int) -> int:
    return node.size[0] if node.size[0] > WIDTHS[0] else min(node.size[0], widest)


def zoom(note: str, places: Places) -> float:
    """How large a graph opens below its note in a window of 1600 x 1000."""
    width = max(x + w for (x, _), (w, _) in places.values())
    tall = max(y + h for (_, y), (_, h) in places.values())
    above = note_height(note, width) + 2 * TITLE + ROW_GAP
    return min(WINDOW[0] / width, WINDOW[1] / (above + tall))


def _room(node: Node, size: tuple[int, int]) -> int:
    """Height from a node to the next one below it."""
    return size[1] + TITLE + ROW_GAP + (ROOM_TO_UNFOLD if is_own(node) else 0)


def _poured(graph: Graph, sizes: dict[str, tuple[int, int]], most: int) -> Places:
    """Places where a node stands below whatever has room for it, in the column of what it takes or in a
    later one."""
    columns: list[list[str]] = []
    column_of: dict[str, int] = {}
    tall: list[int] = []
    for name, node in sorted(graph.nodes.items(), key=lambda item: item[1].column):
        sources = [value[0] for value in node.inputs.values() if isinstance(value, tuple)]
        first = max((column_of.get(source, 0) for source in sources), default=0)
        needs = _room(node, sizes[name])
        roomy = (i for i in range(first, len(columns)) if tall[i] + needs <= most)
        here = column_of[name] = next(roomy, len(columns))
        if here == len(columns):
            columns.append([])
            tall.append(0)
        columns[here].append(name)
        tall[here] += needs
    places, left = {}, 0
    for names in columns:
        top = 0
        for name in names:
            places[name] = ((left, top), sizes[name])
            top += _room(graph.nodes[name], sizes[name])
        left += max(sizes[name][0] for name in names) + COLUMN_GAP
    return places


def _columns(graph: Graph, sizes: dict[str, tuple[int, int]], most: int) -> Places:
    """Places where a column that would get higher goes on beside itself."""
    places = {}
    left = 0
    for column in sorted({node.column for node in graph.nodes.values()}):
        top, width = 0, 0
        for name, node in graph.nodes.items():
            if node.column != column:
                continue
            if top and top + sizes[name][1] > most:
                left, top, width = left + width + COLUMN_GAP, 0, 0
            places[name] = ((left, top), sizes[name])
            top += _room(node, sizes[name])
            width = max(width, sizes[name][0])
        left += width + COLUMN_GAP
    return places


def height(node: Node, info: dict[str, Any]) -> int:
    """Room for slots and widgets; multi-line texts get more."""
    total = 0
    slots = 0
    for spec in input_specs(info).values():
        options = spec[1] if len(spec) > 1 else {}
        if not is_widget(spec):
            slots += 1
        elif options.get("multiline"):
            total += 110
        else:
            total += 26 * (2 if options.get("control_after_generate") else 1)
    return 20 + 22 * max(slots, len(info["output"])) + total
