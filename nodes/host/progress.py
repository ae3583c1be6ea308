"""Tell the user, on the node and in the log, what the cache does, and find its runs again for a report.

Messages for the live view (web/live_view.js) are dicts that the host sends as JSON: what is new in a run,
and all of it at the end. All of them name the prompt, the node, the workflow and the run, so that the
frontend can drop what does not belong to what it shows. They hold plain text, of which the view makes no
markup.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import format_exception
from typing import Any

from comfy_execution.graph_utils import is_link
from comfy_execution.utils import get_executing_context

from ...cache_core.run.report import (
    FinishedRun,
    RunLog,
    RunReport,
    Statistics,
    StepRecord,
    format_ranges,
)
from ...cache_core.run.run import Run
from .captions import Told

EVENT = "scaling_cache.run"
# Of the runs in the history.
KEY = "scaling_cache"
# A text that stays under its node (web/summary.js).
TEXT = "scaling_cache.text"
# Enough for a mark and a tooltip.
_DIGITS = 4
# Keeps a message under 2 kB; what is left over comes with the next one.
_MOST_ROWS = 40

Message = dict[str, Any]

# Often enough to feel live; each update is one text and one event over the websocket.
SECONDS_BETWEEN_UPDATES = 0.25

log = logging.getLogger("ScalingCache")


def log_fault(what: str, error: Exception) -> str:
    """Write a fault of the pack into the log with its traceback; gives one line for the user.

    The traceback is written as text: a log that keeps its records would keep an error's frames, and with
    them all tensors that they hold.
    """
    log.warning("[Scaling Cache] %s\n%s", what, "".join(format_exception(error)).rstrip())
    return f"{type(error).__name__}: {error}".splitlines()[0]


def give_up(run: Run, error: Exception) -> None:
    """Stop caching after a fault of ours, memory included, and say so once.

    Raises:
        Exception: the fault, where a picture is computed on several ranks: the others go on to skip, and
            would leave this one waiting for them.
    """
    if run.agree is not None:
        raise error
    if not run.sealed:
        run.stop(log_fault("caching stopped for this run", error))


def tell(do: Callable[..., None], *args: Any) -> bool:
    """Whether somebody could be told of a run. A fault of that changes nothing."""
    try:
        do(*args)
    except Exception as error:
        log_fault("the run goes on, but could not be reported", error)
        return False
    return True


class CacheFault(Exception):
    """The cache failed within a call of the network, which has to run again without it.

    Attributes:
        error: what failed.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def faults() -> Iterator[None]:
    """Tell faults of the cache from those of the network."""
    try:
        yield
    except Exception as error:
        raise CacheFault(error) from error


