"""Nodes of other packs that are missing, and ours in their place: what the host is told, and does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from docs import replacements as written
from docs.method_table import filled

from ..test_docs import migration_tables
from .conftest import CACHE, SAMPLER, build, node

if TYPE_CHECKING:
    from playwright.sync_api import Page

# What the other nodes let their users choose, of what is carried over.
RANGES = {
    "rel_l1_thresh": (0.0, 10.0),
    **dict.fromkeys(("start_percent", "end_percent", "start", "end"), (0.0, 1.0)),
    "magcache_thresh": (0.0, 0.3),
    "retention_ratio": (0.1, 0.3),
    "magcache_K": (0, 6),
    "residual_diff_threshold": (0.0, 1.0),
}
# As a workflow keeps them: fields of the node, and of ours after it.
TEA = {"rel_l1_thresh": 0.275, "start_percent": 0.1, "end_percent": 0.9}
SAVED = {
    "TeaCache": (
        ["wan2.1_t2v_1.3B_ret_mode", *TEA.values(), "cuda"],
        {**TEA, "model_type": "auto"},
    ),
    "TeaCacheForVidGen": (["ltxv", 0.06], {"rel_l1_thresh": 0.06, "model_type": "auto"}),
    "WanVideoTeaCacheKJ": ([*TEA.values(), "offload_device", "i2v_480"], TEA),
    "MagCache": (
        ["hunyuan_video1.5", 0.12, 0.25, 3, 0, -1],
        {"model_type": "auto", "published": False, "magcache_thresh": 0.12}
        | {"retention_ratio": 0.25, "magcache_K": 3},
    ),
    "ApplyFBCacheOnModel": (
        ["diffusion_model", 0.125, 0.2, 0.8, -1],
        {"residual_diff_threshold": 0.125, "start_percent": 0.2, "end_percent": 0.8}
        | {"max_gap": 0},
    ),
}


@pytest.fixture
def told(comfy: Path) -> list[Any]:
    from scaling_cache.nodes.replacements import REPLACEMENTS

    return list(REPLACEMENTS)


@pytest.fixture
def replaces(host: Any) -> dict[str, Any]:
    """What the host says it replaces; not every host can."""
    answer = requests.get(f"{host.server.url}/node_replacements", timeout=60)
    if answer.status_code == 404:
        pytest.skip("not in this host")
    return answer.json()


def test_all_that_is_told_exists(told: list[Any]):
    """Each input that must be there has one source, and any value of it is allowed."""
    from scaling_cache.nodes import NODES
    from scaling_cache.nodes.replacements import mapping

    assert len({one.old for one in told}) == len(told) >= 6
    for one in told:
        assert one.new in NODES
        schema = one.new.define_schema()
        ours = {given.id: given for given in schema.inputs}
        assert [out.get_io_type() for out in schema.outputs][:1] == ["MODEL"]
        entries = {entry["new_id"]: entry for entry in mapping(one)}
        assert len(entries) == len(mapping(one))
        assert {name for name, given in ours.items() if not given.optional} <= set(entries)
        assert set(entries) <= set(ours)
        assert entries.pop("model")["old_id"] == "model"
        for name, entry in entries.items():
            values = (entry.get("set_value"),)
            if "old_id" in entry:
                assert entry["old_id"] in one.widgets
                values = RANGES[entry["old_id"]]
            spec = ours[name].as_dict()
            for value in values:
                allowed = spec.get("options")
                assert type(value) is type(spec["default"]), name
                assert value in allowed if allowed else spec.get("min", 0) <= value
                assert allowed or value <= spec.get("max", 1)


def test_the_page_says_what_is_told(told: list[Any]):
    page = written.PAGE.read_text(encoding="utf-8")
    assert filled(page, written.table()) == page
    tables = migration_tables()
    for one in told:
        name = one.new.define_schema().display_name.removesuffix(" (Scaling Cache)")
        rows = tables[name]
        documented = {pair for there, here in rows for pair in zip(there, here, strict=False)}
        assert {(old, new) for new, old in one.carried.items()} <= documented
        assert set(one.widgets) <= {old for there, _ in rows for old in there}


@pytest.mark.host
def test_the_log_announces_it_where_the_host_replaces(host: Any):
    answer = requests.get(f"{host.server.url}/node_replacements", timeout=60)
    log = host.server.log_text()
    assert ("offered in place of missing nodes of ComfyUI-TeaCache" in log) == answer.ok
    assert "are not replaced" not in log


@pytest.mark.host
def test_the_host_knows_all(host: Any, replaces: dict[str, Any], told: list[Any]):
    ours = {old: found[0]["new_node_id"] for old, found in replaces.items() if old in SAVED}
    assert ours == {o.old: o.new.define_schema().node_id for o in told if o.old in SAVED}
    assert {one.old for one in told} <= set(replaces)


@pytest.mark.host
def test_a_prompt_with_a_missing_node_runs_as_ours(
    host: Any, replaces: dict[str, Any], latent: Any
):
    """The same picture as with our node, and another one than without."""
    window = {"start": 0.2, "end": 0.9}
    theirs = node(
        "ApplyFBCacheOnModel",
        **{"model": ["model", 0], "residual_diff_threshold": 0.5, **window},
        object_to_patch="diffusion_model",
        max_consecutive_cache_hits=-1,
    )
    values = {"residual_diff_threshold": 0.5, "start_percent": 0.2, "end_percent": 0.9}
    ours = node("ScalingFirstBlockCache", model=["model", 0], **values)
    assert latent(with_cache(theirs)) == latent(with_cache(ours)) != latent(build())


@pytest.mark.host
def test_a_node_that_is_there_stays(host: Any, replaces: dict[str, Any], latent: Any):
    """The host has a node of this name, which does nothing."""
    theirs = node("WanVideoTeaCacheKJ", model=["model", 0])
    assert "WanVideoTeaCacheKJ" in replaces
    assert latent(with_cache(theirs)) == latent(build())


def with_cache(cache: dict[str, Any]) -> dict[str, Any]:
    """A workflow with a node before the sampler, as a program that knows the host's format sends it."""
    workflow = build()
    workflow[CACHE] = cache
    workflow[SAMPLER]["inputs"]["model"] = [CACHE, 0]
    return {name: {**one, "_meta": {"title": name}} for name, one in workflow.items()}


