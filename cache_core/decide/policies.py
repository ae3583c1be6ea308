"""Where a run stands, and, at the start of each step, whether it is computed or predicted.

A policy is asked once per step, in order: for a cache of whole steps once for all conditionings,
inside the network once per conditioning and span of blocks. What was really done comes back with
`settle`, since one that must compute makes all of them compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Protocol

import torch

from ..planning.gram import GramTable
from ..planning.prior import CARRIED, GUIDED, UNGUIDED
from ..predict.predictors import Axis, snr_axis
from ..predict.row import Stream

# Said of steps that the settings keep.
ALWAYS = "always computed"
# Samplers convert sigmas through log or time space: so much drift is rounding, not another schedule.
_TOLERANCE = 1e-3
# Share of a short run, and steps of a long one, that have to be computed for a gain over fewer steps.
_WORTH, _WORTH_GUIDED, _WORTH_NOISY, _WORTH_CALIBRATED = 3 / 4, 4 / 5, 7 / 8, 5 / 8
# Of one of any length where few steps come near: on the demo model 1.5x was 2 dB nearer, 2x 2 dB further.
_WORTH_PATH = 2 / 3
# Of one that may evaluate several times per step, as res_2s does: where a part of the picture is sampled
# every second step was up to 3 dB further than plain sampling, two of three are 3 to 12 dB nearer.
_WORTH_UNKNOWN = 2 / 3
ENOUGH, ENOUGH_MORE, ENOUGH_STRONG = 8, 10, 12
# Scale of the guidance above which errors grow so much that the least is the largest: at cfg 7 the demo
# model was 1 dB further than plain sampling with 10 of 30 steps computed, 1 dB nearer with 12 of 20.
STRONG = 5.0
# Shorter runs gain without guidance and with one evaluation per step only.
_SHORT = 8
# A conditioning that was not asked, where others were, is still known for so many steps.
FRESH = 3
# Computed steps before and behind a break.
_BEFORE, _BEHIND = 1, 3


def fewest_calibrated(steps: int) -> int:
    """Fewest computed steps of so many that coefficients can be worth it with."""
    return math.ceil(min(_WORTH_CALIBRATED * steps, ENOUGH))


def same_sigma(sigma: float, expected: float) -> bool:
    """Whether a noise level is the expected one but for rounding."""
    return abs(sigma - expected) <= _TOLERANCE * max(abs(expected), 1e-3)


@dataclass(frozen=True)
class Decision:
    """What to do with a step and, in a word for the user, why.

    Attributes:
        compute: whether the model, or a span of its blocks, runs.
        reason: why, in a few words for the user.
        scale: factor of the kept change of a span that does not run.
        error: estimate that decided, where there is one.
        limit: value of `error` up to which the step is predicted.
    """

    compute: bool
    reason: str
    scale: float = 1.0
    error: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class SamplerTraits:
    """What a cache must know of a sampler.

    Attributes:
        name: the host's name, for messages.
        evaluations: model evaluations of each step, None if only the sampler knows.
        stochastic: whether it adds fresh noise between steps.
        sums: whether the result follows a change of one step's derivative by the width of the step,
            so that what earlier steps missed can be made good at a later one.
        carries: whether it extrapolates so far through earlier derivatives that their errors grow.
        path: whether its noise is of one path whatever the steps, and each step of second order, so that
            few of its own steps come near.
        anew: whether each step puts wholly new noise on what the model made of the last: that forgets
            what few of its own steps missed.
        once: of one that is not known, whether it is around one that evaluates once per step.
    """

    name: str
    evaluations: tuple[int, ...] | None
    stochastic: bool
    sums: bool = False
    carries: bool = False
    path: bool = False
    anew: bool = False
    once: bool = False

    @property
    def single(self) -> bool:
        """Whether it evaluates the model once per step, each time at what it hands on."""
        return self.evaluations is not None and set(self.evaluations) == {1}

    @property
    def higher(self) -> bool:
        """Whether it looks back at earlier outputs or asks several times per step, or may do so: then it
        gains from few steps of its own."""
        return (self.sums and self.name != "euler") or not self.single

    @property
    def unknown(self) -> bool:
        """Whether nothing is known of it, so that it may do anything between two steps."""
        return self.stochastic and self.evaluations is None

    @property
    def noisy(self) -> bool:
        """Whether it adds noise in a way that is known, and not wholly new noise. Coefficients, made
        without any, choose the steps there, and weights are learned: with euler_ancestral that was 11 to
        18 dB nearer than to learn both on the demo's emoji, and level on UNet and video model."""
        return self.stochastic and not (self.unknown or self.anew)

    @property
    def free(self) -> bool:
        """Whether it evaluates where it likes, and makes much of how evaluations differ."""
        return not self.stochastic and self.evaluations is None


