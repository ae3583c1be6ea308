"""What goes together, and the table of methods in the docs."""

from __future__ import annotations

import itertools

import pytest
from scaling_cache.cache_core.methods import (
    METHODS,
    DeepCache,
    Level,
    Method,
    StepTaylorSeer,
    TaylorSeer,
)
from scaling_cache.cache_core.methods.combinations import (
    AUTO,
    GRANULARITIES,
    METHOD_NAMES,
    PREDICTOR_NAMES,
    PREDICTORS,
    choose,
    levels,
    predictors,
    why_not_inside,
)

from docs.method_table import PAGE, filled, table

from .helpers import MODEL

BLOCK_METHODS = tuple(m.example(False, 20, MODEL) for m in METHODS if m.level is Level.BLOCKS)


def test_each_combination_is_either_offered_or_refused_with_a_reason():
    refused = 0
    for method, level, predictor in itertools.product(METHOD_NAMES, GRANULARITIES, PREDICTOR_NAMES):
        wanted = levels(method) if level == AUTO else (Level(level),)
        offered = any(
            g in levels(method) and predictor in (AUTO, *predictors(method, g)) for g in wanted
        )
        if offered:
            chosen = choose(method, level, predictor)
            assert chosen.name == method
            assert chosen.level in wanted
            assert predictor == AUTO or chosen.allows(PREDICTORS[predictor])
            continue
        refused += 1
        with pytest.raises(ValueError, match=r"^(granularity|predictor): .* must be "):
            choose(method, level, predictor)
    assert refused > 100


def test_offered_predictors_exist():
    for method in METHOD_NAMES:
        assert levels(method)
        for level in levels(method):
            on_steps = level is Level.STEP
            known = {n for n, p in PREDICTORS.items() if (p.outside if on_steps else p.inside)}
            assert set(predictors(method, level)) <= known
            assert predictors(method, level)


def test_alignment_needs_first_blocks():
    offered = {(m, level) for m in METHOD_NAMES for level in levels(m)}
    aligned = {(m, level) for m, level in offered if "alignment" in predictors(m, level)}
    probing = {(m.name, Level.BLOCKS) for m in BLOCK_METHODS if m.signal.is_probe}
    assert aligned == probing
    assert {m.name for m in BLOCK_METHODS if m.probes} == {name for name, _ in probing}
    assert len(probing) == 3


def test_taylorseer_works_on_both_levels():
    assert choose("TaylorSeer", AUTO, AUTO) is StepTaylorSeer
    assert choose("TaylorSeer", "blocks", "Taylor 2") is TaylorSeer
    with pytest.raises(ValueError, match="not TaylorSeer's"):
        choose("TaylorSeer", AUTO, "scaling")


def test_deepcache_predicts_what_it_kept_by_repeating_or_by_differences():
    allowed = predictors("DeepCache", Level.BLOCKS)
    assert allowed == ("reuse", "Taylor 1", "Taylor 2", "Taylor 3")


@pytest.mark.parametrize("method", [m for m in METHODS if m.level is Level.BLOCKS])
def test_each_method_is_for_unets_or_for_transformers(method):
    fitting, other = (True, False) if method is DeepCache else (False, True)
    assert why_not_inside(method, fitting) == ""
    why = why_not_inside(method, other)
    assert why.startswith(f"{method.name} is for ")
    assert "DeepCache" in why


@pytest.mark.parametrize("field", ["method", "granularity", "predictor"])
def test_unknown_names_are_refused_with_what_is_allowed(field: str):
    chosen = {"method": "TeaCache", "granularity": AUTO, "predictor": AUTO, field: "nothing"}
    with pytest.raises(ValueError, match=f"^{field}: must be one of .*, got 'nothing'"):
        choose(*chosen.values())


def test_the_table_of_methods_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, table()) == page
    lines = table().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {m.name}" for m in METHODS]
    assert all(len(line.split(" | ")) == len(lines[0].split(" | ")) for line in lines)
    assert all("page" in vars(method) for method in METHODS), "each says its own"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("everything", [True, False])
def test_every_method_has_an_example_for_runs_of_any_length(
    method: type[Method], steps: int, everything: bool
):
    method.example(everything, steps, MODEL)  # which checks its own settings
