"""Skip the negative conditioning: CFG-Cache of FasterCache (Lv et al., arXiv 2410.19355).

In the second half of the denoising the negative output differs from the positive one by a slowly changing
tensor. It is split into low and high frequencies at a computed step, and a skipped step adds both to the
positive output, the low ones raised in the middle of the denoising and the high ones towards its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch

from .checks import check_range, check_window
from .clock import Clock, Moment
from .policies import Decision
from .predictors import broadcast, wide_dtype
from .report import RunReport

# Shares of the denoising in which each band is raised; diffusers 0.36, hooks/faster_cache.py.
LOW_BAND = (0.10, 0.90)
HIGH_BAND = (0.70, 1.0)


@dataclass(frozen=True)
class CfgCache:
    """Attributes:
    interval: the negative conditioning runs at every so many steps, 1 (off) or more.
    low, high: factors of the low and high frequencies, within their bands.
    start_percent, end_percent: share of the denoising in which it is skipped, 0 to 1.
    """

    interval: int = 5
    low: float = 1.1
    high: float = 1.1
    start_percent: float = 0.36
    end_percent: float = 1.0

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"interval: must be 1 or more, got {self.interval}")
        check_range("low", self.low, 0.0, 2.0)
        check_range("high", self.high, 0.0, 2.0)
        check_window(self.start_percent, self.end_percent)


@dataclass(frozen=True)
class Bands:
    """Difference of two outputs in float32 or wider: what is coarse and what is fine."""

    low: torch.Tensor
    high: torch.Tensor


def split(difference: torch.Tensor) -> Bands:
    """Frequencies within a fifth of the shorter side, and the others, over the last two dimensions."""
    height, width = difference.shape[-2:]
    down = torch.fft.fftfreq(height, 1 / height, device=difference.device)
    across = torch.fft.rfftfreq(width, 1 / width, device=difference.device)
    near = down[:, None].square() + across.square() <= (min(height, width) // 5) ** 2
    spectrum = torch.fft.rfft2(difference)
    low = torch.fft.irfft2(spectrum * near, s=(height, width))
    return Bands(low, difference - low)


@dataclass
class CfgRun:
    """State of one sampling run; dropped with `close`.

    Attributes:
        cache: settings.
        clock: turns evaluations into steps.
        window: half-open range of steps at which the negative conditioning may be skipped.
        low_band, high_band: ranges of steps at which each band is raised.
        report: what happened; computed are the evaluations with both conditionings.
    """

    cache: CfgCache
    clock: Clock
    window: tuple[int, int]
    low_band: tuple[int, int]
    high_band: tuple[int, int]
    report: RunReport
    timer: Callable[[], float] = time.perf_counter
    _bands: dict[Hashable, Bands] = field(default_factory=dict)
    _moment: Moment | None = None
    _last: int = -1
    _compute: bool = True
    _ran: bool = False
    _started: float | None = None
    _sealed: bool = False

    def begin(self, sigma: Callable[[], float]) -> None:
        """Start an evaluation. All evaluations of a step share one decision.

        Args:
            sigma: reads its noise level; only called by a measuring clock.
        """
        self._finish_evaluation()
        self._started = self.timer()
        self._moment = moment = self.clock.tick(sigma() if self.clock.measures else None)
        if moment.first:
            inside = self.window[0] <= moment.step < self.window[1]
            due = moment.step - self._last >= self.cache.interval
            self._compute = self._sealed or not inside or due
            reason = "both conditionings" if self._compute else "negative one skipped"
            self.report.begin_step(moment.step, moment.sigma, Decision(self._compute, reason))

    def skips(self, key: Hashable, x: torch.Tensor) -> bool:
        """Whether the negative conditioning of a call need not run.

        Args:
            key: identity of the call.
            x: noisy latent.
        """
        bands = self._bands.get(key)
        known = bands is not None and bands.low.shape == x.shape
        if self._compute or self._sealed or not known:
            self._ran = True
            return False
        return True

    def runs_plain(self) -> None:
        """A call runs as if there were no cache."""
        self._ran = True

    @property
    def sigma(self) -> float:
        """Noise level of the current evaluation as the clock knows it."""
        return self.clock.sigmas[0] if self._moment is None else self._moment.sigma

    def negative(self, key: Hashable, positive: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Predicted negative output from the positive one of the same call, denoised, a new tensor."""
        moment = self._moment
        assert moment is not None
        bands = self._bands[key]
        low = self.cache.low if _within(moment.step, self.low_band) else 1.0
        high = self.cache.high if _within(moment.step, self.high_band) else 1.0
        difference = bands.low * low + bands.high * high
        return (positive - difference * broadcast(sigma, positive)).to(positive.dtype)

    def observe(
        self, key: Hashable, outputs: tuple[torch.Tensor, torch.Tensor], sigma: torch.Tensor
    ) -> None:
        """Learn from both computed outputs, positive first. Reads the device once."""
        if self._sealed or self._moment is None:
            return
        positive, negative = outputs
        wide = wide_dtype(positive)
        difference = (positive.to(wide) - negative) / broadcast(sigma, positive)
        bands = split(difference)
        if not bool(torch.isfinite(bands.low.sum() + bands.high.sum())):
            self.stop("the model's output is not finite")
            return
        self._bands[key] = bands
        self._last = self._moment.step
        held = sum(2 * b.low.numel() * b.low.element_size() for b in self._bands.values())
        self.report.cache_bytes = max(self.report.cache_bytes, held)

    def stop(self, why: str) -> None:
        """Something is wrong with this run: run both conditionings from now on."""
        self._sealed = True
        self._bands.clear()
        self.report.note(f"Caching stopped: {why}")

    def close(self) -> RunReport:
        """End the run and drop all tensors."""
        self._finish_evaluation()
        self._bands.clear()
        self._moment = None
        self._sealed = True
        return self.report

    def _finish_evaluation(self) -> None:
        if self._started is None:
            return
        self.report.end_evaluation(self._ran, self.timer() - self._started)
        self._started = None
        self._ran = False


def _within(step: int, band: tuple[int, int]) -> bool:
    return band[0] <= step < band[1]
