"""Where steps are few: what Scaling Cache leaves out by itself, against the same written again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.samplers
import numpy as np
import pytest
import torch
from scaling_cache.cache_core.decide.policies import RunPlan, SamplerTraits
from scaling_cache.cache_core.methods import ScalingCache, ScalingSpans
from scaling_cache.cache_core.methods.base import Few, tell_less
from scaling_cache.cache_core.methods.scaling import Mode
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.planning.prior import products
from scaling_cache.cache_core.predict.predictors import LEAST_SQUARES
from scaling_cache.nodes.host.sampling import sampler_traits

from testbed import networks
from testbed.install import cached, sampled

from .reads import Reads

STEPS = 6
# Two stacks; one of time signals; no hooks.
FAMILIES = ("flux", "wan", "lumina2")


def plan_of(steps: int, name: str = "euler", noisy: bool = False, **more: Any) -> RunPlan:
    sigmas = tuple(1 - i / steps for i in range(steps + 1))
    traits = SamplerTraits(name, (1,) * steps, stochastic=noisy, sums=not noisy)
    return RunPlan(sigmas, traits, (0, steps), **{"scale": 4.0, **more})


@pytest.mark.parametrize(
    ("steps", "sampler", "noisy", "least"),
    [
        (8, "euler", False, 7),
        (8, "res_multistep", False, 7),
        (8, "er_sde", True, 7),
        (12, "euler", False, 8),
        (12, "dpmpp_2m", False, 10),
        (30, "euler", False, 8),
        (30, "dpmpp_2m", False, 10),
    ],
)
def test_fewest_steps_that_are_worth_it(steps: int, sampler: str, noisy: bool, least: int) -> None:
    assert plan_of(steps, sampler, noisy).worth() == least


@pytest.mark.parametrize(("steps", "guidance", "least"), [
    (8, False, 8),
    (9, False, 9),
    (12, False, 10),
    (30, False, 10),
    (12, True, 12),
    (30, True, 30),
])  # fmt: skip
def test_noise_that_is_wholly_new_leaves_no_gain_at_few_steps_or_with_guidance(
    steps: int, guidance: bool, least: int
) -> None:
    """Of 8 steps of lcm on a student 7 computed were 2 dB further than 7 plain ones; of 20 with guidance
    on the emoji 8 were 3 dB further than 8."""
    sampler = comfy.samplers.sampler_object("lcm")
    plan = plan_of(steps, guidance=guidance)
    assert replace(plan, traits=sampler_traits(sampler, plan.sigmas)).worth() == least


def of_another_pack(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **_: Any) -> torch.Tensor:
    return x


@pytest.mark.parametrize(("around", "least"), [(None, 20), ("heun", 20), ("euler", 15)])
def test_a_sampler_that_may_ask_several_times_leaves_out_a_third(
    around: str | None, least: int
) -> None:
    """Of `res_2s` every second step came no nearer than few of its own; Detail Daemon asks once."""
    inner = {} if around is None else {"around": comfy.samplers.sampler_object(around)}
    sampler, plan = comfy.samplers.KSAMPLER(of_another_pack, inner), plan_of(30)
    assert replace(plan, traits=sampler_traits(sampler, plan.sigmas)).worth() == least


@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
def test_samplers_that_go_by_how_evaluations_differ_compute_all(
    sampler: str, built: Callable[[str], Any], plain: Callable[..., Any], said: list[str]
) -> None:
    """With 16 of 24 evaluations of dpm_fast emoji were 7 dB further than plain ones."""
    run = {"steps": 12, "sampler": sampler}
    model = cached(built("wan"), ScalingCache(), node_id="1")
    assert torch.equal(networks.sample(model, "wan", **run), plain("wan", **run))
    assert f"{sampler} chooses noise levels" in said[0]


@pytest.mark.parametrize(
    ("noisy", "around"), [(False, {9, 10, 11, 12}), (True, {9, 10, 11, 12, 14})]
)
def test_noise_asks_for_one_more_behind_a_break(noisy: bool, around: set[int]) -> None:
    """Without it a prompt replaced at 0.7 of 37 steps was 5 dB further than fewer steps, with it 9 dB
    nearer: no line tells there whether it holds."""
    assert plan_of(30, noisy=noisy, breaks=(10,)).around() == around


@pytest.mark.parametrize(("steps", "scale", "guidance", "least"), [
    (20, 4.0, True, 8),
    (20, 7.0, True, 12),
    (20, None, True, 12),
    (20, None, False, 8),
    (8, 7.0, True, 7),
])  # fmt: skip
def test_strong_guidance_is_worth_more_steps(
    steps: int, scale: float | None, guidance: bool, least: int
) -> None:
    assert plan_of(steps, scale=scale, guidance=guidance).worth() == least


@pytest.mark.parametrize(("steps", "sampler", "least"), [
    (10, "euler", 5),
    (10, "dpmpp_2m", 6),
    (5, "euler", 4),
])  # fmt: skip
def test_half_of_the_denoising_needs_half_as_many_and_one(
    steps: int, sampler: str, least: int
) -> None:
    assert plan_of(steps, sampler, covers=0.5, scale=1.0).worth() == least


@pytest.mark.parametrize(("steps", "more", "least"), [
    (7, {}, 6),
    (6, {}, 5),
    (5, {"name": "res_multistep"}, 4),
    (6, {"scale": 4.0}, 6),
    (6, {"scale": None}, 6),
    (7, {"noisy": True}, 7),
    (8, {}, 6),
])  # fmt: skip
def test_of_five_to_seven_steps_one_is_left_out_without_guidance(
    steps: int, more: dict[str, Any], least: int
) -> None:
    """On a student of 8 steps that was 0.3 to 6 dB nearer than a step less; with guidance, level."""
    plan = plan_of(steps, **{"scale": 1.0, **more})
    assert plan.worth() == plan.worth(calibrated=steps < 8) == least
    several = replace(plan.traits, evaluations=(2,) * steps)
    for traits in (several, replace(several, stochastic=True, path=True)):
        assert replace(plan, traits=traits).worth() == (steps if steps < 8 else 6)


@pytest.mark.parametrize("steps", [5, 6, 7])
@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_of_five_to_seven_steps_none_is_left_out_with_noise_or_several_evaluations(
    name: str, steps: int
) -> None:
    plan = plan_of(steps)
    traits = sampler_traits(comfy.samplers.sampler_object(name), plan.sigmas)
    quiet = traits.single and not traits.stochastic
    for scale, least in ((1.0, steps - 1 if quiet else steps), (4.0, steps)):
        assert replace(plan, traits=traits, scale=scale).worth() == least


@pytest.mark.parametrize("speedup", [1.0, 2.0, 6.0])
def test_a_budget_keeps_to_what_pays_where_steps_are_few(speedup: float) -> None:
    """An error of the outputs says little of the result there, and the speed-up is hidden."""
    method = ScalingCache(speedup, mode=Mode.BUDGET, budget=0.9)
    for scale, computed in ((1.0, 5), (4.0, 6)):
        policy = method.policy(plan_of(6, scale=scale))
        assert sum(policy.decide(i, None).compute for i in range(6)) == computed
    said: list[str] = []
    method.policy(plan_of(6, scale=1.0, breaks=(3,), note=said.append))
    why = "the model is asked something else at step 3"
    assert said == [f"6 of 6 steps must be computed: {why}"]
    assert method.within(4) == replace(method, speedup=3.0).within(4)


@pytest.mark.parametrize(("steps", "speedup"), [(20, 1.01), (8, 1.05), (5, 1.1)])
def test_a_target_that_asks_for_no_step_less_is_said(steps: int, speedup: float) -> None:
    """That it does not pay would be wrong."""
    said: list[str] = []
    for few in Few:
        plan = plan_of(steps, scale=1.0, note=said.append)
        ScalingCache(speedup, few=few).policy(plan)
    assert set(said) == {f"{steps} steps: these settings leave nothing out"}


def test_the_limit_is_kept_unless_asked_otherwise_and_told() -> None:
    said: list[str] = []
    plan = plan_of(8, scale=7.0, note=said.append)
    computed = [ScalingCache(4.0, few=few).policy(plan) for few in (Few.AUTO, Few.STEPS)]
    counts = [sum(p.decide(i, None).compute for i in range(8)) for p in computed]
    assert counts[0] == 7 > counts[1]
    assert any(note.startswith("8 steps: 7 computed, 1.1x. For more, ") for note in said)
    said.clear()
    tell_less(plan_of(20, note=said.append), 2.0, 10, 10)
    assert not said


def test_where_coefficients_would_help_it_is_told() -> None:
    said: list[str] = []
    ScalingCache(2.0).policy(plan_of(8, note=said.append))
    enough = "With coefficients, which Calibrate Cache makes, 5 are enough"
    assert said == [f"8 steps: 7 computed, 1.1x. {enough}"]


@pytest.mark.parametrize(("steps", "sampler", "noisy", "scale", "least"), [
    (8, "euler", False, 1.0, 5),
    (10, "euler", False, 4.0, 7),
    (12, "euler", False, 4.0, 8),
    (20, "euler", False, 4.0, 8),
    # Not measured to be worth it.
    (8, "res_multistep", False, 1.0, 6),
    (8, "er_sde", True, 1.0, 7),
    (8, "euler", False, 7.0, 7),
])  # fmt: skip
def test_steps_and_weights_of_the_models_own_make_fewer_worth_it(
    steps: int, sampler: str, noisy: bool, scale: float, least: int
) -> None:
    sigmas = np.array([1 - i / steps for i in range(steps)])
    table = GramTable(sigmas, products(sigmas)[None])
    plan = plan_of(steps, sampler, noisy, scale=scale, guidance=scale > 1, table=table)
    policy = ScalingCache(4.0, predictor=LEAST_SQUARES).policy(plan)
    assert sum(policy.decide(i, None).compute for i in range(steps)) == least


@pytest.mark.parametrize(("few", "steps", "inside"), [
    (Few.AUTO, 4, True),
    (Few.AUTO, 5, False),
    (Few.STEPS, 4, False),
    (Few.SPANS, 20, True),
])  # fmt: skip
def test_what_is_left_out(few: Few, steps: int, inside: bool) -> None:
    method = ScalingCache(1.5, few=few, start_percent=0.1).within(steps)
    assert isinstance(method, ScalingSpans) is inside
    assert method.start_percent == 0.1
    assert not isinstance(ScalingCache(listed=(0, 2)).within(4), ScalingSpans)


class Again:
    """Hooks that do the same: the line through the last two changes of the middle blocks, in steps."""

    def __init__(self, first: int, last: int, skipped: tuple[int, ...]) -> None:
        self.ends, self.skipped = (first, last), skipped
        self.step = -1
        self.known: list[tuple[int, torch.Tensor]] = []
        self.entered = torch.zeros(())

    def run(
        self, number: int, img: torch.Tensor, block: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        self.step += number == 0
        first, last = self.ends
        if not first <= number <= last:
            return block()
        if number == first:
            self.entered = img.clone()
        if self.step in self.skipped:
            return img if number < last else self.entered + self.forecast()
        out = block()
        if number == last:
            self.known.append((self.step, out - self.entered))
        return out

    def forecast(self) -> torch.Tensor:
        *_, (before, a), (at, b) = [self.known[0], *self.known][-2:]
        return b + (b - a) * (self.step - at) / max(at - before, 1)

    def put(self, model: Any) -> Any:
        clone = model.clone()

        def hook(number: int) -> Callable[..., Any]:
            def replaced(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
                def block() -> torch.Tensor:
                    return extra["original_block"](args)["img"]

                return {"img": self.run(number, args["img"], block)}

            return replaced

        for number in range(len(model.model.diffusion_model.blocks)):
            clone.set_model_patch_replace(hook(number), "dit", "double_block", number)
        return clone


def test_the_plan_is_carried_out(built: Callable[[str], Any]) -> None:
    model = built("wan")
    depth = len(model.model.diffusion_model.blocks)
    method = ScalingCache(2.0, few=Few.SPANS)
    result, run = sampled(model, "wan", method, steps=STEPS, cfg=1.0)
    skipped = tuple(record.step for record in run.report.records if not record.computed)
    assert len(skipped) == 2
    assert {0, STEPS - 1}.isdisjoint(skipped)
    again = networks.sample(Again(1, depth - 2, skipped).put(model), "wan", steps=STEPS, cfg=1.0)
    torch.testing.assert_close(result, again, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str, built: Callable[[str], Any], plain: Callable[..., Any]) -> None:
    """At 4 steps by itself, with a sampler that looks back."""
    settings = {"steps": 4, "sampler": "res_multistep", "cfg": 1.0}
    model, reference = built(name), plain(name, **settings)
    result, run = sampled(model, name, ScalingCache(2.0), **settings)
    assert any("of the blocks are left out" in note for note in run.report.notes)
    assert torch.isfinite(result).all()
    assert not torch.equal(result, reference)
    off = cached(model, ScalingCache(2.0, few=Few.STEPS))
    assert torch.equal(networks.sample(off, name, **settings), reference)
    assert torch.equal(networks.sample(model, name, **settings), reference)


@pytest.mark.parametrize("few", [Few.AUTO, Few.SPANS])
@pytest.mark.parametrize(("run", "why"), [
    ({"steps": 4, "sampler": "lcm", "cfg": 1.0}, "lcm adds noise at each, and nothing that "),
    ({"steps": STEPS, "sampler": "lcm", "cfg": 1.0}, "lcm adds noise at each, and nothing that "),
    ({"steps": 4, "cfg": 1.0}, "4 steps: nothing that "),
    ({"steps": STEPS}, "6 steps with guidance: nothing that "),
])  # fmt: skip
def test_where_nothing_pays(
    few: Few,
    run: dict[str, Any],
    why: str,
    built: Callable[[str], Any],
    plain: Callable[..., Any],
    said: list[str],
) -> None:
    model = cached(built("wan"), ScalingCache(few=few), node_id="1")
    result = networks.sample(model, "wan", **run)
    assert torch.equal(result, plain("wan", **run)) is (few is Few.AUTO)
    pays = f"{why}could be left out pays: every step is computed" in said[0]
    assert pays is (few is Few.AUTO), said


def test_with_guidance_all_is_computed_where_noise_is_wholly_new(
    built: Callable[[str], Any], plain: Callable[..., Any], said: list[str]
) -> None:
    run = {"steps": 16, "sampler": "lcm"}
    model = cached(built("wan"), ScalingCache(), node_id="1")
    assert torch.equal(networks.sample(model, "wan", **run), plain("wan", **run))
    assert "Without guidance it does" in said[0]
    _, alone = sampled(built("wan"), "wan", ScalingCache(), **run, cfg=1.0)
    assert sum(record.computed for record in alone.report.records) == 10


def test_one_step_is_predicted(built: Callable[[str], Any]) -> None:
    _, run = sampled(built("wan"), "wan", ScalingCache(3.0), steps=STEPS, cfg=1.0)
    assert [record.computed for record in run.report.records].count(False) == 1
    told = "6 steps: 5 computed, 1.2x. For more, sample with fewer steps"
    assert any(note.startswith(told) for note in run.report.notes)


def test_nothing_is_read_from_the_device(built: Callable[[str], Any]) -> None:
    with Reads() as reads:
        counted = reads.watching(built("wan"))
        networks.sample(cached(counted, ScalingCache(few=Few.SPANS)), "wan", steps=STEPS)
    inside = {i: n for i, n in reads.counts.items() if 0 <= i < STEPS}
    assert not inside, reads.places


@pytest.mark.parametrize(("steps", "why"), [
    (1, "One step is computed: there is nothing to predict it from"),
    (2, "2 steps: with fewer than 4 every step is computed"),
    (3, "3 steps: with fewer than 4 every step is computed"),
])  # fmt: skip
def test_fewer_than_four(
    steps: int, why: str, built: Callable[[str], Any], plain: Callable[..., Any], said: list[str]
) -> None:
    model = cached(built("wan"), ScalingCache(), node_id="1")
    result = networks.sample(model, "wan", steps=steps)
    assert torch.equal(result, plain("wan", steps=steps))
    assert said == [f"Not cached. {why}"]


def test_a_network_without_blocks(
    built: Callable[[str], Any],
    plain: Callable[..., Any],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = plain("wan", steps=STEPS)
    monkeypatch.setattr("scaling_cache.nodes.host.block_hooks.find_family", lambda network: None)
    model = cached(built("wan"), ScalingCache(few=Few.SPANS), node_id="1")
    assert torch.equal(networks.sample(model, "wan", steps=STEPS), reference)
    assert "cannot be reached: every step is computed" in said[0]
