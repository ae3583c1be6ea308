"""A model, a plan and the ways to sample with it: settings are searched, prompts sampled, times taken."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from . import measures
from .beds import Bed, Plan, Prompt
from .meter import Meter, in_steps
from .tuning import Search, assigned
from .ways import OTHER_SEED, PLAIN, Group, Way, oracle

TRUTH_STEPS, TUNING_SEED = 400, 900
# Beyond all seeds of a run.
_APART = 1_000_000


@dataclass(frozen=True)
class Trial:
    """A way with a setting, ready to sample.

    Attributes:
        target: speed-up that it is for, None for the plain run.
        model: with the cache.
        plan: how to sample with it.
        free: blocks at the start that count for nothing.
        apart: added to each seed.
    """

    method: str
    group: Group
    target: float | None
    setting: str
    model: Any
    plan: Plan
    free: int = 0
    apart: int = 0


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


class Lab:
    """One bed with one plan: samples, and remembers what all methods share.

    Attributes:
        tuning: prompts that thresholds are searched on; others than those of the coefficient files.
    """

    def __init__(self, bed: Bed, plan: Plan, tuning: int) -> None:
        self.bed, self.plan = bed, plan
        self.tuning = tuning_prompts(bed, tuning)
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
                    latents.append(self._run(trial, group, seed + number + trial.apart, steps))
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

        return self.bed.sample(trial.model, group, trial.plan, seed, callback=keep)

    @cached_property
    def tuning_pictures(self) -> Tensor:
        """The training prompts with all steps."""
        return self.sample(self.plain, self.tuning, [TUNING_SEED]).pictures

    @property
    def stochastic(self) -> bool:
        """Whether the sampler adds noise, so that more steps lead elsewhere."""
        import comfy.samplers
        from scaling_cache.nodes.host.sampling import sampler_traits

        sampler = comfy.samplers.sampler_object(self.plan.sampler)
        return sampler_traits(sampler, (1.0, 0.5, 0.0)).stochastic


def tuning_prompts(bed: Bed, count: int) -> Sequence[Prompt]:
    """Training prompts, 4 at most, others than those of the coefficient files."""
    return bed.training()[50::95][: min(count, 4)]


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


def products(lab: Lab, prompts: Sequence[Prompt], seeds: Sequence[int], sampler: str) -> Any:
    """A table of how guided outputs relate, calibrated on prompts by a sampler that adds no noise."""
    from scaling_cache.nodes.host import calibrating as calibrate

    groups = list(batches(prompts, lab.bed.batch))
    noise = [seed + number for seed in seeds for number in range(len(groups))]
    plan = calibrate.Plan(noise, lab.plan.steps, lab.plan.cfg, sampler, "simple", refine=True)
    with torch.inference_mode():
        file = calibrate.calibrate(
            lab.model,
            [lab.bed.conditioning(list(group)) for group in groups],
            lab.bed.conditioning([None]),
            {"samples": torch.zeros(len(groups[0]), *lab.bed.latent)},
            plan,
        )
    return file.guided_at(lab.plan.cfg)


def taught(lab: Lab, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Way:
    """The oracle, calibrated on the runs that will be compared. No way to sample may know this much."""
    return oracle(products(lab, prompts, seeds, lab.plan.sampler))


def other_seed(lab: Lab) -> Trial:
    """The plain run with other noise: how far pictures are that nobody would take for each other."""
    return replace(lab.plain, method=OTHER_SEED, group=Group.SEED, apart=_APART)


def truth_of(lab: Lab, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Tensor:
    """Pictures with 400 steps of euler, where every sampler without noise of its own leads."""
    plan = replace(lab.plan, steps=TRUTH_STEPS, sampler="euler")
    return lab.sample(replace(lab.plain, plan=plan), prompts, seeds).pictures


def progress(items: Iterable[Any], stage: str, unit: str) -> Iterator[Any]:
    return iter(tqdm(list(items), desc=stage, unit=unit, file=sys.stdout))
