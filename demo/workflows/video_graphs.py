"""Graphs of further video models, and of one for music."""

from __future__ import annotations

from typing import Any

from .file_format import Graph, Node, link
from .graphs import (
    FEWEST_MULTISTEP,
    FLUX_FILES,
    HUB,
    TEMPLATES,
    WAN_FILES,
    basic_guider,
    basic_scheduler,
    cfg_guider,
    checkpoint_loader,
    custom_sampler,
    decoder,
    encoder_loader,
    guidance,
    negative_prompt,
    picture_to_change,
    positive_prompt,
    sampler,
    scaling_cache,
    scaling_name,
    scaling_note,
    unet_loader,
    vae_loader,
    video_output,
    wan_encoder,
)

WAN22_FILES = f"{HUB}/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
HUNYUAN_FILES = f"{HUB}/Comfy-Org/HunyuanVideo_repackaged/resolve/main/split_files"
HUNYUAN15_FILES = f"{HUB}/Comfy-Org/HunyuanVideo_1.5_repackaged/resolve/main/split_files"
ACE_FILES = f"{HUB}/Comfy-Org/ACE-Step_ComfyUI_repackaged/resolve/main/all_in_one"

PAIR = (
    "Each of the two models samples 10 of the steps and has a cache of its own: set both alike. With a "
    "4-step LoRA there is nothing to predict: leave the nodes out.\n\n"
)


# --- parts of a graph


def video_latent(kind: str, width: int, height: int, length: int, **links: Any) -> Node:
    size = {"width": width, "height": height, "length": length, "batch_size": 1}
    return Node(kind, 0, {**links, **size}, (380, 0))


def shifted(shift: float, model: str = "unet") -> Node:
    return Node("ModelSamplingSD3", 1, {"model": link(model), "shift": shift}, (340, 0))


# --- graphs


def wan_i2v_graph() -> Graph:
    vision = "clip_vision_h.safetensors"
    files = ((vision, "clip_vision", f"{WAN_FILES}/clip_vision/{vision}"),)
    size = {"width": 512, "height": 512, "length": 33, "batch_size": 1}
    nodes = {
        "unet": unet_loader(
            "wan2.1_i2v_480p_14B_fp16.safetensors", f"{WAN_FILES}/diffusion_models"
        ),
        "clip": wan_encoder(),
        "vae": vae_loader("wan_2.1_vae.safetensors", f"{WAN_FILES}/vae"),
        "vision": Node("CLIPVisionLoader", 0, {"clip_name": vision}, (380, 0), models=files),
        "picture": picture_to_change(),
        "shift": shifted(8.0),
        "cache": scaling_cache(link("shift")),
        "seen": Node(
            "CLIPVisionEncode",
            1,
            {"clip_vision": link("vision"), "image": link("picture"), "crop": "none"},
            (340, 0),
        ),
        "positive": positive_prompt(link("clip"), "the camera pulls back slowly, leaves stir"),
        "negative": negative_prompt(link("clip"), "static, blurry, watermark, low quality"),
        "start": Node(
            "WanImageToVideo",
            2,
            {
                "positive": link("positive"),
                "negative": link("negative"),
                "vae": link("vae"),
                "clip_vision_output": link("seen"),
                "start_image": link("picture"),
                **size,
            },
        ),
        "sampler": sampler(
            20,
            6.0,
            "uni_pc",
            "simple",
            positive=link("start"),
            negative=link("start", 1),
            latent_image=link("start", 2),
        ),
        "decode": decoder(link("vae")),
        **video_output(16.0),
    }
    note = scaling_note("Wan 2.1 I2V 14B", 20, fewest=FEWEST_MULTISTEP)
    return Graph(scaling_name("Wan 2.1 I2V 14B"), TEMPLATES, nodes, note)


