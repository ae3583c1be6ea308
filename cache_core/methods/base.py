"""What every method is made of."""

from __future__ import annotations

from typing import ClassVar, Protocol

from ..blocks import Layout, Span
from ..branch_policies import BranchPolicy, RunFrame
from ..signals import Reference, SignalKind


class Method(Protocol):
    """A method as five parts: signal, reference rule, policy, predictor and granularity.

    The predictor is the same for all methods so far: the cached change of the stream, times the
    scale of the verdict. Instances are immutable and live in the model's options.

    Attributes:
        name: what the user reads.
        reference: when the compared tensor is replaced.
    """

    name: ClassVar[str]
    reference: ClassVar[Reference]

    @property
    def signal(self) -> SignalKind:
        """What is compared."""
        ...

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """Which runs of blocks are cached, in order; blocks outside them always run.

        Raises:
            ValueError: naming the field, if the method does not fit the network.
        """
        ...

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> BranchPolicy:
        """A fresh policy for one branch of a run."""
        ...


def whole_stack(layout: Layout, live: int = 0) -> tuple[Span, ...]:
    """All blocks but the first `live` ones.

    Raises:
        ValueError: if no block is left.
    """
    if layout.total <= live:
        raise ValueError(f"blocks: need more than {live}, this model has {layout.total}")
    return (Span(live, layout.total - 1),)


def check_range(field: str, value: float, low: float, high: float) -> None:
    """
    Raises:
        ValueError: naming the field and its range.
    """
    if not low <= value <= high:
        raise ValueError(f"{field}: must be between {low} and {high}, got {value}")
