"""What the pack aims at against other ways to sample faster, and how near it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .results import Row
from .standings import OTHERS, OWN, best
from .ways import ORACLE, Group

SPEEDS = (2.0, 3.0, 4.0)
METHODS = (*OWN, ORACLE)
# Speed-ups up to which this PSNR is to be kept, by steps of the run.
SAME, KEPT = 40.0, {50: 3.0, 28: 2.0, 20: 1.5}


@dataclass(frozen=True)
class Aim:
    """A number to reach at equal speed.

    Attributes:
        text: what is compared.
        bounds: least, or most, that is aimed at, by speed-up.
        measure: the number from a row of the pack and all rows at its speed, None where there is nothing
            to compare with.
        most: whether the bounds are upper ones.
        form: how the number is shown.
    """

    text: str
    bounds: Mapping[float, float]
    measure: Callable[[Row, dict[str, Row]], float | None]
    most: bool = False
    form: str = "+.1f"

    @property
    def head(self) -> str:
        """What is compared, and what is aimed at."""
        speeds: dict[float, list[str]] = {}
        for speed, bound in self.bounds.items():
            speeds.setdefault(bound, []).append(f"{speed:g}x")
        told = "; ".join(f"{bound:g} at {' and '.join(at)}" for bound, at in speeds.items())
        return f"{self.text} (at {'most' if self.most else 'least'} {told})"

    def reached(self, value: float, speed: float) -> bool:
        """Whether a number is as aimed at, or nothing is at this speed."""
        bound = self.bounds.get(speed)
        return bound is None or (value <= bound if self.most else value >= bound)


def above(group: Group) -> Callable[[Row, dict[str, Row]], float | None]:
    """Mean PSNR over that of the best of a group, dB."""

    def measure(row: Row, found: dict[str, Row]) -> float | None:
        other = best(found, group)
        return None if other is None else row["psnr"] - other["psnr"]

    return measure


def share(column: str) -> Callable[[Row, dict[str, Row]], float | None]:
    """A distance as a share of the lowest of all others."""
    groups = {group.value for group in OTHERS}

    def measure(row: Row, found: dict[str, Row]) -> float | None:
        theirs = [r[column] for r in found.values() if r["group"] in groups]
        known = [value for value in theirs if value is not None]
        return row[column] / min(known) if known and row[column] is not None else None

    return measure


def seen(row: Row, _: dict[str, Row]) -> float | None:
    """JOD."""
    return row["jod"]


def worst_over_median(row: Row, found: dict[str, Row]) -> float | None:
    """PSNR of the worst prompt over the median prompt of the best published method, dB."""
    other = best(found, Group.PUBLISHED)
    return None if other is None else row["psnr_worst"] - float(np.median(other["each"]["psnr"]))


# At 2x and 3x; beyond that only over fewer steps, and of JOD at 2x.
_BOTH = (2.0, 3.0)
AIMS = (
    Aim("over the host's caches, dB", dict.fromkeys(_BOTH, 6.0), above(Group.HOST)),
    Aim("over published methods, dB", dict.fromkeys(_BOTH, 3.0), above(Group.PUBLISHED)),
    Aim("over fewer steps, dB", {**dict.fromkeys(_BOTH, 6.0), 4.0: 4.0}, above(Group.FEWER)),
    Aim(
        "FLIP, share of the lowest of theirs",
        dict.fromkeys(_BOTH, 0.5),
        share("perceptual"),
        True,
        ".2f",
    ),
    Aim("ST-LPIPS, the same", dict.fromkeys(_BOTH, 0.5), share("st_lpips"), True, ".2f"),
    Aim("JOD", {2.0: 9.5}, seen, form=".2f"),
    Aim("worst prompt over median of published, dB", dict.fromkeys(_BOTH, 0.0), worst_over_median),
)
