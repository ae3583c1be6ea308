"""The templates that ComfyUI itself ships, read from their package: files, nodes, settings, usage.

A subgraph is unfolded, a switch decided as the template has it, and only what leads to a file that is
saved is kept. What remains is a plain graph.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from simpleeval import InvalidExpression, simple_eval

from .file_format import WIDGET_TYPES

PACKAGE = "comfyui_workflow_templates_json"
# Widgets that the frontend adds behind a seed, and nodes that are read and not run.
AFTER_SEED = ("fixed", "randomize", "increment", "decrement")
NOTES = {"Note", "MarkdownNote"}
ARITHMETIC = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "max": max,
    "min": min,
    "abs": abs,
}
PASSES_ON = {"Reroute", "PreviewAny"}
BYPASSED, INSIDE = 4, -10
SAMPLERS = {"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"}
# Widgets of nodes that no template names.
SPELLED = {
    "Canny": "low_threshold high_threshold",
    "ControlNetApplyAdvanced": "strength start_percent end_percent",
    "ControlNetLoader": "control_net_name",
    "EmptyHunyuanLatentVideo": "width height length batch_size",
    "EmptyHunyuanVideo15Latent": "width height length batch_size",
    "EmptySD3LatentImage": "width height batch_size",
    "Flux2Scheduler": "steps width height",
    "FluxGuidance": "guidance",
    "ImageScale": "upscale_method width height crop",
    "KSamplerAdvanced": "add_noise noise_seed steps cfg sampler_name scheduler start_at_step end_at_step "
    "return_with_leftover_noise",
    "QuadrupleCLIPLoader": "clip_name1 clip_name2 clip_name3 clip_name4",
    "StringConcatenate": "string_a string_b delimiter",
    "T5TokenizerOptions": "min_padding min_length",
    "Wan22ImageToVideoLatent": "width height length batch_size",
    "WanImageToVideo": "width height length batch_size",
}
# A node of a subgraph by the way to it.
Place = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A constant in place of a link."""

    value: Any


@dataclass(frozen=True)
class Source:
    """An output in place of a link."""

    node: Place
    slot: int


@dataclass(frozen=True)
class Part:
    """A node of an official template.

    Attributes:
        kind: the host's node id.
        inputs: values, and outputs of other parts.
        models: files to download as (name, folder, address).
    """

    kind: str
    inputs: dict[str, Any]
    models: tuple[tuple[str, str, str], ...]


@cache
def read(name: str) -> Any:
    """A JSON file of the package by its name."""
    text = files(PACKAGE).joinpath("templates", f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)


@cache
def index() -> dict[str, dict[str, Any]]:
    """What the package says of each template that runs on this machine."""
    every = (entry for group in read("index") for entry in group["templates"])
    return {entry["name"]: entry for entry in every if entry.get("openSource") is not False}


def raw_nodes(name: str) -> list[dict[str, Any]]:
    """All nodes of a template, those of its subgraphs too."""
    template = read(name)
    folded = template.get("definitions", {}).get("subgraphs", [])
    return [node for graph in (template, *folded) for node in graph["nodes"]]


@cache
def shapes() -> dict[str, dict[str, Any]]:
    """Each kind of node as /object_info would tell it, as far as templates that name its widgets do."""
    found: dict[str, dict[str, Any]] = {}
    for name in index():
        for node in raw_nodes(name):
            if "widgets_values_named" in node or not node.get("widgets_values"):
                shape = _shape(node)
                known = found.setdefault(node["type"], shape)
                if len(shape["input"]["required"]) > len(known["input"]["required"]):
                    found[node["type"]] = shape
    return found


def _shape(node: dict[str, Any]) -> dict[str, Any]:
    widgets = {
        key: [
            _widget_type(value),
            {"control_after_generate": key in ("seed", "noise_seed"), "multiline": key == "prompt"},
        ]
        for key, value in node.get("widgets_values_named", {}).items()
        if value not in AFTER_SEED
    }
    slots = {each["name"]: each for each in node.get("inputs", []) if "widget" not in each}
    required = {key: [each["type"]] for key, each in slots.items() if each.get("shape") != 7}
    optional = {key: [each["type"]] for key, each in slots.items() if each.get("shape") == 7}
    groups = {"required": {**required, **widgets}, "optional": optional}
    outputs = node.get("outputs", [])
    return {
        "input": groups,
        "input_order": {group: list(inputs) for group, inputs in groups.items()},
        "output": [each["type"] for each in outputs],
        "output_name": [each["name"] for each in outputs],
    }


def _widget_type(value: Any) -> str:
    kinds = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
    return kinds.get(type(value), "COMBO")


def widgets(node: dict[str, Any]) -> dict[str, Any]:
    """Widget values of a saved node by name, where anything names them."""
    values = node.get("widgets_values") or {}
    if isinstance(values, list) and "widgets_values_named" not in node:
        shape = shapes().get(node["type"])
        specs = shape["input"]["required"] if shape else {}
        names = [key for key, spec in specs.items() if len(spec) > 1]
        names = SPELLED[node["type"]].split() if node["type"] in SPELLED else names
        kept = (value for i, value in enumerate(values) if not (i and value in AFTER_SEED))
        return dict(zip(names, kept, strict=False))
    named = node.get("widgets_values_named", values)
    return {key: value for key, value in named.items() if value not in AFTER_SEED}


