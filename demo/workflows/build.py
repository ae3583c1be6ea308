"""Write the workflow files: UI templates, laid out in columns, and their API-format twins.

    python -m demo.workflows.build

Graphs are described once, below; the running host says which widgets its nodes have and in which
order. Templates for users go to workflows/, those of the demo model to demo/workflows/.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..host.client import Client
from ..host.fetch import ROOT
from ..host.server import serve

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
REGISTRY_NAME = "scalingcache"
VERSION = "0.1.0"
COLUMN_GAP, ROW_GAP, TITLE = 60, 50, 30


@dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
        kind: the host's node id.
        column: place from left to right; nodes of a column stand below each other.
        inputs: widget values, and links as (name of another node, its output slot).
        size: width and height; a height of 0 is worked out from the widgets.
        models: files to download as (name, folder, address), for the missing-models dialog.
    """

    kind: str
    column: int
    inputs: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (320, 0)
    title: str = ""
    models: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Graph:
    """A workflow and where its files go."""

    name: str
    folder: Path
    nodes: dict[str, Node]
    note: str


def link(node: str, slot: int = 0) -> tuple[str, int]:
    return node, slot


CACHE_NODE = Node(
    "ScalingCache",
    1,
    {
        "model": link("shift"),
        "speedup": 2.0,
        "mode": "target speed-up",
        "start_percent": 0.0,
        "end_percent": 1.0,
    },
    (340, 0),
)


