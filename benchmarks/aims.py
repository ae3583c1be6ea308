"""What the pack aims at against other ways to sample faster, and how near it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .results import Row
from .standings import OTHERS, OWN, best
from .ways import ORACLE, Group

SPEEDS = (2.0, 3.0)
METHODS = (*OWN, ORACLE)
# Speed-ups up to which this PSNR is to be kept, by steps of the run.
SAME, KEPT = 40.0, {50: 3.0, 28: 2.0, 20: 1.5}


@dataclass(frozen=True)
class Aim:
    """A number to reach at equal speed.

    Attributes:
        text: what is compared.
        bound: least, or most, that is aimed at.
        measure: the number from a row of the pack and all rows at its speed, None where there is nothing
            to compare with.
        most: whether the bound is an upper one.
    """

    text: str
    bound: float
    measure: Callable[[Row, dict[str, Row]], float | None]
    most: bool = False

    def reached(self, value: float) -> bool:
        return value <= self.bound if self.most else value >= self.bound


def above(group: Group) -> Callable[[Row, dict[str, Row]], float | None]:
    """Mean PSNR over that of the best of a group, dB."""

    def measure(row: Row, found: dict[str, Row]) -> float | None:
        other = best(found, group)
        return None if other is None else row["psnr"] - other["psnr"]

    return measure


def share_of_flip(row: Row, found: dict[str, Row]) -> float | None:
    """FLIP as a share of the lowest of all others."""
    groups = {group.value for group in OTHERS}
    theirs = [
        r["perceptual"]
        for r in found.values()
        if r["group"] in groups and r["perceptual"] is not None
    ]
    return row["perceptual"] / min(theirs) if theirs and row["perceptual"] is not None else None


def worst_over_median(row: Row, found: dict[str, Row]) -> float | None:
    """PSNR of the worst prompt over the median prompt of the best published method, dB."""
    other = best(found, Group.PUBLISHED)
    return None if other is None else row["psnr_worst"] - float(np.median(other["each"]["psnr"]))


AIMS = (
    Aim("over the host's caches, dB", 6.0, above(Group.HOST)),
    Aim("over published methods, dB", 3.0, above(Group.PUBLISHED)),
    Aim("over fewer steps, dB", 6.0, above(Group.FEWER)),
    Aim("FLIP, share of the lowest of theirs", 0.5, share_of_flip, most=True),
    Aim("worst prompt over median of published, dB", 0.0, worst_over_median),
)
