"""Methods whose steps are searched before a run, against their published rules written again, and the
schedules that others searched on real models."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st
from numpy.typing import NDArray
from scaling_cache.cache_core.calibration.files import CoefficientError
from scaling_cache.cache_core.calibration.published import load_schedules
from scaling_cache.cache_core.methods import BudCache, MeanCache, PublishedSchedule, SmoothCache
from scaling_cache.cache_core.methods.base import Inputs, Model
from scaling_cache.cache_core.methods.budcache import searched
from scaling_cache.cache_core.methods.meancache import SPANS, MeanVelocity, edge_costs
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.planning.optimiser import target_steps
from scaling_cache.cache_core.predict.predictors import Known, Now

from docs import schedules_page
from docs.method_table import filled

from .helpers import computed_steps, flow, plan_of, run_of, traits

SCHEDULES = Path(__file__).parents[2] / "coefficients" / "schedules.json"
STEPS = 20
Floats = NDArray[np.float64]


def outputs(seed: int, steps: int = STEPS) -> Floats:
    """Outputs that bend [steps, 6]."""
    return np.random.default_rng(seed).normal(size=(steps, 6)).cumsum(0) + 3


def table_of(values: Floats, sigmas: tuple[float, ...]) -> GramTable:
    return GramTable(np.array(sigmas[:-1]), (values @ values.T)[None])


def missed(values: Floats, widths: Floats, computed: tuple[int, ...]) -> float:
    """Squared error of the result where the last output is repeated."""
    last = [max(one for one in computed if one <= step) for step in range(len(values))]
    return float(np.square(widths @ (values - values[last])).sum())


@cases(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.integers(5, 12))
def test_budcache_searches_the_steps_that_change_the_result_least(seed: int, budget: int):
    values, sigmas = outputs(seed), flow(STEPS)[0]
    widths, forced = np.diff(sigmas), frozenset({0, 1, STEPS - 1})
    start = (*range(budget - 1), STEPS - 1)
    found = searched(values @ values.T, widths, start, forced)
    assert len(found) == len(set(found)) == len(start)
    assert list(found) == sorted(found)
    assert forced <= set(found)
    least = missed(values, widths, found)
    assert least <= missed(values, widths, start)
    for place, step in enumerate(found):
        for to in {step + hop for hop in range(-3, 4)} - set(found):
            between = found[max(place - 1, 0)] < to < (*found, STEPS)[place + 1]
            if step not in forced and between:
                moved = tuple(sorted({*found} - {step} | {to}))
                assert missed(values, widths, moved) >= least * (1 - 1e-9)


def rule(values: Floats, sigmas: Floats, step: int, span: int) -> Floats:
    """MeanCache's velocity of a step from all that was used before it."""
    latents = np.concatenate([[np.zeros(6)], np.cumsum(np.diff(sigmas)[:, None] * values, 0)])
    back = min(span, step)
    way = sigmas[step] - sigmas[step - back]
    mean = (latents[step] - latents[step - back]) / way
    change = (mean - values[step - back]) / way
    return values[step - 1] + (sigmas[step + 1] - sigmas[step]) * change


@given(st.integers(0, 99), st.sets(st.integers(3, STEPS - 1), max_size=9))
def test_meancache_corrects_by_the_mean_of_the_steps_before(seed: int, more: set[int]):
    """As its code does, which takes what it predicted itself for computed."""
    computed = {0, 1, 2, *more}
    sigmas = np.array(flow(STEPS)[0])
    spans = tuple(np.random.default_rng(seed).choice(SPANS, STEPS).tolist())
    used = outputs(seed)
    past: list[Known] = []
    for step in range(8):
        if step in computed:
            past.insert(0, Known(step, sigmas[step]))
            continue
        weights = MeanVelocity(tuple(sigmas), spans).weights(past, Now(step))
        assert sum(weights) == pytest.approx(1)
        span = min(spans[step], step)
        used[step] = rule(used, sigmas, step, span) if span > 1 else used[step - 1]
        known = used[[at.step for at in past]]
        np.testing.assert_allclose(np.array(weights) @ known, used[step], atol=1e-6)


def test_meancache_takes_the_path_whose_peaks_are_lowest():
    steps, wanted = 10, 5
    sigmas = np.array(flow(steps)[0])
    values, widths = outputs(3, steps), np.diff(flow(steps)[0])
    latents = np.concatenate([[np.zeros(6)], np.cumsum(widths[:, None] * values, 0)])

    def cost(last: int, end: int) -> float:
        if end == last + 1:
            return 0.0
        ahead = sigmas[end] - sigmas[last]
        true = (latents[end] - latents[last]) / ahead
        found = [float(np.linalg.norm(true - values[last]))]
        for span in range(2, min(SPANS[-1], last) + 1):
            way = sigmas[last] - sigmas[last - span]
            mean = (latents[last] - latents[last - span]) / way
            change = (mean - values[last - span]) / way
            found.append(float(np.linalg.norm(true - values[last] - ahead * change)))
        return min(found)

    costs = edge_costs(values @ values.T, widths).min(0)
    for last in range(steps):
        for hop in range(1, steps - last):
            assert costs[last, hop] == pytest.approx(cost(last, last + hop), abs=1e-6)
    paths = [(0, *inner, steps - 1) for inner in combinations(range(1, steps - 1), wanted - 2)]
    best = min(paths, key=lambda path: sum(cost(a, b) ** 4 for a, b in pairwise(path)))
    table = table_of(values, flow(steps)[0])
    plan = plan_of(sigmas.tolist(), None, traits(steps), table=table)
    policy = run_of(MeanCache(2.0, warmup=1), plan).policy
    assert computed_steps(policy, steps) == list(best)


