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


def format_blocks(blocks: Sequence[int]) -> str:
    """A list such as `0, 2-7`, as `parse_blocks` reads it, from rising numbers."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == runs[-1][-1] + 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def parse_blocks(field: str, text: str) -> tuple[int, ...]:
    """Numbers from a list such as `0, 2-7, 10-20`.

    Raises:
        ValueError: naming the field and the part that is not a number or a range.
    """
    found: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, dash, last = part.partition("-")
        try:
            ends = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(
                f"{field}: must be numbers and ranges such as '0, 2-7', got {part!r}"
            ) from None
        if ends[0] > ends[1]:
            raise ValueError(f"{field}: the range {part!r} runs backwards")
        found += range(ends[0], ends[1] + 1)
    return tuple(found)
