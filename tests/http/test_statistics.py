"""What caches did in a prompt, without a report node: over a route, and in the host's history."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests

CACHE = "cache"
pytestmark = pytest.mark.host


def runs_of(host: Any, prompt: str) -> dict[str, Any]:
    return host.client.get("/scaling_cache/runs", prompt_id=prompt)


def in_history(host: Any, prompt: str) -> Any:
    entry = host.client.get(f"/history/{prompt}")[prompt]
    return entry["prompt"][3].get("scaling_cache")


def test_a_run_is_told_by_its_prompt(host: Any, workflow: Any):
    outcome = host.client.run(workflow(cache={}, steps=20, seed=61))
    answer = runs_of(host, outcome.prompt_id)
    (run,) = answer["runs"]
    assert (run["state"], run["method"], run["node"]) == ("done", "Scaling Cache", CACHE)
    assert (run["steps"], run["evaluations"], run["computed"]) == (20, 20, 10)
    assert run["computed_steps"] == sorted(set(run["computed_steps"]))
    assert run["seconds"] > 0
    assert answer["texts"] == {CACHE: outcome.text_of(CACHE)}
    assert in_history(host, outcome.prompt_id) == answer["runs"]


def test_a_refused_one_and_one_of_another_prompt(host: Any, workflow: Any):
    outcome = host.client.run(workflow(cache={}, steps=3, seed=62))
    (run,) = runs_of(host, outcome.prompt_id)["runs"]
    assert (run["state"], run["node"]) == ("refused", CACHE)
    assert f"Not cached. {run['refused']}" == outcome.text_of(CACHE)
    assert in_history(host, outcome.prompt_id) == [run]
    plain = host.client.run(workflow(steps=3, seed=63))
    assert runs_of(host, plain.prompt_id)["runs"] == []
    assert in_history(host, plain.prompt_id) is None


def test_where_a_run_stands_and_that_it_was_stopped(host: Any, workflow: Any):
    """Asked while it samples, and interrupted then."""
    seen: list[dict[str, Any]] = []

    def watch(prompt: str) -> None:
        while not seen or seen[-1].get("seconds_left") is None:
            seen[:] = runs_of(host, prompt)["runs"]
            time.sleep(0.05)
        host.client.interrupt()

    def begin(kind: str, data: dict[str, Any]) -> None:
        if kind == "execution_start":
            threading.Thread(target=watch, args=(data["prompt_id"],), daemon=True).start()

    slow = workflow(cache={}, fault={"fault": "slow"}, steps=60, seed=64)
    outcome = host.client.run(slow, on_message=begin)
    assert outcome.status == "interrupted"
    (going,) = seen
    assert (going["state"], going["steps"]) == ("running", 60)
    assert 2 <= going["step"] < 60
    assert going["seconds_left"] > 0
    (run,) = runs_of(host, outcome.prompt_id)["runs"]
    assert run["state"] == "stopped"
    assert going["step"] <= run["evaluations"] < 60
    assert in_history(host, outcome.prompt_id) == [run]


def test_without_a_prompt_it_says_so(host: Any):
    answer = requests.get(f"{host.server.url}/scaling_cache/runs", timeout=30)
    assert answer.status_code == 400
    assert answer.json() == {"error": "prompt_id: is missing"}
