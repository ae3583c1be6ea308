"""What a user sets on the Scaling Cache node."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.methods.base import one_of
from scaling_cache.cache_core.methods.scaling import MODES, Mode
from scaling_cache.cache_core.planning.optimiser import target_steps

from .helpers import computed_steps, flow, plan_of, run_of, traits


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("speedup", 0.9, "between 1.0 and 6.0"),
        ("speedup", 6.1, "between 1.0 and 6.0"),
        ("speedup", math.nan, "between 1.0 and 6.0"),
        ("budget", -0.1, "between 0.0 and 1.0"),
        ("start_percent", 1.1, "between 0.0 and 1.0"),
        ("end_percent", math.inf, "between 0.0 and 1.0"),
        ("warmup", -1, "between 0 and 1000"),
        ("max_gap", 0, "between 1 and 1000"),
    ],
)
def test_bad_settings_name_the_field_and_what_is_allowed(field: str, value: float, allowed: str):
    with pytest.raises(ValueError, match=f"{field}: must be {allowed}"):
        ScalingCache(**{field: value})


def test_start_must_not_be_above_end():
    with pytest.raises(ValueError, match="start_percent"):
        ScalingCache(start_percent=0.6, end_percent=0.5)


def test_choices_are_named():
    assert MODES[one_of("mode", MODES, "error budget")] is Mode.BUDGET
    allowed = "target speed-up, near-lossless, balanced, fast draft, error budget"
    with pytest.raises(ValueError, match=f"^mode: must be one of {allowed}, got 'fast'$"):
        one_of("mode", MODES, "fast")


def test_off():
    assert ScalingCache(speedup=1.0).off
    assert not ScalingCache(speedup=1.0, mode=Mode.BUDGET).off
    assert ScalingCache(mode=Mode.BUDGET, budget=0).off
    assert not ScalingCache().off


@pytest.mark.parametrize(
    ("words", "target"), [("near-lossless", 1.5), ("balanced", 2.0), ("fast draft", 3.0)]
)
def test_a_mode_in_words_is_a_target(words: str, target: float):
    for speedup in (1.0, 4.0):
        settings = ScalingCache(speedup=speedup, mode=MODES[words])
        assert settings.target == target
        assert not settings.off


@pytest.mark.parametrize(("speedup", "longest"), [(3.0, 6), (4.0, 6), (5.0, 12), (6.0, 12)])
def test_few_computed_steps_are_spaced_by_what_they_cost(speedup: float, longest: int):
    """A limit meant for more steps would spread those of 5x and 6x nearly evenly."""
    sigmas, places = flow(50)
    plan = plan_of(sigmas, sampler=traits(50, sums=True), log_snr=places)
    found = computed_steps(run_of(ScalingCache(speedup), plan).policy, 50)
    assert len(found) == target_steps(50, speedup)
    gaps = [b - a - 1 for a, b in pairwise(found)]
    assert max(gaps) <= longest
    assert max(gaps) > 6 or longest == 6
