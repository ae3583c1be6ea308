"""Graphs that sample twice from the same noise, with the cache and without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .file_format import Graph, Link, Node, link


def compare_graph(graph: Graph, name: str, note: str) -> Graph:
    """A graph with a Scaling Cache and a KSampler, turned into one that compares.

    Noise, sampler and schedule are nodes of their own, which both samplers share.
    """
    sampler, cache = graph.nodes["sampler"].inputs, graph.nodes["cache"]
    vae = graph.nodes["decode"].inputs["vae"]
    off = replace(
        cache, column=2, inputs={**cache.inputs, "speedup": 1.0}, title="Scaling Cache, off"
    )
    return Graph(
        name,
        graph.folder,
        {
            **_shared(graph),
            "cache": replace(cache, column=2),
            "off": off,
            **_branch("", "With the Cache", link("cache"), sampler, vae),
            **_branch("_plain", "Without", link("off"), sampler, vae),
            "report": Node(
                "ScalingCacheReport",
                4,
                {
                    "images": link("decode"),
                    "reference_images": link("decode_plain"),
                    "model": link("cache"),
                    "reference_model": link("off"),
                    "metadata": False,
                },
                (520, 900),
            ),
            "save": Node(
                "SaveImage",
                5,
                {"images": link("report", 2), "filename_prefix": "scaling_cache/compare"},
                (420, 470),
            ),
        },
        note,
    )


def compare_note(model: str) -> str:
    return (
        f"**Compare on {model}**\n\nSamples twice from the same noise: with *Scaling Cache*, and through "
        "one that is switched off (*speedup* 1), which only takes the time. *Cache Report* shows what "
        "was computed, both pictures, where they differ, and PSNR, SSIM, GMSD and the measured "
        "speed-up.\n\n"
        "Set *speedup* on the upper cache node. The first run of a session is slower, as it loads the "
        "model: run twice before you trust the time."
    )


def hunt_graph(graph: Graph, name: str, note: str) -> Graph:
    """A graph with a Scaling Cache and a KSampler, turned into one that drafts, and samples in full what
    the user wakes."""
    sampler, cache = graph.nodes["sampler"].inputs, graph.nodes["cache"]
    vae = graph.nodes["decode"].inputs["vae"]
    draft = replace(
        cache,
        column=2,
        inputs={**cache.inputs, "mode": "fast draft"},
        title="Scaling Cache, drafts",
    )
    asleep = _branch("_final", "Final", cache.inputs["model"], sampler, vae)
    asleep["save_final"] = _save("decode_final", "final", "Final")
    return Graph(
        name,
        graph.folder,
        {
            **_shared(graph),
            "cache": draft,
            **_branch("", "Draft", link("cache"), sampler, vae),
            "save": _save("decode", "draft", "Drafts"),
            **{key: replace(node, muted=True) for key, node in asleep.items()},
        },
        note,
    )


def hunt_note(model: str) -> str:
    return (
        f"**Hunt for a seed on {model}**\n\n1. Run as often as you like: each run drafts another seed, "
        "about three times as fast.\n2. Drop a saved draft that you like onto the canvas: it brings "
        "its seed.\n3. Select the grey nodes and wake them with Ctrl+M, then run: "
        "the same seed, all steps computed.\n\nA draft shows what the final picture will show; small "
        "things may differ."
    )


def _shared(graph: Graph) -> dict[str, Node]:
    """What both branches take: all before the sampler but the cache, and the sampler's settings."""
    sampler = graph.nodes["sampler"].inputs
    kept = {
        key: node
        for key, node in graph.nodes.items()
        if node.column < 2 and key not in ("cache", "sampler")
    }
    sigmas = {
        "model": graph.nodes["cache"].inputs["model"],
        "scheduler": sampler["scheduler"],
        "steps": sampler["steps"],
        "denoise": 1.0,
    }
    return {
        **kept,
        "noise": Node("RandomNoise", 2, {"noise_seed": sampler["seed"]}),
        "select": Node("KSamplerSelect", 2, {"sampler_name": sampler["sampler_name"]}),
        "sigmas": Node("BasicScheduler", 2, sigmas),
    }


def _save(decode: str, name: str, title: str) -> Node:
    inputs = {"images": link(decode), "filename_prefix": f"scaling_cache/{name}"}
    return Node("SaveImage", 4, inputs, (420, 470), title)


def _branch(
    ending: str, title: str, model: Link, sampler: dict[str, Any], vae: Link
) -> dict[str, Node]:
    """Guider, sampler and decoder of one of the two."""
    guider = {
        "model": model,
        "positive": sampler["positive"],
        "negative": sampler["negative"],
        "cfg": sampler["cfg"],
    }
    sample = {
        "noise": link("noise"),
        "guider": link(f"guider{ending}"),
        "sampler": link("select"),
        "sigmas": link("sigmas"),
        "latent_image": sampler["latent_image"],
    }
    return {
        f"guider{ending}": Node("CFGGuider", 3, guider),
        f"sampler{ending}": Node("SamplerCustomAdvanced", 3, sample, (360, 0), title),
        f"decode{ending}": Node("VAEDecode", 3, {"samples": link(f"sampler{ending}"), "vae": vae}),
    }
