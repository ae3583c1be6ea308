"""The product calls hosts as they take it, also those that are not at hand: by facts kept of each."""

from __future__ import annotations

import json

import pytest

from benchmarks.signatures import FOLDER, Use, misfit, uses

HOSTS = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_takes_what_the_product_calls(host: str):
    """Names that the facts lack are new in the code: `python -m benchmarks.signatures` writes them."""
    taken = json.loads((FOLDER / f"{host}.json").read_text(encoding="utf-8"))
    found = uses()
    assert {use.name for use in found} == set(taken)
    assert not [why for use in found if (why := misfit(use, taken[use.name]))]


def test_today_s_host_is_among_them():
    assert {"0.3.75", "0.33.0"} <= set(HOSTS)


@pytest.mark.parametrize(
    ("positional", "keywords", "taken", "why"),
    [
        (1, (), ["a"], ""),
        (1, ("c",), ["a", "b=", "!c="], ""),
        (3, ("z",), ["a", "*rest", "**more"], ""),
        (0, (), None, "no f"),
        (2, (), ["a", "!b="], "takes 1 arguments, not 2"),
        (1, ("z",), ["a"], "has no argument z"),
        (1, (), ["a", "b", "!c"], "needs b, c"),
        (None, (), ["a"], ""),
    ],
)
def test_a_call_that_does_not_fit_is_told(
    positional: int | None, keywords: tuple[str, ...], taken: list[str] | None, why: str
):
    found = misfit(Use("f", positional, keywords, "file.py:1"), taken)
    assert found.endswith(why)
    assert bool(found) == bool(why)
