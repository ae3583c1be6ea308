"""What is to gain where steps are few: on students of the demo models, against as many plain steps and
against the published methods inside the network.

Everything is compared with the student's own full run: how near it comes, the share of the blocks that
ran, and the wall time of single prompts, in turn with the full run. Networks this small leave more time
to what surrounds them than large ones do.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demo.few_steps.teachers import load_student

from . import measures, results
from .beds import BEDS, Plan, environment, ready
from .fidelity import clock
from .lab import TUNING_SEED, Lab, Trial, products
from .meter import in_steps
from .ways import Group

RESULTS = Path(__file__).parent / "results" / "few_steps.json"
PAGE = Path(__file__).parents[1] / "docs" / "few_steps.md"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"
SAMPLERS = ("euler", "res_multistep", "lcm", "er_sde")
SEED, FEWEST = 5000, 4
# Training prompts that a student is calibrated on.
TAUGHT = 16
# Pairs of single prompts that are timed.
PAIRS = 9


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        model: that is sampled, with the steps of the student.
        way: to sample with less.
        setting: of it.
        computed: share of the blocks that ran.
        psnr, worst: mean and lowest over prompts against all steps, dB.
        faster: wall time of all steps over that of this way, single prompts; None if not timed.
    """

    model: str
    steps: int
    sampler: str
    way: str
    setting: str
    computed: float
    psnr: float
    worst: float
    faster: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    between = [f"emoji 8 {steps}" for steps in (7, 6, 5)]
    parser.add_argument(
        "--models",
        nargs="+",
        default=["emoji 8", *between, "emoji 4", "video 8"],
        help="a teacher, the steps of its student, and those to sample if other",
    )
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--file", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="only write docs/few_steps.md")
    parser.add_argument("--times", action="store_true", help="only renew wall times; keep idle")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="that are timed; 0 for no times")


def run(options: argparse.Namespace) -> None:
    if options.page:
        write_page(options.file)
        return
    ready()
    from scaling_cache.cache_core.methods import Method, ScalingCache

    # The limits are the pack's, and not those of who published a method.
    Method.fewest = ScalingCache.fewest = FEWEST
    for name, *steps in (model.split() for model in options.models):
        made, taken = int(steps[0]), int(steps[-1])
        for sampler in options.samplers:
            rows, prompts = [], 1 if options.times else options.prompts
            for row in measured(name, made, taken, sampler, prompts, options.pairs):
                print(row, flush=True)
                # What left nothing out is of no use to a reader.
                rows += [row] if row.computed < 1 else []
            if options.times:
                rows = timed(read(options.file), rows)
            store(options.file, rows, options.prompts)