def _nowhere(sentence: str) -> None:
    """Where notes of a plan without a report go."""


@dataclass(frozen=True)
class RunPlan:
    """What is known of a run before it starts.

    Attributes:
        sigmas: schedule, the final sigma included.
        traits: of the sampler.
        window: half-open range of steps that may be predicted, from start and end percent.
        note: keeps a sentence for the user.
        table: calibrated products of the guided outputs, if there are some for this model.
        log_snr: logarithm of signal over noise at each sigma of the schedule, as far as a model can
            tell it, rising, if it is known.
        guidance: whether guidance pulls the outputs, by its scale or as an input of the model.
        breaks: steps from which on the model is asked something else, rising.
        scale: of the guidance, None if it is not known or not the same all along.
        streams: of the row that is sampled, where it holds several; none else. `log_snr` is the first's.
        covers: share of the whole denoising that the schedule goes through, 0 to 1: less where samplers
            share the steps.
    """

    sigmas: tuple[float, ...]
    traits: SamplerTraits
    window: tuple[int, int]
    note: Callable[[str], None] = field(default=_nowhere, compare=False)
    table: GramTable | None = None
    log_snr: tuple[float, ...] | None = None
    guidance: bool = True
    breaks: tuple[int, ...] = ()
    scale: float | None = None
    streams: tuple[Stream, ...] = ()
    covers: float = 1.0

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def short(self) -> bool:
        """Whether steps are so few that one at most is worth predicting, and a budget says little."""
        return self.steps < _SHORT

    def worth(self, calibrated: bool = False) -> int:
        """Fewest computed steps with which predicting the others was measured to come nearer than plain
        sampling with as many: see docs/few_steps.md.

        Args:
            calibrated: whether steps and weights are this model's own.
        """
        if self.short and not (self.scale == 1.0 and self.traits.single):
            return self.steps
        if self.forgets or self.traits.free:
            return self.steps
        if self.traits.path:
            return math.ceil(_WORTH_PATH * self.steps)
        strong = self.guidance and (self.scale is None or self.scale > STRONG)
        more = self.traits.higher or self.traits.anew
        enough = ENOUGH_STRONG if strong else ENOUGH_MORE if more else ENOUGH
        share = _WORTH if self.scale == 1.0 else _WORTH_GUIDED
        if calibrated and not (strong or more or self.short):
            share = _WORTH_CALIBRATED
        if self.traits.stochastic:
            share = 1.0 if self.traits.anew else _WORTH_NOISY
        # A part of the denoising in as many steps is a finer run, but begins without a history: of two
        # halves 4 of 10 steps each were level with plain sampling, 5 of 10 were 9 dB nearer.
        least = math.ceil(min(share * self.steps, enough, enough * self.covers + 1))
        if self.traits.unknown:
            share = 1 / 2 if self.traits.once else _WORTH_UNKNOWN
            least = max(least, math.ceil(share * self.steps))
        return least

    @property
    def forgets(self) -> bool:
        """Whether wholly new noise at each step forgets what few steps miss, while guidance makes more of
        what predictions do: at 20 and 30 steps of lcm cached runs were 3 dB further to 2 dB nearer than
        plain ones, without guidance 1 to 5 dB nearer."""
        return self.traits.anew and self.guidance

    @property
    def rates(self) -> tuple[float, float]:
        """At which early and late errors count for more, see `prior.line_chains`."""
        if self.traits.carries or self.traits.evaluations is None:
            return CARRIED
        return GUIDED if self.guidance else UNGUIDED

    @property
    def falls(self) -> bool:
        """Whether the noise level falls from step to step."""
        return all(a > b for a, b in pairwise(self.sigmas))

    @property
    def axis(self) -> Axis:
        """Where a sigma lies along which outputs change evenly."""
        return snr_axis(self.sigmas, self.log_snr)

    def always(self, head: int = 0, last: bool = False) -> frozenset[int]:
        """Steps that are always computed: outside the window, the first `head`, maybe the last."""
        first, stop = max(self.window[0], head), self.window[1]
        stop = min(stop, self.steps - 1) if last else stop
        return frozenset(i for i in range(self.steps) if not first <= i < stop)

    def around(self, least: int = 1) -> frozenset[int]:
        """Steps that are computed at breaks. Up to one all is repaired: what comes may make much of an
        error. Behind it, two outputs make a line again, and the third tells whether it holds. With noise
        it cannot tell, and one prediction at first is as far as it goes.

        Args:
            least: computed steps that a predictor starts with.
        """
        near = [*range(-_BEFORE, max(_BEHIND, least))]
        near += [near[-1] + 2] if self.traits.stochastic else []
        steps = (at + i for at in self.breaks for i in near)
        return frozenset(step for step in steps if 0 <= step < self.steps)

    def taken(self, target: float, least: int = 1) -> int:
        """Computed steps that breaks take on top of a target speed-up, so that the rest is spaced as it
        would be without them; `least` as above."""
        steps = len(self.around(least)) * (1 - 1 / target)
        return math.ceil(steps) if self.traits.stochastic else round(steps)


