"""What Branch Cache costs in nearness, by interval and way to predict: `python -m benchmarks branches`.

The emoji model with its ControlNet, each prompt with the outlines of its picture the other way round,
against the run that computes the ControlNet at every step.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.emoji_model.control import load_control, mirrored, outlines
from demo.host.fetch import ROOT

from . import results
from .beds import BEDS, environment, ready
from .measures import psnr
from .situations import Graph

FILE = Path(__file__).parent / "results" / "branches.json"
PAGE = ROOT / "docs" / "branches.md"
_TABLE = "<!-- table -->"
STEPS, INTERVALS = (50, 20, 8), (2, 3, 4)
WAYS = ("hold", "line over steps", "line over sigma", "line over log SNR", "scaled line")


@dataclass(frozen=True)
class Row:
    """Decibels of decoded pictures against the run that computes all; `without` are those of the run
    without the ControlNet."""

    steps: int
    interval: int
    way: str
    speedup: float
    computed: int
    evaluations: int
    mean: float
    worst: float
    without: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--intervals", type=int, nargs="+", default=list(INTERVALS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.0], help="of Scaling Cache")
    parser.add_argument("--out", type=Path, default=FILE, help="the page is of the committed one")


def run(options: argparse.Namespace) -> None:
    """Measure what is not in the file yet, and write the table."""
    ready()
    facts = {**environment(), "prompts": options.prompts}
    facts, rows = results.kept(options.out, facts, ("prompts",))
    bench = _Bench(options.prompts)
    for steps in options.steps:
        for speedup in options.speedups:
            known = [r for r in rows if (r["steps"], r["speedup"]) == (steps, speedup)]
            done = {(r["interval"], r["way"]) for r in known}
            for way in options.ways:
                left = [i for i in options.intervals if (i, way) not in done]
                rows += [asdict(row) for row in bench.rows(steps, way, speedup, left)]
            results.write(options.out, facts, rows)
    rows.sort(key=lambda r: (-r["steps"], r["speedup"], r["interval"], WAYS.index(r["way"])))
    results.write(options.out, facts, rows)
    if options.out == FILE:
        results.put_behind(PAGE, _TABLE, table(facts, rows))


class _Bench:
    """Prompts with their hints on the model."""

    def __init__(self, count: int) -> None:
        bed = BEDS["demo_emoji"]
        prompts = list(bed.held_out()[:count])
        self._vae, self._model = bed.load_vae(), bed.load(bed.shift)
        self._bare = Graph(bed, prompts, bed.conditioning(list(prompts)), bed.conditioning([None]))
        with torch.inference_mode():
            hint = outlines(mirrored(prompts))
        control = load_control().set_cond_hint(hint, 1.0, (0.0, 1.0), vae=self._vae)
        more = {"control": control, "control_apply_to_uncond": True}
        positive = [[t, {**o, **more}] for t, o in self._bare.positive]
        self._steered = Graph(bed, prompts, positive, self._bare.negative)
        self._full: dict[tuple[int, float], tuple[Tensor, float]] = {}

    def pictures(self, model: Any, steps: int, graph: Graph | None = None) -> Tensor:
        graph = graph or self._steered
        return graph.bed.decode(self._vae, graph.sample(model, steps).float())

    def full(self, model: Any, steps: int, speedup: float) -> tuple[Tensor, float]:
        """Pictures of all ControlNets computed, and how far those without them are."""
        key = steps, speedup
        if key not in self._full:
            found = self.pictures(model, steps)
            bare = psnr(self.pictures(model, steps, self._bare), found)
            self._full[key] = found, float(bare.mean())
        return self._full[key]

    def rows(self, steps: int, way: str, speedup: float, intervals: Sequence[int]) -> Iterator[Row]:
        """One for each interval."""
        from scaling_cache.cache_core.methods import ScalingCache
        from scaling_cache.cache_core.methods.branch import BranchCache

        from testbed.install import cached

        model = self._model
        if speedup > 1:
            model = cached(model, ScalingCache(speedup))
        full, without = self.full(model, steps, speedup)
        for interval in intervals:
            runs: list[Any] = []
            fast = cached(model, BranchCache(interval), runs, predictor=_predictor(way))
            each = psnr(self.pictures(fast, steps), full)
            report = runs[0].report
            counts = report.computed, report.evaluations
            mean, worst = float(each.mean()), float(each.min())
            row = Row(steps, interval, way, speedup, *counts, mean, worst, without)
            print(row, flush=True)
            yield row


def _predictor(way: str) -> Any:
    from scaling_cache.cache_core.predict.predictors import (
        ORDER_1,
        REPEAT,
        SCALING,
        TAYLOR_1,
        Scaled,
    )

    class Line(Scaled):
        def weights(self, past: Any, now: Any) -> Any:
            return super().weights(past, replace(now, alpha=1.0))

    return dict(zip(WAYS, (REPEAT, TAYLOR_1, ORDER_1, Line(), SCALING), strict=True))[way]


def table(facts: dict[str, Any], rows: list[results.Row]) -> str:
    """The table in Markdown."""
    lines = [
        f"\n\n{facts['prompts']} held-out prompts, revision {facts['revision']}, {facts['date']}.\n\n",
        "| steps | Scaling Cache | interval | between | ControlNet computed | saved | dB | worst |\n",
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n",
    ]
    for row in rows:
        outer = "off" if row["speedup"] == 1 else f"{row['speedup']:g}x"
        saved = 1 - row["computed"] / row["evaluations"]
        lines.append(
            f"| {row['steps']} | {outer} | {row['interval']} | {row['way']} | "
            f"{row['computed']} of {row['evaluations']} | {saved:.0%} | {row['mean']:.1f} | "
            f"{row['worst']:.1f} |\n"
        )
    return "".join(lines)