@dataclass
class ProgressText:
    """Shows progress on the node that made the model, while another node samples: events for the live
    view, and a text at the end for pages that show no view."""

    _node_id: str | None
    # A node that is switched off: of its plain runs only views that wait are told.
    _off: str | None = None
    _events: RunEvents | None = field(default=None, init=False)

    def start(self, name: str, report: RunReport) -> None:
        """A run starts.

        Args:
            name: of the method.
            report: of the run, which grows.
        """
        origin = self._origin()
        if origin is not None:
            kind = PlainEvents if self._node_id is None else RunEvents
            self._events = kind(origin, name, report, run_number())
            self._post(self._events.opening())

    def update(self, report: RunReport) -> None:
        """Show where the run stands."""
        if self._events is not None:
            self._post(self._events.news())

    def refuse(self, reason: str) -> None:
        """Say why there is no cache."""
        origin = self._origin()
        if origin is not None:
            self._post(refusal(origin, reason, run_number()))
        STATISTICS.refuse(refused(reason, self._node_id))
        self.finish(f"Not cached. {reason}")

    def replaced(self, name: str, node: str | None) -> None:
        """Say that another cache further on counts in place of this one.

        Args:
            name: of its method.
            node: its id.
        """
        origin = self._origin()
        if origin is not None:
            where = f"{name} on node {node}" if node else name
            why = f"{where} counts: it comes later on this model"
            said = {"reason": why, "caption": f"Replaced. {why}"}
            self._post(origin.message(run_number(), "replaced", **said))

    def off(self) -> None:
        """The node was executed and does nothing, as its settings ask for."""
        origin = self._origin()
        if origin is not None:
            self._post(switched_off(origin, run_number()))

    def summarise(self, method: Any, report: RunReport, stopped: bool = False) -> None:
        """The run of a method is over.

        Args:
            stopped: before its end, by the user or an error.
        """
        if self._events is not None:
            self._events.stopped = stopped
        said = report.summary(method.counts)
        if stopped:
            said = (
                f"stopped with {len(report.records)} of {report.planned_steps} steps done\n{said}"
            )
        self.finish(f"{method.name}: {said}")

    def finish(self, text: str) -> None:
        """Leave the summary on the node and in the log."""
        log.info("[Scaling Cache] %s", text.replace("\n", ". "))
        self.show(text)
        if self._events is not None:
            self._post(self._events.closing())

    def show(self, text: str, pictures: Sequence[Mapping[str, str]] = ()) -> None:
        """Put a text on the node; it stands under it until the next one.

        Args:
            pictures: files of two to compare, as the host names them: without the cache, and with it.
        """
        if self._node_id is None:
            return
        STATISTICS.say(_here()[1], self._node_id, text)
        origin = self._origin()
        if origin is not None:
            said = {"text": text, "pictures": list(pictures)}
            self._post(origin.message(run_number(), "text", **said), TEXT)

    def _post(self, message: Message, event: str = EVENT) -> None:
        server = _server()
        if server is not None:
            server.send_sync(event, message, server.client_id)

    def _origin(self) -> Origin | None:
        """Where a run that starts now belongs, None without a node or a browser to tell."""
        node = self._node_id or self._off
        # Looking for the server imports it, which a process without one can do without.
        server = None if node is None else _server()
        if node is None or server is None:
            return None
        context = get_executing_context()
        prompt = None if context is None else context.prompt_id
        return Origin(node, prompt, _workflow(server, prompt))


def _server() -> Any:
    """The host's server, or None when the host runs without one (scripts, tests)."""
    try:
        from server import PromptServer  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return getattr(PromptServer, "instance", None)


def _into_history(prompt: str, runs: list[dict[str, Any]]) -> None:
    """Put runs beside what the client sent with a prompt, which the host keeps for its history."""
    server = _server()
    for item in () if server is None else list(server.prompt_queue.currently_running.values()):
        if item[1] == prompt and isinstance(item[3], dict):
            item[3][KEY] = runs


STATISTICS = Statistics(_into_history)


def _workflow(server: Any, prompt: str | None) -> str | None:
    """The frontend's id of the workflow that a prompt came from; None for prompts of programs.

    The queue keeps what the client sent, which may be anything.
    """
    for item in list(server.prompt_queue.currently_running.values()):
        if item[1] == prompt:
            try:
                return str(item[3]["extra_pnginfo"]["workflow"]["id"])
            except (KeyError, TypeError):
                return None
    return None


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
            state: "running", "done", "stopped", "refused", "replaced", "off" or "text".
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
    """Turns the report of one run into messages; each step is told once, and all at the end.

    Attributes:
        stopped: whether it ended early.
    """

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
        self.stopped = False

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
        self._told = len(report.records)
        return self._message(
            "stopped" if self.stopped else "done",
            report.records,
            seconds=_short(report.seconds),
            saved=_short(report.plain_seconds - report.seconds),
            computed_steps=format_ranges([r.step for r in report.records if r.computed]),
            cache_bytes=report.cache_bytes,
            seconds_computed=_short(report.seconds_per_step(True)),
            seconds_predicted=_short(report.seconds_per_step(False)),
            notes=report.sentences,
        )

    def _message(self, state: str, records: Sequence[StepRecord], **more: Any) -> Message:
        reasons = list(dict.fromkeys(r.reason for r in records))
        skipped = sum(not r.computed for r in self._report.records[: self._told])
        counts = self._told - skipped, skipped
        told = Told(state, self._name, self._report, *counts)
        return self._origin.message(
            self._run,
            state,
            name=self._name,
            steps=self._report.planned_steps,
            asked=self._report.asked,
            speedup=_short(self._report.speedup),
            left=_short(self._report.seconds_left),
            counts=counts,
            caption=told.caption,
            speed=told.speed,
            summary=told.summary,
            reasons=reasons,
            rows=[_row(r, reasons) for r in records],
            **more,
        )


