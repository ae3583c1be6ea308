"""Blueprints: subgraphs that the frontend offers as one node, made of the parts of the templates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..host.fetch import ROOT
from .file_format import (
    COLUMN_GAP,
    INPUTS,
    OWN_COLOURS,
    WIDGET_TYPES,
    Graph,
    Link,
    Node,
    identity,
    layout,
    link,
    numbers,
    outside,
    saved,
)
from .graphs import decoder, sampler, scaling_cache
from .twice import compare_graph, hunt_graph

FOLDER = ROOT / "subgraphs"
OUTPUTS = -20
ROW, WIDGET_ROW = 20, 24
LINK = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
# Of a seed: how it changes from run to run.
CONTROL = "control_after_generate"
CONDITIONED = {
    "model": "MODEL",
    "positive": "CONDITIONING",
    "negative": "CONDITIONING",
    "latent_image": "LATENT",
}
# Where both samplers have the same number, it is an input.
TWICE = {**CONDITIONED, "vae": "VAE", "cfg": "FLOAT"}
CFG = 4.0
SHARED = (
    ("noise", "noise_seed"),
    ("noise", CONTROL),
    ("sigmas", "steps"),
    ("select", "sampler_name"),
    ("sigmas", "scheduler"),
)


@dataclass(frozen=True)
class Blueprint:
    """A subgraph and where its file goes.

    Attributes:
        graph: its nodes, linked to its inputs by `outside`; its note is what the node library says.
        inputs: types by name.
        outputs: types and what gives them, by name.
        shown: widgets of its nodes that are set from outside.
    """

    graph: Graph
    inputs: dict[str, str]
    outputs: dict[str, tuple[str, Link]]
    shown: tuple[tuple[str, str], ...]


def blueprints() -> list[Blueprint]:
    """All of the pack."""
    return [_sampler(), _draft_and_final(), _compare()]


def _sampler() -> Blueprint:
    note = "KSampler with Scaling Cache before it: speedup says how much faster."
    settings = ("seed", CONTROL, "steps", "cfg", "sampler_name", "scheduler", "denoise")
    return Blueprint(
        Graph("Sampler with Scaling Cache", FOLDER, _once(), note),
        CONDITIONED,
        {"latent": ("LATENT", link("sampler"))},
        (("cache", "speedup"), *(("sampler", each) for each in settings)),
    )


def _draft_and_final() -> Blueprint:
    note = (
        "The same seed twice: a draft about three times as fast, and with all steps computed. What "
        "nothing takes is not sampled: mute what saves the final picture until a draft pleases."
    )
    graph = hunt_graph(_twice(), "Draft and final (Scaling Cache)", note)
    kept = {k: replace(v, muted=False) for k, v in graph.nodes.items() if v.kind != "SaveImage"}
    outputs = {"draft": ("IMAGE", link("decode")), "final": ("IMAGE", link("decode_final"))}
    return Blueprint(replace(graph, nodes=kept), TWICE, outputs, SHARED)


def _compare() -> Blueprint:
    note = (
        "Samples twice from the same noise, with the cache and without. report is a picture of what was "
        "computed, how much faster it was and where the results differ."
    )
    graph = compare_graph(_twice(), "Compare (Scaling Cache)", note)
    kept = {key: node for key, node in graph.nodes.items() if node.kind != "SaveImage"}
    outputs = {
        "images": ("IMAGE", link("decode")),
        "reference_images": ("IMAGE", link("decode_plain")),
        "report": ("IMAGE", link("report")),
    }
    return Blueprint(replace(graph, nodes=kept), TWICE, outputs, (("cache", "speedup"), *SHARED))


def _once() -> dict[str, Node]:
    """Scaling Cache and a sampler behind the inputs of a blueprint."""
    links = {key: outside(slot) for slot, key in enumerate(CONDITIONED)}
    cache = scaling_cache(links.pop("model"))
    return {"cache": cache, "sampler": sampler(20, CFG, "euler", "simple", **links)}


def _twice() -> Graph:
    """What templates that sample twice are made of."""
    nodes = _once()
    cfg = {"cfg": outside(list(TWICE).index("cfg"))}
    nodes["sampler"] = replace(nodes["sampler"], inputs=nodes["sampler"].inputs | cfg)
    nodes["decode"] = decoder(outside(list(TWICE).index("vae")))
    return Graph("", FOLDER, nodes, "")


def blueprint_format(blueprint: Blueprint, object_info: dict[str, Any]) -> dict[str, Any]:
    """As the frontend saves it: a graph of one node, and beside it what is in that."""
    graph, number = blueprint.graph, numbers(blueprint.graph)
    places = layout(graph, object_info)
    nodes, links = saved(graph, object_info, places)
    for node in nodes:
        if node["type"] == "CFGGuider":  # the input shows its value
            node["widgets_values"] = [CFG]
    by_id = {node["id"]: node for node in nodes}
    for slot, (kind, (source, out)) in enumerate(blueprint.outputs.values()):
        links.append([len(links) + 1, number[source], out, OUTPUTS, slot, kind])
        by_id[number[source]]["outputs"][out]["links"].append(len(links))
    given = {name: kind for name, (kind, _) in blueprint.outputs.items()}
    right = max(x + width for (x, _), (width, _) in places.values())
    last = {
        "lastNodeId": len(nodes),
        "lastLinkId": len(links),
        "lastGroupId": 0,
        "lastRerouteId": 0,
    }
    inside = {
        "id": identity(graph.name),
        "version": 1,
        "state": last,
        "revision": 0,
        "config": {},
        "name": graph.name,
        "category": "Scaling Cache",
        "description": graph.note,
        "inputNode": _end(INPUTS, blueprint.inputs, -160),
        "outputNode": _end(OUTPUTS, given, right + COLUMN_GAP),
        "inputs": _slots(graph.name, blueprint.inputs, [each[:3] for each in links], INPUTS),
        "outputs": _slots(graph.name, given, [[each[0], *each[3:5]] for each in links], OUTPUTS),
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": [dict(zip(LINK, each, strict=True)) for each in links],
        "extra": {},
    }
    set_here = [*blueprint.shown, *(k for k in blueprint.inputs.values() if k in WIDGET_TYPES)]
    # None has the number of another, inside or out: newer frontends then find the widgets.
    node = {
        "id": len(nodes) + 1,
        "type": inside["id"],
        "pos": [0, 0],
        "size": [340, 60 + ROW * len(blueprint.inputs) + WIDGET_ROW * len(set_here)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": name, "type": kind, "link": None}
            | ({"widget": {"name": name}} if kind in WIDGET_TYPES else {})
            for name, kind in blueprint.inputs.items()
        ],
        "outputs": [{"name": name, "type": kind, "links": []} for name, kind in given.items()],
        "properties": {"proxyWidgets": [[str(number[name]), key] for name, key in blueprint.shown]},
        # Values stand in the nodes: frontends do not agree on whose those here are.
        "widgets_values": [],
        "title": graph.name,
        **OWN_COLOURS,
    }
    return {
        "id": identity(f"{graph.name} alone"),
        "revision": 0,
        "last_node_id": node["id"],
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "groups": [],
        "config": {},
        "extra": {"BlueprintDescription": graph.note},
        "definitions": {"subgraphs": [inside]},
        "version": 0.4,
    }


def _end(number: int, slots: dict[str, str], left: int) -> dict[str, Any]:
    return {"id": number, "bounding": [left, 0, 120, 40 + ROW * len(slots)]}


def _slots(
    name: str, kinds: dict[str, str], links: list[list[Any]], end: int
) -> list[dict[str, Any]]:
    """Inputs or outputs of the subgraph; links are given as id, node and slot at that end."""
    return [
        {
            "id": identity(f"{name} {end} {key}"),
            "name": key,
            "type": kind,
            "linkIds": [number for number, *place in links if place == [end, slot]],
        }
        for slot, (key, kind) in enumerate(kinds.items())
    ]
