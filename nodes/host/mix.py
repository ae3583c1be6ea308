"""MixCache's part around a batch of conditionings: with or without the negative one."""

from __future__ import annotations

from typing import Any

from ...cache_core.cfg_cache import CfgCache
from ...cache_core.mix_run import MixRun
from . import bracket, cfg
from .branches import Call


def prepare(
    run: MixRun, patcher: Any, options: dict[str, Any], schedule: tuple[float, ...]
) -> None:
    """Let a run leave out the negative conditioning, unless CFG Cache does so already.

    Args:
        options: the transformer options of the run.
    """
    if cfg.KEY in options:
        run.report.note("CFG Cache is on the same model: the negative conditioning is left to it")
        return
    run.guidance = cfg.guidance(CfgCache(), patcher, schedule)


def run_conditionings(
    run: MixRun,
    call: Call,
    executor: Any,
    model: Any,
    conds: Any,
    x: Any,
    timestep: Any,
    model_options: Any,
) -> Any:
    """Run both conditionings and learn from them, or the positive one alone.

    Args:
        executor: the host's, of CALC_COND_BATCH, with its arguments after it.
    """
    # Latents without rows and columns have no frequencies over them.
    both = call.active == (True, True) and x.ndim >= 4
    if both and run.leaves_out_negative(call.key, x):
        positive = executor(model, [conds[0], None], x, timestep, model_options)[0]
        try:
            return [positive, run.negative(call.key, positive, timestep)]
        except Exception as error:
            bracket.give_up(run, error)
    outputs = executor(model, conds, x, timestep, model_options)
    try:
        run.observe(call.key, (outputs[0], outputs[1]) if both else None, timestep)
    except Exception as error:
        bracket.give_up(run, error)
    return outputs
