"""Graphs of further image models: Flux.2, Kontext, Qwen-Image-Edit, Chroma and Z-Image."""

from __future__ import annotations

from .file_format import Graph, Node, link
from .graphs import (
    FLUX_FILES,
    HUB,
    LUMINA_FILES,
    QWEN_FILES,
    TEMPLATES,
    basic_guider,
    basic_scheduler,
    cfg_guider,
    custom_sampler,
    decoder,
    encoder_loader,
    guidance,
    negative_prompt,
    one_encoder_loader,
    picture_latent,
    picture_to_change,
    positive_prompt,
    qwen_image_encoder,
    sampler,
    save_image,
    scaling_cache,
    scaling_note,
    unet_loader,
    vae_loader,
)

FLUX2_FILES = f"{HUB}/Comfy-Org/flux2-dev/resolve/main/split_files"
KONTEXT_FILES = f"{HUB}/Comfy-Org/flux1-kontext-dev_ComfyUI/resolve/main/split_files"
QWEN_EDIT_FILES = f"{HUB}/Comfy-Org/Qwen-Image-Edit_ComfyUI/resolve/main/split_files"
CHROMA_FILES = f"{HUB}/silveroxides/Chroma1-HD-fp8-scaled/resolve/main"
Z_IMAGE_FILES = f"{HUB}/Comfy-Org/z_image_turbo/resolve/main/split_files"
T5 = "t5xxl_fp8_e4m3fn_scaled.safetensors"


def flux2_graph() -> Graph:
    size = {"width": 1024, "height": 1024}
    encoder = "mistral_3_small_flux2_fp8.safetensors"
    nodes = {
        "unet": unet_loader("flux2_dev_fp8mixed.safetensors", f"{FLUX2_FILES}/diffusion_models"),
        "clip": one_encoder_loader("flux2", encoder, f"{FLUX2_FILES}/text_encoders"),
        "vae": vae_loader("flux2-vae.safetensors", f"{FLUX2_FILES}/vae"),
        "latent": picture_latent("EmptyFlux2LatentImage"),
        "cache": scaling_cache(link("unet")),
        "positive": positive_prompt(
            link("clip"), "a watchmaker at his bench, brass gears, one lamp, seen from above"
        ),
        "guidance": guidance("positive", 4.0),
        **custom_sampler(basic_guider(), Node("Flux2Scheduler", 2, {"steps": 20, **size})),
        "decode": decoder(link("vae")),
        "save": save_image(),
    }
    return Graph("flux2_dev_scaling_cache", TEMPLATES, nodes, scaling_note("FLUX.2-dev", 20))


def kontext_graph() -> Graph:
    unet = "flux1-dev-kontext_fp8_scaled.safetensors"
    nodes = {
        "unet": unet_loader(unet, f"{KONTEXT_FILES}/diffusion_models"),
        "clip": encoder_loader(
            "DualCLIPLoader",
            ("clip_l.safetensors", T5),
            FLUX_FILES,
            type="flux",
            device="default",
        ),
        "vae": vae_loader("ae.safetensors", f"{LUMINA_FILES}/vae"),
        "picture": picture_to_change(),
        "cache": scaling_cache(link("unet")),
        **scaled_picture(),
        "positive": positive_prompt(link("clip"), "make it a winter evening, keep everything else"),
        "reference": Node(
            "ReferenceLatent", 1, {"conditioning": link("positive"), "latent": link("latent")}
        ),
        "guidance": guidance("reference", 2.5),
        "negative": Node("ConditioningZeroOut", 1, {"conditioning": link("positive")}),
        "sampler": sampler(20, 1.0, "euler", "simple", positive=link("guidance")),
        "decode": decoder(link("vae")),
        "save": save_image(),
    }
    note = scaling_note("FLUX.1 Kontext", 20)
    return Graph("flux1_kontext_dev_scaling_cache", TEMPLATES, nodes, note)


