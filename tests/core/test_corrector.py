"""What computed steps make good of the predicted ones before them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.predict.corrector import REPLY, TRUSTED, Corrector

STEPS = 12
SIGMAS = tuple(1 - i / STEPS for i in range(STEPS + 1))


def owed_at(corrector: Corrector, step: int, derivative: torch.Tensor, computed: bool) -> Any:
    """What the corrector adds to the derivative of a computed step; None for nothing."""
    x = torch.linspace(-1, 1, derivative.numel(), dtype=derivative.dtype).reshape(derivative.shape)
    denoised = x - SIGMAS[step] * derivative
    kept = x.clone(), denoised.clone()
    given = denoised
    if computed:
        given = corrector.repair(step, x, denoised)
    else:
        corrector.add(step, x, denoised)
    assert torch.equal(x, kept[0])
    assert torch.equal(denoised, kept[1])
    return None if given is denoised else (denoised - given) / SIGMAS[step]


def place(sigma: float) -> float:
    return -math.log(sigma)


def parabola(values: dict[int, np.ndarray], step: int) -> tuple[np.ndarray, float]:
    """Through three known steps, by a system of equations; with the weight of the last of them."""
    steps = sorted(values)
    powers = np.vander([place(SIGMAS[i]) for i in steps], len(steps))
    at = np.vander([place(SIGMAS[step])], len(steps))
    weights = np.linalg.solve(powers.T, at[0])
    return sum(w * values[i] for w, i in zip(weights, steps, strict=True)), float(weights[-1])


def outputs(seed: int, bend: float = 0.3) -> np.ndarray:
    """Derivatives of each step [STEPS, 2, 5] that bend gently over the logarithm of sigma."""
    random = np.random.default_rng(seed)
    t = np.array([place(s) for s in SIGMAS[:-1]])[:, None, None]
    a, b, c = random.normal(size=(3, 1, 2, 5))
    return 3 + a + b * bend * t + c * bend**2 * t**2


@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_it_is_the_formula(seed: int, first: int, gap: int, second: int):
    """Two gaps in a row, computed again from the outputs themselves."""
    values, predicted = outputs(seed), outputs(seed + 1)
    corrector = Corrector(SIGMAS, place)
    widths = np.diff(SIGMAS)
    computed = [0, first, first + gap + 1, min(first + gap + 1 + second, STEPS - 1)]
    kept: dict[int, np.ndarray] = {}
    for step in range(computed[-1] + 1):
        given_ = values[step] if step in computed else predicted[step]
        found = owed_at(corrector, step, torch.from_numpy(given_), step in computed)
        if step not in computed:
            assert found is None
            continue
        skipped = list(range(max(kept, default=-1) + 1, step))
        if not skipped:
            assert found is None
            kept = dict([*kept.items(), (step, given_)][-2:])
            continue
        owed, weight = np.zeros_like(given_), 0.0
        for i in skipped:
            between, last = parabola({**kept, step: given_}, i)
            owed += widths[i] * (between - predicted[i])
            weight += widths[i] * last
        owed /= 1 - REPLY / SIGMAS[step] * weight
        steps = sorted(kept)
        line = kept[steps[-1]]
        if len(steps) > 1:
            ends = [place(SIGMAS[i]) for i in steps]
            ahead = (place(SIGMAS[step]) - ends[1]) / (ends[1] - ends[0])
            line = line + ahead * (line - kept[steps[0]])
        off = np.linalg.norm(given_ - line, axis=1) / np.linalg.norm(given_, axis=1)
        owed *= np.minimum(1, (TRUSTED / np.maximum(off, 1e-30)) ** 2)[:, None]
        assert found is not None
        np.testing.assert_allclose(found.numpy(), owed / widths[step], rtol=1e-6, atol=1e-9)
        kept = dict([*kept.items(), (step, given_ + REPLY / SIGMAS[step] * owed)][-2:])


@given(st.integers(0, 99))
def test_the_result_is_nearer_to_the_full_sum(seed: int):
    """Outputs that bend, order 0 between every third: what is missed is nearly made good."""
    values = outputs(seed)
    corrector, widths = Corrector(SIGMAS, place), np.diff(SIGMAS)
    full, plain, repaired = (np.zeros((2, 5)) for _ in range(3))
    for step in range(STEPS - 1):
        computed = step < 2 or step % 3 == 1
        used = values[step] if computed else values[step - (step - 1) % 3]
        owed = owed_at(corrector, step, torch.from_numpy(used), computed)
        full += widths[step] * values[step]
        plain += widths[step] * used
        repaired += widths[step] * (used if owed is None else used + owed.numpy())
    # The last computed step is step 10: nothing is left open.
    assert np.linalg.norm(repaired - full) < 0.5 * np.linalg.norm(plain - full)


def test_calibrated_weights_take_the_place_of_the_parabola():
    values = np.cumsum(np.random.default_rng(0).normal(size=(STEPS, 40)), 0)
    table = GramTable(np.array(SIGMAS[:-1]), (values @ values.T)[None])
    corrector = Corrector(SIGMAS, place, table)
    for step, computed in enumerate((True, True, False, False)):
        owed_at(corrector, step, torch.from_numpy(values[step : step + 1]), computed)
    # The predictions were right, so what is owed is what the weights miss.
    owed = owed_at(corrector, 4, torch.from_numpy(values[4:5]), True)
    past = [SIGMAS[i] for i in (4, 1, 0)]
    between = sum(
        w * values[[4, 1, 0]]
        for w in (np.array(table.weights(SIGMAS[i], past))[:, None] for i in (2, 3))
    ).sum(0)
    wanted = between - values[2] - values[3]
    assert owed is not None
    found = owed.numpy()[0]
    along = found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
    assert along == pytest.approx(1, abs=1e-6)


def test_a_sample_that_goes_its_own_way_is_left_alone_and_the_others_are_not():
    values = torch.from_numpy(outputs(3))
    wild = values.clone()
    wild[4, 1] *= -30
    found = []
    for seen in (values, wild):
        corrector = Corrector(SIGMAS, place)
        for step in range(4):
            owed_at(corrector, step, seen[0 if step > 1 else step], step < 2)
        found.append(owed_at(corrector, 4, seen[4], True))
    calm, other = found
    assert calm is not None
    assert other is not None
    torch.testing.assert_close(calm[0], other[0])
    # Were it repaired in full, what it missed would be as large as the step it took.
    assert other[1].norm() < (values[4, 1] - wild[4, 1]).norm()


def test_a_repair_is_no_larger_than_what_the_conditionings_missed_can_be():
    """Under another guidance scale at each step, what lies between computed steps is on another line."""
    straight = np.broadcast_to(outputs(3, bend=0.01)[0], (STEPS, 2, 5))
    scaled = 2 * straight
    for bend, scale in ((None, None), (50.0, None), (0.5, 4.0), (0.5, 8.0)):
        corrector = Corrector(SIGMAS, place, scale=scale)
        for step in range(3):
            owed_at(corrector, step, torch.from_numpy(straight[step].copy()), True)
        owed_at(corrector, 3, torch.from_numpy(scaled[3]), False)
        x = torch.zeros(2, 5, dtype=torch.float64)
        denoised = x - SIGMAS[4] * torch.from_numpy(straight[4].copy())
        given = corrector.repair(4, x, denoised, bend)
        owed = torch.linalg.vector_norm((denoised - given) / SIGMAS[4], dim=1)
        share = owed / torch.linalg.vector_norm(torch.from_numpy(straight[4].copy()), dim=1)
        if bend is None or bend > 1:
            assert (share > 0.5).all(), "a repair of that size is given"
        else:
            assert (share < 0.01).all(), "it is not one"


def test_it_keeps_as_much_as_it_says_and_drops_it():
    corrector = Corrector(SIGMAS, place)
    value = torch.ones(2, 5, dtype=torch.float64)
    for step in range(5):
        owed_at(corrector, step, value * step, step < 2)
    assert corrector.nbytes == Corrector.LATENTS * value.numel() * 8
    corrector.clear()
    assert corrector.nbytes == 0
    assert owed_at(corrector, 5, value, True) is None
