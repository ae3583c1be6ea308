"""How near a student comes to its teacher: prints one JSON line.

python -m demo.few_steps.check emoji --steps 8

Held-out prompts from the same noise: the student without guidance, and the teacher with it, in as many
steps and in 32, which both are compared with.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ..host.loaders import sample_euler
from .teachers import TEACHERS, Teacher, load_student

SEED, FULL = 7000, 32


@dataclass(frozen=True)
class Nearness:
    """Mean PSNR in dB to the teacher's full run.

    Attributes:
        student: without guidance, in its number of steps.
        teacher: with guidance, in as many steps.
    """

    student: float
    teacher: float


@torch.inference_mode()
def check(name: str, steps: int, prompts: int) -> Nearness:
    """Compare on some held-out prompts."""
    teacher = TEACHERS[name]
    model, vae = teacher.load(), teacher.load_vae()
    full = _pictures(teacher, model, vae, FULL, teacher.cfg, prompts)
    few = _pictures(teacher, model, vae, steps, teacher.cfg, prompts)
    student = _pictures(teacher, load_student(name, steps), vae, steps, 1.0, prompts)
    return Nearness(_psnr(student, full), _psnr(few, full))


def _pictures(
    teacher: Teacher, model: object, vae: object, steps: int, cfg: float, count: int
) -> list[Tensor]:
    found: list[Tensor] = []
    for first in range(0, count, teacher.batch):
        prompts = teacher.held_out()[first : min(first + teacher.batch, count)]
        shape = (len(prompts), *teacher.latent)
        given = teacher.encoded(list(prompts)), teacher.encoded([None])
        latents = sample_euler(model, shape, steps, cfg, given, SEED + first)
        found.append(vae.decode(latents).clamp(0, 1))  # pyright: ignore[reportAttributeAccessIssue]
    return found


def _psnr(pictures: list[Tensor], others: list[Tensor]) -> float:
    errors = [(a - b).square().flatten(1).mean(1) for a, b in zip(pictures, others, strict=True)]
    return float((-10 * torch.log10(torch.cat(errors))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", choices=TEACHERS)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=16)
    options = parser.parse_args()
    print(json.dumps(asdict(check(options.teacher, options.steps, options.prompts))))


if __name__ == "__main__":
    main()
