"""Workflows as the browser saves them, for the command line: what the frontend itself would queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.convert import to_api
from demo.host.fetch import ROOT

SAVED = ROOT / "demo" / "workflows" / "demo_video_on.json"
# Puts a subgraph into another one.
FOLD = """() => {
    const node = app.graph._nodes.find(n => n.isSubgraphNode?.())
    node.widgets.find(w => w.name.endsWith('steps')).value = 11
    app.graph.convertToSubgraph(new Set([node]))
    return app.graph.serialize()
}"""
SPECS = {
    "Load": {"input": {"required": {"name": [["a", "b"]]}}, "output": ["MODEL", "CLIP"]},
    "Change": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {}],
                "given": ["INT", {"forceInput": True}],
                "words": ["STRING", {"multiline": True}],
            }
        }
    },
}


def entry(name: str, kind: str, link: int | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, **more}


def saved(*nodes: dict[str, Any], links: Any) -> dict[str, Any]:
    load = {"id": 1, "type": "Load", "widgets_values": ["b"], "inputs": []}
    load["outputs"] = [{"type": "MODEL"}, {"type": "CLIP"}]
    return {"nodes": [load, *nodes], "links": links}


def change(number: int, link: int | None, **more: Any) -> dict[str, Any]:
    values = [7, "randomize", "some words"]
    node = {"id": number, "type": "Change", "widgets_values": values, "mode": 0}
    node["inputs"] = [entry("model", "MODEL", link)]
    node["outputs"] = [{"type": "MODEL"}]
    return {**node, **more}


def inputs(workflow: dict[str, Any], node: str = "2") -> dict[str, Any]:
    return to_api(workflow, SPECS.get)[node]["inputs"]


def test_values_go_by_the_hosts_order_and_links_by_name():
    links = [[5, 1, 0, 2, 0, "MODEL"]]
    expected = {"model": ["1", 0], "seed": 7, "words": "some words"}
    assert inputs(saved(change(2, 5), links=links)) == expected
    as_objects = [{"id": 5, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0}]
    assert inputs(saved(change(2, 5), links=as_objects)) == expected
    by_name = change(2, 5, widgets_values={"words": "some words", "seed": 7, "preview": {}})
    assert inputs(saved(by_name, links=links)) == expected
    # A file of an older version has fewer, and a number without a control behind it.
    assert inputs(saved(change(2, 5, widgets_values=[7]), links=links)) == {
        "model": ["1", 0],
        "seed": 7,
    }


def test_what_is_passed_by_hands_on_the_input_of_its_type():
    away = change(3, 5, mode=4)
    away["inputs"].insert(0, entry("given", "INT"))
    links = [[5, 1, 0, 3, 1, "MODEL"], [6, 3, 0, 2, 0, "MODEL"]]
    found = to_api(saved(away, change(2, 6), links=links), SPECS.get)
    assert set(found) == {"1", "2"}
    assert found["2"]["inputs"]["model"] == ["1", 0]


def test_what_is_muted_gives_nothing():
    links = [[5, 1, 0, 3, 0, "MODEL"], [6, 3, 0, 2, 0, "MODEL"]]
    found = to_api(saved(change(3, 5, mode=2), change(2, 6), links=links), SPECS.get)
    assert set(found) == {"1", "2"}
    assert "model" not in found["2"]["inputs"]


def test_reroutes_and_primitives_are_not_there():
    reroute = {"id": 3, "type": "Reroute", "inputs": [entry("", "*", 5)], "outputs": [{}]}
    number = {"id": 4, "type": "PrimitiveNode", "widgets_values": [11, "fixed"], "outputs": [{}]}
    node = change(2, 6)
    node["inputs"].append(entry("seed", "INT", 7, widget={"name": "seed"}))
    links = [[5, 1, 0, 3, 0, "*"], [6, 3, 0, 2, 0, "*"], [7, 4, 0, 2, 1, "INT"]]
    found = to_api(saved(reroute, number, node, links=links), SPECS.get)
    assert set(found) == {"1", "2"}
    assert found["2"]["inputs"] == {"model": ["1", 0], "seed": 11, "words": "some words"}


def folded(**outer: Any) -> dict[str, Any]:
    """Two Changes in a row in a subgraph, which gets a model and words."""
    first, second = change(1, 1), change(2, 2)
    first["inputs"].append(entry("words", "STRING", 3, widget={"name": "words"}))
    ends = (1, -10, 0, 1), (2, 1, 0, 2), (3, -10, 1, 1), (4, 2, 0, -20)
    names = ("id", "origin_id", "origin_slot", "target_id")
    inside = {
        "id": "0f0c",
        "nodes": [first, second],
        "links": [dict(zip(names, each, strict=True)) for each in ends],
        "inputs": [{"name": "model"}, {"name": "told"}],
        "outputs": [{"name": "MODEL", "linkIds": [4]}],
    }
    told = entry("told", "STRING", widget={"name": "told"})
    node = {"id": 5, "type": "0f0c", "inputs": [entry("model", "MODEL", 1), told]}
    node |= {"outputs": [{"type": "MODEL"}], **outer}
    links = [[1, 1, 0, 5, 0, "MODEL"], [2, 5, 0, 6, 0, "MODEL"]]
    definitions = {"subgraphs": [inside]}
    return {**saved(node, change(6, 2), links=links), "definitions": definitions}


def test_subgraphs_are_unfolded():
    found = to_api(folded(), SPECS.get)
    assert list(found) == ["1", "5:1", "5:2", "6"]
    models = [found[number]["inputs"]["model"] for number in ("5:1", "5:2", "6")]
    assert models == [["1", 0], ["5:1", 0], ["5:2", 0]]
    assert found["5:1"]["inputs"]["words"] == "some words"
    shown = {"properties": {"proxyWidgets": [["2", "seed"]]}, "widgets_values": ["others", 8]}
    found = to_api(folded(**shown), SPECS.get)
    assert found["5:1"]["inputs"]["words"] == "others"
    assert [found[number]["inputs"]["seed"] for number in ("5:1", "5:2")] == [7, 8]


def test_a_subgraph_that_does_not_run():
    by = to_api(folded(mode=4), SPECS.get)
    assert list(by) == ["1", "6"]
    assert by["6"]["inputs"]["model"] == ["1", 0]
    off = to_api(folded(mode=2), SPECS.get)
    assert list(off) == ["1", "6"]
    assert "model" not in off["6"]["inputs"]


def test_a_subgraph_in_itself_is_refused():
    workflow = folded()
    workflow["definitions"]["subgraphs"][0]["nodes"].append({"id": 9, "type": "0f0c"})
    with pytest.raises(ValueError, match="holds itself"):
        to_api(workflow, SPECS.get)


RING = [entry("", "*", 5)]
UNFIT = {
    "a node of the page alone": (saved(change(2, 5, type="GetNode"), links=[]), "no node GetNode"),
    "a subgraph that is not there": (saved(change(2, 5, type="0f0c"), links=[]), "no node 0f0c"),
    "no links": ({"nodes": []}, "is not as the browser saves one"),
    "a link that is not there": (saved(change(2, 9), links=[]), "is not as the browser saves one"),
    "nodes that are none": ({"nodes": [1], "links": []}, "is not as the browser saves one"),
    "a ring": (
        saved(
            {"id": 3, "type": "Reroute", "inputs": RING, "outputs": [{}]},
            change(2, 6),
            links=[[5, 3, 0, 3, 0, "*"], [6, 3, 0, 2, 0, "*"]],
        ),
        "in a ring",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_cannot_be_told_is_refused_in_a_sentence(case: str):
    workflow, message = UNFIT[case]
    with pytest.raises(ValueError, match=message):
        to_api(workflow, SPECS.get)


def with_blueprint() -> dict[str, Any]:
    """The demo's workflow with a blueprint in place of its cache and sampler."""
    workflow = json.loads(SAVED.read_text(encoding="utf-8"))
    path = ROOT / "subgraphs" / "Sampler with Scaling Cache.json"
    blueprint = json.loads(path.read_text(encoding="utf-8"))
    by_type = {node["type"]: node for node in workflow["nodes"]}
    cache, sampler = by_type["ScalingCache"], by_type["KSampler"]
    number = sampler["id"]
    gives = {one["name"]: one["link"] for one in (*sampler["inputs"], *cache["inputs"])}
    (node,) = blueprint["nodes"]
    node |= {"id": number, "pos": sampler["pos"]}
    for slot, one in enumerate(node["inputs"]):
        one["link"] = gives[one["name"]]
        (link,) = (each for each in workflow["links"] if each[0] == one["link"])
        link[3:5] = number, slot
    node["outputs"][0]["links"] = sampler["outputs"][0]["links"]
    kept = [each for each in workflow["nodes"] if each not in (cache, sampler)]
    links = [each for each in workflow["links"] if each[1] != cache["id"]]
    return {
        **workflow,
        "nodes": [*kept, node],
        "links": links,
        "definitions": blueprint["definitions"],
    }


