"""The repair of predicted steps, in the host's own samplers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider
from scaling_cache.cache_core.predict.corrector import Corrector
from scaling_cache.nodes.host.sampling import log_snr

SUMS = (
    *("euler", "ddim", "lms", "ipndm", "ipndm_v", "deis", "dpmpp_2m", "res_multistep"),
    *("gradient_estimation", "uni_pc", "uni_pc_bh2"),
)
OTHERS = (
    *("euler_ancestral", "dpmpp_2m_sde", "lcm", "heun", "dpm_2", "euler_cfg_pp", "dpmpp_2m_cfg_pp"),
    *("dpm_adaptive", "er_sde"),
)


def both(cached: Any, sample: Any, sampler: str) -> list[torch.Tensor]:
    results = []
    for corrector in (False, True):
        model, _ = cached(speedup=2.0, corrects=corrector)
        torch.manual_seed(0)
        results.append(sample(model, sampler=sampler, steps=16))
    return results


@pytest.mark.parametrize("sampler", SUMS)
def test_it_changes_the_result_of_samplers_that_sum(cached: Any, sample: Any, sampler: str):
    without, repaired = both(cached, sample, sampler)
    assert torch.isfinite(repaired).all()
    assert not torch.equal(without, repaired)


@pytest.mark.parametrize("sampler", OTHERS)
def test_other_samplers_are_left_alone(cached: Any, sample: Any, sampler: str):
    without, repaired = both(cached, sample, sampler)
    assert torch.equal(without, repaired)


def test_the_sampler_gets_what_is_owed_with_the_next_computed_step(
    tiny: Any, cached: Any, sample: Any, monkeypatch: pytest.MonkeyPatch
):
    """Along the run: x after euler's computed step is where its own output and the debt lead."""
    model, reports = cached(speedup=2.0)
    raw: dict[int, torch.Tensor] = {}
    given: list[tuple[torch.Tensor, torch.Tensor, float]] = []

    def inner(executor: Any, m: Any, conds: Any, x: Any, timestep: Any, options: Any) -> Any:
        outputs = executor(m, conds, x, timestep, options)
        positive, negative = (o.double() for o in outputs)
        raw[len(given)] = negative + 4.0 * (positive - negative)
        return outputs

    evaluate = CFGGuider.outer_predict_noise

    def outer(guider: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        denoised = evaluate(guider, x, timestep, *args, **kwargs)
        given.append((x.double(), denoised.double(), float(timestep[0])))
        return denoised

    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "inner", inner)
    monkeypatch.setattr(CFGGuider, "outer_predict_noise", outer)
    sample(model, steps=16)
    sigmas = (*(sigma for _, _, sigma in given), 0.0)
    steps = [record.computed for record in reports[0].records]
    assert 0 < sum(map(bool, steps)) < 16
    places = dict(zip(sigmas, log_snr(tiny, sigmas, given[0][0].shape), strict=True))
    again = Corrector(sigmas, lambda sigma: places[sigma])
    repaired = 0
    for step, (x, denoised, _) in enumerate(given):
        computed = bool(steps[step])
        own = raw[step] if computed else denoised
        wanted = own
        if computed:
            wanted = again.repair(step, x, own)
        else:
            again.add(step, x, own)
        torch.testing.assert_close(denoised, wanted, rtol=1e-3, atol=1e-4)
        repaired += wanted is not own
    assert repaired >= 3


def test_a_fault_of_the_repair_costs_the_cache_and_not_the_picture(
    cached: Any, sample: Any, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Corrector, "repair", fail)
    model, reports = cached(speedup=2.0)
    assert torch.isfinite(sample(model)).all()
    assert reports[0].computed == 12
    assert "no memory" in reports[0].summary()
