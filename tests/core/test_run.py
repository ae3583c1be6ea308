"""What every run does: it follows the clock, counts what happened, and lives through faults."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.blocks import Branch
from scaling_cache.cache_core.decide.policies import Clock, Moment
from scaling_cache.cache_core.methods import (
    METHODS,
    CfgCache,
    EasyCache,
    Level,
    Method,
    MixCache,
    ScalingCache,
    TaylorSeer,
)
from scaling_cache.cache_core.methods.base import Plain
from scaling_cache.cache_core.methods.scaling import Mode
from scaling_cache.cache_core.run.run import Run

from .helpers import LAYOUT, MODEL, plan_of, schedule, start_of, traits

KEYS = ("positive", "negative")

STEPS = 12
SIGMAS = schedule(STEPS)
X = torch.ones(1, 2, 10, 10)
BOTH = (True, True)


# --- clock


@given(st.lists(st.integers(1, 3), min_size=1, max_size=20))
def test_a_counted_clock_walks_the_evaluations_of_each_step(evaluations: list[int]):
    sigmas = [1 - i / len(evaluations) for i in range(len(evaluations) + 1)]
    clock = Clock(sigmas, evaluations)
    moments = [clock.tick() for _ in range(sum(evaluations))]
    assert [m.step for m in moments] == [s for s, n in enumerate(evaluations) for _ in range(n)]
    assert sum(m.first for m in moments) == len(evaluations)
    assert not clock.measures
    assert clock.tick().step == len(evaluations) - 1, "one evaluation too many does no harm"


def test_a_measured_clock_finds_the_step_of_each_sigma():
    clock = Clock([1.0, 0.7, 0.4, 0.0], None)
    found = [clock.tick(s) for s in (1.0, 0.85, 0.7, 0.7, 0.5, 0.4, 0.1, 0.9, 5.0)]
    assert [m.step for m in found] == [0, 0, 1, 1, 1, 2, 2, 0, 0]
    assert [m.first for m in found] == [True, False, True, False, False, True, False, True, False]
    assert clock.measures


def test_counted_and_measured_agree_on_a_regular_sampler():
    sigmas = [14.6, 8.0, 3.0, 1.0, 0.3, 0.0]
    counted, measured = Clock(sigmas, [1] * 5), Clock(sigmas, None)
    for sigma in sigmas[:-1]:
        here = counted.tick()
        there = measured.tick(sigma * 0.9999)
        assert (here.step, here.first) == (there.step, there.first)
        assert counted.follows(here, sigma * 0.9999)
        assert not counted.measures
        other = copy(counted)
        assert not other.follows(here, sigma * 0.9)
        assert other.measures, "from then on"
        assert counted.follows(Moment(here.step, sigma, first=False), sigma * 0.9)


def test_a_counted_clock_learns_where_later_evaluations_lie():
    """As the last computed step had them: in the middle of it, or at its end."""
    sigmas = [16.0, 4.0, 1.0, 0.0]
    for first_step, expected in ((8.0, 2.0), (4.0, 1.0)):
        clock = Clock(sigmas, [2, 2, 1], apart=True)
        clock.tick()
        second = clock.tick()
        assert (second.number, second.sigma) == (1, 16.0), "nothing is known yet"
        assert clock.follows(second, first_step)
        found = [clock.tick() for _ in range(3)]
        assert [(m.step, m.number) for m in found] == [(1, 0), (1, 1), (2, 0)]
        assert [m.sigma for m in found] == pytest.approx([4.0, expected, 1.0])


def test_a_clock_refuses_what_it_cannot_walk():
    with pytest.raises(ValueError, match="sigmas"):
        Clock([1.0], None)
    with pytest.raises(ValueError, match="evaluations"):
        Clock([1.0, 0.5, 0.0], [1])
    with pytest.raises(AssertionError):
        Clock([1.0, 0.0], None).tick()


# --- the protocol


def evaluate(run: Run, step: int, x: torch.Tensor = X) -> tuple[bool, ...]:
    """One evaluation as the host makes it; gives what was skipped."""
    sigma = torch.full((len(x),), SIGMAS[step])
    run.begin(lambda: SIGMAS[step], x)
    return answer(run, sigma, x)


def answer(run: Run, sigma: torch.Tensor, x: torch.Tensor = X) -> tuple[bool, ...]:
    """What follows the beginning of an evaluation."""
    skipped = run.skips(KEYS, x, BOTH)
    if hasattr(run, "open") and not all(skipped):
        call = run.open([Branch("a", 0), Branch("b", 1)])
        if call is not None:
            call.decide()
            for span in run.spans:
                if call.keeps(span) and not call.skips(span):
                    call.keep(span, (torch.ones(2, 3), None), (torch.ones(2, 3) * 2, None))
    outputs = [None if skip else x * (0.5 + i) for i, skip in enumerate(skipped)]
    found = run.complete(KEYS, x, sigma, outputs, BOTH)
    assert all(out is not None for out in found)
    run.hand_over(x, found[0])
    return tuple(skipped)


def started(method: Method, **more: Any) -> Run:
    plan = plan_of(STEPS, None, traits(STEPS, sums=True))
    return method.start(start_of(plan, layout=LAYOUT, between=lambda *_: (0, STEPS), **more))


@pytest.mark.parametrize("method", [m for m in METHODS if m.level is not Level.BLOCKS])
def test_each_run_says_what_it_did_and_keeps_nothing(method: type[Method]):
    run = started(method.example(False, STEPS, MODEL))
    skipped = [any(evaluate(run, step)) for step in range(STEPS)]
    held = run.nbytes
    assert run.sigma == SIGMAS[STEPS - 1]
    report = run.close()
    assert run.sigma == SIGMAS[0]
    assert (report.evaluations, len(report.records)) == (STEPS, STEPS)
    assert report.as_dict()["computed_steps"] == [s for s, skip in enumerate(skipped) if not skip]
    assert run.nbytes == 0
    assert run.sealed
    assert held > 0
    assert held <= run.expected_bytes(X.numel() * 4, 2) or method is CfgCache


def test_a_plain_run_computes_and_times_every_step():
    run = Plain().start(start_of(STEPS))
    times = iter(range(100))
    run.timer = lambda: float(next(times))
    assert not any(any(evaluate(run, step)) for step in range(STEPS))
    report = run.close()
    assert report.computed == report.evaluations == STEPS
    assert report.seconds == STEPS
    assert {record.reason for record in report.records} == {"no cache"}
    assert (run.nbytes, run.expected_bytes(100, 2)) == (0, 0)


def test_a_plain_run_never_reads_sigma_whatever_the_sampler():
    plan = plan_of(STEPS, None, traits(STEPS, stochastic=True))
    measured = plan_of(STEPS, None, type(plan.traits)("odd", None, True))
    run = Plain().start(start_of(measured))
    run.begin(lambda: pytest.fail("read"))
    assert run.skips(KEYS, X, BOTH) == (False, False)


# --- faults


class Broken(RuntimeError):
    """A bug of ours."""


def fails(*_: Any, **__: Any) -> Any:
    raise Broken


def broken_policy(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.policy, "decide", fails)


def broken_follower(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.follower, "enter", fails)


def broken_axis(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "axis", fails)


def broken_clock(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.clock, "tick", fails)


def broken_mixture(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.mixture, "decide", fails)


def unreadable_sigma(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run.clock.measures = True
    monkeypatch.setattr(type(run.clock), "_find", fails)


def broken_window(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "window", None)


BUDGET = ScalingCache(mode=Mode.BUDGET)
FAULTS = [
    pytest.param(method, fault, id=f"{name} {fault.__name__}")
    for name, method, faults in (
        ("speed-up", ScalingCache(), (broken_policy, broken_axis, broken_clock)),
        ("budget", BUDGET, (broken_policy, broken_axis, broken_clock, unreadable_sigma)),
        ("EasyCache", EasyCache(), (broken_policy, broken_follower, broken_clock)),
        ("CFG Cache", CfgCache(start_percent=0.0), (broken_window, broken_clock)),
        ("TaylorSeer", TaylorSeer(2, warmup=1), (broken_clock, unreadable_sigma)),
        ("MixCache", MixCache(9.0, 9.0, 1, 1), (broken_mixture, broken_clock)),
        ("plain", Plain(), (broken_clock,)),
    )
    for fault in faults
]


@pytest.mark.parametrize(("method", "fault"), FAULTS)
@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("stops", [True, False])
def test_a_fault_at_the_beginning_of_a_step_leaves_a_run_that_can_be_closed(
    method: Method,
    fault: Callable[..., None],
    after: int,
    stops: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    """On one rank the run stops caching and goes on; on several the fault ends the sampling."""
    run = started(method)
    for step in range(after):
        evaluate(run, step)
    with monkeypatch.context() as patch:
        fault(run, patch)
        with pytest.raises(Broken if fault is not broken_window else TypeError):
            run.begin(lambda: SIGMAS[after], X)
        if stops:
            run.stop("a bug")
            assert run.sealed
            assert run.nbytes == 0
            assert answer(run, torch.tensor([SIGMAS[after]])) == (False, False)
            for step in range(after + 1, STEPS if fault is not broken_clock else after + 1):
                if fault is unreadable_sigma:
                    run.clock.measures = False
                assert evaluate(run, step) == (False, False)
        report = run.close()
    assert run.nbytes == 0
    assert report.notes[-1:] == (["Caching stopped: a bug"] if stops else report.notes[-1:])
    seen = report.evaluations
    if stops:
        assert report.computed >= 1 or (after == 0 and not report.records)
        assert all(r.reason != "between scheduled steps" for r in report.records[after:])
    # Where the clock failed at once there is no step to count the evaluation in.
    assert seen >= after
    assert len(report.records) >= after
    assert report.summary()
    assert report.as_dict()["notes"] == report.notes


def test_a_run_that_was_stopped_asks_its_policy_no_more(monkeypatch: pytest.MonkeyPatch):
    run = started(BUDGET)
    for step in range(4):
        evaluate(run, step)
    monkeypatch.setattr(run.policy, "settle", fails)
    with pytest.raises(Broken):
        run.begin(lambda: 0.0, X)
    run.stop("a bug")
    assert answer(run, torch.tensor([SIGMAS[4]])) == (False, False)
    monkeypatch.setattr(run.policy, "decide", fails)
    for step in range(5, STEPS):
        assert evaluate(run, step) == (False, False)
    report = run.close()
    assert report.evaluations == report.computed == STEPS - 1, "one could not begin"
    assert [r.reason for r in report.records[4:]] == ["caching stopped"] * (STEPS - 5)


def test_a_run_is_closed_without_its_policy(monkeypatch: pytest.MonkeyPatch):
    run = started(BUDGET)
    for step in range(4):
        evaluate(run, step)
    monkeypatch.setattr(run.policy, "settle", fails)
    assert run.close().evaluations == 4
    assert run.nbytes == 0


def test_a_stop_within_an_evaluation_counts_it_as_computed():
    run = started(ScalingCache(listed=(0, 1)))
    for step in range(3):
        skipped = evaluate(run, step)
    assert skipped == BOTH
    run.begin(lambda: 0.0, X)
    assert run.skips(KEYS, X, BOTH) == BOTH
    run.stop("a bug")
    assert run.skips(KEYS, X, BOTH) == (False, False)
    outputs = [X, X]
    assert run.complete(KEYS, X, torch.ones(1), outputs, BOTH) is outputs
    assert run.hand_over(X, outputs[0]) is outputs[0]
    report = run.close()
    assert [r.computed for r in report.records] == [1, 1, 0, 1]
