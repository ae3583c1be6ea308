"""Draw the figures of how-it-works.md from a real run of the demo's video model.

    python -m docs.figures

`path.png`: an output's path over the logarithm of signal over noise, and a prediction on it.
`schedule.png`: which steps are computed, by step and over the same logarithm.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from demo.host.inprocess import import_host, import_pack
from demo.model.clips import FRAMES
from demo.model.evaluate import CFG, load_model
from demo.nodes.vocabulary import encode, held_out_prompts

FOLDER = Path(__file__).parent / "images"
STEPS, SEED = 30, 1000
INK, BLUE, RED, GREEN, GREY = "#222222", "#2166ac", "#b2182b", "#1b7837", "#8a8a8a"
STYLE = {
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """What a plain run computed.

    Attributes:
        log_snr: at each step, rising.
        values: the outputs along their own largest change, one number per step.
        outputs: [steps, elements].
    """

    log_snr: Floats
    values: Floats
    outputs: torch.Tensor


# --- runs


def sample(model: Any) -> None:
    """One clip with the host's euler sampler."""
    import comfy.sample

    shape = (1, 16, (FRAMES + 3) // 4, 16, 16)
    comfy.sample.sample(
        model,
        torch.randn(shape, generator=torch.Generator().manual_seed(SEED)),
        STEPS,
        CFG,
        "euler",
        "simple",
        [[encode(held_out_prompts()[0]), {}]],
        [[encode(None), {}]],
        torch.zeros(shape),
        disable_pbar=True,
        seed=SEED,
    )


def record(model: Any) -> Recorded:
    """Sample plainly and keep every guided output as `(x - denoised) / sigma`."""
    from comfy.patcher_extension import WrappersMP
    from scaling_cache.nodes.host.sampling import log_snr

    sigmas: list[float] = []
    outputs: list[torch.Tensor] = []
    shapes: list[tuple[int, ...]] = []

    def keep(executor: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        denoised = executor(x, timestep, *args, **kwargs)
        sigmas.append(float(timestep[0]))
        shapes.append(tuple(x.shape))
        outputs.append(((x - denoised) / timestep[0]).flatten())
        return denoised

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "figures", keep)
    sample(watched)
    stacked = torch.stack(outputs)
    places = log_snr(model, (*sigmas, 0.0), shapes[0])
    assert places is not None
    _, _, directions = torch.linalg.svd(stacked - stacked.mean(0), full_matrices=False)
    values = (stacked @ directions[0]).double().numpy()
    return Recorded(np.array(places[:-1]), values * np.sign(values[-1] - values[0]), stacked)


def computed_steps(model: Any, **settings: Any) -> list[int]:
    """Steps that Scaling Cache computed in a run, as its summary names them."""
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.cache_core.methods.base import parse_ranges
    from scaling_cache.nodes.host.cache import Cache, install

    with summaries() as texts:
        sample(install(model, Cache(ScalingCache(**settings), coefficients="none")))
    found = re.search(r"Computed steps: ([\d, -]+)", texts[-1])
    assert found is not None
    return list(parse_ranges("steps", found[1]))


@contextmanager
def summaries() -> Iterator[list[str]]:
    """What the cache says in the log."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda line: texts.append(line.getMessage())
    log = logging.getLogger("ScalingCache")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield texts
    finally:
        log.removeHandler(handler)


# --- figures


def path_figure(path: Recorded, older: int, newest: int, step: int) -> Figure:
    """The whole path, and a prediction at `step` from two computed steps before it."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.1), width_ratios=(1, 1.25))
    s, y = path.log_snr, path.values
    left.plot(s, y, color=GREY, lw=1.2, zorder=1)
    left.plot(s, y, "o", color=INK, ms=4, zorder=2)
    left.axvspan(s[older] - 0.12, s[step] + 0.12, color=BLUE, alpha=0.12, lw=0)
    left.set_title("an output through a run of 30 steps", loc="left", fontsize=11)
    label(left)
    draw_prediction(right, path, older, newest, step)
    figure.tight_layout(w_pad=3)
    return figure


def draw_prediction(axes: Axes, path: Recorded, older: int, newest: int, step: int) -> None:
    s, y = path.log_snr, path.values
    alpha = right_alpha(path, older, newest, step)
    y0 = y[newest]
    y1 = y0 + (y0 - y[older]) * (s[step] - s[newest]) / (s[newest] - s[older])
    guess = y0 + alpha * (y1 - y0)
    inside = slice(older, step + 1)
    axes.plot(s[inside], y[inside], color=GREY, lw=1.2, zorder=1)
    axes.plot([s[newest], s[step]], [y0, y0], ":", color=RED, lw=1.6)
    axes.plot([s[older], s[step]], [y[older], y1], "--", color=GREEN, lw=1.6)
    axes.plot(s[[older, newest]], y[[older, newest]], "o", color=INK, ms=8, zorder=3)
    axes.plot(s[step], y[step], "o", mfc="white", mec=GREY, mew=1.6, ms=9, zorder=3)
    axes.plot(s[step], y0, "s", color=RED, ms=7, zorder=3)
    axes.plot(s[step], y1, "^", color=GREEN, ms=8, zorder=3)
    axes.plot(s[step], guess, "D", color=BLUE, ms=8, zorder=4)
    gap = 0.03 * (s[step] - s[older])
    arrow = {"arrowstyle": "-|>", "color": BLUE, "lw": 1.8, "shrinkA": 4, "shrinkB": 5}
    axes.annotate("", (s[step] - gap, guess), (s[step] - gap, y0), arrowprops=arrow)
    axes.text(s[step] - 2 * gap, (y0 + guess) / 2, r"$\alpha$", color=BLUE, ha="right", size=15)
    places = apart([y0, guess, y[step], y1], 0.085 * abs(y1 - y[older]))
    names = (
        ("y0, the last output again", RED),
        (rf"prediction, $\alpha$ = {alpha:.2f}", BLUE),
        ("what the model would say", GREY),
        ("y1, the line", GREEN),
    )
    for place, (name, colour) in zip(places, names, strict=True):
        axes.text(s[step] + 2 * gap, place, name, color=colour, va="center")
    axes.text(s[older] + gap, y[older], "computed", va="center", ha="left")
    axes.text(s[newest] - gap, y[newest], "computed", va="bottom", ha="right")
    axes.set_xlim(s[older] - gap, s[step] + 0.8 * (s[step] - s[older]))
    axes.set_title("one prediction in it", loc="left", fontsize=11)
    label(axes)


def right_alpha(path: Recorded, older: int, newest: int, step: int) -> float:
    """Least-squares alpha of the step computed before: what the cache had learned by then."""
    s, d = path.log_snr, path.outputs.double()
    before = older - (newest - older)
    line = (d[older] - d[before]) * (s[newest] - s[older]) / (s[older] - s[before])
    return float((d[newest] - d[older]) @ line / (line @ line))


def apart(values: list[float], least: float) -> list[float]:
    """Places for labels at the values, moved up where two would touch."""
    placed: dict[int, float] = {}
    last = -np.inf
    for index in np.argsort(values):
        last = max(values[index], last + least)
        placed[int(index)] = last
    return [placed[i] for i in range(len(values))]


def label(axes: Axes) -> None:
    axes.set_xlabel("logarithm of signal over noise")
    axes.set_ylabel("output, along its largest change")
    axes.set_yticks([])


def schedule_figure(path: Recorded, runs: dict[str, list[int]]) -> Figure:
    """Marks as in the live view: filled where computed, hollow where predicted."""
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 0.55 * len(runs) + 1.1), sharey=True)
    places = (np.arange(STEPS, dtype=float), path.log_snr)
    for axes, where, name in zip(
        panels, places, ("step", "logarithm of signal over noise"), strict=True
    ):
        for row, computed in enumerate(runs.values()):
            height = np.full(STEPS, -float(row))
            on = np.isin(np.arange(STEPS), computed)
            axes.plot(where, height, color="#d9d9d9", lw=1, zorder=0)
            axes.plot(where[~on], height[~on], "o", mfc="white", mec=GREY, ms=5.5)
            axes.plot(where[on], height[on], "o", color=BLUE, ms=7)
        axes.set_xlabel(name)
        axes.set_ylim(-len(runs) + 0.4, 0.6)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks([-float(row) for row in range(len(runs))], list(runs))
    panels[0].tick_params(axis="y", labelcolor=INK)
    figure.tight_layout(w_pad=2)
    return figure


def main() -> None:
    import_host()
    import_pack()
    from scaling_cache.cache_core.methods.scaling import Mode

    with torch.inference_mode():
        model = load_model()
        path = record(model)
        budget = computed_steps(model, mode=Mode.BUDGET, budget=0.05)
        target = {f"speedup {v:g}": computed_steps(model, speedup=v) for v in (1.5, 2.0, 3.0)}
    runs = {**target, "budget 0.05": budget}
    with mpl.rc_context(STYLE):
        for name, figure in (
            ("path", path_figure(path, older=9, newest=12, step=15)),
            ("schedule", schedule_figure(path, runs)),
        ):
            figure.savefig(FOLDER / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main()
