"""The loop of one sampling run: clock, decision, prediction or computed output, history, report.

The host's wrappers only translate into these calls, in this order: `begin` once per evaluation, then
for each batch of conditionings `predict`, and where that gives None the host computes and `observe`s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch

from . import measure
from .agreement import Agree, alone
from .alpha import AlphaSource, OnlineAlpha
from .clock import Clock, Moment
from .corrector import Corrector
from .history import Entry, History
from .input_track import InputTrack
from .policies import Decision, Gap, Policy
from .predictors import (
    Place,
    Terms,
    Weigher,
    broadcast,
    extrapolate,
    forecast,
    ratio_at,
    scaled,
    weighted,
    wide_dtype,
)
from .quantity import Quantity
from .report import RunReport
from .settings import PredictorKind

_FIRST = Decision(True, "not started")


@dataclass
class Stream:
    """History of one conditioning in one place (window, call of a guidance node)."""

    history: History
    alpha: AlphaSource

    def fits(self, x: torch.Tensor) -> bool:
        if len(self.history) == 0:
            return False
        value = self.history[0].value
        return (value.shape, value.dtype, value.device) == (x.shape, wide_dtype(x), x.device)


@dataclass
class CacheRun:
    """State of one sampling run; dropped with `close`.

    Attributes:
        clock: turns evaluations into steps.
        policy: chooses the steps to compute.
        predictor: how skipped outputs are predicted.
        quantity: what is cached.
        report: what happened.
        table: calibrated outputs, from which the weights of a prediction follow; None to learn alpha.
        own: weights that the method gives, in place of the predictor's.
        place: where a sigma lies on the axis along which outputs change evenly.
        corrector: repairs at computed steps what the predicted ones missed; None for a sampler that it
            does not understand.
        agree: makes what decisions are taken from the same on all ranks.
        timer: seconds from any origin.
    """

    clock: Clock
    policy: Policy
    predictor: PredictorKind
    quantity: Quantity
    report: RunReport
    table: Weigher | None = None
    own: Weigher | None = None
    place: Place = float
    corrector: Corrector | None = None
    agree: Agree = field(default=alone)
    timer: Callable[[], float] = time.perf_counter
    _streams: dict[Hashable, Stream] = field(default_factory=dict)
    _inputs: InputTrack = field(default_factory=InputTrack)
    _computed: list[float] = field(default_factory=list)
    _moment: Moment | None = None
    _decision: Decision = _FIRST
    _gap: Gap | None = None
    _measured: float | None = None
    _started: float | None = None
    _ran: bool = False
    _compared: bool = False
    _sealed: bool = False

    def begin(self, sigma: Callable[[], float], x: torch.Tensor | None = None) -> Decision:
        """Start an evaluation and decide it. All evaluations of a step share one decision.

        Args:
            sigma: reads the noise level of the evaluation; only called by a measuring clock, since
                on a GPU it waits for the device.
            x: noisy latent, for a policy that follows the input.
        """
        self._finish_evaluation()
        self._started = self.timer()
        moment = self.clock.tick(sigma() if self.clock.measures else None)
        self._moment = moment
        if moment.first:
            self._gap = self._find_gap(moment.sigma)
            follower = self.policy.input_policy
            if follower is not None and x is not None and not self._sealed:
                follower.enter(self._inputs.enter(x, self.agree))
            self._decision = self._decide(moment)
            self.report.begin_step(moment.step, moment.sigma, self._decision)
        return self._decision

    def predict(
        self, key: Hashable, x: torch.Tensor, sigma: torch.Tensor, active: Sequence[bool]
    ) -> list[torch.Tensor] | None:
        """Denoised output per conditioning, as new tensors, or None if the model must run.

        Args:
            key: identity of the call: which conditionings, window and call within the evaluation.
            x: noisy latent [batch, ...].
            sigma: noise level [batch], on the latent's device; never read here.
            active: per conditioning, whether it takes part; one that does not gives zeros.
        """
        if self._decision.compute or self._moment is None:
            self._ran = True
            return None
        streams = [self._streams.get((key, i)) for i in range(len(active))]
        ready = [s for s, on in zip(streams, active, strict=True) if on]
        if not all(s is not None and s.fits(x) for s in ready):
            self._must_compute("no history for a conditioning")
            self._ran = True
            return None
        sigma = broadcast(sigma, x)  # once for all conditionings
        outputs: list[torch.Tensor] = []
        for stream, on in zip(streams, active, strict=True):
            if stream is None or not on:
                outputs.append(torch.zeros_like(x))
                continue
            outputs.append(self.quantity.denoised(x, self._extrapolate(stream, sigma), sigma))
        return outputs

    def observe(
        self,
        key: Hashable,
        x: torch.Tensor,
        sigma: torch.Tensor,
        outputs: Sequence[torch.Tensor],
        active: Sequence[bool],
    ) -> None:
        """Learn from computed outputs. Keeps copies; reads the device once."""
        moment = self._moment
        if moment is None or self._sealed:
            return
        values: dict[int, torch.Tensor] = {}
        for i, on in enumerate(active):
            if not on:
                continue
            if outputs[i].shape != x.shape:
                self.stop("the model's output has another shape than its input")
                return
            values[i] = self.quantity.of(x, outputs[i], sigma)
        if not values:
            return
        streams = {i: self._stream(key, i, x) for i in values}
        products = [measure.project(streams[i].history, v) for i, v in values.items()]
        compared = self._compare(moment, x, values)
        measured = self.agree(torch.cat([*(p.flatten() for p in products), compared]))
        host = torch.cat([measured, sigma.reshape(-1)[:1].float()]).cpu()
        at = float(host[-1])
        self._tell(host[-1 - len(compared) : -1].tolist())
        if not self.clock.measures and not self.clock.matches(moment, at):
            self.clock.measure_from_now()
            self.report.note("The sampler does not follow its schedule: sigma is read at each step")
        self._learn(moment, at, streams, values, host[: -1 - len(compared)])

    def hand_over(self, x: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
        """The denoised output of an evaluation as the sampler is to have it: with what the predicted
        steps before a computed one owe.

        Args:
            x: noisy latent [batch, ...].
            denoised: output with guidance, computed or predicted; returned as it is if nothing is owed.
        """
        corrector, moment = self.corrector, self._moment
        if corrector is None or moment is None or self._sealed:
            return denoised
        if self.clock.measures:
            self.corrector = None  # the steps are not those of the schedule
            return denoised
        if self._decision.compute:
            return corrector.repair(moment.step, x, denoised)
        corrector.add(moment.step, x, denoised)
        return denoised

    def stop(self, why: str) -> None:
        """Something is wrong with this run: drop the cache and compute every further step."""
        self._sealed = True
        self._drop()
        self._decision = Decision(True, "caching stopped")
        self.report.note(f"Caching stopped: {why}")

    def close(self) -> RunReport:
        """End the run and drop all tensors."""
        self._finish_evaluation()
        self._drop()
        self._moment = None
        self._sealed = True
        return self.report

    @property
    def computes(self) -> bool:
        """Whether this is the first evaluation of a step that is computed."""
        return self._decision.compute and self._moment is not None and self._moment.first

    @property
    def finished(self) -> bool:
        """Whether the last step was reached and nothing went wrong before."""
        last = self._moment is not None and self._moment.step == self.clock.steps - 1
        return last and not self._sealed

    @property
    def sigma(self) -> float:
        """Noise level of the current evaluation as the clock knows it."""
        return self.clock.sigmas[0] if self._moment is None else self._moment.sigma

    def expected_bytes(self, latent_bytes: int, conditionings: int) -> int:
        """Bytes that the run will hold."""
        followed = 0 if self.policy.input_policy is None else 3
        repaired = 0 if self.corrector is None else Corrector.LATENTS
        histories = conditionings * (self.predictor.order + 1)
        return latent_bytes * (histories + followed + repaired)

    @property
    def nbytes(self) -> int:
        """Bytes held by the cache now."""
        streams = sum(s.history.nbytes for s in self._streams.values())
        corrector = 0 if self.corrector is None else self.corrector.nbytes
        return streams + corrector + self._inputs.nbytes

    def _drop(self) -> None:
        self._streams.clear()
        self._inputs.clear()
        if self.corrector is not None:
            self.corrector.clear()

    def _decide(self, moment: Moment) -> Decision:
        if self._sealed:
            return Decision(True, "caching stopped")
        return self.policy.decide(moment, self._gap)

    def _find_gap(self, sigma: float) -> Gap | None:
        if len(self._computed) < 2:
            return None
        newest, older = map(self.place, self._computed)
        return Gap(self.place(sigma) - newest, newest - older)

    def _must_compute(self, reason: str) -> None:
        """The policy wanted to predict but cannot: say so in the record of the step."""
        self._decision = Decision(True, reason)
        self.report.records[-1].reason = reason

    def _extrapolate(self, stream: Stream, sigma: torch.Tensor) -> Terms:
        moment = self._moment
        assert moment is not None
        if self.own is not None:
            return _weigh(stream.history, moment.sigma, self.own)
        if self.predictor.is_taylor:
            return forecast(stream.history, moment.step, self.predictor.order)
        if self.table is not None and self.predictor is PredictorKind.LEAST_SQUARES:
            return _weigh(stream.history, moment.sigma, self.table)
        if self.predictor is not PredictorKind.SCALING:
            return extrapolate(stream.history, sigma, self.predictor.order)
        alpha = stream.alpha.at(list(stream.history), moment.sigma, sigma.shape[0])
        if len(set(alpha)) == 1:
            return scaled(stream.history, self.place, moment.sigma, alpha[0])
        each = torch.tensor(alpha, device=sigma.device)
        return scaled(stream.history, self.place, moment.sigma, each)

    def _compare(
        self, moment: Moment, x: torch.Tensor, values: dict[int, torch.Tensor]
    ) -> torch.Tensor:
        """Comparisons for a policy that follows the input: of the first conditioning of the first call
        of a step. Empty for others."""
        if (
            self.policy.input_policy is None
            or not moment.first
            or 0 not in values
            or self._compared
        ):
            return x.new_zeros(0, dtype=torch.float32)
        self._compared = True
        output = values[0] + x if self.quantity.less_input else values[0]
        return self._inputs.compare(x, output)

    def _tell(self, compared: list[float]) -> None:
        follower = self.policy.input_policy
        if follower is None or not compared:
            return
        size, output, entered = (None if math.isnan(value) else value for value in compared)
        if size is not None:
            follower.learn(size, output, entered)

    def _stream(self, key: Hashable, index: int, x: torch.Tensor) -> Stream:
        stream = self._streams.get((key, index))
        if stream is None or (len(stream.history) and not stream.fits(x)):
            stream = Stream(History(self.predictor.order + 1), OnlineAlpha())
            self._streams[(key, index)] = stream
        return stream

    def _learn(
        self,
        moment: Moment,
        sigma: float,
        streams: dict[int, Stream],
        values: dict[int, torch.Tensor],
        products: torch.Tensor,
    ) -> None:
        batch = next(iter(values.values())).shape[0]
        rows = products.reshape(len(values), batch, -1)
        for row, (i, stream) in zip(rows, streams.items(), strict=True):
            entries = list(stream.history)
            used = stream.alpha.at(entries, sigma, batch)
            ratio = ratio_at(stream.history, self.place, sigma) if len(entries) > 1 else None
            reading = measure.read(row, ratio, used)
            if not reading.finite:
                self.stop("the model's output is not finite")
                return
            stream.alpha.learn(entries, sigma, reading.alpha)
            if len(entries) > 1:
                self._measured = max(self._measured or 0.0, reading.error)
            stream.history.push(Entry(sigma, moment.step, values[i]))
        if not self._computed or self._computed[0] != sigma:
            self._computed = [sigma, *self._computed][:2]
        self.report.cache_bytes = max(self.report.cache_bytes, self.nbytes)

    def _finish_evaluation(self) -> None:
        if self._started is None or self._moment is None:
            return
        self.report.end_evaluation(self._ran, self.timer() - self._started)
        self._started = None
        self._ran = False
        self._compared = False
        if self._measured is not None:
            self.report.records[-1].missed = self._measured
        if self._measured is not None and self._decision.compute:
            self.policy.observe(self._moment, self._gap, self._measured)
        self._measured = None


def _weigh(history: History, sigma: float, weigher: Weigher) -> Terms:
    entries = list(history)
    return weighted(entries, weigher.weights(sigma, [entry.sigma for entry in entries]))
