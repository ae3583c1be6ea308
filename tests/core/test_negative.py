"""The cache of the negative conditioning."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.methods import CfgCache
from scaling_cache.cache_core.methods.cfg import HIGH_BAND, LOW_BAND
from scaling_cache.cache_core.negative import NegativeCache, split, why_plain

from .helpers import plan_of, schedule, start_of

KEYS = ("positive", "negative")

STEPS = 20
SIGMAS = schedule(STEPS)
BANDS = {LOW_BAND: (4, 16), HIGH_BAND: (14, STEPS)}
BOTH = (True, True)


def make_run(**settings: float) -> NegativeCache:
    method = CfgCache(**{"interval": 4, **settings})
    start = start_of(plan_of(STEPS, (8, STEPS)), between=lambda *shares: BANDS[shares])
    return method.start(start)


@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 99))
def test_bands_add_up_and_split_by_frequency(height: int, width: int, seed: int):
    value = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    bands = split(value)
    torch.testing.assert_close(bands.low + bands.high, value)
    again = split(bands.low)
    torch.testing.assert_close(again.low, bands.low, rtol=1e-4, atol=1e-4)
    # Written again with the full, centred spectrum.
    spectrum = torch.fft.fftshift(torch.fft.fft2(value), dim=(-2, -1))
    y = torch.arange(height)[:, None] - height // 2
    x = torch.arange(width) - width // 2
    near = (y**2 + x**2).float().sqrt() <= min(height, width) // 5
    low = torch.fft.ifft2(torch.fft.ifftshift(spectrum * near, dim=(-2, -1))).real
    torch.testing.assert_close(bands.low, low, rtol=1e-4, atol=1e-4)


def drive(run: NegativeCache, difference: torch.Tensor) -> list[tuple[bool, torch.Tensor]]:
    """Whether the negative one was skipped, and the derivative's difference that came out."""
    x = torch.randn(1, 2, 10, 10, generator=torch.Generator().manual_seed(0))
    out = []
    for step in range(STEPS):
        run.begin(lambda: 0.0, x)
        sigma = torch.tensor([SIGMAS[step]])
        positive = x * 0.3
        skipped = run.skips(KEYS, x, BOTH)
        assert skipped in ((False, False), (False, True))
        computed = positive - SIGMAS[step] * difference
        given_ = [positive, None if skipped[1] else computed]
        first, negative = run.complete(KEYS, x, sigma, given_, BOTH)
        assert first is positive
        assert negative is not None
        assert (negative is computed) is not skipped[1]
        out.append((skipped[1], (positive - negative) / SIGMAS[step]))
    return out


def test_a_steady_difference_is_predicted_exactly_with_factors_of_one():
    difference = torch.randn(1, 2, 10, 10)
    out = drive(make_run(low=1.0, high=1.0), difference)
    computed = [step for step, (skipped, _) in enumerate(out) if not skipped]
    assert computed == [*range(8), 11, 15, 19]
    for _, found in out:
        torch.testing.assert_close(found, difference, rtol=1e-4, atol=1e-4)


def test_bands_are_raised_where_the_paper_raises_them():
    difference = torch.randn(1, 2, 10, 10)
    bands = split(difference)
    out = drive(make_run(low=1.1, high=1.3), difference)
    for step, (low, high) in {9: (1.1, 1.0), 14: (1.1, 1.3), 17: (1.0, 1.3)}.items():
        skipped, found = out[step]
        assert skipped
        torch.testing.assert_close(found, bands.low * low + bands.high * high, rtol=1e-4, atol=1e-4)


def test_owns_what_it_keeps_and_drops_it():
    run = make_run()
    drive(run, torch.ones(1, 2, 10, 10))
    assert run.report.cache_bytes == 2 * 200 * 4
    report = run.close()
    assert report.computed == 11
    assert run.nbytes == 0
    assert run.skips(KEYS, torch.zeros(1, 2, 10, 10), BOTH) == (False, False)


def test_a_value_that_is_not_finite_ends_skipping():
    run = make_run()
    out = drive(run, torch.full((1, 2, 10, 10), float("nan")))
    assert not any(skipped for skipped, _ in out)
    assert "not finite" in run.close().summary()


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"interval": 0}, "interval"), ({"low": 3.0}, "low"), ({"high": -1.0}, "high")],
)
def test_bad_values_are_named(settings: dict[str, float], field: str):
    with pytest.raises(ValueError, match=f"^{field}: "):
        make_run(**settings)


@pytest.mark.parametrize(
    ("shape", "active", "said"),
    [
        ((1, 2, 10, 10), BOTH, ""),
        ((1, 2, 10, 10), (True,), "Needs a positive and a negative conditioning"),
        ((1, 2, 10, 10), (True, False), "Needs a positive and a negative conditioning"),
        ((1, 2, 10), BOTH, "no rows and columns"),
    ],
)
def test_what_has_no_two_pictures_runs_as_it_came_and_says_so(
    shape: tuple[int, ...], active: tuple[bool, ...], said: str
):
    run, x = make_run(start_percent=0.0), torch.ones(shape)
    assert said in why_plain(x, active)
    for step in range(STEPS):
        run.begin(lambda: 0.0, x)
        skipped = run.skips(KEYS, x, active)
        assert not (said and any(skipped))
        given_ = [None if skip else x for skip in skipped]
        outputs = run.complete(KEYS, x, torch.tensor([SIGMAS[step]]), given_, active)
        assert not said or outputs is given_
    report = run.close()
    assert (report.computed == STEPS) is bool(said)
    assert len(report.notes) == bool(said)
    assert all(said in note for note in report.notes)
