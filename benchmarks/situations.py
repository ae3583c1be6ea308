"""What people put into a graph that changes the question from one step to the next:
`python -m benchmarks situations`.

Each situation is sampled in full, with Scaling Cache, and in fewer steps that evaluate the model as often
as the cache did. The promise: at default settings the cache is never further from the full run than that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.host.fetch import ROOT

from . import results
from .beds import BEDS, Bed, Prompt, environment, ready, use
from .measures import psnr

FILE = Path(__file__).parent / "results" / "situations.json"
PAGE = ROOT / "docs" / "situations.md"
_INTRO = """# Situations

What people put into a graph changes what the model is asked from one step to the next. Written by
`python -m benchmarks situations`: the demo's {bed}, {steps} steps, cfg {cfg:g}, shift {shift:g}, euler
where no sampler is named, {count} held-out prompts, one seed, CPU, revision {revision}, {date}.

Decibels (PSNR) of decoded pictures against the run without the cache, mean over the prompts; *fewer* is
plain sampling that evaluates the model as often as the cached run did. Differences under 2 dB mean
nothing over so few prompts. Bold where the cache is more than {nothing} dB below.

What no node announces (*unseen*) is a prompt that another node replaces in a wrapper around the network:
a skipped step would not hear of it, so all is computed. The {count} prompts are one batch here, judged
together. Detail Daemon, windows and res_2s stand for nodes of other packs, written anew for this page. A
situation takes half a minute of one core.

| situation | at | computed | cached | worst prompt | fewer | the node says |
| --- | --- | --- | --- | --- | --- | --- |
"""

BED, STEPS, SEED = "demo_emoji", 30, 5000
CFG = BEDS[BED].cfg
SPEEDS = (2.0, 3.0)
# What may be lost against fewer steps: less means nothing over so few prompts.
NOTHING = 0.5


@dataclass
class Graph:
    """What a situation puts around the cache.

    Attributes:
        bed: model to sample.
        prompts: that are sampled.
        positive, negative: conditionings.
        before, after: what other nodes do to the model before and after the cache.
        guider: makes one of a model and conditionings; None for the host's CFGGuider.
        sampler: the host's name of it, or one of another pack.
        scheduler: the host's name of it.
        coefficients: "auto" where the cache takes the bed's file.
        evaluations: of the model in each step but the last.
        cfg: scale of the guidance.
        mask: of the latent, where only a part is sampled.
        samplers: that share the steps, each with a run of its own.
    """

    bed: Bed
    prompts: list[Prompt]
    positive: list[Any] = field(default_factory=list)
    negative: list[Any] = field(default_factory=list)
    before: Callable[[Any], Any] = lambda model: model
    after: Callable[[Any], Any] = lambda model: model
    guider: Callable[[Any], Any] | None = None
    sampler: Any = "euler"
    scheduler: str = "simple"
    coefficients: str = "none"
    evaluations: int = 1
    cfg: float = CFG
    mask: Tensor | None = None
    samplers: int = 1

    def sample(self, model: Any, steps: int) -> Tensor:
        """Latents."""
        import comfy.samplers

        noise = torch.randn(
            len(self.prompts), *self.bed.latent, generator=torch.Generator().manual_seed(SEED)
        )
        sampler = self.sampler
        if isinstance(sampler, str):
            sampler = comfy.samplers.sampler_object(sampler)
        space = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(space, self.scheduler, steps)
        guider = (self.guider or comfy.samplers.CFGGuider)(model)
        guider.set_conds(self.positive, self.negative)
        guider.set_cfg(self.cfg)
        latents = torch.zeros_like(noise)
        ends = [steps * i // self.samplers for i in range(self.samplers + 1)]
        for first, last in pairwise(ends):
            with torch.inference_mode():
                latents = guider.sample(
                    noise,
                    latents,
                    sampler,
                    sigmas[first : last + 1],
                    denoise_mask=self.mask,
                    disable_pbar=True,
                    seed=SEED,
                )
            noise = torch.zeros_like(noise)
        return latents


@dataclass(frozen=True)
class Situation:
    """Something people do.

    Attributes:
        name: short.
        change: puts it into a graph that would sample plainly.
        bed: name of the model.
    """

    name: str
    change: Callable[[Graph], None]
    bed: str = BED


@dataclass(frozen=True)
class Row:
    """What came of a situation at one target. Decibels of decoded pictures against the full run."""

    situation: str
    target: float
    evaluations: int
    computed: int
    cached: float
    cached_worst: float
    fewer: float
    notes: tuple[str, ...]
    steps: tuple[int, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the promise was."""
        return self.cached >= self.fewer - NOTHING


