"""The cache of the negative conditioning: CFG-Cache of FasterCache (Lv et al., arXiv 2410.19355).

In the second half of the denoising the negative output differs from the positive one by a slowly changing
tensor. It is split into low and high frequencies at a computed step, and a skipped step adds both to the
positive output, the low ones raised in the middle of the denoising and the high ones towards its end.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch

from .decide.policies import Decision, Moment
from .predict.predictors import per_sample
from .run.run import Keys, Outputs, Run


@dataclass(frozen=True)
class Bands:
    """Difference of two outputs in float32 or wider: what is coarse and what is fine.

    Attributes:
        step: at which it was found.
    """

    low: torch.Tensor
    high: torch.Tensor
    step: int = 0

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
        return (positive - difference * per_sample(sigma, positive)).to(positive.dtype)

    def keep(
        self,
        key: Hashable,
        outputs: tuple[torch.Tensor, torch.Tensor],
        sigma: torch.Tensor,
        step: int,
    ) -> Bands:
        """Keep the difference of two computed outputs, positive first."""
        positive, negative = outputs
        wide = torch.promote_types(positive.dtype, torch.float32)
        difference = (positive.to(wide) - negative) / per_sample(sigma, positive)
        bands = self._bands[key] = replace(split(difference), step=step)
        return bands

    def forget(self, before: int) -> None:
        """Drop what was found before a step: of calls that were not asked since, such as a window that
        moves from step to step."""
        self._bands = {key: bands for key, bands in self._bands.items() if bands.step >= before}

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum(2 * b.low.numel() * b.low.element_size() for b in self._bands.values())

    def clear(self) -> None:
        """Drop all tensors."""
        self._bands.clear()


@dataclass(kw_only=True)
class NegativeCache(Run):
    """State of one sampling run; dropped with `close`. Computed are the evaluations with both
    conditionings.

    Attributes:
        interval: the negative conditioning runs at every so many steps, 1 or more.
        window: half-open range of steps at which it may be skipped.
        guidance: what is kept of it.
    """

    interval: int
    window: tuple[int, int]
    guidance: Guidance
    _last: int = field(default=-1, init=False)
    # Whether the evaluation under way ran both conditionings of a call, or left the negative one out.
    _both: bool = field(default=False, init=False)
    _left_out: bool = field(default=False, init=False)

    def skips(self, keys: Keys, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        why = why_plain(x, active)
        if why:
            self.report.note(why)
            # Guidance nodes ask for one conditioning more, which says nothing of the others.
            self._ran |= not self._left_out
            return (False,) * len(active)
        if self._decision.compute or not self.guidance.knows(keys, x):
            self._both = True
            return super().skips(keys, x, active)
        self._left_out, self._ran = True, self._both
        return (False, True)

    def complete(
        self,
        keys: Keys,
        x: torch.Tensor,
        sigma: torch.Tensor,
        outputs: Outputs,
        active: Sequence[bool],
    ) -> Outputs:
        """The positive output and the predicted negative one, or both and what they teach, reading the
        device once."""
        moment = self._moment
        if self.sealed or moment is None or why_plain(x, active):
            return outputs
        positive, negative = outputs
        assert positive is not None
        if negative is None:
            return [positive, self.guidance.negative(keys, positive, sigma, moment.step)]
        bands = self.guidance.keep(keys, (positive, negative), sigma, moment.step)
        total = (bands.low.sum() + bands.high.sum()).reshape(1)
        if not bool(torch.isfinite(self.agreed(total))):
            self.stop("the model's output is not finite")
            return outputs
        self._last = moment.step
        self.report.cache_bytes = max(self.report.cache_bytes, self.nbytes)
        return outputs

    @property
    def nbytes(self) -> int:
        return self.guidance.nbytes

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        return 2 * unit

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        # Other calls may have been computed since.
        self.guidance.forget(moment.step - self.interval + 1)
        inside = self.window[0] <= moment.step < self.window[1]
        compute = not inside or moment.step - self._last >= self.interval
        return Decision(compute, "both conditionings" if compute else "negative one skipped")

    def _finish_evaluation(self) -> None:
        super()._finish_evaluation()
        self._both = self._left_out = False

    def _drop(self) -> None:
        self.guidance.clear()


def why_plain(x: torch.Tensor, active: Sequence[bool]) -> str:
    """Why a batch of conditionings runs as it came; empty if it need not."""
    if tuple(active) != (True, True):
        return (
            "Needs a positive and a negative conditioning together: with cfg 1, or a guider that asks "
            "for each apart, there is no gain"
        )
    if x.ndim < 4:
        return "The latent has no rows and columns, so no frequencies over them: all is computed"
    return ""


def _within(step: int, band: tuple[int, int]) -> bool:
    return band[0] <= step < band[1]
