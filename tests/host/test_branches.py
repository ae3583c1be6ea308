"""Branch Cache with the host's own ControlNets and T2I adapters on tiny networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.branches import NEVER
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.methods.branch import BranchCache
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.branch_cache import ScalingBranchCache
from scaling_cache.nodes.host.branches import ADAPTERS, NONE
from scaling_cache.nodes.host.cache import caches_of

from testbed import networks
from testbed.controls import adapter, control_for, put
from testbed.install import cached

STEPS = 10
# Two to begin with, about every third and the last: most of the noise of flow models goes late.
EVEN, EXPECTED = [0, 1, 4, 7, 9], [0, 1, 5, 8, 9]
Conds = tuple[list[list[Any]], list[list[Any]]]


@cache
def built(name: str) -> Any:
    return networks.build(name)


def latent_of(name: str) -> tuple[int, ...]:
    return networks.spec_of(name).latent[0], 8, 8


def conds_of(name: str) -> Conds:
    return networks.conditioning(name, 2), networks.conditioning(name, 3)


def with_control(name: str, control: Any = None, **more: Any) -> Conds:
    positive, negative = conds_of(name)
    return put(positive, control or control_for(built(name), name), name, **more), negative


def sample(
    model: Any, name: str, conds: Conds, steps: int = STEPS, batch: int = 1, sampler: str = "euler"
) -> torch.Tensor:
    latent = torch.zeros(batch, *latent_of(name))
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            networks.noise_like(latent, 1),
            steps,
            3.0,
            sampler,
            "simple",
            *conds,
            latent,
            disable_pbar=True,
            seed=4,
        )


class ByHand:
    """A ControlNet computed at given steps only, and in between on the line through the last two outputs,
    over steps."""

    def __init__(self, control: Any, model: Any, computed: Sequence[int]) -> None:
        space = model.get_model_object("model_sampling")
        self.control, self.computed = control, computed
        self.sigmas = comfy.samplers.calculate_sigmas(space, "simple", STEPS).tolist()
        self.past: dict[Any, list[Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["control"], name)

    def get_control(self, x: Any, t: Any, cond: Any, number: int, options: Any) -> Any:
        sigma = float(t[0])
        step = min(range(STEPS), key=lambda i: abs(self.sigmas[i] - sigma))
        past = self.past.setdefault((tuple(x.shape), tuple(options["cond_or_uncond"])), [])
        if step in self.computed:
            found = self.control.get_control(x, t, cond, number, options)
            if found is not None:
                kept = {k: [v if v is None else v.clone() for v in vs] for k, vs in found.items()}
                past.insert(0, (step, kept))
            return found
        if not past:
            return None
        (newer, first), (older, second) = past[:2]
        along = (step - newer) / (newer - older)
        return {
            part: [
                None if a is None else a + along * (a - b)
                for a, b in zip(first[part], second[part], strict=True)
            ]
            for part in first
        }


def by_hand(name: str, conds: Conds, computed: Sequence[int], **more: Any) -> torch.Tensor:
    model, made = built(name), {}

    def replaced(options: dict[str, Any]) -> dict[str, Any]:
        control = options.get("control")
        if control is None:
            return options
        hand = made.setdefault(id(control), ByHand(control, model, computed))
        return {**options, "control": hand}

    changed = [[[text, replaced(options)] for text, options in cond] for cond in conds]
    return sample(model, name, (changed[0], changed[1]), **more)


def branched(
    name: str, conds: Conds, model: Any = None, interval: int = 3, **more: Any
) -> tuple[torch.Tensor, Run]:
    runs: list[Run] = []
    fast = cached(model or built(name), BranchCache(interval), runs)
    return sample(fast, name, conds, **more), runs[0]


def computed(run: Run) -> list[int]:
    return [r.step for r in run.report.records if r.computed]


def near(result: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(result, expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3", "flux"])
def test_outputs_between_computed_steps_follow_the_line(name: str):
    conds = with_control(name)
    control = conds[0][0][1]["control"]
    before = {key: value for key, value in vars(control).items() if key != "extra_args"}
    plain = sample(built(name), name, conds)
    assert not torch.equal(plain, sample(built(name), name, conds_of(name)))
    result, run = branched(name, conds)
    expected = EVEN if name.startswith("sd") and name != "sd3" else EXPECTED
    near(result, by_hand(name, conds, expected))
    assert not torch.equal(result, plain)
    assert computed(run) == expected
    assert run.report.evaluations == STEPS
    assert run.nbytes == 0
    # The host forgets hint and range itself.
    assert {key: vars(control)[key] for key in before} == before
    assert conds[0][0][1]["control"] is control
    assert torch.equal(sample(built(name), name, conds), plain)
    held = run.report.cache_bytes
    assert held == run.expected_bytes(0, 2)


def chain() -> Conds:
    """An adapter, and behind it a ControlNet that ends in the middle."""
    positive, negative = conds_of("sd15")
    positive = put(positive, adapter(), "sd15", 0.7)
    control = control_for(built("sd15"), "sd15", 3)
    return put(positive, control, "sd15", 1.3, (0.0, 0.5)), negative


def areas() -> Conds:
    """Two parts of one size with a ControlNet each, one of them on one prompt alone."""
    name = "flux"
    (positive, negative) = conds_of(name)
    left = put(positive, control_for(built(name), name), name)
    right = put(positive, control_for(built(name), name, 3), name, both=False)
    for place, cond in ((0, left), (4, right)):
        cond[0][1] |= {"area": (8, 4, 0, place), "strength": 1.0}
    return [*left, *right], negative


def both_with_hooks() -> Conds:
    """A ControlNet from a third of the way on, with a hook of weights on the prompt."""
    import comfy.hooks

    name = "diffusion_model.img_in.weight"
    weights = {name: torch.full_like(built("flux").model.diffusion_model.img_in.weight, 0.01)}
    hooks = comfy.hooks.create_hook_model_as_lora(weights, {}, 0.5, 0.5)
    positive, negative = with_control("flux", span=(0.3, 1.0), strength=0.8)
    positive[0][1]["hooks"] = hooks
    return positive, negative


SITUATIONS: dict[str, tuple[str, Callable[[], Conds], list[int]]] = {
    # The break at step 5 begins anew; behind it the adapter is alone.
    "chain": ("sd15", chain, [0, 1, 4, 5, 6, 9]),
    "areas": ("flux", areas, EXPECTED),
    "hooks and a start": ("flux", both_with_hooks, [3, 4, 7, 9]),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_people_put_around_controlnets(situation: str):
    name, make, expected = SITUATIONS[situation]
    conds = make()
    result, run = branched(name, conds)
    assert computed(run) == expected
    near(result, by_hand(name, conds, expected))


def test_batches_that_the_host_stacks_in_another_way_are_computed(monkeypatch: pytest.MonkeyPatch):
    """The host puts as many conditionings into one batch as memory is free for: here each goes alone at
    steps 3 to 5."""
    conds, model, calls = with_control("flux"), built("flux").clone(), []
    plain = sample(model, "flux", conds)

    def count(executor: Any, *args: Any) -> Any:
        calls.append(1)
        return executor(*args)

    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "count", count)
    needs = lambda *_, **__: 1e20 if len(calls) in (4, 5, 6) else 0.0  # noqa: E731
    monkeypatch.setattr(model.model, "memory_required", needs)
    result, run = branched("flux", conds, model)
    # Steps 3 and 6 were to be predicted: their batches are new, or older than the last computed step.
    assert computed(run) == [0, 1, 3, 5, 6, 8, 9]
    assert (result - plain).abs().max() < 0.1 * plain.abs().max()


def test_each_run_begins_anew_whatever_the_batch():
    conds, runs = with_control("flux"), []
    fast = cached(built("flux"), BranchCache(3), runs)
    one = sample(fast, "flux", conds)
    two = sample(fast, "flux", conds, batch=2)
    near(two, by_hand("flux", conds, EXPECTED, batch=2))
    assert torch.equal(sample(fast, "flux", conds), one)
    heun = sample(fast, "flux", conds, sampler="heun")
    assert torch.isfinite(heun).all()
    assert runs[-1].report.evaluations == 2 * STEPS - 1
    assert computed(runs[-1]) == EXPECTED
    assert runs[-1].report.computed == 2 * len(EXPECTED) - 1


def test_an_error_in_mid_run_leaves_nothing():
    conds, runs = with_control("flux"), []
    control = conds[0][0][1]["control"]
    network, seen = control.control_model, []

    def fail(*_: Any) -> None:
        seen.append(1)
        if len(seen) == 3:
            raise RuntimeError("injected")

    fast = cached(built("flux"), BranchCache(3), runs)
    before = dict(conds[0][0][1])
    hook = network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="injected"):
        sample(fast, "flux", conds)
    hook.remove()
    assert runs[0].nbytes == 0
    assert conds[0][0][1] == before
    fresh, _ = branched("flux", conds)
    assert torch.equal(sample(fast, "flux", conds), fresh)


@pytest.mark.parametrize("behind", [False, True])
def test_with_scaling_cache_the_interval_counts_what_it_computes(behind: bool):
    conds, steps, branches, asked = with_control("flux"), [], [], []
    network = conds[0][0][1]["control"].control_model
    model = built("flux")
    order = [
        lambda m: cached(m, ScalingCache(2.0), steps),
        lambda m: cached(m, BranchCache(3), branches),
    ]
    for add in order[::-1] if behind else order:
        model = add(model)
    assert [c.method.name for c in caches_of(model)] == ["Scaling Cache", "Branch Cache"]
    hook = network.register_forward_pre_hook(lambda *_: asked.append(1))
    sample(model, "flux", conds, steps=20)
    hook.remove()
    ran = computed(steps[0])
    assert len(ran) < 20
    found = computed(branches[0])
    assert set(found) <= set(ran)
    assert found == [*ran[:2], *found[2:-1], ran[-1]]
    assert len(found) == len(asked) == math.ceil(len(ran) / 3) + 1
    assert branches[0].report.evaluations == len(ran)


def test_what_cannot_be_helped_is_said_and_computed():
    cases = [
        ("flux", conds_of("flux"), STEPS, NONE),
        ("sd15", with_control("sd15", adapter()), STEPS, ADAPTERS),
        ("flux", with_control("flux"), 3, "3 steps leave none between"),
    ]
    for name, conds, steps, said in cases:
        fast = cached(built(name), BranchCache(3))
        result = sample(fast, name, conds, steps)
        assert torch.equal(result, sample(built(name), name, conds, steps))
        (cache,) = caches_of(fast)
        (finished,) = cache.log.latest()
        assert said in finished.refused


@pytest.mark.parametrize("span", [(0.999, 1.0), (1.0, 1.0)])
def test_a_controlnet_that_is_never_on_is_said(span: tuple[float, float]):
    conds = with_control("flux", span=span)
    result, run = branched("flux", conds)
    assert torch.equal(result, sample(built("flux"), "flux", conds))
    assert run.report.summary() == NEVER


class Strange:
    """A ControlNet of another pack, whose output is not the host's kind."""

    def __init__(self, control: Any) -> None:
        self.control = control

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["control"], name)

    def get_control(self, *args: Any) -> Any:
        found = self.control.get_control(*args)
        return {**found, "scales": ["none"]}


def test_an_output_of_another_kind_is_computed_at_every_step():
    (positive, negative) = with_control("flux")
    positive[0][1]["control"] = Strange(positive[0][1]["control"])
    result, run = branched("flux", (positive, negative))
    assert torch.equal(result, sample(built("flux"), "flux", (positive, negative)))
    assert run.report.computed == run.report.evaluations == STEPS
    assert any("holds str" in note for note in run.report.notes)


@pytest.mark.parametrize("settings", [(1, True), (3, False)])
def test_off_is_the_hosts_own(settings: tuple[int, bool]):
    conds = with_control("flux")
    model = ScalingBranchCache.execute(built("flux"), 3).args[0]
    assert [c.method for c in caches_of(model)] == [BranchCache(3)]
    off = ScalingBranchCache.execute(model, *settings).args[0]
    assert [c.method.name for c in caches_of(off)] == ["Plain"]
    assert torch.equal(sample(off, "flux", conds), sample(built("flux"), "flux", conds))
    both = ScalingBranchCache.execute(cached(model, ScalingCache(2.0)), *settings).args[0]
    assert [c.method.name for c in caches_of(both)] == ["Scaling Cache"]
