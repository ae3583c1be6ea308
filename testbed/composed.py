"""What a cached run should have given, composed anew from what the plain network computes.

Inside the network: each call runs again through the plain network, whose skipped blocks pass on what
entered them, but for the last of a span, which adds the changes that the span made at the computed steps.
It does so by hooks of the modules on all that a block returns, and knows nothing of the pack: not where
in a stream the picture lies, nor how the host calls a block. On whole steps: what is answered is a
weighted sum of what was computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from scaling_cache.nodes.families import find_family

# Options that change what the network does.
_OTHERS = {"patches_replace", "wrappers", "callbacks"}
_CLOSE = 1e-3


@dataclass(frozen=True)
class Answer:
    """What one evaluation gave.

    Attributes:
        x: noisy latent.
        outputs: denoised, one per conditioning, None where there is none.
    """

    x: torch.Tensor
    outputs: list[torch.Tensor | None]


@dataclass
class Noted:
    """A predictor that also says what it weighed.

    Attributes:
        predictor: that weighs.
        said: weights by step, of each prediction.
    """

    predictor: Any
    said: list[dict[int, float]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.predictor, name)

    def weights(self, past: Sequence[Any], now: Any) -> Sequence[Any]:
        weights = self.predictor.weights(past, now)
        self.said.append({k.step: float(w) for k, w in zip(past, weights, strict=False)})
        return weights


@dataclass
class Called:
    """One call of the network during a cached run.

    Attributes:
        args, kwargs: of the call, as copies.
        step: of the sampler.
        before: predictions before it.
        ran: blocks that ran, by name.
        weights: of the first predictions in it, one per conditioning; none where all was computed.
        out: what it gave.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    step: int
    before: int
    ran: set[str] = field(default_factory=set)
    weights: list[dict[int, float]] = field(default_factory=list)
    out: Any = None


@dataclass
class Recording:
    """The calls of a network, and the weights of the predictions that its run made."""

    network: Any
    names: tuple[str, ...]
    calls: list[Called] = field(default_factory=list)
    said: list[dict[int, float]] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)

    def begin(self, run: Any) -> None:
        """A run begins: listen to its predictor."""
        self.runs.append(run)
        run.predictor = Noted(run.predictor, self.said)

    def enter(self, module: Any, args: Any, kwargs: Any) -> None:
        options = kwargs["transformer_options"]
        sigmas = options["sample_sigmas"].float()
        step = int((sigmas - options["sigmas"][0].float().cpu()).abs().argmin())
        plain = {k: v for k, v in options.items() if k not in _OTHERS}
        kept = {**kwargs, "transformer_options": plain}
        self.calls.append(Called(_copied(args), _copied(kept), step, len(self.said)))

    def leave(self, module: Any, args: Any, kwargs: Any, out: Any) -> None:
        call = self.calls[-1]
        count = len(call.kwargs["transformer_options"]["cond_or_uncond"])
        call.weights = self.said[call.before :][:count]
        call.out = _copied(out)

    def fault(self, batch: int) -> str:
        """What the calls gave that is not what they should have; empty if they gave that.

        Args:
            batch: dimension of a block's streams that counts the samples.
        """
        if not self.runs:
            return ""
        (run,) = self.runs
        composer = _Composer(self, find_family(self.network), tuple(run.spans), batch)
        with torch.inference_mode():
            for call in self.calls:
                apart = distance(call.out, composer.expected(call))
                if not apart < _CLOSE:
                    return f"step {call.step} is {apart:.1g} from what its blocks make of it"
        return ""


@contextmanager
def recording(network: Any, names: tuple[str, ...]) -> Iterator[Recording]:
    """Record the calls of a network while the context is open.

    Args:
        names: of its blocks, in the order of the layout.
    """
    found = Recording(network, names)

    def ran(name: str) -> Callable[..., None]:
        return lambda module, args: found.calls[-1].ran.add(name)

    get = network.get_submodule
    with _hooks() as add:
        add(network.register_forward_pre_hook(found.enter, with_kwargs=True))
        add(network.register_forward_hook(found.leave, with_kwargs=True))
        for name in names:
            add(get(name).register_forward_pre_hook(ran(name)))
        yield found


