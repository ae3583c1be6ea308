"""The demo model's language: one colour, shape, motion and background per prompt."""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import torch

# sRGB, 0 to 1
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.16, 0.14),
    "green": (0.13, 0.68, 0.24),
    "blue": (0.16, 0.32, 0.90),
    "yellow": (0.95, 0.82, 0.12),
    "purple": (0.62, 0.20, 0.78),
    "white": (0.95, 0.95, 0.95),
}
SHAPES = ("circle", "square", "triangle", "cross")
MOTIONS = ("left", "right", "rising", "spinning", "bouncing", "colliding")
BACKGROUNDS = ("night", "sand", "stripes")
WORDS = (*COLOURS, *SHAPES, *MOTIONS, *BACKGROUNDS)

# Width of a Wan text embedding, and the size of the one entry that stands for a word.
EMBEDDING_WIDTH = 4096
_AMPLITUDE = 64.0
# Width of the pooled text embedding, which image models take beside it.
POOLED_WIDTH = 64
_HELD_OUT = 64


class Prompt(NamedTuple):
    """What a clip shows."""

    colour: str
    shape: str
    motion: str
    background: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape} {self.motion} {self.background}"


def parse(text: str) -> Prompt | None:
    """Prompt from words in any order; None for an empty text, which asks for nothing.

    Raises:
        ValueError: naming the words that are allowed.
    """
    words = text.lower().replace(",", " ").split()
    if not words:
        return None
    groups = {
        "colour": tuple(COLOURS),
        "shape": SHAPES,
        "motion": MOTIONS,
        "background": BACKGROUNDS,
    }
    unknown = [w for w in words if w not in WORDS]
    if unknown:
        raise ValueError(f"prompt: unknown word {unknown[0]!r}, allowed are {', '.join(WORDS)}")
    chosen: dict[str, str] = {}
    for name, allowed in groups.items():
        found = [w for w in words if w in allowed]
        if len(found) != 1:
            raise ValueError(f"prompt: needs one {name} of {', '.join(allowed)}, got {len(found)}")
        chosen[name] = found[0]
    return Prompt(**chosen)


def encode(prompt: Prompt | None) -> torch.Tensor:
    """Text embedding float32 [1, 4, 4096]: one entry per word, zeros for no prompt."""
    embedding = torch.zeros(1, 4, EMBEDDING_WIDTH)
    for position, word in enumerate(prompt or ()):
        embedding[0, position, WORDS.index(word)] = _AMPLITUDE
    return embedding


def pool(prompt: Prompt | None) -> torch.Tensor:
    """Pooled text embedding float32 [1, 64]: ones for the words of the prompt."""
    embedding = torch.zeros(1, POOLED_WIDTH)
    for word in prompt or ():
        embedding[0, WORDS.index(word)] = 1.0
    return embedding


def all_prompts() -> list[Prompt]:
    return [Prompt(*p) for p in itertools.product(COLOURS, SHAPES, MOTIONS, BACKGROUNDS)]


def held_out_prompts() -> list[Prompt]:
    """64 combinations that training never sees, always the same."""
    prompts = all_prompts()
    random.Random(1234).shuffle(prompts)
    return prompts[:_HELD_OUT]


def training_prompts() -> list[Prompt]:
    held_out = set(held_out_prompts())
    return [p for p in all_prompts() if p not in held_out]
