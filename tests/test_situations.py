"""What changes in mid-run costs no more than fewer steps do: the trained model at default settings."""

from __future__ import annotations

import pytest

from benchmarks import chance, results, situations

pytestmark = pytest.mark.host

# Those whose rows on the page are clear of fewer steps by more than so few prompts blur.
KEPT = (
    "nothing changes",
    "ControlNet to 0.7",
    "ControlNet to 0.4",
    "ControlNet from 0.3",
    "guidance on every second step",
    "guidance on every third step",
    "guidance from 0.15 to 0.6",
    "guidance that falls",
    "prompt replaced at 0.6",
    "prompt replaced at 0.3",
    "prompt replaced unseen at 0.6",
    "Detail Daemon 0.3",
    "moving windows",
    "a part of the picture",
    "two samplers in turn",
    "res_2s_ode",
    "dpm_2",
)


@pytest.mark.parametrize("name", KEPT)
def test_no_further_than_fewer_steps(name: str) -> None:
    situations.ready()
    for row in situations.measure(situations.SITUATIONS[name], 4):
        assert row.kept, row
        assert row.computed <= row.evaluations


def test_a_repair_goes_with_the_scale() -> None:
    """Guidance of 6 and 2 in turn was repaired from one to the other, down to the level of fewer steps;
    it is 3 and 6 dB above."""
    situations.ready()
    for row in situations.measure(situations.SITUATIONS["guidance 6 and 2 in turn"], 8):
        assert row.cached > row.fewer + 2, row


def test_what_turns_again_and_again_is_computed_where_nothing_repairs() -> None:
    """Guidance in turn with a sampler of another pack was 6 dB further than fewer steps."""

    def change(graph: situations.Graph) -> None:
        situations.res_2s(graph)
        situations.guided(lambda i, _: 2.0 if i % 2 else 1.0)(graph)

    situations.ready()
    for row in situations.measure(
        situations.Situation("in turn", change, "demo_unet"), 4, (1.5,), 27
    ):
        assert row.kept, row
        assert row.computed < row.evaluations


def test_runs_by_chance() -> None:
    """No fault in any combination, and some are skipped; `make soak` counts the promise."""
    situations.ready()
    assert chance.soak(4, None, lambda _: None)


def test_the_page_is_of_the_results() -> None:
    facts, rows = results.read(situations.FILE)
    assert situations.PAGE.read_text(encoding="utf-8") == situations.page(facts, rows)
    assert {row["situation"] for row in rows} == set(situations.SITUATIONS)