@pytest.mark.host
@pytest.mark.browser
def test_it_is_what_the_page_would_queue(page: Any, host: Any):
    """Also with nodes that are passed by, muted or of the page alone."""
    object_info = host.client.get("/object_info")
    odd = json.loads(SAVED.read_text(encoding="utf-8"))
    (cache,) = (node for node in odd["nodes"] if node["type"] == "ScalingCache")
    (saves, *_) = (node for node in odd["nodes"] if node["type"].startswith("Save"))
    cache["mode"], saves["mode"] = 4, 2
    within = with_blueprint()
    for workflow in (json.loads(SAVED.read_text(encoding="utf-8")), odd, within, None):
        if workflow:
            page.evaluate("graph => app.loadGraphData(graph)", workflow)
        else:  # the last one, set otherwise and in a subgraph more, as the page saves it
            workflow = page.evaluate(FOLD)
        queued = page.evaluate("async () => (await app.graphToPrompt()).output")
        made = to_api(workflow, object_info.get)
        assert unfolded(made) == unfolded(queued)


def unfolded(prompt: dict[str, Any]) -> list[str]:
    """Nodes with those that they take from in their place, since the page may give those inside a
    subgraph other numbers; without titles, which are its own."""

    def given(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 2 and value[0] in prompt:
            return [node(value[0]), value[1]]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def node(number: str) -> dict[str, Any]:
        kind, inputs = prompt[number]["class_type"], prompt[number]["inputs"]
        return {"class_type": kind, "inputs": {name: given(inputs[name]) for name in inputs}}

    return sorted(json.dumps(node(number), sort_keys=True) for number in prompt)