def timed(kept: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """Rows of a file, those of one model and sampler with the times of others."""
    found = {(row.model, row.sampler, row.way, row.setting): row.faster for row in rows}
    keys = [(row.model, row.sampler, row.way, row.setting) for row in kept]
    return [
        replace(row, faster=found.get(key, row.faster)) for row, key in zip(kept, keys, strict=True)
    ]


def store(file: Path, rows: Sequence[Row], prompts: int) -> None:
    """Put rows in the place of those of the same model and sampler."""
    facts, kept = results.kept(file, {**environment(), "prompts": prompts}, ())
    taken = {(row.model, row.sampler) for row in rows}
    others = [row for row in kept if (row["model"], row["sampler"]) not in taken]
    results.write(file, facts, [*others, *(asdict(row) for row in rows)])


def read(file: Path) -> list[Row]:
    """Rows of a result file."""
    return [Row(**row) for row in results.read(file)[1]]


def measured(
    name: str, made: int, steps: int, sampler: str, prompts: int, pairs: int
) -> Iterator[Row]:
    """Every way to sample with less on one student; of the published ones at its own number of steps.

    Args:
        made: number of steps that the student was made for.
        steps: that are sampled.
        pairs: of single prompts that are timed.
    """
    bed = replace(BEDS[f"demo_{name}"], load=lambda _: load_student(name, made))
    lab = Lab(bed, Plan(steps, 1.0, 0.0, sampler), 1)
    chosen = list(bed.held_out()[:prompts])
    full = lab.sample(lab.plain, chosen, [SEED])
    ways = [*ours(lab, calibrated(lab)), *(published(lab) if steps == made else ())]
    model_name = f"{name}, {made}-step student" + ("" if steps == made else f" at {steps}")
    trials = [
        Trial(way, Group.OURS, None, setting, model, plan) for way, setting, model, plan in ways
    ]
    times = (
        clock(lab, [lab.plain, *trials], chosen[:1], pairs)[1:] if pairs else [None] * len(trials)
    )
    for trial, time in zip(trials, times, strict=True):
        found = lab.sample(trial, chosen, [SEED])
        near = measures.psnr(found.pictures, full.pictures)
        share = in_steps(found.rows, full.rows, 1)
        head = (model_name, steps, sampler, trial.method, trial.setting, round(share, 3))
        mean, worst = round(float(near.mean()), 2), round(float(np.min(near)), 2)
        yield Row(*head, mean, worst, round(time["speedup"], 2) if time else None)


def calibrated(lab: Lab) -> Any:
    """Products of the outputs on training prompts, by euler, since other samplers may add noise; None
    for fewer steps than Calibrate Cache takes."""
    from scaling_cache.cache_core.methods.base import FEWEST_STEPS

    if lab.plan.steps < FEWEST_STEPS:
        return None
    return products(lab, lab.bed.training()[50:][:TAUGHT], [TUNING_SEED], "euler")


# Names, settings, models and plans of ways to sample with less.
Ways = Iterator[tuple[str, str, Any, Plan]]


def cached(lab: Lab, method: Any, table: Any = None) -> Any:
    """The student with a method."""
    from scaling_cache.nodes.host.cache import Cache, install

    return install(lab.model, Cache(method, coefficients="none", table=table))


def ours(lab: Lab, table: Any) -> Ways:
    """Scaling Cache, and plain sampling with as many steps.

    Args:
        table: calibrated products of the outputs, if there are some.
    """
    from scaling_cache.cache_core.methods import ScalingCache, ScalingSpans
    from scaling_cache.cache_core.methods.base import Few
    from scaling_cache.cache_core.predict.predictors import LEAST_SQUARES

    steps = lab.plan.steps
    for count in range(steps - max(steps * 3 // 8, 1), steps):
        yield "plain sampling", f"{count} steps", lab.model, replace(lab.plan, steps=count)
        whole = ScalingCache(steps / count, few=Few.STEPS)
        yield "Scaling Cache, whole steps", f"{count} computed", cached(lab, whole), lab.plan
        if table is not None:
            taught = cached(lab, replace(whole, predictor=LEAST_SQUARES), table)
            yield "Scaling Cache, calibrated", f"{count} computed", taught, lab.plan
    for speedup in (1.1, 1.2, 1.3):
        spans = cached(lab, ScalingSpans(speedup))
        yield "Scaling Cache, middle blocks", f"{speedup}x", spans, lab.plan


def published(lab: Lab) -> Ways:
    """Methods of others that leave out blocks."""
    from scaling_cache.cache_core.methods import DBCache, DeltaCache, FirstBlockCache, TaylorSeer
    from scaling_cache.cache_core.methods.delta_cache import StackPlan
    from scaling_cache.nodes.families import find_family

    family = find_family(lab.model.model.diffusion_model)
    assert family is not None
    layout = family.layout(lab.model.model.diffusion_model)
    for threshold in (0.1, 0.2, 0.35):
        first = cached(lab, FirstBlockCache(threshold))
        yield "First Block Cache", f"threshold {threshold}", first, lab.plan
        db = cached(lab, DBCache(threshold, first_blocks=1, last_blocks=1, warmup=2))
        yield "DBCache", f"threshold {threshold}, F1B1", db, lab.plan
    for interval in (2, 3):
        seer = cached(lab, TaylorSeer(interval, 1, 2))
        yield "TaylorSeer, blocks", f"interval {interval}", seer, lab.plan
        middle = tuple(range(1, layout.total - 1))
        stack = StackPlan("blocks", layout.stacks[0][0], middle, 2, interval)
        delta = cached(lab, DeltaCache((stack,)))
        yield "Delta Cache", f"F1B1, interval {interval}", delta, lab.plan


def best(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other one beats in both what ran and nearness, what ran most first."""

    def beaten(row: Row) -> bool:
        return any(
            other.computed <= row.computed and other.psnr > row.psnr
            for other in rows
            if other is not row
        )

    return sorted((r for r in rows if not beaten(r)), key=lambda r: -r.computed)


def table(rows: Sequence[Row]) -> str:
    """All rows in Markdown, those that nothing beats in bold."""
    lines = [
        "| model | sampler | way | setting | blocks computed | times as fast | dB (worst) |",
        "|" + " --- |" * 7,
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.sampler), []).append(row)
    for (model, sampler), group in groups.items():
        good = best(group)
        for row in sorted(group, key=lambda r: (-r.computed, -r.psnr)):
            near = f"{row.psnr:.1f}"
            near = f"**{near}**" if row in good else near
            share, faster = f"{row.computed:.0%}", f"{row.faster:.2f}" if row.faster else "-"
            cells = (model, sampler, row.way, row.setting, share, faster)
            lines.append(f"| {' | '.join(cells)} | {near} ({row.worst:.1f}) |")
    return "\n".join(lines) + "\n"


def write_page(file: Path) -> None:
    """Put the table into the docs."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}{table(read(file))}{END}{tail}", encoding="utf-8")
