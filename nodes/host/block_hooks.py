"""Inside the network: hooks around blocks, translated into calls of a BlockCache.

The host's replacement hooks, or stand-ins where it has none, ask a walk through the blocks of one
call what runs. Nothing of a run is in the hooks: the walk comes with the options of the call.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ...cache_core.blocks import BlockCache, Branch, NetworkCall, Tokens
from ...cache_core.calibration.attention import picture_tokens
from ...cache_core.decide.layout import Layout, Span
from ...cache_core.decide.signals import SignalKind, changes_along
from ...cache_core.methods.base import BlockMethod, Method
from ...cache_core.methods.combinations import why_not_inside
from ..families import find_family, why_not
from ..families.family import Family
from .conditionings import Call
from .progress import CacheFault, faults, give_up
from .stand_ins import Walks, stand_ins, standing_in
from .unet_hooks import UNetWalk, changes_blocks

KEY = "scaling_cache_blocks"

Args = Mapping[str, Any]
Block = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class OneCall:
    """What the hooks of a call of the network have of its run: the host may make several calls at
    once, each on a device of its own."""

    walk: Any


@dataclass
class Network:
    """The network of one run, and which conditionings its next calls hold.

    Attributes:
        family: of the model.
        layout: its blocks.
        shape: of the latent that is sampled; the first of them where there are several.
        key: identity of the conditioning batch that is under way.
        seen: branches of that batch so far; two areas of one prompt share all names.
        opening: held while a call of the network is set up.
    """

    family: Family
    layout: Layout
    shape: Sequence[int] = ()
    key: Hashable = None
    seen: Counter[Hashable] = field(default_factory=Counter)
    opening: Lock = field(default_factory=Lock)

    def begin(self, call: Call) -> None:
        """A batch of conditionings begins."""
        self.key, self.seen = call.keys, Counter()

    def stream_bytes(self, model: Any, shape: Sequence[int]) -> int:
        """Bytes of the picture's tokens between two blocks.

        Args:
            model: the host's patcher.
            shape: of the latent [samples, channels, (frames,) height, width], where the network's own is
                not known.
        """
        base, shape = model.model, self.shape or shape
        tokens = shape[0] * picture_tokens(
            torch.Size(shape), self.family.patch(base.diffusion_model)
        )
        dtype = base.manual_cast_dtype or base.get_dtype()
        return tokens * self.family.width(base.diffusion_model) * dtype.itemsize


def why_unsupported(model: Any, method: type[Method]) -> str:
    """Why this model cannot be cached below the step by this method; empty if it can."""
    network = model.model.diffusion_model
    family = find_family(network)
    return why_not(network) if family is None else why_not_inside(method, family.unet)


def why_refused(model: Any, method: Method) -> str:
    """The same of a method with its settings.

    Raises:
        ValueError: if the method does not fit the network, naming the field.
    """
    if not isinstance(method, BlockMethod):
        return ""
    network = model.model.diffusion_model
    family = find_family(network)
    why = why_unsupported(model, type(method))
    return why if why or family is None else family.why_not(method, network)


def network_of(
    model: Any, method: Method, options: Mapping[str, Any], shape: Sequence[int] = ()
) -> Network | str:
    """The network of a run, or why its blocks are not cached.

    Args:
        shape: of the latent that is sampled.
    """
    compiled = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    if "torch.compile" in compiled:
        return "The model is compiled: a decision per step cannot run inside it"
    try:
        why = why_refused(model, method)
    except ValueError as error:
        why = str(error)
    family = find_family(model.model.diffusion_model)
    if why or family is None:
        return why
    return Network(family, family.layout(model.model.diffusion_model), shape)


def hook(options: dict[str, Any], network: Any) -> None:
    """Put a hook around each block of a network, around what is there already.

    Args:
        options: the transformer options of a model or of a run.
    """
    family = find_family(network)
    replaced = options.get("patches_replace", {})
    earlier = replaced.get("dit", {})
    keys = family.hooks(network) if family else {}
    ours = {key: BlockPatch(number, earlier.get(key)) for number, key in keys.items()}
    options["patches_replace"] = {**replaced, "dit": {**earlier, **ours}}


def unhook(options: dict[str, Any]) -> None:
    """Take the hooks off again; replacements that were there before them stay."""
    replaced = options.get("patches_replace", {})
    kept: dict[Any, Any] = {}
    for key, patch in replaced.get("dit", {}).items():
        while isinstance(patch, BlockPatch):
            patch = patch.earlier
        if patch is not None:
            kept[key] = patch
    if "dit" in replaced:
        options["patches_replace"] = {**replaced, "dit": kept}


def apply_model(
    active: Any,
    executor: Any,
    x: Any,
    t: Any,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Let the blocks of this call of the network find its branches.

    Args:
        active: the cache in this run.
        executor: the host's, of APPLY_MODEL, with its arguments after it.
    """

    def execute(options: Any) -> Any:
        return executor(x, t, c_concat, c_crossattn, control, options, *args, **kwargs)

    out = _walked(active, executor.class_obj, x, control, {**(transformer_options or {})}, execute)
    # By now a call that failed has let go of all that it and the frames of its error held: memory may be
    # what it failed for.
    return execute(transformer_options) if out is None else out


