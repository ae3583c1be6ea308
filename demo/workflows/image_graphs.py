"""Graphs of further image models: Kontext and Chroma."""

from __future__ import annotations

from .file_format import Graph, Node, link
from .graphs import (
    FLUX_FILES,
    HUB,
    LUMINA_FILES,
    TEMPLATES,
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
    sampler,
    save_image,
    scaling_cache,
    scaling_name,
    scaling_note,
    unet_loader,
    vae_loader,
)

KONTEXT_FILES = f"{HUB}/Comfy-Org/flux1-kontext-dev_ComfyUI/resolve/main/split_files"
CHROMA_FILES = f"{HUB}/Comfy-Org/Chroma1-HD_repackaged/resolve/main/split_files/diffusion_models"
T5 = "t5xxl_fp8_e4m3fn_scaled.safetensors"


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
    return Graph(scaling_name("FLUX.1 Kontext"), TEMPLATES, nodes, note)


def scaled_picture() -> dict[str, Node]:
    """A picture in a size that suits the model, and as a latent."""
    return {
        "scale": Node("FluxKontextImageScale", 1, {"image": link("picture")}, (340, 0)),
        "latent": Node("VAEEncode", 1, {"pixels": link("scale"), "vae": link("vae")}, (340, 0)),
    }


def chroma_graph() -> Graph:
    nodes = {
        "unet": unet_loader("Chroma1-HD-fp8mixed.safetensors", CHROMA_FILES),
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
    return Graph(scaling_name("Chroma1-HD"), TEMPLATES, nodes, scaling_note("Chroma1-HD", 26))