def qwen_image_edit_graph() -> Graph:
    unet = "qwen_image_edit_2509_fp8_e4m3fn.safetensors"
    nodes = {
        "unet": unet_loader(unet, f"{QWEN_EDIT_FILES}/diffusion_models"),
        "clip": qwen_image_encoder(),
        "vae": vae_loader("qwen_image_vae.safetensors", f"{QWEN_FILES}/vae"),
        "picture": picture_to_change(),
        "shift": Node("ModelSamplingAuraFlow", 1, {"model": link("unet"), "shift": 3.0}, (340, 0)),
        "norm": Node("CFGNorm", 1, {"model": link("shift"), "strength": 1.0}, (340, 0)),
        "cache": scaling_cache(link("norm")),
        **scaled_picture(),
        "positive": qwen_edit_prompt("turn the day into night", "Positive Prompt"),
        "negative": qwen_edit_prompt("", "Negative Prompt"),
        "sampler": sampler(20, 2.5, "euler", "simple"),
        "decode": decoder(link("vae")),
        "save": save_image(),
    }
    note = scaling_note("Qwen-Image-Edit 2509", 20)
    return Graph("qwen_image_edit_scaling_cache", TEMPLATES, nodes, note)


def scaled_picture() -> dict[str, Node]:
    """A picture in a size that suits the model, and as a latent."""
    return {
        "scale": Node("FluxKontextImageScale", 1, {"image": link("picture")}, (340, 0)),
        "latent": Node("VAEEncode", 1, {"pixels": link("scale"), "vae": link("vae")}, (340, 0)),
    }


def qwen_edit_prompt(text: str, title: str) -> Node:
    links = {"clip": link("clip"), "vae": link("vae"), "image1": link("scale")}
    return Node("TextEncodeQwenImageEditPlus", 1, {**links, "prompt": text}, (400, 200), title)


def chroma_graph() -> Graph:
    nodes = {
        "unet": unet_loader("Chroma1-HD-fp8_scaled_rev2.safetensors", CHROMA_FILES),
        "clip": one_encoder_loader("chroma", T5, FLUX_FILES),
        "vae": vae_loader("ae.safetensors", f"{LUMINA_FILES}/vae"),
        "latent": picture_latent("EmptySD3LatentImage"),
        "shift": Node("ModelSamplingAuraFlow", 1, {"model": link("unet"), "shift": 1.0}, (340, 0)),
        "cache": scaling_cache(link("shift")),
        "tokens": Node(
            "T5TokenizerOptions",
            1,
            {"clip": link("clip"), "min_padding": 0, "min_length": 0},
            (340, 0),
        ),
        "positive": positive_prompt(
            link("tokens"), "a heron in tall reeds at first light, mist over the water, photograph"
        ),
        "negative": negative_prompt(link("tokens"), "blurry, oversaturated, unfinished sketch"),
        **custom_sampler(cfg_guider(3.5), basic_scheduler("beta", 26)),
        "decode": decoder(link("vae")),
        "save": save_image(),
    }
    return Graph("chroma1_hd_scaling_cache", TEMPLATES, nodes, scaling_note("Chroma1-HD", 26))


def z_image_graph() -> Graph:
    cache = scaling_cache(link("shift"))
    nodes = {
        "unet": unet_loader("z_image_turbo_bf16.safetensors", f"{Z_IMAGE_FILES}/diffusion_models"),
        "clip": one_encoder_loader(
            "lumina2", "qwen_3_4b.safetensors", f"{Z_IMAGE_FILES}/text_encoders"
        ),
        "vae": vae_loader("ae.safetensors", f"{Z_IMAGE_FILES}/vae"),
        "latent": picture_latent("EmptySD3LatentImage"),
        "shift": Node("ModelSamplingAuraFlow", 1, {"model": link("unet"), "shift": 3.0}, (340, 0)),
        "cache": Node(cache.kind, cache.column, {**cache.inputs, "speedup": 1.3}, cache.size),
        "positive": positive_prompt(
            link("clip"), "a fisherwoman mends a net on a quay, pastel houses, sea wind"
        ),
        "negative": Node("ConditioningZeroOut", 1, {"conditioning": link("positive")}),
        "sampler": sampler(9, 1.0, "res_multistep", "simple"),
        "decode": decoder(link("vae")),
        "save": save_image(),
    }
    note = (
        "**Scaling Cache on Z-Image Turbo**\n\nA model for few steps leaves little to predict: at "
        "*speedup* 1.3, 7 of its 9 steps are computed. Under 8 steps the node steps aside and says "
        "so.\n\n1.0 is off. The text under the node says what was computed and how long it took."
    )
    return Graph("z_image_turbo_scaling_cache", TEMPLATES, nodes, note)
