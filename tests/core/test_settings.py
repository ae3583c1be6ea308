"""Settings and reports."""

from __future__ import annotations

import math

import pytest
from scaling_cache.cache_core.decide.policies import Decision
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.methods.base import one_of
from scaling_cache.cache_core.methods.scaling_cache import Mode
from scaling_cache.cache_core.run.report import RunReport


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("speedup", 0.9, "between 1.0 and 4.0"),
        ("speedup", 4.1, "between 1.0 and 4.0"),
        ("speedup", math.nan, "between 1.0 and 4.0"),
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
    assert one_of("mode", Mode, "error budget") is Mode.BUDGET
    with pytest.raises(ValueError, match="mode: must be one of 'target speed-up', 'near-lossless'"):
        one_of("mode", Mode, "fast")


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
        settings = ScalingCache(speedup=speedup, mode=one_of("mode", Mode, words))
        assert settings.target == target
        assert not settings.off


def report(seconds: list[tuple[bool, float]]) -> RunReport:
    out = RunReport(len(seconds))
    for step, (computed, time) in enumerate(seconds):
        out.begin_step(step, 1.0, Decision(computed, "why"))
        record = out.records[-1]
        record.evaluations, record.computed, record.seconds = 1, int(computed), time
    return out


def test_speedup_is_plain_time_over_measured_time():
    # The first step also loads the model: it counts the same in both.
    out = report([(True, 5.0), (True, 1.0), (False, 0.0), (True, 1.0), (False, 0.0)])
    assert (out.computed, out.evaluations) == (3, 5)
    assert out.speedup == pytest.approx((5 + 4) / (5 + 2))
    assert out.seconds == 7
    assert "computed 3 of 5" in out.progress()
    assert out.summary().startswith("computed 3 of 5 evaluations, 1.29x")


def test_a_report_of_nothing():
    assert RunReport(10).speedup == 1.0
    assert RunReport(10).summary() == "nothing was sampled"


def test_notes_are_said_once():
    out = report([(True, 1.0)])
    out.note("Once")
    out.note("Once")
    assert out.summary().count("Once") == 1