@dataclass
class _Composer:
    record: Recording
    family: Any
    spans: tuple[Any, ...]
    batch: int
    known: dict[tuple[int, Any], list[Any]] = field(default_factory=dict)

    def expected(self, call: Called) -> Any:
        names, taken = self.record.names, set()
        adding: dict[Any, list[Any]] = {}
        for span in self.spans:
            blocks = set(range(span.first, span.last + 1))
            if names[span.last] not in call.ran and not blocks & taken:
                adding[span] = self._sum(call, span)
                taken |= blocks
        return self._run(call, adding)[0]

    def _sum(self, call: Called, span: Any) -> list[Any]:
        """The changes of a span at computed steps, weighed for each conditioning."""
        steps = {step for weights in call.weights for step in weights}
        done = {c.step: self._changes(c, span) for c in self.record.calls if c.step in steps}
        total = [None if c is None else torch.zeros_like(c) for c in next(iter(done.values()))]
        for step, changes in done.items():
            for place, change in enumerate(changes):
                if change is not None:
                    parts = total[place].chunk(len(call.weights), self.batch)
                    shares = change.chunk(len(call.weights), self.batch)
                    for part, share, weights in zip(parts, shares, call.weights, strict=True):
                        part += share * weights.get(step, 0.0)
        return total

    def _changes(self, call: Called, span: Any) -> list[Any]:
        """What a span changed in a computed call."""
        key = (call.step, span)
        if key not in self.known:
            ends = self._run(call, {}, watched=span)[1]
            starts = [None] * len(ends)
            if not self.family.unet:
                starts = self._run(call, {span: [None] * len(ends)}, watched=span)[1]
            self.known[key] = [
                None if e is None else e if s is None else e - s
                for e, s in zip(ends, starts, strict=True)
            ]
        return self.known[key]

    def _run(
        self, call: Called, adding: dict[Any, list[Any]], watched: Any = None
    ) -> tuple[Any, list[Any]]:
        """The plain network with spans skipped: what it gives, and what leaves the watched span."""
        network, seen = self.record.network, []

        def see(module: Any, args: Any, kwargs: Any, out: Any) -> None:
            seen[:] = _copied(_streams(out))

        with _hooks() as add:
            for span, changes in adding.items():
                through = _Through(changes)
                first = span.last if self.family.unet else span.first
                for number in range(first, span.last + 1):
                    block = self._block(number)
                    add(block.register_forward_pre_hook(through.enter, with_kwargs=True))
                    give = through.end if number == span.last else through.leave
                    add(block.register_forward_hook(give, with_kwargs=True))
                through.whole = self.family.unet
            if watched is not None:
                add(self._block(watched.last).register_forward_hook(see, with_kwargs=True))
            options = dict(call.kwargs["transformer_options"])
            kwargs = {**_copied(call.kwargs), "transformer_options": options}
            return network(*_copied(call.args), **kwargs), seen

    def _block(self, number: int) -> Any:
        """The module that ends a block: in a UNet the host calls its layers one by one."""
        name = self.record.names[number]
        if not self.family.unet:
            return self.record.network.get_submodule(name)
        held = self.record.network.get_submodule(name.rsplit(".", 1)[0])
        return list(held.children())[-1]


@dataclass
class _Through:
    """A span that only passes on what entered it, and at its end adds changes.

    Attributes:
        changes: per stream that the last block returns, None for one that stays.
        whole: whether they are what leaves it, whatever entered.
        entered: streams that entered the span, as long as the blocks return such.
        own: tensors that entered the block under way.
    """

    changes: list[Any]
    whole: bool = False
    entered: list[Any] = field(default_factory=list)
    own: list[Any] = field(default_factory=list)

    def enter(self, module: Any, args: Any, kwargs: Any) -> None:
        given = [t for a in (*args, *kwargs.values()) for t in _streams(a)]
        self.own = _copied([t for t in given if isinstance(t, torch.Tensor)])

    def leave(self, module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        streams = _streams(out)
        if [_shape(t) for t in streams] != [_shape(t) for t in self.entered]:
            left = list(self.own)
            self.entered = [_taken(left, stream) for stream in streams]
        return _like(out, _copied(self.entered))

    def end(self, module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        if self.whole:
            return _like(out, self.changes)
        self.leave(module, args, kwargs, out)
        pairs = zip(self.entered, self.changes, strict=True)
        return _like(out, [e if c is None else e + c for e, c in pairs])


def distance(found: Any, expected: Any) -> float:
    """Relative distance of two outputs, of one tensor or several."""
    pairs = list(zip(_streams(found), _streams(expected), strict=True))
    gone = sum(float((f.float() - e.float()).square().sum()) for f, e in pairs)
    size = sum(float(e.float().square().sum()) for _, e in pairs)
    return (gone / max(size, 1e-30)) ** 0.5


def fault_of_answers(answers: Sequence[Answer], computed: Sequence[Answer]) -> str:
    """Whether a whole step was answered with anything else than a weighted sum of what the model had
    computed, all as differences from the noisy latent; empty if none was.

    Args:
        answers: what the sampler got.
        computed: what the model gave, with None for what it was not asked for.
    """
    known: list[torch.Tensor] = []
    left = list(computed)
    for step, answer in enumerate(answers):
        if left and torch.equal(left[0].x, answer.x):
            done = left.pop(0)
            known += [out - done.x for out in done.outputs if out is not None]
        for out in answer.outputs:
            apart = 0.0 if out is None else _off_the_span(out - answer.x, known)
            if not apart < _CLOSE:
                return f"evaluation {step} is {apart:.1g} from any sum of what was computed"
    return f"{len(left)} computed steps were never asked for" if left else ""


def _off_the_span(answer: torch.Tensor, computed: Sequence[torch.Tensor]) -> float:
    """Share of a tensor that is no weighted sum of others."""
    basis = torch.stack([c.flatten().double() for c in computed], 1)
    target = answer.flatten().double()
    rows, _ = torch.linalg.qr(basis / basis.norm(dim=0).clamp_min(1e-30))
    return float((target - rows @ (rows.T @ target)).norm() / target.norm().clamp_min(1e-30))


def _taken(left: list[Any], stream: Any) -> Any:
    """The first tensor of a stream's shape, which is then no longer left."""
    for place, tensor in enumerate(left):
        if _shape(tensor) == _shape(stream):
            return left.pop(place)
    return stream


def _streams(out: Any) -> list[Any]:
    return list(out) if isinstance(out, (tuple, list)) else [out]


def _like(out: Any, streams: list[Any]) -> Any:
    return type(out)(streams) if isinstance(out, (tuple, list)) else streams[0]


def _shape(tensor: Any) -> Any:
    return tensor.shape if isinstance(tensor, torch.Tensor) else None


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, (tuple, list)):
        return type(value)(_copied(v) for v in value)
    return {k: _copied(v) for k, v in value.items()} if type(value) is dict else value


@contextmanager
def _hooks() -> Iterator[Callable[[Any], Any]]:
    """Takes hooks of modules off again."""
    with ExitStack() as stack:
        yield lambda handle: stack.callback(handle.remove)
