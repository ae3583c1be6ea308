"""Branches beside the network at some evaluations only, without a host."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scaling_cache.cache_core.branches import BranchRun
from scaling_cache.cache_core.methods.branch import BranchCache
from scaling_cache.cache_core.predict.predictors import REPEAT

from .helpers import plan_of, start_of, traits

STEPS = 12
OWNER = object()


def started(interval: int = 3, steps: int = STEPS, **more: Any) -> BranchRun:
    return BranchCache(interval).start(start_of(plan_of(steps, None, traits(steps)), **more))


def output(value: float) -> dict[str, list[torch.Tensor | None]]:
    shared = torch.full((1, 4), value)
    return {"input": [None, shared, shared], "output": [torch.full((1, 2), -value)]}


def step(run: BranchRun, at: int, *keys: str, owner: Any = OWNER) -> list[bool]:
    """One evaluation; whether each of the branches was computed."""
    run.begin(lambda: run.clock.sigmas[at])
    found = []
    for key in keys:
        known = run.recall(key, owner)
        found.append(known is None)
        if known is None:
            run.keep(key, owner, output(float(at)))
    return found


def test_two_to_begin_with_every_third_and_the_last():
    run = started()
    ran = [step(run, at, "a")[0] for at in range(STEPS)]
    assert [at for at, one in enumerate(ran) if one] == [0, 1, 4, 7, 10, 11]
    held = run.nbytes
    report = run.close()
    assert (report.computed, report.evaluations) == (6, STEPS)
    assert held == report.cache_bytes == 2 * 6 * 4, (
        "a tensor that stands for two blocks is kept once"
    )
    assert run.nbytes == 0


def test_the_last_steps_count_for_more_where_most_of_the_noise_is_left_to_them():
    places = [math.log((1 - sigma) / sigma) for sigma in shifted(STEPS, 10.0)]
    plan = plan_of(STEPS, None, traits(STEPS), log_snr=(*places, 7.0))
    run = BranchCache(3).start(start_of(plan))
    ran = [at for at in range(STEPS) if step(run, at, "a")[0]]
    assert ran == [0, 1, 5, 8, 10, 11]


def shifted(steps: int, shift: float) -> list[float]:
    """Sigmas of a flow model with a shift, all but the last."""
    even = [1 - (i + 0.5) / (steps + 0.5) for i in range(steps)]
    return [shift * t / (1 + (shift - 1) * t) for t in even]


def test_steps_that_ask_nothing_count_for_nothing():
    run = started()
    asked = [at for at in range(STEPS) if at % 2 == 0 or at == STEPS - 1]
    ran = [at for at in range(STEPS) if any(step(run, at, *["a"][: at in asked]))]
    assert ran == [0, 2, 8, 11]
    report = run.close()
    assert [r.step for r in report.records] == asked
    assert (report.computed, report.evaluations) == (4, len(asked))


def test_what_was_not_asked_at_the_last_computed_step_is_computed():
    run = started(interval=4)
    keys = {0: "ab", 1: "ab", 2: "a", 3: "ab", 4: "a", 5: "a", 6: "ab", 7: "a"}
    ran = {at: step(run, at, *keys[at]) for at in keys}
    assert ran[3] == [False, False]
    assert ran[5] == [True]
    assert ran[6] == [False, True]
    assert ran[7] == [False]


def test_what_is_not_asked_any_more_is_let_go():
    """Of a window that moves from step to step, no more than since the last but one computed step."""
    run, interval = started(), 3
    ran = [step(run, at, "stays", f"moves, at {at}") for at in range(STEPS)]
    assert [at for at, one in enumerate(ran) if one[0]] == [0, 1, 4, 7, 10, 11]
    assert all(moved for _, moved in ran)
    assert run.report.cache_bytes == (2 + interval + 1) * 6 * 4


def test_what_is_handed_out_and_kept_are_copies():
    run = BranchCache(3).start(start_of(plan_of(STEPS, None, traits(STEPS)), predictor=REPEAT))
    run.begin(lambda: 1.0)
    assert run.recall("a", OWNER) is None
    run.keep("a", OWNER, made := output(3.0))
    made["output"][0].zero_()  # pyright: ignore
    run.begin(lambda: 1.0)
    known = run.recall("a", OWNER)
    assert known is not None
    assert known["input"][0] is None
    assert known["input"][1] is known["input"][2]
    for tensor in (known["output"][0], known["input"][1]):
        assert tensor is not None
        assert float(tensor.abs().mean()) == 3.0
        tensor.zero_()
    known["input"].pop()  # pyright: ignore
    again = run.recall("a", OWNER)
    assert again is not None
    assert len(again["input"]) == 3
    assert float(again["output"][0].mean()) == -3.0  # pyright: ignore
    assert run.recall("a", object()) is None, "another one under the same key"


@pytest.mark.parametrize("steps", [2, 3])
def test_an_interval_that_leaves_nothing_is_refused(steps: int):
    with pytest.raises(ValueError, match=f"{steps} steps leave none between"):
        started(steps=steps)
    with pytest.raises(ValueError, match="interval"):
        BranchCache(0)
