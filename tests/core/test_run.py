"""The run loop: what it computes, what it predicts, what it does when something is wrong."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.decide.policies import SamplerTraits
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.methods.base import Refusal, plan_run
from scaling_cache.cache_core.methods.scaling_cache import Mode
from scaling_cache.cache_core.outputs import OutputCache
from scaling_cache.cache_core.planning.optimiser import target_steps
from scaling_cache.cache_core.predict import predictors
from scaling_cache.cache_core.predict.predictors import Quantity

EVERYWHERE = (math.inf, -math.inf)
Model = Callable[[torch.Tensor, float], list[torch.Tensor]]


def schedule(steps: int) -> tuple[float, ...]:
    return tuple(1 - i / steps for i in range(steps + 1))


def traits(steps: int, stochastic: bool = False) -> SamplerTraits:
    return SamplerTraits("euler", (1,) * steps, stochastic)


def make_run(settings: ScalingCache, steps: int = 20, stochastic: bool = False) -> OutputCache:
    run = plan_run(settings, schedule(steps), traits(steps, stochastic), EVERYWHERE)
    assert isinstance(run, OutputCache)
    return run


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
        run.begin(lambda sigma=sigma: float(sigma[0]))
        outputs = run.predict("key", x, sigma, (True, True))
        if outputs is None:
            computed.append(step)
            outputs = model(x, sigmas[step])
            run.observe("key", x, sigma, outputs, (True, True))
        answers.append(outputs)
        guided = outputs[1] + 4 * (outputs[0] - outputs[1])
        x = x + (x - guided) / sigmas[step] * (sigmas[step + 1] - sigmas[step])
    return x, computed, answers


@given(st.integers(8, 60), st.floats(1.1, 4), st.sampled_from(PredictorKind), st.integers(0, 5))
def test_computes_what_the_report_says_and_what_is_forced(
    steps: int, speedup: float, predictor: PredictorKind, warmup: int
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


def placed(steps: int, shift: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Sigmas of a flow model, and the logarithm of signal over noise as far as a model can tell it."""
    times = schedule(steps)
    sigmas = tuple(shift * t / (1 + (shift - 1) * t) for t in times)
    ratios = ((1 - s) / max(s, 1e-3) for s in sigmas)
    return sigmas, tuple(math.log(math.hypot(ratio, 1 / 30)) for ratio in ratios)


@given(st.integers(20, 60), st.floats(1.2, 3.5), st.floats(1.0, 6.0))
def test_a_target_is_met(steps: int, speedup: float, shift: float):
    sigmas, places = placed(steps, shift)
    run = plan_run(ScalingCache(speedup=speedup), sigmas, traits(steps), EVERYWHERE, log_snr=places)
    assert isinstance(run, OutputCache)
    _, computed, _ = sample(run)
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
        run.begin(lambda: 0.0)
        outputs = run.predict("key", x, sigma, (True,))
        if outputs is None:
            outputs = bending(x, sigmas[step])[:1]
            run.observe("key", x, sigma, outputs, (True,))
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
        run.begin(lambda: 0.0)
        outputs = run.predict("key", x, sigma, (True, True))
        if outputs is None:
            outputs = spoiling(x, sigmas[step])
            run.observe("key", x, sigma, outputs, (True, True))
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
        run.begin(lambda: 0.0)
        outputs = run.predict("key", x, sigma, (True, False))
        if outputs is None:
            zeros = torch.zeros_like(x)
            run.observe("key", x, sigma, [bending(x, float(sigma))[0], zeros], (True, False))
        else:
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
            run.begin(lambda: 0.0)
            outputs = run.predict("key", x, sigma, (True,))
            if outputs is None:
                outputs = [x - sigmas[step] * gain * (x * 0.1 + math.sin(4 * sigmas[step]))]
                run.observe("key", x, sigma, outputs, (True,))
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
        run.begin(lambda: 0.0)
        outputs = run.predict("key", x, sigma, (True,))
        if outputs is None:
            value = bending(x.float(), float(sigma))[0].to(dtype)
            run.observe("key", x, sigma, [value], (True,))
        else:
            seen.add(outputs[0].dtype)
    assert seen == {dtype}


def test_another_shape_or_key_is_computed_until_it_has_a_history():
    run = make_run(ScalingCache(speedup=2.0))
    big, small = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2)
    computed = []
    for step in range(20):
        x, key = (big, "a") if step < 10 else (small, "a" if step < 15 else "b")
        sigma = torch.tensor([run.clock.sigmas[step]])
        run.begin(lambda: 0.0)
        if run.predict(key, x, sigma, (True,)) is None:
            computed.append(step)
            run.observe(key, x, sigma, bending(x, float(sigma))[:1], (True,))
    planned = set(make_computed(20))
    assert set(computed) == planned | {10, 15}


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
    run.begin(lambda: 0.0)
    assert run.predict("key", x, torch.ones(1), (True,)) is None
    run.observe("key", x, torch.ones(1), [torch.ones(1, 3, 4, 4)], (True,))
    assert "another shape" in run.close().notes[0]


def test_a_sampler_off_its_schedule_is_measured_from_then_on():
    run = make_run(ScalingCache(speedup=2.0))
    x = torch.ones(1, 2, 4, 4)
    read = []
    for step in range(20):
        true = 0.9 * run.clock.sigmas[step]
        sigma = torch.tensor([true])
        run.begin(lambda true=true: read.append(true) or true)
        if run.predict("key", x, sigma, (True,)) is None:
            run.observe("key", x, sigma, bending(x, true)[:1], (True,))
    assert len(read) == 19
    assert "does not follow its schedule" in run.close().notes[0]


def test_nothing_lives_on_after_close():
    run = make_run(ScalingCache(speedup=2.0))
    _, _, answers = sample(run)
    assert 0 < run.nbytes == run.report.cache_bytes
    refs = [weakref.ref(e.value) for s in run._streams.values() for e in s.history]
    assert len(refs) == 4
    assert run.report.cache_bytes <= 3 * 2 * answers[0][0].numel() * 4
    run.close()
    del answers
    gc.collect()
    assert [r() for r in refs] == [None] * 4
    assert run.nbytes == 0


# --- which runs are cached, and how carefully


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_short_runs_are_left_alone_with_a_reason(steps: int):
    refusal = plan_run(ScalingCache(), schedule(steps), traits(steps), EVERYWHERE)
    assert isinstance(refusal, Refusal)
    assert "fewer than 8" in refusal.reason


def test_an_empty_window_is_a_reason_too():
    refusal = plan_run(ScalingCache(), schedule(20), traits(20), (-1.0, -2.0))
    assert isinstance(refusal, Refusal)
    assert "start_percent" in refusal.reason


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
        torch.testing.assert_close(quantity.denoised(x, [(value, 1.0)], sigma), denoised)


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
    for budget in (1e-4, 1e-3, 1e-2, 0.1):
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
