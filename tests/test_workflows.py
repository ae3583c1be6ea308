"""Every shipped workflow fits the host's nodes; help and translations fit the node."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cache_core.decide.policies import ENOUGH, RunPlan, SamplerTraits
from cache_core.planning.optimiser import target_steps
from cli.convert import specs_of, to_api
from demo.host.fetch import ROOT
from demo.workflows.blueprints import blueprint_format, blueprints
from demo.workflows.file_format import HOST_VERSION, OWN_COLOURS, TITLE, WINDOW, api_format
from demo.workflows.graphs import highest
from demo.workflows.official import index, raw_nodes
from demo.workflows.templates import graphs
from demo.workflows.today import TODAY, today_graph, too_new

_SPEC = importlib.util.spec_from_file_location(
    "workflow_check", Path(__file__).with_name("workflow_check.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
check = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check)

# Of the statistics among the results of Cache Report.
KEY = "scaling_cache"
FOLDERS = (ROOT / "workflows", ROOT / "demo" / "workflows")
TEMPLATES = [path for folder in FOLDERS for path in sorted(folder.glob("*.json"))]
pytestmark = pytest.mark.host


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def absent(path: Path, problems: list[str], host: Any) -> bool:
    """Whether a workflow has problems because it is of a model that the host lacks."""
    version = host.client.get("/system_stats")["system"]["comfyui_version"]
    lacking = any("unknown node" in each or "is not offered" in each for each in problems)
    return lacking and too_new(path.stem, version)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_template_and_its_twin(path: Path, object_info: dict[str, Any], host: Any):
    ui, api = read(path), read(path.parent / "api" / path.name)
    problems = check.check_ui(ui, object_info) + check.check_api(api, object_info)
    if absent(path, problems, host):
        pytest.skip("not in this host")
    assert problems == []
    sent = to_api(ui, object_info.get)
    assert set(sent) == set(api)
    for number, node in api.items():
        assert sent[number]["class_type"] == node["class_type"]
        # Newer hosts name some widgets after the choice that brings them.
        by_last_name = {k.rpartition(".")[2]: v for k, v in sent[number]["inputs"].items()}
        for name, value in node["inputs"].items():
            assert (by_last_name | sent[number]["inputs"])[name] == value, (number, name)


def test_comfy_lint_has_nothing_to_say(object_info: dict[str, Any], host: Any, tmp_path: Path):
    """Of all workflows in API format, with the files of models that they name."""
    twins = [path.parent / "api" / path.name for path in TEMPLATES]
    twins = [p for p in twins if not absent(p, check.check_api(read(p), object_info), host)]
    info = copy.deepcopy(object_info)
    for node in (node for twin in twins for node in read(twin).values()):
        specs = specs_of(info[node["class_type"]])
        # The linter takes inputs that were grown for unknown.
        growing = {name for name, spec in specs.items() if spec[0] == "COMFY_AUTOGROW_V3"}
        grown = {name: ["*"] for name in node["inputs"] if name.partition(".")[0] in growing}
        info[node["class_type"]]["input"].setdefault("optional", {}).update(grown)
        for name in check.FILE_INPUTS & node["inputs"].keys() & specs.keys():
            # Both ways in which hosts write a choice.
            kind, options = (*specs[name], {})[:2]
            choices = kind if isinstance(kind, list) else options.get("options", [])
            choices.append(node["inputs"][name])
    (tmp_path / "object_info.json").write_text(json.dumps(info), encoding="utf-8")
    command = [sys.executable, "-m", "comfy_lint.cli", "--strict", "--json", "--schema-cache"]
    command += [str(tmp_path / "object_info.json"), *map(str, twins)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, ""), said.stdout


def test_the_files_are_what_the_builder_makes_of_the_official_ones():
    built = {graph.folder / "api" / f"{graph.name}.json": api_format(graph) for graph in graphs()}
    assert set(built) == {folder.parent / "api" / folder.name for folder in TEMPLATES}
    stale = [
        path.name for path, twin in built.items() if read(path) != json.loads(json.dumps(twin))
    ]
    assert stale == [], "python -m demo.workflows.build"


BLUEPRINTS = {each.graph.name: each for each in blueprints()}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_as_built_of_what_the_host_has(
    name: str, object_info: dict[str, Any], host: Any
):
    blueprint = read(ROOT / "subgraphs" / f"{name}.json")
    version = host.client.get("/system_stats")["system"]["comfyui_version"]
    if version == HOST_VERSION:
        built = blueprint_format(BLUEPRINTS[name], object_info)
        assert json.loads(json.dumps(built)) == blueprint, "python -m demo.workflows.build"
    (inside,) = blueprint["definitions"]["subgraphs"]
    kept = [link for link in inside["links"] if min(link["origin_id"], link["target_id"]) > 0]
    # Alone it lacks what is to be linked to it.
    flat = {**inside, "links": [[*link.values()] for link in kept]}
    assert [each for each in check.check_ui(flat, object_info) if "is not connected" in each] == []
    (node,) = blueprint["nodes"]
    lacking = check.check_api(to_api(blueprint, object_info.get), object_info)
    outside = {entry["name"] for entry in node["inputs"]}
    assert {each.split(": ")[1].removesuffix(" is missing") for each in lacking} <= outside
    assert {"model", "latent_image"} <= outside


def test_the_host_lists_the_blueprints(host: Any):
    listed = host.client.get("/global_subgraphs")
    own = {
        each["name"]: key
        for key, each in listed.items()
        if each["info"]["node_pack"] == "custom_nodes.ComfyUI-ScalingCache"
    }
    assert set(own) == set(BLUEPRINTS)
    for name, key in own.items():
        served = host.client.get(f"/global_subgraphs/{key}")["data"]
        assert json.loads(served) == read(ROOT / "subgraphs" / f"{name}.json")


def test_a_blueprint_runs(host: Any, object_info: dict[str, Any]):
    """With what the demo loads, on one small picture."""
    demo = read(ROOT / "demo" / "workflows" / "api" / "demo_video_on.json")
    by_kind = {node["class_type"]: node["inputs"] for node in demo.values()}
    by_kind["EmptyHunyuanLatentVideo"] |= {"length": 1, "width": 64, "height": 64}
    linked = {
        **by_kind["KSampler"],
        "model": by_kind["ScalingCache"]["model"],
        "vae": by_kind["VAEDecode"]["vae"],
    }
    ends = ("ScalingCache", "KSampler", "VAEDecode", "SaveImage", "SaveAnimatedWEBP")
    given = {k: node for k, node in demo.items() if node["class_type"] not in ends}
    made = to_api(read(ROOT / "subgraphs" / "Compare (Scaling Cache).json"), object_info.get)
    for node in made.values():
        lacking = object_info[node["class_type"]]["input"]["required"].keys() - node["inputs"]
        node["inputs"] |= {name: linked[name] for name in lacking}
        if node["class_type"] == "BasicScheduler":
            node["inputs"]["steps"] = 10
    outcome = host.client.run({**given, **made})
    assert outcome.status == "success", outcome.messages[-1]
    (told,) = (each[KEY][0] for each in outcome.outputs.values() if KEY in each)
    (run,) = told["runs"]
    assert run["computed"] < run["evaluations"] == 10
    assert told["fidelity"]["psnr"] > 20


def test_models_are_those_that_the_official_templates_download():
    official: dict[str, set[tuple[str, str]]] = {}
    for name in index():
        for node in raw_nodes(name):
            for each in node["properties"].get("models", []):
                place = each["directory"], each["url"].partition("?")[0]
                official.setdefault(each["name"], set()).add(place)
    ours = {
        (each["name"], (each["directory"], each["url"]))
        for path in TEMPLATES
        for node in read(path)["nodes"]
        for each in node["properties"].get("models", [])
    }
    assert {name for name, place in ours if place not in official.get(name, ())} == set()


def test_no_note_advises_to_compute_fewer_than_8_steps():
    advised = re.compile(r"Draft: (\d\.\d)")
    for path in (ROOT / "workflows").glob("Scaling Cache - *.json"):
        (note,) = (
            n["widgets_values"][0] for n in read(path)["nodes"] if n["type"] == "MarkdownNote"
        )
        if few := re.search(r"Of (\d+) steps (\d+) are computed", note):
            steps = int(few[1])
            traits = SamplerTraits("euler", (1,) * steps, stochastic=False, sums=True)
            sigmas = tuple(1 - i / steps for i in range(steps + 1))
            assert RunPlan(sigmas, traits, (0, steps), scale=1.0).worth() == int(few[2]), path.stem
            continue
        (steps,) = map(int, re.findall(r"of the (\d+) steps", note))
        for speedup in (1.5, 2.0, *map(float, advised.findall(note))):
            assert target_steps(steps, speedup) >= ENOUGH, path.stem
    assert [highest(steps) for steps in (15, 20, 25, 50)] == [2.0, 2.5, 3.0, 3.0]


def test_only_long_samplers_get_a_cache():
    (ltx,) = (model for model in TODAY if model.name == "LTX-2 dev")
    nodes = today_graph(ltx).nodes.values()
    guiders = [node.inputs["model"][0] for node in nodes if node.kind == "CFGGuider"]
    assert sorted(guiders) == ["LoraLoaderModelOnly", "cache"]


def test_what_people_run_comes_first():
    listed = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    groups = [name.partition(" - ")[0] for name in listed]
    assert sorted(set(groups), key=groups.index) == [
        "Scaling Cache",
        "Scaling Cache tool",
        "Single method",
    ]


def test_what_is_asleep_runs_once_it_is_woken(object_info: dict[str, Any]):
    ui = read(ROOT / "workflows" / "Scaling Cache tool - Seed hunting (FLUX.1 dev).json")
    asleep = [node["type"] for node in ui["nodes"] if node["mode"]]
    assert asleep == ["CFGGuider", "SamplerCustomAdvanced", "VAEDecode", "SaveImage"]
    woken = {**ui, "nodes": [{**node, "mode": 0} for node in ui["nodes"]]}
    api = to_api(woken, object_info.get)
    assert check.check_api(api, object_info) == []
    guiders = [node["inputs"] for node in api.values() if node["class_type"] == "CFGGuider"]
    kinds = [api[guider["model"][0]]["class_type"] for guider in guiders]
    assert kinds == ["ScalingCache", "UNETLoader"]
    samplers = [n["inputs"] for n in api.values() if n["class_type"] == "SamplerCustomAdvanced"]
    assert samplers[0]["noise"] == samplers[1]["noise"]


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda p: p.stem)
def test_users_get_thumbnails_notes_and_no_demo_nodes(path: Path):
    assert 1000 < path.with_suffix(".jpg").stat().st_size < 40_000
    kinds = {node["type"] for node in read(path)["nodes"]}
    assert "MarkdownNote" in kinds
    assert any(kind.startswith("Scaling") for kind in kinds)
    assert not any("Demo" in kind for kind in kinds)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda p: p.stem)
def test_templates_open_in_a_size_that_one_can_read(path: Path):
    """In a window of 1600 x 1000; the frontend draws no text below a zoom of 0.57."""
    nodes = read(path)["nodes"]
    (note,) = (node for node in nodes if node["type"] == "MarkdownNote")
    left, top, right, bottom = (
        choose(each)
        for choose, each in (
            (min, [n["pos"][0] for n in nodes]),
            (min, [n["pos"][1] - TITLE for n in nodes]),
            (max, [n["pos"][0] + n["size"][0] for n in nodes]),
            (max, [n["pos"][1] + n["size"][1] for n in nodes]),
        )
    )
    zoom = min(WINDOW[0] / (right - left), WINDOW[1] / (bottom - top))
    assert zoom >= 0.6
    assert all(note["pos"][1] + note["size"][1] < n["pos"][1] - TITLE for n in nodes if n != note)
    assert {n["type"] for n in nodes if n.get("bgcolor") == OWN_COLOURS["bgcolor"]} == {
        n["type"] for n in nodes if n["type"].startswith("Scaling")
    }


def test_the_host_lists_the_templates(host: Any):
    listed = host.client.get("/workflow_templates")["ComfyUI-ScalingCache"]
    assert set(listed) == {path.stem for path in (ROOT / "workflows").glob("*.json")}


@pytest.mark.parametrize("name", ["demo_video_off", "demo_video_on"])
def test_demo_workflows_run(name: str, host: Any):
    workflow = read(ROOT / "demo" / "workflows" / "api" / f"{name}.json")
    for node in workflow.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 8
    outcome = host.client.run(workflow)
    assert outcome.status == "success", outcome.messages[-1]
    pictures = [item for node in outcome.outputs.values() for item in node.get("images", [])]
    assert len(pictures) == 17 + 1
    assert host.client.image(pictures[0]).shape == (128, 128, 3)


def break_type(w: dict) -> None:
    w["nodes"][0]["type"] = "NoSuchNode"


def break_widgets(w: dict) -> None:
    w["nodes"][0]["widgets_values"].append(1)


def break_value(w: dict) -> None:
    (node,) = (n for n in w["nodes"] if n["type"] == "ScalingCache")
    node["widgets_values"][0] = 9.0


def break_choice(w: dict) -> None:
    (node,) = (n for n in w["nodes"] if n["type"] == "ScalingCache")
    node["widgets_values"][1] = "warp"


def break_link(w: dict) -> None:
    w["links"][0][3] = 999


def break_link_type(w: dict) -> None:
    w["links"][0][5] = "NOISE"


def break_place(w: dict) -> None:
    w["nodes"][1]["pos"] = w["nodes"][0]["pos"]


def break_id(w: dict) -> None:
    w["id"] = "flux"


def break_connection(w: dict) -> None:
    (node,) = (n for n in w["nodes"] if n["type"] == "ScalingCache")
    node["inputs"][0]["link"] = None


@pytest.mark.parametrize(
    "damage",
    [
        break_type,
        break_widgets,
        break_value,
        break_choice,
        break_link,
        break_link_type,
        break_place,
        break_connection,
        break_id,
    ],
)
def test_the_check_finds_damage(damage: Any, object_info: dict[str, Any]):
    workflow = copy.deepcopy(read(ROOT / "workflows" / "Scaling Cache - FLUX.1 dev.json"))
    damage(workflow)
    assert check.check_ui(workflow, object_info)


# --- texts


def pack_nodes(object_info: dict[str, Any]) -> list[str]:
    module = "custom_nodes.ComfyUI-ScalingCache"
    return [name for name, info in object_info.items() if info["python_module"] == module]


def texts(nodes: dict[str, Any], *place: str) -> dict[tuple[str, ...], str]:
    """The texts of a locale file by their place."""
    found = {}
    for key, value in nodes.items():
        inside = texts(value, *place, key) if isinstance(value, dict) else {(*place, key): value}
        found |= inside
    return found


def places(name: str, info: dict[str, Any]) -> set[tuple[str, ...]]:
    """Where the texts of a node stand in a locale file."""
    inputs = [("inputs", each) for each in specs_of(info)]
    slots = [*inputs, *(("outputs", str(i)) for i in range(len(info["output"])))]
    of_slots = {(name, *slot, kind) for slot in slots for kind in ("name", "tooltip")}
    return {(name, "display_name"), (name, "description"), *of_slots}


TRANSLATED = sorted(path.name for path in (ROOT / "locales").iterdir() if path.name != "en")


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_translated_and_no_other(language: str, object_info: dict[str, Any]):
    wanted = set().union(*(places(name, object_info[name]) for name in pack_nodes(object_info)))
    translated = texts(read(ROOT / "locales" / language / "nodeDefs.json"))
    assert set(translated) == wanted
    assert [place for place, text in translated.items() if not text.strip()] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_translated_settings_are_those_that_there_are(language: str):
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "web").glob("*.js")]
    ids = {
        found for script in scripts for found in re.findall(r'^ +id: "(\w+\.\w+)",$', script, re.M)
    }
    translated = texts(read(ROOT / "locales" / language / "settings.json"))
    keys = [each.replace(".", "_") for each in ids]
    assert set(translated) == {(key, kind) for key in keys for kind in ("name", "tooltip")}


def test_english_texts_are_those_of_the_nodes(object_info: dict[str, Any]):
    """What a locale lacks the frontend takes from the node, except for the title of the node's menu."""
    assert [path.name for path in (ROOT / "locales" / "en").iterdir()] == ["nodeDefs.json"]
    names = {name: object_info[name]["display_name"] for name in pack_nodes(object_info)}
    assert read(ROOT / "locales" / "en" / "nodeDefs.json") == {
        name: {"display_name": shown} for name, shown in names.items()
    }


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_node_has_help_and_folds(language: str, object_info: dict[str, Any]):
    nodes = pack_nodes(object_info)
    assert len(nodes) == 13
    for node in nodes:
        text = (ROOT / "web" / "docs" / node / f"{language}.md").read_text(encoding="utf-8")
        for name, spec in specs_of(object_info[node]).items():
            told = spec[1] if len(spec) > 1 else {}
            assert bool(told.get("scaling_cache_folds")) == bool(told.get("advanced")), (node, name)
        for name in specs_of(object_info[node]):
            assert name == "model" or f"{name}" in text, (node, name)


