"""UNets. Their blocks are no modules that the host calls."""

from __future__ import annotations

from typing import Any

from .spec import Spec
from .transformers import POOLED

_UNET: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "context_dim": 24,
}
_SD15: dict[str, Any] = {
    **_UNET,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "use_linear_in_transformer": False,
}
_SDXL: dict[str, Any] = {
    **_UNET,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 3, 3],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 3, 3, 3],
    "transformer_depth_middle": 3,
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
    "adm_in_channels": 16 + 6 * 256,
}
UNETS: dict[str, Spec] = {
    "sd15": Spec("SD15", _SD15, (4, 16, 16), 24),
    "sdxl": Spec("SDXL", _SDXL, (4, 16, 16), 24, more=POOLED),
    "svd": Spec(
        "SVD_img2vid",
        {
            **_SDXL,
            "in_channels": 8,
            "transformer_depth": [0, 0, 1, 1, 0, 0],
            "transformer_depth_output": [0, 0, 0, 1, 1, 1, 0, 0, 0],
            "transformer_depth_middle": 1,
            "adm_in_channels": 3 * 256,
            "use_temporal_resblock": True,
            "use_temporal_attention": True,
            "disable_temporal_crossattention": False,
            "extra_ff_mix_layer": True,
            "use_spatial_context": True,
            "merge_strategy": "learned_with_images",
            "merge_factor": 0.0,
            "video_kernel_size": [3, 1, 1],
        },
        (4, 16, 16),
        24,
    ),
    "no_middle": Spec(
        "SDXL", {**_SDXL, "transformer_depth_middle": -2}, (4, 16, 16), 24, more=POOLED
    ),
}
