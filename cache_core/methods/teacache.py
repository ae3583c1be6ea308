"""TeaCache: timestep embedding tells (Liu et al., arXiv 2411.19108; code ali-vilab/TeaCache).

Published rule: `acc += p(mean|s_t - s_{t-1}| / mean|s_{t-1}|)`, skip while `acc < threshold`, with
`s_{t-1}` replaced at every call, p a fitted polynomial of degree 4 per model, the first and the last
step computed. On a skipped step the residual of the block stack at the last computed step is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blocks import Layout, Span
from ..branch_policies import AccumulatingPolicy, RunFrame
from ..checks import check_range
from ..signals import Polynomial, Reference, SignalKind
from .base import Method, middle_blocks


@dataclass(frozen=True)
class TeaCache(Method):
    """Attributes:
    polynomial: fitted for the model.
    threshold: rel_l1_thresh of the published code.
    signal: what the polynomial was fitted on.
    head: steps at the start that are always computed.
    last: whether the last step is always computed.
    max_gap: steps skipped in a row at most, None for the published rule, which has no limit.
    """

    name: ClassVar[str] = "TeaCache"
    reference: ClassVar[Reference] = Reference.EVERY_CALL
    source: ClassVar[str] = "arXiv 2411.19108, ali-vilab/TeaCache"
    calibration: ClassVar[str] = "polynomial of degree 4"

    polynomial: Polynomial
    threshold: float
    signal: SignalKind = SignalKind.MODULATED  # pyright: ignore[reportIncompatibleMethodOverride]
    head: int = 1
    last: bool = True
    max_gap: int | None = 10

    def __post_init__(self) -> None:
        check_range("rel_l1_thresh", self.threshold, 0.0, 10.0)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout)

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> AccumulatingPolicy:
        always = frame.always(self.head, self.last)
        return AccumulatingPolicy(self.polynomial, self.threshold, always, self.max_gap)
