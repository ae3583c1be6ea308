"""What can go wrong in a running host goes no further than it would without the pack."""

from __future__ import annotations

import re

import pytest

from demo.host.client import PromptRefused
from testbed.coefficient_folder import coefficient_file

CACHE, SAMPLER = "cache", "sampler"
pytestmark = pytest.mark.host


# --- the node does nothing when it is off


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "heun"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_at_1x_and_in_error_budget_0_the_latent_is_the_hosts_own(workflow, latent, sampler, cfg):
    plain = latent(workflow(sampler=sampler, cfg=cfg))
    assert latent(workflow(cache={"speedup": 1.0}, sampler=sampler, cfg=cfg)) == plain
    budget = {"mode": "error budget", "budget": 0.0}
    assert latent(workflow(cache=budget, sampler=sampler, cfg=cfg)) == plain
    assert latent(workflow(cache={"speedup": 2.0}, sampler=sampler, cfg=cfg)) != plain
    assert latent(workflow(sampler=sampler, cfg=cfg, seed=1)) == plain


# --- bad input


@pytest.mark.parametrize(
    ("cache", "field", "allowed"),
    [
        ({"speedup": 6.5}, "speedup", "6.0"),
        ({"speedup": 0.5}, "speedup", "1.0"),
        ({"warmup": -1}, "warmup", "0"),
        ({"computed_steps": "abc"}, "computed_steps", "abc"),
    ],
)
def test_bad_settings_are_refused_by_name(host, workflow, cache, field, allowed):
    with pytest.raises(PromptRefused) as refused:
        host.client.run(workflow(cache=cache))
    (error,) = refused.value.details["node_errors"][CACHE]["errors"]
    assert error["extra_info"]["input_name"] == field
    assert allowed in str(error)


@pytest.mark.parametrize(
    ("cache", "field", "allowed"),
    [
        ({"mode": "warp"}, "mode", "error budget"),
        ({"predictor": "magic"}, "predictor", "scaling"),
        ({"few_steps": "many"}, "few_steps", "middle blocks"),
    ],
)
def test_a_choice_that_there_is_none_of_is_named(host, workflow, cache, field, allowed):
    """Newer hosts refuse it before anything runs; with the others the node fails before it samples."""
    try:
        outcome = host.client.run(workflow(cache=cache))
    except PromptRefused as refused:
        (error,) = refused.details["node_errors"][CACHE]["errors"]
        assert error["extra_info"]["input_name"] == field
        assert allowed in str(error)
        return
    assert outcome.status == "error"
    failed = outcome.messages[-1][2]
    assert failed["node_id"] == CACHE
    assert failed["exception_message"].startswith(f"{field}: must be one of ")
    assert allowed in failed["exception_message"]


def test_a_file_that_is_gone_is_named(host, workflow):
    """The same, but a run does without it."""
    try:
        outcome = host.client.run(workflow(cache={"coefficients": "gone.safetensors"}))
    except PromptRefused as refused:
        (error,) = refused.details["node_errors"][CACHE]["errors"]
        assert error["extra_info"]["input_name"] == "coefficients"
        return
    assert outcome.status == "success"
    assert "coefficients: gone.safetensors is gone" in outcome.text_of(CACHE)


def test_start_above_end_names_the_field(host, workflow):
    outcome = host.client.run(workflow(cache={"start_percent": 0.8, "end_percent": 0.2}))
    assert outcome.status == "error"
    assert "start_percent" in outcome.messages[-1][2]["exception_message"]


def test_a_file_for_another_model_is_named_and_left_alone(host, workflow, latent, coefficients):
    coefficient_file(coefficients / "other.safetensors", "another model")
    chosen = workflow(cache={"predictor": "least squares", "coefficients": "other.safetensors"})
    outcome = host.client.run(chosen)
    assert outcome.status == "success"
    assert "made for another model (Flux)" in outcome.text_of(CACHE)
    assert "learned during the run" in outcome.text_of(CACHE)
    auto = host.client.run(workflow(cache={"predictor": "least squares", "coefficients": "auto"}))
    assert "another model" not in auto.text_of(CACHE)


def test_a_damaged_file_is_named_and_left_alone(host, workflow, coefficients):
    (coefficients / "broken.safetensors").write_bytes(b"not at all")
    outcome = host.client.run(
        workflow(cache={"predictor": "least squares", "coefficients": "broken.safetensors"})
    )
    assert outcome.status == "success"
    assert "broken.safetensors is damaged" in outcome.text_of(CACHE)


# --- faults in mid-run


@pytest.fixture
def reference(workflow, latent) -> bytes:
    """A cached run before the fault; the latent after it must be the same."""
    return latent(workflow(cache={}, seed=77))


@pytest.mark.parametrize("step", [0, 5, 6, 15])
def test_an_exception_in_the_model_is_the_hosts_and_leaves_nothing(
    host, workflow, latent, reference, step
):
    outcome = host.client.run(workflow(cache={}, fault={"fault": "raise", "step": step}))
    assert outcome.status == "error"
    message = outcome.messages[-1][2]
    assert message["node_id"] == SAMPLER
    assert "injected" in message["exception_message"]
    assert latent(workflow(cache={}, seed=77)) == reference


