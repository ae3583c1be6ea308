"""A small classifier that says which emoji a picture shows, to measure what the model draws.

    python -m demo.emoji_model.reader --steps 2500

It learns from renderings of the font on 64x64 pixels, of which it sees random crops, blurred and noisy by
chance, as a sampled picture is neither sharp nor in place. It is tried on renderings on other colours,
cropped likewise; it prints the share it reads rightly.
"""

from __future__ import annotations

import argparse
import json
import random
import time

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ..model.networks import export
from ..model.training import CACHE, cosine
from ..nodes.emoji import all_names
from .networks import WEIGHTS
from .pictures import render

FILE = WEIGHTS / "scalingcache_demo_emoji_reader.safetensors"
SIDE, BATCH = 64, 64
BANK, RENDERINGS = "reader.pt", 10
HELD_OUT_SEED = 2**31
_SAVE_EVERY = 120  # seconds


def make_reader() -> nn.Module:
    """Five convolutions and a choice among all names."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 96), (96, 128), (128, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4, len(all_names())))


def load_reader() -> nn.Module:
    """With the committed weights."""
    reader = make_reader()
    reader.load_state_dict({name: value.float() for name, value in load_file(str(FILE)).items()})
    return reader.eval()


def smaller(pictures: Tensor) -> Tensor:
    """[n, 3, 128, 128] to the reader's size."""
    return functional.avg_pool2d(pictures, pictures.shape[-1] // SIDE)


def crops(pictures: Tensor) -> Tensor:
    """A random square of each picture of at least 88 % of its width, at the same size."""
    count = len(pictures)
    width = 0.88 + 0.12 * torch.rand(count)
    room = 1 - width
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = width
    matrix[:, :, 2] = room[:, None] * (2 * torch.rand(count, 2) - 1)
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def spoilt(pictures: Tensor) -> Tensor:
    """Crops, some of them blurred, with noise and other light."""
    pictures = crops(pictures)
    blurred = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), "replicate"), 3, 1)
    share = torch.rand(len(pictures), 1, 1, 1)
    light = 1 + 0.2 * (torch.rand(len(pictures), 3, 1, 1) - 0.5)
    noise = 0.08 * torch.rand(len(pictures), 1, 1, 1) * torch.randn_like(pictures)
    return torch.lerp(pictures, blurred, share) * light + noise


def renderings(each: int, seed: int) -> tuple[Tensor, Tensor]:
    """So many renderings of every picture, small, as bytes, and the places of their names."""
    draw = random.Random(seed)
    pictures = [
        (smaller(render(text, draw)[None]) * 255).byte()
        for _ in range(each)
        for text in all_names()
    ]
    return torch.cat(pictures), torch.arange(len(all_names())).repeat(each)


@torch.inference_mode()
def right(reader: nn.Module, pictures: Tensor, names: Tensor) -> float:
    """Share of pictures [n, 3, 64, 64] whose name comes first."""
    return float((reader(pictures).argmax(1) == names).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args()
    torch.manual_seed(0)
    bank, checkpoint = CACHE / BANK, CACHE / "reader_state.pt"
    if not bank.exists():
        torch.save(renderings(RENDERINGS, 2), bank)
    pictures, names = torch.load(bank, weights_only=True)
    reader = make_reader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=0.02)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        first = state["steps"]
        reader.load_state_dict(state["reader"])
        optimizer.load_state_dict(state["optimizer"])
    saved = time.monotonic()
    for step in range(first, options.steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * cosine(step / options.steps, 0.01)
        chosen = torch.randint(len(pictures), (BATCH,))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            given = reader(spoilt(pictures[chosen] / 255)).float()
        loss = functional.cross_entropy(given, names[chosen], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 200 == 0 or step == options.steps - 1:
            print(f"step {step}, loss {float(loss):.3f}", flush=True)
        if time.monotonic() > saved + _SAVE_EVERY or step == options.steps - 1:
            saved = time.monotonic()
            state = {"reader": reader.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "steps": step + 1}, checkpoint)
    reader.eval()
    export({k: v for k, v in reader.state_dict().items() if v.ndim}, FILE)
    tried, wanted = renderings(1, HELD_OUT_SEED)
    torch.manual_seed(1)
    print(json.dumps({"right": right(reader, crops(tried / 255), wanted)}))


if __name__ == "__main__":
    main()
