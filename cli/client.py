"""Queue a workflow on a running host, wait for what it made and fetch it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

Say = Callable[[str, float, str], None]
_ANSWER_SECONDS = 60
_POLL_SECONDS = 1.0
# A run goes on while its host is too busy to answer, or the network is down.
_AWAY_SECONDS = 60.0


class HostError(RuntimeError):
    """The host is not there, refused the workflow or did not finish it; the message is for the user."""


class Away(HostError):
    """Nobody answers."""


class Host:
    """A running host.

    Args:
        url: where it listens, such as http://127.0.0.1:8188.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # A proxy for the internet does not know this machine.
        local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
        self._opener = build_opener(*([ProxyHandler({})] if local else []))

    def queue(self, workflow: dict[str, Any], metadata: dict[str, Any] | None = None) -> str:
        """The id of the run.

        Args:
            workflow: in API format.
            metadata: goes into the files that are saved, beside the workflow; nodes can add to it only
                if it is there, empty or not.

        Raises:
            HostError: with what the host finds wrong, in words.
            ValueError: if a number is not finite.
        """
        # With an id, the history also has the results of nodes that did not have to run again.
        body = {"prompt": workflow, "client_id": uuid.uuid4().hex}
        if metadata is not None:
            body["extra_data"] = {"extra_pnginfo": metadata}
        answer = self._ask("/prompt", body)
        if not isinstance(answer, dict) or "prompt_id" not in answer:
            raise self._stranger()
        return answer["prompt_id"]

    def wait(self, prompt_id: str, say: Say, doing: str = "running") -> dict[str, Any]:
        """Outputs per node, once the run has ended.

        Args:
            say: told each second what the run does, since when in seconds, and where it stands.
            doing: what to call it once it has begun.

        Raises:
            HostError: if it failed, was interrupted or is gone.
        """
        began = heard = time.monotonic()
        while True:
            try:
                # In this order: a run that ends in between is then in the history.
                place = self._place(prompt_id)
                entry = self._ask(f"/history/{prompt_id}").get(prompt_id)
                heard = time.monotonic()
            except Away:
                if _since(heard) > _AWAY_SECONDS:
                    raise
                say("no answer, asking again", _since(began), "")
                time.sleep(_POLL_SECONDS)
                continue
            if entry is not None:
                return _outputs(entry)
            if place is None:
                raise HostError("the run was taken out of the queue; nothing was written")
            if place:
                say(f"waiting, {place} before it", _since(began), "")
            else:
                say(doing, _since(began), standing(self.statistics(prompt_id)))
            time.sleep(_POLL_SECONDS)

    def file(self, item: dict[str, Any]) -> bytes:
        """A file that the outputs name.

        Raises:
            HostError: if it is gone.
        """
        query = urlencode({key: item.get(key, "") for key in ("filename", "subfolder", "type")})
        return self._fetch(f"/view?{query}")

    def statistics(self, prompt_id: str) -> dict[str, Any]:
        """What caches did in a run, also while it goes: the pack's `/scaling_cache/runs`. Empty if the
        host does not have it."""
        try:
            answer = self._ask(f"/scaling_cache/runs?{urlencode({'prompt_id': prompt_id})}")
        except HostError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def node(self, kind: str) -> dict[str, Any] | None:
        """What the host says of a kind of node; None if it does not have it.

        Raises:
            HostError: if no host answers.
        """
        answer = self._ask(f"/object_info/{quote(kind, safe='')}")
        if not isinstance(answer, dict):
            raise self._stranger()
        return answer.get(kind)

    def cancel(self, prompt_id: str) -> None:
        """Take a run out of the queue, or interrupt it and wait for its end; other runs go on."""
        self._ask("/queue", {"delete": [prompt_id]})
        # Again and again: the host forgets what it is told while it begins a run.
        while self._place(prompt_id) == 0:
            self._ask("/interrupt", {"prompt_id": prompt_id})
            time.sleep(_POLL_SECONDS)

    def _place(self, prompt_id: str) -> int | None:
        """0 while it runs, then how many run before it, None if it is not in the queue."""
        queue = self._ask("/queue")
        running = [item[1] for item in queue["queue_running"]]
        if prompt_id in running:
            return 0
        pending = [item[1] for item in sorted(queue["queue_pending"], key=lambda item: item[0])]
        return len(running) + pending.index(prompt_id) if prompt_id in pending else None

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer; GET without a body, else POST."""
        content = self._fetch(
            path, None if body is None else json.dumps(body, allow_nan=False).encode()
        )
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise self._stranger() from error

    def _stranger(self) -> HostError:
        return HostError(f"what answers at {self.url} is not ComfyUI")

    def _fetch(self, path: str, data: bytes | None = None) -> bytes:
        """What the host answers; GET without data, else POST."""
        request = Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=_ANSWER_SECONDS) as answer:
                return answer.read()
        except HTTPError as error:
            raise HostError(_refusal(error)) from error
        except (OSError, HTTPException, UnicodeError) as error:
            # What no name of a machine can be is told as a fault of its letters.
            reason = getattr(error, "reason", error)
            raise Away(
                f"no ComfyUI answers at {self.url} ({reason}); start it, or say where it is with --server"
            ) from error


def standing(statistics: dict[str, Any]) -> str:
    """Where a run of a cache is, or else what a node said last, in one line."""
    runs = statistics.get("runs", ())
    for number, run in enumerate(runs, start=1):
        if run["state"] == "running":
            left = run["seconds_left"]
            more = "" if left is None else f", about {left:.0f} s left"
            return f"{run['method']}, run {number}: {run['step']} of {run['steps']} steps{more}"
    return "; ".join(next(reversed(list(statistics.get("texts", {}).values())), "").splitlines())


def _since(began: float) -> float:
    return time.monotonic() - began


def _refusal(error: HTTPError) -> str:
    """What the host says about a workflow that it does not take, one line per complaint."""
    try:
        answer = json.loads(error.read())
        general, nodes = answer["error"], answer["node_errors"]
        complaints = [
            f"node {node} ({found['class_type']}): {_words(complaint)}"
            for node, found in nodes.items()
            for complaint in found["errors"]
        ]
        return "\n".join(complaints or [_words(general)])
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"the host answered {error.code} {error.reason} to {error.url}"


def _words(complaint: dict[str, Any]) -> str:
    return ": ".join(filter(None, (complaint.get("message"), complaint.get("details"))))


def _outputs(entry: dict[str, Any]) -> dict[str, Any]:
    status = entry.get("status") or {}
    for kind, data in status.get("messages", ()):
        if kind == "execution_interrupted":
            raise HostError("the run was interrupted; only what had ended was written")
        if kind == "execution_error":
            raise HostError(
                f"node {data['node_id']} ({data['node_type']}): {data['exception_message'].strip()}"
            )
    if status.get("status_str") == "error":
        raise HostError("the run failed; the host's log says why")
    return entry["outputs"]
