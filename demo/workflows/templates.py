"""The templates: which cache is in which model's graph, with which settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .file_format import Graph, Node, link
from .graphs import ace_step_graph, demo_graph, emoji_graph, flux_graph, lumina2_graph, wan_graph
from .today import TODAY, Model, today_graph
from .twice import compare_graph, compare_note, hunt_graph, hunt_note

WINDOW = {"start_percent": 0.0, "end_percent": 1.0}


def graphs() -> list[Graph]:
    """All workflows, those of the demo model first."""
    wan, flux = wan_graph(), flux_graph()
    today = {model.name: today_graph(model) for model in TODAY}
    return [
        emoji_graph(False),
        emoji_graph(True),
        demo_graph(False),
        demo_graph(True),
        compare_graph(demo_graph(True), "demo_video_compare", compare_note("the demo model")),
        *today.values(),
        wan,
        flux,
        lumina2_graph(),
        ace_step_graph(),
        *node_graphs(wan, flux),
        *advanced_step_graphs(wan),
        *advanced_block_graphs(wan, flux, today["SDXL"]),
        branch_graph(),
        calibrate_graph(wan),
        profile_graph(wan),
        compare_graph(flux, tool_name("Compare", "FLUX.1 dev"), compare_note("FLUX.1-dev")),
        hunt_graph(flux, tool_name("Seed hunting", "FLUX.1 dev"), hunt_note("FLUX.1-dev")),
    ]


def tool_name(tool: str, model: str) -> str:
    """Of a template for a node beside the cache; in the alphabet after those of Scaling Cache."""
    return f"Scaling Cache tool - {tool} ({model})"


def method_name(method: str, model: str) -> str:
    """Of a template for another method; last in the alphabet."""
    return f"Single method - {method} ({model})"


def with_cache(graph: Graph, name: str, kind: str, inputs: dict[str, Any], note: str) -> Graph:
    """The same workflow with another cache node."""
    old = graph.nodes["cache"]
    cache = replace(old, kind=kind, inputs={"model": old.inputs["model"], **inputs})
    return Graph(name, graph.folder, {**graph.nodes, "cache": cache}, note)


def with_method(graph: Graph, name: str, method: str, note: str, **settings: Any) -> Graph:
    """The same workflow with Step Cache (Advanced), set to a method."""
    inputs = {
        "method": method,
        "granularity": "auto",
        "predictor": "auto",
        "speedup": 2.0,
        "threshold": 0.0,
        "interval": 4,
        "warmup": 3,
        "max_gap": 6,
        **WINDOW,
        **settings,
    }
    return with_cache(graph, name, "ScalingStepCacheAdvanced", inputs, note)


def node_graphs(wan: Graph, flux: Graph) -> list[Graph]:
    """A template for each of the nodes with one method."""
    return [
        with_cache(
            flux,
            method_name("TeaCache", "FLUX.1 dev"),
            "ScalingTeaCache",
            {"model_type": "auto", "rel_l1_thresh": 0.0, **WINDOW},
            "**TeaCache on FLUX.1-dev**\n\n*rel_l1_thresh* 0 takes the recommended 0.4, about twice as "
            "fast; 0.25 is closer to the full result. Works with the models in the node's help (*i*).",
        ),
        with_cache(
            wan,
            method_name("MagCache", "Wan 2.1 1.3B"),
            "ScalingMagCache",
            {
                "model_type": "auto",
                "published": True,
                "magcache_thresh": 0.12,
                "magcache_K": 4,
                "retention_ratio": 0.2,
                **WINDOW,
            },
            "**MagCache on Wan 2.1 T2V 1.3B**\n\nWith *published* on, threshold, K and retention are "
            "those of the paper; off, those below it count.",
        ),
        with_cache(
            flux,
            method_name("First Block Cache", "FLUX.1 dev"),
            "ScalingFirstBlockCache",
            {"residual_diff_threshold": 0.12, **WINDOW},
            "**First Block Cache on FLUX.1-dev**\n\nNeeds no calibration. A higher threshold skips more.",
        ),
        with_cache(
            wan,
            method_name("Delta Cache", "Wan 2.1 1.3B"),
            "ScalingDeltaCache",
            {
                "settings": "custom",
                "blocks": "5-24",
                "single_blocks": "",
                "start_step": 6,
                "interval": 4,
                **WINDOW,
            },
            "**Delta Cache on Wan 2.1 T2V 1.3B**\n\nSkips the 20 blocks in the middle at three of four "
            "steps. The paper has no list for this model, so this one is a start and not a "
            "recommendation; for the 14B model choose its published *settings*.",
        ),
        with_cache(
            wan,
            method_name("CFG Cache", "Wan 2.1 1.3B"),
            "ScalingCfgCache",
            {"interval": 5, "start_percent": 0.36, "end_percent": 1.0},
            "**CFG Cache on Wan 2.1 T2V 1.3B**\n\nRuns the negative prompt at every fifth step only, "
            "once a third of the denoising is done. Goes with any other cache.",
        ),
    ]


def advanced_step_graphs(wan: Graph) -> list[Graph]:
    """A template for each method on whole steps that only Step Cache (Advanced) has."""
    return [
        with_method(
            wan,
            method_name("EasyCache", "Wan 2.1 1.3B"),
            "EasyCache",
            "**EasyCache on Wan 2.1 T2V 1.3B**\n\nThe published settings for Wan, made for 50 steps: "
            "*threshold* 0.05 and 10 steps at the start that are always computed. A lower *warmup* or a "
            "higher *threshold* skips more.",
            threshold=0.05,
            warmup=10,
            max_gap=0,
        ),
        with_method(
            wan,
            method_name("LazyCache", "Wan 2.1 1.3B"),
            "LazyCache",
            "**LazyCache on Wan 2.1 T2V 1.3B**\n\nEasyCache's rule on the denoised latent, in the part "
            "of the denoising that ComfyUI's own node takes. *threshold* 0.05 is recommended here; that "
            "node counts in another way, so its values do not fit.",
            threshold=0.05,
            start_percent=0.15,
            end_percent=0.95,
        ),
        with_method(
            wan,
            method_name("SmoothCache", "Wan 2.1 1.3B"),
            "SmoothCache",
            "**SmoothCache on Wan 2.1 T2V 1.3B**\n\nNeeds a coefficient file: run the template "
            "*Calibrate (Wan 2.1 1.3B)* once. Without one every step is computed. Repeats an output "
            "while its error stays below *threshold*, three times in a row at most, as published.",
            threshold=0.1,
            max_gap=3,
        ),
        with_method(
            wan,
            method_name("EOC", "Wan 2.1 1.3B"),
            "EOC",
            "**EOC on Wan 2.1 T2V 1.3B**\n\nThe first three steps and every third are computed; between "
            "them the last output is repeated, and corrected where a coefficient file says that this "
            "pays: run the template *Calibrate (Wan 2.1 1.3B)* once. Without a file outputs are only "
            "repeated.",
            interval=3,
        ),
    ]


def advanced_block_graphs(wan: Graph, flux: Graph, sdxl: Graph) -> list[Graph]:
    """A template for each method inside the network that only Step Cache (Advanced) has."""
    return [
        with_method(
            flux,
            method_name("DBCache", "FLUX.1 dev"),
            "DBCache",
            "**DBCache on FLUX.1-dev**\n\nThe first 8 blocks always run; the others are skipped while "
            "those change by less than *threshold*. Settings published for FLUX at 50 steps; a higher "
            "*threshold* or fewer *first_blocks* (right-click the node, *Show Advanced*) skip more.",
            threshold=0.08,
            warmup=4,
            max_gap=0,
            first_blocks=8,
        ),
        with_method(
            wan,
            method_name("DiCache", "Wan 2.1 1.3B"),
            "DiCache",
            "**DiCache on Wan 2.1 T2V 1.3B**\n\nThe first block runs at every step and says whether the "
            "others must. *threshold* 0.08 is published for Wan; a higher one skips more.",
            threshold=0.08,
            max_gap=0,
            first_blocks=1,
        ),
        with_method(
            wan,
            method_name("MixCache", "Wan 2.1 1.3B"),
            "MixCache",
            "**MixCache on Wan 2.1 T2V 1.3B**\n\nEach step leaves out the whole network's blocks, the "
            "negative prompt, the middle blocks or nothing: what last changed the least. *threshold* 0.1 "
            "is this pack's and not tuned on large models; a higher one skips more.",
            threshold=0.1,
            max_gap=3,
        ),
        with_method(
            flux,
            method_name("TaylorSeer", "FLUX.1 dev"),
            "TaylorSeer",
            "**TaylorSeer on FLUX.1-dev**\n\nThe first three steps and every sixth are computed, "
            "the change of the blocks at the others is forecast from them: the published settings for "
            "FLUX, 7 of 28 steps. *interval* 3 is closer to the full result.",
            granularity="blocks",
            interval=6,
            warmup=3,
            max_gap=0,
            order=1,
        ),
        with_method(
            sdxl,
            method_name("DeepCache", "SDXL"),
            "DeepCache",
            "**DeepCache on SDXL**\n\nEvery third step runs the whole UNet, the two between only its "
            "first and last block. A larger *interval* is faster and further from the full result, more "
            "*first_blocks* (right-click the node, *Show Advanced*) slower and nearer to it.",
            interval=3,
            first_blocks=1,
        ),
    ]


def branch_graph() -> Graph:
    """ControlNets at some steps only, in ComfyUI's template of one."""
    steered = Model(
        "SD 3.5 Large Canny",
        "sd3.5_large_canny_controlnet_example",
        "a fox asleep in a red armchair beside a tall window, snow outside",
    )
    return with_cache(
        today_graph(steered),
        tool_name("ControlNet", steered.name),
        "ScalingBranchCache",
        {"interval": 3, "enabled": True},
        "**Branch Cache on SD 3.5 Large with a ControlNet**\n\nComputes the ControlNet at about every "
        "third step and predicts what it adds at the others; the model runs at every step. Put *Scaling "
        "Cache* before or behind it to leave out steps as well.",
    )


