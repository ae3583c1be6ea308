"""What both training scripts share: averaged weights, a time budget, checkpoints, curves."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Git-ignored: checkpoints and encoded pictures; DEMO_TRAINING names another folder.
CACHE = Path(os.environ.get("DEMO_TRAINING", Path(__file__).parent / "cache"))
CURVES = Path(__file__).parent / "curves"


class Ema:
    """Moving average of a network's weights; the average is what is kept in the end."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.weights = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        self._updates += 1
        decay = min(self._decay, self._updates / (self._updates + 9))
        for name, value in net.state_dict().items():
            self.weights[name].lerp_(value, 1 - decay)


@dataclass
class Progress:
    """Time and losses of a run; prints now and then.

    A run ends after its minutes, or at a number of steps that those of earlier runs count towards.
    """

    minutes: float
    steps: int = 0
    last: int | None = None
    curve: list[tuple[int, float]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _smooth: float | None = None

    @property
    def done(self) -> float:
        """Share of the run that is over, 0 to 1."""
        if self.last is not None:
            return min(self.steps / self.last, 1.0)
        return min((time.monotonic() - self._began) / 60 / self.minutes, 1.0)

    @property
    def running(self) -> bool:
        return self.done < 1

    def step(self, loss: float) -> None:
        self.steps += 1
        self._smooth = loss if self._smooth is None else 0.98 * self._smooth + 0.02 * loss
        if self.steps % 50 == 0:
            self.curve.append((self.steps, self._smooth))
            print(
                f"step {self.steps}, {self.done:.0%} of the run, loss {self._smooth:.4f}",
                flush=True,
            )


def cosine(done: float, low: float, hold: float = 0.0) -> float:
    """Learning rate factor: 1 until `hold`, then down to `low` along a cosine."""
    if done < hold:
        return 1.0
    share = (done - hold) / (1 - hold)
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share))


def advance(
    loss: Tensor, net: nn.Module, optimizers: Sequence[torch.optim.Optimizer], ema: Ema
) -> None:
    """One update of a network's weights, and of their average."""
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    ema.update(net)


def reconstruct(
    vae: Any,
    pictures: Tensor,
    noise: float,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    ema: Ema,
    rate: float,
) -> float:
    """One step of an autoencoder, whose decoder sees some noise on the latent.

    Args:
        loss_of: of what was decoded, the pictures and the latent.
        rate: of learning.

    Returns:
        Mean squared error of the pictures.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    with torch.autocast(pictures.device.type, dtype=torch.bfloat16):
        latent = vae.encode(pictures).float()
        decoded = vae.decode(latent + noise * torch.randn_like(latent)).float()
    advance(loss_of(decoded, pictures, latent), vae, optimizers, ema)
    return float((decoded - pictures).detach().square().mean())


def start(
    name: str,
    net: nn.Module,
    ema: Ema,
    optimizers: Sequence[torch.optim.Optimizer],
    resume: bool,
) -> int:
    """Load the checkpoint of an earlier run if asked to; returns the steps it has behind it."""
    if not resume:
        return 0
    checkpoint = torch.load(CACHE / f"{name}.pt", weights_only=True)
    net.load_state_dict(checkpoint["net"])
    ema.weights = checkpoint["ema"]
    for optimizer, state in zip(optimizers, checkpoint["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return checkpoint.get("steps", 0)


def save(
    name: str,
    net: nn.Module,
    ema: Ema,
    optimizers: Sequence[torch.optim.Optimizer],
    progress: Progress,
) -> None:
    """Write the checkpoint; at a run's end add its losses to the curve."""
    content: dict[str, Any] = {
        "net": net.state_dict(),
        "ema": ema.weights,
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "steps": progress.steps,
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    part = CACHE / f"{name}.part"
    torch.save(content, part)
    part.replace(CACHE / f"{name}.pt")
    if progress.running:
        return
    path = CURVES / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    runs = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*runs, progress.curve]) + "\n")


def averaged(name: str) -> dict[str, Tensor]:
    """Averaged weights of a finished run."""
    return torch.load(CACHE / f"{name}.pt", weights_only=True)["ema"]
