"""What happened in sampling runs, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..decide.policies import ALWAYS
from ..predict.predictors import TURNED, UNKNOWN

# Said of the steps of a run that has no cache.
PLAIN = "no cache"
# A sampler that runs once per item of a list makes many runs in one prompt.
_MOST = 64
# A host keeps the history of more; these are numbers for who asks soon.
_MOST_PROMPTS = 256


@dataclass
class StepRecord:
    """One step: the decision and what it cost.

    Attributes:
        step: index in the run.
        sigma: noise level at its start.
        reason: why it was computed or predicted.
        error: estimate that decided, where there is one: of the relative error of predicting the
            step, or of what the method compares with its threshold.
        limit: value of `error` up to which the step is predicted.
        evaluations: evaluations of the model that the sampler asked for.
        computed: those that the model ran for.
        seconds: wall time, the sampler's own work included.
        missed: relative error that a prediction of this computed step would have had, as measured
            afterwards; None where nothing was there to predict from.
    """

    step: int
    sigma: float
    reason: str
    error: float | None = None
    limit: float | None = None
    evaluations: int = 0
    computed: int = 0
    seconds: float = 0.0
    missed: float | None = None


@dataclass
class RunReport:
    """Steps of a run as they happen.

    Attributes:
        planned_steps: steps of the schedule.
        records: steps so far.
        notes: sentences for the user, each once.
        cache_bytes: most bytes held by the cache at one time.
        asked: speed-up that was asked for, None if it was something else.
    """

    planned_steps: int
    records: list[StepRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cache_bytes: int = 0
    asked: float | None = None

    def note(self, sentence: str) -> None:
        """Keep a sentence for the user, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    @property
    def sentences(self) -> list[str]:
        """The notes, and why steps were computed where they do not say so."""
        counts = {why: self.count(why) for why in (UNKNOWN, TURNED)}
        more = [f"{n} more computed than planned: {why}" for why, n in counts.items() if n]
        whole = self.records and self.planned_steps == len(self.records)
        if whole and not (self.notes or more or self.predicted):
            reasons = Counter(record.reason for record in self.records)
            why = max(reasons, key=reasons.__getitem__)
            if why != PLAIN:
                more = [f"Every step was computed: {'by the settings' if why == ALWAYS else why}"]
        return [*self.notes, *more]

    def count(self, reason: str) -> int:
        """Steps of which this was said."""
        return sum(record.reason == reason for record in self.records)

    @property
    def evaluations(self) -> int:
        return sum(r.evaluations for r in self.records)

    @property
    def computed(self) -> int:
        """Evaluations that the model ran for."""
        return sum(r.computed for r in self.records)

    @property
    def seconds(self) -> float:
        return sum(r.seconds for r in self.records)

    def seconds_per_step(self, computed: bool) -> float | None:
        """Typical seconds of a computed or predicted step; the first step often includes loading."""
        times = [
            r.seconds for r in self.records[1:] if r.evaluations and (r.computed > 0) is computed
        ]
        return median(times) if times else None

    @property
    def predicted(self) -> int:
        """Steps that the model did not run for."""
        return sum(not r.computed for r in self.records)

    @property
    def plain_seconds(self) -> float:
        """Estimated time of these steps without a cache; the measured one while nothing was predicted."""
        per_step = self.seconds_per_step(computed=True)
        if per_step is None or not self.predicted:
            return self.seconds
        return self.records[0].seconds + per_step * (len(self.records) - 1)

    @property
    def speedup(self) -> float:
        """Estimated plain time over measured time; 1.0 while nothing was predicted."""
        return self.plain_seconds / self.seconds if self.seconds > 0 else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated time of the steps to come, None while too little is known."""
        over = self.records[1:-1]
        to_come = self.planned_steps - len(self.records) + 1
        return sum(r.seconds for r in over) / len(over) * to_come if over else None

    def summary(self, counts: str = "") -> str:
        """What is to be said after the run, a sentence a line.

        Args:
            counts: what the evaluations that are counted had.
        """
        if not self.records:
            return "\n".join(self.notes) or "nothing was sampled"
        computed, total = self.computed, self.evaluations
        lines = [f"computed {computed} of {total} evaluations"]
        if counts:
            lines = [f"{counts} computed {computed} of {total} evaluations"]
        if self.predicted:
            lines[0] = f"{lines[0]}, about {self.speedup:.2f}x"
        full, skipped = self.seconds_per_step(True), self.seconds_per_step(False)
        if full is not None and skipped is not None:
            steps = format_ranges([r.step for r in self.records if r.computed])
            lines += [
                f"{_time(full)} per computed step, {_time(skipped)} per predicted step, "
                f"{self.seconds:.1f} s in all, {_size(self.cache_bytes)} cached",
                f"Computed steps: {steps}",
            ]
        return "\n".join([*lines, *self.sentences])

    def as_dict(self) -> dict[str, object]:
        """JSON-ready facts of the run."""
        return {
            "steps": self.planned_steps,
            "evaluations": self.evaluations,
            "computed": self.computed,
            "speedup": round(self.speedup, 3),
            "seconds": round(self.seconds, 4),
            "seconds_computed": self.seconds_per_step(True),
            "seconds_predicted": self.seconds_per_step(False),
            "computed_steps": [r.step for r in self.records if r.computed],
            "cache_bytes": self.cache_bytes,
            "notes": self.sentences,
        }


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
        """The runs at these samplers, or in what such a node expanded to when it ran last; those of the
        last prompt if there are none."""
        inside = [(r, s) for r in self._runs for s in samplers if _is_inside(r.sampler, s)]
        last = {sampler: run.prompt for run, sampler in inside}
        found = [run for run, sampler in inside if run.prompt == last[sampler]]
        # One may lie in several.
        return list({id(run): run for run in found}.values()) or [
            r for r in self._runs if r.prompt == self._runs[-1].prompt
        ]


def _is_inside(node: str | None, outer: str) -> bool:
    """Whether a node is another one, or one that the host made of it: such are named after it, as 5.0.0.3
    is after 5."""
    return node is not None and (node == outer or node.startswith(f"{outer}."))


@dataclass
class _Prompt:
    """Attributes:
    runs: facts of the runs that are over, as JSON has them.
    going: runs that are not, with reports that grow.
    texts: what nodes said last, by their ids; the latest at the end.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    going: list[FinishedRun] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