def demo_graph(cached: bool) -> Graph:
    nodes = {
        "unet": Node(
            "UNETLoader",
            0,
            {"unet_name": "scalingcache_demo_wan.safetensors", "weight_dtype": "default"},
        ),
        "vae": Node("VAELoader", 0, {"vae_name": "scalingcache_demo_vae.safetensors"}),
        "prompt": Node(
            "ScalingCacheDemoPrompt", 0, {"text": "red circle bouncing night"}, title="Prompt"
        ),
        "nothing": Node("ScalingCacheDemoPrompt", 0, {"text": ""}, title="No Prompt"),
        "latent": Node(
            "EmptyHunyuanLatentVideo",
            0,
            {"width": 128, "height": 128, "length": 17, "batch_size": 1},
        ),
        "shift": Node("ModelSamplingSD3", 1, {"model": link("unet"), "shift": 3.0}),
        "cache": CACHE_NODE,
        "sampler": Node(
            "KSampler",
            2,
            {
                "model": link("cache" if cached else "shift"),
                "positive": link("prompt"),
                "negative": link("nothing"),
                "latent_image": link("latent"),
                "seed": 1,
                "steps": 50,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        ),
        "decode": Node("VAEDecode", 2, {"samples": link("sampler"), "vae": link("vae")}),
        "frames": Node(
            "SaveImage", 3, {"images": link("decode"), "filename_prefix": "demo/frame"}, (320, 270)
        ),
        "clip": Node(
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
        ),
    }
    if not cached:
        del nodes["cache"]
    note = (
        "**Demo model**\n\nA small video model that `make demo` brings along. Words: a colour, a "
        "shape, a motion and a background."
    )
    state = "on" if cached else "off"
    return Graph(f"demo_video_{state}", ROOT / "demo" / "workflows", nodes, note)


WAN_FILES = "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"


def wan_graph() -> Graph:
    nodes = {
        "unet": Node(
            "UNETLoader",
            0,
            {"unet_name": "wan2.1_t2v_1.3B_fp16.safetensors", "weight_dtype": "default"},
            (380, 0),
            models=(
                (
                    "wan2.1_t2v_1.3B_fp16.safetensors",
                    "diffusion_models",
                    f"{WAN_FILES}/diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors",
                ),
            ),
        ),
        "clip": Node(
            "CLIPLoader",
            0,
            {
                "clip_name": "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
                "type": "wan",
                "device": "default",
            },
            (380, 0),
            models=(
                (
                    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
                    "text_encoders",
                    f"{WAN_FILES}/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
                ),
            ),
        ),
        "vae": Node(
            "VAELoader",
            0,
            {"vae_name": "wan_2.1_vae.safetensors"},
            (380, 0),
            models=(
                (
                    "wan_2.1_vae.safetensors",
                    "vae",
                    f"{WAN_FILES}/vae/wan_2.1_vae.safetensors",
                ),
            ),
        ),
        "latent": Node(
            "EmptyHunyuanLatentVideo",
            0,
            {"width": 832, "height": 480, "length": 33, "batch_size": 1},
            (380, 0),
        ),
        "shift": Node("ModelSamplingSD3", 1, {"model": link("unet"), "shift": 8.0}, (340, 0)),
        "cache": CACHE_NODE,
        "positive": Node(
            "CLIPTextEncode",
            1,
            {
                "clip": link("clip"),
                "text": "a paper boat drifts down a rainy street at dusk, camera follows close",
            },
            (400, 170),
            title="Positive Prompt",
        ),
        "negative": Node(
            "CLIPTextEncode",
            1,
            {"clip": link("clip"), "text": "blurry, static, watermark, low quality"},
            (400, 130),
            title="Negative Prompt",
        ),
        "sampler": Node(
            "KSampler",
            2,
            {
                "model": link("cache"),
                "positive": link("positive"),
                "negative": link("negative"),
                "latent_image": link("latent"),
                "seed": 1,
                "steps": 30,
                "cfg": 6.0,
                "sampler_name": "uni_pc",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        ),
        "decode": Node("VAEDecode", 2, {"samples": link("sampler"), "vae": link("vae")}),
        "video": Node("CreateVideo", 3, {"images": link("decode"), "fps": 16.0}),
        "save": Node(
            "SaveVideo",
            3,
            {
                "video": link("video"),
                "filename_prefix": "video/scaling_cache",
                "format": "auto",
                "codec": "auto",
            },
            (420, 400),
        ),
    }
    note = (
        "**Scaling Cache on Wan 2.1 T2V 1.3B**\n\nAt *speedup* 2.0 half of the 30 steps are "
        "computed and the others predicted: sampling takes about half the time. Closer to the full "
        "result: 1.5. Fast draft: 2.5 to 3. 1.0 is off.\n\nThe text under the node says what "
        "was computed and how long it took."
    )
    return Graph("wan2.1_t2v_1.3b_scaling_cache", ROOT / "workflows", nodes, note)


FLUX_FILES = "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main"


def flux_graph() -> Graph:
    nodes = {
        "unet": Node(
            "UNETLoader",
            0,
            {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"},
            (380, 0),
            models=(
                (
                    "flux1-dev.safetensors",
                    "diffusion_models",
                    "https://huggingface.co/Comfy-Org/flux1-dev/resolve/main/flux1-dev.safetensors",
                ),
            ),
        ),
        "clip": Node(
            "DualCLIPLoader",
            0,
            {
                "clip_name1": "clip_l.safetensors",
                "clip_name2": "t5xxl_fp16.safetensors",
                "type": "flux",
                "device": "default",
            },
            (380, 0),
            models=(
                ("clip_l.safetensors", "text_encoders", f"{FLUX_FILES}/clip_l.safetensors"),
                ("t5xxl_fp16.safetensors", "text_encoders", f"{FLUX_FILES}/t5xxl_fp16.safetensors"),
            ),
        ),
        "vae": Node(
            "VAELoader",
            0,
            {"vae_name": "ae.safetensors"},
            (380, 0),
            models=(
                (
                    "ae.safetensors",
                    "vae",
                    "https://huggingface.co/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/"
                    "split_files/vae/ae.safetensors",
                ),
            ),
        ),
        "latent": Node(
            "EmptySD3LatentImage", 0, {"width": 1024, "height": 1024, "batch_size": 1}, (380, 0)
        ),
        "cache": Node(
            CACHE_NODE.kind, 1, {**CACHE_NODE.inputs, "model": link("unet")}, CACHE_NODE.size
        ),
        "positive": Node(
            "CLIPTextEncodeFlux",
            1,
            {
                "clip": link("clip"),
                "clip_l": "a lighthouse on a cliff, storm clouds, warm light in the window",
                "t5xxl": "a lighthouse on a cliff, storm clouds, warm light in the window",
                "guidance": 3.5,
            },
            (400, 260),
            title="Prompt",
        ),
        "negative": Node("ConditioningZeroOut", 1, {"conditioning": link("positive")}),
        "sampler": Node(
            "KSampler",
            2,
            {
                "model": link("cache"),
                "positive": link("positive"),
                "negative": link("negative"),
                "latent_image": link("latent"),
                "seed": 1,
                "steps": 28,
                "cfg": 1.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        ),
        "decode": Node("VAEDecode", 2, {"samples": link("sampler"), "vae": link("vae")}),
        "save": Node(
            "SaveImage",
            3,
            {"images": link("decode"), "filename_prefix": "scaling_cache"},
            (420, 470),
        ),
    }
    note = (
        "**Scaling Cache on FLUX.1-dev**\n\nAt *speedup* 2.0 half of the 28 steps are computed "
        "and the others predicted: sampling takes about half the time. Closer to the full result: "
        "1.5. Fast draft: 2.5 to 3. 1.0 is off.\n\nThe text under the node says what was "
        "computed and how long it took."
    )
    return Graph("flux1_dev_scaling_cache", ROOT / "workflows", nodes, note)


def sdxl_graph() -> Graph:
    """SDXL is a UNet, so its cache node is the one with DeepCache."""
    checkpoint = "sd_xl_base_1.0.safetensors"
    nodes = {
        "checkpoint": Node(
            "CheckpointLoaderSimple",
            0,
            {"ckpt_name": checkpoint},
            (380, 0),
            models=(
                (
                    checkpoint,
                    "checkpoints",
                    "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/"
                    f"{checkpoint}",
                ),
            ),
        ),
        "latent": Node(
            "EmptyLatentImage", 0, {"width": 1024, "height": 1024, "batch_size": 1}, (380, 0)
        ),
        "cache": Node(
            "ScalingStepCacheAdvanced",
            1,
            {
                "model": link("checkpoint"),
                "method": "DeepCache",
                "granularity": "auto",
                "predictor": "auto",
                "speedup": 2.0,
                "threshold": 0.0,
                "interval": 3,
                "warmup": 3,
                "max_gap": 6,
                "start_percent": 0.0,
                "end_percent": 1.0,
                "first_blocks": 1,
            },
            (340, 0),
        ),
        "positive": Node(
            "CLIPTextEncode",
            1,
            {
                "clip": link("checkpoint", 1),
                "text": "a glass bottle on a beach with a galaxy inside, evening light",
            },
            (400, 170),
            title="Positive Prompt",
        ),
        "negative": Node(
            "CLIPTextEncode",
            1,
            {"clip": link("checkpoint", 1), "text": "text, watermark"},
            (400, 130),
            title="Negative Prompt",
        ),
        "sampler": Node(
            "KSampler",
            2,
            {
                "model": link("cache"),
                "positive": link("positive"),
                "negative": link("negative"),
                "latent_image": link("latent"),
                "seed": 1,
                "steps": 30,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        ),
        "decode": Node("VAEDecode", 2, {"samples": link("sampler"), "vae": link("checkpoint", 2)}),
        "save": Node(
            "SaveImage",
            3,
            {"images": link("decode"), "filename_prefix": "scaling_cache"},
            (420, 470),
        ),
    }
    note = (
        "**DeepCache on SDXL**\n\nEvery third step runs the whole UNet, the two between only its first "
        "and last block. A larger *interval* is faster and further from the full result, more "
        "*first_blocks* (right-click the node, *Show Advanced*) slower and nearer to it."
    )
    return Graph("sdxl_base_deepcache", ROOT / "workflows", nodes, note)


def with_cache(graph: Graph, name: str, kind: str, inputs: dict[str, Any], note: str) -> Graph:
    """The same workflow with another cache node."""
    old = graph.nodes["cache"]
    cache = replace(old, kind=kind, inputs={"model": old.inputs["model"], **inputs})
    return Graph(name, graph.folder, {**graph.nodes, "cache": cache}, note)


def method_graphs() -> list[Graph]:
    """A template for each of the other nodes."""
    wan, flux = wan_graph(), flux_graph()
    window = {"start_percent": 0.0, "end_percent": 1.0}
    return [
        with_cache(
            flux,
            "flux1_dev_teacache",
            "ScalingTeaCache",
            {"model_type": "auto", "rel_l1_thresh": 0.0, **window},
            "**TeaCache on FLUX.1-dev**\n\n*rel_l1_thresh* 0 takes the recommended 0.4, about twice as "
            "fast; 0.25 is closer to the full result. Works with the models in the node's help (?).",
        ),
        with_cache(
            wan,
            "wan2.1_t2v_1.3b_magcache",
            "ScalingMagCache",
            {
                "model_type": "auto",
                "published": True,
                "magcache_thresh": 0.12,
                "magcache_K": 4,
                "retention_ratio": 0.2,
                **window,
            },
            "**MagCache on Wan 2.1 T2V 1.3B**\n\nWith *published* on, threshold, K and retention are "
            "those of the paper; off, those below it count.",
        ),
        with_cache(
            flux,
            "flux1_dev_first_block_cache",
            "ScalingFirstBlockCache",
            {"residual_diff_threshold": 0.12, **window},
            "**First Block Cache on FLUX.1-dev**\n\nNeeds no calibration. A higher threshold skips more.",
        ),
        with_cache(
            wan,
            "wan2.1_t2v_1.3b_delta_cache",
            "ScalingDeltaCache",
            {
                "settings": "custom",
                "blocks": "5-24",
                "single_blocks": "",
                "start_step": 6,
                "interval": 4,
                **window,
            },
            "**Delta Cache on Wan 2.1 T2V 1.3B**\n\nSkips the 20 blocks in the middle at three of four "
            "steps. The paper has no list for this model, so this one is a start and not a "
            "recommendation; for the 14B model choose its published *settings*.",
        ),
        with_cache(
            wan,
            "wan2.1_t2v_1.3b_cfg_cache",
            "ScalingCfgCache",
            {"interval": 5, "start_percent": 0.36, "end_percent": 1.0},
            "**CFG Cache on Wan 2.1 T2V 1.3B**\n\nRuns the negative prompt at every fifth step only, "
            "once a third of the denoising is done. Goes with any other cache.",
        ),
        with_cache(
            flux,
            "flux1_dev_step_cache_advanced",
            "ScalingStepCacheAdvanced",
            {
                "method": "DiCache",
                "granularity": "auto",
                "predictor": "auto",
                "speedup": 2.0,
                "threshold": 0.0,
                "interval": 4,
                "warmup": 3,
                "max_gap": 6,
                **window,
            },
            "**Step Cache (Advanced) on FLUX.1-dev**\n\nDiCache here; choose another *method* or another "
            "*predictor* for the same one. What does not go together is refused with the reason.",
        ),
        sdxl_graph(),
        calibrate_graph(wan),
    ]


def calibrate_graph(wan: Graph) -> Graph:
    """Loaders and prompts of a workflow in front of Calibrate Cache."""
    kept = {k: v for k, v in wan.nodes.items() if v.column < 2 and v.kind != "VAELoader"}
    del kept["cache"]
    kept["calibrate"] = Node(
        "ScalingCalibrateCache",
        2,
        {
            "model": wan.nodes["cache"].inputs["model"],
            "positive": link("positive"),
            "negative": link("negative"),
            "latent_image": link("latent"),
            "name": "wan2.1_t2v_1.3b",
            "seed": 0,
            "runs": 4,
            "steps": 30,
            "cfg": 6.0,
            "sampler_name": "euler",
            "scheduler": "simple",
        },
    )
    note = (
        "**Calibrate Cache on Wan 2.1 T2V 1.3B**\n\nSamples four clips with all steps computed and "
        "writes a coefficient file. Scaling Cache with *coefficients* on auto then uses it for this "
        "model. Takes as long as four clips."
    )
    return Graph("wan2.1_t2v_1.3b_calibrate", wan.folder, kept, note)


def graphs() -> list[Graph]:
    return [demo_graph(False), demo_graph(True), wan_graph(), flux_graph(), *method_graphs()]


# --- from a description to files


def is_widget(spec: list[Any]) -> bool:
    return isinstance(spec[0], list) or spec[0] in WIDGET_TYPES


def input_specs(info: dict[str, Any]) -> dict[str, list[Any]]:
    """Inputs of a node in the host's order."""
    groups = info["input"]
    return {
        name: groups[group][name]
        for group in ("required", "optional")
        for name in info.get("input_order", {}).get(group, groups.get(group, {}))
    }


def api_format(graph: Graph) -> dict[str, Any]:
    """The graph as the host's /prompt takes it, with node names as numbers."""
    number = numbers(graph)
    return {
        str(number[name]): {
            "class_type": node.kind,
            "inputs": {
                key: [str(number[value[0]]), value[1]] if isinstance(value, tuple) else value
                for key, value in node.inputs.items()
            },
            "_meta": {"title": node.title or node.kind},
        }
        for name, node in graph.nodes.items()
    }


def numbers(graph: Graph) -> dict[str, int]:
    return {name: i for i, name in enumerate(graph.nodes, 1)}


def ui_format(graph: Graph, object_info: dict[str, Any]) -> dict[str, Any]:
    """The graph as the frontend saves it."""
    number = numbers(graph)
    links: list[list[Any]] = []
    nodes = []
    places = layout(graph, object_info)
    for order, (name, node) in enumerate(graph.nodes.items()):
        info = object_info[node.kind]
        specs = input_specs(info)
        inputs = []
        for key, spec in specs.items():
            if is_widget(spec):
                continue
            entry: dict[str, Any] = {"name": key, "type": spec[0], "link": None}
            if key in node.inputs:
                source, slot = node.inputs[key]
                entry["link"] = len(links) + 1
                target = [number[name], len(inputs)]
                links.append([len(links) + 1, number[source], slot, *target, spec[0]])
            inputs.append(entry)
        position, size = places[name]
        nodes.append(
            {
                "id": number[name],
                "type": node.kind,
                "pos": list(position),
                "size": list(size),
                "flags": {},
                "order": order,
                "mode": 0,
                "inputs": inputs,
                "outputs": [
                    {"name": title, "type": kind, "links": [], "slot_index": i}
                    for i, (title, kind) in enumerate(
                        zip(info["output_name"], info["output"], strict=True)
                    )
                ],
                "properties": properties(node),
                "widgets_values": widget_values(node, specs),
                **({"title": node.title} if node.title else {}),
            }
        )
    by_id = {n["id"]: n for n in nodes}
    for entry in links:
        by_id[entry[1]]["outputs"][entry[2]]["links"].append(entry[0])
    nodes.append(note_node(graph, len(nodes) + 1))
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, graph.name)),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def widget_values(node: Node, specs: dict[str, list[Any]]) -> list[Any]:
    values = []
    for key, spec in specs.items():
        if not is_widget(spec):
            continue
        options = spec[1] if len(spec) > 1 else {}
        values.append(node.inputs.get(key, options.get("default")))
        if options.get("control_after_generate"):
            values.append("randomize")
    return values


def properties(node: Node) -> dict[str, Any]:
    own = node.kind.startswith("Scaling")
    models = [{"name": n, "url": u, "directory": d} for n, d, u in node.models]
    return {
        "cnr_id": REGISTRY_NAME if own else "comfy-core",
        "ver": VERSION if own else "0.3.75",
        "Node name for S&R": node.kind,
        **({"models": models} if models else {}),
    }


def note_node(graph: Graph, number: int) -> dict[str, Any]:
    """What the reader should know, left of the first column."""
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [-400, 0],
        "size": [340, 260],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "About",
        "properties": {},
        "widgets_values": [graph.note],
        "color": "#432",
        "bgcolor": "#653",
    }


def layout(
    graph: Graph, object_info: dict[str, Any]
) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """Position and size of each node: columns from left to right, nodes below each other."""
    sizes = {
        name: (node.size[0], node.size[1] or height(node, object_info[node.kind]))
        for name, node in graph.nodes.items()
    }
    places = {}
    left = 0
    for column in sorted({node.column for node in graph.nodes.values()}):
        top, width = 0, 0
        for name, node in graph.nodes.items():
            if node.column == column:
                places[name] = ((left, top), sizes[name])
                top += sizes[name][1] + TITLE + ROW_GAP
                width = max(width, sizes[name][0])
        left += width + COLUMN_GAP
    return places


def height(node: Node, info: dict[str, Any]) -> int:
    """Room for slots and widgets; multi-line texts get more."""
    total = 0
    slots = 0
    for spec in input_specs(info).values():
        options = spec[1] if len(spec) > 1 else {}
        if not is_widget(spec):
            slots += 1
        elif options.get("multiline"):
            total += 110
        else:
            total += 26 * (2 if options.get("control_after_generate") else 1)
    return 20 + 22 * max(slots, len(info["output"])) + total


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        packs = {"scalingcache-demo": ROOT / "demo" / "nodes"}
        with serve(Path(base), packs) as server:
            info = Client(server.url).get("/object_info")
    for graph in graphs():
        for path, content in (
            (graph.folder / f"{graph.name}.json", ui_format(graph, info)),
            (graph.folder / "api" / f"{graph.name}.json", api_format(graph)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