def graph(situation: Situation, count: int) -> Graph:
    """The graph of a situation over so many held-out prompts."""
    bed = BEDS[situation.bed]
    prompts = list(bed.held_out()[:count])
    made = Graph(bed, prompts, bed.conditioning(list(prompts)), bed.conditioning([None]))
    situation.change(made)
    return made


@contextmanager
def counting(model: Any) -> Iterator[tuple[Any, list[float]]]:
    """A clone of a model that notes the noise level of each evaluation of its network."""
    from comfy.patcher_extension import WrappersMP

    seen: list[float] = []

    def applied(executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(float(t.reshape(-1)[0]))
        return executor(x, t, *args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "counting", applied)
    yield clone, seen


def measure(
    situation: Situation, count: int, speeds: Sequence[float] = SPEEDS, steps: int = STEPS
) -> list[Row]:
    """Rows of a situation, with as many fewer steps as were computed."""
    from scaling_cache.cache_core.methods import ScalingCache

    from testbed.install import cached

    made = graph(situation, count)
    model = made.bed.load(made.bed.shift)
    vae = made.bed.load_vae()
    plainly = made.after(made.before(model))

    def pictures(latents: Tensor) -> Tensor:
        return made.bed.decode(vae, latents.float())

    with counting(plainly) as (counted, seen):
        full = pictures(made.sample(counted, steps))
    evaluations = len(seen)
    # By their steps: targets that compute alike are compared with the same run.
    plain = {steps: full}
    rows: list[Row] = []
    for speed in speeds:
        runs: list[Any] = []
        with counting(made.before(model)) as (counted, seen):
            fast = made.after(cached(counted, ScalingCache(speed), runs, made.coefficients))
            near = pictures(made.sample(fast, steps))
        few = max(1, round(steps * len(seen) / evaluations))
        if few not in plain:
            plain[few] = pictures(made.sample(plainly, few))
        each = psnr(near, full)
        rows.append(
            Row(
                situation.name,
                speed,
                evaluations,
                len(seen),
                float(each.mean()),
                float(each.min()),
                float(psnr(plain[few], full).mean()),
                tuple(note for run in runs for note in run.report.sentences),
                tuple(r.step for run in runs for r in run.report.records if r.computed),
            )
        )
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="*", choices=list(SITUATIONS), help="situations")
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument(
        "--out", type=Path, default=FILE, help="JSON file; the page is of the committed"
    )


def run(options: argparse.Namespace) -> None:
    """Measure and print; keep the rows of situations that are not measured this time."""
    ready()
    facts = {**environment(), "prompts": options.prompts}
    facts, rows = results.kept(options.out, facts, ("prompts",))
    order = list(SITUATIONS)
    for name in options.only or SITUATIONS:
        found = measure(SITUATIONS[name], options.prompts)
        rows = [row for row in rows if row["situation"] != name] + [_short(row) for row in found]
        rows.sort(key=lambda row: (order.index(row["situation"]), row["target"]))
        for row in found:
            print(
                f"{name}, {row.target:g}x: {row.cached:.1f} dB, fewer {row.fewer:.1f}", flush=True
            )
        # After each, since all of them take an hour.
        results.write(options.out, facts, rows)
        if options.out == FILE:
            PAGE.write_text(page(facts, rows), encoding="utf-8")


def _short(row: Row) -> results.Row:
    """As a result file keeps it."""
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(row).items()}


