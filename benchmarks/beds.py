"""The trained models that benchmarks sample with, in this process, by the host's own functions."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from demo.emoji_model import evaluate as emoji
from demo.emoji_model.networks import COEFFICIENTS as EMOJI_COEFFICIENTS
from demo.host.inprocess import import_host, import_pack
from demo.host.server import COEFFICIENTS as VIDEO_COEFFICIENTS
from demo.model import evaluate as video
from demo.model.calibrate import conditioning as video_conditioning
from demo.model.clips import FRAMES
from demo.nodes import emoji as names
from demo.nodes.vocabulary import held_out_prompts, training_prompts
from demo.unet_model import networks as unet
from testbed.coefficient_folder import look_in

from .results import plan as describe
from .results import revision

# The words of a prompt; `str` of it is how a user writes it.
Prompt = tuple[str, ...]


@dataclass(frozen=True)
class Bed:
    """A model to measure on.

    Attributes:
        name: in result files.
        load: the model with a shift, where it has one.
        conditioning: what the model takes for a batch of prompts.
        load_vae: its autoencoder.
        latent: shape without the batch.
        coefficients: file made from sixteen training prompts.
        batch: prompts that are sampled at once.
        cfg: its usual guidance scale.
        shift: of its schedule, in all runs that are compared; 0 where it cannot be shifted.
        held_out: prompts to measure with.
        training: prompts to choose settings with.
    """

    name: str
    load: Callable[[float], Any]
    load_vae: Callable[[], Any]
    latent: tuple[int, ...]
    coefficients: Path
    batch: int
    conditioning: Callable[[list[Any]], list[list[Any]]]
    cfg: float = video.CFG
    shift: float = video.SHIFT
    held_out: Callable[[], Sequence[Prompt]] = held_out_prompts
    training: Callable[[], Sequence[Prompt]] = training_prompts

    def sample(
        self,
        model: Any,
        prompts: Sequence[Prompt],
        plan: Plan,
        seed: int,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Tensor:
        """Latents of some prompts by the host's KSampler.

        Args:
            steps: in place of the plan's.
            callback: gets step, denoised latents, noisy latents and number of steps at each step.
        """
        import comfy.sample

        noise = torch.randn(
            len(prompts), *self.latent, generator=torch.Generator().manual_seed(seed)
        )
        with torch.inference_mode():
            return comfy.sample.sample(
                model,
                noise,
                steps or plan.steps,
                plan.cfg,
                plan.sampler,
                "simple",
                self.conditioning(list(prompts)),
                self.conditioning([None]),
                torch.zeros_like(noise),
                callback=callback,
                disable_pbar=True,
                seed=seed,
            )

    def decode(self, vae: Any, latents: Tensor) -> Tensor:
        """Pictures [n, ..., 3] in 0 to 1. As many at once as are sampled: a single clip takes three times
        as long on a CPU, which has no fast 3D convolution for one."""
        with torch.inference_mode():
            pictures = [vae.decode(batch) for batch in latents.split(self.batch)]
        return torch.cat(pictures).clamp(0, 1)


@dataclass(frozen=True)
class Plan:
    """How to sample."""

    steps: int
    cfg: float
    shift: float
    sampler: str

    def __str__(self) -> str:
        return describe(asdict(self))


BEDS = {
    "demo_emoji": Bed(
        "demo_emoji",
        emoji.load_model,
        emoji.load_vae,
        emoji.LATENT,
        EMOJI_COEFFICIENTS,
        16,
        emoji.conditioning,
        emoji.CFG,
        emoji.SHIFT,
        held_out=names.held_out_prompts,
        training=names.training_prompts,
    ),
    "demo_unet": Bed(
        "demo_unet",
        lambda _: unet.load_model(),
        unet.load_vae,
        unet.LATENT,
        unet.COEFFICIENTS,
        16,
        unet.conditioning,
        shift=0.0,
    ),
    "demo_video": Bed(
        "demo_video",
        video.load_model,
        video.load_vae,
        (16, (FRAMES + 3) // 4, 16, 16),
        VIDEO_COEFFICIENTS,
        2,
        video_conditioning,
    ),
}


def ready() -> None:
    """Make the host and the pack importable."""
    import_host()
    import_pack()


def use(bed: Bed) -> None:
    """Let the nodes find the coefficient file of a bed, and nothing else."""
    look_in(bed.coefficients.parent)


def environment() -> dict[str, Any]:
    """What the numbers are measured on."""
    from comfyui_version import __version__ as host

    return {
        "host_version": host,
        "revision": revision(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
