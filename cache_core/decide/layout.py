"""Names for parts of a block stack: which blocks there are and which runs of them are cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Blocks of a network in the order in which they run, numbered through all stacks from 0.

    Attributes:
        stacks: kind and number of blocks of each stack, such as `(("double_block", 19),)`.
        unet: whether each of the first blocks also feeds one of the last, in reverse order.
    """

    stacks: tuple[tuple[str, int], ...]
    unet: bool = False

    @property
    def total(self) -> int:
        return sum(count for _, count in self.stacks)

    def numbers(self, kind: str) -> range:
        """Numbers of the blocks of one stack; empty where the network has no such stack."""
        start = 0
        for name, count in self.stacks:
            if name == kind:
                return range(start, start + count)
            start += count
        return range(0)

    def cut(self, blocks: range) -> tuple[Span, ...]:
        """A run of blocks, cut where one stack follows the other."""
        stacks = [self.numbers(kind) for kind, _ in self.stacks]
        parts = [range(max(blocks.start, n.start), min(blocks.stop, n.stop)) for n in stacks]
        return tuple(Span(part.start, part.stop - 1) for part in parts if part)


@dataclass(frozen=True)
class Span:
    """A run of blocks that is computed or skipped as one. Its change of the stream is cached.

    Attributes:
        first: number of its first block.
        last: number of its last block.
    """

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1


def spans_of(field: str, blocks: Sequence[int], numbers: range) -> tuple[Span, ...]:
    """Maximal runs of a sorted list of blocks of one stack.

    Args:
        field: name of the list, for messages.
        blocks: indices within the stack, from 0.
        numbers: numbers of the stack's blocks in the layout.

    Raises:
        ValueError: naming the field, if the list is unsorted, repeats a block or leaves the stack.
    """
    spans: list[Span] = []
    last = -1
    for block in blocks:
        if not 0 <= block < len(numbers):
            allowed = f"0 to {len(numbers) - 1}" if len(numbers) else "none: there is no such stack"
            raise ValueError(f"{field}: block {block} is not in this model, allowed are {allowed}")
        if block <= last:
            raise ValueError(
                f"{field}: blocks must rise and not overlap, but {block} comes after {last}"
            )
        last = block
        number = numbers[block]
        if spans and spans[-1].last == number - 1:
            spans[-1] = Span(spans[-1].first, number)
        else:
            spans.append(Span(number, number))
    return tuple(spans)
