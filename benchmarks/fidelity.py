"""How near each way to sample faster stays to the full result, at equal speed, and how fast it is.

For each bed and plan: thresholds are searched on training prompts so that a method computes as many steps
as each target speed asks for; then every way samples the same held-out prompts and seeds, in batches, and
is compared with the run that computes all steps and with one of 400 steps; then every way samples single
prompts, taking turns with the plain run, for the time.
"""

from __future__ import annotations

import argparse
import statistics as middle
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from demo.nodes.vocabulary import Prompt, held_out_prompts, training_prompts

from . import measures, plots, results, sheets
from .beds import BEDS, Bed, Plan, environment, ready, use
from .meter import Meter, in_steps
from .statistics import interval, over_seeds
from .tuning import Search, assigned
from .ways import ORACLE, PLAIN, Group, Way, all_ways, oracle

OUT, FILE = Path(__file__).parent / "out", "fidelity.json"
# What all rows of a file have in common.
SAME = ("prompts", "seeds")
SPEEDS = (1.5, 2.0, 2.5, 3.0)
STEPS, CFGS = (50, 28, 20), (4.0, 1.0)
SAMPLERS = ("euler", "dpmpp_2m", "uni_pc", "euler_ancestral")
SHIFT, TRUTH_STEPS = 3.0, 400
SEED, TUNING_SEED, SEED_APART = 5000, 900, 100


@dataclass(frozen=True)
class Trial:
    """A way with a setting, ready to sample.

    Attributes:
        target: speed-up that it is for, None for the plain run.
        model: with the cache.
        plan: how to sample with it.
        free: blocks at the start that count for nothing.
    """

    method: str
    group: Group
    target: float | None
    setting: str
    model: Any
    plan: Plan
    free: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a trial made.

    Attributes:
        pictures: [n, ..., height, width, 3] in 0 to 1.
        denoised: latents [n, ...] of each step.
        rows: per block, how many conditionings went through it.
    """

    pictures: Tensor
    denoised: list[Tensor]
    rows: list[int]


@dataclass
class Row:
    """One line of the result file; None where a column does not apply.

    Attributes:
        computed: evaluations of the network in steps of the plain run, blocks of a probe left out.
        work: the same with them.
        evaluations: steps of the sampler.
        seconds, speedup: medians over timed runs of one prompt each, against plain runs made in turn.
        psnr, ssim, perceptual: means over prompts against all steps with the same sampler.
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
    truth_psnr: float | None
    n: int
    samples: int
    intervals: dict[str, tuple[float, float] | None]
    each: dict[str, list[float]]
    curve: list[float] | None


