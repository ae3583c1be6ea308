"""MixCache's decisions and its loop, without a network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.blocks import BlockCache, Branch
from scaling_cache.cache_core.decide.layout import Layout, Span
from scaling_cache.cache_core.methods import FirstBlockCache, MixCache
from scaling_cache.cache_core.methods.mixcache import MixRun, Mixture, Part, middle_share

from .helpers import plan_of, start_of

KEYS = ("positive", "negative")

STEPS = 24
LAYOUT = Layout((("block", 4),))
BOTH = (True, True)
KINDS = (Part.STEP, Part.NEGATIVE, Part.BLOCKS)
changes = st.dictionaries(st.sampled_from(Part), st.floats(0.0, 0.5) | st.just(float("nan")))


def written_again(method: MixCache, always: set[int], told: list[dict[Part, float]]) -> list[Any]:
    """The rule from the whole history of choices: nothing is carried from step to step."""
    chosen: list[Any] = []
    known: dict[Part, float] = {}
    begun = False
    for step in range(STEPS):
        if step and chosen[-1] is None:
            known = told[step - 1]
            begun = begun or (Part.STEP in known and known[Part.STEP] < method.trigger)
        tail = chosen[-method.max_gap :]
        full = len(tail) == method.max_gap and None not in tail
        best = None
        for kind in KINDS:
            if kind not in known:
                continue
            times = 0
            while times < len(chosen) and chosen[-1 - times] is kind:
                times += 1
            harm = known[kind] * (1 + method.penalty) ** times
            if harm < method.threshold and (best is None or harm < best[0]):
                best = harm, kind
        may = step not in always and begun and not full and best is not None
        chosen.append(best[1] if may and best else None)
    return chosen


def mixture_of(method: MixCache, stop: int = STEPS) -> Mixture:
    """What decides a run in which steps up to one may leave something out."""
    run = method.start(start_of(plan_of(STEPS, (0, stop)), layout=LAYOUT))
    return run.mixture


@given(
    st.lists(changes, min_size=STEPS, max_size=STEPS),
    st.floats(0.0, 1.0),
    st.floats(0.0, 0.6),
    st.integers(0, 6),
    st.integers(1, 8),
    st.floats(0.0, 2.0),
    st.integers(0, STEPS),
)
def test_the_decision_is_the_rule(
    told: list[dict[Part, float]],
    threshold: float,
    trigger: float,
    head: int,
    max_gap: int,
    penalty: float,
    stop: int,
):
    method = MixCache(threshold, trigger, head, max_gap, penalty)
    mixture = mixture_of(method, stop)
    found = []
    for step in range(STEPS):
        choice = mixture.decide(step)
        found.append(choice.part)
        if choice.part is None:
            mixture.learn(told[step])
    always = {*range(head), *range(stop, STEPS)}
    assert found == written_again(method, always, told)


def test_kinds_take_turns_because_of_the_penalty():
    mixture = mixture_of(MixCache(0.2, 0.2, 0, 9, 0.5))
    assert mixture.decide(0).part is None
    mixture.learn({Part.STEP: 0.1, Part.NEGATIVE: 0.12, Part.BLOCKS: 0.9})
    found = [mixture.decide(step).part for step in range(1, 5)]
    assert found == [Part.STEP, Part.NEGATIVE, Part.STEP, Part.NEGATIVE]


def test_one_kind_alone_ends_where_its_harm_reaches_the_threshold():
    mixture = mixture_of(MixCache(0.2, 0.2, 0, 9, 0.5))
    mixture.decide(0)
    mixture.learn({Part.STEP: 0.1})  # 0.1, 0.15, 0.225
    found = [mixture.decide(step) for step in range(1, 4)]
    assert [c.part for c in found] == [Part.STEP, Part.STEP, None]
    assert found[-1].reason == "threshold reached"


def test_the_trigger_is_twice_the_threshold_unless_it_is_set():
    assert MixCache(0.3).begins_below == 0.6
    assert MixCache(0.3, 0.0).begins_below == 0.0


def test_nothing_is_cached_before_the_trigger_and_always_after_it():
    mixture = mixture_of(MixCache(9.0, 0.2, 0, 1, 0.0))
    found = []
    for step, change in enumerate((0.5, 0.3, 0.1, 0.6, 0.6, 0.6)):
        found.append(mixture.decide(step).part)
        if found[-1] is None:
            mixture.learn({Part.STEP: change})
    assert found == [None, None, None, Part.STEP, None, Part.STEP]


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.floats(0.0, 0.9),
)
def test_the_middle_is_as_long_as_asked_and_cut_between_stacks(counts: list[int], share: float):
    layout = Layout(tuple((f"kind{i}", count) for i, count in enumerate(counts)))
    spans = middle_share(layout, share)
    blocks = [n for span in spans for n in range(span.first, span.last + 1)]
    assert len(blocks) == int(layout.total * share)
    if not blocks:
        return
    assert blocks == list(range(blocks[0], blocks[-1] + 1))
    before, after = blocks[0], layout.total - 1 - blocks[-1]
    assert before >= 1
    assert before - after in (0, 1)
    stacks = [layout.numbers(kind) for kind, _ in layout.stacks]
    for span in spans:
        assert any(span.first in numbers and span.last in numbers for numbers in stacks)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"threshold": -0.1}, "threshold"),
        ({"trigger": float("nan")}, "trigger"),
        ({"warmup": -1}, "warmup"),
        ({"max_gap": 0}, "max_gap"),
        ({"penalty": -1.0}, "penalty"),
        ({"share": 1.0}, "share"),
    ],
)
def test_bad_values_are_named(more: dict[str, Any], field: str):
    with pytest.raises(ValueError, match=f"^{field}: "):
        MixCache(**more)


def make_run(method: MixCache | None = None, **more: Any) -> MixRun:
    chosen = method or MixCache(9.0, 9.0, 0, 3, 0.0)
    start = start_of(STEPS, layout=LAYOUT, between=lambda *_: (0, STEPS), **more)
    return chosen.start(start)


def test_only_mixcache_runs_in_its_loop():
    assert type(MixCache().start(start_of(STEPS, layout=LAYOUT))) is MixRun
    assert type(FirstBlockCache().start(start_of(STEPS, layout=LAYOUT))) is BlockCache


def test_the_negative_conditioning_is_left_to_another_cache_and_that_is_said():
    run = make_run()
    assert (run.guidance.low, run.guidance.low_band) == (1.1, (0, STEPS))
    assert run.report.notes == []
    run = make_run(negative=False)
    assert run.guidance is None
    assert "the negative conditioning is left to it" in run.report.notes[0]
    found = drive(run, lambda step, whole: 1.0 if whole else 2.0**step)
    assert Part.NEGATIVE not in found
    assert Part.STEP in found


def drive(run: MixRun, change: Any) -> list[Part | None]:
    """A stack whose residual is a given number at each step; gives what each step left out."""
    x = torch.zeros(1, 2, 6, 6)
    found = []
    for step in range(STEPS):
        run.begin(lambda: 0.0)
        skipped = run.skips(KEYS, x, BOTH)
        assert skipped in ((False, False), (False, True))
        alone = skipped[1]
        call = run.open([Branch("a", 0)] if alone else [Branch("a", 0), Branch("b", 1)])
        assert call is not None
        call.decide()
        found.append(run.choice.part)
        whole, middle = run.spans
        before = torch.ones(1 if alone else 2, 3, 4)
        for span in (middle, whole):
            if call.keeps(span):
                call.keep(span, (before, None), (before + change(step, span == whole), None))
        outputs = [torch.ones_like(x), torch.ones_like(x) + 1 + 0.01 * step]
        given_ = [outputs[0], None] if alone else outputs
        found_ = run.complete(KEYS, x, torch.tensor([0.5]), given_, BOTH)
        assert found_[0] is outputs[0]
        assert found_[1] is not None
        assert (found_[1] is outputs[1]) is not alone
    return found


def test_the_loop_measures_its_residuals_and_keeps_those_of_computed_steps_only():
    run = make_run(MixCache(0.5, 0.5, 0, 2, 0.0))
    found = drive(run, lambda step, whole: 2.0**step if whole else 1.0 + 0.1 * step)
    # The whole residual doubles at each step and so is never near: nothing begins.
    assert found == [None] * STEPS
    run = make_run(MixCache(0.5, 0.5, 0, 2, 0.0))
    found = drive(run, lambda step, whole: 1.0 + 0.02 * step if whole else 2.0**step)
    assert found[:3] == [None, None, Part.NEGATIVE]
    assert Part.BLOCKS not in found
    kept = [state.changes[run.spans[0]] for state in run._states.values()]
    last = max(step for step, part in enumerate(found) if part is None)
    for (newest,) in kept:
        assert newest.step == last
        torch.testing.assert_close(newest.values[0], torch.full((1, 3, 4), 1.0 + 0.02 * last))
    assert run.nbytes > 0
    report = run.close()
    assert run.nbytes == 0
    assert [r.step for r in report.records if r.computed] == [
        step for step, part in enumerate(found) if part is None
    ]


def test_a_residual_that_is_no_number_is_not_repeated():
    broken = drive(make_run(), lambda step, whole: float("nan") if step == 1 else 1.0)
    assert broken[:3] == [None, None, None]
    assert {*broken[3:]} != {None}
    whole = drive(make_run(), lambda step, whole: 1.0)
    assert whole[2] is not None


def test_spans_are_the_stack_and_its_middle():
    assert MixCache().spans(LAYOUT) == (Span(0, 3), Span(1, 2))
    assert MixCache(share=0.0).spans(LAYOUT) == (Span(0, 3),)
    assert MixCache().spans(Layout((("a", 1),))) == (Span(0, 0),)