def _by_place(definition: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Values that a folded subgraph shows, by the names of its inputs, if it has one for each."""
    names = [each["name"] for each in definition["inputs"] if each["type"] in WIDGET_TYPES]
    values = node.get("widgets_values") or []
    return dict(zip(names, values, strict=True)) if len(names) == len(values) else {}


def _models(node: dict[str, Any], inputs: dict[str, Any]) -> dict[tuple[str, str, str], None]:
    """Files that a node names and its widgets choose, each once."""
    named = node["properties"].get("models", [])
    return {
        (each["name"], each["directory"], each["url"].split("?")[0]): None
        for each in named
        if each["name"] in inputs.values()
    }


class Unfolded:
    """An official template without subgraphs, switches and what leads to no file."""

    def __init__(self, name: str) -> None:
        template = read(name)
        self.name = name
        self._definitions = {
            each["id"]: each for each in template.get("definitions", {}).get("subgraphs", [])
        }
        self._nodes: dict[Place, dict[str, Any]] = {}
        self._links: dict[Place, dict[int, tuple[int, int]]] = {}
        self._lay_out(template, ())
        self.parts: dict[Place, Part] = {}
        # Kinds whose values nothing names.
        self.nameless: set[str] = set()
        for place, node in self._nodes.items():
            if node["type"].startswith("Save") and not node.get("mode"):
                self._keep(place)

    def samplers(self) -> dict[Place, int]:
        """Samplers and how many steps they do."""
        return {
            place: self._steps(part) for place, part in self.parts.items() if part.kind in SAMPLERS
        }

    def _steps(self, part: Part) -> int:
        """Steps of a sampler or its sigmas; 0 where the graph works them out."""
        if isinstance(steps := part.inputs.get("steps"), int | float):
            first, last = part.inputs.get("start_at_step", 0), part.inputs.get("end_at_step", steps)
            return int(min(last, steps) - first)
        sigmas = part.inputs.get("sigmas")
        if isinstance(sigmas, str):
            return len(sigmas.split(",")) - 1
        return self._steps(self.parts[sigmas.node]) if isinstance(sigmas, Source) else 0

    def _lay_out(self, graph: dict[str, Any], way: Place) -> None:
        links = {}
        for each in graph["links"]:
            if isinstance(each, dict):
                links[each["id"]] = (each["origin_id"], each["origin_slot"])
            else:
                links[each[0]] = (each[1], each[2])
        self._links[way] = links
        for node in graph["nodes"]:
            place = (*way, node["id"])
            self._nodes[place] = node
            if inside := self._definitions.get(node["type"]):
                self._lay_out(inside, place)

    def _keep(self, place: Place) -> None:
        """This node and all that it needs."""
        if place in self.parts:
            return
        node = self._nodes[place]
        inputs = widgets(node)
        if node.get("widgets_values") and not inputs:
            self.nameless.add(node["type"])
        for entry in node.get("inputs", []):
            match self._input(place, entry):
                case Value(value):
                    inputs[entry["name"]] = value
                case Source() as source:
                    inputs[entry["name"]] = source
        self.parts[place] = Part(node["type"], inputs, tuple(_models(node, inputs)))
        for value in inputs.values():
            if isinstance(value, Source):
                self._keep(value.node)

    def _input(self, place: Place, entry: dict[str, Any]) -> Value | Source | None:
        """What an input of a node gets; None leaves it to its widget."""
        if entry.get("link") is None:
            return None
        way = place[:-1]
        origin, slot = self._links[way][entry["link"]]
        if origin != INSIDE:
            return self._output((*way, origin), slot)
        outer = self._nodes[way]
        definition = self._definitions[outer["type"]]
        wanted = definition["inputs"][slot]["name"]
        entries = (each for each in outer.get("inputs", []) if each["name"] == wanted)
        linked = self._input(way, next(entries, {}))
        named = outer.get("widgets_values_named", _by_place(definition, outer))
        return Value(named[wanted]) if linked is None and wanted in named else linked

    def _output(self, place: Place, slot: int) -> Value | Source | None:
        """What comes out of a node, after all that only passes it on."""
        node = self._nodes[place]
        kind = node["type"]
        slots = {each["name"]: each for each in node.get("inputs", [])}
        if inside := self._definitions.get(kind):
            ends = inside["outputs"][slot]["linkIds"]
            found = [self._links[place][each] for each in ends if each in self._links[place]]
            return self._output((*place, found[0][0]), found[0][1]) if found else None
        if kind == "ComfySwitchNode":
            match self._input(place, slots.get("switch", {})):
                case Value(chosen):
                    pass
                case _:
                    chosen = widgets(node)["switch"]
            return self._input(place, slots["on_true" if chosen else "on_false"])
        if kind == "ResolutionSelector":
            return None  # The widget behind it has a size of its own.
        if kind == "ComfyMathExpression":
            return self._calculated(place, slots, slot)
        if kind in PASSES_ON:
            return self._input(place, next(iter(slots.values())))
        if kind.startswith("Primitive"):
            linked = self._input(place, slots.get("value", {}))
            return linked or Value(node["widgets_values"][0])
        if node.get("mode") == BYPASSED:
            wanted = node["outputs"][slot]["type"]
            alike = (each for each in slots.values() if each["type"] == wanted)
            return self._input(place, next(alike, {}))
        return Source(place, slot)

    def _calculated(self, place: Place, slots: dict[str, Any], slot: int) -> Value | None:
        """What a formula gives, if it is one of constants."""
        given = {
            key.removeprefix("values."): self._input(place, each) for key, each in slots.items()
        }
        known = {key: each.value for key, each in given.items() if isinstance(each, Value)}
        formula = widgets(self._nodes[place])["expression"]
        try:
            result = simple_eval(formula, functions=ARITHMETIC, names=known)
        except InvalidExpression:
            return None
        return Value(int(result) if slot else float(result))

    def networks(self) -> set[str]:
        """Files of the networks that are sampled, and of what is loaded like one."""
        inputs = (part.inputs for part in self.parts.values())
        return {each[key] for each in inputs for key in ("unet_name", "ckpt_name") if key in each}
