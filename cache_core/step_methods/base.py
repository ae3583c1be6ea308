"""What every method that works on whole steps is made of."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from ..policies import Policy
from ..predictors import Weigher
from ..quantity import Quantity
from ..settings import PredictorKind
from ..signals import Reference, SignalKind
from ..traits import SamplerTraits, StepFrame


class StepMethod(Protocol):
    """A method that skips the whole network. Instances are immutable and live in the model's options.

    Attributes:
        name: what the user reads.
        source: paper and code.
        signal: what is compared.
        reference: when the compared tensor is replaced.
        uses_coefficients: whether a coefficient file makes a difference to it.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    signal: ClassVar[SignalKind] = SignalKind.NONE
    reference: ClassVar[Reference] = Reference.NONE
    uses_coefficients: ClassVar[bool] = False

    @property
    def start_percent(self) -> float:
        """Share of the denoising before which every step is computed, 0 to 1."""
        ...

    @property
    def end_percent(self) -> float:
        """Share of the denoising after which every step is computed, 0 to 1."""
        ...

    @property
    def predictor(self) -> PredictorKind:
        """How a skipped output is predicted."""
        ...

    def quantity(self, traits: SamplerTraits) -> Quantity:
        """What is cached."""
        ...

    def policy(self, frame: StepFrame) -> Policy:
        """A fresh policy for one run."""
        ...


@runtime_checkable
class Weighing(Protocol):
    """A step method that gives the weights of past outputs itself. Its predictor only says how many
    outputs are kept, and counts for nothing else unless the user chooses another one."""

    def weigher(self, frame: StepFrame) -> Weigher:
        """Fresh weights for one run."""
        ...
