"""Situations by chance: what people put into a graph, in any combination, part of `make soak`.

    python -m benchmarks.chance --runs 500 --bed demo_emoji

Each is sampled in full, with Scaling Cache, at 1x and in fewer steps. The promise is the one of
`benchmarks.situations`, in expectation: one prompt may be lucky with fewer steps, so where it falls short
more of them decide. At 1x the result is the full run's, bit for bit.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from . import situations
from .beds import BEDS, ready
from .situations import Graph, Row, Situation

Change = Callable[[Graph], None]
# Decibels of pictures that are the same.
SAME = 100.0
# Prompts of a second look.
AGAIN = 12
# Of a run that loses more than nothing, at most; and of how many runs none may.
FURTHEST, SHARE = 3.0, 0.95
# What people set: the host's schedulers, and shifts from none to that of Wan 2.2.
_SCHEDULERS = (
    *("normal", "karras", "exponential", "sgm_uniform", "ddim_uniform", "beta"),
    *("linear_quadratic", "kl_optimal"),
)
_SHIFTS = (1.0, 1.15, 3.0, 5.0, 8.0, 12.0)


@dataclass(frozen=True)
class Drawn:
    """A run by chance.

    Attributes:
        changes: by what a person would call them.
        bed: name of the model.
    """

    changes: dict[str, Change] = field(hash=False)
    steps: int
    speed: float
    bed: str

    @property
    def situation(self) -> Situation:
        def change(graph: Graph) -> None:
            for put in self.changes.values():
                put(graph)

        return Situation(", ".join(self.changes) or "nothing changes", change, self.bed)


def draws(bed: str) -> st.SearchStrategy[Drawn]:
    """Any run: of each kind one change or none, ranges also empty, inverted or between two steps. What
    stands for a ControlNet is made for one model."""
    share = st.integers(0, 20).map(lambda n: n / 20)
    scale = st.sampled_from([1.0, 2.0, 4.0, 7.0])
    controls = st.builds(
        lambda a, b, s: (f"ControlNet {a:g} to {b:g} at {s:g}", situations.control(a, b, s)),
        share,
        share,
        st.sampled_from([0.1, 0.35, 0.7]),
    )
    shifts = st.sampled_from(_SHIFTS).map(lambda s: (f"shift {s:g}", situations.shifted(s)))
    named: list[st.SearchStrategy[tuple[str, Change]]] = [
        *([controls] if bed == situations.BED else []),
        *([shifts] if BEDS[bed].shift else []),
        st.one_of(
            st.builds(
                lambda n, low, high: (
                    f"guidance {high:g} at every {n}. step, else {low:g}",
                    situations.guided(lambda i, _: low if i % n else high),
                ),
                st.integers(2, 5),
                scale,
                scale,
            ),
            st.builds(
                lambda a, b, low: (
                    f"guidance 4 from {a:g} to {b:g}, else {low:g}",
                    situations.guided(lambda _, t: 4.0 if a <= t < b else low),
                ),
                share,
                share,
                scale,
            ),
        ),
        st.one_of(
            st.builds(lambda a: (f"prompt replaced at {a:g}", situations.replaced(a)), share),
            st.builds(lambda a: (f"prompt replaced unseen at {a:g}", situations.swapped(a)), share),
            st.just(("prompts in turn, unseen", situations.alternating)),
            st.just(("prompt fades, unseen", situations.fading)),
        ),
        st.one_of(
            st.builds(
                lambda name: (name, situations.sampler(name)),
                st.sampled_from(["dpmpp_2m", "uni_pc", "res_multistep", "euler_ancestral", "lcm"]),
            ),
            st.builds(
                lambda name: (name, situations.sampler(name, 2)),
                st.sampled_from(["heun", "dpm_2", "dpmpp_sde"]),
            ),
            st.just(("res_2s_ode", situations.res_2s)),
            st.builds(
                lambda amount: (f"Detail Daemon {amount:g}", situations.daemon(amount)),
                st.sampled_from([0.1, 0.3, 1.0]),
            ),
        ),
        st.just(("a part of the picture", situations.masked)),
        st.sampled_from(_SCHEDULERS).map(lambda name: (name, situations.scheduler(name))),
        st.just(("coefficients", situations.calibrated)),
    ]
    # Most graphs have one or two of these.
    maybe = [st.one_of(st.none(), st.none(), kind) for kind in named]
    return st.builds(
        lambda found, steps, speed: Drawn(dict(f for f in found if f), steps, speed, bed),
        st.tuples(*maybe),
        st.integers(10, 40),
        st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0]),
    )


def run(drawn: Drawn) -> tuple[Row, str]:
    """The row of a run, and what is wrong with it; empty if nothing is."""
    row = situations.measure(drawn.situation, 1, (drawn.speed,), drawn.steps)[0]
    if drawn.speed == 1.0:
        return row, "" if row.cached == SAME else "1x is not the full run"
    if not row.kept:
        row = situations.measure(drawn.situation, AGAIN, (drawn.speed,), drawn.steps)[0]
    return row, "" if row.kept else f"{row.fewer - row.cached:.1f} dB further than fewer steps"


def soak(
    runs: int,
    seed: int | None,
    say: Callable[[str], None] = print,
    bed: str = situations.BED,
) -> list[float]:
    """How much nearer than fewer steps each of many runs is, in decibels.

    Args:
        seed: of the runs; None for always the same ones.
        say: hears of each that is further.

    Raises:
        AssertionError: if a run at 1x differs.
    """
    from testbed.soak import draw

    nearer: list[float] = []

    def one(drawn: Drawn) -> None:
        row, wrong = run(drawn)
        if wrong:
            told = f"{drawn.situation.name}; {drawn.steps} steps, {drawn.speed:g}x: {wrong}"
            say(f"{told} ({row.cached:.1f} dB, {row.computed} of {row.evaluations}) {row.notes}")
            assert drawn.speed > 1, told
        if row.computed < row.evaluations:
            nearer.append(row.cached - row.fewer)

    draw(draws(bed), one, runs, seed)
    return nearer


def summary(nearer: list[float]) -> str:
    if not nearer:
        return "no run skipped anything"
    kept = sum(found >= -situations.NOTHING for found in nearer)
    return (
        f"{kept} of {len(nearer)} runs that skipped kept the promise; the worst was {-min(nearer):.1f} "
        f"dB further than fewer steps, the middle one {statistics.median(nearer):.1f} dB nearer"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None, help="default: any")
    parser.add_argument("--bed", choices=BEDS, default=situations.BED, help="model")
    chosen = parser.parse_args()
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    print(f"seed {seed}")
    ready()
    nearer = soak(chosen.runs, seed, lambda line: print(line, flush=True), chosen.bed)
    print(summary(nearer))
    kept = sum(found >= -situations.NOTHING for found in nearer)
    return 0 if kept >= SHARE * len(nearer) and min(nearer, default=0.0) >= -FURTHEST else 1


if __name__ == "__main__":
    sys.exit(main())
