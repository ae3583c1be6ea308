"""The calibration command on workflow dictionaries: what it queues, and what it says about unfit ones."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli import client, generate
from cli.__main__ import main as command
from cli.calibrate import Progress, main
from cli.client import Host, HostError, standing
from cli.workflow import MORE_PROMPTS, Wanted, calibration, check
from demo.host.fetch import ROOT

WANTED = Wanted("mine", runs=1)
LATENT = ["latent", 0]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def ksampler(**more: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "model": ["lora", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": LATENT,
        "seed": 7,
        "steps": 30,
        "cfg": 5.5,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "denoise": 1.0,
    }
    return node("KSampler", **{**inputs, **more})


def build(sampler: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A checkpoint, a cache of each kind, a LoRA, two prompts, a latent, a sampler, a picture."""
    return {
        "load": node("CheckpointLoaderSimple", ckpt_name="m.safetensors"),
        "cache": node("ScalingCache", model=["load", 0], speedup=2.0, coefficients="gone"),
        "easy": node("EasyCache", model=["cache", 0], reuse_threshold=0.2),
        "lora": node("LoraLoaderModelOnly", model=["easy", 0], lora_name="l.safetensors"),
        "positive": node("CLIPTextEncode", clip=["load", 1], text="a boat"),
        "negative": node("CLIPTextEncode", clip=["load", 1], text="blurry"),
        "latent": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "sampler": ksampler() if sampler is None else sampler,
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0]),
        **more,
    }


def custom_advanced(guider: dict[str, Any], **more: Any) -> dict[str, Any]:
    sampler = node(
        "SamplerCustomAdvanced",
        noise=["noise", 0],
        guider=["guider", 0],
        sampler=["select", 0],
        sigmas=["sigmas", 0],
        latent_image=LATENT,
    )
    nodes = {
        "noise": node("RandomNoise", noise_seed=3),
        "guider": guider,
        "select": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node(
            "BasicScheduler", model=["lora", 0], scheduler="simple", steps=28, denoise=1.0
        ),
    }
    return build(sampler, **{**nodes, **more})


def inputs_of(workflow: dict[str, Any], wanted: Wanted = WANTED) -> dict[str, Any]:
    check(workflow)
    return calibration(workflow, wanted)["calibrate"]["inputs"]


# --- what is queued


