"""What really ran below the cache, and what the cache says about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from comfy.patcher_extension import WrappersMP
from scaling_cache.nodes.families import find_family
from scaling_cache.nodes.host.session import session_of
from torch import nn

KEY = "testbed"


@dataclass
class Evaluation:
    """One evaluation that reached the host's conditioning batch.

    Attributes:
        sigma: noise level.
        conditionings: how many were not left out.
        ran: blocks of the network that ran.
    """

    sigma: float
    conditionings: int
    ran: set[str] = field(default_factory=set)


@dataclass
class Seen:
    """What was seen of the runs of one model.

    Attributes:
        blocks: names of the network's blocks, its own where it has none that the pack knows.
        evaluations: that reached the host.
        reports: of the pack's runs, as they began.
    """

    blocks: tuple[str, ...]
    evaluations: list[Evaluation] = field(default_factory=list)
    reports: list[Any] = field(default_factory=list)

    @property
    def computed(self) -> int:
        """Evaluations in which every block ran for as many conditionings as ever."""
        most = max((e.conditionings for e in self.evaluations), default=0)
        whole = [e for e in self.evaluations if e.conditionings == most]
        return sum(e.ran == set(self.blocks) for e in whole)


def block_names(network: nn.Module) -> tuple[str, ...]:
    """Modules that stand for the blocks: one for each that is a list of layers."""
    family = find_family(network)
    if family is None:
        return ("",)
    names: list[str] = []
    for stack in family.stacks:
        held = network.get_submodule(stack.attribute)
        if stack.single:
            names.append(f"{stack.attribute}.0")
        else:
            left = set(getattr(network, stack.left_out) or ()) if stack.left_out else set()
            rows = [name for name, _ in held.named_children()]
            kept = [f"{stack.attribute}.{n}" for i, n in enumerate(rows) if i not in left]
            names += [f"{name}.0" for name in kept] if family.unet else kept
    return tuple(names)


@contextmanager
def watching(model: Any) -> Iterator[tuple[Any, Seen]]:
    """A clone of a cached model that is watched where nothing of the pack is in between any more."""
    network = model.model.diffusion_model
    seen = Seen(block_names(network))

    def outer(executor: Any, *args: Any, **kwargs: Any) -> Any:
        session = session_of(executor.class_obj.model_options)
        seen.reports += [active.run.report for active in session.caches] if session else []
        return executor(*args, **kwargs)

    def batch(executor: Any, model: Any, conds: Any, x: Any, sigma: Any, options: Any) -> Any:
        active = sum(cond is not None for cond in conds)
        seen.evaluations.append(Evaluation(float(sigma[0]), active))
        return executor(model, conds, x, sigma, options)

    def ran(name: str) -> Any:
        return lambda module, args: seen.evaluations[-1].ran.add(name)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer)
    watched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, batch)
    handles = [
        network.get_submodule(name).register_forward_pre_hook(ran(name)) for name in seen.blocks
    ]
    try:
        yield watched, seen
    finally:
        for handle in handles:
            handle.remove()


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def listening() -> Iterator[list[str]]:
    """What the pack tells the user while the context is open."""
    log, handler = logging.getLogger("ScalingCache"), _Lines()
    before, passed_on = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield handler.lines
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = passed_on


def refusal(lines: list[str]) -> str:
    """The reason why a run was not cached; empty if it was."""
    mark = "Not cached. "
    return next((line.split(mark, 1)[1] for line in lines if mark in line), "")
