"""Messages for the live view as a running host sends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

EVENT = "scaling_cache.run"
CACHE = "cache"
MOST = 2000
pytestmark = pytest.mark.host


def told(outcome: Any) -> list[dict[str, Any]]:
    return [data for _, kind, data in outcome.messages if kind == EVENT]


def test_a_run_is_told_in_small_pieces_and_whole_at_the_end(host, workflow):
    outcome = host.client.run(workflow(cache={}, fault={"fault": "slow"}, steps=20))
    messages = told(outcome)
    first, *between, last = messages
    assert (first["state"], first["steps"], first["rows"]) == ("running", 20, [])
    assert len(between) > 3
    assert [m["state"] for m in between] == ["running"] * len(between)
    assert {(m["prompt_id"], m["node"], m["run"]) for m in messages} == {
        (outcome.prompt_id, CACHE, first["run"])
    }
    assert all(len(json.dumps(m)) < MOST for m in messages[:-1])
    assert last["state"] == "done"
    assert [row[0] for row in last["rows"]] == list(range(20))
    steps = [row[0] for m in between for row in m["rows"]]
    assert steps == list(range(len(steps)))
    computed = [row[0] for row in last["rows"] if row[2]]
    assert outcome.text_of(CACHE).startswith(f"Scaling Cache: computed {len(computed)} of 20")
    assert [last["reasons"][row[3]] == "scheduled" for row in last["rows"]] == [
        row[0] in computed for row in last["rows"]
    ]
    assert last["seconds"] > 1


def test_at_most_a_few_messages_per_second(host, workflow):
    outcome = host.client.run(workflow(cache={}, fault={"fault": "slow"}, steps=20, seed=41))
    times = [at for at, kind, _ in outcome.messages if kind == EVENT]
    # The first and the last one are not throttled.
    assert 5 < len(times) <= 2 + (times[-1] - times[0]) / 0.25 + 1


def test_fifty_steps(host, workflow):
    *pieces, last = told(host.client.run(workflow(cache={}, steps=50, seed=43)))
    assert all(len(json.dumps(m)) < MOST for m in pieces)
    assert len(last["rows"]) == 50


def test_every_prompt_and_run_has_its_own_number(host, workflow):
    first, second = (host.client.run(workflow(cache={}, steps=10, seed=s)) for s in (31, 32))
    assert first.prompt_id != second.prompt_id
    assert told(first)[-1]["run"] < told(second)[0]["run"]


def test_the_reason_for_not_caching(host, workflow):
    outcome = host.client.run(workflow(cache={}, steps=3))
    (message,) = told(outcome)
    assert (message["state"], message["node"]) == ("refused", CACHE)
    assert f"Not cached. {message['reason']}" == outcome.text_of(CACHE)


def cache_node(host: Any, kind: str) -> dict[str, Any]:
    """A node with all its defaults on the tiny model."""
    fields = host.client.get(f"/object_info/{kind}")[kind]["input"]["required"]
    inputs = {name: default(spec) for name, spec in fields.items() if name != "model"}
    return {"class_type": kind, "inputs": {**inputs, "model": ["model", 0]}}


def default(spec: list[Any]) -> Any:
    return spec[1]["default"] if "default" in spec[1] else spec[0][0]


def test_a_node_that_does_not_fit_the_model_says_so_when_it_runs(host, workflow):
    prompt = workflow(cache={}, steps=10)
    prompt[CACHE] = cache_node(host, "ScalingMagCache")
    outcome = host.client.run(prompt)
    assert outcome.status == "success"
    (message,) = told(outcome)
    assert (message["state"], message["prompt_id"]) == ("refused", outcome.prompt_id)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("ScalingCache", {"speedup": 1.0}),
        ("ScalingCfgCache", {"interval": 1}),
        ("ScalingBranchCache", {"enabled": False}),
        ("ScalingStepCacheAdvanced", {"speedup": 1.0}),
    ],
)
def test_a_node_that_is_switched_off_says_so(host, workflow, kind, inputs):
    prompt = workflow(cache={}, steps=8, seed=47)
    prompt[CACHE] = cache_node(host, kind)
    prompt[CACHE]["inputs"].update(inputs)
    messages = told(host.client.run(prompt))
    assert {(message["state"], message["node"]) for message in messages} == {("off", CACHE)}
    # Only while it samples does it say so, for the views that wait.
    assert messages[1]["caption"].startswith("plain run first: ")
    assert "caption" not in messages[-1]


def test_a_run_that_fails_tells_the_steps_it_had(host, workflow):
    outcome = host.client.run(workflow(cache={}, fault={"fault": "raise"}, seed=42))
    assert outcome.status == "error"
    last = told(outcome)[-1]
    assert last["state"] == "stopped"
    assert 5 < len(last["rows"]) < last["steps"]


def test_methods_with_an_estimate_tell_it_with_its_limit(host, workflow):
    budget = {"mode": "error budget", "budget": 0.5}
    last = told(host.client.run(workflow(cache=budget, steps=30)))[-1]
    estimates = [row for row in last["rows"] if row[4] is not None]
    assert len(estimates) > 5
    for _, _, computed, reason, error, limit in estimates:
        assert (error > limit) == bool(computed), last["reasons"][reason]


def test_a_cache_of_blocks_tells_what_it_compared(host, workflow):
    prompt = workflow(cache={}, steps=20)
    prompt[CACHE] = cache_node(host, "ScalingFirstBlockCache")
    last = told(host.client.run(prompt))[-1]
    assert last["name"] == "First Block Cache"
    compared = [row for row in last["rows"] if row[4] is not None]
    assert len(compared) > 10
    assert all(row[4] < row[5] for row in compared if not row[2])


def test_two_nodes_with_the_same_inputs_are_told_apart(host, workflow):
    prompt = workflow(cache={}, steps=10, seed=44)
    for name in (CACHE, "sampler", "save"):
        prompt[f"{name}2"] = {**prompt[name], "inputs": dict(prompt[name]["inputs"])}
    prompt["sampler2"]["inputs"].update(model=[f"{CACHE}2", 0], seed=45)
    prompt["save2"]["inputs"]["samples"] = ["sampler2", 0]
    messages = told(host.client.run(prompt))
    assert {m["node"] for m in messages if m["state"] == "done"} == {CACHE, f"{CACHE}2"}


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"extra_pnginfo": {"workflow": {"id": "w", "nodes": []}}}, "w"),
        ({"extra_pnginfo": {"workflow": "not a workflow"}}, None),
        ({"extra_pnginfo": None}, None),
        (None, None),
    ],
)
def test_the_workflow_is_named_where_the_client_sent_one(host, workflow, sent, found):
    prompt = workflow(cache={}, steps=8, seed=46 + len(str(sent)))
    outcome = host.client.run(prompt, extra_data=sent)
    assert outcome.status == "success"
    assert [m["workflow"] for m in told(outcome)] == [found] * len(told(outcome))
    assert len(told(outcome)) >= 2
