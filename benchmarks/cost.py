"""What a skipped step costs: `python -m benchmarks cost`.

The emoji model samples one prompt on latents of several sizes, plainly and with Scaling Cache, in
turn: once as it is, once with its network answered at once. What is left then of a plain step is guidance
and the sampler's update, which nothing can leave out; what a skipped step takes more is the cache's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import results
from .beds import BEDS, Bed, Plan, environment, ready

OUT, FILE = Path(__file__).parent / "out", "cost.json"
SIDES = (16, 32, 48, 64)
# On two cores the network would take a minute per step.
ANSWERED = (128, 256)
BED = BEDS["demo_emoji"]
PLAN = Plan(30, BED.cfg, BED.shift, "euler")
SPEEDUP, SEED, KEY = 2.0, 1, "cost"


@dataclass
class Row:
    """One size. Seconds are medians over steps and repeats; with the network, None where it did not run.

    Attributes:
        side: of the latent.
        numbers: in the latent.
        update: of a plain step whose network is answered at once.
        skipped_update: of a skipped one.
        plain: of a plain step with the network.
        skipped: of a skipped one.
        speedup: of the whole run.
        counted: steps over computed steps.
    """

    side: int
    numbers: int
    update: float
    skipped_update: float
    plain: float | None = None
    skipped: float | None = None
    speedup: float | None = None
    counted: float | None = None


@dataclass
class Times:
    """Of plain and cached runs in turn.

    Attributes:
        plain, skipped: seconds of each plain and of each skipped step.
        speedups: of each pair of runs.
        counted: steps over computed steps.
    """

    plain: list[float] = field(default_factory=list)
    skipped: list[float] = field(default_factory=list)
    speedups: list[float] = field(default_factory=list)
    counted: float = 0.0


def measure(bed: Bed, model: Any, side: int, repeats: int, network: bool) -> Row:
    """The row of a size, with the network or without it."""
    sized = replace(bed, latent=(bed.latent[0], side, side))
    alone = times(sized, model, 4 * repeats, answered=True)
    row = Row(
        side,
        bed.latent[0] * side * side,
        statistics.median(alone.plain),
        statistics.median(alone.skipped),
    )
    if network:
        found = times(sized, model, repeats, answered=False)
        row.plain, row.skipped = map(statistics.median, (found.plain, found.skipped))
        row.speedup, row.counted = statistics.median(found.speedups), found.counted
    return row


def times(bed: Bed, model: Any, repeats: int, answered: bool) -> Times:
    """Sample plainly and with the cache, in turn."""
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.nodes.host.cache import Cache, install

    config = Cache(ScalingCache(speedup=SPEEDUP), coefficients="none")
    starts: list[float] = []
    plain, cached = (watched(m, starts, answered) for m in (model, install(model, config)))

    def run(sampled: Any) -> float:
        starts.clear()
        began = time.perf_counter()
        bed.sample(sampled, bed.held_out()[:1], PLAN, SEED)
        return time.perf_counter() - began

    run(plain)  # what runs first is slow
    found = Times()
    for _ in range(repeats):
        whole = run(plain)
        found.plain += between(starts)
        found.speedups.append(whole / run(cached))
        report = config.log.latest()[-1].report
        steps = zip(between(starts), report.records, strict=False)
        found.skipped += [seconds for seconds, record in steps if not record.computed]
        found.counted = report.evaluations / report.computed
    return found


def watched(model: Any, starts: list[float], answered: bool) -> Any:
    """A clone that notes when its steps start.

    Args:
        answered: its network gives the input back before the host prepares anything for it.
    """
    from comfy.patcher_extension import WrappersMP

    def start(executor: Any, *args: Any, **kwargs: Any) -> Any:
        starts.append(time.perf_counter())
        return executor(*args, **kwargs)

    def answer(executor: Any, model: Any, conds: Any, x: Any, *args: Any) -> Any:
        return [x for _ in conds]

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, start)
    if answered:
        clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, answer)
    return clone


def between(starts: list[float]) -> list[float]:
    """Seconds of each step but the last."""
    return [after - before for before, after in pairwise(starts)]


def slope(rows: list[results.Row], column: str) -> float:
    """Seconds per number of the latent, by the line that is nearest to all sizes measured."""
    known = [row for row in rows if row[column] is not None]
    line = statistics.linear_regression([r["numbers"] for r in known], [r[column] for r in known])
    return line.slope


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES, help="of the latent")
    parser.add_argument(
        "--answered", nargs="*", type=int, default=ANSWERED, help="sides without the network"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the JSON file")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write `cost.json`."""
    ready()
    model = BED.load(PLAN.shift)
    rows = []
    for side in (*options.sides, *options.answered):
        rows.append(asdict(measure(BED, model, side, options.repeats, side in options.sides)))
        print(
            " ".join(f"{name} {value:.6g}" for name, value in rows[-1].items() if value), flush=True
        )
    results.write(options.out / FILE, {**environment(), "plan": str(PLAN)}, rows)
