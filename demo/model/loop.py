"""The training loop of all demo models."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .muon import Muon
from .objectives import Objective
from .training import Ema, Progress, advance, cosine, save, start

SAVE_EVERY = 180  # seconds
# Clean latents, and what else the network takes, by its argument's name.
Draw = Callable[[int], tuple[Tensor, Mapping[str, Tensor]]]


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """The options that both trainings have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, help="instead of minutes; with those of earlier runs")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--compile", action="store_true", help="a quarter faster, needs a C++ compiler"
    )
    parser.add_argument("--device", default="cpu")
    return parser


def train(
    name: str,
    net: nn.Module,
    blocks: Iterable[nn.Module],
    draw: Draw,
    objective: Objective,
    options: argparse.Namespace,
    fall: Callable[[float], float] = lambda done: cosine(done, 0.02, hold=0.35),
) -> Ema:
    """Train a network within a time budget or to a number of steps; returns its averaged weights.

    Args:
        name: of the checkpoint and the curve.
        blocks: whose matrices and kernels take Muon; the rest takes AdamW.
        draw: called with the number of the step.
        objective: what the network is given and asked for.
        fall: learning rate factor from the share of the time that is used up.
    """
    blocks = list(blocks)
    inside = [p for block in blocks for p in block.parameters()]
    matrices = [p for p in inside if p.ndim in (2, 4)]
    chosen = {id(p) for p in matrices}
    others = [p for p in net.parameters() if id(p) not in chosen]
    muon = muon_of(matrices)
    adam = torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    ema = Ema(net, 0.997)
    behind = start(name, net, ema, [muon, adam], options.resume)
    if options.compile:
        for block in blocks:
            block.compile(dynamic=False)
    inner: dict[str, Any] = {"optimized_attention_override": attention}
    progress = Progress(options.minutes, behind if options.steps else 0, options.steps)
    random.seed(progress.steps + 1)
    torch.manual_seed(progress.steps + 1)
    saved = time.monotonic()
    while progress.running:
        rate = options.rate * fall(progress.done) * min(1, (progress.steps + 1) / 60)
        for optimizer, share in ((muon, 1.0), (adam, 0.7)):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        clean, conditions = draw(progress.steps)
        with torch.autocast(options.device, dtype=torch.bfloat16):
            task = objective(clean, progress.steps)
            given = net(
                task.noisy, task.time, **conditions, transformer_options=dict(inner)
            ).float()
        loss = (task.importance * (given - task.wanted).square()).mean()
        advance(loss, net, (muon, adam), ema)
        progress.step(float(loss.detach()))
        if time.monotonic() > saved + SAVE_EVERY:
            save(name, net, ema, [muon, adam], progress)
            saved = time.monotonic()
    save(name, net, ema, [muon, adam], progress)
    return ema


def muon_of(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """torch's Muon, which takes matrices only, or the one of the demo where there are kernels."""
    if any(weight.ndim > 2 for weight in weights):
        return Muon(weights, lr=1e-3)
    return torch.optim.Muon(
        weights, lr=1e-3, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )


def attention(_, q: Tensor, k: Tensor, v: Tensor, heads: int, *unused, **unneeded) -> Tensor:
    """Attention in one kernel, which the compiler can see through: [batch, tokens, width] each.

    Stable Diffusion 3 gives v as [batch, tokens, heads, width of a head].
    """
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
