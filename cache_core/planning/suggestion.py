"""What speed-up calibration data suggests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .optimiser import Chain, within_error

# Expected errors of the final result, as `Chain` has them. In 68 settings of the three demo models (flow
# and eps, cfg 4) pictures below the first were 42 dB or more from the full result with euler and 35 or
# more with dpmpp_2m and uni_pc; near the second, from 36 and from 30 dB on.
SAFE, VISIBLE = 0.004, 0.009


@dataclass(frozen=True)
class Suggestion:
    """Speed-ups of a run of some steps.

    Attributes:
        steps: of the run.
        safe: the highest whose difference is hard to see; 1 if there is none.
        visible: the lowest whose difference is easy to see, None if there is none.
    """

    steps: int
    safe: float
    visible: float | None

    def __str__(self) -> str:
        safe = f"At {self.steps} steps {self.safe:.1f}x is safe"
        if self.visible is None:
            return f"{safe}, and no speed-up up to the highest is plainly visible"
        return f"{safe}, {self.visible:.1f}x is visible"


def suggest(chains: Sequence[Chain], steps: int) -> Suggestion:
    """What the expected errors of a run mean for the eye.

    Args:
        chains: of `optimiser.best_chains`, fewest computed steps first.
        steps: of the run.
    """
    safe = within_error(chains, SAFE)
    seen = [len(chain.steps) for chain in chains if chain.error > VISIBLE]
    return Suggestion(
        steps,
        steps / len(safe.steps) if safe.error <= SAFE else 1.0,
        steps / max(seen) if seen else None,
    )
