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

from .agreement import Agree, alone
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

    @property
    def whole(self) -> torch.Tensor:
        """The difference itself, a new tensor."""
        return self.low + self.high


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
class Guidance:
    """What is kept of the negative conditioning during one run, and its prediction from the positive one.

    Attributes:
        low, high: factors of the low and high frequencies, within their bands.
        low_band, high_band: half-open ranges of steps at which each band is raised.
    """

    low: float
    high: float
    low_band: tuple[int, int]
    high_band: tuple[int, int]
    _bands: dict[Hashable, Bands] = field(default_factory=dict)

    def knows(self, key: Hashable, x: torch.Tensor) -> bool:
        """Whether the negative output of a call can be predicted.

        Args:
            key: identity of the call.
            x: noisy latent.
        """
        bands = self._bands.get(key)
        return bands is not None and bands.low.shape == x.shape

    def kept(self, key: Hashable) -> Bands | None:
        """What is kept of a call."""
        return self._bands.get(key)

    def negative(
        self, key: Hashable, positive: torch.Tensor, sigma: torch.Tensor, step: int
    ) -> torch.Tensor:
        """Predicted negative output from the positive one of the same call, denoised, a new tensor."""
        bands = self._bands[key]
        low = self.low if _within(step, self.low_band) else 1.0
        high = self.high if _within(step, self.high_band) else 1.0
        difference = bands.low * low + bands.high * high
        return (positive - difference * broadcast(sigma, positive)).to(positive.dtype)

    def keep(
        self, key: Hashable, outputs: tuple[torch.Tensor, torch.Tensor], sigma: torch.Tensor
    ) -> Bands:
        """Keep the difference of two computed outputs, positive first."""
        positive, negative = outputs
        wide = wide_dtype(positive)
        bands = split((positive.to(wide) - negative) / broadcast(sigma, positive))
        self._bands[key] = bands
        return bands

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum(2 * b.low.numel() * b.low.element_size() for b in self._bands.values())

    def clear(self) -> None:
        """Drop all tensors."""
        self._bands.clear()


@dataclass
class CfgRun:
    """State of one sampling run; dropped with `close`.

    Attributes:
        cache: settings.
        clock: turns evaluations into steps.
        window: half-open range of steps at which the negative conditioning may be skipped.
        guidance: what is kept of the negative conditioning.
        report: what happened; computed are the evaluations with both conditionings.
        agree: makes what decisions are taken from the same on all ranks.
    """

    cache: CfgCache
    clock: Clock
    window: tuple[int, int]
    guidance: Guidance
    report: RunReport
    agree: Agree = field(default=alone)
    timer: Callable[[], float] = time.perf_counter
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
        if self._compute or self._sealed or not self.guidance.knows(key, x):
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
        assert self._moment is not None
        return self.guidance.negative(key, positive, sigma, self._moment.step)

    def observe(
        self, key: Hashable, outputs: tuple[torch.Tensor, torch.Tensor], sigma: torch.Tensor
    ) -> None:
        """Learn from both computed outputs, positive first. Reads the device once."""
        if self._sealed or self._moment is None:
            return
        bands = self.guidance.keep(key, outputs, sigma)
        total = (bands.low.sum() + bands.high.sum()).reshape(1)
        if not bool(torch.isfinite(self.agree(total))):
            self.stop("the model's output is not finite")
            return
        self._last = self._moment.step
        self.report.cache_bytes = max(self.report.cache_bytes, self.guidance.nbytes)

    def stop(self, why: str) -> None:
        """Something is wrong with this run: run both conditionings from now on."""
        self._sealed = True
        self.guidance.clear()
        self.report.note(f"Caching stopped: {why}")

    def close(self) -> RunReport:
        """End the run and drop all tensors."""
        self._finish_evaluation()
        self.guidance.clear()
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
