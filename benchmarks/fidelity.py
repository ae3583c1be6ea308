"""How near each way to sample faster stays to the full result, at equal speed, and how fast it is.

For each bed and plan: thresholds are searched on training prompts so that a method computes as many steps
as each target speed asks for; then every way samples the same held-out prompts and seeds, in batches, and
is compared with the run that computes all steps and with one of 400 steps; then every way samples single
prompts, taking turns with the plain run, for the time.
"""

from __future__ import annotations

import argparse
import statistics as middle
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby, product
from pathlib import Path

import numpy as np
from torch import Tensor

from . import measures, plots, results, sheets
from .beds import BEDS, Bed, Plan, Prompt, environment, ready, use
from .lab import TRUTH_STEPS, Lab, Outcome, Trial, other_seed, progress, taught, truth_of, tune
from .meter import in_steps
from .sections.common import FAR_SPEEDS
from .statistics import interval, over_seeds
from .ways import ORACLE, Way, all_ways

OUT, FILE = Path(__file__).parent / "out", "fidelity.json"
# What all rows of a file have in common.
SAME = ("prompts", "seeds")
SPEEDS = (1.5, 2.0, 2.5, 3.0)
# Runs of so many steps or more are measured at `FAR_SPEEDS` too: of fewer, less is left than a picture
# takes.
FAR_STEPS = 50
SEED, SEED_APART = 5000, 100


@dataclass
class Row:
    """One line of the result file; None where a column does not apply.

    Attributes:
        computed: evaluations of the network in steps of the plain run, blocks of a probe left out.
        work: the same with them.
        evaluations: steps of the sampler.
        seconds, speedup: medians over timed runs of one prompt each, against plain runs made in turn.
        psnr, ssim, perceptual, st_lpips, jod: means over prompts against all steps with the same sampler.
        truth_psnr: mean against 400 steps of euler; None for samplers that add noise.
        intervals: of the means, by column, 95 %.
        each: what the means are of, one value per prompt.
        curve: per step, size of the difference to the plain run's denoised latent over its size, mean.
    """

    bed: str
    sampler: str
    cfg: float
    shift: float
    steps: int
    method: str
    group: str
    target: float | None
    setting: str
    computed: float
    work: float
    evaluations: int
    seconds: float | None
    speedup: float | None
    psnr: float | None
    psnr_worst: float | None
    ssim: float | None
    perceptual: float | None
    st_lpips: float | None
    jod: float | None
    truth_psnr: float | None
    n: int
    samples: int
    intervals: dict[str, tuple[float, float] | None]
    each: dict[str, list[float]]
    curve: list[float] | None


def compare(
    lab: Lab,
    trials: list[Trial],
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    truth: Tensor | None,
) -> Iterator[tuple[Row, Tensor]]:
    """A row per trial, without times, and its first pictures.

    Args:
        trials: the plain run first.
    """
    plain = lab.sample(trials[0], prompts, seeds)
    for trial in progress(trials, "sampling", "row"):
        itself = trial is trials[0]
        outcome = plain if itself else lab.sample(trial, prompts, seeds)
        row = _row(lab.plan, lab.bed, trial, outcome, plain, truth, len(prompts))
        yield row, outcome.pictures[: sheets.COLUMNS]


def _row(
    plan: Plan,
    bed: Bed,
    trial: Trial,
    outcome: Outcome,
    plain: Outcome,
    truth: Tensor | None,
    prompts: int,
) -> Row:
    each: dict[str, list[float]] = {}
    pictures = outcome.pictures
    found = {"truth_psnr": None if truth is None else measures.psnr(pictures, truth)}
    if outcome is not plain:
        found["psnr"] = measures.psnr(pictures, plain.pictures)
        found["ssim"] = measures.ssim(pictures, plain.pictures)
        found["perceptual"] = measures.flip(pictures, plain.pictures)
        found["st_lpips"] = measures.st_lpips(pictures, plain.pictures)
        found["jod"] = measures.jod(pictures, plain.pictures)
    for name, values in found.items():
        if values is not None:
            each[name] = [float(f"{v:.4g}") for v in over_seeds(values.tolist(), prompts)]

    def mean(name: str) -> float | None:
        return results.digits(float(np.mean(each[name]))) if name in each else None

    return Row(
        bed=bed.name,
        sampler=plan.sampler,
        cfg=plan.cfg,
        shift=plan.shift,
        steps=plan.steps,
        method=trial.method,
        group=trial.group.value,
        target=trial.target,
        setting=trial.setting,
        computed=round(in_steps(outcome.rows, plain.rows, plan.steps, trial.free), 2),
        work=round(in_steps(outcome.rows, plain.rows, plan.steps), 2),
        evaluations=trial.plan.steps,
        seconds=None,
        speedup=None,
        psnr=mean("psnr"),
        psnr_worst=min(each["psnr"]) if "psnr" in each else None,
        ssim=mean("ssim"),
        perceptual=mean("perceptual"),
        st_lpips=mean("st_lpips"),
        jod=mean("jod"),
        truth_psnr=mean("truth_psnr"),
        n=prompts,
        samples=len(pictures),
        intervals={name: interval(values) for name, values in each.items()},
        each=each,
        curve=_curve(outcome, plain),
    )


