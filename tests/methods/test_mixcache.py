"""MixCache on tiny networks in the real host: what each step leaves out, and what comes in its place,
against hooks that know nothing of the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.methods import CfgCache, MixCache
from scaling_cache.cache_core.methods.mixcache import MixRun
from scaling_cache.cache_core.negative import Guidance
from scaling_cache.nodes.step_cache_advanced import ScalingStepCacheAdvanced

from testbed import networks
from testbed import watch as watches
from testbed.install import cached

STEPS = 14
FAMILIES = ("flux", "wan", "qwen_image", "sd3", "ltxv", "lumina2", "hunyuan_video", "chroma")
Build = Callable[[str], Any]


@pytest.fixture
def model(name: str, built: Build) -> Any:
    return built(name)


def mix(threshold: float, **more: Any) -> MixCache:
    return MixCache(threshold, **{"trigger": 10.0, "warmup": 2, **more})


@dataclass
class Batch:
    """One batch of conditionings: which of them ran, and what the host and the sampler were given."""

    ran: tuple[bool, ...] = ()
    inner: list[torch.Tensor] = field(default_factory=list)
    outer: list[torch.Tensor] = field(default_factory=list)
    x: torch.Tensor | None = None
    sigma: torch.Tensor | None = None


def batches(model: Any, cache: Any) -> tuple[Any, list[Batch]]:
    """A cached model, recorded outside and inside the cache."""
    seen: list[Batch] = []

    def outside(executor: Any, model: Any, conds: Any, x: Any, sigma: Any, options: Any) -> Any:
        seen.append(Batch(x=x.clone(), sigma=sigma.clone()))
        seen[-1].outer = [out.clone() for out in executor(model, conds, x, sigma, options)]
        return seen[-1].outer

    def inside(executor: Any, model: Any, conds: Any, x: Any, sigma: Any, options: Any) -> Any:
        out = executor(model, conds, x, sigma, options)
        seen[-1].ran = tuple(cond is not None for cond in conds)
        seen[-1].inner = [part.clone() for part in out]
        return out

    recorded = model.clone()
    recorded.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "outside", outside)
    recorded = cache(recorded)
    recorded.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "inside", inside)
    return recorded, seen


class Middle:
    """The picture's stream as it enters and leaves the middle blocks of each call."""

    def __init__(self, watch: Any, network: Any, paths: list[str]) -> None:
        self._watch = watch
        self.into: dict[int, torch.Tensor] = {}
        self.out: dict[int, torch.Tensor] = {}
        self.next: dict[int, torch.Tensor] = {}
        count = len(paths) // 2
        first = (len(paths) - count + 1) // 2
        self.blocks = paths[first : first + count]
        get, add = network.get_submodule, watch._handles.append
        add(get(paths[first]).register_forward_pre_hook(self._enter(self.into), with_kwargs=True))
        add(get(paths[first + count - 1]).register_forward_hook(self._leave))
        if first + count < len(paths):
            block = get(paths[first + count])
            add(block.register_forward_pre_hook(self._enter(self.next), with_kwargs=True))

    def _enter(self, found: dict[int, torch.Tensor]) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            named = [kwargs[n] for n in ("img", "hidden_states", "image_tokens") if n in kwargs]
            place = 1 if self._watch._spec.config in ("SD3", "AuraFlow") else 0
            stream = named[0] if named else args[place]
            found[len(self._watch.calls) - 1] = self._watch._batch_first(stream).clone()

        return hook

    def _leave(self, module: Any, args: Any, out: Any) -> None:
        self.out[len(self._watch.calls) - 1] = self._watch._img(out).clone()


def order(model: Any, name: str) -> list[str]:
    """Names of the blocks in the order in which they run."""
    with watches.Watch(model.model.diffusion_model, name) as watch:
        networks.sample(model, name, steps=1)
    return watch.calls[0].ran


@dataclass
class Recorded:
    """One run with the cache, and its calls through the plain network."""

    picture: torch.Tensor
    batches: list[Batch]
    calls: list[Any]
    plain: list[Any]
    middle: Middle
    plain_middle: Middle
    blocks: int

    def left_out(self) -> list[str]:
        """What each step left out, as the hooks saw it."""
        found = []
        for batch, call in zip(self.batches, self.calls, strict=True):
            if batch.ran != self.batches[0].ran:
                assert batch.ran == (True, False)
                assert len(call.ran) == self.blocks
                found.append("negative")
            elif not call.ran:
                found.append("step")
            elif len(call.ran) < self.blocks:
                assert not set(call.ran) & set(self.middle.blocks)
                found.append("blocks")
            else:
                found.append("")
        return found