def calibrate_graph(wan: Graph) -> Graph:
    """Loaders and prompts of a workflow in front of Calibrate Cache."""
    kept = without_sampling(wan)
    settings = {"name": "wan2.1_t2v_1.3b", "seed": 0, "runs": 4, **plain_run(30, 6.0)}
    kept["calibrate"] = Node("ScalingCalibrateCache", 2, {**run_links(wan), **settings})
    note = (
        "**Calibrate Cache on Wan 2.1 T2V 1.3B**\n\nSamples four clips with all steps computed and "
        "writes a coefficient file, which Scaling Cache finds for this model. Its predictor *least "
        "squares* takes it. With a second prompt at *positive_2* each is also tried out in seven further "
        "clips, and *auto* takes the file where that came nearer. As it stands: as long as four clips."
    )
    return Graph(tool_name("Calibrate", "Wan 2.1 1.3B"), wan.folder, kept, note)


def profile_graph(wan: Graph) -> Graph:
    """Loaders and prompts of a workflow in front of Profile Blocks."""
    kept = without_sampling(wan)
    settings = {"seed": 0, **plain_run(30, 6.0), "skip": 0.6, "rank_by": "stability"}
    kept["profile"] = Node("ScalingProfileBlocks", 2, {**run_links(wan), **settings}, (380, 0))
    kept["preview"] = Node("PreviewImage", 3, {"images": link("profile")}, (420, 470), "Heat Map")
    note = (
        "**Profile Blocks on Wan 2.1 T2V 1.3B**\n\nSamples one clip with all blocks and lists those that "
        "Delta Cache can skip; copy the list into the template *Delta Cache (Wan 2.1 1.3B)*. Takes "
        "somewhat longer than one clip."
    )
    return Graph(tool_name("Profile blocks", "Wan 2.1 1.3B"), wan.folder, kept, note)


def without_sampling(graph: Graph) -> dict[str, Node]:
    """The nodes that a sampler of one's own needs."""
    kept = {k: v for k, v in graph.nodes.items() if v.column < 2 and v.kind != "VAELoader"}
    del kept["cache"]
    return kept


def run_links(graph: Graph) -> dict[str, Any]:
    return {
        "model": graph.nodes["cache"].inputs["model"],
        "positive": link("positive"),
        "negative": link("negative"),
        "latent_image": link("latent"),
    }


def plain_run(steps: int, cfg: float) -> dict[str, Any]:
    return {"steps": steps, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple"}
