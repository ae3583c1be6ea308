"""Which runs are cached at all, and at which of their steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.samplers
import numpy as np
import pytest
import torch
from scaling_cache.cache_core.methods import (
    CfgCache,
    EasyCache,
    FirstBlockCache,
    Method,
    ScalingCache,
)
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.planning.optimiser import best_chains
from scaling_cache.cache_core.planning.prior import products
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.host.cache import Cache
from scaling_cache.nodes.host.sampling import Sampling, log_snr, over_run, plan


class Even:
    """A host's model sampling whose share of the denoising is what is left of sigma."""

    def percent_to_sigma(self, share: float) -> float:
        return 1 - share


def about(model: Any, sigmas: tuple[float, ...], **objects: Any) -> Sampling:
    """What a guider samples; of the model it may take another object."""
    clone = model.clone()
    for name, value in objects.items():
        clone.add_object_patch(name, value)
    guider = comfy.samplers.CFGGuider(clone)
    guider.set_cfg(4.0)
    sampler = comfy.samplers.sampler_object("euler")
    return Sampling(guider, sampler, torch.tensor(sigmas, dtype=torch.float64), (1, 16, 1, 8, 8))


def even(steps: int) -> tuple[float, ...]:
    return tuple(1 - i / steps for i in range(steps + 1))


def planned(model: Any, method: Method, steps: int) -> Any:
    found = plan(Cache(method, coefficients="none"), about(model, even(steps)), None)
    return found if isinstance(found, str) else found[0]


METHODS = [ScalingCache(), EasyCache(), FirstBlockCache(), CfgCache()]
FEWEST = [5, 8, 8, 8]


@pytest.mark.parametrize(
    ("method", "fewest"),
    zip(METHODS, FEWEST, strict=True),
    ids=lambda each: getattr(each, "name", ""),
)
def test_short_runs_are_left_alone_with_a_reason(tiny: Any, method: Method, fewest: int):
    alone = "One step is computed: there is nothing to predict it from"
    why = {n: f"{n} steps: with fewer than {fewest} every step is computed" for n in range(fewest)}
    for steps in (1, 2, 4, fewest - 1):
        assert planned(tiny, method, steps) == (alone if steps == 1 else why[steps])
    assert isinstance(planned(tiny, method, fewest), Run)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_empty_window_is_a_reason_too(tiny: Any, method: Method):
    found = planned(tiny, type(method)(start_percent=0.999, end_percent=0.999), 20)
    assert isinstance(found, str)
    assert "start_percent and end_percent leave no step to" in found


def test_the_window_holds_the_steps_from_start_to_end(tiny: Any):
    """Those whose sigma is not above that of the start and still above that of the end."""
    sigmas = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
    between = about(tiny, sigmas, model_sampling=Even()).between
    assert between(1 - 0.8, 0.7) == (1, 4)
    assert between(0.0, 1.0) == (0, 5)
    assert between(0.9, 0.95) == (0, 0)
    # Sigmas beyond those that the host names are within a whole run.
    beyond = about(tiny, (1.5, 0.5, -0.5), model_sampling=Even()).between
    assert beyond(0.0, 1.0) == (0, 2)


@pytest.mark.parametrize(("sigmas", "goes_on", "share"), [
    ((1.0, 0.5, 0.0), False, 1.0),
    ((1.0, 0.75, 0.5), False, 0.5),
    ((0.25, 0.1, 0.0), True, 0.25),
    ((0.25, 0.1, 0.0), False, 1.0),
    ((0.5, 0.5), True, 0.0),
])  # fmt: skip
def test_how_much_of_the_denoising_a_run_goes_through(
    tiny: Any, sigmas: tuple[float, ...], goes_on: bool, share: float
):
    """From a picture with new noise it is as much as all of it."""
    found = replace(about(tiny, sigmas, model_sampling=Even()), goes_on=goes_on)
    assert found.covers == pytest.approx(share)


def _timed(conds: list[Any], model: Any, start: float, end: float) -> list[Any]:
    """A prompt with a range, by the host's own node."""
    from nodes import ConditioningSetTimestepRange

    return ConditioningSetTimestepRange().set_range(conds, start, end)[0]


def _controlled(conds: list[Any], model: Any, start: float, end: float) -> list[Any]:
    """A ControlNet with a range."""
    from comfy.controlnet import ControlBase

    control = ControlBase().set_cond_hint(torch.zeros(1, 3, 8, 8), 1.0, (start, end))
    return [[text, {**more, "control": control}] for text, more in conds]


