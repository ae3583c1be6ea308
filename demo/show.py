"""`make demo`: pictures from words in the real host, plain and with the cache, side by side.

Each prompt is sampled with all steps, with the cache at 2x and 3x, and plainly with as many steps as the
cache computed. A corner of each shows where it differs from the first. Picture, table and report.json are
in demo/out. Seconds are those of the sampler node.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from .host.client import Client, Workflow
from .host.fetch import ROOT, FetchError
from .host.server import Server, ServerError, serve
from .nodes.emoji import parse
from .report import Clip, Frames, Result, environment, fidelity, print_table, summarise
from .run import (
    CACHE,
    OUT,
    TARGETS,
    fewer_steps,
    find,
    load,
    scaling_cache,
    write,
)

# Names that calibration has not seen.
PROMPTS = ("christmas tree", "sun face", "butterfly", "kangaroo")
# So few that half of them draw visibly another picture.
STEPS = 28
_SIDE, CORNER = 256, 72  # of a picture and a difference on the sheet
LINE = 22
# How much stronger than it is a difference is shown.
STRONGER = 6
Change = Callable[[Workflow], None]


def workflow_of(prompt: str, seed: int) -> Workflow:
    """Plain sampling of the emoji model, in API format."""
    workflow = load("demo_emoji_off")
    workflow[find(workflow, "ScalingCacheDemoEmoji")]["inputs"]["text"] = prompt
    workflow[find(workflow, "KSampler")]["inputs"].update(seed=seed, steps=STEPS)
    return workflow


@dataclass(frozen=True)
class Sampler:
    """A running host."""

    client: Client
    server: Server

    def picture(self, prompt: str, seed: int, change: Change = lambda _: None) -> Clip:
        """
        Raises:
            RuntimeError: if the host reports an error.
        """
        workflow = workflow_of(prompt, seed)
        sampler, saved = (find(workflow, kind) for kind in ("KSampler", "SaveImage"))
        change(workflow)
        outcome = self.client.run(workflow)
        if outcome.status != "success":
            raise RuntimeError(f"{prompt}: {outcome.status}: {outcome.messages[-1]}")
        frames = [self.client.image(item) for item in outcome.outputs[saved]["images"]]
        steps = workflow[sampler]["inputs"]["steps"]
        return Clip(np.stack(frames), outcome.seconds_of(sampler), outcome.text_of(CACHE), steps)


def make(sampler: Sampler, prompts: list[str], sheet: Path) -> list[Result]:
    """All pictures, prompt by prompt; the sheet is there after the first one and grows with each."""
    results = [Result("plain", None, "")]
    for target in TARGETS:
        results += [Result("scaling_cache", target, ""), Result("fewer_steps", target, "")]
    plain, *others = results
    with tqdm(total=len(prompts) * len(results), unit="picture", file=sys.stdout) as progress:

        def take(result: Result, number: int, change: Change = lambda _: None) -> Clip:
            progress.set_description(f"{prompts[number]}: {title(result)}")
            result.clips.append(clip := sampler.picture(prompts[number], 1000 + number, change))
            progress.update()
            save_sheet(results, prompts, sheet)
            return clip

        for number in range(len(prompts)):
            take(plain, number)
            for cached, fewer in zip(others[::2], others[1::2], strict=True):
                assert cached.target is not None
                computed, _ = take(cached, number, scaling_cache(cached.target)).counts
                take(fewer, number, fewer_steps(computed))
    return results


def title(result: Result) -> str:
    if result.name == "plain":
        return "all steps"
    return f"cache {result.target:g}x" if result.name == "scaling_cache" else "fewer steps"


def save_sheet(results: list[Result], prompts: list[str], path: Path) -> None:
    """A row per prompt, a column per method; what is not sampled yet is white."""
    row, width = LINE + _SIDE, _SIDE * len(results)
    page = Image.new("RGB", (width, row * len(prompts) + LINE), "white")
    pen = ImageDraw.Draw(page)
    words = f"The corners show what differs from the first of a row, {STRONGER} times as strong."
    pen.text((4, row * len(prompts) + 4), words, fill="black", font_size=12)
    for column, result in enumerate(results):
        for number, clip in enumerate(result.clips):
            left, top, full = column * _SIDE, number * row, results[0].clips[number].frames
            page.paste(enlarged(clip.frames, _SIDE), (left, top + LINE))
            text = f"{title(result)}: {clip.counts[0]} computed, {clip.seconds:.1f} s"
            if result is results[0]:
                text = f"{prompts[number]}: {clip.steps} steps, {clip.seconds:.1f} s"
            else:
                text += f", {fidelity(clip.frames, full)[0]:.1f} dB"
                corner = (left + _SIDE - CORNER, top + row - CORNER)
                page.paste(enlarged(difference(clip.frames, full), CORNER), corner)
            pen.text((left + 4, top + 4), text, fill="black", font_size=12)
    part = path.with_suffix(".part")
    page.save(part, "PNG")
    part.replace(path)


def enlarged(frames: Frames, side: int) -> Image.Image:
    return Image.fromarray(frames[0]).resize((side, side), Image.Resampling.BICUBIC)


def difference(frames: Frames, reference: Frames) -> Frames:
    """How far each value is from that of the reference, stronger than it is."""
    apart = np.abs(frames.astype(np.int16) - reference) * STRONGER
    return apart.clip(max=255).astype(np.uint8)


def run(prompts: list[str]) -> None:
    """Compare on these prompts; prints a table and writes it with a picture."""
    OUT.mkdir(parents=True, exist_ok=True)
    sheet = OUT / "sheet.png"
    print("Starting ComfyUI", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        packs = {"scalingcache-demo": ROOT / "demo" / "nodes"}
        with serve(Path(folder), packs, calibrated=True) as server:
            sampler = Sampler(Client(server.url), server)
            sampler.picture(prompts[0], 0, fewer_steps(2))  # loads the model
            print(f"The pictures appear in {sheet}", flush=True)
            results = make(sampler, prompts, sheet)
            facts = environment(sampler.client, server)
    rows = summarise(results, bed="demo_emoji", sampler="euler", cfg=5.0)
    write(OUT / "report.json", facts, rows)
    print_table(rows, facts, "pictures")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="words, in quotes")
    prompts = parser.parse_args().prompts or list(PROMPTS)
    try:
        for prompt in prompts:
            parse(prompt)
        run(prompts)
    except (FetchError, ServerError, RuntimeError, ValueError) as error:
        raise SystemExit(f"demo: {error}") from error


if __name__ == "__main__":
    main()
