"""The rules without a network: published step counts, polynomials, lists of blocks, bad values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.calibration.files import CoefficientError
from scaling_cache.cache_core.calibration.published import load_magcache, load_teacache
from scaling_cache.cache_core.decide.layout import Layout, Span, spans_of
from scaling_cache.cache_core.decide.policies import Accumulating, Policy
from scaling_cache.cache_core.decide.signals import Polynomial
from scaling_cache.cache_core.methods import METHODS, DeltaCache, FirstBlockCache, Level, MagCache
from scaling_cache.cache_core.methods.base import parse_ranges
from scaling_cache.cache_core.methods.delta_cache import HUNYUAN_VIDEO, WAN_14B, StackPlan
from scaling_cache.cache_core.run.report import format_ranges

from .helpers import computed_steps, plan_of

ROOT = Path(__file__).parents[2]
TEA = load_teacache(ROOT / "coefficients" / "teacache.json")
MAG = load_magcache(ROOT / "coefficients" / "magcache.json")
WAN = Layout((("double_block", 40),))
HUNYUAN = Layout((("double_block", 20), ("single_block", 40)))


def schedule(
    key: str, thr: float, longest: int, retention: float, steps: int, branch: int = 0
) -> list[int]:
    method = replace(MAG[key].method, threshold=thr, max_gap=longest, retention=retention)
    return computed_steps(method.policy(plan_of(steps), Span(0, 39), WAN, branch), steps)


# Step lists that follow from the published tables and settings.
@pytest.mark.parametrize(
    ("key", "thr", "longest", "retention", "steps", "count", "tail"),
    [
        ("wan2.1_t2v_1.3B", 0.12, 4, 0.2, 50, 21, [14, 19, 24, 29, 34, 38, 41, 44, 46, 48, 49]),
        ("wan2.1_t2v_1.3B", 0.12, 2, 0.2, 50, 25, [39, 42, 44, 46, 48, 49]),
        ("wan2.1_t2v_14B", 0.24, 6, 0.2, 50, 18, [16, 23, 30, 36, 41, 44, 47, 49]),
        ("wan2.1_i2v_480p_14B", 0.24, 6, 0.2, 40, 15, [14, 20, 25, 30, 34, 37, 39]),
        ("wan2.1_i2v_720p_14B", 0.24, 6, 0.2, 40, 14, [14, 21, 27, 32, 35, 38]),
        ("wan2.1_vace_1.3B", 0.02, 3, 0.2, 50, 29, [44, 45, 46, 47, 48, 49]),
        ("hunyuan_video_720p", 0.24, 6, 0.2, 50, 19, [14, 18, 23, 29, 34, 41, 46, 48, 49]),
        ("hunyuan_video_544p", 0.24, 6, 0.2, 50, 18, [14, 18, 23, 29, 34, 41, 46, 48]),
        ("flux", 0.24, 5, 0.1, 28, 9, [0, 1, 2, 5, 9, 11, 17, 23, 26]),
        ("flux_kontext", 0.05, 4, 0.2, 28, 14, [7, 10, 11, 16, 21, 24, 26, 27]),
        ("qwen_image", 0.06, 2, 0.2, 50, 37, [45, 46, 47, 48, 49]),
        ("qwen_image_edit", 0.06, 2, 0.2, 50, 35, [44, 45, 46, 47, 48, 49]),
        ("wan2.2_ti2v_5B_t2v", 0.06, 2, 0.2, 50, 25, [38, 40, 42, 44, 46, 48]),
        ("wan2.2_t2v_14B_high", 0.06, 2, 0.4, 26, 15, [12, 15, 18, 21, 24]),
        ("wan2.2_t2v_14B_low", 0.06, 2, 0.4, 14, 11, [5, 7, 9, 11, 12, 13]),
        (
            "wan2.2_i2v_14B_low",
            0.06,
            2,
            0.1,
            25,
            15,
            [2, 5, 8, 11, 13, 15, 17, 19, 20, 21, 22, 23, 24],
        ),
        ("chroma", 0.10, 2, 0.25, 26, 13, [6, 9, 12, 15, 18, 21, 23]),
        ("hunyuan_video_1.5", 0.03, 2, 0.25, 20, 12, [7, 10, 13, 15, 17, 18, 19]),
    ],
)
def test_published_magcache_schedules(key, thr, longest, retention, steps, count, tail) -> None:
    found = schedule(key, thr, longest, retention, steps)
    assert len(found) == count
    assert found[-len(tail) :] == tail


def test_flux_never_skips_step_11_of_28() -> None:
    free = replace(MAG["flux"].method, never=())
    policy = free.policy(plan_of(28), Span(0, 1), WAN, 0)
    assert 11 not in computed_steps(policy, 28)
    assert 11 in schedule("flux", 0.24, 5, 0.1, 28)


def test_magcache_settings_are_the_published_ones() -> None:
    flux = MAG["flux"].method
    assert (flux.threshold, flux.max_gap, flux.retention) == (0.24, 5, 0.1)
    assert all(preset.sources for preset in MAG.values())


def test_magcache_follows_the_magnitude_only_when_asked() -> None:
    plan = plan_of(10)
    plain = MagCache(((1.0, *[0.9] * 9),), 1.0, 3, 0.1)
    for method, scale in ((plain, 1.0), (replace(plain, follow_magnitude=True), 0.9 * 0.9)):
        policy = method.policy(plan, Span(0, 1), WAN, 0)
        for step in range(2):
            policy.settle(policy.decide(step, None).compute)
        assert policy.decide(2, None).scale == pytest.approx(scale)


def test_published_delta_schedules() -> None:
    plan = plan_of(50)
    (wan,) = WAN_14B.plans
    assert len(wan.computed(plan)) == 14
    assert 40 - len(wan.blocks) == 12
    assert len(WAN_14B.spans(WAN)) == 5
    skipped = len(wan.blocks) * (50 - len(wan.computed(plan)))
    assert sum(map(len, WAN_14B.spans(WAN))) == len(wan.blocks)
    assert 1 - skipped / (WAN.total * 50) == pytest.approx(0.496)
    double, single = HUNYUAN_VIDEO.plans
    assert (len(double.blocks), len(single.blocks)) == (14, 24)
    assert sorted(double.computed(plan) - single.computed(plan)) == [12, 24, 30, 36]
    assert sorted(single.computed(plan) - double.computed(plan)) == [26, 32, 38, 46]
    assert len(HUNYUAN_VIDEO.spans(HUNYUAN)) == 1 + 8


def test_teacache_presets_and_polynomials() -> None:
    assert len(TEA) == 24
    assert all(p.sources and len(p.method.polynomial.coefficients) == 5 for p in TEA.values())
    wan = TEA["wan2.1_t2v_14B"].method.polynomial
    assert replace(wan, strict=True)(0.0) == -13.02252404
    assert wan(0.0) == 0.0
    for preset in TEA.values():
        for change in (0.02, 0.1, 0.3):
            exact = np.polyval(preset.method.polynomial.coefficients, change)
            assert replace(preset.method.polynomial, strict=True)(change) == pytest.approx(exact)
    clamped = Polynomial((1.0, 0.0), valid=(0.1, 0.2))
    assert (clamped(0.0), clamped(0.15), clamped(9.0)) == (0.1, 0.15, 0.2)
    assert replace(clamped, strict=True)(9.0) == 9.0


def test_the_accumulator_needs_less_than_the_threshold() -> None:
    policy = Accumulating(lambda x: x, 0.5, frozenset({0}), None)
    assert computed_steps(policy, 5, [None, 0.25, 0.25, 0.25, 0.25]) == [0, 2, 4]


@pytest.mark.parametrize("change", [float("nan"), float("inf"), None])
def test_a_signal_that_is_no_number_computes(change: float | None) -> None:
    for policy in (
        Accumulating(lambda x: x, 9.0, frozenset(), None),
        FirstBlockCache(0.9).policy(plan_of(9), Span(1, 2), WAN, 0),
    ):
        assert policy.decide(4, change).compute


@pytest.mark.parametrize(
    "policy",
    [
        Accumulating(lambda x: x, 0.5, frozenset({0}), None),
        FirstBlockCache(0.2).policy(plan_of(20), Span(1, 2), WAN, 0),
        replace(MAG["flux"].method, threshold=0.1).policy(plan_of(20), Span(0, 39), WAN, 0),
    ],
    ids=["sum", "distance", "magnitude"],
)
def test_what_was_compared_says_which_side_of_its_limit_it_was(policy: Policy) -> None:
    sides = set()
    for step in range(20):
        verdict = policy.decide(step, 0.02 * step if step else None)
        policy.settle(verdict.compute)
        if verdict.reason in ("threshold reached", "below the threshold"):
            assert verdict.error is not None
            assert verdict.limit is not None
            assert (verdict.error < verdict.limit) == (verdict.reason == "below the threshold")
            sides.add(verdict.compute)
    assert sides == {False, True}


def test_the_longest_gap_holds() -> None:
    policy = Accumulating(lambda x: 0.0, 1.0, frozenset({0}), 2)
    assert computed_steps(policy, 7, [None, *[0.1] * 6]) == [0, 3, 6]


@pytest.mark.parametrize(
    ("text", "said"),
    [("3,2", "blocks must rise"), ("1-3, 2", "blocks must rise"), ("40", "block 40"), ("-1", "-1")],
)
def test_bad_block_lists_name_the_field(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"blocks: .*{said}|blocks: {said}"):
        spans_of("blocks", parse_ranges("blocks", text), WAN.numbers("double_block"))


@pytest.mark.parametrize("text", ["a", "1-b", "5-2", "1.5"])
def test_what_is_not_a_list_names_the_field(text: str) -> None:
    with pytest.raises(ValueError, match="single_blocks: "):
        parse_ranges("single_blocks", text)


def test_single_blocks_need_a_single_stack() -> None:
    method = DeltaCache((StackPlan("single_blocks", "single_block", (0,)),))
    with pytest.raises(ValueError, match=r"single_blocks: .*no such stack"):
        method.spans(WAN)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: FirstBlockCache(2.0), "residual_diff_threshold"),
        (lambda: replace(TEA["flux"].method, threshold=-1.0), "rel_l1_thresh"),
        (lambda: replace(MAG["flux"].method, threshold=-1.0), "magcache_thresh"),
        (lambda: replace(MAG["flux"].method, retention=1.5), "retention_ratio"),
        (lambda: replace(MAG["flux"].method, max_gap=-1), "magcache_K"),
        (lambda: StackPlan("blocks", "double_block", (1,), interval=0), "interval"),
    ],
)
def test_values_out_of_range_name_the_field(make, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: "):
        make()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: raw.pop("format"), "format"),
        (lambda raw: raw.update(entries={}), "entries"),
        (lambda raw: raw["entries"][0].pop("coefficients"), "coefficients"),
        (lambda raw: raw["entries"][0].update(signal="odd"), "odd"),
        (lambda raw: raw["entries"][0].update(coefficients=["x"]), "flux|wan"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(spoil, said: str, tmp_path: Path) -> None:
    raw = json.loads((ROOT / "coefficients" / "teacache.json").read_text())
    spoil(raw)
    path = tmp_path / "teacache.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(CoefficientError, match=said):
        load_teacache(path)


def test_methods_have_distinct_names() -> None:
    # TaylorSeer and Scaling Cache work on both levels.
    assert len({(method.name, method.level) for method in METHODS}) == len(METHODS)
    inside = [method.name for method in METHODS if method.level is Level.BLOCKS]
    assert len(set(inside)) == len(inside) == 10


@given(st.sets(st.integers(0, 60)))
def test_lists_of_blocks_come_back_as_written(blocks: set[int]) -> None:
    assert parse_ranges("blocks", format_ranges(sorted(blocks))) == tuple(sorted(blocks))
