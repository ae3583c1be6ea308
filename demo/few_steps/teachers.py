"""The demo models that have students, and where these lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..emoji_model import evaluate as emoji
from ..host.inprocess import import_host
from ..model import evaluate as video
from ..model.calibrate import Encoder
from ..model.calibrate import conditioning as video_conditioning
from ..model.clips import FRAMES
from ..nodes import emoji as names
from ..nodes import vocabulary

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Teacher:
    """A model to learn from.

    Attributes:
        load: the model with its usual shift.
        load_vae: its autoencoder.
        encoded: what it takes for a batch of prompts.
        latent: shape without the batch.
        steps: students there are, by their number of steps.
        batch: prompts that are sampled at once.
        cfg: guidance scale that its students have built in.
        training: prompts to learn with.
        held_out: prompts to measure with.
    """

    load: Callable[[], Any]
    load_vae: Callable[[], Any]
    encoded: Encoder
    latent: tuple[int, ...]
    steps: tuple[int, ...]
    batch: int
    cfg: float = video.CFG
    training: Callable[[], Sequence[tuple[str, ...]]] = vocabulary.training_prompts
    held_out: Callable[[], Sequence[tuple[str, ...]]] = vocabulary.held_out_prompts


# Less than the model has otherwise, as models of few steps are sampled, or one step draws all lines.
_EMOJI_SHIFT = 3.0

TEACHERS = {
    "emoji": Teacher(
        lambda: emoji.load_model(_EMOJI_SHIFT),
        emoji.load_vae,
        emoji.conditioning,
        emoji.LATENT,
        (8, 4),
        16,
        emoji.CFG,
        names.training_prompts,
        names.held_out_prompts,
    ),
    "video": Teacher(
        video.load_model,
        video.load_vae,
        video_conditioning,
        (16, (FRAMES + 3) // 4, 16, 16),
        (8,),
        2,
    ),
}


def lora_file(name: str, steps: int) -> Path:
    """The student's weights, for Load LoRA (model only)."""
    return WEIGHTS / f"scalingcache_demo_{name}_{steps}_steps.safetensors"


def load_student(name: str, steps: int, file: Path | None = None) -> Any:
    """A teacher with the LoRA that makes it a student, as the host's node gives it.

    Args:
        file: in place of the one that is kept.
    """
    model = TEACHERS[name].load()
    import_host()
    import comfy.sd
    import comfy.utils

    weights = comfy.utils.load_torch_file(str(file or lora_file(name, steps)), safe_load=True)
    return comfy.sd.load_lora_for_models(model, None, weights, 1.0, 0.0)[0]