def _by_share(conds: list[Any], model: Any, start: float, end: float) -> list[Any]:
    """A patch of another pack that was made with shares of the run."""

    def patch(q: Any, k: Any, v: Any, extra: Any) -> Any:
        return (q, k, v) if start_percent <= extra["share"] <= end_percent else (q, k * 0, v)

    start_percent, end_percent = start, end
    model.set_model_attn2_patch(patch)
    return conds


def _by_sigma(conds: list[Any], model: Any, start: float, end: float) -> list[Any]:
    """The host's own patch of the first layer, with noise levels."""
    from comfy_extras.nodes_model_downscale import PatchModelAddDownscale

    node: Any = PatchModelAddDownscale
    patch = node.execute if hasattr(node, "execute") else node().patch
    changed = patch(model, 3, 2.0, start, end, True, "bicubic", "bicubic")
    options = getattr(changed, "args", changed)[0].model_options
    model.model_options = options
    return conds


@pytest.mark.parametrize("put", [_timed, _controlled, _by_share, _by_sigma])
@pytest.mark.parametrize(("start", "end", "steps"), [
    (0.25, 0.75, (3, 8)),
    (0.25, 1.0, (3,)),
    (0.0, 0.75, (8,)),
    # Both ends between two steps, the same or the wrong way round: it is never on.
    (0.56, 0.59, ()),
    (0.55, 0.55, ()),
    (0.75, 0.25, ()),
])  # fmt: skip
def test_what_has_a_range_is_known_before_the_run(
    tiny: Any, put: Any, start: float, end: float, steps: tuple[int, ...]
):
    """Steps at which it goes on or off, and none where it never does."""
    found = about(tiny, even(10), model_sampling=Even())
    conds = put([[torch.zeros(1, 1, 8), {}]], found.guider.model_patcher, start, end)
    found.guider.model_options = found.guider.model_patcher.model_options
    found.guider.set_conds(conds, [])
    found.guider.conds = found.guider.original_conds
    assert found.breaks == steps


def test_two_samplers_that_share_the_steps_each_reach_the_target(tiny: Any):
    """Ten steps of half of the denoising are as fine as twenty of all of it."""
    for sigmas in (even(20)[:11], even(20)[10:]):
        half = replace(about(tiny, sigmas, model_sampling=Even()), goes_on=sigmas[0] < 1)
        found = plan(Cache(ScalingCache(), coefficients="none"), half, None)
        assert not isinstance(found, str)
        decisions = [found[0].policy.decide(step, None) for step in range(10)]
        assert sum(decision.compute for decision in decisions) == 5
        assert not found[0].report.notes


def test_a_plan_is_told_to_the_run(tiny: Any):
    method = ScalingCache(start_percent=0.25, end_percent=0.75, max_gap=1000)
    found = plan(Cache(method, coefficients="none"), about(tiny, even(20)), None)
    assert not isinstance(found, str)
    run, network = found
    assert network is None
    assert run.clock.sigmas == even(20)
    assert run.report.planned_steps == 20
    window = about(tiny, even(20)).between(0.25, 0.75)
    assert 0 < window[0] < window[1] < 20
    computed = [s for s in range(20) if run.policy.decide(s, None).compute]
    assert {*range(window[0]), *range(window[1], 20)} <= set(computed)
    assert len(computed) < 20


def _schedule(model: Any, scheduler: str, steps: int) -> tuple[float, ...]:
    sampling = model.get_model_object("model_sampling")
    return tuple(comfy.samplers.calculate_sigmas(sampling, scheduler, steps).tolist())


@pytest.mark.parametrize("scheduler", comfy.samplers.SCHEDULER_NAMES)
def test_a_file_serves_every_scheduler_as_if_it_had_been_made_with_it(tiny: Any, scheduler: str):
    """Of outputs just as any model's are expected to be: what the chosen steps really cost is hardly more
    than of the best ones. Made with `simple`, taken alone it would be 33 times as much with `beta`."""
    shape = (1, 16, 1, 8, 8)

    def truth(schedule: tuple[float, ...]) -> GramTable:
        places = log_snr(tiny, schedule, shape)
        assert places is not None
        return GramTable(np.array(schedule[:-1]), products(np.array(places[:-1]))[None])

    file = truth(_schedule(tiny, "simple", 50))
    run = _schedule(tiny, scheduler, 50)
    true = truth(run)
    if not file.covers(run[:-1]):
        pytest.skip("its last noise levels lie too low: such a run learns")

    def cost(table: GramTable) -> float:
        steps = best_chains(table, run, (), 6).within((len(run) - 1) // 2).steps
        return best_chains(true, run, steps, 6).within(len(steps)).error

    assert cost(over_run(file, tiny, run, shape)) < 1.1 * cost(true)