def page(facts: dict[str, Any], rows: list[results.Row]) -> str:
    """The page in Markdown."""
    head = _INTRO.format(
        bed="emoji model",
        steps=STEPS,
        cfg=CFG,
        shift=BEDS[BED].shift,
        count=facts["prompts"],
        nothing=NOTHING,
        **{name: facts[name] for name in ("revision", "date")},
    )
    lines = []
    for row in rows:
        missed = row["cached"] < row["fewer"] - NOTHING
        cached = f"**{row['cached']:.1f}**" if missed else f"{row['cached']:.1f}"
        counts = f"{row['computed']} of {row['evaluations']}"
        decibels = f"{cached} | {row['cached_worst']:.1f} | {row['fewer']:.1f}"
        said = "; ".join(row["notes"])
        lines.append(
            f"| {row['situation']} | {row['target']:g}x | {counts} | {decibels} | {said} |\n"
        )
    return head + "".join(lines)


# --- what changes


def _share(sigma: float, model: Any) -> float:
    """Share of the schedule that is over."""
    return 1 - float(model.get_model_object("model_sampling").timestep(torch.tensor(sigma))) / 1000


def control(start: float, end: float, strength: float = 0.35) -> Callable[[Graph], None]:
    """Something with the host's range of a ControlNet, which adds to the middle of the network."""

    def change(graph: Graph) -> None:
        from comfy.controlnet import ControlBase

        class Control(ControlBase):
            def __init__(self) -> None:
                super().__init__()
                generator = torch.Generator().manual_seed(3)
                self.pattern = torch.randn(1, 64, 256, generator=generator) * strength

            def get_control(self, x: Tensor, t: Tensor, *_: Any) -> Any:
                assert self.timestep_range is not None
                if not self.timestep_range[0] >= t[0] >= self.timestep_range[1]:
                    return None
                return {"output": [self.pattern.to(x).expand(len(x), -1, -1)] * 3}

            def copy(self) -> Control:
                self.copy_to(copied := Control())
                return copied

        hint = Control().set_cond_hint(torch.zeros(1, 3, 8, 8), 1.0, (start, end))
        more = {"control": hint, "control_apply_to_uncond": False}
        graph.positive = [[t, {**o, **more}] for t, o in graph.positive]
        graph.negative = [[t, {**o, **more}] for t, o in graph.negative]

    return change


def guided(scale: Callable[[int, float], float]) -> Callable[[Graph], None]:
    """A guider with a scale of its own at each step, of the step and the share of the run."""

    def change(graph: Graph) -> None:
        import comfy.samplers

        class Guider(comfy.samplers.CFGGuider):
            def predict_noise(
                self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None
            ) -> Tensor:
                levels = model_options["transformer_options"]["sample_sigmas"].tolist()
                here = float(timestep[0])
                step = min(range(len(levels)), key=lambda i: abs(levels[i] - here))
                self.conds, kept = dict(self.conds), self.conds
                if (other := scale(step, step / (len(levels) - 1))) != 1.0:
                    other = other if other > 0 else self.cfg
                try:
                    return comfy.samplers.sampling_function(
                        self.inner_model,
                        x,
                        timestep,
                        self.conds["negative"],
                        self.conds["positive"],
                        other,
                        model_options=model_options,
                        seed=seed,
                    )
                finally:
                    self.conds = kept

        graph.guider = Guider

    return change


def _others(graph: Graph) -> list[Any]:
    """Conditionings of other prompts."""
    other = list(graph.bed.held_out()[20 : 20 + len(graph.prompts)])
    return graph.bed.conditioning(other)


def replaced(at: float) -> Callable[[Graph], None]:
    """Another prompt from a share of the run on, as the host's timed conditionings have it."""

    def change(graph: Graph) -> None:
        first = [[t, {**o, "start_percent": 0.0, "end_percent": at}] for t, o in graph.positive]
        then = [[t, {**o, "start_percent": at, "end_percent": 1.0}] for t, o in _others(graph)]
        graph.positive = first + then

    return change


