"""What every method is made of."""

from __future__ import annotations

from typing import ClassVar, Protocol

from ..blocks import Layout, Span
from ..branch_policies import BranchPolicy, RunFrame
from ..signals import Reference, SignalKind
from ..stack_predictors import REUSE, StackPredictor


class Method(Protocol):
    """A method as five parts: signal, reference rule, policy, predictor and granularity.

    Subclass it and override what differs. Instances are immutable and live in the model's options.

    Attributes:
        name: what the user reads.
        reference: when the compared tensor is replaced.
        source: paper and code.
        calibration: what it needs to know of a model, for the docs.
        probes: whether the first blocks always run before the decision, so that predictors can align.
        unet: whether it is for UNets; the others are for transformers.
    """

    name: ClassVar[str]
    reference: ClassVar[Reference] = Reference.NONE
    source: ClassVar[str] = ""
    calibration: ClassVar[str] = "none"
    probes: ClassVar[bool] = False
    unet: ClassVar[bool] = False

    @property
    def signal(self) -> SignalKind:
        """What is compared."""
        return SignalKind.NONE

    @property
    def predictor(self) -> StackPredictor:
        """How the change of a skipped span is predicted."""
        return REUSE

    @property
    def probe(self) -> int:
        """Blocks at the start that run before the decision."""
        return 0

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """Which runs of blocks are cached, in order; blocks outside them always run.

        Raises:
            ValueError: naming the field, if the method does not fit the network.
        """
        ...

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> BranchPolicy:
        """A fresh policy for one branch of a run."""
        ...


def middle_blocks(layout: Layout, first: int = 0, last: int = 0) -> tuple[Span, ...]:
    """All blocks but the first and the last few.

    A run that ends before the last block is cut where one stack follows the other: only there do text
    and picture come as the host keeps them.

    Args:
        first: blocks at the start that always run; they must be of one stack.
        last: blocks at the end that always run.

    Raises:
        ValueError: naming the field, if no block is left or the first blocks are not of one stack.
    """
    depth = layout.stacks[0][1]
    if first > depth:
        raise ValueError(f"first_blocks: must be at most {depth} in this model, got {first}")
    if first + last >= layout.total:
        raise ValueError(
            f"first_blocks, last_blocks: leave none of the {layout.total} blocks of this model"
        )
    if last == 0:
        return (Span(first, layout.total - 1),)
    stop = layout.total - last
    cut = [layout.numbers(kind) for kind, _ in layout.stacks]
    parts = [range(max(first, n.start), min(stop, n.stop)) for n in cut]
    return tuple(Span(part.start, part.stop - 1) for part in parts if part)