def _walked(
    active: Any, base: Any, x: Any, control: Any, own: dict[str, Any], execute: Callable[[Any], Any]
) -> Any:
    """What a call of the network gives with the cache; None if it has to run without.

    Args:
        own: options of the call, which are its own.
        execute: runs the network with options.
    """
    run = active.run
    with active.network.opening:
        opened = active.guard(_open, run, active.network, base, x, control, own)
    if opened is None:
        return None
    call, walk = opened
    own[KEY] = OneCall(walk)
    try:
        with standing_in(walk):
            out = execute(own)
    except CacheFault as fault:
        give_up(run, fault.error)
        return None
    if not call.decided and not run.sealed and not walk.off:
        active.guard(run.plain, "The host did not run the blocks of this model")
    return out


def _open(
    run: BlockCache, known: Network, base: Any, x: Any, control: Any, options: dict[str, Any]
) -> tuple[NetworkCall, Any] | None:
    """Set up the walk through the blocks; None if this call has to run plainly."""
    family, network = known.family, base.diffusion_model
    if (why := _why_plain(family, network, control, options)) is not None:
        run.plain(why)
        return None
    if run.needs_changes:
        run.changes = _time_changes(run, family, base, x)
    names = zip(options["cond_or_uncond"], options["uuids"], strict=True)
    branches: list[Branch] = []
    shape = (x.shape[0] // len(options["uuids"]), *x.shape[1:])
    for index, uuid in names:
        known.seen[index, uuid] += 1
        key = (known.key, index, uuid, known.seen[index, uuid], shape)
        branches.append(Branch(key, index))
    call = run.open(branches)
    if call is None:
        return None
    if family.unet:
        walk = UNetWalk(run, call, family, network)
        # Innermost, since what is around it may copy the options.
        held = options.get("wrappers", {})
        inside = {**held.get(WrappersMP.DIFFUSION_MODEL, {}), KEY: [walk.forward]}
        options["wrappers"] = {**held, WrappersMP.DIFFUSION_MODEL: inside}
        return call, walk
    return call, BlockWalk(run, call, family, network, known.layout, x.shape[0])


def _why_plain(
    family: Family, network: Any, control: Any, options: Mapping[str, Any]
) -> str | None:
    if control is not None:
        return "ControlNet adds to the blocks: steps with it are computed"
    patches = options.get("patches_replace", {}).get("dit", {})
    # Guidance nodes replace some for their calls.
    intact = all(
        isinstance(patches.get(key), BlockPatch) and patches[key].number == number
        for number, key in family.hooks(network).items()
    )
    if not intact:
        return "Another node replaces blocks of this model: steps with it are computed"
    if family.unet and changes_blocks(options):
        return "Another node patches blocks of this model: steps with it are computed"
    return None


def _time_changes(run: BlockCache, family: Family, base: Any, x: torch.Tensor) -> tuple[float, ...]:
    """Changes of a time signal at all steps, in one pass and one read before the first step."""
    sigmas = torch.tensor(run.clock.sigmas[:-1], device=x.device)
    timesteps = base.model_sampling.timestep(sigmas).float()
    dtype = base.manual_cast_dtype or base.get_dtype()
    signal = family.time[run.rule.signal](base.diffusion_model, timesteps, dtype)
    return tuple(run.agreed(changes_along(signal)).tolist())


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
        run: BlockCache,
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
        self._probe = run.rule.probe if run.rule.signal.is_probe else 0
        self._before: torch.Tensor | None = None
        self._entered: dict[Span, Tokens] = {}
        self._slice: Sequence[int] | None = None

    def stand_ins(self, walks: Walks) -> dict[str, Any]:
        """Stand-ins for the blocks without hooks, by attribute of the network."""
        return stand_ins(self, walks)

    def run_block(self, number: int, args: dict[str, Any], block: Block) -> dict[str, Any]:
        """Run a block, or stand in for it."""
        if self.running is not None or self.off:
            return block(args)
        self.running = number
        self._slice = (args.get("transformer_options") or {}).get("img_slice")
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
        self._call.enter(args["img"].shape)
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
        """The skipped span that a block belongs to. Spans may lie within others: the first one
        counts."""
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

    def _streams(self, span: Span, number: int, args: Args, copy: bool = False) -> Tokens:
        """The streams of a span: the picture's tokens for one that reaches the end of the network,
        else all that the stack carries."""
        img, txt = args["img"], args.get("txt")
        if span.last == self._tail and not self.family.reads_both:
            img, txt = self._picture(number, img), None
        return (_clone(img), _clone(txt)) if copy else (img, txt)

    def _picture(self, number: int, img: torch.Tensor) -> torch.Tensor:
        """The picture's tokens of a stream that may hold the text as well: where the host says that they
        are, else where the family has them."""
        if not self._joined(number):
            return img
        if self._slice is not None:
            return img[:, slice(*self._slice)]
        first = img.shape[1] - self.tokens if self.family.text_first(self.network) else 0
        return img[:, first : first + self.tokens]

    def _joined(self, number: int) -> bool:
        return number in self._layout.numbers(self.family.joined)

    def _add(self, span: Span, args: Args) -> dict[str, Any]:
        img, txt = self._call.add(span, self._entered.pop(span))
        if span.last != self._tail or self.family.reads_both:
            return {"img": img, "txt": txt}
        if not self._joined(span.last):
            return {"img": img, "txt": args.get("txt")}
        stream = args["img"].clone()
        self._picture(span.last, stream).copy_(img)  # pyright: ignore[reportArgumentType]
        return {"img": stream}


def _clone(tensor: Any) -> Any:
    return tensor.clone() if isinstance(tensor, torch.Tensor) else None
