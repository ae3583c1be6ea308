"""Find the setting of a method that computes as many steps as asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# A count this near to the target is as good as it.
_NEAR = 0.5


@dataclass
class Search:
    """Bisection over the settings of one method. What was counted for one target serves the next.

    Attributes:
        settings: from the one that computes the most to the one that computes the least.
        count: computed steps with a setting; slow.
    """

    settings: Sequence[Any]
    count: Callable[[Any], float]
    _counted: dict[int, float] = field(default_factory=dict)

    def find(self, target: float) -> Any:
        """The setting whose count is nearest to the target, among those that were looked at."""
        low, high = self._bracket(target)
        while high - low > 1:
            middle = (low + high) // 2
            found = self._at(middle)
            if abs(found - target) <= _NEAR:
                return self.settings[middle]
            low, high = (middle, high) if found > target else (low, middle)
        for end in (low, high):
            self._at(end)
        nearest = min(self._counted, key=lambda i: distance(self._counted[i], target))
        return self.settings[nearest]

    def _bracket(self, target: float) -> tuple[int, int]:
        """The ends of the settings, or nearer ones that earlier searches have left."""
        more = [i for i, found in self._counted.items() if found > target]
        fewer = [i for i, found in self._counted.items() if found <= target]
        low, high = max(more, default=0), min(fewer, default=len(self.settings) - 1)
        # A count may rise a little from one setting to the next.
        return (low, high) if low <= high else (high, low)

    def counted(self, setting: Any) -> float:
        """Computed steps with a setting."""
        return self._at(self.settings.index(setting))

    def _at(self, index: int) -> float:
        if index not in self._counted:
            self._counted[index] = self.count(self.settings[index])
        return self._counted[index]


def distance(found: float, target: float) -> float:
    """How far a number of steps is from another, as a ratio: 0 where they are equal."""
    return abs(math.log(found / target))


def assigned(found: dict[float, tuple[Any, float]], steps: int) -> dict[float, Any]:
    """Settings by the target that they are for. One that was found for several targets is for the
    nearest of them, so that it is measured once.

    Args:
        found: setting and its computed steps, by target speed-up.
        steps: of the plain run.
    """
    best: dict[Any, float] = {}
    for target, (setting, computed) in found.items():
        before = best.get(setting)
        if before is None or distance(computed, steps / target) < distance(
            computed, steps / before
        ):
            best[setting] = target
    return {target: setting for setting, target in best.items()}
