"""The last computed outputs of one stream, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Entry:
    """A computed output.

    Attributes:
        sigma: noise level of the evaluation.
        step: sampler step it belongs to.
        value: the output; owned by the history, never written to.
    """

    sigma: float
    step: int
    value: torch.Tensor


class History:
    """Ring of computed outputs. Keeps `capacity` entries and at most one per sigma."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: must be 1 or more, got {capacity}")
        self._capacity = capacity
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def nbytes(self) -> int:
        return sum(e.value.numel() * e.value.element_size() for e in self._entries)

    def push(self, entry: Entry) -> None:
        """Add the newest output. An older one at the same sigma is replaced: two outputs at one
        sigma have no slope between them."""
        kept = [e for e in self._entries if e.sigma != entry.sigma]
        self._entries = [entry, *kept][: self._capacity]

    def clear(self) -> None:
        self._entries = []
