"""Tiny networks of every family with random weights, in the host's own classes."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import comfy.model_patcher
import comfy.ops
import comfy.sample
import comfy.supported_models
import torch
from comfy.ldm.ace.lyric_encoder import ConformerEncoder as LyricEncoder
from comfy.ldm.audio.embedders import NumberConditioner

from .further import FURTHER
from .recent import RECENT
from .spec import Spec
from .transformers import TRANSFORMERS
from .unets import UNETS

# Families as users know them, in the order of the page.
TITLES: dict[str, str] = {
    "flux": "Flux 1",
    "flux_kontext": "Flux 1 Kontext (reference latents)",
    "flux2": "Flux 2",
    "chroma": "Chroma",
    "chroma_radiance": "Chroma Radiance",
    "sd3": "Stable Diffusion 3",
    "auraflow": "AuraFlow",
    "qwen_image": "Qwen-Image",
    "qwen_image_edit": "Qwen-Image-Edit (reference latents)",
    "lumina2": "Lumina 2",
    "z_image": "Z-Image",
    "omnigen2": "OmniGen 2",
    "hidream": "HiDream I1",
    "hunyuan_image": "HunyuanImage 2.1",
    "hydit": "Hunyuan-DiT",
    "pixart": "PixArt",
    "cosmos_predict2": "Cosmos Predict 2",
    "sd15": "Stable Diffusion 1.5",
    "sdxl": "SDXL",
    "cascade_c": "Stable Cascade, stage C",
    "cascade_b": "Stable Cascade, stage B",
    "hunyuan_video": "HunyuanVideo T2V",
    "hunyuan_video_i2v": "HunyuanVideo I2V",
    "hunyuan_video_15": "HunyuanVideo 1.5",
    "wan": "Wan 2.1 T2V",
    "wan_i2v": "Wan 2.1 I2V",
    "wan_vace": "Wan 2.1 VACE",
    "wan_fun": "Wan 2.1 Fun Control",
    "wan_camera": "Wan 2.1 Fun Camera",
    "wan22_pair": "Wan 2.2 T2V (high and low noise)",
    "wan22_5b": "Wan 2.2 TI2V 5B",
    "wan_s2v": "Wan 2.2 S2V",
    "wan_animate": "Wan 2.2 Animate",
    "ltxv": "LTX-Video",
    "mochi": "Mochi",
    "cosmos": "Cosmos 1",
    "svd": "SVD",
    "ace_step": "ACE-Step",
    "stable_audio": "Stable Audio",
    "hunyuan3d": "Hunyuan3D 2.0",
    "hunyuan3d_21": "Hunyuan3D 2.1",
    "longcat_image": "LongCat-Image",
    "lens": "Lens",
    "mage_flow": "Mage Flow",
    "joyimage": "JoyImage",
    "krea2": "Krea 2",
    "ernie_image": "ERNIE-Image",
    "ideogram4": "Ideogram 4",
    "kandinsky5_image": "Kandinsky 5 image",
    "boogu": "Boogu",
    "anima": "Anima",
    "z_image_pixel": "Z-Image in pixels",
    "pixeldit": "PixelDiT",
    "pid": "PiD",
    "kandinsky5": "Kandinsky 5 video",
    "cogvideox": "CogVideoX",
    "cogvideox_i2v": "CogVideoX I2V",
    "cogvideox_15": "CogVideoX 1.5",
    "wan_causal": "Wan 2.1 causal",
    "wan_flow_rvs": "Wan 2.1 FlowRVS",
    "wan_scail": "Wan 2.1 SCAIL",
    "wan_scail2": "Wan 2.1 SCAIL 2",
    "wan_dancer": "Wan 2.2 Dancer",
    "wan_animate2": "Wan Animate 2",
    "ace_step_15": "ACE-Step 1.5",
    "minimax_music3": "MiniMax Music 3",
    "trellis2": "TRELLIS 2",
    "stable_audio_3": "Stable Audio 3",
    "ltx2": "LTX-2 (video and sound)",
    "minimax_h3": "MiniMax H3 (video and sound)",
    "triposplat": "TripoSplat",
    "hidream_o1": "HiDream O1",
    "seedvr2": "SeedVR2 (made for one step)",
}

# Buffers that the host leaves as they are in memory until it reads the file.
_FROM_FILE = ("pos_embed", "y_embedder.y_embedding", "transformer.rotary_pos_emb.inv_freq", ".beta")


# Where the host has the parameters of a network as a class of their own, by `image_model`.
_PARAMETERS = {
    "flux": "flux.model.FluxParams",
    "flux2": "flux.model.FluxParams",
    "chroma": "chroma.model.ChromaParams",
    "chroma_radiance": "chroma_radiance.model.ChromaRadianceParams",
    "hunyuan_video": "hunyuan_video.model.HunyuanVideoParams",
}


# Adapters of text encoders, large in any network, and not used on texts that come ready.
_UNUSED = {
    "Anima": ("llm_adapter",),
    "LTXAV": ("video_embeddings_connector", "audio_embeddings_connector"),
}


def spec_of(name: str) -> Spec:
    """How a network is built; tests may put in others."""
    return {**RECENT, **FURTHER, **UNETS, **TRANSFORMERS}[name]


# The families that this host has.
CATALOGUE = {
    name: title
    for name, title in TITLES.items()
    if hasattr(comfy.supported_models, spec_of(name).config)
}


def build(
    name: str, seed: int = 0, dtype: torch.dtype = torch.float32, spread: float = 0.15
) -> Any:
    """A ModelPatcher of the family's tiny network on the CPU.

    Args:
        spread: standard deviation of the weights.
    """
    spec = spec_of(name)
    network = fitted(spec.network)
    if network.get("image_model", "") is None:
        network.pop("image_model")
    config = getattr(comfy.supported_models, spec.config)(network)
    # The host's own numbers for a family are those of its full size.
    config.unet_config.update(network)
    # Weights of 8 bits are stored only: the network runs in another type.
    config.set_inference_dtype(dtype, torch.float32 if dtype.itemsize == 1 else None)
    if name == "chroma":
        config.unet_config["in_channels"] = config.unet_config["out_channels"] = 64
    state = _seconds() if spec.config.startswith("StableAudio") else {}
    model = config.get_model(state, "", device=torch.device("cpu"))
    if spec.config == "ACEStep":
        model.diffusion_model.lyric_encoder = _lyrics(dtype)
    if spec.config == "MiniMaxMusic3":  # the host's own has no setting for how many
        transformer = model.diffusion_model.diffusion_transformer.transformer
        transformer.layers = transformer.layers[:2]
    for part in _UNUSED.get(spec.config, ()):
        setattr(model.diffusion_model, part, torch.nn.Identity())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        network = model.diffusion_model
        tables = [b for n, b in network.named_buffers() if n.endswith(_FROM_FILE)]
        for tensor in [*network.parameters(), *tables]:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread * spec.scale)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def build_stages(name: str, spread: float = 0.15) -> list[Any]:
    """A ModelPatcher per stage of the family: Wan 2.2 samples with one after the other."""
    return [build(name, seed, spread=spread) for seed in range(spec_of(name).stages)]


def conditioning(name: str, seed: int) -> list[list[Any]]:
    """A random text, with what else the family needs."""
    spec = spec_of(name)
    generator = torch.Generator().manual_seed(seed)
    more = spec.more(seed) if callable(spec.more) else spec.more
    return [[torch.randn(1, 5, spec.width, generator=generator), dict(more)]]


def sample(
    model: Any,
    name: str,
    steps: int = 10,
    cfg: float = 3.0,
    sampler: str = "euler",
    batch: int = 1,
    scheduler: str = "simple",
    latent: torch.Tensor | None = None,
    seed: int = 1,
    **more: Any,
) -> torch.Tensor:
    """The host's KSampler on a tiny latent; several that are sampled together stand in a row."""
    if latent is None:
        latent = empty(name, batch)
    noise = noise_like(latent, seed)
    with torch.inference_mode():
        result = comfy.sample.sample(
            model,
            noise,
            steps,
            cfg,
            sampler,
            scheduler,
            conditioning(name, 2),
            conditioning(name, 3),
            latent,
            disable_pbar=True,
            seed=4,
            **more,
        )
    parts = [part.flatten(1) for part in result.unbind()] if result.is_nested else []
    return torch.cat(parts, 1) if parts else result


