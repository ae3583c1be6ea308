"""What the live view is told: each step once and in order, small messages, nothing without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

# A message stays under this, in bytes of JSON.
MOST = 2000


@pytest.fixture(scope="module")
def events(comfy: Path) -> Any:
    from scaling_cache.nodes.host import progress as events

    return events


def grow(report: Any, step: int, decision: Any, computed: bool = True) -> None:
    report.begin_step(step, 0.123456789 * (step + 1), decision)
    report.end_evaluation(computed, 0.1)


def make(events: Any, steps: int) -> tuple[Any, Any]:
    from scaling_cache.cache_core.run.report import RunReport

    report = RunReport(steps)
    origin = events.Origin("5:3", "3f0c6a52-6c4e-4f6e-9d3e-0f0f0f0f0f0f", "a" * 36)
    return report, events.RunEvents(origin, "First Block Cache", report, 1234567890123)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_each_step_is_told_once_in_order_and_all_at_the_end(events: Any, pieces: list[int]) -> None:
    from scaling_cache.cache_core.decide.policies import Decision

    report, told = make(events, sum(pieces))
    rows, step = [], 0
    for count in pieces:
        for _ in range(count):
            grow(report, step, Decision(True, f"reason {step % 3}"))
            step += 1
        message = told.news()
        rows += [[*row[:3], message["reasons"][row[3]]] for row in message["rows"]]
    last = told.closing()
    whole = [[*row[:3], last["reasons"][row[3]]] for row in last["rows"]]
    assert [row[0] for row in whole] == list(range(sum(pieces)))
    # The step under way is not over.
    assert rows == whole[:-1]
    assert [row[3] for row in whole] == [f"reason {i % 3}" for i in range(sum(pieces))]


@pytest.mark.parametrize("steps", [50, 400])
def test_many_steps_at_once_are_small_messages(events: Any, steps: int) -> None:
    from scaling_cache.cache_core.decide.policies import Decision

    report, told = make(events, steps)
    for step in range(steps):
        reason = ("as many steps as allowed are skipped", "threshold reached")[step % 2]
        grow(report, step, Decision(True, reason, 0.00123456789 * step, 0.0312345678))
    messages = [told.news() for _ in range(steps)]
    assert [row[0] for m in messages for row in m["rows"]] == list(range(steps - 1))
    assert max(len(json.dumps(m)) for m in messages) < MOST
    assert messages[-1]["rows"] == []


def test_what_json_does_not_know_is_left_out(events: Any) -> None:
    from scaling_cache.cache_core.decide.policies import Decision

    report, told = make(events, 8)
    grow(report, 0, Decision(True, "the signal is not finite", float("nan"), float("inf")))
    (row,) = json.loads(json.dumps(told.closing(), allow_nan=False))["rows"]
    assert row == [0, 0.1235, 1, 0, None, None]


@pytest.mark.parametrize("node", [None, "7"])
def test_a_script_sends_nothing(events: Any, tiny: Any, sample: Any, monkeypatch: Any, node: Any):
    """There is no server in this process; with one, the first message would fail here."""
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.nodes.host.cache import Cache, install

    def build(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a message was made")

    cached = install(tiny, Cache(ScalingCache(), "none", node))
    plain = sample(cached, steps=12)
    monkeypatch.setattr(events.Origin, "message", build)
    assert torch.equal(sample(cached, steps=12), plain)
    sample(cached, steps=7)  # refused
