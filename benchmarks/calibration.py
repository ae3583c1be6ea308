"""What a calibration on four prompts gives on others: `python -m benchmarks calibration`.

At equal computed steps, on held-out prompts and seeds, against plain sampling with all steps: evenly
spaced steps and a line between them (order 1), Scaling Cache as it learns during the run and with the
coefficient file of the bed, and plain sampling with as few steps. One file per bed, calibrated with 50
steps euler at its usual scale and shift, serves all samplers, scales, shifts and step counts here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from . import plots, results
from .beds import BEDS, Bed, Plan, Prompt, environment, ready, use
from .lab import batches
from .measures import psnr
from .ways import even_line

OUT = Path(__file__).parent / "out" / "calibration.json"
SEED = 4000
COMPUTED = {50: (25, 20, 16, 12), 20: (12, 10, 8)}
OTHER_SHIFTS = (3.0, 8.0)
EVEN, ONLINE, CALIBRATED, FEWER = "even_order1", "online", "calibrated", "fewer_steps"
METHODS = (EVEN, ONLINE, CALIBRATED, FEWER)


@dataclass(frozen=True)
class Row:
    """One method at one number of computed steps.

    Attributes:
        computed: mean over the runs.
        psnr: per prompt, dB, of the pictures against those with all steps.
        over_even: mean and smallest difference to the evenly spaced line, dB; None for itself.
    """

    bed: str
    steps: int
    sampler: str
    cfg: float
    shift: float
    method: str
    wanted: int
    computed: float
    psnr_mean: float
    psnr_std: float
    psnr_worst: float
    over_even: tuple[float, float] | None
    psnr: list[float]

    @property
    def plan(self) -> Plan:
        """How it was sampled."""
        return Plan(self.steps, self.cfg, self.shift, self.sampler)


def plans(bed: Bed, full: bool) -> Iterator[Plan]:
    scales = (bed.cfg, 1.0) if full else (bed.cfg,)
    other = next(shift for shift in OTHER_SHIFTS if shift != bed.shift)
    shifts = (bed.shift, other) if full and bed.shift else (bed.shift,)
    for cfg, shift, steps, sampler in product(scales, shifts, COMPUTED, ("euler", "dpmpp_2m")):
        yield Plan(steps, cfg, shift, sampler)


def missing_rows(plan: Plan, known: list[Row]) -> int:
    """How many rows of a plan are to be measured."""
    return len(COMPUTED[plan.steps]) * len(METHODS) - len(known)


def measure(
    bed: Bed,
    plan: Plan,
    prompts: Sequence[Prompt],
    vae: Any,
    known: list[Row],
    tick: Callable[[], Any],
) -> list[Row]:
    """All rows of one plan: those that there are, and what is missing.

    Args:
        known: rows of the plan that there are.
    """
    model = bed.load(plan.shift)
    rows = {(row.wanted, row.method): row for row in known}
    # One picture is compared with its own: a plan goes on with the prompts that it began with.
    prompts = prompts[: len(known[0].psnr)] if known else prompts
    groups = [list(group) for group in batches(prompts, bed.batch)]

    def pictures(model: Any, steps: int | None = None) -> Tensor:
        made = [
            bed.decode(vae, bed.sample(model, group, plan, SEED + i, steps))
            for i, group in enumerate(groups)
        ]
        tick()
        return torch.cat(made)

    reference = pictures(model)
    places = list(product(COMPUTED[plan.steps], METHODS))
    for wanted, method in [place for place in places if place not in rows]:
        counted: list[int] = []
        if method == FEWER:
            made, counted = pictures(model, wanted), [wanted]
        else:
            made = pictures(cached(model, bed, method, plan.steps, wanted, counted))
        scores = [round(score, 2) for score in psnr(made, reference).tolist()]
        even = rows.get((wanted, EVEN))
        gains = None if even is None else np.subtract(scores, even.psnr)
        rows[wanted, method] = Row(
            bed.name,
            *(plan.steps, plan.sampler, plan.cfg, plan.shift),
            method,
            wanted,
            float(np.mean(counted)),
            *(float(f(scores)) for f in (np.mean, np.std, np.min)),
            None if gains is None else (float(gains.mean()), float(gains.min())),
            scores,
        )
    return sorted(rows.values(), key=lambda row: -row.wanted)


def cached(model: Any, bed: Bed, method: str, steps: int, wanted: int, counted: list[int]) -> Any:
    """A clone of the model with Scaling Cache, or with an evenly spaced line; adds its computed steps."""
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.cache_core.predict import predictors
    from scaling_cache.nodes.host.cache import Cache, install
    from scaling_cache.nodes.host.coefficients import NONE

    class Exactly(ScalingCache):
        """Scaling Cache with a number of computed steps in place of a speed-up."""

        @property
        def target(self) -> float:
            return steps / wanted

    squares = Exactly(predictor=predictors.LEAST_SQUARES)
    cache = {
        EVEN: Cache(even_line(steps, wanted), coefficients=NONE),
        ONLINE: Cache(Exactly(), coefficients=NONE),
        CALIBRATED: Cache(squares, coefficients=bed.coefficients.name),
    }[method]
    return counting(install(model, cache), counted)


def counting(model: Any, counted: list[int]) -> Any:
    """A clone that notes how often the network ran per run."""
    from comfy.patcher_extension import WrappersMP

    def begin(executor: Any, *args: Any, **kwargs: Any) -> Any:
        counted.append(0)
        return executor(*args, **kwargs)

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        counted[-1] += 1
        return executor(*args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "count", begin)
    clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "count", count)
    return clone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--beds", nargs="+", choices=BEDS, metavar="BED", default=["demo_emoji"])
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--full", action="store_true", help="cfg 1 and another shift as well")
    parser.add_argument(
        "--append", action="store_true", help="only what the file does not hold yet"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="written after each way to sample")


def run(options: argparse.Namespace) -> None:
    """Measure, write the results after each plan, and draw a picture per bed."""
    ready()
    facts = {**environment(), "seed": SEED}
    earlier: list[results.Row] = []
    if options.append:
        facts, earlier = results.kept(options.out, facts, ("seed",))
    known: dict[tuple[str, Plan], list[Row]] = {}
    for row in (Row(**row) for row in earlier):
        known.setdefault((row.bed, row.plan), []).append(row)

    def rows(*beds: str) -> list[dict[str, Any]]:
        return [asdict(row) for (bed, _), mine in known.items() if bed in beds for row in mine]

    for bed in [BEDS[name] for name in options.beds]:
        use(bed)
        vae, prompts = bed.load_vae(), bed.held_out()[: options.prompts]
        missing = {
            plan: missing_rows(plan, known.get((bed.name, plan), []))
            for plan in plans(bed, options.full)
        }
        todo = [plan for plan, count in missing.items() if count > 0]
        total = sum(1 + missing[plan] for plan in todo)
        with tqdm(total=total, desc=bed.name, unit="run", file=sys.stdout) as progress:
            for plan in todo:
                mine = known.get((bed.name, plan), [])
                known[bed.name, plan] = measure(bed, plan, prompts, vae, mine, progress.update)
                results.write(options.out, facts, rows(*BEDS))
        plots.calibration(rows(bed.name), options.out.with_name(f"calibration_{bed.name}.png"))
    show([row for mine in known.values() for row in mine])


def show(rows: list[Row]) -> None:
    """The rows as a table."""
    from tabulate import tabulate

    table = [
        [
            *(r.bed, results.plan(asdict(r)), r.method, r.wanted),
            *(f"{r.computed:.0f}", f"{r.psnr_mean:.1f} ± {r.psnr_std:.1f}", f"{r.psnr_worst:.1f}"),
            "" if r.over_even is None else f"{r.over_even[0]:+.1f} ({r.over_even[1]:+.1f})",
        ]
        for r in rows
    ]
    head = [
        "bed",
        "plan",
        "method",
        "wanted",
        "computed",
        "PSNR dB",
        "worst",
        "over even line (worst)",
    ]
    print(tabulate(table, head))
