"""The cache of whole steps: on a skipped step the model does not run, and what it would have given
is predicted from its outputs at computed ones, for each conditioning."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch

from .decide.policies import Decision, Follower, Moment, Policy, area
from .predict.corrector import Corrector
from .predict.predictors import (
    SCALING,
    Axis,
    History,
    Known,
    Now,
    Predictor,
    Quantity,
    held_bytes,
    per_sample,
    place_alphas,
    project,
)
from .run.run import Outputs, Run


@dataclass(kw_only=True)
class OutputCache(Run):
    """State of one sampling run; dropped with `close`.

    Attributes:
        policy: chooses the steps to compute.
        predictor: how skipped outputs are predicted.
        quantity: what is kept.
        axis: where a sigma lies along which outputs change evenly.
        corrector: repairs at computed steps what the predicted ones missed; None for a sampler that
            it does not understand.
        follower: for a policy that follows the input; None for others.
    """

    policy: Policy
    predictor: Predictor = SCALING
    quantity: Quantity = Quantity.DERIVATIVE
    axis: Axis = float
    corrector: Corrector | None = None
    follower: Follower | None = None
    # By call and place in it.
    _histories: dict[Hashable, History] = field(default_factory=dict, init=False)
    # Places of the last two computed evaluations, and of the step under way.
    _computed: list[float] = field(default_factory=list, init=False)
    _at: float = field(default=0.0, init=False)
    # What a prediction of the evaluation under way would have missed; whether it was followed.
    _missed: float | None = field(default=None, init=False)
    _followed: bool = field(default=False, init=False)

    def skips(self, key: Hashable, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        """All of them or none: at a skipped step each needs a history of its own."""
        if not self._decision.compute:
            known = [self._histories.get((key, i)) for i, on in enumerate(active) if on]
            if {None if h is None else h.kind for h in known} <= {_kind(x)}:
                return (True,) * len(active)
            self._decision = Decision(True, "no history for a conditioning")
            self._say(self._decision)
        self._ran = True
        return (False,) * len(active)

    def complete(
        self,
        key: Hashable,
        x: torch.Tensor,
        sigma: torch.Tensor,
        outputs: Outputs,
        active: Sequence[bool],
    ) -> Outputs:
        """Predict all of a batch as new tensors, or keep copies of it, reading the device once."""
        level = per_sample(sigma, x)
        if outputs[0] is None:
            return [
                self._predict((key, i), x, level) if on else torch.zeros_like(x)
                for i, on in enumerate(active)
            ]
        pairs: list[tuple[History, torch.Tensor]] = []
        for i, (output, on) in enumerate(zip(outputs, active, strict=True)):
            if on and output is not None and not self.sealed:
                pairs.append((self._history((key, i), x), output))
        if {output.shape for _, output in pairs} - {x.shape}:
            self.stop("the model's output has another shape than its input")
        elif pairs:
            self._observe(pairs, x, sigma, level, first=active[0])
        return outputs

    def hand_over(self, x: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
        """With what the predicted steps before a computed one owe; the same one if nothing is owed."""
        corrector, moment, denoised = self.corrector, self._moment, super().hand_over(x, denoised)
        if self.clock.measures:
            self.corrector = corrector = None  # the steps are not those of the schedule
        if corrector is None or moment is None or self.sealed:
            return denoised
        if self._decision.compute:
            return corrector.repair(moment.step, x, denoised)
        corrector.add(moment.step, x, denoised)
        return denoised

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        others = sum([keeper.LATENTS for keeper in self._keepers()])
        return unit * (conditionings * self.predictor.depth + others)

    @property
    def nbytes(self) -> int:
        past = [known for history in self._histories.values() for known in history.past]
        return held_bytes(past) + sum([keeper.nbytes for keeper in self._keepers()])

    def _keepers(self) -> list[Corrector | Follower]:
        return [keeper for keeper in (self.corrector, self.follower) if keeper is not None]

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        self._at = self.axis(moment.sigma)
        change = None
        if self.follower is not None:
            change = None if x is None else self.follower.enter(x, self.agree)
        elif len(self._computed) == 2:
            newest, older = self._computed
            change = area(self._at - newest, newest - older)
        return self.policy.decide(moment.step, change)

    def _predict(self, key: Hashable, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        moment, history = self._moment, self._histories[key]
        assert moment is not None
        now = Now(moment.step, moment.sigma, self._at, level, history.alpha)
        weights = self.predictor.weights(history.past, now)
        return self.quantity.denoised(x, [k.value for k in history.past], weights, level)

    def _history(self, key: Hashable, x: torch.Tensor) -> History:
        """Of a conditioning; a new one where the latent has become another."""
        history, kind = self._histories.get(key), _kind(x)
        if history is None or history.kind != kind:
            history = self._histories[key] = History(self.predictor.depth, len(x), kind)
        return history

    def _observe(
        self,
        pairs: list[tuple[History, torch.Tensor]],
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
        values = [self.quantity.of(x, output, level) for _, output in pairs]
        numbers = [project(h.past, v).flatten() for (h, _), v in zip(pairs, values, strict=True)]
        if follower is not None and first and moment.first and not self._followed:
            self._followed = True
            output = values[0] + x if self.quantity.less_input else values[0]
            numbers.append(follower.compare(x, output))
        measured = self.agreed(torch.cat(numbers))
        # The one read. Sigma is the same on all ranks.
        *host, now = torch.cat([measured, sigma.reshape(-1)[:1].float()]).tolist()
        if not self.clock.measures and not self.clock.follows(moment, now):
            self.report.note("The sampler does not follow its schedule: sigma is read at each step")
        at, size = self.axis(now), len(numbers[0])
        if follower is not None and len(numbers) > len(pairs):
            follower.learn(host[size * len(pairs) :])
        for i, ((history, _), value) in enumerate(zip(pairs, values, strict=True)):
            newest = Known(moment.step, now, at, (value,))
            missed = history.learn(newest, host[i * size : (i + 1) * size])
            if missed == math.inf:
                self.stop("the model's output is not finite")
                return
            if missed is not None:
                self._missed = max(self._missed or 0.0, missed)
        place_alphas([history for history, _ in pairs], x)
        if self._computed[:1] != [at]:
            self._computed = [at, *self._computed][:2]
        self.report.cache_bytes = max(self.report.cache_bytes, self.nbytes)

    def _finish_evaluation(self) -> None:
        if self._record is not None and self._moment is not None and self._started is not None:
            missed, self._missed, self._followed = self._missed, None, False
            self._record.missed = self._record.missed if missed is None else missed
            if not self.sealed and (self._moment.first or missed is not None):
                self.policy.settle(self._decision.compute, missed)
        super()._finish_evaluation()

    def _drop(self) -> None:
        self._histories.clear()
        for keeper in self._keepers():
            keeper.clear()


def _kind(x: torch.Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    """What a latent must have in common with those that a history is of."""
    return x.shape, x.dtype, x.device