@pytest.mark.parametrize("kind", [BudCache, MeanCache])
def test_they_compute_as_many_steps_as_asked_or_say_what_they_need(kind: type):
    sigmas = flow(STEPS)[0]
    table = table_of(outputs(1), sigmas)
    for speedup in (1.5, 2.0, 3.0):
        run = run_of(kind(speedup, warmup=3), plan_of(sigmas, table=table))
        chosen = computed_steps(run.policy, STEPS)
        assert len(chosen) == target_steps(STEPS, speedup)
        assert {0, 1, 2, STEPS - 1} <= set(chosen)
    run = run_of(kind(2.0), plan_of(sigmas))
    assert computed_steps(run.policy, STEPS) == list(range(STEPS))
    assert "Calibrate Cache" in run.close().summary()


class Read(GramTable):
    """A table that counts how often the products of a whole run are taken from it."""

    times: ClassVar[list[int]] = []

    def on(self, sigmas: Any) -> Floats:
        self.times.append(len(sigmas))
        return super().on(sigmas)


@pytest.mark.parametrize("kind", [BudCache, MeanCache, SmoothCache])
def test_a_run_searches_once(kind: type):
    sigmas = flow(STEPS)[0]
    known = table_of(outputs(1), sigmas)
    Read.times.clear()
    run_of(kind(), plan_of(sigmas, table=Read(known.sigmas, known.gram)))
    assert Read.times == [STEPS]


LISTS = tuple((*range(0, 50, hop), 49) for hop in (2, 4, 8))


@pytest.mark.parametrize(("speedup", "hop"), [(1.9, 2), (2.5, 2), (3.9, 4), (6.0, 8)])
def test_the_published_list_that_is_nearest_is_taken(speedup: float, hop: int):
    run = run_of(PublishedSchedule(speedup, LISTS), 50)
    assert computed_steps(run.policy, 50) == [*range(0, 50, hop), 49]
    assert ("the nearest to" in run.report.summary()) is (speedup != 1.9)


def test_a_published_list_is_taken_over_in_proportion():
    run = run_of(PublishedSchedule(2.0, ((0, 1, 2, 7, 9),)), 19)
    assert computed_steps(run.policy, 19) == [0, 2, 4, 14, 18]
    assert "searched on 10 steps" in run.report.summary()


def test_an_unknown_list_is_refused():
    model = Model(schedules={"a model, a method": LISTS})
    found = PublishedSchedule.from_inputs(Inputs(schedule="a model, a method"), model)
    assert isinstance(found, PublishedSchedule)
    assert found.lists == LISTS
    with pytest.raises(ValueError, match=r"^schedule: must be one of a model, a method, got 'x'"):
        PublishedSchedule.from_inputs(Inputs(schedule="x"), model)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda entry: entry.pop("shift"), "shift"),
        (lambda entry: entry["computed"][0].insert(0, 3), "computed"),
        (lambda entry: entry.update(computed=[[1, 4]]), "step 0"),
        (lambda entry: entry.update(computed=[]), "step 0"),
    ],
)
def test_a_damaged_file_of_schedules_says_what_is_wrong(spoil, said: str, tmp_path: Path):
    raw = json.loads(SCHEDULES.read_text())
    spoil(raw["entries"][0])
    path = tmp_path / "schedules.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(CoefficientError, match=said):
        load_schedules(path)


@pytest.fixture(scope="module")
def beside() -> list[schedules_page.Compared]:
    return schedules_page.compared()


def test_the_packs_choice_is_near_what_was_searched_for_repeating(
    beside: list[schedules_page.Compared],
):
    """Nearer than even spacing and chance on every model and count, and on pictures by far."""
    for row in beside:
        assert len(row.ours) == len(row.steps), row.found.key
        if row.found.method == "DPCache":
            continue
        share = 0.7 if row.found.model in schedules_page.VIDEO else 0.6
        share = 0.45 if row.found.key == "FLUX.1-dev, BudCache" else share
        assert row.shift < share * min(row.even, row.random), (row.found.key, len(row.steps))


def test_the_packs_choice_lies_between_repeating_and_forecasting(
    beside: list[schedules_page.Compared],
):
    """In the mean of three counts."""
    for model in ("FLUX.1-dev", "Qwen-Image"):
        rows = [row for row in beside if row.found.model == model]
        ours = np.mean([np.mean(row.ours) for row in rows if row.found.method == "DPCache"])
        repeated, forecast = (
            np.mean([np.mean(row.steps) for row in rows if row.found.method == method])
            for method in ("MeanCache", "DPCache")
        )
        assert repeated < ours < forecast, model


def test_the_page_of_published_schedules_is_up_to_date():
    page = schedules_page.PAGE.read_text(encoding="utf-8")
    assert filled(page, schedules_page.table()) == page