def _curve(outcome: Outcome, plain: Outcome) -> list[float] | None:
    """Relative error of the denoised latent per step; None where steps do not correspond."""
    if outcome is plain or len(outcome.denoised) != len(plain.denoised):
        return None
    curve: list[float] = []
    for got, expected in zip(outcome.denoised, plain.denoised, strict=True):
        error = (got - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
        curve.append(float(f"{float(error.mean()):.3g}"))
    return curve


def clock(
    lab: Lab, trials: list[Trial], prompts: Sequence[Prompt], repeats: int
) -> list[dict[str, float]]:
    """The columns of time of each trial: one prompt at a time, each method next to a plain run. Without
    prompts there are none.

    Args:
        trials: the plain run first.
    """
    seconds: list[list[float]] = [[] for _ in trials]
    speedups: list[list[float]] = [[] for _ in trials]
    turns = list(product(range(repeats), range(len(prompts))))
    if turns:
        lab.seconds(trials[0], prompts[0], SEED)  # what runs first is slow
    for _, number in progress(turns, "timing", "turn"):
        for _, some in groupby(range(len(trials)), key=lambda i: trials[i].method):
            base = lab.seconds(trials[0], prompts[number], SEED + number)
            for i in some:
                taken = base if i == 0 else lab.seconds(trials[i], prompts[number], SEED + number)
                seconds[i].append(taken)
                speedups[i].append(base / taken)
    return [
        {"seconds": round(middle.median(taken), 4), "speedup": round(middle.median(faster), 3)}
        if taken
        else {}
        for taken, faster in zip(seconds, speedups, strict=True)
    ]


def held(rows: list[results.Row], lab: Lab, trials: list[Trial]) -> list[tuple[Trial, results.Row]]:
    """The trials whose rows there are, each with its row."""
    plan = lab.plan
    known = {
        (row["method"], row["target"], row["setting"]): row
        for row in rows
        if row["bed"] == lab.bed.name
        and Plan(row["steps"], row["cfg"], row["shift"], row["sampler"]) == plan
    }
    keys = [(trial.method, trial.target, trial.setting) for trial in trials]
    return [(trial, known[key]) for trial, key in zip(trials, keys, strict=True) if key in known]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--beds", nargs="+", choices=BEDS, metavar="BED", default=["demo_emoji"])
    parser.add_argument("--steps", nargs="+", type=int, default=[50])
    parser.add_argument("--samplers", nargs="+", default=["euler"])
    parser.add_argument(
        "--cfgs", nargs="+", type=float, help="guidance scales (default: the bed's)"
    )
    parser.add_argument("--speeds", nargs="+", type=float, help="target speed-ups")
    parser.add_argument("--ways", nargs="+", metavar="NAME", help="only these rows (default: all)")
    parser.add_argument("--prompts", type=int, default=16, help="held-out prompts, 1 to 64")
    parser.add_argument("--batch", type=int, help="prompts that are sampled and decide together")
    parser.add_argument(
        "--tuning", type=int, default=4, help="training prompts for settings, 1 to 4"
    )
    parser.add_argument("--seeds", type=int, default=1, help="seeds per prompt")
    parser.add_argument("--seed", type=int, default=SEED, help="first seed")
    parser.add_argument(
        "--clips", type=int, default=1, help="prompts that are timed; 0 for no times"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per prompt")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for JSON and pictures")
    parser.add_argument("--no-truth", action="store_true", help="leave out the run of 400 steps")
    parser.add_argument(
        "--append",
        action="store_true",
        help="keep what the file holds of other beds, plans and methods, with the same prompts",
    )
    parser.add_argument(
        "--only-times",
        action="store_true",
        help="measure only the times of the rows that the file holds",
    )


def planned(options: argparse.Namespace) -> Iterator[tuple[Bed, Plan]]:
    """What is to be measured."""
    for name in options.beds:
        bed = replace(BEDS[name], batch=options.batch) if options.batch else BEDS[name]
        for steps, sampler, cfg in product(
            options.steps, options.samplers, options.cfgs or (bed.cfg,)
        ):
            yield bed, Plan(steps, cfg, bed.shift, sampler)


def run(options: argparse.Namespace) -> None:
    """Measure, write `fidelity.json` after each row, and draw."""
    if not 1 <= options.prompts <= 64:
        raise SystemExit(f"--prompts: must be 1 to 64, got {options.prompts}")
    ready()
    seeds = [options.seed + SEED_APART * i for i in range(options.seeds)]
    facts = {**environment(), "dtype": "float32", "prompts": options.prompts, "seeds": seeds}
    facts["tuning"] = options.tuning
    path = options.out / FILE
    rows: list[results.Row] = []
    if options.append or options.only_times:
        facts, rows = results.kept(path, facts, SAME)
    truths: dict[tuple[str, float], Tensor] = {}
    for bed, plan in planned(options):
        lab = Lab(bed, plan, options.tuning)
        prompts = bed.held_out()[: options.prompts]
        timed = prompts[: options.clips]
        use(lab.bed)
        print(f"{bed.name}, {plan}", flush=True)
        ways = all_ways(lab.model, lab.bed)
        if not lab.stochastic and (not options.ways or ORACLE in options.ways):
            ways.append(taught(lab, prompts, seeds))
        speeds = options.speeds or (*SPEEDS, *(FAR_SPEEDS if plan.steps >= FAR_STEPS else ()))
        trials = tune(lab, chosen(ways, options.ways) if options.ways else ways, speeds)
        trials.append(other_seed(lab))
        if options.only_times:
            pairs = held(rows, lab, trials)
            if not pairs:
                raise SystemExit(f"--only-times: {path} holds nothing of {bed.name}, {plan}")
            times = clock(lab, [trial for trial, _ in pairs], timed, options.repeats)
            for (_, row), columns in zip(pairs, times, strict=True):
                row.update(columns)
            results.write(path, facts, rows)
            continue
        truth = None
        if not lab.stochastic and not options.no_truth:
            asked = bed.name, plan.cfg
            if asked not in truths:
                truths[asked] = truth_of(lab, prompts, seeds)
            truth = truths[asked]
        new: list[results.Row] = []
        pictures: dict[str, dict[float, Tensor]] = {}
        for row, shown in compare(lab, trials, prompts, seeds, truth):
            new.append(asdict(row))
            pictures.setdefault(row.method, {})[row.target or 1.0] = shown
            results.write(path, facts, results.merged(rows, new))
        for speed in speeds:
            sheets.save(options.out, lab.bed, lab.plan, new, pictures, speed)
        for row, columns in zip(new, clock(lab, trials, timed, options.repeats), strict=True):
            row.update(columns)
        rows = results.merged(rows, new)
        results.write(path, facts, rows)
    plots.fidelity(rows, options.out)
    show(rows)


def chosen(ways: list[Way], names: Sequence[str]) -> list[Way]:
    """The ways with these names.

    Raises:
        SystemExit: naming those that there are.
    """
    known = [way.method for way in ways]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"--ways: {unknown[0]!r} is not one of {', '.join(known)}")
    return [way for way in ways if way.method in names]


def show(rows: list[results.Row]) -> None:
    """The rows as a table."""
    from tabulate import tabulate

    columns = {
        "method": "method",
        "target": "for",
        "setting": "setting",
        "computed": "computed",
        "speedup": "speed-up",
        "psnr": "PSNR",
        "psnr_worst": "worst",
        "ssim": "SSIM",
        "perceptual": "FLIP",
        "st_lpips": "ST-LPIPS",
        "jod": "JOD",
        "truth_psnr": f"PSNR, {TRUTH_STEPS} steps",
    }
    for (bed, plan), group in groupby(rows, key=lambda row: (row["bed"], results.plan(row))):
        print(f"\n{bed}, {plan}")
        table = [[row[name] for name in columns] for row in group]
        print(tabulate(table, list(columns.values()), missingval=""))
