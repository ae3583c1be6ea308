"""The cache of whole steps: on a skipped step the model does not run, and what it would have given
is predicted from its outputs at computed ones, for each conditioning."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch

from .decide.policies import FRESH, Decision, Follower, Moment, Policy
from .predict.corrector import Corrector, Correctors
from .predict.predictors import (
    SCALING,
    Axis,
    Histories,
    Known,
    Now,
    Predictor,
    Quantity,
    per_sample,
)
from .run.run import Keys, Outputs, Run


@dataclass(kw_only=True)
class OutputCache(Run):
    """State of one sampling run; dropped with `close`.

    Attributes:
        policy: chooses the steps to compute.
        predictor: how skipped outputs are predicted.
        quantity: what is kept.
        axis: where a sigma lies along which outputs change evenly.
        corrector: a fresh one, which repairs at computed steps what the predicted ones missed; None
            for a sampler that it does not understand.
        follower: for a policy that follows the input; None for others.
        judges: whether outputs bend evenly enough over the axis to tell when they do not go on.
        asked: what the evaluation under way asks so far.
    """

    policy: Policy
    predictor: Predictor = SCALING
    quantity: Quantity = Quantity.DERIVATIVE
    axis: Axis = float
    corrector: Corrector | None = None
    follower: Follower | None = None
    judges: bool = False
    asked: Keys = field(default=(), init=False)
    _histories: Histories = field(init=False)
    _correctors: Correctors = field(default_factory=Correctors, init=False)
    # The last computed step, and the one before the step under way; the place of what is predicted.
    _computed: int = field(default=-1, init=False)
    _last: int = field(default=-1, init=False)
    _at: float = field(default=0.0, init=False)
    # What a prediction of the evaluation under way would have missed; whether it was followed.
    _missed: float | None = field(default=None, init=False)
    _followed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._histories = Histories(self.predictor.depth, self.judges, wary=self.clock.measures)

    def skips(self, keys: Keys, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        """All of them or none: at a skipped step each needs a history of its own, fresh and
        settled."""
        if not self._decision.compute:
            why = self._histories.why_not(keys, self.clock.number, active, x, self._oldest())
            if not why:
                return (True,) * len(active)
            self._decision = Decision(True, why)
            self._say(self._decision)
        self._ran = True
        return (False,) * len(active)

    def complete(
        self,
        keys: Keys,
        x: torch.Tensor,
        sigma: torch.Tensor,
        outputs: Outputs,
        active: Sequence[bool],
    ) -> Outputs:
        """Predict all of a batch as new tensors, or keep copies of it, reading the device once."""
        level = per_sample(sigma, x)
        self.asked += keys
        if outputs[0] is None:
            if self.clock.number:
                self._at = self.axis(self.sigma)
            return [
                self._predict(key, x, level) if on else torch.zeros_like(x)
                for key, on in zip(keys, active, strict=True)
            ]
        known: list[Hashable] = []
        taken: list[torch.Tensor] = []
        oldest, begins = self._oldest(), self._last < 0
        for key, output, on in zip(keys, outputs, active, strict=True):
            if on and output is not None and not self.sealed:
                known.append((key, self.clock.number))
                self._histories.admit(known[-1], x, oldest, begins)
                taken.append(output)
        if {output.shape for output in taken} - {x.shape}:
            self.stop("the model's output has another shape than its input")
        elif taken:
            self._observe(known, taken, x, sigma, level, first=active[0])
        return outputs

    def hand_over(self, x: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
        """With what the predicted steps before a computed one owe; the same one if nothing is owed."""
        self._answered = True
        moment, (asked, self.asked) = self._moment, (self.asked, ())
        if self.clock.measures:
            self.corrector = None  # the steps are not those of the schedule
            self._correctors.clear()
        if self.corrector is None or moment is None or self.sealed:
            return denoised
        corrector = self._correctors.of(asked, self.corrector, moment.step - FRESH, self._last < 0)
        if self._decision.compute:
            return corrector.repair(moment.step, x, denoised, self._histories.bent)
        corrector.add(moment.step, x, denoised)
        return denoised

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        kept = [keeper.LATENTS for keeper in (self.corrector, self.follower) if keeper is not None]
        return unit * (conditionings * self.predictor.depth * self.clock.most + sum(kept))

    @property
    def nbytes(self) -> int:
        followed = 0 if self.follower is None else self.follower.nbytes
        return self._histories.nbytes + self._correctors.nbytes + followed

    def _oldest(self) -> int:
        """Steps before it are too far away to go on from."""
        return self._last if self._moment is None else min(self._last, self._moment.step - FRESH)

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        self._at, self._last = self.axis(moment.sigma), self._computed
        if self.follower is None:
            change = self._histories.reach(self._at)
        else:
            change = None if x is None else self.follower.enter(x, self.agree)
        return self.policy.decide(moment.step, change)

    def _predict(self, key: Hashable, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        moment, history = self._moment, self._histories.known[key, self.clock.number]
        assert moment is not None
        now = Now(moment.step, moment.sigma, self._at, level, history.alpha)
        weights = self.predictor.weights(history.past, now)
        return self.quantity.denoised(x, [k.value for k in history.past], weights, level)

    def _observe(
        self,
        keys: Sequence[Hashable],
        outputs: Sequence[torch.Tensor],
        x: torch.Tensor,
        sigma: torch.Tensor,
        level: torch.Tensor,
        first: bool,
    ) -> None:
        """Learn from computed outputs.

        Args:
            sigma, level: noise level [batch], and in a shape that goes with x.
            first: whether the first of the outputs is that of the first conditioning.
        """
        moment, follower = self._moment, self.follower
        assert moment is not None
        values = [self.quantity.of(x, output, level) for output in outputs]
        numbers = self._histories.measure(keys, values)
        if follower is not None and first and moment.first and not self._followed:
            self._followed = True
            output = values[0] + x if self.quantity.less_input else values[0]
            numbers.append(follower.compare(x, output))
        measured = self.agreed(torch.cat(numbers))
        # The one read. Sigma is the same on all ranks.
        *host, now = torch.cat([measured, sigma.reshape(-1)[:1].float()]).tolist()
        if not self.clock.measures and not self.clock.follows(moment, now):
            self.report.note("The sampler does not follow its schedule: sigma is read at each step")
        at, size = self.axis(now), len(numbers[0]) * len(values)
        if follower is not None and len(numbers) > len(values):
            follower.learn(host[size:])
        newest = [Known(moment.step, now, at, (value,)) for value in values]
        missed = self._histories.learn(keys, newest, host[:size])
        if missed == math.inf:
            self.stop("the model's output is not finite")
            return
        if missed is not None:
            self._missed = max(self._missed or 0.0, missed)
        self.report.cache_bytes = max(self.report.cache_bytes, self.nbytes)

    def _finish_evaluation(self) -> None:
        if self._record is not None and self._moment is not None and self._started is not None:
            missed, self._missed, self._followed = self._missed, None, False
            self._record.missed = self._record.missed if missed is None else missed
            if not self.sealed and (self._moment.first or missed is not None):
                self.policy.settle(self._decision.compute, missed)
            if self._ran:
                self._computed = self._moment.step
        super()._finish_evaluation()

    def _drop(self) -> None:
        self._histories.clear()
        self._correctors.clear()
        if self.follower is not None:
            self.follower.clear()
