"""Block level: the host's replacement hooks around each block, translated into calls of a StackRun."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ...cache_core.blocks import Layout, Span
from ...cache_core.signals import SignalKind
from ...cache_core.stack_run import NetworkCall, StackRun, Streams
from ..families.base import Family

KEY = "scaling_cache_stack"

Args = Mapping[str, Any]
Block = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class BlockPatch:
    """Replacement of one block. Holds nothing of a run: that comes with the call's options.

    Attributes:
        number: of the block in the layout.
        earlier: replacement that was there before, called as if it were the block.
    """

    number: int
    earlier: Callable[..., Any] | None = None

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        block: Block = extra["original_block"]
        if self.earlier is not None:
            block = partial(_through, self.earlier, extra)
        session = (args.get("transformer_options") or {}).get(KEY)
        walk = getattr(session, "walk", None)
        return block(args) if walk is None else walk.run_block(self.number, args, block)


def _through(earlier: Callable[..., Any], extra: dict[str, Any], args: dict[str, Any]) -> Any:
    return earlier(args, extra)


class CacheFault(Exception):
    """The cache failed within a call of the network, which has to run again without it.

    Attributes:
        error: what failed.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def faults() -> Iterator[None]:
    """Tell faults of the cache from those of the network."""
    try:
        yield
    except Exception as error:
        raise CacheFault(error) from error


class BlockWalk:
    """One call of the network as its blocks see it, from the first to the last.

    Attributes:
        family: of the network.
        network: whose blocks run.
        running: number of the block that is under way, None between blocks.
        tokens: length of the stream that entered block 0; 0 before.
        off: whether the call runs as if there were no cache.
    """

    def __init__(
        self,
        run: StackRun,
        call: NetworkCall,
        family: Family,
        network: Any,
        layout: Layout,
        batch: int | None = None,
    ) -> None:
        """
        Args:
            batch: of the call, all conditionings together; None if unknown.
        """
        self.family = family
        self.network = network
        self.running: int | None = None
        self.tokens = 0
        self.off = False
        self._batch = batch
        self._run = run
        self._call = call
        self._layout = layout
        # A change that reaches the end of the network matters for the picture alone: what follows
        # reads no text.
        self._tail = layout.total - 1
        method = run.method
        self._probe = method.probe if method.signal.is_probe else 0
        self._before: torch.Tensor | None = None
        self._entered: dict[Span, Streams] = {}

    def run_block(self, number: int, args: dict[str, Any], block: Block) -> dict[str, Any]:
        """Run a block, or stand in for it."""
        if self.running is not None or self.off:
            return block(args)
        self.running = number
        try:
            return self._run_block(number, args, block)
        finally:
            self.running = None

    def _run_block(self, number: int, args: dict[str, Any], block: Block) -> dict[str, Any]:
        with faults():
            if number == 0:
                self._begin(args)
        if self.off:
            return block(args)
        with faults():
            skipped = self._skipped(number)
            self._enter(number, args, skipped)
            if number >= self._probe and skipped is not None:
                return self._stand_in(number, skipped, args)
        out = block(args)
        with faults():
            if number < self._probe:
                self._compare(number, out)
            else:
                self._leave(number, out)
        return out

    def _begin(self, args: Args) -> None:
        """Look at what enters block 0, and decide unless the first blocks must run before that."""
        if self._batch not in (None, args["img"].shape[0]):
            self.off = True
            self._run.plain("The conditionings are split over several GPUs: steps are computed")
            return
        # Tokens of a video may lie in their place: frames, rows, columns.
        self.tokens = math.prod(args["img"].shape[1:-1])
        if self._probe:
            self._before = args["img"].clone()
        else:
            self._call.decide(self._signal(args))

    def _stand_in(self, number: int, skipped: Span, args: Args) -> dict[str, Any]:
        """What a skipped block returns: its streams as they are, and after the last one the change."""
        if number == skipped.last:
            return self._add(skipped, args)
        if number == max(skipped.first, self._probe) and self.family.adds_after_blocks:
            # The host adds to what a block returns: that must not reach the tensors kept above.
            return {k: _clone(args.get(k)) for k in ("img", "txt")}
        return {"img": args["img"], "txt": args.get("txt")}

    def _skipped(self, number: int) -> Span | None:
        """The skipped span that a block belongs to. Spans may lie within others: the first one counts."""
        return next((s for s in self._run.spans if number in s and self._call.skips(s)), None)

    def _enter(self, number: int, args: Args, skipped: Span | None) -> None:
        """Remember the streams that enter the spans which begin with a block."""
        for span in self._run.spans:
            if span.first != number:
                continue
            if span == skipped or (skipped is None and self._call.keeps(span)):
                # What is not decided may still be computed, and blocks write in place.
                copy = number < self._probe or skipped is None
                self._entered[span] = self._streams(span, number, args, copy=copy)

    def _leave(self, number: int, out: Args) -> None:
        """Keep the computed spans that end with a block."""
        for span in self._run.spans:
            if span.last == number and span in self._entered and not self._run.sealed:
                self._call.keep(span, self._entered.pop(span), self._streams(span, number, out))

    def _compare(self, number: int, out: Args) -> None:
        """After the last of the first blocks, decide by what they did."""
        if number == self._probe - 1:
            change = out["img"] - self._before
            signal = change if self._call.wants is SignalKind.PROBE else out["img"].clone()
            self._call.decide(None if self._call.wants is SignalKind.NONE else signal, change)
            self._before = None

    def _signal(self, args: Args) -> torch.Tensor | None:
        if self._call.wants is SignalKind.TOKENS:
            return args["img"].clone()
        if self._call.wants is not SignalKind.MODULATED or self.family.modulated is None:
            return None
        return self.family.modulated(self.network, args)

    def _streams(self, span: Span, number: int, args: Args, copy: bool = False) -> Streams:
        """The streams of a span: the picture's tokens for one that reaches the end of the network,
        else all that the stack carries."""
        img, txt = args["img"], args.get("txt")
        if span.last == self._tail:
            img, txt = self._picture(number, img), None
        return (_clone(img), _clone(txt)) if copy else (img, txt)

    def _picture(self, number: int, img: torch.Tensor) -> torch.Tensor:
        """The picture's tokens of a stream that may hold the text as well."""
        if not self._joined(number):
            return img
        count = self.tokens
        return img[:, -count:] if self.family.text_first else img[:, :count]

    def _joined(self, number: int) -> bool:
        return number in self._layout.numbers(self.family.joined)

    def _add(self, span: Span, args: Args) -> dict[str, Any]:
        img, txt = self._call.add(span, self._entered.pop(span))
        if span.last != self._tail:
            return {"img": img, "txt": txt}
        if not self._joined(span.last):
            return {"img": img, "txt": args.get("txt")}
        stream = args["img"].clone()
        self._picture(span.last, stream).copy_(img)  # pyright: ignore[reportArgumentType]
        return {"img": stream}


def _clone(tensor: Any) -> Any:
    return tensor.clone() if isinstance(tensor, torch.Tensor) else None
