"""What really ran below the cache, and what the cache says about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.nodes.families import find_family
from scaling_cache.nodes.host.session import session_of
from torch import nn

from .composed import Answer, Recording, recording

KEY = "testbed"


@dataclass
class Evaluation:
    """One evaluation that reached the host's conditioning batch.

    Attributes:
        sigma: noise level.
        conditionings: how many were not left out.
        ran: blocks of the network that ran.
        answer: what the host gave.
    """

    sigma: float
    conditionings: int
    ran: set[str] = field(default_factory=set)
    answer: Answer | None = None


@dataclass
class Seen:
    """What was seen of the runs of one model.

    Attributes:
        blocks: names of the network's blocks, its own where it has none that the pack knows.
        evaluations: that reached the host.
        record: calls of the network, with what the pack predicts in them.
        reports: of the pack's runs, as they began.
    """

    blocks: tuple[str, ...]
    record: Recording
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
    names = block_names(network)

    def outer(executor: Any, *args: Any, **kwargs: Any) -> Any:
        session = session_of(executor.class_obj.model_options)
        for active in session.caches if session else ():
            seen.reports.append(active.run.report)
            if active.network is not None:
                seen.record.begin(active.run)
        return executor(*args, **kwargs)

    def batch(executor: Any, model: Any, conds: Any, x: Any, sigma: Any, options: Any) -> Any:
        active = sum(cond is not None for cond in conds)
        seen.evaluations.append(evaluation := Evaluation(float(sigma[0]), active))
        outputs = executor(model, conds, x, sigma, options)
        evaluation.answer = _answer(conds, x, outputs)
        return outputs

    def ran(name: str) -> Any:
        return lambda module, args: seen.evaluations[-1].ran.add(name)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer)
    watched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, batch)
    with ExitStack() as stack:
        for name in names:
            handle = network.get_submodule(name).register_forward_pre_hook(ran(name))
            stack.callback(handle.remove)
        seen = Seen(names, stack.enter_context(recording(network, names)))
        yield watched, seen


def answering(model: Any) -> tuple[Any, list[Answer]]:
    """A clone of a model, before any cache is put on it, and what its sampler gets."""
    answers: list[Answer] = []

    def batch(executor: Any, model: Any, conds: Any, x: Any, sigma: Any, options: Any) -> Any:
        outputs = executor(model, conds, x, sigma, options)
        answers.append(_answer(conds, x, outputs))
        return outputs

    asked = model.clone()
    asked.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, f"{KEY} answers", batch)
    return asked, answers


def _answer(conds: Any, x: torch.Tensor, outputs: Any) -> Answer:
    """Copies, for later steps may write into what they get."""
    given = zip(conds, outputs, strict=True)
    return Answer(x.clone(), [None if cond is None else out.clone() for cond, out in given])


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