@dataclass(frozen=True)
class Moment:
    """One evaluation of the model.

    Attributes:
        step: index of the sampler step it belongs to, from 0.
        sigma: noise level on the host: measured when the clock measures, else the step's own, and of a
            later evaluation of it where such lay in the last computed one.
        first: whether it is the first evaluation of its step.
        breaks: whether the model is asked something else than at the step before: nothing is carried
            across.
        number: of the evaluation within its step, from 0 where they are told apart, else 0.
    """

    step: int
    sigma: float
    first: bool
    breaks: bool = False
    number: int = 0


class Clock:
    """Turns evaluations into steps.

    A sampler whose evaluations per step are known is *counted*: the clock needs no value from the
    device. Any other is *measured*: the clock finds the step whose interval contains the sigma.
    """

    def __init__(
        self,
        sigmas: Sequence[float],
        evaluations: Sequence[int] | None,
        breaks: Sequence[int] = (),
        apart: bool = False,
    ) -> None:
        """
        Args:
            sigmas: schedule of the run, one value per step and the final one.
            evaluations: evaluations of each step, or None to measure.
            breaks: steps from which on the model is asked something else, rising.
            apart: whether the evaluations of a step are told apart.

        Raises:
            ValueError: if the schedule has no step or the evaluations do not fit it.
        """
        self.sigmas = tuple(float(s) for s in sigmas)
        self.steps = len(self.sigmas) - 1
        if self.steps < 1:
            raise ValueError(f"sigmas: need at least 2 values for one step, got {len(sigmas)}")
        if evaluations is not None and (len(evaluations) != self.steps or min(evaluations) < 1):
            raise ValueError(f"evaluations: need 1 or more for each of {self.steps} steps")
        counts = enumerate(evaluations or ())
        self._order = [(step, i) for step, count in counts for i in range(count)]
        self.most = max(evaluations or (1,)) if apart else 1
        # Added noise may put two steps of a sampler that asks once into one.
        self._apart = apart and (evaluations is None or self.most > 1)
        # How far within a step its later evaluations lie, as the last computed ones told.
        self._within: dict[int, float] = {}
        self._evaluation = -1
        self._breaks = tuple(breaks)
        self.measures = evaluations is None
        self.step, self.number = -1, 0

    def tick(self, sigma: float | None = None) -> Moment:
        """Advance to the next evaluation, whose sigma a measuring clock needs."""
        self._evaluation += 1
        if self.measures:
            assert sigma is not None
            step = self._find(sigma)
            number = self.number + 1 if step == self.step else 0
        else:
            step, number = self._order[min(self._evaluation, len(self._order) - 1)]
            sigma = self.sigmas[step]
            if number in self._within:
                sigma = float(sigma * self._left(step) ** self._within[number])
        before, self.step = self.step, step
        self.number = number if self._apart else 0
        passed = bool(self._breaks) and any(before < at <= step for at in self._breaks)
        return Moment(step, sigma, step != before, passed, self.number)

    def follows(self, moment: Moment, sigma: float) -> bool:
        """Whether a measured sigma is the one expected at the first evaluation of a step; from the
        first that is not, the clock measures. Those of later ones tell where such lie."""
        expected = self.sigmas[moment.step]
        self.measures = moment.first and not same_sigma(sigma, expected)
        if moment.number and sigma > 0 and (left := self._left(moment.step)) not in (0, 1):
            self._within[moment.number] = math.log(sigma / expected) / math.log(left)
        return not self.measures

    def _left(self, step: int) -> float:
        """Share of its noise level that a step leaves."""
        here = self.sigmas[step]
        return self.sigmas[step + 1] / here if here > 0 else 0.0

    def _find(self, sigma: float) -> int:
        """Last step whose sigma is not below `sigma`; the first step for anything above them all."""
        above = [i for i, s in enumerate(self.sigmas[:-1]) if s >= sigma * (1 - _TOLERANCE)]
        return above[-1] if above else 0


