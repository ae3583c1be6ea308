"""Rows of the matrix for samplers and schedulers: Scaling Cache on one tiny model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.methods.base import Few
from scaling_cache.nodes.scaling_cache import ScalingCache as Node

from . import networks
from .check import FAILS, SPREAD, WORKS
from .install import cached
from .observe import listening, refusal, watching

MODEL = "sd3"
STEPS = 12
SCALES = (1.0, 4.0)
OFF, TWICE = "off", "2x"
# It chooses its own steps by what the model answers, so another answer means other steps.
ADAPTIVE = "dpm_adaptive"


@dataclass(frozen=True)
class SamplerRow:
    """A sampler at one guidance scale, with the node off or at twice the speed."""

    sampler: str
    cfg: float
    cache: str
    result: str
    reason: str = ""
    computed: int = 0
    evaluations: int = 0


@dataclass(frozen=True)
class SchedulerRow:
    """A scheduler at twice the speed."""

    scheduler: str
    result: str
    reason: str = ""
    computed: int = 0
    evaluations: int = 0


class Bed:
    """The model, built once."""

    @cached_property
    def model(self) -> Any:
        return networks.build(MODEL, spread=SPREAD)

    def sampler(self, sampler: str, cfg: float) -> tuple[SamplerRow, SamplerRow]:
        """Off and at twice the speed."""
        more = {"sampler": sampler, "cfg": cfg}
        with watching(self.model) as (model, seen):
            plain = self._sample(model, **more)
        evaluations = len(seen.evaluations)
        off = SamplerRow(sampler, cfg, OFF, *self._off(plain, **more))
        expected = None if sampler == ADAPTIVE else evaluations
        return off, SamplerRow(sampler, cfg, TWICE, *self._twice(plain, expected, **more))

    def scheduler(self, scheduler: str) -> SchedulerRow:
        # Some schedulers make one step more than they are asked for.
        with watching(self.model) as (model, seen):
            plain = self._sample(model, scheduler=scheduler)
        judged = self._twice(plain, len(seen.evaluations), scheduler=scheduler)
        return SchedulerRow(scheduler, *judged)

    def _sample(self, model: Any, **more: Any) -> torch.Tensor:
        return networks.sample(model, MODEL, STEPS, **more)

    def _off(self, plain: torch.Tensor, **more: Any) -> tuple[str, str]:
        """The node at 1x, and with every step listed."""
        listed = f"0-{STEPS - 1}"
        for inputs in ({}, {"computed_steps": listed}):
            (model,) = Node.execute(
                self.model, 1.0, "target speed-up", 0.0, 1.0, coefficients="none", **inputs
            ).args
            try:
                out = self._sample(model, **more)
            except Exception as error:
                return FAILS, f"{type(error).__name__}: {error}"
            if not torch.equal(out, plain):
                return FAILS, "with every step computed the result is not the host's"
        return WORKS, ""

    def _twice(
        self, plain: torch.Tensor, evaluations: int | None, **more: Any
    ) -> tuple[str, str, int, int]:
        twice = cached(self.model, ScalingCache(speedup=2.0, few=Few.STEPS))
        try:
            with listening() as lines, watching(twice) as (model, seen):
                out = self._sample(model, **more)
        except Exception as error:
            return FAILS, f"{type(error).__name__}: {error}", 0, 0
        if why := refusal(lines):
            return FAILS, f"not cached: {why}", 0, 0
        (report,) = seen.reports
        notes = "; ".join(report.notes)
        checks = {
            "the result is not finite": bool(torch.isfinite(out).all()),
            f"{report.computed} computed evaluations reported, {seen.computed} seen": (
                report.computed == seen.computed
            ),
            f"{report.evaluations} evaluations reported, the host makes {evaluations}": (
                evaluations in (None, report.evaluations)
            ),
            "nothing was skipped": report.computed < report.evaluations,
            "steps were skipped and the result is the host's": not torch.equal(out, plain),
            notes: "does not follow" not in notes and "stopped" not in notes,
        }
        broken = next((text for text, holds in checks.items() if not holds), "")
        result = FAILS if broken else WORKS
        return result, broken, report.computed, report.evaluations
