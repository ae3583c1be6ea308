"""Recording the products of outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scaling_cache.cache_core.calibration.recording import ELEMENTS, GramRecorder

SIGMAS = (1.0, 0.7, 0.4, 0.1, 0.0)


def outputs(seed: int, shape: tuple[int, ...] = (2, 3, 5)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(4)]


def test_products_are_summed_over_runs_and_samples():
    recorder = GramRecorder(SIGMAS)
    runs = [outputs(0), outputs(1)]
    for run in runs:
        for step, value in enumerate(run):
            recorder.observe(0, step, value)
            recorder.observe(0, step, value * 9)  # a second evaluation does not count
        recorder.finish_run()
    expected = sum(np.array([[float((a * b).sum()) for b in run] for a in run]) for run in runs)
    np.testing.assert_allclose(recorder.table(0).gram[0], expected, rtol=1e-5)
    assert recorder.samples == 4


def test_a_branch_that_never_ran_repeats_the_first():
    recorder = GramRecorder(SIGMAS)
    for step, value in enumerate(outputs(0)):
        recorder.observe(0, step, value)
    recorder.finish_run()
    table = recorder.table(0, 1)
    np.testing.assert_array_equal(table.gram[0], table.gram[1])


def test_large_outputs_are_sampled():
    recorder = GramRecorder(SIGMAS)
    values = outputs(0, (1, 4 * ELEMENTS))
    values = [values[0] + 0.3 * v for v in values]
    for step, value in enumerate(values):
        recorder.observe(0, step, value)
    recorder.finish_run()
    whole = np.array([[float((a * b).sum()) for b in values] for a in values])
    np.testing.assert_allclose(recorder.table(0).gram[0] * 4, whole, rtol=0.02)


def test_a_run_cut_short_adds_nothing():
    recorder = GramRecorder(SIGMAS)
    recorder.observe(0, 0, torch.ones(1, 4))
    recorder.finish_run()
    with pytest.raises(ValueError, match="no run was recorded"):
        recorder.table(0)


def test_values_that_are_not_finite_are_refused():
    recorder = GramRecorder(SIGMAS)
    for step in range(4):
        recorder.observe(0, step, torch.full((1, 4), float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        recorder.finish_run()


def test_constant_zero_output_is_refused():
    recorder = GramRecorder(SIGMAS)
    for step in range(4):
        recorder.observe(0, step, torch.zeros(1, 4))
    recorder.finish_run()
    with pytest.raises(ValueError, match="all zero"):
        recorder.table(0)


def test_streams_of_a_row_count_alike():
    """Each scaled to the size of the largest, in all branches by the same."""
    generator = torch.Generator().manual_seed(2)
    row = GramRecorder(SIGMAS, (40, 2))
    ones = [GramRecorder(SIGMAS) for _ in range(2)]
    for branch in (0, 1):
        for step in range(len(SIGMAS) - 1):
            value = torch.randn(2, 1, 42, generator=generator)
            row.observe(branch, step, value)
            for own, part in zip(ones, value.split([40, 2], -1), strict=True):
                own.observe(branch, step, part)
    for recorder in (row, *ones):
        recorder.finish_run()
    long, short = (own.table(0, 1).gram for own in ones)
    share = np.trace(long[0]) / np.trace(short[0])
    assert share > 5
    np.testing.assert_allclose(row.table(0, 1).gram, long + share * short, rtol=1e-6)
    assert row.samples == 2
