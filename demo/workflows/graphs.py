"""Graphs of models that have templates, with Scaling Cache in them, and the parts of a graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from cache_core.decide.policies import ENOUGH, ENOUGH_MORE, ENOUGH_STRONG, STRONG
from cache_core.planning.optimiser import target_steps

from ..host.fetch import ROOT
from .file_format import Graph, Link, Node, link

TEMPLATES = ROOT / "workflows"
DEMO = ROOT / "demo" / "workflows"
HUB = "https://huggingface.co"
WAN_FILES = f"{HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
FLUX_FILES = f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main"
ACE_FILES = f"{HUB}/Comfy-Org/ACE-Step_ComfyUI_repackaged/resolve/main/all_in_one"
LUMINA_FILES = f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files"
# Samplers that look back need more computed steps.
MULTISTEP = {"dpmpp_2m", "res_multistep", "uni_pc"}


# --- parts of a graph


def unet_loader(name: str, address: str) -> Node:
    inputs = {"unet_name": name, "weight_dtype": "default"}
    models = ((name, "diffusion_models", f"{address}/{name}"),)
    return Node("UNETLoader", 0, inputs, (380, 0), models=models)


def vae_loader(name: str, address: str) -> Node:
    models = ((name, "vae", f"{address}/{name}"),)
    return Node("VAELoader", 0, {"vae_name": name}, (380, 0), models=models)


def checkpoint_loader(name: str, address: str) -> Node:
    models = ((name, "checkpoints", f"{address}/{name}"),)
    return Node("CheckpointLoaderSimple", 0, {"ckpt_name": name}, (380, 0), models=models)


def encoder_loader(kind: str, names: tuple[str, ...], address: str, **settings: str) -> Node:
    """One loader for one or more text encoders, whose inputs are numbered if there are several."""
    numbered = len(names) > 1
    files = {f"clip_name{i}" if numbered else "clip_name": n for i, n in enumerate(names, 1)}
    models = tuple((n, "text_encoders", f"{address}/{n}") for n in names)
    return Node(kind, 0, {**files, **settings}, (380, 0), models=models)


def one_encoder_loader(kind: str, name: str, address: str) -> Node:
    return encoder_loader("CLIPLoader", (name,), address, type=kind, device="default")


def wan_encoder() -> Node:
    name = "umt5_xxl_fp8_e4m3fn_scaled.safetensors"
    return one_encoder_loader("wan", name, f"{WAN_FILES}/text_encoders")


def picture_latent(kind: str, side: int = 1024) -> Node:
    return Node(kind, 0, {"width": side, "height": side, "batch_size": 1}, (380, 0))


def scaling_cache(model: Link) -> Node:
    inputs = {
        "model": model,
        "speedup": 2.0,
        "mode": "target speed-up",
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    return Node("ScalingCache", 1, inputs, (340, 0))


def positive_prompt(clip: Link, text: str) -> Node:
    inputs = {"clip": clip, "text": text}
    return Node("CLIPTextEncode", 1, inputs, (400, 170), "Positive Prompt")


def negative_prompt(clip: Link, text: str) -> Node:
    inputs = {"clip": clip, "text": text}
    return Node("CLIPTextEncode", 1, inputs, (400, 130), "Negative Prompt")


def sampler(steps: int, cfg: float, name: str, scheduler: str, **links: Link) -> Node:
    """A KSampler, linked to the nodes that nearly all graphs name alike; `links` are the exceptions."""
    inputs: dict[str, Any] = {
        "model": link("cache"),
        "positive": link("positive"),
        "negative": link("negative"),
        "latent_image": link("latent"),
        **links,
        "seed": 1,
        "steps": steps,
        "cfg": cfg,
        "sampler_name": name,
        "scheduler": scheduler,
        "denoise": 1.0,
    }
    return Node("KSampler", 2, inputs)


def decoder(vae: Link) -> Node:
    return Node("VAEDecode", 2, {"samples": link("sampler"), "vae": vae})


def save_image() -> Node:
    inputs = {"images": link("decode"), "filename_prefix": "scaling_cache"}
    return Node("SaveImage", 3, inputs, (420, 470))


def video_output(fps: float) -> dict[str, Node]:
    """From the decoded frames to a file."""
    settings = {"filename_prefix": "video/scaling_cache", "format": "auto", "codec": "auto"}
    return {
        "video": Node("CreateVideo", 3, {"images": link("decode"), "fps": fps}),
        "save": Node("SaveVideo", 3, {"video": link("video"), **settings}, (420, 400)),
    }


def guidance(conditioning: str, strength: float) -> Node:
    return Node(
        "FluxGuidance", 1, {"conditioning": link(conditioning), "guidance": strength}, (340, 0)
    )


def scaling_name(model: str) -> str:
    """Of the template that shows Scaling Cache on a model; these come first in the alphabet."""
    return f"Scaling Cache - {model}"


def highest(steps: int, fewest: int = ENOUGH) -> float:
    """The highest speed-up, in halves and up to 3, that still computes enough steps."""
    choices = (3.0, 2.5, 2.0, 1.5)
    return next((s for s in choices if target_steps(steps, s) >= fewest), 1.0)


def fewest_of(inputs: Iterable[Mapping[str, Any]], paired: bool = False) -> int:
    """Computed steps below which plain sampling with as few is about as near.

    Args:
        inputs: of the nodes of a graph.
        paired: whether it has two models in turn, each of which predicts from its own steps alone.
    """
    inputs = list(inputs)
    scales = [each.get("cfg") for each in inputs]
    if any(isinstance(scale, int | float) and scale > STRONG for scale in scales):
        return ENOUGH_STRONG
    multistep = any(each.get("sampler_name") in MULTISTEP for each in inputs)
    return ENOUGH_MORE if paired or multistep else ENOUGH


def scaling_note(model: str, steps: int, fewest: int = ENOUGH, hint: str = "") -> str:
    """What is true at this number of steps.

    Args:
        fewest: as of `fewest_of`.
    """
    if steps <= fewest:
        least = math.ceil(0.75 * steps)
        return (
            f"**Scaling Cache on {model}**\n\nOf {steps} steps {least} are computed, "
            f"{steps / least:.1f}x, and *speedup* above that changes nothing: with fewer, plain sampling "
            "with as few steps comes nearer. That was measured on the demo's own few-step models, not on "
            "this one; the page *few steps* in the repository's docs has the numbers.\n\n"
            f"{hint}The node shows what was computed and how long it took."
        )
    most = highest(steps, fewest)
    draft = f" Draft: {most}." if most > 2 else ""
    limit = (
        f" At least {fewest} steps are computed, whatever *speedup*: with fewer, plain sampling with as "
        "few is about as near."
    )
    usual = max(target_steps(steps, 2.0), fewest)
    return (
        f"**Scaling Cache on {model}**\n\nAt *speedup* 2.0, {usual} of the {steps} "
        "steps are computed and the others predicted. Closer to the full result: "
        f"1.5.{draft}{limit if target_steps(steps, most + 0.5) < fewest else ''} 1.0 is off.\n\n"
        f"{hint}The node shows what was computed and how long it took."
    )


# --- graphs


def demo_parts(
    cached: bool,
    model: str,
    vae: str,
    prompt: str,
    text: str,
    latent: Node,
    cfg: float,
    shift: float,
) -> dict[str, Node]:
    """What the graphs of both demo models have in common, from the loaders to the decoder.

    Args:
        model, vae: names of files.
        prompt: the node that encodes a text.
    """
    nodes = {
        "unet": Node("UNETLoader", 0, {"unet_name": model, "weight_dtype": "default"}),
        "vae": Node("VAELoader", 0, {"vae_name": vae}),
        "prompt": Node(prompt, 0, {"text": text}, title="Prompt"),
        "nothing": Node(prompt, 0, {"text": ""}, title="No Prompt"),
        "latent": latent,
        "shift": Node("ModelSamplingSD3", 1, {"model": link("unet"), "shift": shift}),
        "cache": scaling_cache(link("shift")),
        "sampler": sampler(
            50,
            cfg,
            "euler",
            "simple",
            model=link("cache" if cached else "shift"),
            positive=link("prompt"),
            negative=link("nothing"),
        ),
        "decode": decoder(link("vae")),
    }
    if not cached:
        del nodes["cache"]
    return nodes


def emoji_graph(cached: bool) -> Graph:
    names = (f"scalingcache_demo_emoji{part}.safetensors" for part in ("", "_taesd"))
    latent = picture_latent("EmptySD3LatentImage", 128)
    text = "christmas tree"
    nodes = demo_parts(cached, *names, "ScalingCacheDemoEmoji", text, latent, 5.0, 10.0)
    save = Node("SaveImage", 3, {"images": link("decode"), "filename_prefix": "demo/emoji"})
    note = (
        "**Demo model**\n\nA small model that draws emoji. The prompt takes up to eight words of their "
        "names, such as *grinning cat* or *red apple*."
    )
    return Graph(f"demo_emoji_{'on' if cached else 'off'}", DEMO, {**nodes, "picture": save}, note)


def demo_graph(cached: bool) -> Graph:
    names = (f"scalingcache_demo_{part}.safetensors" for part in ("wan", "vae"))
    size = {"width": 128, "height": 128, "length": 17, "batch_size": 1}
    latent, text = Node("EmptyHunyuanLatentVideo", 0, size), "red circle bouncing night"
    nodes = demo_parts(cached, *names, "ScalingCacheDemoPrompt", text, latent, 4.0, 3.0)
    nodes["frames"] = Node(
        "SaveImage", 3, {"images": link("decode"), "filename_prefix": "demo/frame"}, (320, 270)
    )
    nodes["clip"] = Node(
        "SaveAnimatedWEBP",
        3,
        {
            "images": link("decode"),
            "filename_prefix": "demo/clip",
            "fps": 12.0,
            "lossless": False,
            "quality": 90,
            "method": "default",
        },
        (320, 420),
    )
    note = (
        "**Demo model**\n\nA small video model that `make demo-video` samples. Words: a colour, a "
        "shape, a motion and a background."
    )
    return Graph(f"demo_video_{'on' if cached else 'off'}", DEMO, nodes, note)


def wan_graph() -> Graph:
    nodes = {
        "unet": unet_loader("wan2.1_t2v_1.3B_fp16.safetensors", f"{WAN_FILES}/diffusion_models"),
        "clip": wan_encoder(),
        "vae": vae_loader("wan_2.1_vae.safetensors", f"{WAN_FILES}/vae"),
        "latent": Node(
            "EmptyHunyuanLatentVideo",
            0,
            {"width": 832, "height": 480, "length": 33, "batch_size": 1},
            (380, 0),
        ),
        "shift": Node("ModelSamplingSD3", 1, {"model": link("unet"), "shift": 8.0}, (340, 0)),
        "cache": scaling_cache(link("shift")),
        "positive": positive_prompt(
            link("clip"), "a paper boat drifts down a rainy street at dusk, camera follows close"
        ),
        "negative": negative_prompt(link("clip"), "blurry, static, watermark, low quality"),
        "sampler": sampler(30, 6.0, "uni_pc", "simple"),
        "decode": decoder(link("vae")),
        **video_output(16.0),
    }
    note = scaling_note("Wan 2.1 T2V 1.3B", 30, fewest_of(node.inputs for node in nodes.values()))
    return Graph(scaling_name("Wan 2.1 T2V 1.3B"), TEMPLATES, nodes, note)


def flux_graph() -> Graph:
    text = "a lighthouse on a cliff, storm clouds, warm light in the window"
    nodes = {
        "unet": unet_loader("flux1-dev.safetensors", f"{HUB}/Comfy-Org/flux1-dev/resolve/main"),
        "clip": encoder_loader(
            "DualCLIPLoader",
            ("clip_l.safetensors", "t5xxl_fp16.safetensors"),
            FLUX_FILES,
            type="flux",
            device="default",
        ),
        "vae": vae_loader("ae.safetensors", f"{LUMINA_FILES}/vae"),
        "latent": picture_latent("EmptySD3LatentImage"),
        "cache": scaling_cache(link("unet")),
        "positive": Node(
            "CLIPTextEncodeFlux",
            1,
            {"clip": link("clip"), "clip_l": text, "t5xxl": text, "guidance": 3.5},
            (400, 260),
            title="Prompt",
        ),
        "negative": Node("ConditioningZeroOut", 1, {"conditioning": link("positive")}),
        "sampler": sampler(28, 1.0, "euler", "simple"),
        "decode": decoder(link("vae")),
        "save": save_image(),
    }
    return Graph(scaling_name("FLUX.1 dev"), TEMPLATES, nodes, scaling_note("FLUX.1-dev", 28))


def lumina2_graph() -> Graph:
    checkpoint = "NetaYumev35_pretrained_all_in_one.safetensors"
    nodes = {
        "checkpoint": checkpoint_loader(
            checkpoint, f"{HUB}/duongve/NetaYume-Lumina-Image-2.0/resolve/main"
        ),
        "latent": picture_latent("EmptySD3LatentImage"),
        "shift": Node(
            "ModelSamplingAuraFlow", 1, {"model": link("checkpoint"), "shift": 4.0}, (340, 0)
        ),
        "cache": scaling_cache(link("shift")),
        "positive": Node(
            "CLIPTextEncodeLumina2",
            1,
            {
                "system_prompt": "superior",
                "user_prompt": "a girl with a paper lantern on a wooden bridge, fireflies, night",
                "clip": link("checkpoint", 1),
            },
            (400, 200),
            "Positive Prompt",
        ),
        "negative": negative_prompt(link("checkpoint", 1), "blurry, watermark, low quality"),
        "sampler": sampler(30, 4.0, "res_multistep", "simple"),
        "decode": decoder(link("checkpoint", 2)),
        "save": save_image(),
    }
    note = scaling_note(
        "Lumina 2 (NetaYume)", 30, fewest_of(node.inputs for node in nodes.values())
    )
    return Graph(scaling_name("Lumina 2 NetaYume"), TEMPLATES, nodes, note)


def ace_step_graph() -> Graph:
    nodes = {
        "checkpoint": checkpoint_loader("ace_step_v1_3.5b.safetensors", ACE_FILES),
        "latent": Node("EmptyAceStepLatentAudio", 0, {"seconds": 120.0, "batch_size": 1}, (380, 0)),
        "shift": Node("ModelSamplingSD3", 1, {"model": link("checkpoint"), "shift": 5.0}, (340, 0)),
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
