"""The published methods on whole steps, and the cache of the negative conditioning, in the real host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.methods import (
    CfgCache,
    EasyCache,
    LazyCache,
    ScalingCache,
    StepTaylorSeer,
)
from scaling_cache.cache_core.methods.base import Few
from scaling_cache.cache_core.negative import Guidance
from scaling_cache.nodes.host.cache import Cache, install

from .conftest import counting

METHODS: dict[str, Any] = {
    "easy": lambda t: EasyCache(t, warmup=2),
    "lazy": lambda t: LazyCache(t, warmup=2),
    "taylor": lambda t: StepTaylorSeer(1 if t == 0 else 3, 2, 2),
}


def put(model: Any, method: Any) -> Any:
    return install(model, Cache(method, coefficients="none"))


def put_cfg(model: Any, **settings: Any) -> Any:
    return put(model, CfgCache(**settings))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "euler_ancestral"])
def test_methods_skip_and_at_zero_change_nothing(
    name: str, sampler: str, tiny: Any, sample: Any, said: list[str]
):
    counted, seen = counting(tiny)
    plain = sample(counted, sampler)
    evaluations = len(seen.sigmas)
    counted, seen = counting(put(tiny, METHODS[name](0.0)))
    assert torch.equal(sample(counted, sampler), plain)
    assert len(seen.sigmas) == evaluations
    counted, seen = counting(put(tiny, METHODS[name](5.0)))
    result = sample(counted, sampler)
    assert len(seen.sigmas) < evaluations
    assert torch.isfinite(result).all()
    assert f"computed {len(seen.sigmas)} of {evaluations}" in said[-1]


def conditionings(model: Any) -> tuple[Any, list[int]]:
    """A clone of the model whose number of conditionings per call is recorded innermost."""
    seen: list[int] = []

    def count(executor: Any, model: Any, conds: Any, *args: Any) -> Any:
        seen.append(sum(c is not None for c in conds))
        return executor(model, conds, *args)

    counted = model.clone()
    counted.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "count", count)
    return counted, seen


def test_the_negative_conditioning_is_skipped(tiny: Any, sample: Any, said: list[str]):
    plain = sample(tiny)
    off, seen = conditionings(put_cfg(tiny, interval=1, start_percent=0.0))
    assert torch.equal(sample(off), plain)
    assert seen == [2] * 12
    on, seen = conditionings(put_cfg(tiny, interval=3, start_percent=0.0))
    result = sample(on)
    assert seen == [2, 1, 1] * 4
    assert "both conditionings computed 4 of 12" in said[-1]
    again, _ = conditionings(put_cfg(tiny, interval=3, start_percent=0.0))
    assert torch.equal(sample(again), result)


def test_with_one_conditioning_nothing_changes(tiny: Any, sample: Any, said: list[str]):
    model, seen = conditionings(put_cfg(tiny, interval=3, start_percent=0.0))
    assert torch.equal(sample(model, cfg=1.0), sample(tiny, cfg=1.0))
    assert set(seen) == {1}
    assert "with cfg 1, or a guider" in said[-1]


@pytest.mark.parametrize("first", ["cfg", "step"])
def test_it_works_inside_a_step_cache_in_either_order(
    first: str, tiny: Any, sample: Any, said: list[str]
):
    settings: dict[str, Any] = {"interval": 4, "start_percent": 0.0}
    if first == "cfg":
        model = put(put_cfg(tiny, **settings), ScalingCache(speedup=2.0, few=Few.STEPS))
    else:
        model = put_cfg(put(tiny, ScalingCache(speedup=2.0, few=Few.STEPS)), **settings)
    model, seen = conditionings(model)
    sample(model)
    # Of 12 steps 6 are computed: 0 1 2, two between, and 11.
    assert len(seen) == 6
    assert seen[0] == 2
    assert 0 < seen.count(1) < 6
    assert any("] Scaling Cache: computed 6 of 12" in text for text in said)


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_sde", "dpm_adaptive"])
def test_other_samplers(sampler: str, tiny: Any, sample: Any, said: list[str]):
    model, seen = conditionings(put_cfg(tiny, interval=3, start_percent=0.2))
    assert torch.isfinite(sample(model, sampler)).all()
    assert 1 in seen


def test_bad_shapes_and_faults_cost_speed_only(
    tiny: Any, sample: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(*args: Any) -> Any:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(Guidance, "negative", fail)
    model, seen = conditionings(put_cfg(tiny, interval=3, start_percent=0.0))
    assert torch.equal(sample(model), sample(tiny))
    # The call that failed is run again in full.
    assert seen == [2, 1, *[2] * 11]
    assert "no memory left" in said[-1]
