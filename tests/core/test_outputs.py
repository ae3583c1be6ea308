"""The cache of whole steps: what it computes, what it predicts, what it does when something is wrong."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.methods.base import Few
from scaling_cache.cache_core.methods.scaling import Mode
from scaling_cache.cache_core.outputs import OutputCache
from scaling_cache.cache_core.planning.optimiser import target_steps
from scaling_cache.cache_core.predict import predictors
from scaling_cache.cache_core.predict.predictors import FIRST_ALPHA, Predictor, Quantity
from torch.overrides import TorchFunctionMode

from .helpers import computed_steps, flow, output, plan_of, run_of, traits

# The predictors of whole steps.
KINDS = (
    predictors.AUTO,
    predictors.SCALING,
    predictors.LEAST_SQUARES,
    predictors.REPEAT,
    predictors.ORDER_1,
    predictors.ORDER_2,
    predictors.TAYLOR_1,
    predictors.TAYLOR_2,
    predictors.TAYLOR_3,
)

KEYS = ("key",)
Model = Callable[[torch.Tensor, float], list[torch.Tensor]]


def make_run(settings: ScalingCache, steps: int = 20, stochastic: bool = False) -> OutputCache:
    return run_of(settings, plan_of(steps, sampler=traits(steps, stochastic=stochastic)))


def bending(x: torch.Tensor, sigma: float) -> list[torch.Tensor]:
    """Two conditionings whose derivatives bend with sigma."""
    field = torch.linspace(-1, 1, x[0].numel()).reshape(x[0].shape)
    return [x - sigma * (field * k + field**2 * sigma + math.sin(3 * sigma)) for k in (1, 2)]


def sample(
    run: OutputCache, model: Model = bending, batch: int = 1
) -> tuple[torch.Tensor, list[int], list[list[torch.Tensor]]]:
    """Euler with two conditionings mixed as guidance does; gives x, computed steps and outputs."""
    sigmas = run.clock.sigmas
    x = torch.randn(batch, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    computed: list[int] = []
    answers = []
    for step in range(len(sigmas) - 1):
        sigma = torch.full((batch,), sigmas[step])
        outputs, ran = output(run, x, sigma, lambda x=x, at=sigmas[step]: model(x, at))
        computed += [step] * ran
        answers.append(outputs)
        guided = outputs[1] + 4 * (outputs[0] - outputs[1])
        x = x + (x - guided) / sigmas[step] * (sigmas[step + 1] - sigmas[step])
    return x, computed, answers


@given(st.integers(8, 60), st.floats(1.1, 4), st.sampled_from(KINDS), st.integers(0, 5))
def test_computes_what_the_report_says_and_what_is_forced(
    steps: int, speedup: float, predictor: Predictor, warmup: int
):
    settings = ScalingCache(speedup=speedup, predictor=predictor, warmup=warmup)
    run = make_run(settings, steps)
    _, computed, _ = sample(run)
    report = run.close()
    assert report.as_dict()["computed_steps"] == computed
    assert report.evaluations == steps
    assert report.computed == len(computed)
    assert set(range(warmup or 3)) <= set(computed)
    assert computed[-1] == steps - 1
    longest = max(b - a - 1 for a, b in pairwise(computed))
    assert longest <= settings.max_gap


@given(st.integers(20, 60), st.floats(1.2, 3.5), st.floats(1.0, 6.0))
def test_a_target_is_met(steps: int, speedup: float, shift: float):
    sigmas, places = flow(steps, shift)
    method = ScalingCache(speedup=speedup, few=Few.STEPS)
    policy = method.policy(plan_of(sigmas, log_snr=places))
    computed = computed_steps(policy, steps)
    assert len(computed) == target_steps(steps, speedup)
    assert computed[0] == 0
    assert computed[-1] == steps - 1


def test_a_predicted_output_is_the_formula():
    run = make_run(ScalingCache(speedup=2.0))
    sigmas = run.clock.sigmas
    history: list[tuple[float, torch.Tensor]] = []
    checked = 0
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    for step in range(20):
        sigma = torch.tensor([sigmas[step]])
        outputs, ran = output(run, x, sigma, lambda x=x, s=sigmas[step]: bending(x, s)[:1], (True,))
        if ran:
            history.append((sigmas[step], (x - outputs[0]) / sigmas[step]))
        else:
            (s1, d1), (s0, d0) = history[-2:]
            line = (d0 - d1) * (sigmas[step] - s0) / (s0 - s1)
            predicted = (x - outputs[0]) / sigmas[step]
            alpha = float(((predicted - d0) * line).sum() / (line * line).sum())
            assert 0 <= alpha <= 1.5 + 1e-4
            torch.testing.assert_close(predicted, d0 + alpha * line, rtol=1e-5, atol=1e-5)
            checked += 1
        x = x + (x - outputs[0]) / sigmas[step] * (sigmas[step + 1] - sigmas[step])
    assert checked == 10


def test_a_field_that_is_linear_in_sigma_is_sampled_exactly():
    def linear(x: torch.Tensor, sigma: float) -> list[torch.Tensor]:
        field = torch.linspace(-1, 1, x[0].numel()).reshape(x[0].shape)
        return [x - sigma * (field + k * sigma) for k in (1, 2)]

    line = ScalingCache(speedup=3.0, predictor=predictors.ORDER_1)
    cached, computed, _ = sample(make_run(line), linear)
    plain, everything, _ = sample(make_run(ScalingCache(speedup=1.0)), linear)
    assert len(computed) < len(everything) == 20
    torch.testing.assert_close(cached, plain, rtol=1e-5, atol=1e-5)


def test_owns_what_it_keeps_and_leaves_alone_what_it_is_given():
    run = make_run(ScalingCache(speedup=2.0))

    def spoiling(x: torch.Tensor, sigma: float) -> list[torch.Tensor]:
        spoiled[:] = [(t, t.clone()) for t in bending(x, sigma)]
        return [t for t, _ in spoiled]

    spoiled: list[tuple[torch.Tensor, torch.Tensor]] = []
    reference, _, _ = sample(make_run(ScalingCache(speedup=2.0)))
    sigmas = run.clock.sigmas
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    for step in range(20):
        sigma = torch.tensor([sigmas[step]])
        before = x.clone()
        outputs, ran = output(run, x, sigma, lambda x=x, s=sigmas[step]: spoiling(x, s))
        if ran:
            assert all(torch.equal(t, copy) for t, copy in spoiled)
        assert torch.equal(x, before)
        guided = outputs[1] + 4 * (outputs[0] - outputs[1])
        following = x + (x - guided) / sigmas[step] * (sigmas[step + 1] - sigmas[step])
        for tensor in (x, *outputs):
            tensor.fill_(math.nan)  # as a sampler that works in place may do
        x = following
    torch.testing.assert_close(x, reference)


def test_a_conditioning_that_takes_no_part_gives_zeros():
    run = make_run(ScalingCache(speedup=2.0))
    x = torch.ones(1, 2, 4, 4)
    for step in range(20):
        sigma = torch.tensor([run.clock.sigmas[step]])
        first = bending(x, float(sigma))[0]
        outputs, ran = output(
            run, x, sigma, lambda y=first: [y, torch.zeros_like(x)], (True, False)
        )
        if not ran:
            assert outputs[1].abs().max() == 0
    assert run.close().computed == 10


def test_batch_order_does_not_matter():
    def per_sample(order: list[int]) -> torch.Tensor:
        gain = torch.tensor([1.0, 5.0, -2.0])[order].reshape(-1, 1, 1, 1)
        run = make_run(ScalingCache(speedup=2.0))
        start = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))[order]
        sigmas = run.clock.sigmas
        x = start
        for step in range(20):
            sigma = torch.full((3,), sigmas[step])
            given = x - sigmas[step] * gain * (x * 0.1 + math.sin(4 * sigmas[step]))
            outputs, _ = output(run, x, sigma, lambda given=given: [given], (True,))
            x = x + (x - outputs[0]) / sigmas[step] * (sigmas[step + 1] - sigmas[step])
        return x

    torch.testing.assert_close(per_sample([2, 0, 1]), per_sample([0, 1, 2])[[2, 0, 1]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_answers_in_the_dtype_of_the_latent(dtype: torch.dtype):
    run = make_run(ScalingCache(speedup=2.0))
    x = torch.ones(1, 2, 4, 4, dtype=dtype)
    seen = set()
    for step in range(20):
        sigma = torch.tensor([run.clock.sigmas[step]])
        value = bending(x.float(), float(sigma))[0].to(dtype)
        outputs, ran = output(run, x, sigma, lambda value=value: [value], (True,))
        if not ran:
            seen.add(outputs[0].dtype)
    assert seen == {dtype}


def test_another_shape_or_key_is_computed_until_it_has_a_history():
    run = make_run(ScalingCache(speedup=2.0))
    big, small = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2)
    computed = []
    for step in range(20):
        x, key = (big, "a") if step < 10 else (small, "a" if step < 15 else "b")
        sigma = torch.tensor([run.clock.sigmas[step]])
        value = bending(x, float(sigma))[:1]
        _, ran = output(run, x, sigma, lambda value=value: value, (True,), key)
        computed += [step] * ran
    # What begins in mid-run needs a line, and one more output that is near it.
    planned = set(make_computed(20))
    assert set(computed) == planned | {10, 11, 12, 15, 16, 17}


def make_computed(steps: int) -> list[int]:
    return sample(make_run(ScalingCache(speedup=2.0), steps))[1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_stops_caching_and_is_said_once(bad: float):
    def failing(x: torch.Tensor, sigma: float) -> list[torch.Tensor]:
        outputs = bending(x, sigma)
        return [o * bad for o in outputs] if sigma < 0.6 else outputs

    run = make_run(ScalingCache(speedup=2.0))
    _, computed, _ = sample(run, failing)
    first_bad = next(s for s in computed if run.clock.sigmas[s] < 0.6)
    assert computed[computed.index(first_bad) :] == list(range(first_bad, 20))
    assert run.nbytes == 0
    assert run.close().notes == ["Caching stopped: the model's output is not finite"]


def test_an_output_of_another_shape_stops_caching():
    run = make_run(ScalingCache(speedup=2.0))
    x = torch.ones(1, 2, 4, 4)
    _, ran = output(run, x, torch.ones(1), lambda: [torch.ones(1, 3, 4, 4)], (True,))
    assert ran
    assert run.sealed
    assert "another shape" in run.close().notes[0]


def test_a_sampler_off_its_schedule_is_measured_from_then_on():
    run = make_run(ScalingCache(speedup=2.0))
    x = torch.ones(1, 2, 4, 4)
    read = []
    for step in range(20):
        true = 0.9 * run.clock.sigmas[step]
        sigma = torch.tensor([true])
        run.begin(lambda true=true: read.append(true) or true)
        skipped = run.skips(KEYS, x, (True,))
        given = [None] if skipped[0] else bending(x, true)[:1]
        run.complete(KEYS, x, sigma, given, (True,))
    assert len(read) == 19
    assert "does not follow its schedule" in run.close().notes[0]


def test_nothing_lives_on_after_close():
    run = make_run(ScalingCache(speedup=2.0))
    _, _, answers = sample(run)
    assert 0 < run.nbytes == run.report.cache_bytes
    refs = [weakref.ref(e.value) for h in run._histories.known.values() for e in h.past]
    assert len(refs) == 4
    assert run.report.cache_bytes <= 3 * 2 * answers[0][0].numel() * 4
    run.close()
    del answers
    gc.collect()
    assert [r() for r in refs] == [None] * 4
    assert run.nbytes == 0


# --- what is kept


def test_a_noisy_sampler_is_predicted_by_its_denoised_output():
    run = make_run(ScalingCache(speedup=2.0), stochastic=True)
    _, computed, _ = sample(run)
    assert run.quantity is Quantity.DENOISED
    assert len(computed) == 10
    assert run.close().notes == []


def test_both_quantities_come_back():
    x, denoised = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    sigma = torch.tensor([0.5, 2.0])
    for quantity in Quantity:
        value = quantity.of(x, denoised, sigma)
        assert value.data_ptr() != denoised.data_ptr()
        torch.testing.assert_close(quantity.denoised(x, [value], [1.0], sigma), denoised)


# --- what crosses to the device


class Copies(TorchFunctionMode):
    """Counts tensors that are made from values of the host."""

    MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, torch.scalar_tensor)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in self.MAKERS
        return func(*args, **(kwargs or {}))


def test_copies_are_seen():
    with Copies() as seen:
        torch.tensor([1.0])
        torch.as_tensor([1.0, 2.0])
        torch.zeros(3).add_(1)
    assert seen.count == 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_skipped_step_copies_nothing_and_a_computed_one_a_row_at_most(
    kind: Predictor, stochastic: bool, batch: int
):
    """Also where each sample of a batch and each conditioning goes its own way."""
    sampler = traits(20, stochastic=stochastic, sums=not stochastic)
    run = run_of(ScalingCache(predictor=kind), plan_of(20, sampler=sampler))
    sigmas = [torch.full((batch,), sigma) for sigma in run.clock.sigmas]
    x = torch.randn(batch, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    gain = torch.linspace(-3, 4, batch).reshape(-1, 1, 1, 1)
    copies: dict[bool, list[int]] = {True: [], False: []}
    mixed = 0
    for step, sigma in enumerate(run.clock.sigmas[:-1]):
        bent = gain * math.sin(4 * sigma) + gain**2 * sigma**2
        both = [x - sigma * (0.3 * x + k * bent + k) for k in (1, 2)]
        with Copies() as seen:
            outputs, ran = output(run, x, sigmas[step], lambda both=both: both)
            handed = run.hand_over(x, outputs[0])
        copies[ran].append(seen.count)
        mixed += any(len(set(h.alphas)) > 1 for h in run._histories.known.values())
        x = x + (x - handed) / sigma * (run.clock.sigmas[step + 1] - sigma)
    assert len(copies[True]) == len(copies[False]) == 10
    assert copies[False] == [0] * 10
    differ = batch > 1 and kind.depth > 1
    assert max(copies[True]) == differ
    assert (mixed > 10) == differ


def test_a_batch_of_another_size_learns_afresh():
    run = make_run(ScalingCache(speedup=2.0))
    learned = []
    for step, sigma in enumerate(run.clock.sigmas[:-1]):
        x = torch.ones(2 if step < 10 else 3, 2, 4, 4)
        value = bending(x, sigma)[:1]
        _, ran = output(run, x, torch.full((len(x),), sigma), lambda value=value: value, (True,))
        (history,) = run._histories.known.values()
        learned.append(list(history.alphas))
        assert ran or step != 10
    assert learned[0] == [FIRST_ALPHA] * 2
    assert learned[9] != learned[0]
    assert learned[10] == [FIRST_ALPHA] * 3
    assert learned[19] != learned[10]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("placed", [True, False])
def test_noise_beyond_the_schedule_is_no_fault(kind: Predictor, placed: bool):
    """s_churn lifts sigma: beyond the ends of the schedule all noise levels are in one place."""
    sigmas, places = flow(20)
    sampler = traits(20, stochastic=True)
    plan = plan_of(sigmas, None, sampler, log_snr=places if placed else None)
    run = run_of(ScalingCache(predictor=kind), plan)
    x = torch.ones(2, 2, 4, 4)
    for step, sigma in enumerate(sigmas[:-1]):
        lifted = 3.0 - 0.1 * step if step < 5 else sigma
        value = bending(x, lifted)
        given = torch.full((2,), lifted)
        outputs, _ = output(run, x, given, lambda value=value: value)
        assert all(out.isfinite().all() for out in outputs)
    report = run.close()
    assert 5 <= report.computed < 20
    said = "The sampler does not follow its schedule: sigma is read at each step"
    assert report.notes[-1] == said
    assert len(report.notes) == 1 + (kind is predictors.LEAST_SQUARES)


# --- error budget


def budget_run(budget: float, **more: int) -> tuple[OutputCache, list[int]]:
    run = make_run(ScalingCache(mode=Mode.BUDGET, budget=budget, **more), 40)
    return run, sample(run)[1]


def test_more_budget_never_computes_more():
    counts = [len(budget_run(b)[1]) for b in (1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 40
    assert counts[-1] < 15


def test_the_estimated_error_stays_within_the_budget():
    for budget in (1e-3, 1e-2, 0.1):
        run, _ = budget_run(budget)
        sigmas = run.clock.sigmas
        spent = sum(
            r.error * (sigmas[r.step] - sigmas[r.step + 1])
            for r in run.report.records
            if not r.computed and r.error is not None
        )
        assert 0 < spent <= budget


def test_an_estimate_decides_at_its_limit():
    for budget in (2e-4, 2e-3, 2e-2, 0.2):
        run, _ = budget_run(budget)
        decided = [r for r in run.report.records if r.evaluations and r.limit is not None]
        assert decided
        for record in decided:
            assert record.error is not None
            assert (record.error > record.limit) == bool(record.computed), record


def test_what_is_predicted_is_estimated_within_its_limit():
    run, _ = budget_run(1e-3)
    predicted = [r for r in run.report.records if r.evaluations and not r.computed]
    assert 5 < len(predicted) < 35
    for record in predicted:
        assert record.error is not None
        assert record.limit is not None
        assert record.error <= record.limit


def test_a_run_that_bends_more_computes_more_of_the_same_budget():
    def steeper(x: torch.Tensor, sigma: float) -> list[torch.Tensor]:
        return [x - sigma * (math.sin(12 * sigma) + k) * torch.ones_like(x) for k in (1, 2)]

    run = make_run(ScalingCache(mode=Mode.BUDGET, budget=1e-2), 40)
    assert len(sample(run, steeper)[1]) > len(budget_run(1e-2)[1])


def test_the_longest_gap_holds_in_budget_mode():
    _, computed = budget_run(1.0, max_gap=2)
    assert max(b - a - 1 for a, b in pairwise(computed)) == 2


def test_a_list_of_steps_is_computed_as_it_stands():
    run = make_run(ScalingCache(speedup=1.0, listed=(2, 3, 9, 40)))
    _, computed, _ = sample(run)
    assert computed == [0, 2, 3, 9]
    summary = run.close().summary()
    assert "Computed steps: 0, 2-3, 9" in summary
    assert "goes on to 40, this run ends with 19" in summary
    assert not ScalingCache(speedup=1.0, listed=(0, 5)).off
