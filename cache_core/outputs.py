"""The cache of whole steps: on a skipped step the model does not run, and what it would have given
is predicted from its outputs at computed ones, for each conditioning."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch

from .decide.policies import Decision, Follower, Moment, Policy
from .predict.corrector import Corrector
from .predict.predictors import (
    SCALING,
    Axis,
    History,
    Known,
    Now,
    Predictor,
    Quantity,
    area,
    held_bytes,
    per_sample,
    place_alphas,
    project,
)
from .run.run import Keys, Outputs, Run

# A conditioning that was left out where others were computed is still known for so many steps.
FRESH = 3
# Outputs go on as before while they bend at most so many times as much as at the last computed steps, or
# are not further from the line than this share of their size. On the demo models it is at most 2.5 times
# where nothing changes, and 3 to 10 times where the prompt does.
JUMP, NEAR = 3.0, 0.15


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
    """

    policy: Policy
    predictor: Predictor = SCALING
    quantity: Quantity = Quantity.DERIVATIVE
    axis: Axis = float
    corrector: Corrector | None = None
    follower: Follower | None = None
    judges: bool = False
    _histories: dict[Hashable, History] = field(default_factory=dict, init=False)
    # By what was asked: outputs of other conditionings with guidance are not one line.
    _correctors: dict[Keys, Corrector] = field(default_factory=dict, init=False)
    # What the evaluation under way asks, and the last computed step before this one.
    _asked: Keys = field(default=(), init=False)
    _last: int = field(default=-1, init=False)
    # How outputs bent at the last computed step at which they went on as before.
    _bend: float = field(default=math.inf, init=False)
    # Places of the last two computed evaluations, and of the step under way.
    _computed: list[float] = field(default_factory=list, init=False)
    _at: float = field(default=0.0, init=False)
    # What a prediction of the evaluation under way would have missed; whether it was followed.
    _missed: float | None = field(default=None, init=False)
    _followed: bool = field(default=False, init=False)

    def skips(self, keys: Keys, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        """All of them or none: at a skipped step each needs a history of its own, fresh and
        settled."""
        if not self._decision.compute:
            kind, moment = _kind(x), self._moment
            for key, on in zip(keys, active, strict=True):
                if not on:
                    continue
                known = self._histories.get(key)
                if known is None or known.kind != kind or not known.settled:
                    break
                assert moment is not None
                if known.step < min(self._last, moment.step - FRESH):
                    break
            else:
                return (True,) * len(active)
            fits = known is not None and known.kind == kind and not known.settled
            reason = "outputs do not go on as before" if fits else "no history for a conditioning"
            self._decision = Decision(True, reason)
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
        self._asked += keys
        if outputs[0] is None:
            return [
                self._predict(key, x, level) if on else torch.zeros_like(x)
                for key, on in zip(keys, active, strict=True)
            ]
        pairs: list[tuple[History, torch.Tensor]] = []
        for key, output, on in zip(keys, outputs, active, strict=True):
            if on and output is not None and not self.sealed:
                pairs.append((self._history(key, x), output))
        if {output.shape for _, output in pairs} - {x.shape}:
            self.stop("the model's output has another shape than its input")
        elif pairs:
            self._observe(pairs, x, sigma, level, first=active[0])
        return outputs

    def hand_over(self, x: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
        """With what the predicted steps before a computed one owe; the same one if nothing is owed."""
        denoised = super().hand_over(x, denoised)
        moment, (asked, self._asked) = self._moment, (self._asked, ())
        if self.clock.measures:
            self.corrector = None  # the steps are not those of the schedule
            self._correctors.clear()
        if self.corrector is None or moment is None or self.sealed:
            return denoised
        corrector = self._correctors.get(asked)
        if corrector is None or corrector.step < moment.step - FRESH:
            corrector = self.corrector.fresh(settled=self._last < 0)
            known = self._correctors.items()
            self._correctors = {k: c for k, c in known if c.step >= moment.step - FRESH}
            self._correctors[asked] = corrector
        if self._decision.compute:
            return corrector.repair(moment.step, x, denoised)
        corrector.add(moment.step, x, denoised)
        return denoised

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        keepers = [keeper for keeper in (self.corrector, self.follower) if keeper is not None]
        others = sum([keeper.LATENTS for keeper in keepers])
        return unit * (conditionings * self.predictor.depth + others)

    @property
    def nbytes(self) -> int:
        past = [known for history in self._histories.values() for known in history.past]
        return held_bytes(past) + sum([keeper.nbytes for keeper in self._keepers()])

    def _keepers(self) -> list[Corrector | Follower]:
        return [*self._correctors.values(), *([] if self.follower is None else [self.follower])]

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
        """Of a conditioning; a new one where the latent has become another, and where it comes back
        after so long that no line leads there."""
        moment, history, kind = self._moment, self._histories.get(key), _kind(x)
        assert moment is not None
        oldest = min(self._last, moment.step - FRESH)
        if history is None or history.kind != kind or history.step < oldest:
            settled = self._last < 0 or self.predictor.depth < 2
            history = History(self.predictor.depth, len(x), kind, moment.step, settled)
            known = self._histories.items()
            self._histories = {k: h for k, h in known if h.step >= oldest}
            self._histories[key] = history
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
        self._judge([history for history, _ in pairs])
        place_alphas([history for history, _ in pairs], x)
        if self._computed[:1] != [at]:
            self._computed = [at, *self._computed][:2]
        self.report.cache_bytes = max(self.report.cache_bytes, self.nbytes)

    def _judge(self, histories: Sequence[History]) -> None:
        """Find out whether computed outputs go on as before. Where they do not, nothing is carried
        across, and all is computed until they do again."""
        for history in histories:
            history.judge(JUMP * self._bend if self.judges else math.inf, NEAR)
        bends = [h.bend for h in histories if h.missed is not None]
        if bends and all(history.settled for history in histories):
            # A curve that turns the other way is straight for a moment.
            self._bend = max(bends) if self._bend == math.inf else max(*bends, self._bend / 2)

    def _finish_evaluation(self) -> None:
        if self._record is not None and self._moment is not None and self._started is not None:
            missed, self._missed, self._followed = self._missed, None, False
            self._record.missed = self._record.missed if missed is None else missed
            if not self.sealed and (self._moment.first or missed is not None):
                self.policy.settle(self._decision.compute, missed)
            if self._ran:
                self._last = self._moment.step
        super()._finish_evaluation()

    def _drop(self) -> None:
        self._histories.clear()
        self._correctors.clear()
        self._computed = []
        if self.follower is not None:
            self.follower.clear()


def _kind(x: torch.Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    """What a latent must have in common with those that a history is of."""
    return x.shape, x.dtype, x.device
