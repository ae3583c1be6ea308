"""One decision for all ranks that compute a picture together.

A rank that skips what another one computes leaves that one waiting in its next exchange for ever. So
whatever a decision is taken from is first made the same on all of them. Decisions that are known before
the run need nothing of it.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch


class Agree(Protocol):
    """Means over the ranks of a picture."""

    def __call__(self, values: torch.Tensor, /) -> torch.Tensor:
        """Means of floats [n] as a new tensor on their device, with the same bits on all ranks.

        Each rank must call it as often as the others, with as many values. A value that is not a number
        on one of them is none for all.
        """
        ...


def same_everywhere(agree: Agree, content: bytes) -> bool:
    """Whether all ranks hold the same bytes; the answer is the same on all of them."""
    digest = list(hashlib.sha256(content).digest())
    own = torch.tensor(digest, dtype=torch.float64)
    # Squares of bytes are exact, so the variance is zero just where all are equal.
    means, squares = agree(torch.cat([own, own * own])).chunk(2)
    return bool(torch.equal(squares, means * means))