def record(model: Any, name: str, cache: Any, **more: Any) -> Recorded:
    network, paths = model.model.diffusion_model, order(model, name)
    recorded, seen = batches(model, cache)
    with watches.Watch(network, name) as watch:
        middle = Middle(watch, network, paths)
        out = networks.sample(recorded, name, steps=STEPS, **more)
    made: list[Middle] = []

    class Replayed(watches.Watch):
        def __enter__(self) -> Any:
            super().__enter__()
            made.append(Middle(self, network, paths))
            return self

    before, watches.Watch = watches.Watch, Replayed
    try:
        plain = watches.replay(network, name, watch.calls)
    finally:
        watches.Watch = before
    return Recorded(out, seen, watch.calls, plain, middle, made[0], len(paths))


def change(now: torch.Tensor, before: torch.Tensor, branches: int = 1) -> float:
    pairs = zip(now.chunk(branches), before.chunk(branches), strict=True)
    return max(float((n - b).abs().mean()) / float(b.abs().mean()) for n, b in pairs)


def differences(batch: Batch) -> torch.Tensor:
    sigma = batch.sigma.reshape(-1, *[1] * (batch.x.ndim - 1))
    return (batch.inner[0] - batch.inner[1]) / sigma


def decided(found: Recorded, method: Any) -> tuple[list[str], dict[str, list[float]]]:
    """The rule, written again on recorded tensors, and all changes that it met."""
    kinds: list[str] = []
    full: list[int] = []
    known: dict[str, float] = {}
    met: dict[str, list[float]] = {"step": [], "negative": [], "blocks": []}
    begun = False
    for step, (call, batch) in enumerate(zip(found.calls, found.batches, strict=True)):
        branches = sum(batch.ran)
        gap = step - full[-1] - 1 if full else 0
        best, harm = "", method.threshold
        for kind, value in known.items():
            times = 0
            while kinds and times < len(kinds) and kinds[-1 - times] == kind:
                times += 1
            if value * (1 + method.penalty) ** times < harm:
                best, harm = kind, value * (1 + method.penalty) ** times
        must = step < method.warmup or not begun or gap >= method.max_gap
        kinds.append("" if must else best)
        if kinds[-1]:
            continue
        if full:
            last, old = found.calls[full[-1]], found.batches[full[-1]]
            known = {"step": change(call.out - call.into, last.out - last.into, branches)}
            if batch.ran == (True, True):
                known["negative"] = change(differences(batch), differences(old))
            inside = found.middle
            now = inside.out[step] - inside.into[step]
            known["blocks"] = change(now, inside.out[full[-1]] - inside.into[full[-1]], branches)
            begun |= known["step"] < method.trigger
            for kind, value in known.items():
                met[kind].append(value)
        full.append(step)
    return kinds, met


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = max(float(expected.abs().max()), 1.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def check_formulas(found: Recorded, model: Any, name: str) -> None:
    """What the skipped parts were replaced by."""
    last = 0
    for step, kind in enumerate(found.left_out()):
        call, plain = found.calls[step], found.plain[step]
        kept = found.calls[last]
        if kind == "":
            last = step
        elif kind == "step":
            close(call.final, plain.into + kept.out - kept.into)
        elif kind == "blocks":
            inside, outside = found.middle, found.plain_middle
            expected = outside.into[step] + inside.out[last] - inside.into[last]
            if step in inside.next:
                close(inside.next[step], expected)
        else:
            batch = found.batches[step]
            assert torch.equal(batch.outer[0], batch.inner[0])
            kept_difference = differences(found.batches[last])
            sigma = float(batch.sigma[0])
            expected = batch.inner[0] - sigma * raised(kept_difference, sigma, model)
            close(batch.outer[1], expected)


def raised(difference: torch.Tensor, sigma: float, model: Any) -> torch.Tensor:
    """FasterCache's bands, written again with the full spectrum."""
    percent = model.get_model_object("model_sampling").percent_to_sigma
    height, width = difference.shape[-2:]
    spectrum = torch.fft.fftshift(torch.fft.fft2(difference), dim=(-2, -1))
    y = torch.arange(height)[:, None] - height // 2
    x = torch.arange(width) - width // 2
    near = (y**2 + x**2).float().sqrt() <= min(height, width) // 5
    low = torch.fft.ifft2(torch.fft.ifftshift(spectrum * near, dim=(-2, -1))).real
    a = 1.1 if percent(0.9) < sigma <= percent(0.1) else 1.0
    b = 1.1 if sigma <= percent(0.7) else 1.0
    return a * low + b * (difference - low)


@pytest.mark.parametrize("name", FAMILIES)
def test_computing_all_changes_nothing(
    name: str, model: Any, plain: Callable[..., torch.Tensor]
) -> None:
    untouched = plain(name)
    assert torch.equal(networks.sample(cached(model, mix(0.0)), name), untouched)
    assert torch.equal(networks.sample(cached(model, mix(9.0, trigger=0.0)), name), untouched)
    assert torch.equal(networks.sample(cached(model, mix(9.0, warmup=10)), name), untouched)
    assert torch.equal(networks.sample(model, name), untouched)


@pytest.mark.parametrize("cfg", [3.0, 1.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_each_step_leaves_out_what_the_rule_says(name: str, cfg: float, model: Any) -> None:
    """At three thresholds between the changes that occur."""
    whole = record(model, name, lambda m: cached(m, mix(0.0)), cfg=cfg)
    kinds, met = decided(whole, mix(0.0))
    assert whole.left_out() == kinds == [""] * STEPS
    lows = sorted(min(values) for values in zip(*filter(None, met.values()), strict=True))
    seen: set[str] = set()
    for threshold in (lows[3] * 1.01, lows[6] * 1.5, lows[-1] * 4):
        method = mix(min(threshold, 9.0), max_gap=4)
        found = record(model, name, lambda m, method=method: cached(m, method), cfg=cfg)
        kinds, _ = decided(found, method)
        assert found.left_out() == kinds
        assert torch.isfinite(found.picture).all()
        check_formulas(found, model, name)
        seen |= set(kinds)
    assert len(seen) > 1
    if cfg == 1.0:
        assert "negative" not in seen


def test_all_kinds_occur(built: Build) -> None:
    """Over the families; or else the formulas above were never tested."""
    seen: set[str] = set()
    for name in FAMILIES[:4]:
        model = built(name)
        method = mix(9.0, penalty=2.0, max_gap=6)
        found = record(model, name, lambda m, method=method: cached(m, method))
        assert found.left_out() == decided(found, method)[0]
        check_formulas(found, model, name)
        seen |= set(found.left_out())
    assert seen == {"", "step", "negative", "blocks"}


@pytest.mark.parametrize("name", ["flux"])
class TestInTheHost:
    def test_the_trigger_waits_until_outputs_settle(self, name: str, model: Any) -> None:
        whole = record(model, name, lambda m: cached(m, mix(0.0)))
        steps = decided(whole, mix(0.0))[1]["step"]
        trigger = sorted(steps)[2] * 1.001
        method = mix(9.0, trigger=trigger)
        found = record(model, name, lambda m: cached(m, method))
        first = next(i for i, value in enumerate(steps) if value < trigger) + 2
        assert found.left_out()[:first] == [""] * first
        assert found.left_out()[first] != ""
        assert found.left_out() == decided(found, method)[0]

    @pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "euler_ancestral", "dpm_adaptive"])
    def test_other_samplers(self, name: str, sampler: str, model: Any) -> None:
        plain = networks.sample(model, name, sampler=sampler)
        assert torch.equal(networks.sample(cached(model, mix(0.0)), name, sampler=sampler), plain)
        result = networks.sample(cached(model, mix(9.0)), name, sampler=sampler)
        assert torch.isfinite(result).all()

    def test_batches_runs_and_the_cpu_agree(self, name: str, model: Any) -> None:
        mixed = cached(model, mix(0.5))
        once = networks.sample(mixed, name)
        assert torch.equal(networks.sample(mixed, name), once)
        assert torch.equal(networks.sample(cached(model, mix(0.5), to_host=True), name), once)
        assert torch.isfinite(networks.sample(mixed, name, batch=2)).all()

    def test_the_negative_conditioning_is_left_to_cfg_cache(
        self, name: str, model: Any, said: list[str]
    ) -> None:
        both = cached(model, CfgCache(interval=3, start_percent=0.0))
        assert torch.isfinite(networks.sample(cached(both, mix(0.5)), name)).all()
        assert any("left to it" in text for text in said)

    @pytest.mark.parametrize("where", ["negative", "complete"])
    def test_a_fault_costs_speed_only(
        self, name: str, where: str, model: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any) -> Any:
            raise RuntimeError("no memory left")

        monkeypatch.setattr(Guidance if where == "negative" else MixRun, where, fail)
        method = mix(9.0, penalty=9.0, max_gap=9, share=0.0)
        found = record(model, name, lambda m: cached(m, method))
        assert "no memory left" in said[-1]
        assert torch.isfinite(found.picture).all()
        # What failed is run again in full, and so is all that follows.
        branches = [len(call.args[0]) for call in found.calls]
        if where == "complete":
            assert torch.equal(found.picture, networks.sample(model, name, steps=STEPS))
        else:
            assert branches.count(1) == 1
        after = found.calls[branches.index(1) :] if where == "negative" else found.calls
        assert all(len(call.ran) == found.blocks for call in after)

    def test_the_node_offers_it(self, name: str, model: Any, said: list[str]) -> None:
        inputs: dict[str, Any] = {
            "granularity": "auto",
            "predictor": "auto",
            "speedup": 2.0,
            "threshold": 9.0,
            "interval": 3,
            "warmup": 2,
            "max_gap": 2,
            "start_percent": 0.0,
            "end_percent": 1.0,
        }
        node = ScalingStepCacheAdvanced.execute(model, method="MixCache", **inputs)
        networks.sample(node.result[0], name)
        assert said[-1].startswith("MixCache: computed ")
        assert "computed 10 of 10" not in said[-1]
