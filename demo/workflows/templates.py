"""The templates: which cache is in which model's graph, with which settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .file_format import Graph, Node, link
from .graphs import (
    demo_graph,
    flux_graph,
    hidream_graph,
    lumina2_graph,
    qwen_image_graph,
    sd35_graph,
    sdxl_graph,
    wan_graph,
)
from .image_graphs import (
    chroma_graph,
    flux2_graph,
    kontext_graph,
    qwen_image_edit_graph,
    z_image_graph,
)
from .twice import compare_graph, compare_note, hunt_graph, hunt_note
from .video_graphs import (
    ace_step_graph,
    hunyuan_video15_graph,
    hunyuan_video_graph,
    ltxv_graph,
    wan22_5b_graph,
    wan22_pair_graph,
    wan_i2v_graph,
)

WINDOW = {"start_percent": 0.0, "end_percent": 1.0}


def graphs() -> list[Graph]:
    """All workflows, those of the demo model first."""
    wan, flux, sdxl = wan_graph(), flux_graph(), sdxl_graph()
    hidream, hunyuan, ltxv, wan_i2v = (
        hidream_graph(),
        hunyuan_video_graph(),
        ltxv_graph(),
        wan_i2v_graph(),
    )
    return [
        demo_graph(False),
        demo_graph(True),
        compare_graph(demo_graph(True), "demo_video_compare", compare_note("the demo model")),
        wan,
        flux,
        sdxl,
        sd35_graph(),
        qwen_image_graph(),
        lumina2_graph(),
        hidream,
        flux2_graph(),
        kontext_graph(),
        qwen_image_edit_graph(),
        chroma_graph(),
        z_image_graph(),
        wan_i2v,
        wan22_pair_graph(),
        wan22_5b_graph(),
        hunyuan,
        hunyuan_video15_graph(),
        ltxv,
        ace_step_graph(),
        *node_graphs(wan, flux),
        teacache_graph(hidream, "hidream_i1_full_teacache", "HiDream I1 Full", 0.35),
        teacache_graph(hunyuan, "hunyuan_video_teacache", "HunyuanVideo", 0.15),
        teacache_graph(ltxv, "ltxv_0.9_teacache", "LTX-Video 0.9", 0.06),
        teacache_graph(wan_i2v, "wan2.1_i2v_14b_teacache", "Wan 2.1 I2V 14B", 0.26),
        hunyuan_delta_graph(hunyuan),
        *advanced_step_graphs(wan),
        *advanced_block_graphs(wan, flux, sdxl),
        calibrate_graph(wan),
        profile_graph(wan),
        compare_graph(flux, "flux1_dev_compare", compare_note("FLUX.1-dev")),
        hunt_graph(flux, "flux1_dev_seed_hunting", hunt_note("FLUX.1-dev")),
    ]


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
            "flux1_dev_teacache",
            "ScalingTeaCache",
            {"model_type": "auto", "rel_l1_thresh": 0.0, **WINDOW},
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
                **WINDOW,
            },
            "**MagCache on Wan 2.1 T2V 1.3B**\n\nWith *published* on, threshold, K and retention are "
            "those of the paper; off, those below it count.",
        ),
        with_cache(
            flux,
            "flux1_dev_first_block_cache",
            "ScalingFirstBlockCache",
            {"residual_diff_threshold": 0.12, **WINDOW},
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
                **WINDOW,
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
    ]


def teacache_graph(graph: Graph, name: str, model: str, recommended: float) -> Graph:
    """The same workflow with TeaCache, at the threshold that is recommended for the model."""
    inputs = {"model_type": "auto", "rel_l1_thresh": 0.0, **WINDOW}
    note = (
        f"**TeaCache on {model}**\n\n*rel_l1_thresh* 0 takes the recommended {recommended}, about twice "
        "as fast. A lower value is closer to the full result. The node's help (?) lists what is "
        "published for other models."
    )
    return with_cache(graph, name, "ScalingTeaCache", inputs, note)


def hunyuan_delta_graph(hunyuan: Graph) -> Graph:
    lists = {"blocks": "", "single_blocks": "", "start_step": 6, "interval": 6}
    note = (
        "**Delta Cache on HunyuanVideo**\n\n*settings* takes the published lists of blocks, which were "
        "found for 50 steps: at 20 steps the picture differs more. *custom* and the lists below it "
        "skip fewer."
    )
    inputs = {"settings": "hunyuan_video", **lists, **WINDOW}
    return with_cache(hunyuan, "hunyuan_video_delta_cache", "ScalingDeltaCache", inputs, note)


def advanced_step_graphs(wan: Graph) -> list[Graph]:
    """A template for each method on whole steps that only Step Cache (Advanced) has."""
    return [
        with_method(
            wan,
            "wan2.1_t2v_1.3b_easycache",
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
            "wan2.1_t2v_1.3b_lazycache",
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
            "wan2.1_t2v_1.3b_smoothcache",
            "SmoothCache",
            "**SmoothCache on Wan 2.1 T2V 1.3B**\n\nNeeds a coefficient file: run the template "
            "*wan2.1_t2v_1.3b_calibrate* once. Without one every step is computed. Repeats an output "
            "while its error stays below *threshold*, three times in a row at most, as published.",
            threshold=0.1,
            max_gap=3,
        ),
        with_method(
            wan,
            "wan2.1_t2v_1.3b_eoc",
            "EOC",
            "**EOC on Wan 2.1 T2V 1.3B**\n\nThe first three steps and every third are computed; between "
            "them the last output is repeated, and corrected where a coefficient file says that this "
            "pays: run the template *wan2.1_t2v_1.3b_calibrate* once. Without a file outputs are only "
            "repeated.",
            interval=3,
        ),
    ]


def advanced_block_graphs(wan: Graph, flux: Graph, sdxl: Graph) -> list[Graph]:
    """A template for each method inside the network that only Step Cache (Advanced) has."""
    return [
        with_method(
            flux,
            "flux1_dev_dbcache",
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
            "wan2.1_t2v_1.3b_dicache",
            "DiCache",
            "**DiCache on Wan 2.1 T2V 1.3B**\n\nThe first block runs at every step and says whether the "
            "others must. *threshold* 0.08 is published for Wan; a higher one skips more.",
            threshold=0.08,
            max_gap=0,
            first_blocks=1,
        ),
        with_method(
            wan,
            "wan2.1_t2v_1.3b_mixcache",
            "MixCache",
            "**MixCache on Wan 2.1 T2V 1.3B**\n\nEach step leaves out the whole network's blocks, the "
            "negative prompt, the middle blocks or nothing: what last changed the least. *threshold* 0.1 "
            "is this pack's and not tuned on large models; a higher one skips more.",
            threshold=0.1,
            max_gap=3,
        ),
        with_method(
            flux,
            "flux1_dev_taylorseer",
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
            flux,
            "flux1_dev_step_cache_advanced",
            "DiCache",
            "**Step Cache (Advanced) on FLUX.1-dev**\n\nDiCache here; choose another *method* or another "
            "*predictor* for the same one. What does not go together is refused with the reason.",
        ),
        with_method(
            sdxl,
            "sdxl_base_deepcache",
            "DeepCache",
            "**DeepCache on SDXL**\n\nEvery third step runs the whole UNet, the two between only its "
            "first and last block. A larger *interval* is faster and further from the full result, more "
            "*first_blocks* (right-click the node, *Show Advanced*) slower and nearer to it.",
            interval=3,
            first_blocks=1,
        ),
    ]


def calibrate_graph(wan: Graph) -> Graph:
    """Loaders and prompts of a workflow in front of Calibrate Cache."""
    kept = without_sampling(wan)
    settings = {"name": "wan2.1_t2v_1.3b", "seed": 0, "runs": 4, **plain_run(30, 6.0)}
    kept["calibrate"] = Node("ScalingCalibrateCache", 2, {**run_links(wan), **settings})
    note = (
        "**Calibrate Cache on Wan 2.1 T2V 1.3B**\n\nSamples four clips with all steps computed and "
        "writes a coefficient file. Scaling Cache with *coefficients* on auto then uses it for this "
        "model. Takes as long as four clips."
    )
    return Graph("wan2.1_t2v_1.3b_calibrate", wan.folder, kept, note)


def profile_graph(wan: Graph) -> Graph:
    """Loaders and prompts of a workflow in front of Profile Blocks."""
    kept = without_sampling(wan)
    settings = {"seed": 0, **plain_run(30, 6.0), "skip": 0.6, "rank_by": "stability"}
    kept["profile"] = Node("ScalingProfileBlocks", 2, {**run_links(wan), **settings}, (380, 0))
    kept["preview"] = Node("PreviewImage", 3, {"images": link("profile")}, (420, 470), "Heat Map")
    note = (
        "**Profile Blocks on Wan 2.1 T2V 1.3B**\n\nSamples one clip with all blocks and lists those that "
        "Delta Cache can skip; copy the list into the template *wan2.1_t2v_1.3b_delta_cache*. Takes "
        "somewhat longer than one clip."
    )
    return Graph("wan2.1_t2v_1.3b_profile_blocks", wan.folder, kept, note)


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
