"""Where the alpha of the scaled predictor comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .history import Entry

# Beyond these a measured alpha says that the line is a poor model, not that it should be stretched.
LOWEST, HIGHEST = 0.0, 1.5
# Over the logarithm of signal over noise outputs bend back: what is right lies between 0.6 and 0.95 on
# the demo model.
FIRST = 0.85


class AlphaSource(Protocol):
    """Alphas of one stream."""

    def at(self, history: Sequence[Entry], sigma: float, batch: int) -> tuple[float, ...]:
        """Alpha per sample of the batch for a prediction at `sigma`."""
        ...

    def learn(
        self, history: Sequence[Entry], sigma: float, measured: Sequence[float | None]
    ) -> None:
        """Take in what alpha would have been right at a computed step."""
        ...


class OnlineAlpha:
    """Learns alpha during the run: each computed step tells what would have been right there.

    Starts a little short of the line, where outputs usually are, and moves part of the way to each
    measurement.
    """

    def __init__(self, damping: float = 0.7) -> None:
        """
        Args:
            damping: share of the old value that is kept, 0 to 1.
        """
        self._damping = damping
        self._alpha: list[float] = []

    def at(self, history: Sequence[Entry], sigma: float, batch: int) -> tuple[float, ...]:
        self._fit(batch)
        return tuple(self._alpha)

    def learn(
        self, history: Sequence[Entry], sigma: float, measured: Sequence[float | None]
    ) -> None:
        self._fit(len(measured))
        for i, value in enumerate(measured):
            if value is not None:
                value = min(max(value, LOWEST), HIGHEST)
                self._alpha[i] = self._damping * self._alpha[i] + (1 - self._damping) * value

    def _fit(self, batch: int) -> None:
        if len(self._alpha) != batch:
            self._alpha = [FIRST] * batch