def wan22_pair_graph() -> Graph:
    """Two models, each for its part of the denoising and each with a cache."""
    files = f"{WAN22_FILES}/diffusion_models"
    nodes = {
        "unet": unet_loader("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", files),
        "unet_low": unet_loader("wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", files),
        "clip": wan_encoder(),
        "vae": vae_loader("wan_2.1_vae.safetensors", f"{WAN22_FILES}/vae"),
        "latent": video_latent("EmptyHunyuanLatentVideo", 640, 640, 81),
        "shift": shifted(8.0),
        "cache": scaling_cache(link("shift")),
        "shift_low": shifted(8.0, "unet_low"),
        "cache_low": scaling_cache(link("shift_low")),
        "positive": positive_prompt(
            link("clip"), "a kite rises over dunes, a child runs below, wind in the grass"
        ),
        "negative": negative_prompt(link("clip"), "static, blurry, watermark, low quality"),
        "first": half_of_the_steps(True, "cache", "latent"),
        "sampler": half_of_the_steps(False, "cache_low", "first"),
        "decode": decoder(link("vae")),
        **video_output(16.0),
    }
    note = scaling_note("the Wan 2.2 14B pair", 20, fewest=FEWEST_MULTISTEP, hint=PAIR)
    return Graph(scaling_name("Wan 2.2 T2V 14B"), TEMPLATES, nodes, note)


def half_of_the_steps(first: bool, cache: str, latent: str) -> Node:
    """A KSamplerAdvanced for the noisier or the cleaner half of 20 steps."""
    inputs = {
        "model": link(cache),
        "positive": link("positive"),
        "negative": link("negative"),
        "latent_image": link(latent),
        "add_noise": "enable" if first else "disable",
        "noise_seed": 1,
        "steps": 20,
        "cfg": 3.5,
        "sampler_name": "euler",
        "scheduler": "simple",
        "start_at_step": 0 if first else 10,
        "end_at_step": 10 if first else 10000,
        "return_with_leftover_noise": "enable" if first else "disable",
    }
    return Node("KSamplerAdvanced", 2, inputs, title="High Noise" if first else "Low Noise")


def wan22_5b_graph() -> Graph:
    nodes = {
        "unet": unet_loader("wan2.2_ti2v_5B_fp16.safetensors", f"{WAN22_FILES}/diffusion_models"),
        "clip": wan_encoder(),
        "vae": vae_loader("wan2.2_vae.safetensors", f"{WAN22_FILES}/vae"),
        "latent": video_latent("Wan22ImageToVideoLatent", 1280, 704, 121, vae=link("vae")),
        "shift": shifted(8.0),
        "cache": scaling_cache(link("shift")),
        "positive": positive_prompt(
            link("clip"), "an accordion player on a night train platform, slow push in, film grain"
        ),
        "negative": negative_prompt(link("clip"), "static, blurry, watermark, low quality"),
        "sampler": sampler(20, 5.0, "uni_pc", "simple"),
        "decode": decoder(link("vae")),
        **video_output(24.0),
    }
    note = scaling_note("Wan 2.2 5B", 20, fewest=FEWEST_MULTISTEP)
    return Graph(scaling_name("Wan 2.2 5B"), TEMPLATES, nodes, note)


def hunyuan_video_graph() -> Graph:
    unet = "hunyuan_video_t2v_720p_bf16.safetensors"
    vae = "hunyuan_video_vae_bf16.safetensors"
    clip = "clip_l.safetensors"
    llama = "llava_llama3_fp8_scaled.safetensors"
    files = f"{HUNYUAN_FILES}/text_encoders"
    nodes = {
        "unet": unet_loader(unet, f"{HUNYUAN_FILES}/diffusion_models"),
        "clip": Node(
            "DualCLIPLoader",
            0,
            {"clip_name1": clip, "clip_name2": llama, "type": "hunyuan_video", "device": "default"},
            (380, 0),
            models=(
                (clip, "text_encoders", f"{FLUX_FILES}/{clip}"),
                (llama, "text_encoders", f"{files}/{llama}"),
            ),
        ),
        "vae": vae_loader(vae, f"{HUNYUAN_FILES}/vae"),
        "latent": video_latent("EmptyHunyuanLatentVideo", 848, 480, 73),
        "shift": shifted(7.0),
        "cache": scaling_cache(link("shift")),
        "positive": positive_prompt(
            link("clip"), "a fox crosses a snowy field at dawn, breath visible, long shot"
        ),
        "guidance": guidance("positive", 6.0),
        **custom_sampler(basic_guider(), basic_scheduler("simple", 20)),
        "decode": Node(
            "VAEDecodeTiled",
            2,
            {
                "samples": link("sampler"),
                "vae": link("vae"),
                "tile_size": 256,
                "overlap": 64,
                "temporal_size": 64,
                "temporal_overlap": 8,
            },
        ),
        **video_output(24.0),
    }
    note = scaling_note("HunyuanVideo", 20)
    return Graph(scaling_name("HunyuanVideo"), TEMPLATES, nodes, note)


