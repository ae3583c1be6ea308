"""Randomised runs with faults, always the same ones; `make soak` makes more and others."""

from __future__ import annotations

import torch
from scaling_cache.cache_core.predict.predictors import History, Known, project

from testbed.soak import soak, tensors_of


def test_nothing_outlives_a_run_and_the_next_one_is_fresh() -> None:
    tally = soak(60, seed=None)
    assert not tally.failures, "\n".join(f"{wrong}: {case}" for case, wrong in tally.failures)
    assert tally.runs == 60
    # What it checks must have happened.
    assert sum(tally.faults.values()) >= 15
    assert tally.tensors > 100
    assert tally.unable < 6


def test_tensors_are_found_in_what_a_run_holds() -> None:
    history = History(depth=2, batch=1)
    value = torch.ones(1, 2)
    history.learn(Known(0, 0.5, 0.5, (value,)), project(history.past, value).flatten().tolist())
    assert tensors_of({"held": [history]}) == [value]
    history.past.clear()
    assert tensors_of({"held": [history]}) == []
