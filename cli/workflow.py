"""Read a user's workflow, and turn it into one that calibrates its model. Pure functions on dictionaries;
the host is asked for nothing but the nodes of a workflow that the browser saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .convert import to_api

Workflow = dict[str, Any]
Trail = tuple[str, ...]

# How many conditionings the Calibrate Cache node takes besides the first.
MORE_PROMPTS = 3
CALIBRATE = "ScalingCalibrateCache"
# Ids of this pack's nodes begin so. These of them measure; the others with a model put a cache on it.
_PREFIX = "Scaling"
_MEASURING = frozenset(
    {CALIBRATE, "ScalingProfileBlocks", "ScalingSuggestSpeedup", "ScalingCacheReport"}
)
_HOST_CACHES = frozenset({"EasyCache", "LazyCache"})
# Inputs of the host's text encoders that hold the prompt.
TEXTS = frozenset(
    {
        "text",
        "text_g",
        "text_l",
        "prompt",
        "clip_l",
        "clip_g",
        "t5xxl",
        "llama",
        "bert",
        "mt5xl",
        "user_prompt",
        "tags",
    }
)
_HOW = "in ComfyUI choose File > Export (API) and give that file"


@dataclass(frozen=True)
class Wanted:
    """What to calibrate with; None takes the workflow's own.

    Attributes:
        name: of the coefficient file.
        prompts: in addition to the workflow's own prompt.
        sampler: id of the sampling node, for a workflow with several.
        refine: whether to measure at which steps errors matter most.
    """

    name: str
    prompts: Sequence[str] = ()
    runs: int = 2
    steps: int | None = None
    seed: int | None = None
    sampler: str | None = None
    refine: bool = False


def read(path: Path, known: Callable[[str], Any]) -> Workflow:
    """A workflow in API format, from a file in that or as the browser saves it.

    Args:
        known: what the host says of a kind of node; asked for the browser's format alone.

    Raises:
        ValueError: if the file is something else.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"WORKFLOW: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"WORKFLOW: {path} is not a JSON file; {_HOW}") from error
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        content = to_api(content, known)
    check(content)
    return content


def check(content: Any) -> None:
    """
    Raises:
        ValueError: unless it is a workflow in API format whose links all lead to a node and whose
            numbers are finite.
    """
    if not (isinstance(content, dict) and content and all(map(_is_node, content.values()))):
        raise ValueError(f"WORKFLOW: is not a workflow in API format; {_HOW}")
    for node, entry in content.items():
        for name, value in ({**entry, "inputs": None} | entry["inputs"]).items():
            if not is_finite(value):
                raise ValueError(
                    f"WORKFLOW: {name} of {label(content, node)} must be finite, got {value}"
                )
        for name, value in entry["inputs"].items():
            if is_link(value) and value[0] not in content:
                raise ValueError(
                    f"WORKFLOW: {name} of {label(content, node)} is linked to node {value[0]}, which "
                    "is not there"
                )


def _is_node(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("class_type"), str)
        and isinstance(entry.get("inputs"), dict)
    )


