"""ControlNets and T2I adapters of the host in a cached run.

A call of the host gets copies of its conditionings in which stand-ins take their places. Those ask the
cache first, and are gone with the call: no ControlNet, conditioning or model is written to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.controlnet import T2IAdapter
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample
from comfy.patcher_extension import WrappersMP

from ...cache_core.branches import BranchRun
from .conditionings import Call, Conds, describe_call
from .session import Active, Session, session_of

BESIDE = "scaling_cache_branches"
NONE = "No ControlNet or T2I adapter is on the conditionings: there is nothing to leave out"
ADAPTERS = "The host computes T2I adapters once per run: there is nothing to leave out"
SEVERAL = "The host spreads conditionings over several GPUs: every step computes the ControlNets"
# Lists of a ControlNet's layers by whose outputs it adds to a transformer.
_LAYERS = ("controlnet_blocks", "controlnet_single_blocks", "after_proj_list")


@dataclass
class Asked:
    """One call of the host's conditioning batch.

    Attributes:
        active: the cache in its run.
        call: what tells it from others.
        chunks: conditionings of each batch that asked a branch so far.
    """

    active: Active
    call: Call
    chunks: list[int] = field(default_factory=list)


class StandIn:
    """A ControlNet, the ones chained to it included, as a call of the host sees it."""

    def __init__(self, control: Any, asked: Asked) -> None:
        vars(self).update(_control=control, _asked=asked)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._control, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """What others set is for the ControlNet itself."""
        setattr(self._control, name, value)

    def get_control(
        self, x_noisy: Any, t: Any, cond: Any, batched_number: int, *args: Any, **kwargs: Any
    ) -> Any:
        """What is added to the network, computed or from the cache."""
        control, asked = self._control, self._asked
        guard, run = asked.active.guard, asked.active.run
        key = guard(_key, asked, x_noisy, batched_number, *args, *kwargs.values())
        known = guard(run.recall, key, control)
        if known is not None:
            return known
        output = control.get_control(x_noisy, t, cond, batched_number, *args, **kwargs)
        guard(run.keep, key, control, output)
        return output


def _key(asked: Asked, x: torch.Tensor, chunks: int, options: Any = None, *_: Any) -> Any:
    """The batches before it tell which of the conditionings this one has: by how much memory is free the
    host puts more or fewer of them into one."""
    before = tuple(asked.chunks)
    asked.chunks.append(chunks)
    stacked = tuple((options or {}).get("cond_or_uncond", ()))
    return asked.call.keys, before, chunks, stacked, tuple(x.shape), x.dtype, x.device


def arrange(wrappers: dict[str, Any]) -> None:
    """Put ours, inside of all others, around the batches of conditionings of a run with such a cache."""
    wrappers.setdefault(WrappersMP.CALC_COND_BATCH, {})[BESIDE] = [_calc_cond_batch]


def _of_branches(active: Active) -> bool:
    return isinstance(active.run, BranchRun)


def _calc_cond_batch(
    executor: Any, model: Any, conds: Any, x_in: Any, timestep: Any, model_options: Any
) -> Any:
    """What of a batch has to be computed, with the ControlNets by their cache."""
    session = session_of(model_options)
    found = [] if session is None else [*filter(_of_branches, session.caches)]
    if session is not None and found:
        conds = found[0].guard(_beside, session, found[0], conds, x_in, model_options) or conds
    return executor(model, conds, x_in, timestep, model_options)


def _beside(session: Session, active: Active, conds: Conds, x: Any, model_options: Any) -> Conds:
    call = describe_call(conds, x, active.run, session.calls - 1, model_options)
    return _standing_in(active, call, conds, model_options)


def _standing_in(
    active: Active, call: Call, conds: Conds, model_options: Mapping[str, Any]
) -> Conds:
    """The conditionings of a call with stand-ins for their ControlNets: the same one for the same, since
    only those go into one batch.

    Args:
        active: the cache in its run.
    """
    if "multigpu_clones" in model_options:
        active.run.report.note(SEVERAL)
        return conds
    asked, made = Asked(active, call), {}

    def replaced(entry: Mapping[str, Any]) -> Mapping[str, Any]:
        control = entry.get("control")
        if control is None or isinstance(control, StandIn):
            return entry
        stand_in = made.setdefault(id(control), StandIn(control, asked))
        return {**entry, "control": stand_in}

    return [None if cond is None else [replaced(entry) for entry in cond] for cond in conds]


def why_not(conds: Mapping[str, Any]) -> str:
    """Why nothing can be left out; empty if it can, or where a guider holds its own conditionings."""
    found = list(_chained(conds))
    if conds and not found:
        return NONE
    return ADAPTERS if found and all(isinstance(c, T2IAdapter) for c in found) else ""


def room(conds: Mapping[str, Any], shape: Sequence[int], itemsize: int) -> int:
    """Bytes that the largest output takes for one conditioning, about: as the ControlNets say by their
    layers, 0 where they have others than the host's.

    Args:
        shape: of the latent, [batch, channels, ..., height, width].
        itemsize: bytes of a number in the network.
    """
    firsts = [e["control"] for entries in conds.values() for e in entries or () if e.get("control")]
    counts = [max([_numbers(link, shape) for link in _links(first)], default=0) for first in firsts]
    return shape[0] * max(counts, default=0) * itemsize


def _links(control: Any) -> Iterator[Any]:
    while control is not None:
        yield control
        control = getattr(control, "previous_controlnet", None)


def _chained(conds: Mapping[str, Any]) -> Iterator[Any]:
    for entries in conds.values():
        for entry in entries or ():
            yield from _links(entry.get("control"))


def _numbers(control: Any, shape: Sequence[int]) -> int:
    """Numbers that a ControlNet gives for one picture. What is chained goes into the same tensors."""
    network: Any = getattr(control, "control_model", None)
    *more, height, width = shape[2:]
    if hasattr(network, "zero_convs"):
        total = 0
        for block, layer in zip(network.input_blocks, network.zero_convs, strict=True):
            if any(isinstance(part, Downsample) for part in block):
                height, width = math.ceil(height / 2), math.ceil(width / 2)
            total += layer[0].out_channels * height * width
        return total + network.middle_block_out[0].out_channels * height * width
    # Transformers that have ControlNets make a token of 2 x 2 places.
    tokens = math.prod(more) * math.ceil(height / 2) * math.ceil(width / 2)
    layers = [layer for name in _LAYERS for layer in getattr(network, name, ())]
    widths = [
        getattr(layer, "out_features", getattr(network, "hidden_size", 0)) for layer in layers
    ]
    return tokens * sum(widths)
