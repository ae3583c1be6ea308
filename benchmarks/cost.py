"""What a skipped step costs: `python -m benchmarks cost`.

The demo's image model samples one prompt on latents of several sizes, plainly and with Scaling Cache, in
turn. A skipped step is compared with a computed one, and with one of the host whose conditionings are
answered at once: guidance and the sampler's update, which nothing can leave out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from demo.nodes.vocabulary import held_out_prompts

from . import results
from .beds import BEDS, Bed, Plan, environment, ready

OUT, FILE = Path(__file__).parent / "out", "cost.json"
SIDES = (16, 32, 48, 64)
PLAN = Plan(30, 4.0, 3.0, "euler")
SPEEDUP, SEED = 2.0, 1


@dataclass
class Row:
    """One size. Seconds are medians over repeats.

    Attributes:
        side: of the latent.
        numbers: in the latent.
        plain: seconds of a step without the cache.
        computed, skipped: seconds of a step with it, the sampler's update included.
        update: seconds of a plain step whose conditionings are answered at once.
        speedup: of the whole run.
        counted: steps over computed steps.
    """

    side: int
    numbers: int
    plain: float
    computed: float
    skipped: float
    update: float
    speedup: float
    counted: float


def measure(bed: Bed, model: Any, side: int, repeats: int) -> Row:
    """The row of a size."""
    from scaling_cache.cache_core.report import RunReport
    from scaling_cache.cache_core.settings import Settings
    from scaling_cache.nodes.host.wrappers import StepCache, install

    sized = replace(bed, latent=(bed.latent[0], side, side))
    prompt = held_out_prompts()[:1]

    def run(sampled: Any) -> float:
        return seconds(lambda: sized.sample(sampled, prompt, PLAN, SEED))

    run(model)  # what runs first is slow
    config = StepCache(Settings(speedup=SPEEDUP), "none")
    cached = install(model, config)
    plain: list[float] = []
    faster: list[float] = []
    update: list[float] = []
    reports: list[RunReport] = []
    for _ in range(repeats):
        plain.append(run(model))
        faster.append(plain[-1] / run(cached))
        update.append(run(answered(model)))
        reports.append(config.log.latest()[-1].report)
    return Row(
        side=side,
        numbers=bed.latent[0] * side * side,
        plain=statistics.median(plain) / PLAN.steps,
        computed=statistics.median(r.seconds_per_step(True) or 0.0 for r in reports),
        skipped=statistics.median(r.seconds_per_step(False) or 0.0 for r in reports),
        update=statistics.median(update) / PLAN.steps,
        speedup=statistics.median(faster),
        counted=reports[0].evaluations / reports[0].computed,
    )


def answered(model: Any) -> Any:
    """A clone whose network gives its input back before the host prepares anything for it."""
    from comfy.patcher_extension import WrappersMP

    def answer(executor: Any, model: Any, conds: Any, x: Any, *args: Any) -> Any:
        return [x for _ in conds]

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "answer", answer)
    return clone


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def slope(rows: list[results.Row], column: str) -> float:
    """Seconds per number of the latent, by the line through all sizes that is nearest to them."""
    line = statistics.linear_regression([r["numbers"] for r in rows], [r[column] for r in rows])
    return line.slope


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES, help="of the latent")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the JSON file")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write `cost.json`."""
    ready()
    bed = BEDS["demo_image"]
    model = bed.load(PLAN.shift)
    rows = []
    for side in options.sides:
        rows.append(asdict(measure(bed, model, side, options.repeats)))
        print(" ".join(f"{name} {value:.6g}" for name, value in rows[-1].items()), flush=True)
    results.write(options.out / FILE, {**environment(), "plan": str(PLAN)}, rows)
