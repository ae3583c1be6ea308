"""What goes together, and the table of methods in the docs."""

from __future__ import annotations

import itertools

import pytest
from scaling_cache.cache_core.methods import METHODS, DeepCache
from scaling_cache.cache_core.methods.combinations import (
    AUTO,
    BLOCK_PREDICTORS,
    GRANULARITIES,
    METHOD_NAMES,
    PREDICTORS,
    STEP_PREDICTORS,
    Granularity,
    choose,
    granularities,
    predictors,
    why_not_inside,
)

from docs.method_table import BLOCK_METHODS, PAGE, filled


def test_each_combination_is_either_offered_or_refused_with_a_reason():
    refused = 0
    for method, level, predictor in itertools.product(METHOD_NAMES, GRANULARITIES, PREDICTORS):
        levels = granularities(method) if level == AUTO else (Granularity(level),)
        offered = any(
            g in granularities(method) and predictor in (AUTO, *predictors(method, g))
            for g in levels
        )
        if offered:
            assert choose(method, level, predictor) in levels
            continue
        refused += 1
        with pytest.raises(ValueError, match=r"^(granularity|predictor): .* must be "):
            choose(method, level, predictor)
    assert refused > 100


def test_offered_predictors_exist():
    for method in METHOD_NAMES:
        for level in granularities(method):
            known = STEP_PREDICTORS if level is Granularity.STEP else BLOCK_PREDICTORS
            assert set(predictors(method, level)) <= set(known)
            assert predictors(method, level)


def test_alignment_needs_first_blocks():
    aligned = {m for m in METHOD_NAMES if "alignment" in predictors(m, Granularity.BLOCKS)} - {
        "Scaling Cache",
        "EasyCache",
        "LazyCache",
    }
    probing = {m.name for m in BLOCK_METHODS if m.signal.is_probe}
    assert aligned == probing


def test_taylorseer_works_on_both_levels():
    assert choose("TaylorSeer", AUTO, AUTO) is Granularity.STEP
    assert choose("TaylorSeer", "blocks", "Taylor 2") is Granularity.BLOCKS
    with pytest.raises(ValueError, match="not TaylorSeer's"):
        choose("TaylorSeer", AUTO, "scaling")


def test_deepcache_predicts_what_it_kept_by_repeating_or_by_differences():
    allowed = predictors("DeepCache", Granularity.BLOCKS)
    assert allowed == ("reuse", "Taylor 1", "Taylor 2", "Taylor 3")


@pytest.mark.parametrize("method", METHODS)
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
        choose(**chosen)


def test_the_table_of_methods_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page
    assert {type(m).__name__ for m in BLOCK_METHODS} == {m.__name__ for m in METHODS}