class Statistics:
    """What caches did in the last prompts and where their runs stand, for programs that ask; without
    those of scripts and of measurements. The sampling thread writes, the server's reads."""

    def __init__(self, publish: Callable[[str, list[dict[str, Any]]], None]) -> None:
        """
        Args:
            publish: gets a prompt and its runs when one more is over.
        """
        self._publish = publish
        self._prompts: dict[str, _Prompt] = {}

    def begin(self, run: FinishedRun) -> None:
        """A run starts."""
        if run.prompt is not None and run.node is not None:
            self._prompt(run.prompt).going.append(run)

    def end(self, report: RunReport, whole: bool) -> None:
        """A run is over.

        Args:
            whole: whether it came to its end.
        """
        for prompt, kept in list(self._prompts.items()):
            for run in [run for run in kept.going if run.report is report]:
                kept.going.remove(run)
                self._add(prompt, run, "done" if whole else "stopped")

    def withdraw(self, report: RunReport) -> None:
        """A run that was begun is begun anew, in another way, before it has made a step."""
        for kept in list(self._prompts.values()):
            kept.going = [run for run in kept.going if run.report is not report]

    def refuse(self, run: FinishedRun) -> None:
        """A run, or a node, goes without its cache."""
        if run.prompt is not None and run.node is not None:
            self._add(run.prompt, run, "refused")

    def say(self, prompt: str | None, node: str, text: str) -> None:
        """What stands under a node from now on."""
        if prompt is not None:
            texts = self._prompt(prompt).texts
            # What was said last stands at the end.
            texts.pop(node, None)
            texts[node] = text

    def of(self, prompt: str) -> dict[str, Any]:
        """JSON-ready; empty lists for a prompt that is not known."""
        kept = self._prompts.get(prompt, _Prompt())
        going = [{"state": "running", **run.as_dict(), **_left(run.report)} for run in kept.going]
        return {"prompt_id": prompt, "runs": [*kept.runs, *going], "texts": dict(kept.texts)}

    def _prompt(self, prompt: str) -> _Prompt:
        if prompt not in self._prompts:
            for old in list(self._prompts)[: 1 - _MOST_PROMPTS]:
                del self._prompts[old]
            self._prompts[prompt] = _Prompt()
        return self._prompts[prompt]

    def _add(self, prompt: str, run: FinishedRun, state: str) -> None:
        kept = self._prompt(prompt)
        kept.runs = [*kept.runs, {"state": state, **run.as_dict()}][-_MOST:]
        self._publish(prompt, kept.runs)


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


def format_ranges(numbers: Sequence[int]) -> str:
    """A list such as `0, 2-7`, as `methods.base.parse_ranges` reads it, from rising numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _left(report: RunReport) -> dict[str, Any]:
    """Steps that are over, and seconds that the others will take; the first one includes loading."""
    done = max(len(report.records) - 1, 0)
    times = [r.seconds for r in report.records[1:done]]
    each = sum(times) / len(times) if times else None
    left = None if each is None else round(each * (report.planned_steps - done), 1)
    return {"step": done, "seconds_left": left}


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
