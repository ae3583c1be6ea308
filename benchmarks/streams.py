"""How near video and sound of one latent stay, each to its own: `python -m benchmarks streams`.

The demo's model of a shape that bounces and sounds, whose sound is 1 % of the numbers. Against the run
that computes every step: Scaling Cache, the same with one alpha, repair and judge for the whole row,
plain runs with as many steps as are computed, and the host's EasyCache where it takes such a latent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.host.fetch import ROOT
from demo.sound_model.clips import PROMPTS, pictures, waves
from demo.sound_model.evaluate import CFG, sample
from demo.sound_model.networks import load_model

from . import results
from .beds import environment, ready
from .measures import psnr

FILE = Path(__file__).parent / "results" / "streams.json"
PAGE = ROOT / "docs" / "streams.md"
_TABLE = "<!-- table -->"
SPEEDS, STEPS, SEED = (1.5, 2.0, 3.0), 30, 7
APART, TOGETHER, FEWER, HOST = "each stream apart", "one for all", "fewer steps", "host's EasyCache"
_SEARCHED = 6
Clips = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Row:
    """Decibels against the plain run, mean over the prompts and of the worst: of the latents relative to
    their own size, PSNR of the frames and signal to distortion of the sound."""

    way: str
    target: float
    computed: int
    steps: int
    video: float
    video_worst: float
    sound: float
    sound_worst: float
    psnr: float
    si_sdr: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--out", type=Path, default=FILE, help="the page is of the committed one")


def run(options: argparse.Namespace) -> None:
    """Measure, and write the table."""
    ready()
    facts = {**environment(), "prompts": options.prompts, "steps": STEPS, "cfg": CFG}
    bench = _Bench(options.prompts)
    rows = [asdict(row) for speed in SPEEDS for row in bench.rows(speed)]
    results.write(options.out, facts, rows)
    if options.out == FILE:
        results.put_behind(PAGE, _TABLE, table(facts, rows))


class _Bench:
    """Prompts on the model, and what the plain run makes of them."""

    def __init__(self, count: int) -> None:
        self._prompts = PROMPTS[:: len(PROMPTS) // count][:count]
        self._model, self._ran = load_model(), 0
        self._model.model.diffusion_model.time.register_forward_hook(self._count)
        self._full, self._each = self._clips(self._model)

    def _count(self, *_: Any) -> None:
        self._ran += 1

    def _clips(self, model: Any, steps: int = STEPS) -> tuple[Clips, int]:
        """Clips, and how often the network ran for them."""
        before = self._ran
        return sample(model, self._prompts, steps, SEED), self._ran - before

    def rows(self, speed: float) -> Iterator[Row]:
        """Of all ways."""
        from scaling_cache.cache_core.methods import ScalingCache

        from testbed.install import cached

        fast = cached(self._model, ScalingCache(speed))
        yield self._row(APART, speed, *self._clips(fast))
        with one_row():
            yield self._row(TOGETHER, speed, *self._clips(fast))
        yield self._row(FEWER, speed, *self._clips(self._model, round(STEPS / speed)))
        if (found := self._host(speed)) is not None:
            yield self._row(HOST, speed, *found)

    def _host(self, speed: float) -> tuple[Clips, int] | None:
        """The host's EasyCache at the threshold that computes about as many steps."""
        from comfy_extras.nodes_easycache import EasyCacheNode

        low, high, best = 0.005, 4.0, None
        wanted = self._each / speed
        for _ in range(_SEARCHED):
            threshold = (low * high) ** 0.5
            eased = EasyCacheNode.execute(
                _on_copies(self._model), threshold, 0.15, 0.95, False
            ).args[0]
            try:
                found = self._clips(eased)
            except TypeError:
                return None  # a host whose EasyCache knows no packed latents
            low, high = (threshold, high) if found[1] > wanted else (low, threshold)
            if best is None or abs(found[1] - wanted) < abs(best[1] - wanted):
                best = found
        return best

    def _row(self, way: str, speed: float, clips: Clips, ran: int) -> Row:
        near = [_relative(own, full) for own, full in zip(clips, self._full, strict=True)]
        both = [(float(each.mean()), float(each.min())) for each in near]
        frames = psnr(pictures(clips[0]), pictures(self._full[0]))
        sound = si_sdr(waves(clips[1]), waves(self._full[1]))
        computed = round(ran * STEPS / self._each)
        row = Row(
            way,
            speed,
            computed,
            STEPS,
            *both[0],
            *both[1],
            float(frames.mean()),
            float(sound.mean()),
        )
        print(row, flush=True)
        return row


@contextmanager
def one_row() -> Iterator[None]:
    """The pack as if a packed latent were one."""
    from scaling_cache.nodes.host import sampling

    apart = sampling.streams_of
    sampling.streams_of = lambda *_: ()
    try:
        yield
    finally:
        sampling.streams_of = apart


def si_sdr(sound: Tensor, reference: Tensor) -> Tensor:
    """Scale-invariant signal to distortion [n] of sounds [n, samples], in dB (Le Roux et al., 2019)."""
    scale = (sound * reference).sum(-1, keepdim=True) / reference.square().sum(-1, keepdim=True)
    wanted = scale * reference
    return 10 * torch.log10(
        wanted.square().sum(-1) / (sound - wanted).square().sum(-1).clamp_min(1e-20)
    )


def _relative(found: Tensor, full: Tensor) -> Tensor:
    """Decibels [n] from an error up to the size of what it is an error of."""
    sizes = [t.flatten(1).norm(dim=1) for t in (full, found - full)]
    return 20 * torch.log10(sizes[0] / sizes[1].clamp_min(1e-20))


def _on_copies(model: Any) -> Any:
    """A clone whose network gets copies: the host's EasyCache adds in place into its input."""
    from comfy.patcher_extension import WrappersMP

    def copy(executor: Callable[..., Any], x: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        return executor([part.clone() for part in x], *args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "copy", copy)
    return clone


def table(facts: dict[str, Any], rows: list[results.Row]) -> str:
    """The table in Markdown."""
    lines = [
        f"\n\n{facts['prompts']} prompts, {facts['steps']} steps, host {facts['host_version']}, revision "
        f"{facts['revision']}, {facts['date']}.\n\n",
        "| speed | way | computed | video | worst | sound | worst | PSNR of frames | SI-SDR |\n",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    ]
    for row in rows:
        fields = ("video", "video_worst", "sound", "sound_worst", "psnr", "si_sdr")
        numbers = " | ".join(f"{row[name]:.1f}" for name in fields)
        lines.append(
            f"| {row['target']:g}x | {row['way']} | {row['computed']} of {row['steps']} | {numbers} |\n"
        )
    return "".join(lines)
