"""Scaling Cache as a step method: what a user sets on the node, checked, and the policy it means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeVar

from .checks import check_range, check_window
from .optimiser import Chain, best_chains, cheapest, within_error
from .policies import BudgetPolicy, Policy, ScheduledPolicy
from .prior import line_chains
from .quantity import Quantity
from .schedules import (
    computed_for_speedup,
    even_steps,
    limit_gap,
)
from .signals import Reference, SignalKind
from .traits import SamplerTraits, StepFrame

# A run this short has no steps between which outputs change slowly.
FEWEST_STEPS = 8
# Computed steps at the start where nothing else tells how outputs bend.
WARMUP = 3
# What is left in the result of errors of the outputs: pictures of the demo models are then alike at one
# budget with and without coefficients.
LEFT = 0.2

_E = TypeVar("_E", bound=Enum)


class Mode(Enum):
    """How the steps to compute are chosen. The values are what the user reads.

    The three in the middle are target speed-ups in words.
    """

    TARGET = "target speed-up"
    NEAR_LOSSLESS = "near-lossless"
    BALANCED = "balanced"
    DRAFT = "fast draft"
    BUDGET = "error budget"

    @property
    def speedup(self) -> float | None:
        """The speed-up that a mode stands for, if it does."""
        words = {Mode.NEAR_LOSSLESS: 1.5, Mode.BALANCED: 2.0, Mode.DRAFT: 3.0}
        return words.get(self)


class PredictorKind(Enum):
    """How a skipped output is predicted. The values are what the user reads."""

    AUTO = "auto"
    SCALING = "scaling"
    LEAST_SQUARES = "least squares"
    ORDER_0 = "order 0"
    ORDER_1 = "order 1"
    ORDER_2 = "order 2"
    TAYLOR_1 = "Taylor 1"
    TAYLOR_2 = "Taylor 2"
    TAYLOR_3 = "Taylor 3"

    @property
    def order(self) -> int:
        """Past slopes the predictor needs."""
        if self in (PredictorKind.AUTO, PredictorKind.SCALING):
            return 1
        return 2 if self is PredictorKind.LEAST_SQUARES else int(self.value[-1])

    @property
    def least(self) -> int:
        """Computed steps that it starts with: those that find their weights during the run or from
        coefficients hold the first output until there are more."""
        learns = (PredictorKind.AUTO, PredictorKind.SCALING, PredictorKind.LEAST_SQUARES)
        return 1 if self in learns else self.order + 1

    def resolve(self, calibrated: bool) -> PredictorKind:
        """What a run predicts with: least squares needs coefficients, and auto takes what it is given."""
        if self not in (PredictorKind.AUTO, PredictorKind.LEAST_SQUARES):
            return self
        return PredictorKind.LEAST_SQUARES if calibrated else PredictorKind.SCALING

    @property
    def is_taylor(self) -> bool:
        """Whether it counts in steps, as TaylorSeer does, and not in sigma."""
        return self.value.startswith("Taylor")


@dataclass(frozen=True)
class Settings:
    """Settings of one Scaling Cache node.

    Attributes:
        speedup: steps over computed steps to aim at, 1.0 (off) to 4.0; a mode in words has its own.
        mode: aim at a speed-up or stay within an error budget.
        budget: allowed mean relative error of the outputs, 0 to 1.
        start_percent: share of the denoising before which every step is computed, 0 to 1.
        end_percent: share of the denoising after which every step is computed, 0 to 1.
        predictor: how a skipped output is predicted.
        warmup: steps at the start that are always computed; 0 for what the mode needs: 3 for an error
            budget, 1 for a target, which places its steps by what they bring (3 where it cannot).
        max_gap: steps that may be predicted in a row, 1 or more.
        corrector: whether computed steps make good what the predicted ones before them missed.
        listed: computed steps in place of a speed-up or a budget; empty for none.

    Raises:
        ValueError: naming the field and the allowed values.
    """

    name: ClassVar[str] = "Scaling Cache"
    source: ClassVar[str] = "this pack"
    signal: ClassVar[SignalKind] = SignalKind.NONE
    reference: ClassVar[Reference] = Reference.NONE
    uses_coefficients: ClassVar[bool] = True

    speedup: float = 2.0
    mode: Mode = Mode.TARGET
    budget: float = 0.02
    start_percent: float = 0.0
    end_percent: float = 1.0
    predictor: PredictorKind = PredictorKind.AUTO
    warmup: int = 0
    max_gap: int = 6
    corrector: bool = True
    listed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_range("speedup", self.speedup, 1.0, 4.0)
        check_range("budget", self.budget, 0.0, 1.0)
        check_range("warmup", self.warmup, 0, 1000)
        check_range("max_gap", self.max_gap, 1, 1000)
        check_window(self.start_percent, self.end_percent)

    @property
    def off(self) -> bool:
        """Whether these settings ask for no caching at all."""
        if self.listed:
            return False
        if self.mode is Mode.BUDGET:
            return self.budget == 0.0
        return self.target == 1.0

    @property
    def target(self) -> float:
        """Speed-up to aim at, in words or as a number."""
        return self.mode.speedup or self.speedup

    def quantity(self, traits: SamplerTraits) -> Quantity:
        """What is cached."""
        return Quantity.for_sampler(traits.stochastic)

    def corrects(self, frame: StepFrame) -> bool:
        """Whether predicted steps are repaired: not every sampler allows it."""
        return self.corrector and frame.traits.sums and frame.falls

    def policy(self, frame: StepFrame) -> Policy:
        """A fresh policy for one run; notes where the target cannot be met."""
        steps = frame.steps
        if self.listed:
            return ScheduledPolicy(self._as_listed(frame))
        if self.mode is Mode.BUDGET:
            chains = self._chains(frame)
            if chains:
                return ScheduledPolicy(within_error(chains, LEFT * self.budget).steps)
            forced = frozenset(even_steps(steps, 0, self._warmup(frame), frame.window))
            return BudgetPolicy(
                frame.sigmas, frame.log_snr, self.budget, forced, self._longest(frame)
            )
        wanted = computed_for_speedup(steps, self.target)
        computed = self.schedule(frame, wanted)
        if len(computed) > wanted:
            why = f"{frame.traits.name} is not known" if frame.traits.unknown else "by the settings"
            frame.report.note(
                f"Less than {self.target:.1f}x: {why}, {len(computed)} of {steps} steps must be "
                "computed"
            )
        return ScheduledPolicy(computed)

    def schedule(self, frame: StepFrame, wanted: int) -> tuple[int, ...]:
        """Computed steps, as many as wanted unless more must be."""
        if self.predictor is PredictorKind.LEAST_SQUARES and frame.guided is None:
            frame.report.note("Least squares needs coefficients of this model: scaling is used")
        chains = self._chains(frame)
        return cheapest(chains, wanted).steps if chains else self._expected(frame, wanted)

    def _expected(self, frame: StepFrame, wanted: int) -> tuple[int, ...]:
        """Computed steps that are expected to serve any model best."""
        warmup, longest = self._warmup(frame), self._longest(frame)
        if frame.log_snr is None:
            even = even_steps(frame.steps, wanted, warmup, frame.window)
            return limit_gap(even, frame.steps, longest)
        forced = even_steps(frame.steps, 0, warmup, frame.window)
        corrected = self.corrects(frame)
        magnified = frame.guidance or frame.traits.carries
        found = line_chains(frame.sigmas, frame.log_snr, forced, longest, corrected, magnified)
        return cheapest(found, wanted).steps

    def _chains(self, frame: StepFrame) -> list[Chain]:
        """Calibrated choices of computed steps, fewest first; empty without coefficients that fit."""
        kind = self.predictor.resolve(frame.guided is not None)
        planned = kind is PredictorKind.LEAST_SQUARES and not frame.traits.stochastic
        if frame.guided is None or not planned or not frame.falls:
            return []
        forced = even_steps(frame.steps, 0, self._warmup(frame), frame.window)
        corrected = self.corrects(frame)
        return best_chains(frame.guided, frame.sigmas, forced, self._longest(frame), corrected)

    def _as_listed(self, frame: StepFrame) -> tuple[int, ...]:
        """The user's list; the first step and those outside the window are computed whatever it says."""
        beyond = [step for step in self.listed if step >= frame.steps]
        if beyond:
            frame.report.note(
                f"The list of steps goes on to {beyond[-1]}, this run ends with {frame.steps - 1}"
            )
        inside = {step for step in self.listed if step < frame.steps}
        return tuple(sorted(inside | frame.outside() | {0}))

    def _warmup(self, frame: StepFrame) -> int:
        """Computed steps at the start."""
        kind = self.predictor.resolve(frame.guided is not None)
        placed = self.mode is not Mode.BUDGET and frame.log_snr is not None
        return max(self.warmup or (1 if placed else WARMUP), kind.least)

    def _longest(self, frame: StepFrame) -> int:
        return 1 if frame.traits.unknown else self.max_gap


def choose(field: str, kind: type[_E], value: str) -> _E:
    """The member of an enum that the user named.

    Raises:
        ValueError: naming the field and the allowed values.
    """
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{field}: must be one of {allowed}, got {value!r}") from None
