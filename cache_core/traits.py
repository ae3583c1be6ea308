"""What a step method may know of a run before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .calibration import GramTable
from .report import RunReport


@dataclass(frozen=True)
class SamplerTraits:
    """What a cache must know of a sampler.

    Attributes:
        name: the host's name, for messages.
        evaluations: model evaluations of each step, None if only the sampler knows.
        stochastic: whether it adds fresh noise between steps.
        sums: whether the result follows a change of one step's derivative by the width of the step, so
            that what earlier steps missed can be made good at a later one.
        carries: whether it extrapolates so far through earlier derivatives that their errors grow.
    """

    name: str
    evaluations: tuple[int, ...] | None
    stochastic: bool
    sums: bool = False
    carries: bool = False

    @property
    def unknown(self) -> bool:
        """Whether nothing is known of it, so that it may do anything between two steps."""
        return self.stochastic and self.evaluations is None


@dataclass(frozen=True)
class StepFrame:
    """One run.

    Attributes:
        sigmas: schedule, the final sigma included.
        traits: of the sampler.
        window: half-open range of steps that may be predicted, from start and end percent.
        report: where to note what the user should know.
        guided: calibrated products of the guided outputs, if there are some for this model.
        log_snr: logarithm of signal over noise at each sigma of the schedule, as far as a model can tell
            it, rising, if it is known.
        guidance: whether guidance pulls the outputs, by its scale or as an input of the model.
    """

    sigmas: tuple[float, ...]
    traits: SamplerTraits
    window: tuple[int, int]
    report: RunReport
    guided: GramTable | None = None
    log_snr: tuple[float, ...] | None = None
    guidance: bool = True

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def falls(self) -> bool:
        """Whether the noise level falls from step to step."""
        return all(a > b for a, b in pairwise(self.sigmas))

    def outside(self) -> frozenset[int]:
        """Steps that may not be predicted."""
        first, stop = self.window
        return frozenset(i for i in range(self.steps) if not first <= i < stop)
