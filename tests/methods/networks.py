"""Tiny networks of every family with random weights, and where to look into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Spec:
    """How to build and watch the network of a family.

    Attributes:
        config: name in the host's supported_models.
        network: arguments of the network.
        latent: shape of a latent.
        width: of the text.
        first, last, final: names of the first block, the last one and the module after it.
        modulated: module whose input is the modulated input of block 0.
        joined: whether the last block's stream holds the text as well; which part is the picture.
        more: further conditioning.
        batch: dimension of the blocks' stream that counts the batch.
    """

    config: str
    network: dict[str, Any]
    latent: tuple[int, ...]
    width: int
    first: str = ""
    last: str = ""
    final: str = ""
    modulated: str = ""
    joined: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    batch: int = 0


_FLUX: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 16,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "image_model": "flux",
}
_POOLED = {"pooled_output": torch.ones(1, 16)}
_VIDEO = {"byt5": False, "meanflow": False, "use_cond_type_embedding": False, "vision_in_dim": None}
_WAN: dict[str, Any] = {
    "model_type": "t2v",
    "dim": 128,
    "num_heads": 1,
    "ffn_dim": 128,
    "num_layers": 4,
    "in_dim": 16,
    "out_dim": 16,
    "text_dim": 24,
    "image_model": "wan2.1",
}

_COSMOS: dict[str, Any] = {
    "max_img_h": 16,
    "max_img_w": 16,
    "max_frames": 8,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 64,
    "num_blocks": 3,
    "num_heads": 2,
    "crossattn_emb_channels": 24,
    "pos_emb_cls": "rope3d",
    "use_adaln_lora": True,
    "adaln_lora_dim": 8,
}

SPECS: dict[str, Spec] = {
    "flux": Spec(
        "Flux",
        _FLUX,
        (16, 8, 8),
        24,
        "double_blocks.0",
        "single_blocks.2",
        "final_layer",
        "double_blocks.0.img_attn.qkv",
        "end",
        {**_POOLED, "guidance": 3.0},
    ),
    "chroma": Spec(
        "Chroma",
        {
            **{k: v for k, v in _FLUX.items() if k not in ("vec_in_dim", "guidance_embed")},
            "in_channels": 64,
            "out_channels": 64,
            "image_model": "chroma",
            "in_dim": 64,
            "out_dim": 32,
            "hidden_dim": 32,
            "n_layers": 1,
        },
        (16, 8, 8),
        24,
        "double_blocks.0",
        "single_blocks.2",
        "final_layer",
        "double_blocks.0.img_attn.qkv",
        "end",
        _POOLED,
    ),
    "hunyuan_video": Spec(
        "HunyuanVideo",
        {**_FLUX, **_VIDEO, "patch_size": [1, 2, 2], "image_model": "hunyuan_video", "theta": 256},
        (16, 2, 8, 8),
        24,
        "double_blocks.0",
        "single_blocks.2",
        "final_layer",
        "double_blocks.0.img_attn.qkv",
        "start",
        _POOLED,
    ),
    "wan": Spec("WAN21_T2V", _WAN, (16, 2, 8, 8), 24, "blocks.0", "blocks.3", "head"),
    "wan_s2v": Spec(
        "WAN22_S2V",
        {
            **_WAN,
            "model_type": "s2v",
            "audio_dim": 16,
            "num_audio_token": 2,
            "audio_inject_layers": [0, 2],
            "cond_dim": 16,
        },
        (16, 2, 8, 8),
        24,
        "blocks.0",
        "blocks.3",
        "head",
    ),
    "wan_vace": Spec(
        "WAN21_Vace",
        {
            **_WAN,
            "model_type": "vace",
            "vace_layers": 2,
            "vace_in_dim": 96,
            "image_model": "wan2.1",
        },
        (16, 2, 8, 8),
        24,
        "blocks.0",
        "blocks.3",
        "head",
    ),
    "ltxv": Spec(
        "LTXV",
        {
            "in_channels": 128,
            "cross_attention_dim": 32,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "caption_channels": 24,
            "num_layers": 3,
            "image_model": "ltxv",
        },
        (128, 2, 4, 4),
        24,
        "transformer_blocks.0",
        "transformer_blocks.2",
        "norm_out",
        "transformer_blocks.0.attn1.to_q",
        more={"attention_mask": torch.ones(1, 5, dtype=torch.int64)},
    ),
    "mochi": Spec(
        "GenmoMochi",
        {
            "in_channels": 12,
            "hidden_size_x": 32,
            "hidden_size_y": 24,
            "depth": 3,
            "num_heads": 2,
            "mlp_ratio_x": 384.0,  # the network insists on the width of its hidden layer
            "mlp_ratio_y": 2.0,
            "learn_sigma": False,
            "qk_norm": True,
            "qkv_bias": False,
            "out_bias": True,
            "patch_embed_bias": True,
            "posenc_preserve_area": True,
            "rope_theta": 10000.0,
            "t5_feat_dim": 24,
            "t5_token_length": 5,
            "timestep_mlp_bias": True,
            "timestep_scale": 1000.0,
            "use_t5": True,
            "attend_to_padding": False,
            "attn_drop": 0.0,
            "image_model": "mochi_preview",
        },
        (12, 2, 8, 8),
        24,
        "blocks.0",
        "blocks.2",
        "final_layer",
        "blocks.0.attn.qkv_x",
        more={"attention_mask": torch.ones(1, 5, dtype=torch.int64)},
    ),
    "qwen_image": Spec(
        "QwenImage",
        {
            "num_layers": 3,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 24,
            "axes_dims_rope": (4, 6, 6),
            "image_model": "qwen_image",
        },
        (16, 1, 8, 8),
        24,
        "transformer_blocks.0",
        "transformer_blocks.2",
        "norm_out",
    ),
    "sd3": Spec(
        "SD3",
        {
            "in_channels": 16,
            "depth": 2,
            "adm_in_channels": 16,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 24, "out_features": 128},
            },
            "pos_embed_max_size": 8,
            "num_patches": 64,
            "pos_embed_scaling_factor": None,
            "input_size": None,
            "image_model": None,
        },
        (16, 8, 8),
        24,
        "joint_blocks.0",
        "joint_blocks.1",
        "final_layer",
        more=_POOLED,
    ),
    "auraflow": Spec(
        "AuraFlow",
        {
            "dim": 32,
            "n_heads": 2,
            "global_conddim": 32,
            "cond_seq_dim": 24,
            "n_layers": 4,
            "n_double_layers": 2,
            "max_seq": 64,
        },
        (4, 8, 8),
        24,
        "double_layers.0",
        "single_layers.1",
        "final_linear",
        joined="end",
    ),
    "lumina2": Spec(
        "Lumina2",
        {
            "patch_size": 2,
            "in_channels": 16,
            "dim": 48,
            "cap_feat_dim": 24,
            "n_layers": 3,
            "n_refiner_layers": 1,
            "n_heads": 4,
            "n_kv_heads": 2,
            "axes_dims": [4, 4, 4],
            "axes_lens": [64, 64, 64],
            "multiple_of": 16,
            "qk_norm": True,
            "image_model": "lumina2",
        },
        (16, 8, 8),
        24,
        "layers.0",
        "layers.2",
        "final_layer",
        "layers.0.attention.qkv",
    ),
    "hidream": Spec(
        "HiDream",
        {
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "caption_channels": [24, 24],
            "text_emb_dim": 16,
            "num_routed_experts": 2,
            "num_activated_experts": 1,
            "axes_dims_rope": [8, 4, 4],
            "max_resolution": [16, 16],
            "llama_layers": [0, 1, 1, 1],
            "image_model": "hidream",
        },
        (16, 8, 8),
        24,
        "double_stream_blocks.0",
        "single_stream_blocks.1",
        "final_layer",
        joined="start",
        more={**_POOLED, "conditioning_llama3": torch.ones(1, 2, 5, 24)},
    ),
    "cosmos": Spec(
        "CosmosT2V",
        {
            **_COSMOS,
            "block_config": "FA-CA-MLP",
            "block_x_format": "THWBD",
            "affline_emb_norm": True,
            "extra_per_block_abs_pos_emb": True,
            "extra_per_block_abs_pos_emb_type": "learnable",
            "image_model": "cosmos",
        },
        (16, 2, 8, 8),
        24,
        "blocks.block0",
        "blocks.block2",
        "final_layer",
        "blocks.block0.blocks.0.block",
        batch=3,
    ),
    "cosmos_predict2": Spec(
        "CosmosT2IPredict2",
        {**_COSMOS, "min_fps": 1, "max_fps": 30, "image_model": "cosmos_predict2"},
        (16, 2, 8, 8),
        24,
        "blocks.0",
        "blocks.2",
        "final_layer",
    ),
    "pixart": Spec(
        "PixArtAlpha",
        {
            "input_size": 16,
            "hidden_size": 32,
            "depth": 3,
            "num_heads": 2,
            "caption_channels": 24,
            "model_max_length": 5,
            "micro_condition": False,
            "image_model": "pixart_alpha",
        },
        (4, 48, 48),
        24,
        "blocks.0",
        "blocks.2",
        "final_layer",
    ),
}


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
# Watched by test_deepcache alone: their blocks are no modules that the host calls.
UNETS: dict[str, Spec] = {
    "sd15": Spec("SD15", _SD15, (4, 16, 16), 24),
    "sdxl": Spec("SDXL", _SDXL, (4, 16, 16), 24, more=_POOLED),
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
        "SDXL", {**_SDXL, "transformer_depth_middle": -2}, (4, 16, 16), 24, more=_POOLED
    ),
}


def spec_of(name: str) -> Spec:
    """Of a transformer or a UNet; tests may put in others."""
    return {**SPECS, **UNETS}[name]


def build(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A ModelPatcher of the family's tiny network on the CPU."""
    import comfy.model_patcher
    import comfy.supported_models

    spec = spec_of(name)
    network = dict(spec.network)
    if network.get("image_model", "") is None:
        network.pop("image_model")
    config = getattr(comfy.supported_models, spec.config)(network)
    config.set_inference_dtype(dtype, None)
    if name == "chroma":
        config.unet_config["in_channels"] = config.unet_config["out_channels"] = 64
    model = config.get_model({}, "", device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # The position table of SD3 is a buffer that the host fills from the file.
        network = model.diffusion_model
        tables = [b for n, b in network.named_buffers() if n == "pos_embed"]
        for tensor in [*network.parameters(), *tables]:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.15)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def sample(
    model: Any,
    name: str,
    steps: int = 10,
    cfg: float = 3.0,
    sampler: str = "euler",
    batch: int = 1,
    **more: Any,
) -> torch.Tensor:
    """The host's KSampler on a tiny latent."""
    import comfy.sample

    spec = spec_of(name)

    def conditioning(seed: int) -> list[list[Any]]:
        generator = torch.Generator().manual_seed(seed)
        return [[torch.randn(1, 5, spec.width, generator=generator), dict(spec.more)]]

    latent = torch.zeros(batch, *spec.latent)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            noise,
            steps,
            cfg,
            sampler,
            "simple",
            conditioning(2),
            conditioning(3),
            latent,
            disable_pbar=True,
            seed=4,
            **more,
        )