def hunyuan_video15_graph() -> Graph:
    unet = "hunyuanvideo1.5_720p_t2v_fp16.safetensors"
    nodes = {
        "unet": unet_loader(unet, f"{HUNYUAN15_FILES}/diffusion_models"),
        "clip": encoder_loader(
            "DualCLIPLoader",
            ("qwen_2.5_vl_7b_fp8_scaled.safetensors", "byt5_small_glyphxl_fp16.safetensors"),
            f"{HUNYUAN15_FILES}/text_encoders",
            type="hunyuan_video_15",
            device="default",
        ),
        "vae": vae_loader("hunyuanvideo15_vae_fp16.safetensors", f"{HUNYUAN15_FILES}/vae"),
        "latent": video_latent("EmptyHunyuanVideo15Latent", 1280, 720, 121),
        "shift": shifted(7.0),
        "cache": scaling_cache(link("shift")),
        "positive": positive_prompt(
            link("clip"), "a glass elevator climbs a tower in the rain, city lights below"
        ),
        "negative": negative_prompt(link("clip"), ""),
        **custom_sampler(cfg_guider(6.0), basic_scheduler("simple", 20)),
        "decode": decoder(link("vae")),
        **video_output(24.0),
    }
    note = scaling_note("HunyuanVideo 1.5", 20)
    return Graph(scaling_name("HunyuanVideo 1.5"), TEMPLATES, nodes, note)


def ace_step_graph() -> Graph:
    nodes = {
        "checkpoint": checkpoint_loader("ace_step_v1_3.5b.safetensors", ACE_FILES),
        "latent": Node("EmptyAceStepLatentAudio", 0, {"seconds": 120.0, "batch_size": 1}, (380, 0)),
        "shift": shifted(5.0, "checkpoint"),
        "tonemap": Node("LatentOperationTonemapReinhard", 1, {"multiplier": 1.0}, (340, 0)),
        "operation": Node(
            "LatentApplyOperationCFG",
            1,
            {"model": link("shift"), "operation": link("tonemap")},
            (340, 0),
        ),
        "cache": scaling_cache(link("operation")),
        "positive": Node(
            "TextEncodeAceStepAudio",
            1,
            {
                "clip": link("checkpoint", 1),
                "tags": "folk, acoustic guitar, warm male vocals, slow",
                "lyrics": "[verse]\nThe river keeps the time we lose\nand brings it back as rain",
                "lyrics_strength": 1.0,
            },
            (400, 320),
            title="Song",
        ),
        "negative": Node("ConditioningZeroOut", 1, {"conditioning": link("positive")}),
        "sampler": sampler(50, 5.0, "euler", "simple"),
        "decode": Node(
            "VAEDecodeAudio", 2, {"samples": link("sampler"), "vae": link("checkpoint", 2)}
        ),
        "save": Node(
            "SaveAudioMP3",
            3,
            {"audio": link("decode"), "filename_prefix": "audio/scaling_cache", "quality": "V0"},
            (420, 160),
        ),
    }
    note = scaling_note("ACE-Step", 50)
    return Graph(scaling_name("ACE-Step"), TEMPLATES, nodes, note)
