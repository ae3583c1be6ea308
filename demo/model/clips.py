"""Clips from code: one or two shaded shapes that move, turn, bounce or collide on a background."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..nodes.vocabulary import COLOURS, Prompt

FRAMES, SIZE = 17, 128


def render(prompt: Prompt, seed: int, frames: Sequence[int] = range(FRAMES)) -> Tensor:
    """Frames float32 [3, frames, 128, 128] in 0 to 1, the same for the same prompt and seed."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    axis = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    behind = background(prompt.background, generator, x, y)
    colour = torch.tensor(COLOURS[prompt.colour])
    colour = colour + 0.05 * (torch.rand(3, generator=generator) - 0.5)
    radius = uniform(0.28, 0.33) if prompt.motion == "colliding" else uniform(0.40, 0.50)
    tilt = uniform(-0.15, 0.15)
    tracks, turns = motion(prompt.motion, radius, uniform)
    rendered = []
    for i in frames:
        frame = behind
        angle = tilt + turns * i / (FRAMES - 1)
        for track in tracks:
            dx, dy = x - track[i][0], y - track[i][1]
            dx, dy = turned(dx, dy, angle)
            inside = coverage(prompt.shape, dx, dy, radius)
            # Painted on the shape, so that a circle is seen to spin.
            light = 1.0 - 0.24 * ((dx + dy) / (2 * radius)).clamp(-1, 1)
            frame = frame * (1 - inside) + colour[:, None, None] * light * inside
        rendered.append(frame)
    return torch.stack(rendered, 1).clamp(0, 1)


def turned(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def coverage(shape: str, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """How much of each pixel a shape covers, 0 to 1, from offsets to its centre."""
    distance = signed_distance(shape, x, y, radius)
    pixel = 2 / SIZE
    return (0.5 - distance / (1.5 * pixel)).clamp(0, 1)


def signed_distance(shape: str, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Distance to the outline, negative inside. The triangle is equilateral, the cross has even arms."""
    if shape == "circle":
        return torch.sqrt(x * x + y * y + 1e-9) - radius
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - radius * 0.88
    if shape == "cross":
        arm = radius * 0.36
        across = torch.maximum(x.abs() - radius, y.abs() - arm)
        return torch.minimum(across, torch.maximum(y.abs() - radius, x.abs() - arm))
    root, half = math.sqrt(3.0), radius * 1.05
    x, y = x.abs() - half, half / root - y
    beyond = x + root * y > 0
    x, y = (
        torch.where(beyond, (x - root * y) / 2, x),
        torch.where(beyond, (-root * x - y) / 2, y),
    )
    x = x - x.clamp(-2 * half, 0)
    return -torch.sqrt(x * x + y * y + 1e-9) * torch.sign(y)


def background(name: str, generator: torch.Generator, x: Tensor, y: Tensor) -> Tensor:
    """Picture [3, height, width] behind the shapes: a gradient, a soft texture or stripes."""
    chance = torch.rand(3, generator=generator)
    if name == "night":
        top, bottom = torch.tensor([0.03, 0.04, 0.12]), torch.tensor([0.10, 0.12, 0.30])
        down = (y + 1) / 2
        picture = top[:, None, None] * (1 - down) + bottom[:, None, None] * down
    elif name == "sand":
        coarse = torch.randn(1, 1, 9, 9, generator=generator)
        texture = functional.interpolate(coarse, x.shape, mode="bicubic", align_corners=True)[0]
        picture = torch.tensor([0.72, 0.62, 0.46])[:, None, None] + 0.045 * texture
    else:
        wave = torch.sin(x * 9 + y * 4 + chance[0] * 6.28)
        picture = torch.tensor([0.38, 0.42, 0.44])[:, None, None] + 0.07 * wave
    return picture * (0.94 + 0.12 * chance[1])


def motion(name: str, radius: float, uniform) -> tuple[list[list[tuple[float, float]]], float]:
    """Centres of each shape per frame in -1 to 1, and how many radians the shapes turn."""
    times = [i / (FRAMES - 1) for i in range(FRAMES)]
    if name in ("left", "right"):
        sign = 1 if name == "right" else -1
        reach, y = uniform(0.26, 0.36), uniform(-0.2, 0.2)
        return [[(sign * (2 * reach * t - reach), y) for t in times]], 0.0
    if name == "rising":
        reach, x = uniform(0.26, 0.36), uniform(-0.2, 0.2)
        return [[(x, reach - 2 * reach * t) for t in times]], 0.0
    if name == "spinning":
        x, y = uniform(-0.2, 0.2), uniform(-0.2, 0.2)
        return [[(x + 0.3 * (t - 0.5), y) for t in times]], uniform(1.4, 2.0)
    if name == "bouncing":
        x, height, phase = uniform(-0.2, 0.2), uniform(0.7, 0.9), uniform(0, 0.3)
        ground = 1 - radius - 0.06

        def fall(t: float) -> float:
            share = (1.4 * t + phase) % 1.0
            return ground - height * 0.62 * 4 * share * (1 - share)

        return [[(x + 0.2 * (t - 0.5), fall(t)) for t in times]], 0.0
    y, far, near = uniform(-0.2, 0.2), 0.95 - radius, radius * 1.02
    apart = [far - (far - near) * (1 - abs(2 * t - 1)) for t in times]
    return [[(-a, y) for a in apart], [(a, y) for a in apart]], 0.0