class Policy(Protocol):
    """Chooses the steps to compute."""

    def decide(self, step: int, change: float | None) -> Decision:
        """`change` is what the policy compares, None where there is nothing to compare yet."""
        ...

    def settle(self, computed: bool, missed: float | None = None) -> None:
        """What was done with the step that was decided last, and the relative error that a
        prediction of it would have had, where that was measured."""
        ...


class Follower(Protocol):
    """Tells a policy how the input of the model changes, which reads the device at every step.

    Attributes:
        LATENTS: how many it keeps.
    """

    LATENTS: ClassVar[int]

    @property
    def nbytes(self) -> int: ...

    def enter(
        self, x: torch.Tensor, agree: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> float | None:
        """Change of the step that begins with an input, None while it is not known.

        Args:
            agree: means over ranks, None for one.
        """
        ...

    def compare(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Numbers on the device about a computed step, whose output is the follower's from now on."""
        ...

    def learn(self, numbers: Sequence[float]) -> None:
        """Take in those numbers."""
        ...

    def clear(self) -> None:
        """Drop all tensors."""
        ...


class Listed:
    """Computes a fixed list of steps. Needs no value from the run, so no synchronisation."""

    def __init__(self, computed: Iterable[int]) -> None:
        self._computed = frozenset(computed)

    def decide(self, step: int, change: float | None) -> Decision:
        if step in self._computed:
            return Decision(True, "scheduled")
        return Decision(False, "between scheduled steps")

    def settle(self, computed: bool, missed: float | None = None) -> None:
        return


class Accumulating:
    """Skips while the sum of transformed changes stays below a threshold. The sum restarts at each
    computed step (TeaCache, arXiv 2411.19108; EasyCache, arXiv 2507.02860)."""

    def __init__(
        self,
        transform: Callable[[float], float],
        threshold: float,
        always: frozenset[int],
        max_gap: int | None,
    ) -> None:
        """
        Args:
            transform: from a change of what is compared to an estimated change of the output.
            threshold: of the sum.
            always: steps that are always computed.
            max_gap: steps skipped in a row at most.
        """
        self._transform = transform
        self._threshold = threshold
        self._always = always
        self._max_gap = max_gap
        self._sum = 0.0
        self._row = 0

    def decide(self, step: int, change: float | None) -> Decision:
        if step in self._always:
            return Decision(True, ALWAYS)
        if change is None:
            return Decision(True, "nothing to compare with")
        if not math.isfinite(change):
            return Decision(True, "the signal is not finite")
        self._sum += self._transform(change)
        known = {"error": self._sum, "limit": self._threshold}
        if not self._sum < self._threshold:
            return Decision(True, "threshold reached", **known)
        if self._max_gap is not None and self._row >= self._max_gap:
            return Decision(True, "longest gap reached", **known)
        return Decision(False, "below the threshold", **known)

    def settle(self, computed: bool, missed: float | None = None) -> None:
        self._row = 0 if computed else self._row + 1
        if computed:
            self._sum = 0.0


class Distance:
    """Skips while the signal stays near the one of the last computed step (First Block Cache)."""

    def __init__(
        self,
        threshold: float,
        always: frozenset[int],
        max_gap: int | None,
        most: int | None = None,
    ) -> None:
        """
        Args:
            threshold: relative change below which a step is skipped.
            always: steps that are always computed.
            max_gap: steps skipped in a row at most.
            most: steps skipped in all at most.
        """
        self._threshold = threshold
        self._always = always
        self._max_gap = max_gap
        self._left = math.inf if most is None else most
        self._row = 0

    def decide(self, step: int, change: float | None) -> Decision:
        if step in self._always:
            return Decision(True, ALWAYS)
        if change is None:
            return Decision(True, "nothing to compare with")
        known = {"error": change, "limit": self._threshold}
        if not change < self._threshold:  # a change that is not a number computes as well
            return Decision(True, "threshold reached", **known)
        if self._max_gap is not None and self._row >= self._max_gap:
            return Decision(True, "longest gap reached", **known)
        if self._left <= 0:
            return Decision(True, "as many steps as allowed are skipped", **known)
        return Decision(False, "below the threshold", **known)

    def settle(self, computed: bool, missed: float | None = None) -> None:
        self._row = 0 if computed else self._row + 1
        self._left -= not computed
