"""What happened in one sampling run, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from .numbers import format_numbers
from .policies import Decision


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
    """

    planned_steps: int
    records: list[StepRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cache_bytes: int = 0

    def begin_step(self, step: int, sigma: float, decision: Decision) -> None:
        self.records.append(
            StepRecord(step, sigma, decision.reason, decision.error, decision.limit)
        )

    def end_evaluation(self, ran: bool, seconds: float) -> None:
        """Count an evaluation of the step under way.

        Args:
            ran: whether the model ran for it.
            seconds: wall time.
        """
        record = self.records[-1]
        record.evaluations += 1
        record.computed += ran
        record.seconds += seconds

    def note(self, sentence: str) -> None:
        """Keep a sentence for the user, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

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
    def speedup(self) -> float:
        """Estimated plain time over measured time; 1.0 while nothing was predicted."""
        per_step = self.seconds_per_step(computed=True)
        if per_step is None or not self.records:
            return 1.0
        first = self.records[0].seconds
        spent = self.seconds - first
        plain = per_step * (len(self.records) - 1)
        return (plain + first) / (spent + first) if spent + first > 0 else 1.0

    def progress(self) -> str:
        """One line while sampling."""
        return f"computed {self.computed} of {self.evaluations} so far, {self.speedup:.1f}x"

    def summary(self) -> str:
        """One paragraph after the run."""
        if not self.records:
            return " ".join(self.notes) or "nothing was sampled"
        line = f"computed {self.computed} of {self.evaluations} evaluations, {self.speedup:.2f}x"
        computed, predicted = self.seconds_per_step(True), self.seconds_per_step(False)
        if computed is not None and predicted is not None:
            line += f" ({_time(computed)} per computed step, {_time(predicted)} per predicted step"
            line += f", {self.seconds:.1f} s in all, {_size(self.cache_bytes)} cached)"
            line += (
                f". Computed steps: {format_numbers([r.step for r in self.records if r.computed])}"
            )
        return ". ".join([line, *self.notes])

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
            "notes": list(self.notes),
        }


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
