"""A small transformer over the tokens of a video and of its sound, and the host's model around it.

The host packs both into one row. As with MiniMax H3 the sound has a flow shift of its own, a quarter of
the video's: the sampler carries it four times as large on the video's schedule.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..host.inprocess import import_host
from .clips import COLOURS, FRAMES, MOMENTS, NOTES, SIZE, VIDEO, WORDS, Words, encode

HERE = Path(__file__).parent
FILE = HERE / "weights" / "scalingcache_demo_sound.safetensors"
SHIFT, LOUDER = 3.0, 4.0
WIDTH, DEPTH, HEADS = 128, 4, 4
_PATCH = (2, 4, 4)
_GRID = tuple(n // p for n, p in zip(VIDEO[1:], _PATCH, strict=True))
_TOKEN = COLOURS * math.prod(_PATCH)


def _waves(level: Tensor) -> Tensor:
    """Features [n, 64] of a noise level [n] from 0 to 1, too long for a sampler's step to be far."""
    rates = 2 ** torch.linspace(0, 4, 32, device=level.device)
    turns = level.float()[:, None] * rates
    return torch.cat([turns.sin(), turns.cos()], 1)


class Block(nn.Module):
    """Attention over all tokens and a layer for each, scaled by the noise level."""

    def __init__(self, operations: Any, **where: Any) -> None:
        super().__init__()
        self.qkv = operations.Linear(WIDTH, 3 * WIDTH, **where)
        self.out = operations.Linear(WIDTH, WIDTH, **where)
        self.up = operations.Linear(WIDTH, 4 * WIDTH, **where)
        self.down = operations.Linear(4 * WIDTH, WIDTH, **where)
        self.table = nn.Parameter(torch.zeros(6, WIDTH, **where))

    def forward(self, tokens: Tensor, modulation: Tensor) -> Tensor:
        given = (modulation + self.table.to(tokens)).unsqueeze(2).unbind(1)
        shift, scale, gate, shift_2, scale_2, gate_2 = given
        normal = nn.functional.layer_norm(tokens, (WIDTH,)) * (1 + scale) + shift
        q, k, v = self.qkv(normal).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + gate * self.out(mixed)
        normal = nn.functional.layer_norm(tokens, (WIDTH,)) * (1 + scale_2) + shift_2
        return tokens + gate_2 * self.down(nn.functional.gelu(self.up(normal)))


class Network(nn.Module):
    """From noisy video and sound to the velocities of both."""

    def __init__(
        self, dtype: Any = None, device: Any = None, operations: Any = nn, **_: Any
    ) -> None:
        super().__init__()
        where = {"dtype": dtype, "device": device}
        self.dtype = dtype
        self.video_in = operations.Linear(_TOKEN, WIDTH, **where)
        self.sound_in = operations.Linear(NOTES, WIDTH, **where)
        self.video_out = operations.Linear(WIDTH, _TOKEN, **where)
        self.sound_out = operations.Linear(WIDTH, NOTES, **where)
        self.places = nn.ParameterList(
            [nn.Parameter(torch.zeros(n, WIDTH, **where)) for n in (*_GRID, MOMENTS)]
        )
        self.time = operations.Linear(64, WIDTH, **where)
        self.sound_time = operations.Linear(64, WIDTH, **where)
        self.words = operations.Linear(WORDS, WIDTH, **where)
        self.modulation = operations.Linear(WIDTH, 6 * WIDTH, **where)
        self.blocks = nn.ModuleList([Block(operations, **where) for _ in range(DEPTH)])

    def forward(
        self,
        x: Any,
        timestep: Tensor,
        context: Tensor,
        transformer_options: Any = None,
        **more: Any,
    ) -> Any:
        from comfy import patcher_extension

        options = transformer_options or {}
        kind = patcher_extension.WrappersMP.DIFFUSION_MODEL
        wrappers = patcher_extension.get_all_wrappers(kind, options)
        executor = patcher_extension.WrapperExecutor.new_class_executor(
            self._forward, self, wrappers
        )
        return executor.execute(x, timestep, context, options)

    def _forward(self, x: Any, timestep: Tensor, context: Tensor, options: Any) -> Any:
        video, carried = x
        level = (timestep / 1000).to(video).reshape(-1, 1, 1)
        # The sound's own noisy latent and noise level.
        room = level + LOUDER * (1 - level)
        own, sound = level / room, carried / room
        tokens = torch.cat([self._video_tokens(video), self._sound_tokens(sound, own)], 1)
        known = self.time(_waves(level.flatten()).to(video)) + self.words(context[:, 0].to(video))
        modulation = self.modulation(nn.functional.silu(known)).unflatten(-1, (6, WIDTH))
        for block in self.blocks:
            tokens = block(tokens, modulation)
        tokens = nn.functional.layer_norm(tokens, (WIDTH,))
        count = math.prod(_GRID)
        moved = self.sound_out(tokens[:, count:]).transpose(1, 2)
        # What a change of the video's noise level does to the sound as the sampler carries it.
        moved = (1 - LOUDER) * sound + (1 + (LOUDER - 1) * own) * moved
        return [self._picture(self.video_out(tokens[:, :count])), moved]

    def _video_tokens(self, video: Tensor) -> Tensor:
        t, h, w = _GRID
        p, q, r = _PATCH
        parts = video.reshape(len(video), COLOURS, t, p, h, q, w, r)
        flat = parts.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(len(video), t, h, w, _TOKEN)
        time, down, across, _ = self.places
        place = time.to(video)[:, None, None] + down.to(video)[:, None] + across.to(video)
        return (self.video_in(flat) + place).flatten(1, 3)

    def _sound_tokens(self, sound: Tensor, level: Tensor) -> Tensor:
        known = self.sound_time(_waves(level.flatten()).to(sound))[:, None]
        return self.sound_in(sound.transpose(1, 2)) + self.places[3].to(sound) + known

    def _picture(self, tokens: Tensor) -> Tensor:
        t, h, w = _GRID
        parts = tokens.reshape(len(tokens), t, h, w, COLOURS, *_PATCH)
        return parts.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(
            len(tokens), COLOURS, FRAMES, SIZE, SIZE
        )