def test_the_sampler_gives_way_to_calibrate_cache_and_all_below_it_goes():
    queued = calibration(build(), WANTED)
    assert set(queued) == {"load", "lora", "positive", "negative", "latent", "calibrate"}
    assert queued["lora"]["inputs"]["model"] == ["load", 0], "both caches are passed by"
    assert queued["calibrate"]["class_type"] == "ScalingCalibrateCache"
    assert queued["calibrate"]["inputs"] == {
        "model": ["lora", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": LATENT,
        "seed": 7,
        "steps": 30,
        "cfg": 5.5,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "name": "mine",
        "runs": 1,
        "refine": False,
    }


def test_the_users_workflow_is_not_changed():
    workflow = build()
    calibration(workflow, Wanted("mine", ["x", "y"], steps=9, seed=9))
    assert workflow == build()


def test_arguments_go_before_the_workflow():
    inputs = inputs_of(build(), Wanted("mine", runs=4, steps=50, seed=0))
    assert (inputs["steps"], inputs["seed"], inputs["runs"]) == (50, 0, 4)


def test_ksampler_advanced():
    sampler = ksampler(noise_seed=11, add_noise="enable", start_at_step=0, end_at_step=15)
    sampler["class_type"] = "KSamplerAdvanced"
    del sampler["inputs"]["seed"]
    inputs = inputs_of(build(sampler))
    assert (inputs["seed"], inputs["steps"], inputs["scheduler"]) == (11, 30, "karras")


def test_sampler_custom():
    sampler = node(
        "SamplerCustom",
        model=["lora", 0],
        add_noise=True,
        noise_seed=5,
        cfg=3.0,
        positive=["positive", 0],
        negative=["negative", 0],
        sampler=["select", 0],
        sigmas=["sigmas", 0],
        latent_image=LATENT,
    )
    inputs = inputs_of({**custom_advanced({}), "guider": node("Note"), "sampler": sampler})
    assert (inputs["seed"], inputs["cfg"], inputs["steps"]) == (5, 3.0, 28)
    assert (inputs["sampler_name"], inputs["scheduler"]) == ("euler", "simple")


def test_cfg_guider():
    guider = node(
        "CFGGuider",
        model=["lora", 0],
        positive=["positive", 0],
        negative=["negative", 0],
        cfg=2.5,
    )
    inputs = inputs_of(custom_advanced(guider))
    assert (inputs["model"], inputs["negative"]) == (["lora", 0], ["negative", 0])
    assert (inputs["cfg"], inputs["seed"], inputs["sampler_name"]) == (2.5, 3, "euler")
    assert (inputs["steps"], inputs["scheduler"], inputs["latent_image"]) == (28, "simple", LATENT)


def test_basic_guider_has_no_negative_and_no_noise_no_seed():
    guider = node("BasicGuider", model=["cache", 0], conditioning=["positive", 0])
    inputs = inputs_of(custom_advanced(guider, noise=node("DisableNoise")))
    assert inputs["model"] == ["load", 0]
    assert inputs["positive"] == inputs["negative"] == ["positive", 0]
    assert (inputs["cfg"], inputs["seed"]) == (1.0, 0)


def test_primitive_nodes_are_read_and_others_left_to_the_host():
    sampler = ksampler(steps=["number", 0], seed=["primitive", 0], cfg=["sum", 0])
    workflow = build(
        sampler,
        number=node("Reroute", value=["primitive", 0]),
        primitive=node("PrimitiveInt", value=24),
        sum=node("Sum", value=1.0, other=2.0),
    )
    queued = calibration(workflow, WANTED)
    inputs = queued["calibrate"]["inputs"]
    assert (inputs["steps"], inputs["seed"], inputs["cfg"]) == (24, 24, ["sum", 0])
    assert "sum" in queued
    assert "primitive" not in queued


def test_a_second_stage_takes_the_latent_of_the_first():
    stage = ksampler(latent_image=["sampler", 0], steps=20)
    workflow = build(second=stage)
    inputs = inputs_of(workflow, Wanted("mine", sampler="second"))
    assert (inputs["latent_image"], inputs["steps"]) == (LATENT, 20)


# --- prompts


def test_each_prompt_gets_a_text_encoder_of_its_own():
    queued = calibration(build(), Wanted("mine", ["a fox", "a tram"]))
    inputs = queued["calibrate"]["inputs"]
    assert inputs["positive"] == ["positive", 0]
    for field, prompt in (("positive_2", "a fox"), ("positive_3", "a tram")):
        encoder = queued[inputs[field][0]]
        assert encoder == node("CLIPTextEncode", clip=["load", 1], text=prompt)
    assert "positive_4" not in inputs
    assert queued["positive"]["inputs"]["text"] == "a boat"


def test_what_stands_between_encoder_and_sampler_is_copied_too():
    workflow = build(
        ksampler(positive=["control", 0], negative=["control", 1]),
        control=node(
            "ControlNetApplyAdvanced",
            positive=["guidance", 0],
            negative=["negative", 0],
            control_net=["load", 0],
        ),
        guidance=node("FluxGuidance", conditioning=["positive", 0], guidance=3.5),
    )
    queued = calibration(workflow, Wanted("mine", ["a fox"]))
    link = queued["calibrate"]["inputs"]["positive_2"]
    control = queued[link[0]]["inputs"]
    assert link[1] == 0
    assert control["negative"] == ["negative", 0]
    guidance = queued[control["positive"][0]]["inputs"]
    assert guidance["guidance"] == 3.5
    assert queued[guidance["conditioning"][0]]["inputs"]["text"] == "a fox"
    assert queued["calibrate"]["inputs"]["negative"] == ["control", 1]


def test_every_text_of_an_encoder_is_set_linked_or_not():
    encoder = node(
        "CLIPTextEncodeFlux", clip=["load", 1], clip_l=["words", 0], t5xxl="a boat", guidance=3.5
    )
    workflow = build(positive=encoder, words=node("PrimitiveString", value="a boat"))
    queued = calibration(workflow, Wanted("mine", ["a fox"]))
    copy = queued[queued["calibrate"]["inputs"]["positive_2"][0]]["inputs"]
    assert copy == {"clip": ["load", 1], "clip_l": "a fox", "t5xxl": "a fox", "guidance": 3.5}


def refused(name: str, kinds: set[str]) -> str | None:
    """Why a workflow cannot be calibrated; None if it can."""
    if name.startswith(("Scaling Cache tool - Calibrate", "Scaling Cache tool - Profile")):
        return "no sampling node"
    if re.search(r"Wan 2.2 .2V 14B|LTX-2", name):
        return r"choose with --sampler"
    own = kinds & {"Flux2Scheduler", "LTXVScheduler"}
    return f"{own.pop()}.*BasicScheduler only" if own else None


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "workflows" / "api").glob("*")))
def test_the_shipped_workflows_can_be_calibrated(name: str):
    workflow = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text())
    kinds = {entry["class_type"] for entry in workflow.values()}
    if (refusal := refused(name, kinds)) is not None:
        with pytest.raises(ValueError, match=refusal):
            calibration(workflow, WANTED)
        return
    sampler = None
    if "Compare" in name:
        with pytest.raises(ValueError, match=r"choose with --sampler"):
            calibration(workflow, WANTED)
        sampler = next(
            n for n, e in workflow.items() if e["class_type"].startswith("SamplerCustom")
        )
    queued = calibration(workflow, Wanted("mine", ["a fox"], sampler=sampler))
    kinds = [entry["class_type"] for entry in queued.values()]
    assert kinds.count("ScalingCalibrateCache") == 1
    assert sum("TextEncode" in kind or "MiniMaxH3" in kind for kind in kinds) >= 2
    assert {kind for kind in kinds if "Cache" in kind} <= {
        "ScalingCalibrateCache",
        "QwenImage21Cache",
    }


