"""What the live view is told: each step once and in order, small messages, nothing without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.methods import CfgCache, ScalingCache
from scaling_cache.cache_core.run.report import RunReport, StepRecord
from scaling_cache.nodes.host import progress as events
from scaling_cache.nodes.host.cache import Cache, install
from scaling_cache.nodes.host.captions import duration

# A message stays under this, in bytes of JSON.
MOST = 2000


def grow(
    report: RunReport,
    step: int,
    reason: str,
    error: float | None = None,
    limit: float | None = None,
) -> None:
    """A computed step with what decided."""
    sigma = 0.123456789 * (step + 1)
    report.records.append(StepRecord(step, sigma, reason, error, limit, 1, 1, 0.1))


def make(steps: int) -> tuple[RunReport, events.RunEvents]:
    report = RunReport(steps)
    origin = events.Origin("5:3", "3f0c6a52-6c4e-4f6e-9d3e-0f0f0f0f0f0f", "a" * 36)
    return report, events.RunEvents(origin, "First Block Cache", report, 1234567890123)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_each_step_is_told_once_in_order_and_all_at_the_end(pieces: list[int]) -> None:
    report, told = make(sum(pieces))
    rows, step = [], 0
    for count in pieces:
        for _ in range(count):
            grow(report, step, f"reason {step % 3}")
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
def test_many_steps_at_once_are_small_messages(steps: int) -> None:
    report, told = make(steps)
    for step in range(steps):
        reason = ("as many steps as allowed are skipped", "threshold reached")[step % 2]
        grow(report, step, reason, 0.00123456789 * step, 0.0312345678)
    messages = [told.news() for _ in range(steps)]
    assert [row[0] for m in messages for row in m["rows"]] == list(range(steps - 1))
    assert max(len(json.dumps(m)) for m in messages) < MOST
    assert messages[-1]["rows"] == []


def test_what_json_does_not_know_is_left_out() -> None:
    report, told = make(8)
    grow(report, 0, "the signal is not finite", float("nan"), float("inf"))
    (row,) = json.loads(json.dumps(told.closing(), allow_nan=False))["rows"]
    assert row == [0, 0.1235, 1, 0, None, None]


@pytest.mark.parametrize("node", [None, "7"])
def test_a_script_sends_nothing(tiny: Any, sample: Any, monkeypatch: Any, node: Any):
    """There is no server in this process; with one, the first message would fail here."""

    def build(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a message was made")

    cached = install(tiny, Cache(ScalingCache(), node, coefficients="none"))
    plain = sample(cached, steps=12)
    monkeypatch.setattr(events.Origin, "message", build)
    assert torch.equal(sample(cached, steps=12), plain)
    sample(cached, steps=7)  # refused


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0004, "0 ms"), (0.34, "340 ms"), (2.06, "2.1 s"), (42.4, "42 s"), (185.2, "3:05 min")],
)
def test_a_time_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_words_of_a_run_under_way_count_all_that_was_told() -> None:
    report, told = make(12)
    report.asked = 2.0
    for step in range(11):
        grow(report, step, "scheduled")
    message = told.news()
    assert message["counts"] == (10, 0)
    assert message["caption"] == "10 of 12 steps, 200 ms left"
    assert message["speed"] == "asked 2.0x"
    assert message["summary"].splitlines() == [
        "First Block Cache: 10 of 12 steps computed, 0 predicted",
        "2 to go",
        "asked 2.0 times",
    ]


def test_words_of_a_run_that_is_over() -> None:
    report, told = make(4)
    report.asked, report.cache_bytes = 2.0, 3 * 2**20
    for step in range(4):
        computed = step % 2 == 0
        report.records.append(
            StepRecord(step, 1.0, "why", None, None, 1, computed, 1.0 if computed else 0.25)
        )
    report.note("A note")
    message = told.closing()
    assert message["caption"] == "2 of 4 computed, saved 1.5 s"
    assert message["speed"] == "asked 2.0x, about 1.6x"
    assert message["summary"].splitlines() == [
        "First Block Cache: 2 of 4 steps computed, 2 predicted",
        "2.5 s",
        "about 1.60 times faster",
        "asked 2.0 times",
        "1.0 s per computed step, 250 ms per predicted step",
        "3 MiB held",
        "A note",
    ]
    told.stopped = True
    assert told.closing()["caption"] == "Stopped after 4 of 4 steps"


@pytest.mark.parametrize(
    ("method", "head"), [(ScalingCache(2.0), "Scaling Cache"), (CfgCache(), "CFG Cache")]
)
@pytest.mark.parametrize("step", [0, 4])
def test_a_step_that_came_to_no_end_is_not_done(
    method: Any, head: str, step: int, tiny: Any, sample: Any, said: list[str]
) -> None:
    asked: list[Any] = []

    def failing(executor: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        if len(asked) > step:
            raise RuntimeError("out of memory")
        return executor(*args, **kwargs)

    model = install(tiny, Cache(method, coefficients="none"))
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "failing", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        sample(model, steps=20)
    assert f"{head}: stopped with {step} of 20 steps done. " in said[-1]
    assert ("nothing was sampled" if step == 0 else f" of {step} evaluations") in said[-1]


def test_a_run_of_which_nothing_was_predicted_has_no_speed() -> None:
    report, told = make(2)
    report.asked = 2.0
    for step in range(2):
        grow(report, step, "scheduled")
    message = told.closing()
    assert (message["caption"], message["speed"]) == ("Nothing predicted", "")