def is_finite(value: Any) -> bool:
    """Whether all numbers in it are finite. What a host is sent it remembers and shows to every page, and
    a page cannot read others."""
    if isinstance(value, dict | list):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def is_link(value: Any) -> bool:
    """Whether an input comes from another node, as [id, output]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and type(value[1]) is int
    )


def label(workflow: Workflow, node: str) -> str:
    return f"node {node} ({workflow[node]['class_type']})"


def is_cache(entry: dict[str, Any]) -> bool:
    """Whether a node leaves steps out: one of this pack or of the host. A calibration computes all."""
    return is_own_cache(entry) or entry["class_type"] in _HOST_CACHES


def is_own_cache(entry: dict[str, Any]) -> bool:
    """Whether a node of this pack puts a cache on a model. Its id tells: the host may not be there."""
    kind = entry["class_type"]
    return kind.startswith(_PREFIX) and kind not in _MEASURING and "model" in entry["inputs"]


def calibration(workflow: Workflow, wanted: Wanted, node: str = "calibrate") -> Workflow:
    """The part of a workflow that leads to its sampling node, with Calibrate Cache in the place of that.

    Args:
        node: id for the new node.

    Raises:
        ValueError: naming the field, if the workflow cannot be read or there are too many prompts.
    """
    if len(wanted.prompts) > MORE_PROMPTS:
        raise ValueError(
            f"--prompts: at most {MORE_PROMPTS}, besides the workflow's own prompt, got "
            f"{len(wanted.prompts)}"
        )
    workflow = without_caches(workflow)
    sampler = find_sampler(workflow, wanted.sampler)
    inputs = SAMPLERS[workflow[sampler]["class_type"]](workflow, sampler)
    given = {"steps": wanted.steps, "seed": wanted.seed}
    inputs |= {name: value for name, value in given.items() if value is not None}
    for number, prompt in enumerate(wanted.prompts, start=2):
        further = f"positive_{number}"
        copies, inputs[further] = with_prompt(workflow, inputs["positive"], prompt, further)
        workflow = {**workflow, **copies}
    inputs |= {"name": wanted.name, "runs": wanted.runs, "refine": wanted.refine}
    calibrate = {"class_type": CALIBRATE, "inputs": inputs, "_meta": {"title": "Calibrate Cache"}}
    return _upstream({**workflow, node: calibrate}, node)


def without_caches(workflow: Workflow) -> Workflow:
    """The same workflow with all caches passed by, so that every step is computed.

    Raises:
        ValueError: if caches lead to none but themselves.
    """

    def real(value: Any) -> Any:
        for _ in workflow:
            if not (is_link(value) and is_cache(workflow[value[0]])):
                return value
            value = workflow[value[0]]["inputs"].get("model")
        raise ValueError("WORKFLOW: cache nodes are linked in a ring")

    return {
        node: {**entry, "inputs": {k: real(v) for k, v in entry["inputs"].items()}}
        for node, entry in workflow.items()
    }


def find_sampler(workflow: Workflow, chosen: str | None = None) -> str:
    """Id of the sampling node.

    Raises:
        ValueError: if there is none, or several and none was chosen.
    """
    known = ", ".join(SAMPLERS)
    found = [node for node, entry in workflow.items() if entry["class_type"] in SAMPLERS]
    if not found:
        raise ValueError(f"WORKFLOW: has no sampling node; known are {known}")
    names = ", ".join(label(workflow, node) for node in found)
    if chosen is not None and chosen not in found:
        raise ValueError(f"--sampler: must be the id of {names}, got {chosen}")
    if chosen is None and len(found) > 1:
        raise ValueError(f"WORKFLOW: has several sampling nodes: {names}; choose with --sampler ID")
    return found[0] if chosen is None else chosen


def _ksampler(workflow: Workflow, node: str, seed: str = "seed") -> dict[str, Any]:
    links = ("model", "positive", "negative")
    values = ("steps", "cfg", "sampler_name", "scheduler")
    return {
        **{name: _link(workflow, node, name) for name in links},
        "latent_image": _latent(workflow, node),
        "seed": _value(workflow, node, seed),
        **{name: _value(workflow, node, name) for name in values},
    }


def _ksampler_advanced(workflow: Workflow, node: str) -> dict[str, Any]:
    return _ksampler(workflow, node, seed="noise_seed")


def _custom(workflow: Workflow, node: str) -> dict[str, Any]:
    return {
        **{name: _link(workflow, node, name) for name in ("model", "positive", "negative")},
        "cfg": _value(workflow, node, "cfg"),
        "seed": _value(workflow, node, "noise_seed"),
        **_schedule(workflow, node),
    }


def _custom_advanced(workflow: Workflow, node: str) -> dict[str, Any]:
    guider = _behind(workflow, node, "guider", ("CFGGuider", "BasicGuider"))
    if workflow[guider]["class_type"] == "BasicGuider":
        positive = negative = _link(workflow, guider, "conditioning")
        cfg = 1.0  # the host then leaves the negative conditioning out
    else:
        positive, negative = (_link(workflow, guider, k) for k in ("positive", "negative"))
        cfg = _value(workflow, guider, "cfg")
    noise = _link(workflow, node, "noise")[0]
    seeded = "noise_seed" in workflow[noise]["inputs"]
    return {
        "model": _link(workflow, guider, "model"),
        "positive": positive,
        "negative": negative,
        "cfg": cfg,
        "seed": _value(workflow, noise, "noise_seed") if seeded else 0,
        **_schedule(workflow, node),
    }


def _schedule(workflow: Workflow, node: str) -> dict[str, Any]:
    """What the custom sampling nodes take as objects, and the latent."""
    select = _behind(workflow, node, "sampler", ("KSamplerSelect",))
    scheduler = _behind(workflow, node, "sigmas", ("BasicScheduler",))
    return {
        "latent_image": _latent(workflow, node),
        "sampler_name": _value(workflow, select, "sampler_name"),
        "scheduler": _value(workflow, scheduler, "scheduler"),
        "steps": _value(workflow, scheduler, "steps"),
    }


SAMPLERS: dict[str, Callable[[Workflow, str], dict[str, Any]]] = {
    "KSampler": _ksampler,
    "KSamplerAdvanced": _ksampler_advanced,
    "SamplerCustom": _custom,
    "SamplerCustomAdvanced": _custom_advanced,
}


def _input(workflow: Workflow, node: str, name: str) -> Any:
    value = workflow[node]["inputs"].get(name)
    if value is None:
        raise ValueError(f"WORKFLOW: {name} of {label(workflow, node)} is missing")
    return value


def _link(workflow: Workflow, node: str, name: str) -> list[Any]:
    value = _input(workflow, node, name)
    if not is_link(value):
        raise ValueError(f"WORKFLOW: {name} of {label(workflow, node)} is not linked to a node")
    return value


def _behind(workflow: Workflow, node: str, name: str, kinds: Sequence[str]) -> str:
    """Id of the node that an input comes from."""
    source = _link(workflow, node, name)[0]
    if workflow[source]["class_type"] not in kinds:
        raise ValueError(
            f"WORKFLOW: {name} of {label(workflow, node)} comes from {label(workflow, source)}; it can "
            f"be read from {' or '.join(kinds)} only"
        )
    return source


def _value(workflow: Workflow, node: str, name: str) -> Any:
    """What an input is set to. Links are followed to a primitive node, which has one input `value`;
    of other nodes the link stays, for the host to evaluate."""
    value = _input(workflow, node, name)
    for _ in workflow:
        if not is_link(value) or workflow[value[0]]["inputs"].keys() != {"value"}:
            break
        value = workflow[value[0]]["inputs"]["value"]
    return value


def _latent(workflow: Workflow, node: str) -> list[Any]:
    """Where the latent comes from. For a second stage that is the first one's, which need not be
    sampled to know the size."""
    link = _link(workflow, node, "latent_image")
    for _ in workflow:
        if workflow[link[0]]["class_type"] not in SAMPLERS:
            break
        link = _link(workflow, link[0], "latent_image")
    return link


def with_prompt(
    workflow: Workflow, link: list[Any], prompt: str, name: str
) -> tuple[Workflow, list[Any]]:
    """Copies of the nodes from the text encoder to a conditioning, with another prompt.

    Args:
        link: to the conditioning.
        name: of the new conditioning; becomes part of the ids of the copies.

    Returns:
        The copies, and the link to the new conditioning.

    Raises:
        ValueError: naming the field, if not exactly one text encoder leads to the conditioning.
    """
    trails = _trails(workflow, link, ())
    encoders = sorted({trail[-1] for trail in trails})
    if len(encoders) != 1:
        found = ", ".join(label(workflow, node) for node in encoders) or "none"
        raise ValueError(
            "--prompts: positive must come from one node with a text input (such as text of "
            f"CLIPTextEncode), found {found}"
        )
    ids = {node: f"{node}_{name}" for trail in trails for node in trail}

    def copied(value: Any) -> Any:
        return [ids[value[0]], value[1]] if is_link(value) and value[0] in ids else value

    copies = {}
    for node, copy in ids.items():
        inputs = {k: copied(v) for k, v in workflow[node]["inputs"].items()}
        if node in encoders:
            inputs |= dict.fromkeys(TEXTS & inputs.keys(), prompt)
        copies[copy] = {**workflow[node], "inputs": inputs}
    return copies, copied(link)


def _trails(workflow: Workflow, link: list[Any], before: Trail) -> list[Trail]:
    """Ids from a conditioning back to each text encoder."""
    node, slot = link
    trail = (*before, node)
    inputs = workflow[node]["inputs"]
    if TEXTS & inputs.keys():
        return [trail]
    sources = [s for s in _conditionings(inputs, slot) if s[0] not in trail]
    return [found for source in sources for found in _trails(workflow, source, trail)]


def _conditionings(inputs: dict[str, Any], slot: int) -> list[list[Any]]:
    """The links that the conditioning at an output of a node is made of. Nodes that pass on a pair do
    so in the order positive, negative."""
    links = {name: value for name, value in inputs.items() if is_link(value)}
    pair = ("positive", "negative")
    if slot < len(pair) and pair[slot] in links:
        return [links[pair[slot]]]
    named = [value for name, value in links.items() if name.startswith("cond")]
    return named or list(links.values())


def _upstream(workflow: Workflow, node: str) -> Workflow:
    """A node and all that it depends on."""
    needed: set[str] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current not in needed:
            needed.add(current)
            waiting += [v[0] for v in workflow[current]["inputs"].values() if is_link(v)]
    return {key: entry for key, entry in workflow.items() if key in needed}