# --- unfit input: the message, and exit code 2


def no_samplers() -> dict[str, Any]:
    return build(node("FancySampler", model=["lora", 0]))


def odd(field: str, kind: str) -> dict[str, Any]:
    guider = node("BasicGuider", model=["lora", 0], conditioning=["positive", 0])
    return {**custom_advanced(guider), field: node(kind)}


def combined() -> dict[str, Any]:
    both = node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["more", 0])
    more = node("CLIPTextEncode", clip=["load", 1], text="a pier")
    return build(ksampler(positive=["both", 0]), both=both, more=more)


UNFIT = {
    "a name with a folder": (build(), ["--name", "../up"], "name: must be letters, digits"),
    "a name of Windows": (build(), ["--name", "con"], "name: Windows keeps 'con' for itself"),
    "the browser's format": ({"nodes": [], "links": []}, [], "Export (API)"),
    "a list": ([1, 2], [], "not a workflow in API format; in ComfyUI choose File > Export (API)"),
    "nothing": ({}, [], "not a workflow in API format"),
    "no class": ({"1": {"inputs": {}}}, [], "not a workflow in API format"),
    "a request": ({"prompt": build()}, [], "not a workflow in API format"),
    "a lost link": (
        build(ksampler(model=["99", 0])),
        [],
        "model of node sampler (KSampler) is linked to node 99, which is not there",
    ),
    "a number that is none": (
        build(ksampler(cfg=float("nan"))),
        [],
        "cfg of node sampler (KSampler) must be finite, got nan",
    ),
    "an infinite number within": (
        build(ksampler(sizes={"width": [1.0, float("-inf")]})),
        [],
        "sizes of node sampler (KSampler) must be finite",
    ),
    "an infinite number beside the inputs": (
        {**build(), "more": {**node("Note"), "_meta": {"x": float("inf")}}},
        [],
        "_meta of node more (Note) must be finite",
    ),
    "no sampler": (
        no_samplers(),
        [],
        "no sampling node; known are KSampler, KSamplerAdvanced, Sam",
    ),
    "several samplers": (
        build(second=ksampler()),
        [],
        "node sampler (KSampler), node second (KSampler); choose with --sampler ID",
    ),
    "another sampler": (
        build(),
        ["--sampler", "12"],
        "--sampler: must be the id of node sampler (KSampler), got 12",
    ),
    "no model": (
        build(ksampler(model=None)),
        [],
        "model of node sampler (KSampler) is missing",
    ),
    "a model by name": (
        build(ksampler(model="flux")),
        [],
        "model of node sampler (KSampler) is not linked to a node",
    ),
    "another guider": (
        odd("guider", "DualCFGGuider"),
        [],
        "guider of node sampler (SamplerCustomAdvanced) comes from node guider (DualCFGGuider); it can "
        "be read from CFGGuider or BasicGuider only",
    ),
    "another sampler object": (odd("select", "SamplerLMS"), [], "read from KSamplerSelect only"),
    "other sigmas": (odd("sigmas", "LTXVScheduler"), [], "read from BasicScheduler only"),
    "two encoders": (
        combined(),
        ["--prompts", "PROMPTS"],
        "found node more (CLIPTextEncode), node positive (CLIPTextEncode)",
    ),
    "no encoder": (
        build(positive=node("LoadConditioning", file="c.pt")),
        ["--prompts", "PROMPTS"],
        "--prompts: positive must come from one node with a text input",
    ),
    "an address without http": (build(), ["--server", "localhost:8188"], "--server: must be like"),
    "an address without host": (build(), ["--server", "http://"], "--server: must be like"),
    "half an address": (build(), ["--server", "http://[::1"], "--server: must be like"),
    "no port": (build(), ["--server", "http://localhost:99999"], "--server: must be like"),
    "caches in a ring": (
        build(
            ksampler(model=["a", 0]),
            a=node("ScalingCache", model=["b", 0]),
            b=node("EasyCache", model=["a", 0]),
        ),
        [],
        "WORKFLOW: cache nodes are linked in a ring",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_input_is_named(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content, arguments, message = UNFIT[case]
    (tmp_path / "workflow.json").write_text(json.dumps(content))
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a fox\n\n  a tram  \n")
    arguments = [str(prompts) if a == "PROMPTS" else a for a in arguments]
    assert main([str(tmp_path / "workflow.json"), "--name", "mine", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "has no line with a prompt"),
        (b" \n\n", "has no line with a prompt"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (
            b"a\n" * (MORE_PROMPTS + 1),
            "--prompts: at most 3, besides the workflow's own prompt, got 4",
        ),
    ],
)
def test_unfit_prompts_are_named(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    workflow, prompts = tmp_path / "workflow.json", tmp_path / "prompts.txt"
    workflow.write_text(json.dumps(build()))
    if content is not None:
        prompts.write_bytes(content)
    assert main([str(workflow), "--name", "mine", "--prompts", str(prompts)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"\x89PNG\r\n\x1a\n", "is not a JSON file"),
        (b"{", "is not a JSON file"),
    ],
)
def test_unfit_files_are_named(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    workflow = tmp_path / "workflow.json"
    if content is not None:
        workflow.write_bytes(content)
    assert main([str(workflow), "--name", "mine"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_number_in_a_file_that_no_page_can_read_is_named(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(build(ksampler(cfg="HERE"))).replace('"HERE"', value))
    assert main([str(workflow), "--name", "mine"]) == 2
    assert "cfg of node sampler (KSampler) must be finite" in capsys.readouterr().err
    with pytest.raises(ValueError, match="JSON compliant"):
        Host("http://127.0.0.1:1").queue({"1": node("KSampler", cfg=float(value))})


def test_missing_arguments_end_with_2():
    with pytest.raises(SystemExit) as stopped:
        main(["workflow.json"])
    assert stopped.value.code == 2


def test_a_server_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(build()))
    assert main([str(workflow), "--name", "mine", "--server", address]) == 1
    said = capsys.readouterr().err
    assert f"no ComfyUI answers at {address}" in said
    assert "--server" in said


@pytest.mark.parametrize("name", ["a" * 70, ".", "m\u00fcnchen.invalid"])
def test_a_server_of_a_name_that_is_none(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(build()))
    assert main([str(workflow), "--name", "mine", "--server", f"http://{name}:1"]) == 1
    assert f"no ComfyUI answers at http://{name}:1" in capsys.readouterr().err


def test_a_server_that_is_away_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    """It breaks off an answer and gives the next ones; then it is gone."""
    told: list[str] = []
    asked: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if len(asked) == 4:
                self.connection.close()
                return
            done = self.path.startswith("/history") and len(asked) > 8
            answers = {"/queue": {"queue_running": [[0, "p"]], "queue_pending": []}}
            answers["/history/p"] = {"p": {"outputs": {"1": {}}}} if done else {}
            content = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any):
            pass

    monkeypatch.setattr(client, "_POLL_SECONDS", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as busy:
        threading.Thread(target=busy.serve_forever).start()
        host = Host(f"http://127.0.0.1:{busy.server_port}")
        try:
            assert host.wait("p", lambda state, *_: told.append(state)) == {"1": {}}
        finally:
            busy.shutdown()
    assert "no answer, asking again" in told
    monkeypatch.setattr(client, "_AWAY_SECONDS", 0.05)
    with pytest.raises(HostError, match="no ComfyUI answers"):
        host.wait("p", lambda *_: None)


@pytest.mark.parametrize("place", ["file", "file/pictures"])
def test_where_no_file_can_be_written_is_said_before_anything_runs(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").touch()
    (tmp_path / "workflow.json").write_text(json.dumps(build()))
    out = ["--out", str(tmp_path / place), "--server", "http://127.0.0.1:9"]
    assert generate.main([str(tmp_path / "workflow.json"), *out]) == 2
    assert f"--out: {tmp_path / 'file'} is no folder" in capsys.readouterr().err


def test_no_file_takes_the_place_of_another():
    taken = {"report.png"}
    names = ("a.png", "A.png", "a (2).png", "report.png", "a.png", "b")
    found = [generate.free_name(name, taken) for name in names]
    assert found == ["a.png", "A (2).png", "a (2) (2).png", "report (2).png", "a (3).png", "b"]


@pytest.mark.parametrize("content", [b"hello", b"{}", b"[]", b""])
def test_a_server_that_is_not_comfyui(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    class Other(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any):
            pass

    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(build()))
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever).start()
        address = f"http://127.0.0.1:{other.server_port}"
        code = main([str(workflow), "--name", "mine", "--server", address])
        other.shutdown()
    assert code == 1
    assert f"what answers at {address} is not ComfyUI" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["make"], ["--help"]])
def test_commands_are_named(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert command(arguments) == 2
    assert "{generate,calibrate} --help" in capsys.readouterr().err


# --- where a run stands


def test_the_run_that_goes_on_is_told_with_its_number_and_time_left():
    done = {"state": "done", "method": "Scaling Cache"}
    going = {**done, "state": "running", "step": 12, "steps": 20, "seconds_left": 33.6}
    texts = {"7": "computed 3 of 5", "9": "1 of 4 runs are kept\nchoose it"}
    answer = {"runs": [done, going], "texts": texts}
    assert standing(answer) == "Scaling Cache, run 2: 12 of 20 steps, about 34 s left"
    answer["runs"] = [{**going, "seconds_left": None}]
    assert standing(answer) == "Scaling Cache, run 1: 12 of 20 steps"
    assert standing({"runs": [done], "texts": texts}) == "1 of 4 runs are kept; choose it"
    assert standing({}) == ""


def test_where_nothing_can_be_overwritten_a_line_comes_now_and_then():
    stream = io.StringIO()
    progress = Progress(stream)
    for seconds in range(0, 70, 10):
        progress("running", seconds, f"step {seconds}")
    progress("stopping", 70)
    assert stream.getvalue().splitlines() == [
        "running",
        "running, 30 s; step 30",
        "running, 60 s; step 60",
        "stopping",
    ]