Hook = Callable[..., None]


@dataclass
class Seen:
    """One call of the network, recorded by module hooks that know nothing of the cache.

    Attributes:
        args, kwargs: of the call.
        into: input of block 0.
        after_first: output of block 0.
        out: picture's part of the last block's output.
        final: input of the module after the blocks.
        signal: modulated input of block 0.
        ran: blocks that ran, by name.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    into: torch.Tensor | None = None
    after_first: torch.Tensor | None = None
    out: torch.Tensor | None = None
    final: torch.Tensor | None = None
    signal: torch.Tensor | None = None
    ran: list[str] = field(default_factory=list)


class Watch:
    """Records the calls of a network while the context is open."""

    def __init__(self, network: Any, name: str) -> None:
        self._network = network
        self._spec = SPECS[name]
        self.calls: list[Seen] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        spec, net = self._spec, self._network
        get = net.get_submodule
        add = self._handles.append
        add(net.register_forward_pre_hook(self._begin, with_kwargs=True))
        add(get(spec.first).register_forward_pre_hook(self._enter, with_kwargs=True))
        add(get(spec.first).register_forward_hook(self._first))
        add(get(spec.last).register_forward_hook(self._last))
        add(get(spec.final).register_forward_pre_hook(self._final))
        if spec.modulated:
            add(get(spec.modulated).register_forward_pre_hook(self._modulated))
        for path, module in net.named_modules():
            if path.count(".") == 1 and path.rsplit(".", 1)[0] in _LISTS:
                add(module.register_forward_pre_hook(self._ran(path)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: Any, args: Any, kwargs: Any) -> None:
        kept = tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in args)
        self.calls.append(Seen(kept, dict(kwargs)))

    def _enter(self, module: Any, args: Any, kwargs: Any) -> None:
        named = [kwargs[n] for n in ("img", "hidden_states", "image_tokens") if n in kwargs]
        place = 1 if self._spec.config in ("SD3", "AuraFlow") else 0  # they take the text first
        self.calls[-1].into = self._batch_first(named[0] if named else args[place]).clone()

    def _first(self, module: Any, args: Any, out: Any) -> None:
        self.calls[-1].after_first = self._img(out).clone()

    def _last(self, module: Any, args: Any, out: Any) -> None:
        seen = self.calls[-1]
        tokens = self._img(out)
        if self._spec.joined and seen.into is not None:
            count = seen.into.shape[1]
            tokens = tokens[:, -count:] if self._spec.joined == "end" else tokens[:, :count]
        seen.out = tokens.clone()

    def _final(self, module: Any, args: Any) -> None:
        self.calls[-1].final = args[0].clone()

    def _modulated(self, module: Any, args: Any) -> None:
        if self.calls[-1].signal is None:
            self.calls[-1].signal = self._batch_first(args[0]).clone()

    def _batch_first(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.movedim(self._spec.batch, 0)

    def _ran(self, path: str) -> Hook:
        return lambda module, args: self.calls[-1].ran.append(path)

    def _img(self, out: Any) -> torch.Tensor:
        if isinstance(out, torch.Tensor):
            return self._batch_first(out)
        # Picture first, but for those that return the text first.
        return out[1] if self._spec.config in ("QwenImage", "SD3", "AuraFlow") else out[0]


_LISTS = {
    "double_blocks",
    "single_blocks",
    "blocks",
    "transformer_blocks",
    "joint_blocks",
    "double_layers",
    "single_layers",
    "layers",
    "double_stream_blocks",
    "single_stream_blocks",
}


def replay(network: Any, name: str, calls: list[Seen]) -> list[Seen]:
    """The same inputs through the plain network: what each call would have computed."""
    with Watch(network, name) as watch, torch.inference_mode():
        for call in calls:
            options = {
                k: v
                for k, v in call.kwargs["transformer_options"].items()
                if k in ("sigmas", "sample_sigmas", "cond_or_uncond", "uuids")
            }
            network(*call.args, **{**call.kwargs, "transformer_options": options})
    return watch.calls
