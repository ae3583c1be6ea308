"""Numbers and pictures of a demo run."""

from __future__ import annotations

import datetime
import math
import platform
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tabulate import tabulate

from .host.client import Client
from .host.server import Server

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """One clip made by one method: frames [n, height, width, 3], and what the method said."""

    frames: Frames
    seconds: float
    text: str
    steps: int

    @property
    def counts(self) -> tuple[int, int]:
        """Computed and planned evaluations, from what the method reported; a plain run computes all."""
        if found := re.search(r"computed (\d+) of (\d+) evaluations", self.text):
            return int(found[1]), int(found[2])
        if found := re.search(r"skipped (\d+)/(\d+) steps", self.text):
            return int(found[2]) - int(found[1]), int(found[2])
        return self.steps, self.steps


@dataclass
class Result:
    """All clips of one method."""

    name: str
    target: float | None
    note: str
    clips: list[Clip] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One line of a result file; None where a column does not apply."""

    bed: str
    sampler: str
    cfg: float
    steps: int
    method: str
    target: float | None
    computed: float
    evaluations: int
    seconds: float
    speedup: float
    psnr: float | None
    psnr_worst: float | None
    ssim: float | None
    perceptual: float | None
    n: int
    note: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def fidelity(frames: Frames, reference: Frames) -> tuple[float, float]:
    """PSNR over the whole clip, and SSIM averaged over its frames."""
    psnr = float(peak_signal_noise_ratio(reference, frames, data_range=255))
    each = [
        structural_similarity(a, b, channel_axis=-1, data_range=255)
        for a, b in zip(reference, frames, strict=True)
    ]
    return psnr, float(np.mean(each))


def summarise(results: list[Result], bed: str, sampler: str, cfg: float) -> list[Row]:
    """One row per method; the first result is the reference of the others."""
    plain = results[0]
    rows = []
    for result in results:
        itself = result is plain
        scores = [
            (math.inf, 1.0) if itself else fidelity(c.frames, p.frames)
            for c, p in zip(result.clips, plain.clips, strict=True)
        ]
        counts = [c.counts for c in result.clips]
        seconds = [c.seconds for c in result.clips]
        # Clip by clip, as the runs of one clip were made next to each other.
        speedups = [p.seconds / c.seconds for c, p in zip(result.clips, plain.clips, strict=True)]
        rows.append(
            Row(
                bed=bed,
                sampler="dpmpp_2m" if result.name == "fewer_steps_multistep" else sampler,
                cfg=cfg,
                steps=result.clips[0].steps,
                method=result.name,
                target=result.target,
                computed=round(float(np.mean([c for c, _ in counts])), 2),
                evaluations=counts[0][1],
                seconds=round(float(np.median(seconds)), 3),
                speedup=round(float(np.median(speedups)), 3),
                psnr=None if itself else round(float(np.mean([s[0] for s in scores])), 2),
                psnr_worst=None if itself else round(min(s[0] for s in scores), 2),
                ssim=None if itself else round(float(np.mean([s[1] for s in scores])), 4),
                perceptual=None,
                n=len(result.clips),
                note=result.note,
            )
        )
    return rows


def environment(client: Client, server: Server) -> dict[str, Any]:
    """What the numbers were measured on."""
    stats = client.get("/system_stats")
    dtype = re.search(r"model weight dtype ([\w.]+)", server.log_text())
    return {
        "host_version": stats["system"]["comfyui_version"],
        "torch": stats["system"]["pytorch_version"],
        "device": stats["devices"][0]["name"],
        "dtype": dtype[1] if dtype else "unknown",
        "processor": platform.processor() or platform.machine(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def print_table(rows: list[Row], facts: dict[str, Any], what: str = "clips of 17 frames") -> None:
    head = ["method", "target", "computed", "seconds", "speed-up", "PSNR", "worst", "SSIM", ""]
    body = [
        [
            row.method,
            row.target,
            f"{row.computed:g} of {row.evaluations}",
            row.seconds,
            f"{row.speedup:.2f}x",
            row.psnr,
            row.psnr_worst,
            row.ssim,
            row.note,
        ]
        for row in rows
    ]
    plain = rows[0]
    print(
        f"\nDemo model, {plain.steps} steps {plain.sampler}, cfg {plain.cfg:g}, {plain.n} {what}, "
        f"ComfyUI {facts['host_version']} on {facts['device']}; fidelity against plain"
    )
    print(tabulate(body, head, floatfmt="", missingval="", colalign=("left",) + ("right",) * 7))


def save_sheet(results: list[Result], prompts: list[str], folder: Path) -> None:
    """One picture: a row per method, frames of the last two clips side by side."""
    shown = [r for r in results if r.name in ("plain", "scaling_cache", "fewer_steps")]
    shown += best_near(results, "host_easycache") + best_near(results, "host_lazycache")
    strips = []
    for result in shown:
        parts = [clip.frames[[0, 5, 10, 16]] for clip in result.clips[-2:]]
        strip = np.concatenate([frame for part in parts for frame in part], axis=1)
        strips.append(labelled(strip, caption(result, results[0])))
    head = labelled(strips[0][:0], f"Prompts: {'; '.join(prompts[-2:])}")
    Image.fromarray(np.concatenate([head, *strips])).save(folder / "sheet.png")


def best_near(results: list[Result], name: str, speedup: float = 2.0) -> list[Result]:
    """The result of a method whose share of computed evaluations is nearest to a speed-up."""

    def off(result: Result) -> float:
        computed, evaluations = result.clips[0].counts
        return abs(np.log(evaluations / computed / speedup))

    found = [r for r in results if r.name == name]
    return [min(found, key=off)] if found else []


def caption(result: Result, plain: Result) -> str:
    computed, evaluations = result.clips[0].counts
    if result is plain:
        return f"plain: {computed} of {evaluations} computed"
    psnr = np.mean(
        [fidelity(c.frames, p.frames)[0] for c, p in zip(result.clips, plain.clips, strict=True)]
    )
    return f"{result.name}: {computed} of {evaluations} computed, {psnr:.1f} dB"


def labelled(strip: Frames, text: str) -> Frames:
    """A strip of frames under a line of text."""
    line = Image.new("RGB", (strip.shape[1], 22), "white")
    ImageDraw.Draw(line).text((8, 4), text, fill="black", font_size=13)
    return np.concatenate([np.asarray(line), strip])
