"""CFG Cache: the negative conditioning at some steps only (CFG-Cache of FasterCache, Lv et al.,
arXiv 2410.19355). What it computes is in `negative`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from ..negative import Guidance, NegativeCache
from .base import Level, Method, Model, Page, Start, check_range

# Shares of the denoising in which each band is raised; diffusers 0.36, hooks/faster_cache.py.
LOW_BAND = (0.10, 0.90)
HIGH_BAND = (0.70, 1.0)


@dataclass(frozen=True)
class CfgCache(Method):
    """The rule as settings.

    Attributes:
        interval: the negative conditioning runs at every so many steps, 1 (off) or more.
        low, high: factors of the low and high frequencies, within their bands.
    """

    name: ClassVar[str] = "CFG Cache"
    level: ClassVar[Level] = Level.NEGATIVE
    counts: ClassVar[str] = "both conditionings"
    page: ClassVar[Page] = Page(
        leaves_out="negative conditioning",
        predictor="last difference from the positive output",
        keeps="2 latents for both",
        waits="one number per computed step",
        source="arXiv 2410.19355, Vchitect/FasterCache",
    )

    interval: int = 5
    low: float = 1.1
    high: float = 1.1
    start_percent: float = field(default=0.36, kw_only=True)

    def check(self) -> None:
        check_range("interval", self.interval, 1)
        check_range("low", self.low, 0.0, 2.0)
        check_range("high", self.high, 0.0, 2.0)

    @property
    def off(self) -> bool:
        return self.interval == 1

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> CfgCache:
        return cls(1 if everything else 2, start_percent=0.0)

    def guidance(self, between: Callable[[float, float], tuple[int, int]]) -> Guidance:
        """What keeps and predicts the negative conditioning of one run.

        Args:
            between: half-open range of the steps between two shares of the denoising.
        """
        return Guidance(self.low, self.high, between(*LOW_BAND), between(*HIGH_BAND))

    def start(self, start: Start) -> NegativeCache:
        return NegativeCache(
            clock=start.clock,
            report=start.report,
            agree=start.agree,
            interval=self.interval,
            window=start.plan.window,
            guidance=self.guidance(start.between),
        )
