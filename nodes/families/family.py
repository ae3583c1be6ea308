"""What the cache must know of a model family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ...cache_core.decide.layout import Layout
from ...cache_core.decide.signals import SignalKind
from ...cache_core.methods.base import BlockMethod


@dataclass(frozen=True)
class BlockCall:
    """How the host calls a block around which it offers no replacement hook.

    Attributes:
        img: place or name of the picture's stream among the arguments.
        txt: place or name of the text's stream; a block that has one returns both.
        batch: dimension of the picture's stream that counts the batch, None where it has none.
        pair: whether both streams come as one argument, picture first, and so return.
    """

    img: int | str = 0
    txt: int | str | None = None
    batch: int | None = 0
    pair: bool = False


@dataclass(frozen=True)
class Stack:
    """One list of blocks.

    Attributes:
        kind: key of its replacement hooks.
        attribute: name of the list on the network; with dots where it is part of a part.
        left_out: name of the network's list of indices that never run, if it has one.
        call: how its blocks are called where they have no replacement hooks, None where they have.
        single: whether the attribute is one block, or None, and not a list.
    """

    kind: str
    attribute: str
    left_out: str | None = None
    call: BlockCall | None = None
    single: bool = False

    def held(self, network: Any) -> Any:
        """The list itself, or the one block, or None; also while another thread hides it behind
        stand-ins, which are attributes and no modules."""
        held = network
        for name in self.attribute.split("."):
            modules = held._modules
            held = modules[name] if name in modules else getattr(held, name)
        return held

    def indices(self, network: Any) -> tuple[int, ...]:
        """Blocks that run, in order."""
        held = self.held(network)
        if self.single:
            return () if held is None else (0,)
        skipped = set(getattr(network, self.left_out) or ()) if self.left_out else set()
        return tuple(i for i in range(len(held)) if i not in skipped)


# Index of the picture's first token in the stream that enters block 0, from the network, the length of
# the stream and the picture's number of tokens; None where it cannot be told.
PictureStart = Callable[[Any, int, int], int | None]


def picture_only(network: Any, stream: int, count: int) -> int | None:
    """The stream holds the picture and nothing else."""
    return 0 if stream == count else None


def references_behind(network: Any, stream: int, count: int) -> int | None:
    """The stream holds the picture and behind it those that it is to resemble."""
    return 0 if stream >= count else None


def picture_last(network: Any, stream: int, count: int) -> int | None:
    """The picture is last in the stream."""
    return stream - count if stream >= count else None


@dataclass(frozen=True)
class Family:
    """How to reach the blocks and the signals of a family.

    Attributes:
        name: for people.
        classes: ends of the full names of its network classes.
        stacks: block stacks in the order in which they run.
        joined: kind of the stack whose stream holds text and picture in one; empty for none.
        text_first: whether the text comes first in that stream and where both attend to each other. The
            host's own word on it, `img_slice` in the options of a block, counts more.
        adds_after_blocks: whether the host adds in place to what a block returned.
        reads_both: whether what follows the blocks reads the text's stream too, or what is in its place.
        feeds_later_blocks: whether what early blocks return is also handed to late ones.
        unet: whether it is a UNet; the host iterates its blocks and has no hooks around them.
        modulated: modulated input of block 0 from the network and the arguments of that block.
        published: keys of the published settings that fit a network, by method.
        time: time signals [steps, ...] from the network, timesteps [steps] and the dtype to run in.
        picture_start: where the picture begins in the stream that enters block 0.
    """

    name: str
    classes: tuple[str, ...]
    stacks: tuple[Stack, ...]
    joined: str = ""
    text_first: Callable[[Any], bool] = lambda network: True
    adds_after_blocks: bool = False
    reads_both: bool = False
    feeds_later_blocks: bool = False
    unet: bool = False
    modulated: Callable[[Any, Mapping[str, Any]], torch.Tensor] | None = None
    published: Callable[[Any], Mapping[str, str]] = lambda network: {}
    time: Mapping[SignalKind, Callable[[Any, torch.Tensor, torch.dtype], torch.Tensor]] = field(
        default_factory=dict
    )
    picture_start: PictureStart = picture_only

    def layout(self, network: Any) -> Layout:
        stacks = tuple((s.kind, len(s.indices(network))) for s in self.stacks)
        return Layout(stacks, self.unet)

    def hooks(self, network: Any) -> dict[int, tuple[str, int]]:
        """Keys of the replacement hooks by number of the block in the layout; none in a UNet."""
        if self.unet:
            return {}
        blocks = [(s, i) for s in self.stacks for i in s.indices(network)]
        return {n: (s.kind, i) for n, (s, i) in enumerate(blocks) if s.call is None}

    def offers(self, signal: SignalKind) -> bool:
        """Whether the signal can be read here."""
        if signal is SignalKind.MODULATED:
            return self.modulated is not None
        return not signal.is_time or signal in self.time

    def why_not(self, method: BlockMethod, network: Any) -> str:
        """Why a method does not fit the blocks of this family; empty if it does.

        Raises:
            ValueError: naming the field, if the method does not fit the network.
        """
        layout = self.layout(network)
        spans = method.spans(layout)
        if not self.offers(method.signal):
            return f"{method.name} has no signal for {self.name} models"
        if self.feeds_later_blocks and any(span.last != layout.total - 1 for span in spans):
            return (
                f"{method.name} leaves late blocks running, and in {self.name} models the early ones "
                "feed them: choose a method that skips up to the last block"
            )
        return ""

    def patch(self, network: Any) -> int:
        """Height and width of a token, in places of the latent."""
        size = getattr(network, "patch_size", getattr(network, "patch_spatial", 1))
        return size if isinstance(size, int) else size[-1]

    def width(self, network: Any) -> int:
        """Numbers per token between two blocks, or per place of the latent in a UNet."""
        blocks = self.stacks[0].held(network)
        weight = next(weight for weight in blocks.parameters() if weight.ndim >= 2)
        return weight.shape[0] if self.unet else weight.shape[-1]

    def picture_keys(self, network: Any, stream: int, keys: int, count: int) -> slice | None:
        """The picture's part of the keys of a block's first attention, None where it cannot be told.

        Args:
            stream: length of the stream that entered block 0.
            keys: of the attention; what is more than the stream is text.
            count: the picture's number of tokens.
        """
        start = self.picture_start(network, stream, count)
        if start is None or keys < stream:
            return None
        first = start + (keys - stream if self.text_first(network) else 0)
        return slice(first, first + count)


def modulate(
    normed: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, parts: Any = None
) -> torch.Tensor:
    """`normed * (1 + scale) + shift`, with its own row of both per part where there are parts.

    Args:
        normed: tokens [batch, tokens, width].
        shift, scale: [batch, rows, width].
        parts: (first token, end, row) each, together all tokens, or None for one row.
    """
    if parts is None:
        return normed * (1 + scale) + shift
    pieces = [
        normed[:, a:b] * (1 + scale[:, row : row + 1]) + shift[:, row : row + 1]
        for a, b, row in sorted(parts)
    ]
    return torch.cat(pieces, 1)


def flux_modulated(network: Any, args: Mapping[str, Any]) -> torch.Tensor:
    """Block-0 input of the families that are built from Flux blocks.

    The modulation comes ready with the arguments where it is not the block's own (Flux 2, Chroma). It has
    two rows where pictures are shown at noise level zero, which lie behind the one that is made; the host
    may leave them out where their keys are known, but not their places.
    """
    block = network.double_blocks[0]
    vec, tokens = args["vec"], args["img"].shape[1]
    own = getattr(block, "img_mod", None)
    first = vec[0][0] if own is None else own(vec)[0]
    parts = args.get("modulation_dims_img")
    if parts is None and first.scale.shape[1] == 2:
        shown = sum(args["transformer_options"]["reference_image_num_tokens"])
        made = args["pe"].shape[-4] - args["txt"].shape[1] - shown
        parts = [(0, made, 0), (made, tokens, 1)]
    return modulate(block.img_norm1(args["img"]), first.shift, first.scale, parts)


def rms_norm(tokens: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Root mean square norm without weights."""
    wide = tokens.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(tokens.dtype)