class PlainEvents(RunEvents):
    """Of a run without a cache: where it stands, for views of caches that wait for it."""

    def opening(self) -> Message:
        return self.news()

    def news(self) -> Message:
        over = max(len(self._report.records) - 1, 0)
        where = Told("running", self._name, self._report, over, 0).caption
        return switched_off(self._origin, self._run, caption=f"plain run first: {where}")

    def closing(self) -> Message:
        return switched_off(self._origin, self._run)


def refusal(origin: Origin, reason: str, run: int) -> Message:
    """A run, or the node itself, does without the cache."""
    return origin.message(run, "refused", reason=reason, caption=f"Not cached. {reason}")


def switched_off(origin: Origin, run: int, **more: Any) -> Message:
    """The node caches nothing from now on: what it showed is of settings that are gone."""
    return origin.message(run, "off", **more)


def _row(record: StepRecord, reasons: list[str]) -> list[float | int | None]:
    """Step, sigma, whether the model ran, place of the reason in the table, estimate and its limit."""
    head = [record.step, _short(record.sigma), int(record.computed > 0)]
    return [*head, reasons.index(record.reason), _short(record.error), _short(record.limit)]


def _short(value: float | None) -> float | None:
    """Few digits, and nothing that JSON does not know."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


def finished(name: str, report: RunReport, node: str | None) -> FinishedRun:
    """A run that the node under way has just sampled.

    Args:
        name: of the method.
        node: id of the cache node.
    """
    sampler, prompt = _here()
    return FinishedRun(name, report, node, sampler, prompt, plain=name == "Plain")


def refused(reason: str, node: str | None) -> FinishedRun:
    """A run that goes without the cache."""
    sampler, prompt = _here()
    return FinishedRun("Not cached", RunReport(0), node, sampler, prompt, refused=reason)


def runs_of(model: Any, samplers: Collection[str]) -> list[FinishedRun]:
    """What was sampled with a model: by the caches on it, or plainly where there is none.

    Args:
        model: as a cache node gave it, or a clone of that.
        samplers: nodes to look at; see `RunLog.latest`.
    """
    options = model.model_options.get("transformer_options", {})
    carried = [c for found in options.values() if isinstance(found, tuple) for c in found]
    logs = [log for c in carried if isinstance(log := getattr(c, "log", None), RunLog)]
    runs = [run for log in logs for run in log.latest(samplers)]
    return [run for run in runs if not run.plain] or runs


def upstream(dynprompt: Any, node: str, field: str) -> set[str]:
    """Ids of all nodes that feed one input of a node.

    Args:
        dynprompt: the host's prompt with its expanded nodes, None if there is none.
    """
    if dynprompt is None or not dynprompt.has_node(node):
        return set()
    found: set[str] = set()
    waiting = _sources({field: dynprompt.get_node(node)["inputs"].get(field)})
    while waiting:
        source = waiting.pop()
        if source not in found and dynprompt.has_node(source):
            found.add(source)
            waiting += _sources(dynprompt.get_node(source)["inputs"])
    return found


def _sources(inputs: dict[str, Any]) -> list[str]:
    """Nodes that inputs are linked to."""
    return [value[0] for value in inputs.values() if is_link(value)]


def _here() -> tuple[str | None, str | None]:
    """Id of the node under way and of its prompt."""
    context = get_executing_context()
    return (None, None) if context is None else (context.node_id, context.prompt_id)


def node_of(cls: Any) -> str | None:
    """Id of the node whose class is executed, as the host knows it."""
    return getattr(getattr(cls, "hidden", None), "unique_id", None)