def test_nan_is_said_and_leaves_nothing(host, workflow, latent, reference):
    outcome = host.client.run(workflow(cache={}, fault={"fault": "nan", "step": 5}))
    assert outcome.status == "success", "the host alone does not fail on it either"
    assert "not finite" in outcome.text_of(CACHE)
    assert latent(workflow(cache={}, seed=77)) == reference


def test_interrupt_leaves_nothing(host, workflow, latent, reference):
    def cancel(kind: str, data: dict) -> None:
        if kind == "progress" and data.get("value", 0) >= 6:
            host.client.interrupt()

    slow = workflow(cache={}, fault={"fault": "slow"}, seed=78)
    outcome = host.client.run(slow, on_message=cancel)
    assert outcome.status == "interrupted"
    assert latent(workflow(cache={}, seed=77)) == reference


def test_size_and_batch_may_change_from_run_to_run(host, workflow, latent, reference):
    for change in ({"size": 96}, {"batch": 3}, {"steps": 30}, {"size": 32, "batch": 2}):
        outcome = host.client.run(workflow(cache={}, **change))
        assert outcome.status == "success"
        assert "Caching stopped" not in outcome.text_of(CACHE)
    assert latent(workflow(cache={}, seed=77)) == reference


def test_a_queue_of_twenty_prompts_with_changing_settings(host, workflow, latent):
    """Each gives what it gives in another order, whatever came before it and failed in between."""
    prompts = [
        workflow(),
        workflow(cache={}),
        workflow(cache={"speedup": 3.0}, steps=20),
        workflow(cache={"mode": "error budget", "budget": 0.1}),
        workflow(cache={}, cfg=1.0),
        workflow(cache={}, sampler="heun"),
        workflow(cache={}, batch=2, size=32),
        workflow(cache={"predictor": "order 2"}, sampler="dpmpp_2m"),
        workflow(cache={}, sampler="euler_ancestral", seed=3),
        workflow(cache={"end_percent": 0.5}, layers=3),
    ]
    forwards = [latent(prompt) for prompt in prompts]
    broken = host.client.run(workflow(cache={}, fault={"fault": "raise", "step": 9}))
    assert broken.status == "error"
    backwards = [latent(prompt) for prompt in reversed(prompts)]
    assert forwards == backwards[::-1]


# --- what the user sees


def test_progress_while_sampling_and_a_summary_after(host, workflow):
    outcome = host.client.run(workflow(cache={}, fault={"fault": "slow"}, steps=10))
    texts = [text for at, text in outcome.texts if at == CACHE]
    runs = [data for _, kind, data in outcome.messages if kind == "scaling_cache.run"]
    assert any(run["left"] and sum(run["counts"]) for run in runs if run["state"] == "running")
    assert (runs[-1]["asked"], runs[-1]["state"]) == (2.0, "done")
    assert texts[-1].startswith("Scaling Cache: computed 8 of 10 evaluations")
    assert re.search(r"\d m?s per computed step, [\d.]+ m?s per predicted step", texts[-1])
    in_one_line = texts[-1].replace("\n", ". ")
    assert f"[Scaling Cache] {in_one_line}" in host.server.log_text()


def test_under_4_steps_it_steps_aside_and_says_so(host, workflow, latent):
    outcome = host.client.run(workflow(cache={}, steps=3))
    assert "fewer than 4" in outcome.text_of(CACHE)
    assert latent(workflow(cache={}, steps=2)) == latent(workflow(steps=2))


def test_at_few_steps_middle_blocks_are_left_out_where_asked_or_nothing(host, workflow, latent):
    inside = {"few_steps": "middle blocks"}
    outcome = host.client.run(workflow(cache=inside, steps=6, layers=4))
    assert "50% of the blocks are left out at step 1, 3, 1.20x at most" in outcome.text_of(CACHE)
    assert latent(workflow(cache={}, steps=6)) == latent(workflow(steps=6))


def test_next_to_the_hosts_own_cache_it_steps_aside_by_name(host, workflow):
    prompt = workflow(cache={})
    prompt["easy"] = {
        "class_type": "EasyCache",
        "inputs": {
            "model": [CACHE, 0],
            "reuse_threshold": 0.2,
            "start_percent": 0.15,
            "end_percent": 0.95,
            "verbose": False,
        },
    }
    prompt[SAMPLER]["inputs"]["model"] = ["easy", 0]
    outcome = host.client.run(prompt)
    assert outcome.status == "success"
    assert "EasyCache" in outcome.text_of(CACHE)


def test_a_demo_prompt_with_an_unknown_word_names_the_allowed_ones(host, workflow):
    prompt = workflow()
    prompt["positive"]["inputs"]["text"] = "red elephant left night"
    with pytest.raises(PromptRefused, match=r"elephant.*allowed are red, green"):
        host.client.run(prompt)
