"""Two cache nodes of the pack in a row: one cache of steps or blocks fits on a model, besides a CFG
Cache. The last node counts, whichever two they are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scaling_cache.cache_core.methods import Level
from scaling_cache.nodes import block_caches
from scaling_cache.nodes.cfg_cache import ScalingCfgCache
from scaling_cache.nodes.host.block_hooks import BlockPatch
from scaling_cache.nodes.host.cache import caches_of, remove
from scaling_cache.nodes.host.progress import runs_of
from scaling_cache.nodes.scaling_cache import ScalingCache
from scaling_cache.nodes.step_cache_advanced import ScalingStepCacheAdvanced

from testbed import networks
from testbed.observe import listening, refusal

NAME, STEPS = "flux", 12
WINDOW = (0.0, 1.0)
Node = Callable[[Any, str], Any]


def node(kind: Any, *inputs: Any, **more: Any) -> Node:
    """A node with its inputs besides the model, which gives the model under the id that it has."""

    def execute(model: Any, unique_id: str) -> Any:
        hidden = {"hidden": SimpleNamespace(unique_id=unique_id)}
        return type(kind.__name__, (kind,), hidden).execute(model, *inputs, **more).args[0]

    return execute


def advanced(method: str, **more: Any) -> Node:
    inputs = {
        "speedup": 2.0,
        "threshold": 0.0,
        "interval": 3,
        "warmup": 2,
        "max_gap": 2,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    chosen = {"method": method, "granularity": "auto", "predictor": "auto"}
    return node(ScalingStepCacheAdvanced, **chosen, **{**inputs, **more})


# By what the user reads of its cache.
CACHES: dict[str, tuple[str, Node]] = {
    "Scaling Cache": ("Scaling Cache", node(ScalingCache, 2.0, "target speed-up", *WINDOW)),
    "First Block Cache": (
        "First Block Cache",
        node(block_caches.ScalingFirstBlockCache, 0.5, *WINDOW, max_gap=2),
    ),
    "TeaCache": ("TeaCache", node(block_caches.ScalingTeaCache, "flux", 2.0, *WINDOW, max_gap=2)),
    "MagCache": (
        "MagCache",
        node(block_caches.ScalingMagCache, "flux", False, 1.0, 2, 0.2, *WINDOW),
    ),
    "Delta Cache": (
        "Delta Cache",
        node(block_caches.ScalingDeltaCache, "custom", "0", "0", 3, 3, *WINDOW),
    ),
    "Advanced (EasyCache)": ("EasyCache", advanced("EasyCache", threshold=5.0)),
    "Advanced (First Block Cache)": (
        "First Block Cache",
        advanced("First Block Cache", threshold=0.5),
    ),
    "Advanced (MixCache)": ("MixCache", advanced("MixCache", threshold=0.3)),
}
OFF: dict[str, Node] = {
    "Scaling Cache": node(ScalingCache, 1.0, "target speed-up", *WINDOW),
    "an error budget of 0": node(ScalingCache, 2.0, "error budget", *WINDOW, budget=0.0),
    "Advanced (Scaling Cache)": advanced("Scaling Cache", speedup=1.0),
    "First Block Cache at 0": node(block_caches.ScalingFirstBlockCache, 0.0, *WINDOW),
    "Advanced (EOC)": advanced("EOC", interval=1),
}
CFG = node(ScalingCfgCache, 3, *WINDOW)
CFG_OFF = node(ScalingCfgCache, 1, *WINDOW)


def gone(name: str) -> str:
    return f"{name} on the same model is off: the last cache on a model counts"


def names(model: Any) -> list[str]:
    return [cache.method.name for cache in caches_of(model)]


def sample(model: Any) -> torch.Tensor:
    return networks.sample(model, NAME, STEPS)


def hooked(model: Any) -> bool:
    replaced = model.model_options["transformer_options"].get("patches_replace", {})
    return any(isinstance(patch, BlockPatch) for patch in replaced.get("dit", {}).values())


@pytest.fixture(scope="module")
def flux() -> Any:
    return networks.build(NAME, spread=0.05)


@pytest.fixture(scope="module")
def alone(flux: Any) -> Callable[[str], torch.Tensor]:
    """The picture with one of the caches and no other; without any for an empty name."""
    found: dict[str, torch.Tensor] = {}

    def picture(name: str) -> torch.Tensor:
        if name not in found:
            found[name] = sample(CACHES[name][1](flux, "1") if name else flux)
        return found[name]

    return picture


def test_each_of_them_changes_the_picture(alone: Callable[[str], torch.Tensor]) -> None:
    """Else the tests below would show nothing. The two nodes of one method give one picture."""
    pictures = [alone(name) for name in ("", *CACHES)]
    same = [
        (a, b)
        for i, a in enumerate(("", *CACHES))
        for j, b in enumerate(("", *CACHES))
        if i < j and torch.equal(pictures[i], pictures[j])
    ]
    assert same == [("First Block Cache", "Advanced (First Block Cache)")]


@pytest.mark.parametrize(("first", "last"), product(CACHES, CACHES))
def test_the_last_of_two_counts(
    first: str, last: str, flux: Any, alone: Callable[[str], torch.Tensor]
) -> None:
    earlier, later = CACHES[first], CACHES[last]
    before = earlier[1](flux, "1")
    model = later[1](before, "2")
    assert names(model) == [later[0]]
    assert gone(earlier[0]) in caches_of(model)[0].notes
    assert hooked(model) is hooked(later[1](flux, "2"))
    with listening() as lines:
        picture = sample(model)
    assert torch.equal(picture, alone(last))
    assert not refusal(lines)
    (summary,) = (line for line in lines if f"] {later[0]}: " in line)
    assert gone(earlier[0]) in summary
    assert names(before) == [earlier[0]], "the model that was given is left alone"


@pytest.mark.parametrize(("first", "last"), product(CACHES, OFF))
def test_a_node_at_1x_takes_the_earlier_one_off(
    first: str, last: str, flux: Any, alone: Callable[[str], torch.Tensor]
) -> None:
    name, put = CACHES[first]
    model = OFF[last](put(flux, "1"), "2")
    assert names(model) == ["Plain"]
    assert gone(name) in caches_of(model)[0].notes
    assert not hooked(model)
    assert torch.equal(sample(model), alone(""))
    (run,) = runs_of(model, set())
    assert run.plain
    assert gone(name) in run.report.notes
    on = put(model, "3")
    assert names(on) == [name]
    assert caches_of(on)[0].notes == caches_of(put(flux, "3"))[0].notes, "nothing was lost"
    assert torch.equal(sample(on), alone(first))


def test_an_earlier_cache_of_the_same_node_is_no_word_worth(flux: Any) -> None:
    model = CACHES["Scaling Cache"][1](CACHES["First Block Cache"][1](flux, "1"), "1")
    assert names(model) == ["Scaling Cache"]
    assert not caches_of(model)[0].notes


@pytest.mark.parametrize("name", CACHES)
def test_cfg_cache_stays_before_and_after_any_other(name: str, flux: Any) -> None:
    shown, put = CACHES[name]
    models = put(CFG(flux, "1"), "2"), CFG(put(flux, "2"), "1")
    for model in models:
        assert names(model) == [shown, "CFG Cache"]
        assert not any("the last cache" in note for c in caches_of(model) for note in c.notes)
    with listening() as lines:
        before, after = (sample(model) for model in models)
    assert torch.equal(before, after)
    assert not refusal(lines)
    for kind in (f"{shown}: computed", "CFG Cache: both conditionings computed"):
        assert len([line for line in lines if kind in line]) == 2
    # A third one replaces its like and nothing else.
    third = CACHES["Scaling Cache"][1](models[0], "3")
    assert names(third) == ["Scaling Cache", "CFG Cache"]
    assert [gone(shown) in c.notes for c in caches_of(third)] == [True, False]
    third = CFG(models[1], "3")
    assert names(third) == [shown, "CFG Cache"]
    assert [gone("CFG Cache") in c.notes for c in caches_of(third)] == [False, True]


@pytest.mark.parametrize("name", CACHES)
def test_cfg_cache_goes_alone(name: str, flux: Any, alone: Callable[[str], torch.Tensor]) -> None:
    shown, put = CACHES[name]
    model = CFG_OFF(CFG(put(flux, "2"), "1"), "3")
    assert names(model) == [shown]
    assert torch.equal(sample(model), alone(name))
    model = remove(CFG(put(flux, "2"), "1"), Level.NEGATIVE)
    assert torch.equal(sample(model), alone(name))
    model = remove(CFG(put(flux, "2"), "1"), Level.STEP)
    assert names(model) == ["CFG Cache"]
    assert torch.equal(sample(model), sample(CFG(flux, "1")))
    assert not hooked(model)
    model = remove(CFG(put(flux, "2"), "1"))
    assert names(model) == []
    assert torch.equal(sample(model), alone(""))


@pytest.mark.parametrize("name", OFF)
def test_a_node_at_1x_leaves_cfg_cache(name: str, flux: Any) -> None:
    cfg = sample(CFG(flux, "1"))
    for model in (OFF[name](CFG(flux, "1"), "2"), CFG(OFF[name](flux, "2"), "1")):
        assert names(model) == ["Plain", "CFG Cache"]
        assert torch.equal(sample(model), cfg)
        (run,) = runs_of(model, set())
        assert run.name == "CFG Cache"


def test_a_node_that_refuses_leaves_the_earlier_one() -> None:
    unet = networks.build("sd15")
    model = CACHES["First Block Cache"][1](CACHES["Scaling Cache"][1](unet, "1"), "2")
    assert names(model) == ["Scaling Cache"]
    assert not caches_of(model)[0].notes
