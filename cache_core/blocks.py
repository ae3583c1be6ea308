"""The cache below the step: which runs of blocks are skipped in which call of the network.

Beside the calls of every run the host's hooks make these: `open` once per call of the network, then
on the call `decide` once, and per span either `keep` (it was computed) or `add`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch

from .decide.layout import Layout, Span
from .decide.policies import FRESH, Decision, Moment, Policy, RunPlan
from .decide.signals import Reference, SignalKind, change_and_size, relative
from .predict.predictors import UNKNOWN, Known, Now, Predictor, held_bytes
from .run.run import Keys, Run

# Text and picture of a call, None for one that a span does not keep.
Tokens = tuple[torch.Tensor | None, ...]


class BlockRule(Protocol):
    """A method that skips blocks, as its run sees it.

    Attributes:
        signal: what is compared.
        reference: when the compared tensor is replaced.
        probe: blocks at the start that run before the decision.
    """

    reference: ClassVar[Reference]

    @property
    def signal(self) -> SignalKind: ...

    @property
    def probe(self) -> int: ...

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """Which runs of blocks are cached, in order; blocks outside them always run."""
        ...

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Policy:
        """A fresh policy for one conditioning of a run."""
        ...


@dataclass(frozen=True)
class Branch:
    """One conditioning of a call.

    Attributes:
        key: what tells its state from others: window, uuid, shape and the like.
        index: position among the sampler's conditionings, 0 for the positive one.
    """

    key: Hashable
    index: int


@dataclass
class State:
    """What is remembered of a branch.

    Attributes:
        policies: one per span.
        decisions: of the step that was decided last.
        changes: cached changes per span, newest first.
        reference: tensor that the signal is compared with.
        probe: change by the first blocks at the step under way, for predictors that align.
        step: step that was decided last.
        before: the one that was decided before it.
        index: of its conditioning among the sampler's.
        turn: the last one at which it was asked, of the steps that asked this conditioning.
        tokens: shape of those that entered the blocks last, without the batch.
    """

    policies: dict[Span, Policy]
    index: int = 0
    turn: int = 0
    decisions: dict[Span, Decision] = field(default_factory=dict)
    changes: dict[Span, list[Known]] = field(default_factory=dict)
    reference: torch.Tensor | None = None
    probe: torch.Tensor | None = None
    step: int = -1
    before: int = -1
    tokens: torch.Size | None = None

    @property
    def nbytes(self) -> int:
        changes = [change for kept in self.changes.values() for change in kept]
        held = [self.reference, self.probe]
        # Spans of one step share their probe.
        held += {id(c.probe): c.probe for c in changes}.values()
        return held_bytes(changes) + sum(
            [t.numel() * t.element_size() for t in held if t is not None]
        )


@dataclass(kw_only=True)
class BlockCache(Run):
    """State of one sampling run; dropped with `close`.

    Attributes:
        rule: what decides.
        plan: of the run.
        layout: blocks of the network.
        predictor: how the change of a skipped span is predicted.
        changes: per step, change of a signal that depends on time alone; needed before the first
            decision where the rule's signal is of that kind.
        to_host: keep cached changes in the host's memory and not on the device.
        spans: runs of blocks that are cached.
    """

    rule: BlockRule
    plan: RunPlan
    layout: Layout
    predictor: Predictor
    changes: tuple[float, ...] | None = None
    to_host: bool = False
    spans: tuple[Span, ...] = field(init=False)
    _states: dict[Hashable, State] = field(default_factory=dict, init=False)
    # By span, the last step at which the rule renewed it, and the last one before the step under way.
    _newest: dict[Span, int] = field(default_factory=dict, init=False)
    _computed: dict[Span, int] = field(default_factory=dict, init=False)
    # By conditioning, the last step that asked it and how many there were.
    _turns: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.spans = self.rule.spans(self.layout)

    @property
    def needs_changes(self) -> bool:
        """Whether the changes of a time signal have still to be set."""
        return self.rule.signal.is_time and self.changes is None

    def skips(self, keys: Keys, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        """None as a whole: a call of the network decides what runs of it."""
        return (False,) * len(active)

    def open(self, branches: Sequence[Branch]) -> NetworkCall | None:
        """Start a call of the network; None if it must run as if there were no cache."""
        if self.sealed or self._moment is None:
            self._ran = True
            return None
        step = self._moment.step
        return self._call([self._state(branch, step) for branch in branches], step)

    def missed(self, span: Span, state: State) -> bool:
        """Whether a branch was not asked at the last step at which a rule that goes by steps alone
        renewed a span: what is known of it is older than the rule allows, as behind CFG Cache."""
        signal = self.rule.signal
        by_steps = signal is SignalKind.NONE or signal.is_time
        return by_steps and state.before < self._computed.get(span, -1)

    def decided(self, span: Span, step: int) -> None:
        """The rule renews a span at a step."""
        self._newest[span] = step

    def plain(self, why: str) -> None:
        """A call of the network runs without the cache: say why, once."""
        self._ran = True
        self.report.note(why)
        if self._record is not None:
            self._record.reason = "not cached"

    def note_call(self, full: bool, decision: Decision, reason: str) -> None:
        """A call of the network was decided.

        Args:
            full: whether all of it runs.
            decision: one that stands for those of all spans and branches.
            reason: in place of the decision's.
        """
        self._ran |= full
        self._say(decision, reason)

    @property
    def nbytes(self) -> int:
        return sum([state.nbytes for state in self._states.values()])

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        tensors = 0 if self.to_host else len(self.spans) * self.predictor.depth
        tensors += self.rule.reference is not Reference.NONE
        if self.predictor.aligned:
            tensors += self.predictor.depth + 1
        return unit * conditionings * tensors

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        self._computed = dict(self._newest)
        return Decision(True, "not decided")

    def _call(self, states: list[State], step: int) -> NetworkCall:
        return NetworkCall(self, states, step)

    def _state(self, branch: Branch, step: int) -> State:
        """What is remembered of a branch; nothing where it comes back after so long that what it changed
        then says little now, as a window does that moves from step to step."""
        index = branch.index
        last, turn = self._turns.get(index, (-1, 0))
        turn += step != last
        self._turns[index] = step, turn
        state = self._states.get(branch.key)
        if state is None or turn - state.turn > FRESH:
            policies = {span: self._policy(span, index) for span in self.spans}
            state = State(policies, index)
            kept = self._states.items()
            self._states = {k: s for k, s in kept if self._turns[s.index][1] - s.turn <= FRESH}
            self._states[branch.key] = state
        state.turn = turn
        return state

    def _policy(self, span: Span, branch: int) -> Policy:
        return self.rule.policy(self.plan, span, self.layout, branch)

    def _drop(self) -> None:
        self._states.clear()

    def _finish_evaluation(self) -> None:
        if self._started is not None:
            self.report.cache_bytes = max(self.report.cache_bytes, self.nbytes)
        super()._finish_evaluation()


class NetworkCall:
    """One call of the network: a batch of branches, and which spans it skips."""

    def __init__(self, run: BlockCache, states: list[State], step: int) -> None:
        self._run = run
        self._states = states
        self._step = step
        self._skipped: frozenset[Span] = frozenset()
        self.decided = False

    @property
    def wants(self) -> SignalKind:
        """Tensor that `decide` needs; NONE if it needs none in this call."""
        signal = self._run.rule.signal
        decided = all(state.step == self._step for state in self._states)
        return SignalKind.NONE if decided or signal.is_time else signal

    def enter(self, stream: torch.Size) -> None:
        """Forget what is known of other tokens: the host leaves some out once it has kept them.

        Args:
            stream: shape of the tokens that enter the blocks.
        """
        tokens = stream[1:]  # how many samples a branch has is in its key
        for state in self._states:
            if state.tokens != tokens:
                state.changes.clear()
                state.tokens, state.reference = tokens, None

    def decide(self, signal: torch.Tensor | None = None, probe: torch.Tensor | None = None) -> None:
        """Decide the spans of this call. Reads the device once, and only for a signal of data.

        All evaluations of a step share the decision of its first one.

        Args:
            signal: tensor that the method compares [branches * batch, ...]; this run's from now on.
            probe: change that the first blocks made, where the predictor aligns; likewise.
        """
        if probe is not None and self._run.predictor.aligned:
            for state, part in zip(self._states, probe.chunk(len(self._states)), strict=True):
                state.probe = part
        fresh = [i for i, state in enumerate(self._states) if state.step != self._step]
        parts = None if signal is None else signal.chunk(len(self._states))
        for i, change in zip(fresh, self._changes(fresh, parts), strict=True):
            state = self._states[i]
            state.before, state.step = state.step, self._step
            for span, policy in state.policies.items():
                decision = state.decisions[span] = policy.decide(self._step, change)
                if decision.compute and self.keeps(span):
                    self._run.decided(span, self._step)
        skipped = frozenset(span for span in self._run.spans if self._may_skip(span))
        for i in fresh:
            state = self._states[i]
            for span, policy in state.policies.items():
                policy.settle(span not in skipped)
            every = self._run.rule.reference is Reference.EVERY_CALL
            if parts is not None and (every or len(skipped) < len(self._run.spans)):
                state.reference = parts[i]
        self._skipped = skipped
        self.decided = True
        self._note()

    def skips(self, span: Span) -> bool:
        """Whether the blocks of a span do not run in this call."""
        return span in self._skipped

    def keeps(self, span: Span) -> bool:
        """Whether `keep` wants a span of this call, as far as is decided."""
        return not self.skips(span)

    def keep(self, span: Span, before: Tokens, after: Tokens) -> None:
        """Remember how a computed span changed the streams.

        Args:
            before: streams as they entered the span; None for one that is not cached.
            after: streams as they left it.
        """
        changes = zip(before, after, strict=True)
        self._remember(span, [None if b is None or a is None else a - b for b, a in changes])

    def keep_whole(self, span: Span, streams: Tokens) -> None:
        """Remember what left a computed span, where nothing that enters it has the same shape.

        The tensors are held and not copied: whoever made them must not write into them afterwards.

        Args:
            streams: as they left the span; None for one that is not cached.
        """
        self._remember(span, streams)

    def follow(
        self, span: Span, changes: torch.Tensor
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor | None]]:
        """What a span changed in each branch, for one that only compares: the branch's place in the
        call, the change, and that of the step before, None where there is none. Further evaluations
        of a step are left out.

        Args:
            changes: of one stream, all branches together.
        """
        parts = changes.chunk(len(self._states))
        for place, (state, change) in enumerate(zip(self._states, parts, strict=True)):
            past = state.changes.get(span)
            if past and past[0].step == self._step:
                continue
            last = past[0].values[0] if past else None
            state.changes[span] = [Known(self._step, values=(change,))]
            yield place, change, last

    def recall(self, span: Span, device: torch.device) -> Tokens:
        """Tokens as a skipped span leaves them, where `keep_whole` remembered them, as new tensors.

        A whole tensor is a change from zero, so predictors weigh it as they do any other.
        """
        count = len(self._states)
        zeros = [
            None
            if s is None
            else torch.zeros((), dtype=s.dtype, device=device).expand(
                s.shape[0] * count, *s.shape[1:]
            )
            for s in self._states[0].changes[span][0].values
        ]
        return self.add(span, tuple(zeros))

    def _remember(self, span: Span, changes: Sequence[torch.Tensor | None]) -> None:
        """Keep the part of each branch, newest first."""
        count = len(self._states)
        chunks = [(None,) * count if c is None else self._place(c).chunk(count) for c in changes]
        depth = self._run.predictor.depth
        for state, tokens in zip(self._states, zip(*chunks, strict=True), strict=True):
            # A second evaluation of a step replaces the first: no difference lies between the two.
            past = [c for c in state.changes.get(span, ()) if c.step != self._step]
            newest = Known(self._step, values=tokens, probe=state.probe)
            state.changes[span] = [newest, *past][:depth]

    def add(self, span: Span, before: Tokens) -> Tokens:
        """Tokens as a skipped span leaves them, as new tensors.

        Args:
            before: streams as they entered the span.
        """
        out: list[torch.Tensor | None] = []
        for place, stream in enumerate(before):
            if stream is None:
                out.append(None)
                continue
            result = stream.clone()
            for state, part in zip(self._states, result.chunk(len(self._states)), strict=True):
                self._add_change(state, span, place, part)
            out.append(result)
        return tuple(out)

    def _add_change(self, state: State, span: Span, place: int, part: torch.Tensor) -> None:
        """Add the predicted change of one stream of one branch to `part`."""
        kept = state.changes[span]
        weights = self._run.predictor.weights(kept, Now(self._step, probe=state.probe))
        scale = state.decisions[span].scale
        held = [c.values[place] for c in kept]
        parts = [(w, t) for w, t in zip(weights, held, strict=False) if t is not None]
        if len(parts) == 1 and isinstance(weight := parts[0][0], float):
            part.add_(parts[0][1].to(part.device, non_blocking=True), alpha=weight * scale)
            return
        # Weights of both signs cancel: summed in float32 or wider.
        wide = torch.promote_types(part.dtype, torch.float32)
        total = part.to(wide, copy=True)
        for weight, change in parts:
            total += change.to(part.device, non_blocking=True).to(wide) * (weight * scale)
        part.copy_(total)

    def _changes(
        self, fresh: list[int], parts: Sequence[torch.Tensor] | None
    ) -> list[float | None]:
        run = self._run
        if run.rule.signal.is_time:
            known = run.changes
            # The first step has nothing before it.
            value = None if known is None or self._step == 0 else known[self._step]
            return [value] * len(fresh)
        if parts is None:
            return [None] * len(fresh)
        found: dict[int, torch.Tensor] = {}
        for i in fresh:
            reference = self._states[i].reference
            if reference is not None and reference.shape == parts[i].shape:
                found[i] = change_and_size(parts[i], reference.to(parts[i].device))
        if not found:
            return [None] * len(fresh)
        agreed = run.agreed(torch.stack(list(found.values())).flatten())
        values = iter(relative(agreed.reshape(-1, 2)).tolist())
        return [next(values) if i in found else None for i in fresh]

    def _may_skip(self, span: Span) -> bool:
        """One branch that must compute makes the whole call compute."""
        return all(
            span in state.changes
            and not state.decisions[span].compute
            and not self._run.missed(span, state)
            for state in self._states
        )

    def _place(self, change: torch.Tensor) -> torch.Tensor:
        if not self._run.to_host or change.device.type == "cpu":
            return change
        # Copies back and forth stay in order on the device's stream, so neither waits.
        held = torch.empty_like(change, device="cpu", pin_memory=change.device.type == "cuda")
        return held.copy_(change, non_blocking=change.device.type == "cuda")

    def _note(self) -> None:
        decisions = [d for state in self._states for d in state.decisions.values()]
        asked = next((d for d in decisions if d.compute), decisions[0])
        computes = len(self._skipped) < len(self._run.spans)
        reason = asked.reason
        if computes and not asked.compute:
            known = all(span in s.changes for s in self._states for span in self._run.spans)
            reason = UNKNOWN if known else "nothing cached yet"
        self._run.note_call(not self._skipped, asked, reason)
