"""Messages for the live view (web/live_view.js): what is new in a run, and all of it at the end.

A message is a dict that the host sends as JSON. All of them name the prompt, the node, the workflow
and the run, so that the frontend can drop what does not belong to what it shows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...cache_core.report import RunReport, StepRecord

EVENT = "scaling_cache.run"
# Enough for a mark and a tooltip.
_DIGITS = 4
# Keeps a message under 2 kB; what is left over comes with the next one.
_MOST_ROWS = 40

Message = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """Where a run belongs.

    Attributes:
        node: execution id of the cache node, such as "5:3" inside a subgraph.
        prompt: the host's id of the prompt, None if it has none.
        workflow: the frontend's id of the workflow, None if the prompt came without one.
    """

    node: str
    prompt: str | None = None
    workflow: str | None = None

    def message(self, run: int, state: str, **more: Any) -> Message:
        """A message of a run.

        Args:
            run: number that grows from run to run.
            state: "running", "done", "refused" or "off".
        """
        return {
            "prompt_id": self.prompt,
            "node": self.node,
            "workflow": self.workflow,
            "run": run,
            "state": state,
            **more,
        }


def run_number(clock: Callable[[], float] = time.time) -> int:
    """A number that grows from run to run, also over restarts of the host: milliseconds."""
    return int(clock() * 1000)


class RunEvents:
    """Turns the report of one run into messages; each step is told once, and all at the end."""

    def __init__(self, origin: Origin, name: str, report: RunReport, run: int) -> None:
        """
        Args:
            origin: where the run belongs.
            name: of the method.
            report: of the run, growing.
            run: its number.
        """
        self._origin = origin
        self._name = name
        self._report = report
        self._run = run
        self._told = 0

    def opening(self) -> Message:
        """The run starts: how many steps are planned."""
        return self._message("running", ())

    def news(self) -> Message:
        """Steps that are over and were not told yet. The last record is of the step under way."""
        fresh = self._report.records[self._told : -1][:_MOST_ROWS]
        self._told += len(fresh)
        return self._message("running", fresh)

    def closing(self) -> Message:
        """The whole report, so that a page that missed something is right again."""
        report = self._report
        return self._message(
            "done",
            report.records,
            seconds=_short(report.seconds),
            seconds_computed=_short(report.seconds_per_step(True)),
            seconds_predicted=_short(report.seconds_per_step(False)),
            notes=list(report.notes),
        )

    def _message(self, state: str, records: Sequence[StepRecord], **more: Any) -> Message:
        reasons = list(dict.fromkeys(r.reason for r in records))
        return self._origin.message(
            self._run,
            state,
            name=self._name,
            steps=self._report.planned_steps,
            speedup=_short(self._report.speedup),
            reasons=reasons,
            rows=[_row(r, reasons) for r in records],
            **more,
        )


def refusal(origin: Origin, reason: str, run: int) -> Message:
    """A run, or the node itself, does without the cache."""
    return origin.message(run, "refused", reason=reason)


def switched_off(origin: Origin, run: int) -> Message:
    """The node caches nothing from now on: what it showed is of settings that are gone."""
    return origin.message(run, "off")


def _row(record: StepRecord, reasons: list[str]) -> list[float | int | None]:
    """Step, sigma, whether the model ran, place of the reason in the table, estimate and its limit."""
    head = [record.step, _short(record.sigma), int(record.computed > 0)]
    return [*head, reasons.index(record.reason), _short(record.error), _short(record.limit)]


def _short(value: float | None) -> float | None:
    """Few digits, and nothing that JSON does not know."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