def _below(change: Callable[[Tensor, int, int], Tensor]) -> Callable[[Graph], None]:
    """Another pack changes what the network is asked, where no cache sees it: the positive conditioning
    [batch, tokens, width] at a step."""

    def put(graph: Graph) -> None:
        from comfy.patcher_extension import WrappersMP

        def applied(executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            options = kwargs.get("transformer_options") or args[3]
            levels = options["sample_sigmas"].tolist()
            here = float(options["sigmas"][0])
            step = min(range(len(levels)), key=lambda i: abs(levels[i] - here))
            text = kwargs.get("c_crossattn", args[1] if len(args) > 1 else None)
            parts = list(text.chunk(len(options["cond_or_uncond"])))
            for place, which in enumerate(options["cond_or_uncond"]):
                if which == 0:
                    parts[place] = change(parts[place], step, len(levels) - 1)
            if "c_crossattn" in kwargs:
                kwargs["c_crossattn"] = torch.cat(parts)
            else:
                args = (args[0], torch.cat(parts), *args[2:])
            return executor(x, t, *args, **kwargs)

        def after(model: Any) -> Any:
            clone = model.clone()
            clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "another pack", applied)
            return clone

        graph.after = after

    return put


def swapped(at: float) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        other = _others(graph)[0][0]
        _below(lambda text, step, steps: other.to(text) if step >= at * steps else text)(graph)

    return change


def alternating(graph: Graph) -> None:
    other = _others(graph)[0][0]
    _below(lambda text, step, _: other.to(text) if step % 2 else text)(graph)


def fading(graph: Graph) -> None:
    other = _others(graph)[0][0]
    _below(lambda text, step, steps: torch.lerp(text, other.to(text), step / steps))(graph)


def daemon(amount: float) -> Callable[[Graph], None]:
    """A sampler around another that tells the model less noise than there is, most in the middle."""

    def change(graph: Graph) -> None:
        import comfy.samplers

        inner = comfy.samplers.sampler_object("euler")

        def sample_detail_daemon(
            model: Any, x: Any, sigmas: Any, around: Any, **kwargs: Any
        ) -> Any:
            levels, count = sigmas.tolist(), len(sigmas) - 1

            class Told:
                inner_model = model.inner_model

                def __call__(self, x: Any, sigma: Any, **more: Any) -> Any:
                    step = min(range(count), key=lambda i: abs(levels[i] - float(sigma[0])))
                    share = step / count
                    bump = max(0.0, 1 - abs(share - 0.5) / 0.3)
                    return model(x, sigma * (1 - amount * 0.1 * bump), **more)

                def __getattr__(self, name: str) -> Any:
                    return getattr(model, name)

            return around.sampler_function(Told(), x, sigmas, **kwargs)

        graph.sampler = comfy.samplers.KSAMPLER(sample_detail_daemon, {"around": inner})

    return change


def res_2s(graph: Graph) -> None:
    """The exponential integrator of second order with one step in between (Hochbruck, Ostermann 2005)."""
    import comfy.samplers

    def phi(order: int, h: Tensor) -> Tensor:
        one = (1 - torch.exp(-h)) / h
        return one if order == 1 else (1 - one) / h

    def sample_res_2s_ode(model: Any, x: Any, sigmas: Any, extra_args: Any, **_: Any) -> Any:
        ones = x.new_ones([len(x)])
        for here, there in pairwise(sigmas):
            first = model(x, here * ones, **extra_args)
            if there == 0:
                return first
            h = -torch.log(there / here)
            c2 = 0.5
            between = here * torch.exp(-c2 * h)
            x2 = torch.exp(-c2 * h) * x + c2 * h * phi(1, c2 * h) * first
            second = model(x2, between * ones, **extra_args)
            b2 = phi(2, h) / c2
            b1 = phi(1, h) - b2
            x = torch.exp(-h) * x + h * (b1 * first + b2 * second)
        return x

    graph.sampler = comfy.samplers.KSAMPLER(sample_res_2s_ode)
    graph.evaluations = 2


def sampler(name: str, evaluations: int = 1, cfg: float = CFG) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph.sampler, graph.evaluations, graph.cfg = name, evaluations, cfg

    return change


def scheduler(name: str) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph.scheduler = name

    return change


def shifted(value: float) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph.bed = replace(graph.bed, shift=value)

    return change


def calibrated(graph: Graph) -> None:
    use(graph.bed)
    graph.coefficients = "auto"