# --- the page


def graph(kind: str, values: list[Any]) -> dict[str, Any]:
    """A workflow as the frontend saves it: a model, the node, a sampler."""

    def one(number: int, kind: str, values: list[Any], **slots: Any) -> dict[str, Any]:
        place = {"pos": [400 * number, 100], "size": [300, 200], "flags": {}, "order": number}
        rest = {"mode": 0, "properties": {}, "widgets_values": values, "inputs": [], "outputs": []}
        return {"id": number, "type": kind, **place, **rest, **slots}

    def slot(link: int, key: str = "link") -> list[dict[str, Any]]:
        return [{"name": "model", "type": "MODEL", key: [link] if key == "links" else link}]

    nodes = [
        one(1, "TestTinyModel", [2], outputs=slot(1, "links")),
        one(2, kind, values, inputs=slot(1), outputs=slot(2, "links")),
        one(3, "KSampler", [0, "fixed", 20, 8, "euler", "simple", 1], inputs=slot(2)),
    ]
    links = [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "MODEL"]]
    return {"version": 0.4, "last_node_id": 3, "last_link_id": 2, "nodes": nodes, "links": links}


READ = """() => {
    const {_nodes: nodes, links} = window.app.graph;
    const node = nodes.find((one) => one.id == 2);
    const joined = [...links.values()].map((one) => [Number(one.origin_id), Number(one.target_id)]);
    return {
        type: node.type,
        values: Object.fromEntries(node.widgets?.map((one) => [one.name, one.value]) ?? []),
        joined,
    };
}"""


def open_graph(page: Page, kind: str) -> None:
    page.evaluate("(graph) => window.app.loadGraphData(graph)", graph(kind, SAVED[kind][0]))


@pytest.mark.browser
@pytest.mark.host
@pytest.mark.parametrize("kind", [kind for kind in SAVED if kind != "WanVideoTeaCacheKJ"])
def test_in_the_page_a_missing_node_becomes_ours(page: Page, replaces: dict[str, Any], kind: str):
    open_graph(page, kind)
    page.get_by_text("View details").click()
    assert page.evaluate(READ)["type"] != replaces[kind][0]["new_node_id"], (
        "nothing before the click"
    )
    page.get_by_role("button", name="Replace All").click()
    ours = replaces[kind][0]["new_node_id"]
    page.wait_for_function(f"window.app.graph._nodes.some((one) => one.type == '{ours}')")
    found = page.evaluate(READ)
    assert found["joined"] == [[1, 2], [2, 3]]
    assert SAVED[kind][1].items() <= found["values"].items()


@pytest.mark.browser
@pytest.mark.host
def test_in_the_page_it_can_be_switched_off(page: Page, replaces: dict[str, Any]):
    change = "(on) => window.app.extensionManager.setting.set('Comfy.NodeReplacement.Enabled', on)"
    page.evaluate(change, False)
    try:
        open_graph(page, "TeaCache")
        page.get_by_text("Missing node: TeaCache").wait_for()
        assert page.get_by_role("button", name="Replace All").count() == 0
    finally:
        page.evaluate(change, True)


@pytest.mark.browser
@pytest.mark.host
def test_in_the_page_a_node_that_is_there_stays(page: Page, replaces: dict[str, Any]):
    open_graph(page, "WanVideoTeaCacheKJ")
    page.wait_for_function("window.app.graph._nodes.length == 3")
    page.wait_for_timeout(1500)  # for what should not come
    assert page.evaluate(READ)["type"] == "WanVideoTeaCacheKJ"
    assert page.get_by_text("can be replaced").count() == 0
