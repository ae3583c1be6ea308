"""Talk to a running host: queue a workflow in API format, follow it, fetch what it made."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests
import websocket
from numpy.typing import NDArray
from PIL import Image

Workflow = dict[str, Any]


class PromptRefused(RuntimeError):
    """The host refused a workflow; `details` is its answer."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(json.dumps(details, indent=1))
        self.details = details


@dataclass
class Outcome:
    """One finished prompt.

    Attributes:
        prompt_id: the host's id.
        status: "success", "error" or "interrupted".
        messages: websocket messages as (seconds since queueing, type, data).
        texts: of this pack as (node id, text), as a page would show them.
        outputs: files and other results per node, from the host's history.
    """

    prompt_id: str
    status: str = ""
    messages: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def text_of(self, node: str) -> str:
        """Last text on a node, empty if there was none."""
        return next((text for at, text in reversed(self.texts) if at == node), "")

    def seconds_of(self, node: str) -> float:
        """Wall time from the start of a node to the start of the next one or the end."""
        began: float | None = None
        for at, kind, data in self.messages:
            if kind in ("executing", "execution_success", "execution_error"):
                if began is not None:
                    return at - began
                if data.get("node") == node:
                    began = at
        raise ValueError(f"node {node} did not run: its result was cached or it failed")


class Client:
    """A connection to one host."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._id = uuid.uuid4().hex

    def get(self, path: str, **query: Any) -> Any:
        """JSON answer of a GET request."""
        answer = requests.get(f"{self.url}{path}", params=query, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        return requests.post(f"{self.url}{path}", json=body, timeout=60)

    def interrupt(self) -> None:
        """Cancel what runs now."""
        self.post("/interrupt", {}).raise_for_status()

    def file(self, item: dict[str, Any]) -> bytes:
        """Content of an output file as the history names it."""
        answer = requests.get(f"{self.url}/view", params=item, timeout=60)
        answer.raise_for_status()
        return answer.content

    def image(self, item: dict[str, Any]) -> NDArray[np.uint8]:
        """An output picture as [height, width, 3]."""
        return np.asarray(Image.open(io.BytesIO(self.file(item))).convert("RGB"))

    def run(
        self,
        workflow: Workflow,
        timeout: float = 600,
        on_message: Callable[[str, dict[str, Any]], None] | None = None,
        extra_data: dict[str, Any] | None = None,
    ) -> Outcome:
        """Queue a workflow and wait for its end.

        Args:
            workflow: API format.
            timeout: seconds until TimeoutError.
            on_message: called with type and data of each message of this prompt.
            extra_data: what a client may send along, such as the workflow for the files' metadata.

        Raises:
            PromptRefused: if the host finds the workflow invalid.
        """
        address = self.url.replace("http", "ws", 1) + f"/ws?clientId={self._id}"
        socket = websocket.create_connection(address, timeout=timeout)
        try:
            body = {"prompt": workflow, "client_id": self._id, "extra_data": extra_data or {}}
            answer = self.post("/prompt", body)
            if answer.status_code != 200:
                raise PromptRefused(answer.json())
            outcome = Outcome(answer.json()["prompt_id"])
            self._follow(socket, outcome, time.monotonic() + timeout, on_message)
        finally:
            socket.close()
        outcome.outputs = self._outputs(outcome.prompt_id)
        return outcome

    def _outputs(self, prompt_id: str) -> dict[str, dict[str, Any]]:
        """Results of a prompt; its entry in the history follows shortly after its last message."""
        for _ in range(100):
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                return entry["outputs"]
            time.sleep(0.05)
        raise TimeoutError(f"prompt {prompt_id} is not in the history")

    def _follow(
        self,
        socket: websocket.WebSocket,
        outcome: Outcome,
        deadline: float,
        on_message: Callable[[str, dict[str, Any]], None] | None,
    ) -> None:
        began = time.monotonic()
        while True:
            if time.monotonic() > deadline:
                raise TimeoutError(f"prompt {outcome.prompt_id} did not end in time")
            raw = socket.recv()
            if isinstance(raw, bytes):
                kind, data = "binary", {}
            else:
                message = json.loads(raw)
                kind, data = message["type"], message["data"]
                if data.get("prompt_id", outcome.prompt_id) != outcome.prompt_id:
                    continue
                outcome.messages.append((time.monotonic() - began, kind, data))
                if kind == "scaling_cache.text":
                    outcome.texts.append((data["node"], data["text"]))
            if on_message is not None:
                on_message(kind, data)
            if kind in ("execution_success", "execution_error", "execution_interrupted"):
                outcome.status = kind.removeprefix("execution_")
                return
