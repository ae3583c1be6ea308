"""TeaCache: timestep embedding tells (Liu et al., arXiv 2411.19108; code ali-vilab/TeaCache).

Published rule: `acc += p(mean|s_t - s_{t-1}| / mean|s_{t-1}|)`, skip while `acc < threshold`, with
`s_{t-1}` replaced at every call, p a fitted polynomial of degree 4 per model, the first and the last
step computed. On a skipped step the residual of the block stack at the last computed step is added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..decide.layout import Layout, Span
from ..decide.policies import Accumulating, RunPlan
from ..decide.signals import Polynomial, Reference, SignalKind
from .base import BlockMethod, Inputs, Model, Page, check_range, middle_blocks


@dataclass(frozen=True)
class TeaCache(BlockMethod):
    """The rule as settings.

    Attributes:
        polynomial: fitted for the model.
        threshold: rel_l1_thresh of the published code.
        signal: what the polynomial was fitted on.
        warmup: steps at the start that are always computed.
        last: whether the last step is always computed.
        max_gap: steps skipped in a row at most, None for the published rule, which has no limit.
    """

    name: ClassVar[str] = "TeaCache"
    uses: ClassVar[tuple[str, ...]] = ("threshold", "max_gap")
    page: ClassVar[Page] = Page(
        leaves_out="blocks",
        signal=(
            "modulated input of block 0; time embedding (Wan, CogVideoX, Lumina 2, HiDream); tokens that "
            "enter it (HiDream dev, fast)"
        ),
        reference="every call",
        needs="polynomial of degree 4",
        keeps="change of the blocks, the compared tensor",
        waits="one number per step; for time embeddings once, before the first step",
        source="arXiv 2411.19108, ali-vilab/TeaCache",
    )
    reference: ClassVar[Reference] = Reference.EVERY_CALL

    polynomial: Polynomial
    threshold: float
    signal: SignalKind = SignalKind.MODULATED  # pyright: ignore[reportIncompatibleMethodOverride]
    warmup: int = 1
    last: bool = True
    max_gap: int | None = 10

    def check(self) -> None:
        check_range("rel_l1_thresh", self.threshold, 0.0, 10.0)

    @classmethod
    def from_inputs(cls, inputs: Inputs, model: Model) -> TeaCache | str:
        published = model.published(cls.name)
        if isinstance(published, str):
            return published
        threshold = inputs.threshold or published.threshold
        return replace(
            published, threshold=threshold, max_gap=inputs.max_gap or None, **inputs.window
        )

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> TeaCache:
        wanted = (SignalKind.MODULATED, SignalKind.TIME_EMBEDDING, SignalKind.TOKENS)
        signal = next((s for s in wanted if s in model.signals), wanted[0])
        return cls(Polynomial((1.0, 0.0)), 0.0 if everything else 10.0, signal, max_gap=1)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout)

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Accumulating:
        always = plan.always(self.warmup, self.last)
        return Accumulating(self.polynomial, self.threshold, always, self.max_gap)
