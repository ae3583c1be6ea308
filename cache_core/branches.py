"""The cache of branches beside the network, such as ControlNets: what they add to it is computed at some
evaluations and follows from the last computed ones between them.

Nothing is read from the device: steps are counted, and no output decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .decide.policies import Decision, Moment
from .predict.predictors import (
    Axis,
    Known,
    Now,
    Predictor,
    held_bytes,
    remember,
    weighted_sum,
)
from .run.report import RunReport
from .run.run import Run

# By the part of the network that it is added to, a tensor for each block or None.
Output = Mapping[str, Sequence[torch.Tensor | None]]
_IDLE = Decision(True, "no branch was asked")
NEVER = "No ControlNet was on at any step of this run: there was nothing to leave out"
_COMPUTED, _BETWEEN = (
    Decision(True, "branches computed"),
    Decision(False, "between two computed ones"),
)

# Steps that count for less than one are rounded.
_NEAR = 0.5


@dataclass
class _Branch:
    """What is kept of one branch in one place.

    Attributes:
        owner: what computed it.
        places: for each tensor of an output, its number among the different ones.
        past: those, newest first.
    """

    owner: Any
    places: Mapping[str, Sequence[int | None]]
    past: list[Known]


@dataclass(kw_only=True)
class BranchRun(Run):
    """State of one sampling run; dropped with `close`. Evaluations that ask no branch are not counted,
    so the interval is one of evaluations that the network runs for.

    Attributes:
        interval: branches are computed at every so many steps, 1 or more.
        counts: how much each step counts toward it, 1 on average.
        predictor: how an output follows from past ones.
        axis: where a sigma lies along which outputs change evenly.
        room: bytes of one output for one conditioning, about.
    """

    interval: int
    counts: Sequence[float]
    predictor: Predictor
    axis: Axis
    room: int = 0
    _known: dict[Hashable, _Branch] = field(default_factory=dict, init=False)
    # The last two steps at which branches were computed, how many there were since there was nothing to
    # predict from, and what steps since count.
    _steps: tuple[int, int] = field(default=(0, 0), init=False)
    _computed: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)
    # Whether the step under way is to be decided, and what its evaluation did.
    _open: bool = field(default=False, init=False)
    _asked: bool = field(default=False, init=False)
    _number: int = field(default=0, init=False)

    def begin(self, sigma: Callable[[], float], x: torch.Tensor | None = None) -> None:
        super().begin(sigma, x)
        moment = self._moment
        self._number = 0 if moment is None or moment.first else self._number + 1

    def skips(
        self, keys: tuple[Hashable, ...], x: torch.Tensor, active: Sequence[bool]
    ) -> tuple[bool, ...]:
        return (False,) * len(active)

    def recall(self, key: Hashable, owner: Any) -> Output | None:
        """The output of a branch in tensors of its own, None if it has to be computed.

        Args:
            key: what tells the output from those of other branches, conditionings and calls.
            owner: what computes it; another one under the same key has nothing to do with it, and neither
                have outputs that are older than the last step at which branches were computed.
        """
        moment = self._moment
        if self.sealed or moment is None:
            return None
        if self._open:
            self._open = False
            self._settle(moment)
        place = self._number, key
        branch = self._known.get(place)
        if branch is not None and branch.owner is not owner:
            del self._known[place]
            branch = None
        if self._decision.compute or branch is None:
            return None
        now = Now(moment.step, moment.sigma, self.axis(moment.sigma), moment.sigma)
        weights = self.predictor.weights(branch.past, now)
        rows = zip(*[known.values for known in branch.past], strict=True)
        # None is not kept: all of them are tensors.
        made = [weighted_sum(row, weights).to(row[0].dtype) for row in rows]  # pyright: ignore
        self._asked = True
        return {
            part: [None if i is None else made[i] for i in places]
            for part, places in branch.places.items()
        }

    def keep(self, key: Hashable, owner: Any, output: Output | None) -> None:
        """Take in a computed output, in copies.

        Args:
            key, owner: as in `recall`.
            output: None if the branch has nothing to say at this noise level.

        Raises:
            TypeError: if it is not made of lists of tensors.
        """
        if output is None:
            return
        self._asked = self._ran = True
        moment = self._moment
        if self.sealed or moment is None or self._last(moment):
            return
        different: dict[int, torch.Tensor] = {}
        places = {part: [_place(t, different) for t in tensors] for part, tensors in output.items()}
        values = tuple(tensor.detach().clone() for tensor in different.values())
        newest = Known(moment.step, moment.sigma, self.axis(moment.sigma), values)
        branch = self._known.get((self._number, key))
        fits = branch is not None and branch.places == places
        past = remember(branch.past, newest, self.predictor.depth) if branch and fits else [newest]
        self._known[self._number, key] = _Branch(owner, places, past)
        self.report.cache_bytes = max(self.report.cache_bytes, self.nbytes)

    def close(self) -> RunReport:
        whole = self._answered
        report = super().close()
        self._forget_idle()
        if whole and not report.records:
            report.note(NEVER)
        return report

    @property
    def nbytes(self) -> int:
        return sum(held_bytes(branch.past) for branch in self._known.values())

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        return self.room * conditionings * self.predictor.depth

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        """Put off until a branch is asked: whether the network runs at all is not known yet."""
        self._open = True
        self._forget_idle()
        return _IDLE

    def _settle(self, moment: Moment) -> None:
        self._since += self.counts[moment.step]
        early = self._computed < self.predictor.depth
        if early or self._since >= self.interval - _NEAR or self._last(moment):
            self._since, self._computed = 0.0, self._computed + 1
            self._steps = self._steps[1], moment.step
            self._decision = _COMPUTED
        else:
            self._decision = _BETWEEN
        newest = self._steps[-1 - self._decision.compute]
        self._known = {k: b for k, b in self._known.items() if b.past[0].step >= newest}
        self._say(self._decision)

    def _last(self, moment: Moment) -> bool:
        return moment.step == self.clock.steps - 1

    def _forget_idle(self) -> None:
        """Drop the records of steps that asked no branch."""
        records = self.report.records
        records[:] = [
            r for r in records if r.evaluations or (r is self._record and not self.sealed)
        ]

    def _drop(self) -> None:
        self._known.clear()
        self._computed = 0

    def _finish_evaluation(self) -> None:
        if not self._asked:
            self._started = None
        super()._finish_evaluation()
        self._asked = False


def _place(tensor: torch.Tensor | None, different: dict[int, torch.Tensor]) -> int | None:
    """Number of a tensor among the different ones: one may stand for many blocks."""
    if tensor is None:
        return None
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"the output of a branch holds {type(tensor).__name__}")
    different.setdefault(id(tensor), tensor)
    return list(different).index(id(tensor))
