"""Teach a demo model to sample in few steps without guidance; writes the difference as a LoRA.

    python -m demo.few_steps.distill emoji --steps 8 --minutes 20
    python -m demo.few_steps.distill emoji --steps 4 --minutes 20
    python -m demo.few_steps.distill video --steps 8 --minutes 60

The teacher samples with guidance and many steps. Of these runs every so many-th latent is kept, and the
student learns to get from each to the next in one step of Euler (progressive distillation, Salimans and
Ho, arXiv 2202.00512, without the rounds between). Students of 8 and of 4 steps learn from the same runs.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..model.training import CACHE, cosine
from .teachers import TEACHERS, Teacher, lora_file

# Latents that are kept of a teacher's run; a student's steps divide it.
POINTS = 8
RANK, RATE = 16, 2e-3


class LowRank(nn.Module):
    """A weight with a change of low rank."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, weight.shape[1]) / weight.shape[1] ** 0.5)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


@dataclass
class Bank:
    """Latents of the teacher's runs, on from the noise to the picture, and their prompts."""

    file: Path
    latents: list[Tensor] = field(default_factory=list)
    prompts: list[tuple[str, ...]] = field(default_factory=list)

    def load(self, teacher: Teacher) -> None:
        """What an earlier run has kept."""
        content = torch.load(self.file, weights_only=True)
        known = {tuple(prompt): prompt for prompt in teacher.training()}
        self.latents = list(content["latents"])
        self.prompts = [known[tuple(words)] for words in content["prompts"]]

    def save(self) -> None:
        content = {
            "latents": torch.stack(self.latents),
            "prompts": [list(prompt) for prompt in self.prompts],
        }
        torch.save(content, self.file)

    @torch.inference_mode()
    def grow(self, model: Any, teacher: Teacher, steps: int) -> None:
        """One batch more, sampled with so many steps."""
        import comfy.sample

        prompts = random.choices(teacher.training(), k=teacher.batch)
        noise = torch.randn(len(prompts), *teacher.latent)
        kept: list[Tensor] = []

        def keep(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            if step % (total // POINTS) == 0:
                kept.append(x.half())
            if step == total - 1:
                kept.append(denoised.half())

        with torch.autocast("cpu", dtype=torch.bfloat16):
            comfy.sample.sample(
                model,
                noise,
                steps,
                teacher.cfg,
                "euler",
                "simple",
                teacher.encoded(list(prompts)),
                teacher.encoded([None]),
                torch.zeros_like(noise),
                callback=keep,
                disable_pbar=True,
            )
        self.latents += torch.stack(kept, 1).clone().unbind()
        self.prompts += prompts


class Student:
    """A network that learns, called as the host calls it."""

    def __init__(self, teacher: Teacher) -> None:
        import comfy.model_management

        self._teacher = teacher
        patcher = teacher.load()
        comfy.model_management.load_models_gpu([patcher], force_patch_weights=True)
        self.base: Any = patcher.model
        self.base.diffusion_model.requires_grad_(False)
        self.changes = {
            name: _changed(module)
            for name, module in self.base.diffusion_model.named_modules()
            if isinstance(module, nn.Linear) and "block" in name
        }

    @property
    def weights(self) -> list[nn.Parameter]:
        return [value for change in self.changes.values() for value in (change.up, change.down)]

    def slope(self, x: Tensor, sigma: Tensor, prompts: list[tuple[str, ...]]) -> Tensor:
        """Derivative of the latents after sigma."""
        import comfy.sampler_helpers
        import comfy.samplers

        conds = comfy.sampler_helpers.convert_cond(self._teacher.encoded(list(prompts)))
        conds = comfy.samplers.encode_model_conds(
            self.base.extra_conds, conds, x, x.device, "positive"
        )
        whole: Any = comfy.samplers.get_area_and_mult(conds[0], x, sigma)
        given = comfy.samplers.cond_cat([whole.conditioning])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            denoised = self.base.apply_model(x, sigma, transformer_options={}, **given)
        return (x - denoised) / sigma.reshape(-1, *[1] * (x.ndim - 1))

    def as_lora(self) -> dict[str, Tensor]:
        """By the names that the host's loader knows."""
        parts = {
            f"diffusion_model.{name}.lora_{part}.weight": value
            for name, change in self.changes.items()
            for part, value in (("up", change.up), ("down", change.down))
        }
        return {name: value.detach().half().contiguous() for name, value in parts.items()}


def _changed(module: nn.Linear) -> LowRank:
    change = LowRank(module.weight)
    parametrize.register_parametrization(module, "weight", change)
    return change


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", choices=TEACHERS)
    parser.add_argument("--steps", type=int, choices=(8, 4), default=8)
    parser.add_argument("--minutes", type=float, default=20, help="of the processor")
    parser.add_argument("--runs", type=int, default=1000, help="of the teacher, at most")
    parser.add_argument("--teacher-steps", type=int, default=16, help="a multiple of 8")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=CACHE, help="of runs and checkpoints")
    parser.add_argument("--file", type=Path, help="to write, in place of the one that is kept")
    train(parser.parse_args())


def train(options: argparse.Namespace) -> None:
    """Within a budget of processor time, on from a checkpoint if there is one."""
    random.seed(options.steps)
    torch.manual_seed(options.steps)
    teacher = TEACHERS[options.teacher]
    model, student = teacher.load(), Student(teacher)
    optimizer = torch.optim.AdamW(student.weights, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    options.folder.mkdir(parents=True, exist_ok=True)
    bank = Bank(options.folder / f"few_{options.teacher}_runs.pt")
    checkpoint = options.folder / f"few_{options.teacher}_{options.steps}.pt"
    if bank.file.exists():
        bank.load(teacher)
    spent, count, loss = 0.0, 0, 1.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for own, kept in zip(student.weights, state["weights"], strict=True):
            own.data.copy_(kept)
        optimizer.load_state_dict(state["optimizer"])
        spent, count = state["spent"], state["count"]
    sigmas = schedule(model, options.steps)
    while spent < options.minutes * 60:
        began = time.process_time()
        if len(bank.latents) < min(options.runs, teacher.batch * (8 + count // 4)):
            bank.grow(model, teacher, options.teacher_steps)
        rate = (
            RATE * cosine(spent / options.minutes / 60, 0.02, hold=0.4) * min(1, (count + 1) / 30)
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = 0.98 * loss + 0.02 * update(student, optimizer, bank, sigmas, options.batch)
        spent, count = spent + time.process_time() - began, count + 1
        if count % 50 == 0:
            share = spent / options.minutes / 60
            print(f"update {count}, {share:.0%}, runs {len(bank.latents)}, {loss:.4f}", flush=True)
            weights = [value.detach() for value in student.weights]
            state = {"weights": weights, "optimizer": optimizer.state_dict()}
            torch.save({**state, "spent": spent, "count": count}, checkpoint)
            bank.save()
    file = options.file or lora_file(options.teacher, options.steps)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(student.as_lora(), str(file))


def schedule(model: Any, steps: int) -> Tensor:
    """Sigmas of a student, the final one included."""
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"), "simple", steps
    )


def update(
    student: Student, optimizer: torch.optim.Optimizer, bank: Bank, sigmas: Tensor, count: int
) -> float:
    """One step of training; the loss."""
    steps = len(sigmas) - 1
    chosen = [random.randrange(len(bank.latents)) for _ in range(count)]
    places = torch.randint(steps, (count,))
    stride = POINTS // steps
    runs = torch.stack([bank.latents[i] for i in chosen]).float()
    every = torch.arange(count)
    x, wanted = runs[every, places * stride], runs[every, (places + 1) * stride]
    wide = (sigmas[places + 1] - sigmas[places]).reshape(-1, *[1] * (x.ndim - 1))
    prompts = [bank.prompts[i] for i in chosen]
    errors = student.slope(x, sigmas[places], prompts) - (wanted - x) / wide
    # What a step misses is as large as the step is wide.
    loss = (errors.square() * wide.abs() / sigmas[0] * steps).mean()
    loss.backward()
    nn.utils.clip_grad_norm_(student.weights, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


if __name__ == "__main__":
    main()
