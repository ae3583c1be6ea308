"""Tell the user, on the node and in the log, what the cache does."""

from __future__ import annotations

import logging
import time

from ...cache_core.report import RunReport

# Often enough to feel live; each text is one websocket message.
_SECONDS_BETWEEN_TEXTS = 0.25

log = logging.getLogger("ScalingCache")


class ProgressText:
    """Writes progress under the node that made the model, while another node samples."""

    def __init__(self, node_id: str | None) -> None:
        self._node_id = node_id
        self._last = 0.0

    def update(self, report: RunReport) -> None:
        """Show where the run stands, at most a few times per second."""
        now = time.perf_counter()
        if now - self._last >= _SECONDS_BETWEEN_TEXTS and report.evaluations:
            self._last = now
            self._send(report.progress())

    def finish(self, text: str) -> None:
        """Leave the summary on the node and in the log."""
        log.info("[Scaling Cache] %s", text)
        self._send(text)

    def _send(self, text: str) -> None:
        if self._node_id is None:
            return
        server = _server()
        if server is not None:
            server.send_progress_text(text, self._node_id, server.client_id)


def _server():  # noqa: ANN202 - the host's type is only there inside the host
    """The host's server, or None when the host runs without one (scripts, tests)."""
    try:
        from server import PromptServer  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return getattr(PromptServer, "instance", None)
