"""Sampling runs that are over, kept for a report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .report import RunReport

# A sampler that runs once per item of a list makes many runs in one prompt.
_MOST = 64


@dataclass(frozen=True)
class FinishedRun:
    """One sampling run.

    Attributes:
        name: of the method.
        report: what happened.
        node: id of the cache node, None for scripts.
        sampler: id of the node that sampled, None outside the host's queue.
        prompt: the host's id of the prompt, None outside the host's queue.
        plain: whether it ran without a cache, to be compared with.
        refused: why it was not cached, empty if it was.
    """

    name: str
    report: RunReport
    node: str | None = None
    sampler: str | None = None
    prompt: str | None = None
    plain: bool = False
    refused: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        facts = {"method": self.name, "node": self.node, "sampler": self.sampler}
        if self.refused:
            return {**facts, "refused": self.refused}
        return {**facts, **self.report.as_dict()}


class RunLog:
    """Runs of one cache node. Belongs to the model that the node made and to all clones of it; holds
    numbers only."""

    def __init__(self) -> None:
        self._runs: tuple[FinishedRun, ...] = ()

    def __deepcopy__(self, memo: Any) -> RunLog:
        """Clones of a model copy its options deeply, and what they sample belongs here too."""
        return self

    def add(self, run: FinishedRun) -> None:
        """Keep a run in place of those that the same sampler made for earlier prompts."""
        kept = [
            r
            for r in self._runs
            if r.prompt is not None and (r.sampler != run.sampler or r.prompt == run.prompt)
        ]
        self._runs = (*kept, run)[-_MOST:]

    def latest(self, samplers: Collection[str] = ()) -> list[FinishedRun]:
        """The runs at these samplers; those of the last prompt if there are none."""
        found = [r for r in self._runs if r.sampler in samplers]
        return found or [r for r in self._runs if r.prompt == self._runs[-1].prompt]


def seconds(runs: Collection[FinishedRun]) -> float:
    """Wall time of runs. Two caches on one model see the same run, which counts once."""
    return _total([(r, r.report.seconds) for r in runs])


def estimated_plain_seconds(runs: Collection[FinishedRun]) -> float:
    """What the runs would have taken without a cache, by the time of their computed steps."""
    return _total([(r, r.report.seconds * r.report.speedup) for r in runs])


def measured_speedup(cached: Collection[FinishedRun], plain: Collection[FinishedRun]) -> float:
    """Wall time of plain runs over that of the cached ones.

    Both compute their first step; the run that came first also pays for loading there, so the faster one
    counts for both.

    Raises:
        ValueError: if there is nothing to compare.
    """
    spent, spent_plain = seconds(cached), seconds(plain)
    first, first_plain = _first(cached), _first(plain)
    same = min(first, first_plain)
    spent, spent_plain = spent - first + same, spent_plain - first_plain + same
    if not (spent > 0 and spent_plain > 0):
        raise ValueError("reference_model: no time was measured; sample with it in this workflow")
    return spent_plain / spent


def _total(times: Collection[tuple[FinishedRun, float]]) -> float:
    """Sum over the samplers, of the longest time that one cache node saw there."""
    nodes: dict[tuple[str | None, str | None], float] = {}
    for run, spent in times:
        key = run.sampler, run.node
        nodes[key] = nodes.get(key, 0.0) + spent
    samplers: dict[str | None, float] = {}
    for (sampler, _), spent in nodes.items():
        samplers[sampler] = max(samplers.get(sampler, 0.0), spent)
    return sum(samplers.values())


def _first(runs: Collection[FinishedRun]) -> float:
    """Seconds of the first step of the first run."""
    run = next((r for r in runs if r.report.records), None)
    return 0.0 if run is None else run.report.records[0].seconds
