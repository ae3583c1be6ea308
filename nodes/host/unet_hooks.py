"""Block level of UNets: stand-ins for whole blocks, translated into calls of a BlockCache.

The host has no hooks around these blocks. It iterates each and calls the layers; one of a kind that it
does not know is given the stream alone. So a stand-in is an iterable: of the block's own layers, of none,
or of functions of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import get_ident
from typing import Any

import torch

from ...cache_core.blocks import BlockCache, NetworkCall
from ..families.family import Family
from .progress import faults, give_up
from .stand_ins import Walks

Layer = Callable[..., torch.Tensor]


class UNetWalk:
    """One call of a UNet, from its first input block to its last output block.

    On a computed step everything runs and what leaves the span is kept. On a skipped one the stream loses
    its channels where the span begins, so that what the host does to it up to the end of the span (keep
    it for the output blocks, join the two) costs nothing, and gets what was kept in place of it there.

    Attributes:
        family: of the network.
        network: whose blocks run.
        off: whether what is left of the call runs as if there were no cache.
    """

    def __init__(
        self,
        run: BlockCache,
        call: NetworkCall,
        family: Family,
        network: Any,
    ) -> None:
        """
        Raises:
            ValueError: if the method has another number of spans than one.
        """
        (self._span,) = run.spans
        self.family = family
        self.network = network
        self._run = run
        self._call = call
        # The host's of this call, in which it counts the transformers that ran.
        self._options: dict[str, Any] = {}
        self.off = False
        self._recalled: torch.Tensor | None = None

    def forward(
        self,
        executor: Any,
        x: Any,
        timesteps: Any = None,
        context: Any = None,
        y: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The network begins: with options of its own, in newer hosts."""
        self._options = transformer_options
        return executor(x, timesteps, context, y, control, transformer_options, **kwargs)

    def stand_ins(self, walks: Walks) -> dict[str, Any]:
        """Stand-ins for all blocks, by attribute of the network."""
        found: dict[str, Any] = {}
        number = 0
        for stack in self.family.stacks:
            held = stack.held(self.network)
            if held is None:
                continue
            blocks = [held] if stack.single else list(held)
            made = [StandIn(block, number + i, walks) for i, block in enumerate(blocks)]
            found[stack.attribute] = made[0] if stack.single else made
            number += len(blocks)
        return found

    def layers(self, number: int, block: Any) -> Iterable[Layer]:
        """What runs in the place of a block, asked for when its turn has come."""
        span = self._span
        if number == 0:
            return (self._decide, *block)
        if number not in span:
            return block
        if self._recalled is None:
            return (*block, self._keep) if number == span.last else block
        self._count_transformers(block)
        if number == span.first:
            return (_without_channels,)
        return (self._recall,) if number == span.last else ()

    def _decide(self, stream: torch.Tensor) -> torch.Tensor:
        """Decide, and predict at once where the span is skipped: a fault can still be computed."""
        try:
            self._call.decide()
            if self._call.skips(self._span):
                (self._recalled,) = self._call.recall(self._span, stream.device)
        except Exception as error:
            give_up(self._run, error)
        return stream

    def _keep(self, stream: torch.Tensor) -> torch.Tensor:
        # The host copies it when it joins it with the skip connection, so it stays as it is.
        if not self._run.sealed:
            try:
                self._call.keep_whole(self._span, (stream,))
            except Exception as error:
                give_up(self._run, error)
        return stream

    def _recall(self, stream: torch.Tensor) -> torch.Tensor:
        return stream if self._recalled is None else self._recalled

    def _count_transformers(self, block: Any) -> None:
        """Count those of a skipped block: GLIGEN and others know a transformer by its number."""
        if "transformer_index" in self._options:
            found = sum(hasattr(layer, "transformer_blocks") for layer in block)
            self._options["transformer_index"] += found


class StandIn:
    """Iterated as the block would be; all else is the block's, and all in a thread that has no walk."""

    def __init__(self, block: Any, number: int, walks: Walks) -> None:
        self._block = block
        self._number = number
        self._walks = walks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)

    def __getitem__(self, index: Any) -> Any:
        return self._block[index]

    def __len__(self) -> int:
        return len(self._block)

    def __iter__(self) -> Iterator[Layer]:
        walk = self._walks.get(get_ident())
        if walk is None:
            return iter(self._block)
        with faults():
            return iter(walk.layers(self._number, self._block))


def changes_blocks(options: Mapping[str, Any]) -> bool:
    """Whether another node's patches change what blocks hand on, as those of FreeU do.

    What they do to a skipped block would be lost, and what to a live one is unknown.
    """
    ends = ("input_block", "middle_block", "output_block")
    return any(
        name.startswith(ends) and found for name, found in options.get("patches", {}).items()
    )


def _without_channels(stream: torch.Tensor) -> torch.Tensor:
    """No data, on the same device and of the same batch and size."""
    with faults():
        return stream[:, :0]