def windows_of_frames(graph: Graph) -> None:
    """AnimateDiff's uniform windows over frames, which move from step to step, with the cache behind."""
    from comfy.patcher_extension import WrappersMP

    graph.positive = graph.bed.conditioning(graph.prompts[:1])

    def windows(executor: Any, model: Any, conds: Any, x: Tensor, sigma: Any, options: Any) -> Any:
        count, length = len(x), max(2, len(x) // 2)
        levels = options["transformer_options"]["sample_sigmas"].tolist()
        step = min(range(len(levels)), key=lambda i: abs(levels[i] - float(sigma[0])))
        outs = [torch.zeros_like(x) for _ in conds]
        for start in range(0, count, length):
            frames = [(start + step + i) % count for i in range(length)]
            told = dict(options["transformer_options"], ad_params={"sub_idxs": frames})
            part = executor(
                model, conds, x[frames], sigma[frames], {**options, "transformer_options": told}
            )
            for out, got in zip(outs, part, strict=True):
                out[frames] = got
        return outs

    def before(model: Any) -> Any:
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "windows", windows)
        return clone

    graph.before = before


def masked(graph: Graph) -> None:
    graph.mask = torch.zeros(1, 1, *graph.bed.latent[-2:])
    graph.mask[..., : graph.bed.latent[-1] // 2] = 1.0


def strong(graph: Graph) -> None:
    graph.cfg = 7.0


def in_turn(graph: Graph) -> None:
    """Two samplers share the steps, as of a model for much noise and one for little."""
    graph.samplers = 2


def nothing_changes(graph: Graph) -> None:
    """Plain sampling."""


SITUATIONS = {
    s.name: s
    for s in (
        Situation("nothing changes", nothing_changes),
        Situation("ControlNet to the end", control(0, 1)),
        Situation("ControlNet to 0.7", control(0, 0.7)),
        Situation("ControlNet to 0.4", control(0, 0.4)),
        Situation("ControlNet from 0.3", control(0.3, 1)),
        Situation("guidance on every second step", guided(lambda i, _: 1.0 if i % 2 else 0.0)),
        Situation("guidance on every third step", guided(lambda i, _: 1.0 if i % 3 else 0.0)),
        Situation(
            "guidance from 0.15 to 0.6", guided(lambda _, t: 0.0 if 0.15 <= t < 0.6 else 1.0)
        ),
        Situation("guidance that falls", guided(lambda _, t: 6.0 - 4.0 * t)),
        Situation("guidance 6 and 2 in turn", guided(lambda i, _: 2.0 if i % 2 else 6.0)),
        Situation("prompt replaced at 0.6", replaced(0.6)),
        Situation("prompt replaced at 0.3", replaced(0.3)),
        Situation("prompt replaced unseen at 0.6", swapped(0.6)),
        Situation("prompt replaced unseen at 0.3", swapped(0.3)),
        Situation("prompts in turn, unseen", alternating),
        Situation("prompt fades, unseen", fading),
        Situation("Detail Daemon 0.3", daemon(0.3)),
        Situation("Detail Daemon 1.0", daemon(1.0)),
        Situation("moving windows", windows_of_frames),
        Situation("a part of the picture", masked),
        Situation("two samplers in turn", in_turn),
        Situation("cfg 7", strong),
        Situation("res_2s_ode", res_2s),
        Situation("heun", sampler("heun", 2)),
        Situation("dpm_2", sampler("dpm_2", 2)),
        Situation("dpmpp_2s_ancestral", sampler("dpmpp_2s_ancestral", 2)),
        Situation("dpmpp_sde", sampler("dpmpp_sde", 2)),
        Situation("heunpp2", sampler("heunpp2", 3)),
        Situation("dpmpp_2m", sampler("dpmpp_2m")),
        Situation("dpmpp_3m_sde", sampler("dpmpp_3m_sde")),
        Situation("uni_pc", sampler("uni_pc")),
        Situation("euler_ancestral", sampler("euler_ancestral")),
        Situation("lcm", sampler("lcm")),
        Situation("lcm without guidance", sampler("lcm", cfg=1.0)),
        Situation("dpm_fast", sampler("dpm_fast")),
    )
}
