"""Cache Report in the running host: picture, text, statistics in the history and in saved pictures."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from demo.host.fetch import ROOT

pytestmark = pytest.mark.host
STEPS = 12
REPORT = "ScalingCacheReport"


def compare(**settings: Any) -> dict[str, Any]:
    """The shipped workflow with few steps."""
    path = ROOT / "demo" / "workflows" / "api" / "demo_video_compare.json"
    workflow = json.loads(path.read_text())
    only(workflow, "BasicScheduler")["steps"] = STEPS
    only(workflow, "EmptyHunyuanLatentVideo").update(length=5, width=64, height=64)
    only(workflow, REPORT).update(settings)
    return workflow


def find(workflow: dict[str, Any], kind: str) -> str:
    (name,) = (n for n, node in workflow.items() if node["class_type"] == kind)
    return name


def only(workflow: dict[str, Any], kind: str) -> dict[str, Any]:
    return workflow[find(workflow, kind)]["inputs"]


def run(host: Any, workflow: dict[str, Any], **more: Any) -> Any:
    outcome = host.client.run(workflow, **more)
    assert outcome.status == "success", outcome.messages[-1]
    return outcome


def error(host: Any, workflow: dict[str, Any]) -> str:
    outcome = host.client.run(workflow)
    assert outcome.status == "error"
    return outcome.messages[-1][2]["exception_message"]


def reported(outcome: Any, workflow: dict[str, Any]) -> dict[str, Any]:
    return outcome.outputs[find(workflow, REPORT)]


def chunks(host: Any, item: dict[str, Any]) -> dict[str, str]:
    """Text in the metadata of a saved PNG."""
    return Image.open(io.BytesIO(host.client.file(item))).text  # type: ignore[attr-defined]


def test_the_compare_workflow(host: Any):
    workflow = compare()
    save = find(workflow, "SaveImage")
    plain = {"images": only(workflow, REPORT)["reference_images"], "filename_prefix": "plain"}
    workflow["plain"] = {"class_type": "SaveImage", "inputs": plain}
    outcome = run(host, workflow)
    made = reported(outcome, workflow)

    (item,) = made["images"]
    picture = host.client.image(item)
    assert picture.shape[1] == 1200
    assert picture.shape[0] > 800

    saved = [
        np.stack([host.client.image(i) for i in outcome.outputs[n]["images"]])
        for n in (save, "plain")
    ]
    assert saved[0].shape == saved[1].shape == (5, 64, 64, 3)
    expected = peak_signal_noise_ratio(saved[1], saved[0], data_range=255)
    (text,) = made["text"]
    found = re.search(r"^PSNR: ([\d.]+) dB, worst ([\d.]+) dB", text, re.M)
    assert found, text
    assert float(found[1]) == pytest.approx(expected, abs=0.006)
    worst = min(peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(*saved, strict=True))
    assert float(found[2]) == pytest.approx(worst, abs=0.006)
    assert 20 < expected < 90

    (statistics,) = made["scaling_cache"]
    (cached,) = statistics["runs"]
    cache = only(workflow, REPORT)["model"][0]
    assert cached["node"] == cache
    assert (cached["method"], cached["steps"]) == ("Scaling Cache", STEPS)
    said = re.search(r"computed (\d+) of (\d+)", outcome.text_of(cache))
    assert said
    assert (cached["computed"], cached["evaluations"]) == (int(said[1]), int(said[2]))
    assert len(cached["computed_steps"]) == cached["computed"] < STEPS
    assert statistics["speedup_measured"] is True
    assert min(statistics["seconds_plain"], statistics["seconds"]) > 0
    (faster,) = re.findall(r"^Speed-up: ([\d.]+)x", text, re.M)
    assert statistics["speedup"] == pytest.approx(float(faster), abs=0.006)
    assert statistics["fidelity"]["psnr"] == pytest.approx(expected, abs=0.006)
    assert statistics["fidelity"]["count"] == 5
    assert "scaling_cache" not in chunks(host, outcome.outputs[save]["images"][0])


def test_statistics_in_the_metadata_of_what_is_saved_after_it(host: Any):
    workflow = compare(metadata=True)
    save = find(workflow, "SaveImage")
    # Also when all else comes from the host's memory, and a client sends what it read from a file.
    for held in ({}, {"scaling_cache": "{}"}):
        info = {"workflow": {"nodes": []}, **held}
        outcome = run(host, workflow, extra_data={"extra_pnginfo": info})
        (statistics,) = reported(outcome, workflow)["scaling_cache"]
        for item in outcome.outputs[save]["images"]:
            written = chunks(host, item)
            assert json.loads(written["scaling_cache"]) == {find(workflow, REPORT): statistics}
            assert json.loads(written["workflow"]) == {"nodes": []}
    (text,) = reported(run(host, workflow), workflow)["text"]
    assert "metadata: not written, the client sent no extra_pnginfo" in text


def test_added_to_a_workflow_that_has_run_it_still_has_the_statistics(host: Any):
    workflow = compare()
    only(workflow, "RandomNoise")["noise_seed"] = 71
    report = workflow.pop(find(workflow, REPORT))
    save = workflow[find(workflow, "SaveImage")]["inputs"]
    save["images"] = report["inputs"]["images"]
    plain = {"images": report["inputs"]["reference_images"], "filename_prefix": "plain"}
    workflow["plain"] = {"class_type": "SaveImage", "inputs": plain}
    run(host, workflow)
    workflow["late"] = report
    outcome = run(host, workflow)
    assert not [d for _, kind, d in outcome.messages if kind == "progress"], "sampled again"
    (statistics,) = outcome.outputs["late"]["scaling_cache"]
    assert statistics["speedup_measured"] is True
    assert len(statistics["runs"]) == 1


def test_each_sampler_of_a_model_has_its_own_runs(host: Any):
    workflow = compare()
    sampler = workflow[only(workflow, REPORT)["images"][0]]["inputs"]["samples"][0]
    again = json.loads(json.dumps(workflow[sampler]))
    again["inputs"]["latent_image"] = [sampler, 0]
    workflow["second"] = again
    workflow["keep"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["second", 0], "filename_prefix": "second"},
    }
    (statistics,) = reported(run(host, workflow), workflow)["scaling_cache"]
    assert [r["sampler"] for r in statistics["runs"]] == [sampler]


def test_latents(host: Any):
    workflow = compare()
    inputs = only(workflow, REPORT)
    for field, pictures in (("latent", "images"), ("reference_latent", "reference_images")):
        inputs[field] = workflow[inputs.pop(pictures)[0]]["inputs"]["samples"]
    del workflow[find(workflow, "SaveImage")]
    made = reported(run(host, workflow), workflow)
    (text,) = made["text"]
    assert "PSNR: " in text
    assert "Error: " in text
    assert "SSIM" not in text
    (statistics,) = made["scaling_cache"]
    assert statistics["fidelity"]["of"] == "latent"
    assert statistics["fidelity"]["ssim"] is None
    assert statistics["fidelity"]["count"] == 2  # latent frames of five frames
    assert len(statistics["runs"]) == 1


def test_without_reference_and_model_it_says_what_is_missing(host: Any):
    workflow = compare()
    inputs = only(workflow, REPORT)
    for field in ("reference_images", "reference_model"):
        del inputs[field]
    made = reported(run(host, workflow), workflow)
    assert "estimated from the computed steps" in made["text"][0]
    assert "PSNR" not in made["text"][0]
    del inputs["model"]
    made = reported(run(host, workflow), workflow)
    assert made["text"][0].startswith("No timeline: connect model")
    assert made["scaling_cache"][0]["runs"] == []


def test_a_run_that_was_not_cached_says_why(host: Any):
    workflow = compare()
    only(workflow, "BasicScheduler")["steps"] = 3
    made = reported(run(host, workflow), workflow)
    (text,) = made["text"]
    assert "Not cached. " in text
    assert "PSNR: identical" in text
    (statistics,) = made["scaling_cache"]
    assert statistics["fidelity"]["identical"] is True
    assert statistics["fidelity"]["psnr"] is None
    assert statistics["runs"][0]["refused"]


def test_other_methods_have_a_timeline_too(host: Any):
    workflow = compare()
    node = workflow[only(workflow, REPORT)["model"][0]]
    fields = host.client.get("/object_info/ScalingFirstBlockCache")["ScalingFirstBlockCache"]
    node["class_type"] = "ScalingFirstBlockCache"
    node["inputs"] = {
        "model": node["inputs"]["model"],
        **{
            name: spec[1]["default"]
            for name, spec in fields["input"]["required"].items()
            if name != "model"
        },
    }
    (statistics,) = reported(run(host, workflow), workflow)["scaling_cache"]
    assert statistics["runs"][0]["method"] == "First Block Cache"
    assert statistics["runs"][0]["evaluations"] == STEPS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images: connect either images or latent"),
        ({"reference_images": None}, "reference_model: needs reference_images or reference_lat"),
        ({"reference_images": "small"}, "reference_images: must be as many and as large as images"),
        ({"latent": "latent"}, "images: connect either images or latent"),
        ({"reference_latent": "latent"}, "reference_latent: cannot be compared with images"),
    ],
)
def test_unfit_inputs_are_named(host: Any, change: dict[str, Any], message: str):
    workflow = compare()
    workflow["small"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": 0},
    }
    workflow["latent"] = workflow[find(workflow, "EmptyHunyuanLatentVideo")]
    inputs = only(workflow, REPORT)
    for field, value in change.items():
        if value is None:
            del inputs[field]
        else:
            inputs[field] = [value, 0]
    if "images" not in inputs:
        del workflow[find(workflow, "SaveImage")]
    assert message in error(host, workflow)
