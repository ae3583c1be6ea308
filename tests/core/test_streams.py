"""Several tensors in one row: each is cached as it would be alone, and the worst one decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cache.cache_core.decide.policies import RunPlan
from scaling_cache.cache_core.methods import EasyCache, LazyCache, ScalingCache
from scaling_cache.cache_core.methods.base import StepMethod
from scaling_cache.cache_core.methods.easycache import InputChange
from scaling_cache.cache_core.methods.scaling import Mode
from scaling_cache.cache_core.outputs import OutputCache
from scaling_cache.cache_core.predict import predictors
from scaling_cache.cache_core.predict.row import Stream, cut

from .helpers import flow, output, plan_of, run_of, traits

STEPS = 20
KINDS = (predictors.SCALING, predictors.REPEAT, predictors.ORDER_2, predictors.TAYLOR_1)
# How strongly the outputs of each stream bend over sigma.
BENDS = (1.0, 7.0, 3.0)
Field = Callable[[torch.Tensor, float, int], torch.Tensor]


def field(x: torch.Tensor, sigma: float, stream: int) -> torch.Tensor:
    """Derivative of one stream, which knows nothing of the others."""
    along = torch.linspace(0.5, 1.5, x.shape[-1])
    turn = torch.sin(BENDS[stream] * sigma * along + stream)
    return 0.2 * x + along * (stream + 1) + turn * torch.arange(1, len(x) + 1).reshape(-1, 1, 1)


def plan(lengths: Sequence[int], apart: bool = True, noisy: bool = False) -> RunPlan:
    """Of a row whose streams, from the second on, carry more signal than the first at one sigma."""
    sigmas, places = flow(STEPS)
    louder = [
        (s, [math.log(math.hypot(math.exp(at), 0.3 * i)) for at in places])
        for i, s in enumerate(lengths)
    ]
    streams = [Stream(length, tuple(at)) for length, at in louder]
    sampler = traits(STEPS, stochastic=noisy, sums=not noisy)
    made = plan_of(sigmas, None, sampler, log_snr=places, guidance=False)
    return replace(made, streams=tuple(streams)) if apart else made


def sample(
    run: OutputCache, lengths: Sequence[int], batch: int = 1, first: int = 0, of: Field = field
) -> tuple[torch.Tensor, list[int]]:
    """Euler over a row of streams, and the steps that were computed.

    Args:
        first: which stream the row begins with.
    """
    sigmas, generator = run.clock.sigmas, torch.Generator()
    noise = [
        torch.randn(batch, 1, n, generator=generator.manual_seed(first + i))
        for i, n in enumerate(lengths)
    ]
    x = torch.cat(noise, -1)
    computed: list[int] = []
    for step, sigma in enumerate(sigmas[:-1]):
        pieces = enumerate(x.split(list(lengths), -1), first)
        given = x - sigma * torch.cat([of(piece, sigma, i) for i, piece in pieces], -1)
        (denoised,), ran = output(
            run, x, torch.full((batch,), sigma), lambda given=given: [given], (True,)
        )
        computed += [step] * ran
        x = x + (x - run.hand_over(x, denoised)) / sigma * (sigmas[step + 1] - sigma)
    return x, computed


@settings(max_examples=20)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=3),
    st.sampled_from([1.5, 2.0, 3.0]),
    st.sampled_from(KINDS),
    st.integers(1, 3),
    st.booleans(),
)
def test_each_stream_is_sampled_as_it_would_be_alone(
    lengths: list[int], speedup: float, kind: predictors.Predictor, batch: int, noisy: bool
):
    method = ScalingCache(speedup, predictor=kind)
    whole = plan(lengths, noisy=noisy)
    row, steps = sample(run_of(method, whole), lengths, batch)
    listed = ScalingCache(1.0, predictor=kind, listed=tuple(steps))
    for i, (piece, stream) in enumerate(zip(row.split(lengths, -1), whole.streams, strict=True)):
        alone = replace(plan([stream.length], apart=False, noisy=noisy), log_snr=stream.log_snr)
        found, same = sample(run_of(listed, alone), [stream.length], batch, i)
        assert same == steps
        torch.testing.assert_close(piece, found, rtol=1e-4, atol=1e-4)


def miss(apart: bool, speedup: float = 2.0) -> list[float]:
    """Relative errors of a long stream whose outputs lie on a line, and of a tiny one whose do not."""
    sigmas, places = flow(STEPS)
    axis = predictors.snr_axis(sigmas, places)

    def apart_in_shape(x: torch.Tensor, sigma: float, stream: int) -> torch.Tensor:
        at, along = axis(sigma) - places[0], torch.linspace(0.5, 1.5, x.shape[-1])
        return 0.2 * x + along * (math.exp(-at) if stream else 1 + at)

    lengths = [1000, 4]
    streams = tuple(map(Stream, lengths)) if apart else ()
    planned = replace(plan(lengths, False), streams=streams)
    plain, _ = sample(run_of(ScalingCache(1.0), planned), lengths, of=apart_in_shape)
    cached, steps = sample(run_of(ScalingCache(speedup), planned), lengths, of=apart_in_shape)
    assert len(steps) == round(STEPS / speedup)
    pairs = zip(cached.split(lengths, -1), plain.split(lengths, -1), strict=True)
    return [float((a - b).norm() / b.norm()) for a, b in pairs]


def test_a_tiny_stream_gains_from_an_alpha_of_its_own():
    (long, tiny), (before, drowned) = miss(True), miss(False)
    assert tiny < drowned / 4
    assert long < 1.05 * before


def test_a_tiny_stream_that_turns_is_computed():
    """In sums over the whole row its turn is lost."""

    def turning(x: torch.Tensor, sigma: float, stream: int) -> torch.Tensor:
        flips = stream == 1 and sigma < 0.9
        return field(x, sigma, 0) * (-1 if flips else 1)

    for apart in (True, False):
        run = run_of(ScalingCache(2.0), plan([4000, 4], apart))
        sample(run, [4000, 4], of=turning)
        reasons = [record.reason for record in run.report.records]
        assert (predictors.TURNED in reasons) is apart
        missed = max(record.missed or 0 for record in run.report.records)
        assert (missed > 1) is apart


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_stream_that_is_not_finite_stops_the_cache(broken: int):
    def failing(x: torch.Tensor, sigma: float, stream: int) -> torch.Tensor:
        return field(x, sigma, stream) * (math.nan if stream == broken and sigma < 0.5 else 1)

    run = run_of(ScalingCache(2.0), plan([9, 3, 2]))
    sample(run, [9, 3, 2], of=failing)
    assert "Caching stopped: the model's output is not finite" in run.close().notes


@pytest.mark.parametrize(
    "method", [ScalingCache(2.0), ScalingCache(mode=Mode.BUDGET), EasyCache(0.3, warmup=2)]
)
def test_a_row_of_another_length_is_one_stream(method: StepMethod):
    """A window of it: nobody says where it is to be cut."""
    lengths = [7, 5]
    whole, _ = sample(run_of(method, plan(lengths, False)), lengths)
    window, steps = sample(run_of(method, replace(plan([20, 30]))), lengths)
    assert len(steps) < STEPS
    torch.testing.assert_close(window, whole, rtol=1e-5, atol=1e-5)


def test_reads_once_per_computed_step_and_never_on_a_skipped_one(monkeypatch: pytest.MonkeyPatch):
    reads: list[int] = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: (reads.append(1), tolist(self))[1])
    for name in ("item", "__float__", "__bool__", "__int__", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *_: pytest.fail("a read of its own"))
    _, steps = sample(run_of(ScalingCache(2.0), plan([9, 3, 2])), [9, 3, 2])
    assert len(reads) == len(steps) == 10


def test_bytes_are_those_of_one_row():
    held = []
    for apart in (True, False):
        run = run_of(ScalingCache(2.0), plan([90, 10], apart))
        sample(run, [90, 10])
        held.append(run.close().cache_bytes)
        assert run.nbytes == 0
    assert held[0] == held[1] > 0


@settings(max_examples=20)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=3), st.integers(0, 99))
def test_the_rule_of_easycache_looks_at_the_stream_that_changes_most(lengths: list[int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(2, 1, sum(lengths), generator=generator) for _ in range(8)]
    told = []
    for own in (lengths, []), *(([], [i]) for i in range(len(lengths))):
        follower = InputChange(own[0])

        def part(row: torch.Tensor, own: Sequence[Sequence[int]] = own) -> torch.Tensor:
            return cut(row, lengths)[own[1][0]] if own[1] else row

        for x, y in zip(rows[:3], rows[3:6], strict=True):
            follower.enter(part(x), None)
            follower.learn(follower.compare(part(x), part(y)).tolist())
        told.append(follower.enter(part(rows[6]), None))
    assert told[0] == pytest.approx(max(told[1:]), rel=1e-5)


@pytest.mark.parametrize("method", [EasyCache(0.05, warmup=2), LazyCache(0.05, warmup=2)])
def test_easycache_computes_for_a_tiny_stream(method: StepMethod):
    counts = [len(sample(run_of(method, plan([3000, 3], a)), [3000, 3])[1]) for a in (True, False)]
    assert counts[0] > counts[1]
