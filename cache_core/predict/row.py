"""Several tensors in one row: where one ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Stream:
    """One of several tensors that are sampled as one row.

    Attributes:
        length: numbers of it per sample, 1 or more.
        log_snr: logarithm of its signal over noise at each sigma of the schedule, if it is known.
    """

    length: int
    log_snr: tuple[float, ...] | None = None


def cut(row: torch.Tensor, lengths: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """The streams of a row [..., all of them], as views. A row of another length, such as a window of
    one, is the first stream, and the others are empty: nobody says where it is to be cut."""
    if row.shape[-1] == sum(lengths):
        return row.split(list(lengths), -1)
    return (row, *[row[..., :0]] * (len(lengths) - 1))
