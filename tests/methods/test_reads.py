"""No wait for the device on a skipped step, one at most on a computed one, as the page of each method
says; nothing is copied to the device on a skipped step; and one read when all steps are over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import FunctionType
from typing import Any

import comfy.samplers
import numpy as np
import pytest
import torch
from scaling_cache.cache_core.decide.signals import Polynomial, SignalKind
from scaling_cache.cache_core.methods import DeltaCache, Method, ScalingCache, TeaCache
from scaling_cache.cache_core.methods.base import Few
from scaling_cache.cache_core.methods.delta_cache import StackPlan
from scaling_cache.cache_core.methods.scaling import Mode
from scaling_cache.cache_core.predict import predictors

from testbed import networks
from testbed.install import cached

from .every import EVERY, TABLE, left_out, network_of
from .reads import Reads

STEPS = 12
# Most reads on a skipped and on a computed step, by what the page of a method says of it. One that
# compares at every step has to read a number there: it cannot know otherwise whether to skip. What
# depends on time alone is read once, in the first step.
MOST = {
    "never": (0, 0),
    "one number per computed step": (0, 1),
    "one read per computed step": (0, 1),
    "one number per step": (1, 1),
    "one number per step, one more per computed step": (1, 2),
}
BUDGET = ScalingCache(mode=Mode.BUDGET, budget=0.9)
OTHERS: dict[str, tuple[Method, str, tuple[int, int]]] = {
    "Scaling Cache, error budget": (BUDGET, "flux", (0, 1)),
    "Scaling Cache, order 2": (
        ScalingCache(predictor=predictors.ORDER_2, few=Few.STEPS),
        "flux",
        (0, 1),
    ),
    "TeaCache, time embedding": (
        TeaCache(Polynomial((1.0, 0.0)), 0.9, SignalKind.TIME_EMBEDDING, max_gap=2),
        "wan",
        (0, 1),
    ),
    "Delta Cache, one block": (
        DeltaCache((StackPlan("blocks", "double_block", (1,), 2, 3),)),
        "flux",
        (0, 0),
    ),
}


def patient(method: Method) -> Method:
    """The same method, which may skip two steps in a row."""
    longer = {"max_gap": 2, "interval": 3}
    return replace(method, **{f.name: longer[f.name] for f in fields(method) if f.name in longer})


def check(model: Any, name: str, method: Method, most: tuple[int, int], batch: int, **more: Any):
    reads, runs = Reads(), []
    watched = cached(reads.watching(model), method, runs, **more)
    with reads:
        networks.sample(watched, name, steps=STEPS, batch=batch)
    (run,) = runs
    assert reads.evaluation == STEPS
    assert reads.counts[STEPS] == 1
    assert not [note for note in run.report.notes if "coefficients" not in note]
    skipped = left_out(run)
    assert 0 < len(skipped) < STEPS
    computed = [step for step in range(STEPS) if step not in skipped]
    found = tuple(max(reads.counts[step] for step in steps) for steps in (skipped, computed))
    assert found == most, reads.places
    assert not [step for step in skipped if reads.copies[step]], reads.places


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("method", EVERY)
def test_every_method(method: str, batch: int, built: Callable[[str], Any]) -> None:
    entry = EVERY[method]
    name = network_of(entry)
    waits, _, _ = entry.kind.page.waits.partition(";")
    table = TABLE if entry.needs_file else None
    made = patient(entry.method(built(name), STEPS, False))
    check(built(name), name, made, MOST[waits], batch, table=table)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("method", OTHERS)
def test_other_settings(method: str, batch: int, built: Callable[[str], Any]) -> None:
    made, name, most = OTHERS[method]
    check(built(name), name, made, most, batch)


def asking_again(model: Any) -> Any:
    """A clone with a node that asks for one more conditioning in a call of its own, as PAG and SLG do."""

    def again(args: dict[str, Any]) -> torch.Tensor:
        options, conds = args["model_options"], [args["cond"]]
        (more,) = comfy.samplers.calc_cond_batch(
            args["model"], conds, args["input"], args["sigma"], options
        )
        return args["denoised"] + 0.1 * (args["cond_denoised"] - more)

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(again)
    return patched


@pytest.mark.parametrize("method", EVERY)
def test_each_call_of_a_step_reads_for_itself(method: str, built: Callable[[str], Any]) -> None:
    """A step with two calls reads twice what one with one call does, at most; one that waits for
    nothing still does."""
    entry = EVERY[method]
    name = network_of(entry)
    waits, _, _ = entry.kind.page.waits.partition(";")
    reads, runs = Reads(), []
    table = TABLE if entry.needs_file else None
    made = patient(entry.method(built(name), STEPS, False))
    watched = cached(reads.watching(asking_again(built(name))), made, runs, table=table)
    with reads:
        networks.sample(watched, name, steps=STEPS)
    skipped = left_out(runs[0])
    assert 0 < len(skipped) < STEPS
    for step in range(STEPS):
        most = MOST[waits][step not in skipped]
        assert reads.counts[step] <= 2 * most, reads.places
    assert not [step for step in skipped if reads.copies[step]], reads.places


def run_as_ours(code: str) -> None:
    """Run code as if it stood in a file of the pack."""
    file = Path(__file__).parents[2] / "cache_core" / "x.py"
    FunctionType(compile(code, str(file), "exec"), {"np": np, "torch": torch, "v": torch.ones(2)})()


def test_reads_are_seen() -> None:
    """The counter itself: each way to the host's memory counts once, from the pack's files alone."""
    reads = Reads()
    ways = "float(v[0]); bool(v[0]); v.tolist(); v.numpy(); v.nonzero(); v.to('cpu'); v[0].item()"
    then = "h = v.clone().cpu(); h.tolist(); float(h[0])"
    for inference in (False, True):
        reads.counts.clear()
        with reads, torch.inference_mode(inference):
            run_as_ours(ways)
            assert reads.counts[-1] == 7
            run_as_ours(then)
            assert reads.counts[-1] == 8, "what has been copied is read for nothing"
            float(torch.ones(2)[0])
        assert reads.counts[-1] == 8, "others may read"


def test_copies_are_seen() -> None:
    """Likewise each way to the device; what is made there is no copy."""
    reads = Reads()
    ways = (
        "torch.tensor([1.0], device='cpu')",
        "torch.as_tensor([1.0])",
        "torch.asarray([1.0])",
        "torch.Tensor([1.0])",
        "torch.from_numpy(np.ones(1))",
        "v.new_tensor([1.0])",
        "v[[0, 1]]",
        "v.__setitem__(0, 2.0)",
    )
    free = "torch.full((2,), 1.0); v * 2.0; v.fill_(1.0); v.clamp(0, 1); torch.arange(3); v.clone()"
    for inference in (False, True):
        reads.copies.clear()
        with reads, torch.inference_mode(inference):
            for count, way in enumerate(ways, 1):
                run_as_ours(way)
                assert reads.copies[-1] == count, way
            run_as_ours(free)
            torch.tensor([1.0])
        assert reads.copies[-1] == len(ways)
