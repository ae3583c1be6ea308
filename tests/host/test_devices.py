"""Copies of one model on several devices: the host's split of the conditionings, as threads here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.methods import (
    DiCache,
    FirstBlockCache,
    MagCache,
    Method,
    MixCache,
    ScalingCache,
)
from scaling_cache.cache_core.methods.base import Few

from testbed.install import cached

STEPS = 12
METHODS = (
    MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2),
    FirstBlockCache(0.1),
    DiCache(0.3),
    MixCache(0.2, trigger=1.0),
    ScalingCache(few=Few.STEPS),
)
each = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def twin(base: Any) -> Any:
    """A copy of a model; what the host knows of its kind is shared, and cannot be copied everywhere."""
    return deepcopy(base, {id(base.model_config): base.model_config})


def split(model: Any, others: list[Any], threads: bool) -> Any:
    """A clone that computes each conditioning with a model of its own, all at once or in turn."""

    def calc(executor: Any, base: Any, conds: Any, x: Any, timestep: Any, options: Any) -> Any:
        def one(index: int) -> torch.Tensor:
            mine = [cond if i == index else None for i, cond in enumerate(conds)]
            network = others[index]
            network.current_patcher = base.current_patcher
            with torch.inference_mode():
                return comfy.samplers._calc_cond_batch(network, mine, x, timestep, options)[index]

        active = [i for i, cond in enumerate(conds) if cond is not None]
        if threads:
            with ThreadPoolExecutor(len(active)) as pool:
                done = dict(zip(active, pool.map(one, active), strict=True))
        else:
            done = {index: one(index) for index in active}
        return [done.get(i, torch.zeros_like(x)) for i in range(len(conds))]

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "split", calc)
    return patched


@each
def test_conditionings_on_two_devices_at_once(method: Method, tiny: Any, sample: Any):
    patched = cached(tiny, method, runs := [])
    alone = sample(split(patched, [tiny.model, tiny.model], threads=False), steps=STEPS)
    copies = [tiny.model, twin(tiny.model)]
    together = sample(split(patched, copies, threads=True), steps=STEPS)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    for run in runs:
        assert run.report.computed < STEPS or any(
            "left out" in r.reason for r in run.report.records
        )
        assert not run.report.notes
        assert run.nbytes == 0


@each
def test_a_copy_of_the_model_needs_nothing_of_the_first(method: Method, tiny: Any, sample: Any):
    """As the host's copies for other devices: what the node saw may be gone by then."""
    patched = cached(tiny, method)
    expected = sample(patched, steps=STEPS)
    first = patched.clone()
    first.model = twin(tiny.model)
    second = cached(first, method).clone()
    second.model = twin(first.model)
    with torch.no_grad():
        for weight in first.model.parameters():
            weight.fill_(float("nan"))
    assert torch.equal(sample(second, steps=STEPS), expected)


@pytest.mark.parametrize("method", METHODS[:-1], ids=lambda method: method.name)
def test_a_batch_that_another_pack_splits_is_computed(method: Method, tiny: Any, sample: Any):
    """As xDiT's parallel guidance does: each device gets its half of the batch."""

    def halves(executor: Any, x: Any, t: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        parts = zip(x.chunk(2), t.chunk(2), context.chunk(2), strict=True)
        return torch.cat([executor(*part, *args, **kwargs) for part in parts])

    def halved(model: Any) -> Any:
        patched = model.clone()
        patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "halves", halves)
        return patched

    patched = cached(halved(tiny), method, runs := [])
    assert torch.equal(sample(patched, steps=STEPS), sample(halved(tiny), steps=STEPS))
    assert any("split over several GPUs" in note for note in runs[0].report.notes)