@pytest.mark.parametrize("node", ["ScalingFirstBlockCache", "ScalingDeltaCache"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_names_every_family(language: str, node: str, comfy: Path):
    from scaling_cache.nodes.families import FAMILIES

    text = (ROOT / "web" / "docs" / node / f"{language}.md").read_text(encoding="utf-8")
    refused = [f for f in FAMILIES if f.feeds_later_blocks and node == "ScalingDeltaCache"]
    named = {f.name.split()[0] for f in FAMILIES if f.name != "UNet" and f not in refused}
    assert {name for name in named if name not in text} == set()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_says_the_range_of_every_input(language: str, object_info: dict[str, Any]):
    """As lists, which fit the narrow panel."""
    path = ROOT / "web" / "docs" / "ScalingCache" / f"{language}.md"
    entries = re.findall(
        r"^- \*\*(\w+)\*\*\W ?(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    told = dict(entries[:-1])
    specs = specs_of(object_info["ScalingCache"])
    assert list(told) == list(specs)
    assert entries[-1][0] == "model"
    for name, spec in specs.items():
        if spec[0] in ("INT", "FLOAT"):
            (low, high) = re.findall(r"([\d.]+) ?(?:to|到) ?([\d.]+?)[.。]$", told[name])[0]
            assert (float(low), float(high)) == (spec[1]["min"], spec[1]["max"]), name


def test_help_for_other_languages_is_the_english_one():
    pages = ROOT / "web" / "docs"
    others = {page.stem: page.read_text(encoding="utf-8") for page in pages.glob("*.md")}
    english = {page.parent.name: page.read_text(encoding="utf-8") for page in pages.glob("*/en.md")}
    assert others == english, "cp web/docs/NODE/en.md web/docs/NODE.md"


def test_rare_inputs_are_folded_away(object_info: dict[str, Any]):
    specs = specs_of(object_info["ScalingCache"])
    folded = {name for name, spec in specs.items() if spec[1].get("advanced")}
    assert folded == {
        "predictor",
        "warmup",
        "max_gap",
        "coefficients",
        "computed_steps",
        "corrector",
        "few_steps",
    }
    assert list(specs)[:5] == ["model", "speedup", "mode", "start_percent", "end_percent"]


def test_the_nodes_that_cache_say_so_to_the_web_extension(object_info: dict[str, Any]):
    models = {
        name: object_info[name]["input"].get("required", {}).get("model")
        for name in pack_nodes(object_info)
    }
    # These measure and never cache, and the last one's runs are in other processes.
    silent = {
        "ScalingCalibrateCache",
        "ScalingProfileBlocks",
        "ScalingSuggestSpeedup",
        "ScalingCacheReport",
        "ScalingCacheRaylight",
    }
    told = {name for name, spec in models.items() if spec and spec[1].get("scaling_cache")}
    assert told == models.keys() - silent


@pytest.mark.parametrize("script", ["settings.js", "live_view.js"])
def test_the_web_extension_keeps_no_list_of_nodes(script: str, object_info: dict[str, Any]):
    text = (ROOT / "web" / script).read_text(encoding="utf-8")
    assert not [name for name in pack_nodes(object_info) if f'"{name}"' in text]
