"""What a report says, which runs a log keeps, and what their times add up to."""

from __future__ import annotations

import copy

import pytest
from scaling_cache.cache_core.run.report import (
    FinishedRun,
    RunLog,
    RunReport,
    Statistics,
    StepRecord,
    estimated_plain_seconds,
    measured_speedup,
    seconds,
)


def run(times: str = "", sampler: str | None = "3", prompt: str | None = "p", node: str = "1"):
    """A run whose steps take 1 s (c) or nothing (.); the first one takes 5 s more if it is an s."""
    report = RunReport(len(times))
    for step, mark in enumerate(times):
        spent = {"c": 1.0, "s": 6.0, ".": 0.0}[mark]
        record = StepRecord(step, 1.0, "test", None, None, 1, int(mark != "."), spent)
        report.records.append(record)
    return FinishedRun("Test", report, node, sampler, prompt)


def test_a_copy_of_the_model_has_the_same_log():
    log = RunLog()
    assert copy.deepcopy({"options": {"log": log}})["options"]["log"] is log


def test_a_sampler_keeps_the_runs_of_its_last_prompt():
    log = RunLog()
    first, other, again, list_item = run(), run(sampler="4"), run(prompt="q"), run(prompt="q")
    for each in (first, other, again, list_item):
        log.add(each)
    assert log.latest({"3"}) == [again, list_item]
    assert log.latest({"4", "9"}) == [other]
    assert log.latest({"9"}) == [again, list_item]
    assert RunLog().latest({"3"}) == []


def test_what_a_node_expanded_to_counts_as_its_own_of_the_last_prompt():
    """The first time a loop of three, then one of two."""
    log = RunLog()
    for prompt, turns in (("p", 3), ("q", 2)):
        for turn in range(turns):
            log.add(run(sampler=f"5.0.{turn}.1", prompt=prompt))
    log.add(run(sampler="50", prompt="q"))
    first = run(sampler="3", prompt="p")
    log.add(first)
    found = log.latest({"3", "5", "5.0.1.1"})
    assert [(r.sampler, r.prompt) for r in found] == [
        ("5.0.0.1", "q"),
        ("5.0.1.1", "q"),
        ("3", "p"),
    ]


def test_the_text_that_was_said_last_stands_at_the_end():
    statistics = Statistics(lambda *_: None)
    for node, text in (("1", "begins"), ("2", "waits"), ("1", "goes on")):
        statistics.say("p", node, text)
    assert list(statistics.of("p")["texts"].items()) == [("2", "waits"), ("1", "goes on")]


def test_scripts_have_no_prompt_and_keep_the_last_run():
    log = RunLog()
    log.add(run(sampler=None, prompt=None))
    last = run(sampler=None, prompt=None)
    log.add(last)
    assert log.latest() == [last]


def test_a_log_does_not_grow_without_end():
    log = RunLog()
    for number in range(100):
        log.add(run(sampler=str(number), prompt="p"))
    assert len(log.latest()) == 64


def test_two_caches_on_one_model_see_the_same_time():
    assert seconds([run("cc.c"), run("cc.c", node="2")]) == 3
    assert seconds([run("cc.c"), run("cc.c", sampler="4")]) == 6
    assert seconds([run("cc.c"), run("cc.c")]) == 6, "two runs of one sampler"


def test_the_estimate_counts_computed_steps():
    assert estimated_plain_seconds([run("cc.c")]) == pytest.approx(4)


@pytest.mark.parametrize(
    ("cached", "plain"), [("sc..", "cccc"), ("cc..", "sccc"), ("cc..", "cccc")]
)
def test_who_comes_first_does_not_pay_for_loading(cached: str, plain: str):
    assert measured_speedup([run(cached)], [run(plain)]) == pytest.approx(2)


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="reference_model: no time was measured"):
        measured_speedup([run("cc")], [run("")])


def test_as_json():
    facts = run("cc.c").as_dict()
    assert (facts["method"], facts["node"], facts["sampler"]) == ("Test", "1", "3")
    assert facts["computed_steps"] == [0, 1, 3]
    refused = FinishedRun("Not cached", RunReport(0), refused="too short").as_dict()
    assert refused["refused"] == "too short"
    assert "steps" not in refused


# --- one run


def report(seconds: list[tuple[bool, float]]) -> RunReport:
    out = RunReport(len(seconds))
    for step, (computed, time) in enumerate(seconds):
        out.records.append(StepRecord(step, 1.0, "why", None, None, 1, int(computed), time))
    return out


def test_speedup_is_plain_time_over_measured_time():
    # The first step also loads the model: it counts the same in both.
    out = report([(True, 5.0), (True, 1.0), (False, 0.0), (True, 1.0), (False, 0.0)])
    assert (out.computed, out.evaluations) == (3, 5)
    assert out.speedup == pytest.approx((5 + 4) / (5 + 2))
    assert out.seconds == 7
    assert out.summary().startswith("computed 3 of 5 evaluations, about 1.29x")


def test_a_report_of_nothing():
    assert RunReport(10).speedup == 1.0
    assert RunReport(10).summary() == "nothing was sampled"


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (["always computed", "threshold reached", "threshold reached"], "threshold reached"),
        (["always computed"] * 3, "by the settings"),
        (["no cache"] * 3, ""),
    ],
)
def test_a_run_without_predictions_says_why(why: list[str], said: str):
    out = report([(True, 1.0)] * 3)
    for record, reason in zip(out.records, why, strict=True):
        record.reason = reason
    assert out.sentences == ([f"Every step was computed: {said}"] if said else [])
    assert out.as_dict()["notes"] == out.sentences
    out.planned_steps = 4
    assert out.sentences == [], "it goes on, or was stopped"
    out.planned_steps = 3
    out.note("Why")
    assert out.sentences == ["Why"]
    out.notes.clear()
    out.records[1].computed = 0
    assert out.sentences == []


def test_notes_are_said_once():
    out = report([(True, 1.0)])
    out.note("Once")
    out.note("Once")
    assert out.summary().count("Once") == 1
