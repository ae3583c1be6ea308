"""Ranks that compute one picture take one decision: real processes, real exchanges, the real host."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch.multiprocessing as mp
from scaling_cache.nodes.host.ranks import Sharing
from scaling_cache.nodes.host.ray_workers import sharing_of

from testbed import worker

WORLDS = (2, 4)
CASES = (
    "error budget",
    "EasyCache",
    "LazyCache",
    "TeaCache",
    "First Block Cache",
    "DBCache",
    "DiCache",
    "MixCache",
)


@cache
def results(world: int) -> list[dict[str, Any]]:
    """What each rank did. One start of the processes serves all tests of a size."""
    with TemporaryDirectory() as folder:
        mp.spawn(worker.work, (world, folder), nprocs=world)
        return [
            json.loads(Path(folder, f"{rank}.json").read_text(encoding="utf-8"))
            for rank in range(world)
        ]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", CASES)
def test_all_ranks_take_the_same_decisions(name: str, world: int):
    alone = [found[name]["alone"] for found in results(world)]
    together = [found[name]["together"] for found in results(world)]
    assert any(other != alone[0] for other in alone), "their measurements do not differ enough"
    assert all(other == together[0] for other in together)
    computed = [step.split()[1] for step in together[0]]
    assert "0" in computed or any("left out" in step for step in together[0])
    assert "1" in computed


def test_replicas_agree_among_themselves():
    found = [rank["groups"] for rank in results(4)]
    assert [rank["replica"] for rank in found] == [
        [0.5, 0.75],
        [0.5, 0.75],
        [2.5, pytest.approx(7 / 24)],
        [2.5, pytest.approx(7 / 24)],
    ]
    assert found[2]["replica"] == found[3]["replica"]
    assert all(rank["both"] == found[0]["both"] for rank in found), "the same bits, not nearly"
    assert found[0]["both"] == [1.5, pytest.approx(25 / 48)]
    assert all(rank["nan"] for rank in found), "one rank's NaN is everyone's"
    assert [rank["xdit"] for rank in found] == [[1.5, 0.5], [1.5, 0.5], [1.5, 2.5], [1.5, 2.5]]
    assert [rank["kept"] for rank in found] == [0.0, 1.0, 2.0, 3.0], "the input is not written to"


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("what", ["batch", "times", "none"])
@pytest.mark.parametrize("name", ["error budget", "First Block Cache"])
def test_ranks_that_sample_something_else_compute_every_step(name: str, what: str, world: int):
    """Reductions of other lengths, or at other steps, would end or hang the processes."""
    found = [tuple(rank[f"{name}, {what}"]) for rank in results(world)]
    alike = what == "none"
    why = "" if alike else "The GPUs sample different sizes, steps or conditionings"
    assert found == [(f"{why}: every step is computed" if why else "", not alike)] * world


@pytest.mark.parametrize("world", WORLDS)
def test_a_fault_on_one_rank_is_an_error_and_no_silent_wait(world: int):
    others = ["RuntimeError: left"] * (world - 1)
    assert [found["fault"] for found in results(world)] == ["RuntimeError: a bug", *others]


def test_who_computes_together():
    assert sharing_of({"is_xdit": True, "is_fsdp": False}) is Sharing.AUTO
    assert sharing_of({"is_xdit": True, "is_fsdp": True}) is Sharing.WORLD
    assert sharing_of({"is_xdit": False, "is_fsdp": False}) is Sharing.ALONE
