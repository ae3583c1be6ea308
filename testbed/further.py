"""Networks whose blocks no test watches: variants of the transformers, and families of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from .spec import Spec
from .transformers import FLUX, POOLED, TRANSFORMERS, VIDEO, WAN

_HUNYUAN: dict[str, Any] = {
    **FLUX,
    **VIDEO,
    "patch_size": [1, 2, 2],
    "image_model": "hunyuan_video",
    "theta": 256,
}
MASKED = {"attention_mask": torch.ones(1, 5, dtype=torch.int64)}
_WAN_LATENT = (16, 2, 8, 8)
# What the host reads of a CLIP vision output.
VISION = SimpleNamespace(penultimate_hidden_states=torch.full((1, 3, 1280), 0.1))


def wan(
    config: str,
    more: dict[str, Any] | None = None,
    stages: int = 1,
    first: str = "",
    last: str = "",
    final: str = "",
    **network: Any,
) -> Spec:
    """A Wan network that takes other arguments than most."""
    latent = (network.get("out_dim", 16), *_WAN_LATENT[1:])
    watched = {"first": first, "last": last, "final": final}
    return Spec(config, {**WAN, **network}, latent, 24, more=more or {}, stages=stages, **watched)


# What OmniGen2 and Boogu have in common.
OMNIGEN: dict[str, Any] = {
    "hidden_size": 48,
    "num_layers": 3,
    "num_refiner_layers": 1,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "multiple_of": 16,
    "axes_dim_rope": (4, 4, 4),
    "axes_lens": (64, 64, 64),
}

FURTHER: dict[str, Spec] = {
    "flux_kontext": Spec(
        "Flux",
        FLUX,
        (16, 8, 8),
        24,
        more={**POOLED, "guidance": 3.0, "reference_latents": [torch.ones(1, 16, 6, 4)]},
    ),
    "flux2": Spec(
        "Flux2",
        {
            **FLUX,
            "in_channels": 128,
            "out_channels": 128,
            "vec_in_dim": None,
            "axes_dim": [4, 4, 4, 4],
            "theta": 2000,
            "txt_ids_dims": [3],
            "patch_size": 1,
            "qkv_bias": False,
            "ops_bias": False,
            "global_modulation": True,
            "mlp_silu_act": True,
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
            "image_model": "flux2",
        },
        (128, 6, 6),
        24,
        more=POOLED,
    ),
    "chroma_radiance": Spec(
        "ChromaRadiance",
        {
            **{k: v for k, v in FLUX.items() if k not in ("vec_in_dim", "guidance_embed")},
            "in_channels": 3,
            "out_channels": 3,
            "in_dim": 64,
            "out_dim": 32,
            "hidden_dim": 32,
            "n_layers": 1,
            "patch_size": 8,
            "nerf_hidden_size": 16,
            "nerf_mlp_ratio": 2,
            "nerf_depth": 1,
            "nerf_max_freqs": 4,
            "nerf_tile_size": 512,
            "nerf_final_head_type": "conv",
            "nerf_embedder_dtype": torch.float32,
            "image_model": "chroma_radiance",
        },
        (3, 32, 32),
        24,
        more=POOLED,
    ),
    "hunyuan_video_i2v": Spec(
        "HunyuanVideoI2V",
        {**_HUNYUAN, "in_channels": 33},
        (16, 2, 8, 8),
        24,
        more={
            **POOLED,
            "concat_latent_image": torch.full((1, 16, 2, 8, 8), 0.1),
            "concat_mask": torch.ones(1, 1, 2, 8, 8),
        },
    ),
    "hunyuan_video_15": Spec(
        "HunyuanVideo15",
        {
            **_HUNYUAN,
            "in_channels": 65,
            "out_channels": 32,
            "patch_size": [1, 1, 1],
            "vec_in_dim": None,
            "guidance_embed": False,
            "use_cond_type_embedding": True,
            "vision_in_dim": 1152,
        },
        (32, 2, 4, 4),
        24,
        more=POOLED,
    ),
    "hunyuan_image": Spec(
        "HunyuanImage21",
        {
            **_HUNYUAN,
            "in_channels": 64,
            "out_channels": 64,
            "patch_size": [1, 1],
            "axes_dim": [8, 8],
            "vec_in_dim": None,
        },
        (64, 6, 6),
        24,
    ),
    "wan_i2v": wan("WAN21_I2V", {"clip_vision_output": VISION}, model_type="i2v", in_dim=36),
    "wan_fun": wan(
        "WAN21_FunControl2V", {"clip_vision_output": VISION}, model_type="i2v", in_dim=48
    ),
    "wan_camera": wan(
        "WAN21_Camera",
        {"clip_vision_output": VISION, "camera_conditions": torch.full((1, 24, 2, 64, 64), 0.1)},
        model_type="camera",
        in_dim=32,
    ),
    "wan22_pair": wan("WAN21_T2V", stages=2),
    "wan22_5b": wan("WAN22_T2V", in_dim=48, out_dim=48),
    "wan_animate": wan(
        "WAN22_Animate",
        {"clip_vision_output": VISION, "pose_video_latent": torch.full((1, 16, 1, 8, 8), 0.1)},
        model_type="animate",
        in_dim=36,
    ),
    "z_image": Spec(
        "ZImage",
        {
            **TRANSFORMERS["lumina2"].network,
            # The host modulates with a width of 256 whatever the network's.
            "dim": 256,
            "axes_dims": [24, 20, 20],
            "n_kv_heads": 4,
            "z_image_modulation": True,
            "time_scale": 1000.0,
            "pad_tokens_multiple": 12,
        },
        (16, 8, 8),
        24,
        scale=0.3,
    ),
    "qwen_image_edit": Spec(
        "QwenImage",
        TRANSFORMERS["qwen_image"].network,
        (16, 1, 8, 8),
        24,
        more={"reference_latents": [torch.ones(1, 16, 1, 6, 4)]},
    ),
    "omnigen2": Spec(
        "Omnigen2",
        {
            **OMNIGEN,
            "patch_size": 2,
            "in_channels": 16,
            "text_feat_dim": 24,
            "timestep_scale": 1000.0,
            "image_model": "omnigen2",
        },
        (16, 8, 8),
        24,
        more=MASKED,
    ),
    "hydit": Spec(
        "HunyuanDiT",
        {
            "input_size": None,
            "hidden_size": 32,
            "depth": 4,
            "num_heads": 2,
            "text_states_dim": 24,
            "text_states_dim_t5": 16,
            "text_len": 5,
            "text_len_t5": 6,
            "image_model": "hydit",
        },
        (4, 16, 16),
        24,
        more={
            **MASKED,
            "conditioning_mt5xl": torch.full((1, 6, 16), 0.1),
            "attention_mask_mt5xl": torch.ones(1, 6, dtype=torch.int64),
        },
    ),
    "ace_step": Spec(
        "ACEStep",
        {
            "audio_model": "ace",
            "num_layers": 3,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "mlp_ratio": 2.0,
            "max_position": 128,
            "text_embedding_dim": 24,
            "lyric_encoder_vocab_size": 16,
            "ssl_latent_dims": [16, 16],
            "max_width": 64,
        },
        (8, 16, 16),
        24,
        more={"conditioning_lyrics": torch.tensor([[1, 2, 3, 4]])},
    ),
    "stable_audio": Spec(
        "StableAudio",
        {
            "audio_model": "dit1.0",
            "embed_dim": 64,
            "depth": 3,
            "num_heads": 2,
            "project_cond_tokens": True,
        },
        (64, 32),
        768,
    ),
    "hunyuan3d": Spec(
        "Hunyuan3Dv2",
        {
            "image_model": "hunyuan3d2",
            "in_channels": 64,
            "context_in_dim": 24,
            "hidden_size": 32,
            "mlp_ratio": 2.0,
            "num_heads": 2,
            "depth": 2,
            "depth_single_blocks": 3,
            "guidance_embed": True,
        },
        (64, 16),
        24,
    ),
    "hunyuan3d_21": Spec(
        "Hunyuan3Dv2_1",
        {
            "image_model": "hunyuan3d2_1",
            "in_channels": 64,
            "hidden_size": 32,
            "context_dim": 24,
            "depth": 4,
            "num_heads": 2,
            "num_moe_layers": 1,
            "num_experts": 2,
            "moe_top_k": 1,
            "guidance_cond_proj_dim": None,
        },
        (64, 16),
        24,
    ),
    "cascade_c": Spec(
        "Stable_Cascade_C",
        {
            "stable_cascade_stage": "c",
            "c_cond": 32,
            "c_hidden": [32, 32],
            "nhead": [2, 2],
            "blocks": [[1, 1], [1, 1]],
            "c_clip_text": 24,
            "c_clip_text_pooled": 16,
        },
        (16, 8, 8),
        24,
        more=POOLED,
    ),
    "cascade_b": Spec(
        "Stable_Cascade_B",
        {
            "stable_cascade_stage": "b",
            "c_cond": 32,
            "c_hidden": [16, 32, 32, 32],
            "nhead": [-1, -1, 2, 2],
            "blocks": [[1, 1, 1, 1], [1, 1, 1, 1]],
            "block_repeat": [[1, 1, 1, 1], [1, 1, 1, 1]],
            "c_clip": 16,
        },
        (4, 16, 16),
        24,
        more={"pooled_output": torch.ones(1, 1, 16)},
    ),
}
