"""Write the table and the figure of published_schedules.md: the pack's own choice of steps beside what
others searched on real models.

    python -m docs.schedules_page
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache_core.calibration.published import Schedules, load_schedules
from cache_core.decide.policies import RunPlan, SamplerTraits
from cache_core.decide.schedules import even_steps
from cache_core.methods import ScalingCache
from cache_core.methods.base import Few

from .method_table import filled

PAGE = Path(__file__).with_name("published_schedules.md")
FIGURE = Path(__file__).with_name("images") / "published_schedules.png"
DATA = Path(__file__).parents[1] / "coefficients" / "schedules.json"
VIDEO = ("HunyuanVideo", "Wan 2.1 1.3B")
# Random choices whose mean is told.
_DRAWS = 500
# Of the figure: about as many computed steps as are published for all models.
_SHOWN = 13

Steps = tuple[int, ...]


@dataclass(frozen=True)
class Compared:
    """A published list, and how far others of its length are from it: mean shift of a step, of 50.

    Attributes:
        ours: the pack's choice.
        shift, even, random: of it, of even spacing, of random steps between the first and the last.
    """

    found: Schedules
    steps: Steps
    ours: Steps
    shift: float
    even: float
    random: float


def plan_of(found: Schedules, steps: int) -> RunPlan:
    """The run that a list was searched on, as the pack takes it."""
    even = [1 - i / steps for i in range(steps + 1)]
    sigmas = tuple(found.shift * t / (1 + (found.shift - 1) * t) for t in even)
    # As nodes/host/sampling.py has it for a flow model.
    told = math.sqrt(16 * 16 / math.prod(found.latent)) / 30
    places = (math.hypot((1 - max(s, 1e-3)) / max(s, 1e-3), told) for s in sigmas)
    traits = SamplerTraits("euler", (1,) * steps, stochastic=False, sums=True)
    return RunPlan(sigmas, traits, (0, steps), log_snr=tuple(map(math.log, places)))


def own_choice(found: Schedules, steps: int, computed: int) -> Steps:
    """What Scaling Cache computes in that run, with nothing set but the speed-up."""
    policy = ScalingCache(steps / computed, few=Few.STEPS).policy(plan_of(found, steps))
    return tuple(step for step in range(steps) if policy.decide(step, None).compute)


def compared() -> list[Compared]:
    """All published lists."""
    random = np.random.default_rng(0)
    rows: list[Compared] = []
    for found in load_schedules(DATA).values():
        for listed in found.computed:
            steps, count = listed[-1] + 1, len(listed)
            ours = own_choice(found, steps, count)
            inner = random.random((_DRAWS, steps - 2)).argsort(1)[:, : count - 2] + 1
            drawn = np.pad(np.sort(inner, 1), ((0, 0), (1, 1)), constant_values=(0, steps - 1))
            rows.append(
                Compared(
                    found,
                    listed,
                    ours,
                    _shift(ours, listed),
                    _shift(even_steps(steps, count, 1), listed),
                    float(np.abs(drawn - np.array(listed)).mean()),
                )
            )
    return rows


def _shift(steps: Steps, listed: Steps) -> float:
    return float(np.abs(np.subtract(steps, listed)).mean())


def table() -> str:
    """The table in Markdown."""
    lines = [
        "| model | searched by | computed | ours | even | random |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.found.model} | {row.found.method} | {len(row.steps)} | {row.shift:.2f} | "
        f"{row.even:.2f} | {row.random:.2f} |"
        for row in compared()
    ]
    return "\n".join(lines) + "\n"


def draw() -> None:
    """The figure: which steps are computed, 13 of 50."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown: dict[str, dict[str, Steps]] = {}
    for row in compared():
        if len(row.steps) == _SHOWN:
            of_model = shown.setdefault(row.found.model, {"this pack": row.ours})
            of_model[row.found.method] = row.steps
    size = sum(len(rows) + 1 for rows in shown.values())
    figure, axes = pyplot.subplots(figsize=(8, 0.23 * size))
    at, ticks, names = 0.0, [], []
    for model, rows in shown.items():
        axes.text(0, at - 0.1, model, fontsize=9, fontweight="bold", va="bottom", ha="left")
        for name, steps in rows.items():
            at += 1
            colour = "#2166ac" if name == "this pack" else "#8a8a8a"
            axes.plot(steps, [at] * len(steps), "o-", color=colour, markersize=4, linewidth=0.5)
            ticks.append(at)
            names.append(name)
        at += 1.6
    axes.set_yticks(ticks, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("step of 50", fontsize=9)
    axes.tick_params(labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
    draw()