def make_base() -> Any:
    """The host's model around the network."""
    import_host()
    import comfy.conds
    import comfy.latent_formats
    import comfy.model_base
    import comfy.supported_models_base

    class Sounding(comfy.model_base.BaseModel):
        """Both latents come and go as one row; the sound in it is carried larger."""

        def __init__(self, config: Any, device: Any = None) -> None:
            kind = comfy.model_base.ModelType.FLOW
            network: Any = Network
            super().__init__(config, kind, device=device, unet_model=network)
            self.model_sampling.audio_scale = LOUDER

        def extra_conds(self, **given: Any) -> Any:
            found = super().extra_conds(**given)
            found["c_crossattn"] = comfy.conds.CONDRegular(given["cross_attn"])
            found["latent_shapes"] = comfy.conds.CONDConstant(given["latent_shapes"])
            return found

        def process_latent_in(self, latent: Any) -> Any:
            return carried(latent, LOUDER)

        def process_latent_out(self, latent: Any) -> Any:
            return carried(latent, 1 / LOUDER)

    class Config(comfy.supported_models_base.BASE):
        unet_config: ClassVar[Any] = {"image_model": "scalingcache_demo_sound"}
        sampling_settings: ClassVar[Any] = {"shift": SHIFT}
        latent_format = comfy.latent_formats.LatentFormat
        memory_usage_factor = 1.0

    config = Config(dict(Config.unet_config))
    config.set_inference_dtype(torch.float32, None)
    return Sounding(config, torch.device("cpu"))


def carried(latent: Any, times: float) -> Any:
    """A latent with its sound so many times as large: a row [n, 1, all], or both apart."""
    if getattr(latent, "is_nested", False):
        video, sound = latent.unbind()
        return type(latent)([video, sound * times])
    video, sound = latent.split([math.prod(VIDEO), NOTES * MOMENTS], -1)
    return torch.cat([video, sound * times], -1)


def load_model() -> Any:
    """ModelPatcher with the committed weights."""
    import_host()
    import comfy.model_patcher
    import comfy.utils

    base, cpu = make_base(), torch.device("cpu")
    base.diffusion_model.load_state_dict(comfy.utils.load_torch_file(str(FILE)))
    return comfy.model_patcher.ModelPatcher(base.eval(), load_device=cpu, offload_device=cpu)


def conditioning(prompts: list[Words | None]) -> list[list[Any]]:
    """What the model takes for a batch of prompts."""
    return [[encode(prompts), {}]]


def initialise(net: Any) -> Any:
    """Starting weights: the host's layers come without, as it always loads a file."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for name, value in net.named_parameters():
        if "places" in name:
            nn.init.normal_(value, std=0.3)
        elif name.startswith(("video_out", "sound_out")) or name.endswith(
            ("table", "modulation.weight")
        ):
            nn.init.zeros_(value)
    return net
