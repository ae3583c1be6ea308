"""Copies of one model on several devices: the host's split of the conditionings, as threads here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
import torch

STEPS = 12


def caches() -> dict[str, Any]:
    """How to put a cache on a model, by name."""
    from scaling_cache.cache_core.methods import (
        DiCache,
        FirstBlockCache,
        MagCache,
        MixCache,
        ScalingCache,
    )
    from scaling_cache.nodes.host import cache as stack
    from scaling_cache.nodes.host import cache as wrappers

    mag = MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2)
    methods = (mag, FirstBlockCache(0.1), DiCache(0.3), MixCache(0.2, trigger=1.0))
    found: dict[str, Any] = {
        method.name: lambda model, runs, method=method: stack.install(
            model, stack.StackCache(method, on_close=runs.append)
        )
        for method in methods
    }
    found["Scaling Cache"] = lambda model, runs: wrappers.install(
        model, wrappers.StepCache(ScalingCache(), "none")
    )
    return found


NAMES = ("MagCache", "First Block Cache", "DiCache", "MixCache", "Scaling Cache")


def split(model: Any, others: list[Any], threads: bool) -> Any:
    """A clone that computes each conditioning with a model of its own, all at once or in turn."""
    import comfy.samplers
    from comfy.patcher_extension import WrappersMP

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


@pytest.mark.parametrize("name", NAMES)
def test_conditionings_on_two_devices_at_once(name: str, tiny: Any, sample: Any):
    cached = caches()[name](tiny, runs := [])
    alone = sample(split(cached, [tiny.model, tiny.model], threads=False), steps=STEPS)
    copies = [tiny.model, deepcopy(tiny.model)]
    together = sample(split(cached, copies, threads=True), steps=STEPS)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    for run in runs:
        assert run.report.computed < STEPS or any(
            "left out" in r.reason for r in run.report.records
        )
        assert not run.report.notes
        assert run.nbytes == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_the_model_needs_nothing_of_the_first(name: str, tiny: Any, sample: Any):
    """As the host's copies for other devices: what the node saw may be gone by then."""
    cached = caches()[name](tiny, [])
    expected = sample(cached, steps=STEPS)
    first = cached.clone()
    first.model = deepcopy(tiny.model)
    patched = caches()[name](first, [])
    second = patched.clone()
    second.model = deepcopy(first.model)
    with torch.no_grad():
        for weight in first.model.parameters():
            weight.fill_(float("nan"))
    assert torch.equal(sample(second, steps=STEPS), expected)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "Scaling Cache"])
def test_a_batch_that_another_pack_splits_is_computed(name: str, tiny: Any, sample: Any):
    """As xDiT's parallel guidance does: each device gets its half of the batch."""
    from comfy.patcher_extension import WrappersMP

    def halves(executor: Any, x: Any, t: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        parts = zip(x.chunk(2), t.chunk(2), context.chunk(2), strict=True)
        return torch.cat([executor(*part, *args, **kwargs) for part in parts])

    def halved(model: Any) -> Any:
        patched = model.clone()
        patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "halves", halves)
        return patched

    cached = caches()[name](halved(tiny), runs := [])
    assert torch.equal(sample(cached, steps=STEPS), sample(halved(tiny), steps=STEPS))
    assert any("split over several GPUs" in note for note in runs[0].report.notes)
