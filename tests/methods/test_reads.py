"""No wait for the device on a skipped step, one at most on a computed one; what needs more is listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from testbed import networks as nets

from .reads import Reads

pytestmark = pytest.mark.usefixtures("comfy")
STEPS = 12


@pytest.fixture(scope="module")
def models(comfy: Path) -> dict[str, Any]:
    return {name: nets.build(name) for name in ("flux", "wan", "sd15")}


# Most reads on a skipped and on a computed step. A method that compares at every step has to read a
# number there: it cannot know otherwise whether to skip. One that follows the input reads that before a
# computed step and the output after it. What depends on time alone is read once, in the first step.
MOST = {
    "Scaling Cache": (0, 1),
    "Scaling Cache, error budget": (0, 1),
    "Scaling Cache, order 2": (0, 1),
    "TaylorSeer, whole steps": (0, 1),
    "EasyCache": (1, 2),
    "LazyCache": (1, 2),
    "MagCache": (0, 0),
    "TaylorSeer": (0, 0),
    "Delta Cache": (0, 0),
    "DeepCache": (0, 0),
    "TeaCache": (1, 1),
    "TeaCache, time embedding": (0, 1),
    "First Block Cache": (1, 1),
    "DBCache": (1, 1),
    "DiCache": (1, 1),
    "MixCache": (0, 1),
    "CFG Cache": (0, 1),
}


def cached(name: str, model: Any, reports: list[Any]) -> Any:
    """The model with a cache; it must skip something and compute something."""
    from scaling_cache.cache_core import methods
    from scaling_cache.cache_core import methods as step_methods
    from scaling_cache.cache_core.decide.signals import Polynomial, SignalKind
    from scaling_cache.cache_core.methods import CfgCache, ScalingCache
    from scaling_cache.cache_core.methods.delta_cache import StackPlan
    from scaling_cache.cache_core.methods.scaling_cache import Mode
    from scaling_cache.cache_core.predict import predictors
    from scaling_cache.nodes.host import cache as cfg
    from scaling_cache.nodes.host import cache as stack
    from scaling_cache.nodes.host import cache as wrappers

    line = Polynomial((1.0, 0.0))
    steps: dict[str, Any] = {
        "Scaling Cache": ScalingCache(),
        "Scaling Cache, error budget": ScalingCache(mode=Mode.BUDGET, budget=0.9),
        "Scaling Cache, order 2": ScalingCache(predictor=predictors.ORDER_2),
        "TaylorSeer, whole steps": step_methods.StepTaylorSeer(3),
        "EasyCache": step_methods.EasyCache(0.9, head=3, max_gap=2),
        "LazyCache": step_methods.LazyCache(0.9, head=3, max_gap=2),
    }
    if name in steps:
        return wrappers.install(model, wrappers.StepCache(steps[name], "none"))
    if name == "CFG Cache":
        return cfg.install(model, cfg.CfgConfig(CfgCache(3)))
    inside: dict[str, Callable[[], Any]] = {
        "MagCache": lambda: methods.MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2),
        "TaylorSeer": lambda: methods.TaylorSeer(3, head=2),
        "Delta Cache": lambda: methods.DeltaCache(
            (StackPlan("blocks", "double_block", (1,), 2, 3),)
        ),
        "DeepCache": lambda: methods.DeepCache(3),
        "TeaCache": lambda: methods.TeaCache(line, 0.9, max_gap=2),
        "TeaCache, time embedding": lambda: methods.TeaCache(
            line, 0.9, SignalKind.TIME_EMBEDDING, max_gap=2
        ),
        "First Block Cache": lambda: methods.FirstBlockCache(0.9, 2),
        "DBCache": lambda: methods.DBCache(0.9, first=1, last=1, head=2, max_gap=2),
        "DiCache": lambda: methods.DiCache(0.9, max_gap=2),
        "MixCache": lambda: methods.MixCache(5.0, trigger=9.0, head=2),
    }
    cache = stack.StackCache(inside[name](), on_close=lambda run: reports.append(run.report))
    return stack.install(model, cache)


@pytest.mark.parametrize("name", MOST)
def test_reads_of_the_device(name: str, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    from scaling_cache.cache_core.negative import NegativeCache
    from scaling_cache.cache_core.outputs import OutputCache

    reports: list[Any] = []
    for kind in (OutputCache, NegativeCache):
        close = kind.close
        monkeypatch.setattr(
            kind, "close", lambda run, close=close: reports.append(close(run)) or reports[-1]
        )
    network = {"DeepCache": "sd15", "TeaCache, time embedding": "wan"}.get(name, "flux")
    reads = Reads()
    model = cached(name, reads.watching(models[network]), reports)
    with reads:
        nets.sample(model, network, steps=STEPS)
    (report,) = reports
    assert reads.evaluation == STEPS - 1
    assert not report.notes
    skipped = {r.step for r in report.records if not r.computed or "left out" in r.reason}
    assert 0 < len(skipped) < STEPS
    most = (
        max(reads.counts[step] for step in skipped),
        max(reads.counts[step] for step in range(STEPS) if step not in skipped),
    )
    assert most == MOST[name], reads.places


def test_reads_are_seen(comfy: Path):
    """The counter itself: each way to the host's memory counts once, from the pack's files alone."""
    reads = Reads()
    ways = "float(v[0]); bool(v[0]); v.tolist(); v.numpy(); v.nonzero(); v.to('cpu'); v[0].item()"
    then = "h = v.clone().cpu(); h.tolist(); float(h[0])"
    file = str(Path(__file__).parents[2] / "cache_core" / "x.py")
    for inference in (False, True):
        reads.counts.clear()
        with reads, torch.inference_mode(inference):
            exec(compile(ways, file, "exec"), {"v": torch.ones(2)})
            assert reads.counts[-1] == 7
            exec(compile(then, file, "exec"), {"v": torch.ones(2)})
            assert reads.counts[-1] == 8, "what has been copied is read for nothing"
            float(torch.ones(2)[0])
        assert reads.counts[-1] == 8, "others may read"
