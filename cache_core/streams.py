"""Whole steps of several tensors that are sampled as one row, as video with its sound.

Sound may be one number in 250 of the row: in sums over all of it, the video decides for both. So each
stream has outputs, alpha, axis, judge and repair of its own, by its own relative error, and the worst one
says what a step has missed. What is computed, and what is read from the device, stays one for all.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch

from .outputs import OutputCache
from .predict.corrector import Corrector
from .predict.predictors import Axis, Histories, Known, Now
from .predict.row import cut


@dataclass(frozen=True)
class Part:
    """What a run needs to know of one stream.

    Attributes:
        length: of its part of the row.
        axis: where a sigma lies along which its outputs change evenly.
        corrector: a fresh one, None where nothing is repaired.
    """

    length: int
    axis: Axis
    corrector: Corrector | None


@dataclass(kw_only=True)
class StreamCache(OutputCache):
    """State of one sampling run; dropped with `close`.

    Attributes:
        parts: the streams, in order.
    """

    parts: Sequence[Part]

    def __post_init__(self) -> None:
        depth = self.predictor.depth
        self._apart = [Histories(depth, self.judges, wary=self.clock.measures) for _ in self.parts]
        self._lengths = [part.length for part in self.parts]
        axes = [part.axis for part in self.parts]
        self._histories = _Histories(depth, self.judges, self._apart, self._lengths, axes)
        repairs = [part.corrector for part in self.parts if part.corrector is not None]
        if self.corrector is not None and len(repairs) == len(self.parts):
            like = self.corrector
            self.corrector = _Corrector(
                like.sigmas,
                like.axis,
                parts=repairs,
                histories=self._apart,
                lengths=self._lengths,
            )

    def _predict(self, key: Hashable, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        moment = self._moment
        assert moment is not None
        found: list[torch.Tensor] = []
        for part, histories, piece in zip(
            self.parts, self._apart, cut(x, self._lengths), strict=True
        ):
            history = histories.known[key, self.clock.number]
            now = Now(moment.step, moment.sigma, part.axis(moment.sigma), level, history.alpha)
            weights = self.predictor.weights(history.past, now)
            past = [known.value for known in history.past]
            found.append(self.quantity.denoised(piece, past, weights, level))
        return torch.cat(found, -1)


@dataclass
class _Histories(Histories):
    """Of all streams together.

    Attributes:
        parts: of each stream.
        lengths: of each.
        axes: likewise.
    """

    parts: Sequence[Histories]
    lengths: Sequence[int]
    axes: Sequence[Axis]

    def why_not(
        self,
        keys: Sequence[Hashable],
        number: int,
        active: Sequence[bool],
        x: torch.Tensor,
        oldest: int,
    ) -> str:
        pieces = zip(self.parts, cut(x, self.lengths), strict=True)
        found = (part.why_not(keys, number, active, piece, oldest) for part, piece in pieces)
        return next(filter(None, found), "")

    def admit(self, key: Hashable, x: torch.Tensor, oldest: int, begins: bool) -> None:
        for part, piece in zip(self.parts, cut(x, self.lengths), strict=True):
            part.admit(key, piece, oldest, begins)

    def measure(
        self, keys: Sequence[Hashable], values: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        pieces = zip(*[cut(value, self.lengths) for value in values], strict=True)
        each = [part.measure(keys, own) for part, own in zip(self.parts, pieces, strict=True)]
        return [torch.cat(numbers) for numbers in zip(*each, strict=True)]

    def learn(
        self, keys: Sequence[Hashable], newest: Sequence[Known], numbers: Sequence[float]
    ) -> float | None:
        """The largest relative error of any stream."""
        size = len(numbers) // len(keys) // len(self.parts)
        rows = [numbers[i : i + size] for i in range(0, len(numbers), size)]
        pieces = zip(*[cut(known.value, self.lengths) for known in newest], strict=True)
        missed: list[float] = []
        for i, (part, axis, own) in enumerate(zip(self.parts, self.axes, pieces, strict=True)):
            known = [
                replace(whole, at=axis(whole.sigma), values=(piece,))
                for whole, piece in zip(newest, own, strict=True)
            ]
            row = [number for numbers in rows[i :: len(self.parts)] for number in numbers]
            found = part.learn(keys, known, row)
            missed += [] if found is None else [found]
        return max(missed, default=None)

    def reach(self, at: float) -> float | None:
        """Along the axis of the first stream, on which steps are planned."""
        return self.parts[0].reach(at)

    def clear(self) -> None:
        for part in self.parts:
            part.clear()

    @property
    def nbytes(self) -> int:
        return sum([part.nbytes for part in self.parts])


@dataclass(kw_only=True)
class _Corrector(Corrector):
    """Of all streams together.

    Attributes:
        parts: of each stream.
        histories: likewise, which tell how its outputs bend.
        lengths: likewise.
    """

    parts: Sequence[Corrector]
    histories: Sequence[Histories]
    lengths: Sequence[int]

    def fresh(self, settled: bool) -> Corrector:
        parts = [part.fresh(settled) for part in self.parts]
        return replace(self, settled=settled, parts=parts)

    def add(self, step: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
        self.step = step
        pieces = zip(cut(x, self.lengths), cut(denoised, self.lengths), strict=True)
        for part, own in zip(self.parts, pieces, strict=True):
            part.add(step, *own)

    def repair(
        self, step: int, x: torch.Tensor, denoised: torch.Tensor, bend: float | None = None
    ) -> torch.Tensor:
        """Each by the bend of its own outputs."""
        self.step = step
        given = cut(denoised, self.lengths)
        handed = [
            part.repair(step, own, piece, histories.bent)
            for part, histories, own, piece in zip(
                self.parts, self.histories, cut(x, self.lengths), given, strict=True
            )
        ]
        same = all(a is b for a, b in zip(handed, given, strict=True))
        return denoised if same else torch.cat(handed, -1)

    def clear(self) -> None:
        for part in self.parts:
            part.clear()

    @property
    def nbytes(self) -> int:
        return sum([part.nbytes for part in self.parts])