class Lab:
    """One bed with one plan: samples, and remembers what all methods share.

    Attributes:
        tuning: prompts that thresholds are searched on; others than those of the coefficient files.
    """

    def __init__(self, bed: Bed, plan: Plan, tuning: int) -> None:
        self.bed, self.plan = bed, plan
        self.tuning = training_prompts()[50::95][:tuning]
        self.model, self.vae = bed.load(plan.shift), bed.load_vae()
        self.plain = Trial(PLAIN, Group.PLAIN, None, "", self.model, plan)
        self._meter = Meter(self.model.model.diffusion_model)

    def sample(self, trial: Trial, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Outcome:
        """Sample all prompts with the first seed, then with the next."""
        latents: list[Tensor] = []
        denoised: list[list[Tensor]] = []
        with self._meter.counting() as rows:
            for seed in seeds:
                for number, group in enumerate(batches(prompts, self.bed.batch)):
                    steps: list[Tensor] = []
                    latents.append(self._run(trial, group, seed + number, steps))
                    denoised.append(steps)
        joined = [torch.cat(step) for step in zip(*denoised, strict=True)]
        pictures = torch.cat([self.bed.decode(self.vae, batch) for batch in latents])
        return Outcome(pictures, joined, rows)

    def count(self, trial: Trial) -> list[int]:
        """Conditionings per block on the training prompts."""
        with self._meter.counting() as rows:
            for number, group in enumerate(batches(self.tuning, self.bed.batch)):
                self._run(trial, group, TUNING_SEED + number, [])
        return rows

    def seconds(self, trial: Trial, prompt: Prompt, seed: int) -> float:
        """Wall time of sampling one prompt."""
        began = time.perf_counter()
        self._run(trial, [prompt], seed, [])
        return time.perf_counter() - began

    def _run(self, trial: Trial, group: Sequence[Prompt], seed: int, steps: list[Tensor]) -> Tensor:
        def keep(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            steps.append(denoised.clone())

        return self.bed.sample(trial.model, list(group), trial.plan, seed, callback=keep)

    @cached_property
    def tuning_pictures(self) -> Tensor:
        """The training prompts with all steps."""
        return self.sample(self.plain, self.tuning, [TUNING_SEED]).pictures

    @property
    def stochastic(self) -> bool:
        """Whether the sampler adds noise, so that more steps lead elsewhere."""
        import comfy.samplers
        from scaling_cache.nodes.host.samplers import sampler_traits

        sampler = comfy.samplers.sampler_object(self.plan.sampler)
        return sampler_traits(sampler, (1.0, 0.5, 0.0)).stochastic


def batches(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    for first in range(0, len(prompts), size):
        yield prompts[first : first + size]


def tune(lab: Lab, ways: list[Way], speeds: Sequence[float]) -> list[Trial]:
    """The trials of all ways: settings that compute as many steps as each speed asks for."""
    counted = lab.count(lab.plain)
    trials = [lab.plain]
    for way in progress(ways, "tuning", "way"):
        if way.candidates is not None:
            trials += [_best(lab, way, speed) for speed in speeds]
            continue

        def computed(setting: Any, way: Way = way) -> float:
            rows = lab.count(_trial(lab, way, setting, None))
            return in_steps(rows, counted, lab.plan.steps, way.free)

        search = Search(way.settings, computed)
        found: dict[float, tuple[Any, float]] = {}
        for speed in speeds:
            setting = search.find(lab.plan.steps / speed)
            found[speed] = (setting, search.counted(setting))
        chosen = assigned(found, lab.plan.steps)
        trials += [_trial(lab, way, setting, speed) for speed, setting in sorted(chosen.items())]
    return trials


def _trial(lab: Lab, way: Way, setting: Any, target: float | None) -> Trial:
    model, plan = way.make(lab.model, setting), way.replan(lab.plan, setting)
    if model is lab.model and plan == lab.plan:
        raise RuntimeError(f"{way.method} does not work on {lab.bed.name}: it would sample plainly")
    return Trial(way.method, way.group, target, way.text(setting), model, plan, way.free)


def _best(lab: Lab, way: Way, speed: float) -> Trial:
    """The candidate that comes nearest to the plain run on training prompts."""
    assert way.candidates is not None
    trials = [_trial(lab, way, setting, speed) for setting in way.candidates(lab.plan, speed)]
    if len(trials) == 1:
        return trials[0]

    def score(trial: Trial) -> float:
        pictures = lab.sample(trial, lab.tuning, [TUNING_SEED]).pictures
        return float(measures.psnr(pictures, lab.tuning_pictures).mean())

    best = max(trials, key=score)
    return replace(best, setting=best.plan.sampler)


def taught(lab: Lab, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Way:
    """The oracle, calibrated on the runs that will be compared. No way to sample may know this much."""
    from scaling_cache.nodes.host import calibrate

    groups = list(batches(prompts, lab.bed.batch))
    noise = [seed + number for seed in seeds for number in range(len(groups))]
    plan = calibrate.Plan(
        noise, lab.plan.steps, lab.plan.cfg, lab.plan.sampler, "simple", refine=True
    )
    with torch.inference_mode():
        file = calibrate.calibrate(
            lab.model,
            [lab.bed.conditioning(list(group)) for group in groups],
            lab.bed.conditioning([None]),
            {"samples": torch.zeros(len(groups[0]), *lab.bed.latent)},
            plan,
        )
    return oracle(file.guided_at(lab.plan.cfg))


def truth_of(lab: Lab, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Tensor:
    """Pictures with 400 steps of euler, where every sampler without noise of its own leads."""
    plan = replace(lab.plan, steps=TRUTH_STEPS, sampler="euler")
    return lab.sample(replace(lab.plain, plan=plan), prompts, seeds).pictures


def compare(
    lab: Lab,
    trials: list[Trial],
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    truth: Tensor | None,
) -> tuple[list[Row], dict[str, dict[float, Tensor]]]:
    """A row per trial, without times, and the first pictures of each, by method and target."""
    plain = lab.sample(trials[0], prompts, seeds)
    rows: list[Row] = []
    kept: dict[str, dict[float, Tensor]] = {}
    for trial in progress(trials, "sampling", "row"):
        itself = trial is trials[0]
        outcome = plain if itself else lab.sample(trial, prompts, seeds)
        rows.append(_row(lab.plan, lab.bed, trial, outcome, plain, truth, len(prompts)))
        kept.setdefault(trial.method, {})[trial.target or 1.0] = outcome.pictures[: sheets.COLUMNS]
    return rows, kept


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
    for name, values in found.items():
        if values is not None:
            each[name] = [float(f"{v:.4g}") for v in over_seeds(values.tolist(), prompts)]

    def mean(name: str) -> float | None:
        return round(float(np.mean(each[name])), 4) if name in each else None

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
    lab: Lab, trials: list[Trial], rows: list[Row], prompts: Sequence[Prompt], repeats: int
) -> None:
    """Fill in the times of the rows: one prompt at a time, each method next to a plain run."""
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
    for row, taken, faster in zip(rows, seconds, speedups, strict=True):
        if taken:
            row.seconds = round(middle.median(taken), 4)
            row.speedup = round(middle.median(faster), 3)


def progress(items: Iterable[Any], stage: str, unit: str) -> Iterator[Any]:
    return iter(tqdm(list(items), desc=stage, unit=unit, file=sys.stdout))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--beds", nargs="+", choices=BEDS, metavar="BED", default=["demo_image"])
    parser.add_argument("--steps", nargs="+", type=int, default=[50])
    parser.add_argument("--samplers", nargs="+", default=["euler"])
    parser.add_argument("--cfgs", nargs="+", type=float, default=[4.0])
    parser.add_argument("--speeds", nargs="+", type=float, default=SPEEDS)
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
        "--full",
        action="store_true",
        help="all beds, steps, samplers, scales and 32 prompts; takes days on two cores",
    )


def run(options: argparse.Namespace) -> None:
    """Measure, write `fidelity.json` after each plan, and draw."""
    if options.full:
        options.beds, options.prompts = list(BEDS), 32
        options.steps, options.samplers, options.cfgs = STEPS, SAMPLERS, CFGS
    if not 1 <= options.prompts <= len(held_out_prompts()):
        raise SystemExit(f"--prompts: must be 1 to 64, got {options.prompts}")
    ready()
    prompts = held_out_prompts()[: options.prompts]
    seeds = [options.seed + SEED_APART * i for i in range(options.seeds)]
    facts = {**environment(), "dtype": "float32", "prompts": len(prompts), "seeds": seeds}
    facts["tuning"] = options.tuning
    rows = results.kept(options.out / FILE, facts, SAME) if options.append else []
    truths: dict[tuple[str, float], Tensor] = {}
    for name, steps, sampler, cfg in product(
        options.beds, options.steps, options.samplers, options.cfgs
    ):
        bed = replace(BEDS[name], batch=options.batch) if options.batch else BEDS[name]
        lab = Lab(bed, Plan(steps, cfg, SHIFT * bed.shifts, sampler), options.tuning)
        use(lab.bed)
        print(f"{name}, {lab.plan}", flush=True)
        ways = all_ways(lab.model, lab.bed)
        if not lab.stochastic and (not options.ways or ORACLE in options.ways):
            ways.append(taught(lab, prompts, seeds))
        if options.ways:
            ways = chosen(ways, options.ways)
        trials = tune(lab, ways, options.speeds)
        truth = None
        if not lab.stochastic and not options.no_truth:
            if (name, cfg) not in truths:
                truths[name, cfg] = truth_of(lab, prompts, seeds)
            truth = truths[name, cfg]
        found, pictures = compare(lab, trials, prompts, seeds, truth)
        new = [asdict(row) for row in found]
        for speed in options.speeds:
            sheets.save(options.out, lab.bed, lab.plan, new, pictures, speed)
        # Written before the times as well: they take a while.
        results.write(options.out / FILE, facts, results.merged(rows, new))
        clock(lab, trials, found, prompts[: options.clips], options.repeats)
        rows = results.merged(rows, [asdict(row) for row in found])
        results.write(options.out / FILE, facts, rows)
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
        "truth_psnr": f"PSNR, {TRUTH_STEPS} steps",
    }
    for (bed, plan), group in groupby(rows, key=lambda row: (row["bed"], results.plan(row))):
        print(f"\n{bed}, {plan}")
        table = [[row[name] for name in columns] for row in group]
        print(tabulate(table, list(columns.values()), missingval=""))
