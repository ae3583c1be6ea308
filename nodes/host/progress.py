"""Tell the user, on the node and in the log, what the cache does."""

from __future__ import annotations

import logging
import time
from traceback import format_exception
from typing import Any

from comfy_execution.utils import get_executing_context

from ...cache_core.report import RunReport
from .events import EVENT, Message, Origin, RunEvents, refusal, run_number, switched_off

# Often enough to feel live; each time is one text and one event over the websocket.
_SECONDS_BETWEEN_TEXTS = 0.25

log = logging.getLogger("ScalingCache")


def log_fault(what: str, error: Exception) -> str:
    """Write a fault of the pack into the log with its traceback; gives one line for the user.

    The traceback is written as text: a log that keeps its records would keep an error's frames, and with
    them all tensors that they hold.
    """
    log.warning("[Scaling Cache] %s\n%s", what, "".join(format_exception(error)).rstrip())
    return f"{type(error).__name__}: {error}".splitlines()[0]


class ProgressText:
    """Writes progress under the node that made the model, while another node samples: as text, and as
    events for the live view."""

    def __init__(self, node_id: str | None) -> None:
        self._node_id = node_id
        self._last = 0.0
        self._events: RunEvents | None = None

    def start(self, name: str, report: RunReport) -> None:
        """A run starts.

        Args:
            name: of the method.
            report: of the run, which grows.
        """
        origin = self._origin()
        if origin is not None:
            self._events = RunEvents(origin, name, report, run_number())
            self._post(self._events.opening())

    def update(self, report: RunReport) -> None:
        """Show where the run stands, at most a few times per second."""
        now = time.perf_counter()
        if now - self._last >= _SECONDS_BETWEEN_TEXTS and report.evaluations:
            self._last = now
            self._send(report.progress())
            if self._events is not None:
                self._post(self._events.news())

    def refuse(self, reason: str) -> None:
        """Say why there is no cache."""
        origin = self._origin()
        if origin is not None:
            self._post(refusal(origin, reason, run_number()))
        self.finish(f"Not cached. {reason}")

    def off(self) -> None:
        """The node was executed and does nothing, as its settings ask for."""
        origin = self._origin()
        if origin is not None:
            self._post(switched_off(origin, run_number()))

    def finish(self, text: str) -> None:
        """Leave the summary on the node and in the log."""
        log.info("[Scaling Cache] %s", text)
        self._send(text)
        if self._events is not None:
            self._post(self._events.closing())

    def show(self, text: str) -> None:
        """Put a text on the node; it stands under it until the next one."""
        self._send(text)

    def _send(self, text: str) -> None:
        if self._node_id is None:
            return
        server = _server()
        if server is not None:
            server.send_progress_text(text, self._node_id, server.client_id)

    def _post(self, message: Message) -> None:
        server = _server()
        if server is not None:
            server.send_sync(EVENT, message, server.client_id)

    def _origin(self) -> Origin | None:
        """Where a run that starts now belongs, None without a node or a browser to tell."""
        # Looking for the server imports it, which a process without one can do without.
        server = None if self._node_id is None else _server()
        if self._node_id is None or server is None:
            return None
        context = get_executing_context()
        prompt = None if context is None else context.prompt_id
        return Origin(self._node_id, prompt, _workflow(server, prompt))


def _server() -> Any:
    """The host's server, or None when the host runs without one (scripts, tests)."""
    try:
        from server import PromptServer  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return getattr(PromptServer, "instance", None)


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