def noise_like(latent: Any, seed: int) -> Any:
    """What the host's `prepare_noise` gives, by a generator of its own: that of the process is one for
    all threads."""
    generator = torch.Generator().manual_seed(seed)
    parts = latent.unbind() if latent.is_nested else [latent]
    made = [torch.randn(part.shape, generator=generator).to(part.dtype) for part in parts]
    return nested(made) if latent.is_nested else made[0]


def nested(parts: list[torch.Tensor]) -> Any:
    """Latents that are sampled together."""
    from comfy.nested_tensor import NestedTensor  # not in every host

    return NestedTensor(parts)


def empty(name: str, batch: int = 1) -> Any:
    """A latent of a family with nothing in it; the host's own pair where two are sampled together."""
    spec = spec_of(name)
    latent = torch.zeros(batch, *spec.latent)
    if not spec.second:
        return latent
    return nested([latent, torch.zeros(batch, *spec.second)])


def sample_stages(models: list[Any], name: str, steps: int = 10, **more: Any) -> torch.Tensor:
    """Each model samples its part of the schedule, as two sampler nodes in a row do.

    Args:
        models: one per stage.
        steps: of each stage.
    """
    if len(models) == 1:
        return sample(models[0], name, steps, **more)
    latent: torch.Tensor | None = None
    for stage, model in enumerate(models):
        latent = sample(
            model,
            name,
            steps * len(models),
            latent=latent,
            start_step=stage * steps,
            last_step=(stage + 1) * steps,
            force_full_denoise=stage == len(models) - 1,
            disable_noise=stage > 0,
            **more,
        )
    assert latent is not None
    return latent


def fitted(network: dict[str, Any]) -> dict[str, Any]:
    """The arguments that this host's network takes: what it does not know is left out, what it needs
    besides is nothing, none or no."""
    where = _PARAMETERS.get(network.get("image_model") or "")
    if where is None:
        return dict(network)
    module, _, kind = f"comfy.ldm.{where}".rpartition(".")
    fields = dataclasses.fields(getattr(importlib.import_module(module), kind))
    known = {field.name for field in fields} | {"image_model"}
    needed = [f for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    blank: dict[Any, Any] = {list: [], bool: False}
    return {
        **{field.name: blank.get(field.type) for field in needed},
        **{key: value for key, value in network.items() if key in known},
    }


def _seconds() -> dict[str, torch.Tensor]:
    """Stable Audio's embedders of start and length, which the host insists on finding in the file."""
    place = "conditioner.conditioners.seconds_{}.{}"
    return {
        place.format(end, key): torch.full_like(value, 0.01)
        for end in ("start", "total")
        for key, value in NumberConditioner(768, min_val=0, max_val=512).state_dict().items()
    }


def _lyrics(dtype: torch.dtype) -> Any:
    """ACE-Step's encoder of lyrics with fewer blocks: the host's own has no setting for them."""
    return LyricEncoder(
        input_size=1024,
        linear_units=64,
        num_blocks=1,
        static_chunk_size=0,
        dtype=dtype,
        operations=comfy.ops.disable_weight_init,
    ).eval()
