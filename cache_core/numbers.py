"""Lists of steps or blocks as people write them."""

from __future__ import annotations

from collections.abc import Sequence


def format_numbers(numbers: Sequence[int]) -> str:
    """A list such as `0, 2-7`, as `parse_numbers` reads it, from rising numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def parse_numbers(field: str, text: str) -> tuple[int, ...]:
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
