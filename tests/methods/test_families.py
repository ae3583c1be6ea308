"""Each method on a tiny network of each family, in the real host, against what the plain network would
have computed from the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from scaling_cache.cache_core.blocks import Branch
from scaling_cache.cache_core.decide.policies import RunPlan, SamplerTraits
from scaling_cache.cache_core.decide.signals import Polynomial, SignalKind
from scaling_cache.cache_core.methods import (
    DBCache,
    DeltaCache,
    DiCache,
    FirstBlockCache,
    MagCache,
    Start,
    TaylorSeer,
    TeaCache,
)
from scaling_cache.cache_core.run.report import RunReport
from scaling_cache.nodes.families import find_family
from scaling_cache.nodes.host.block_hooks import KEY, BlockPatch, BlockWalk, OneCall
from scaling_cache.nodes.host.presets import facts_of

from testbed import networks
from testbed.install import cached
from testbed.recent import RECENT
from testbed.transformers import TRANSFORMERS
from testbed.watch import Watch, replay

from .every import EVERY, put
from .every import TRANSFORMERS as INSIDE

FAMILIES = [*TRANSFORMERS, *(name for name, spec in RECENT.items() if spec.first)]
WITH_MODULATED = [name for name, spec in TRANSFORMERS.items() if spec.modulated]
BRANCHES = 2


@pytest.fixture
def model(name: str, built: Callable[[str], Any]) -> Any:
    return built(name)


@pytest.fixture
def untouched(name: str, plain: Callable[..., torch.Tensor]) -> torch.Tensor:
    """What the host samples without the pack."""
    return plain(name)


def tea(threshold: float, kind: SignalKind = SignalKind.MODULATED, **more: Any) -> TeaCache:
    return TeaCache(Polynomial((1.0, 0.0)), threshold, kind, **more)


def db(threshold: float, **more: Any) -> DBCache:
    return DBCache(threshold, **{"first_blocks": 1, "warmup": 2, **more})


def di(threshold: float) -> DiCache:
    return DiCache(threshold, retention=0.2, max_gap=None)


def seer(order: int) -> TaylorSeer:
    return TaylorSeer(3, order, 2)


def mag(threshold: float, **more: Any) -> MagCache:
    return MagCache(((1.0, *[0.97] * 9),), threshold, 3, 0.2, **more)


def delta(model: Any) -> DeltaCache:
    """All blocks but the second one of each stack."""
    method = DeltaCache.example(False, 10, facts_of(model))
    return replace(method, plans=tuple(replace(plan, interval=3) for plan in method.plans))


def run(model: Any, name: str, method: Any, **more: Any) -> tuple[torch.Tensor, list[Any], list]:
    """The picture, the calls of the network, and the same calls through the plain network."""
    network = model.model.diffusion_model
    with Watch(network, name) as watch:
        out = networks.sample(cached(model, method), name, **more)
    return out, watch.calls, replay(network, name, watch.calls)


def computed(calls: Sequence[Any]) -> list[int]:
    return [step for step, call in enumerate(calls) if call.out is not None]


def change(now: torch.Tensor, before: torch.Tensor) -> float:
    return float((now - before).abs().mean()) / float(before.abs().mean())


def halves(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tensor.chunk(BRANCHES)


def accumulated(signals: Sequence[torch.Tensor], threshold: float) -> list[int]:
    """TeaCache's rule, written again: one sum per branch, compute if either asks."""
    chosen = []
    sums = [0.0] * BRANCHES
    for step, signal in enumerate(signals):
        compute = step in (0, len(signals) - 1)
        if step and not compute:
            before = halves(signals[step - 1])
            for b, part in enumerate(halves(signal)):
                sums[b] += change(part, before[b])
                compute |= not sums[b] < threshold
        if compute:
            chosen.append(step)
            sums = [0.0] * BRANCHES
    return chosen


def near_last_computed(signals: Sequence[torch.Tensor], threshold: float) -> list[int]:
    """First Block Cache's rule, written again."""
    chosen = [0]
    for step in range(1, len(signals)):
        cached, now = halves(signals[chosen[-1]]), halves(signals[step])
        if any(not change(n, c) < threshold for n, c in zip(now, cached, strict=True)):
            chosen.append(step)
    return chosen


def differences(steps: list[int], residuals: list[torch.Tensor], step: int, order: int) -> Any:
    """TaylorSeer's forecast, written again as its recursion on tensors, oldest first."""
    kept: list[torch.Tensor] = []
    last = None
    for now, residual in zip(steps, residuals, strict=True):
        row = [residual]
        for older in kept[:order]:
            row.append((row[-1] - older) / (now - last))
        kept, last = row, now
    ahead, total, factor = step - last, torch.zeros_like(kept[0]), 1.0
    for i, difference in enumerate(kept):
        total = total + difference * factor
        factor *= ahead / (i + 1)
    return total


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """In bfloat16, with 8 bits, within four roundings of the largest value."""
    scale = max(float(expected.abs().max()), 1.0)
    # Cosmos flattens the places of its tokens before the final layer.
    found = found.reshape(expected.shape)
    share = 4 * 2**-8 if found.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=share * scale)


def check_skipped(name: str, calls: list[Any], plain: list[Any], head: str) -> None:
    """On a skipped step the final layer saw the stream before the skipped blocks plus what they had
    changed on the last computed step."""
    residual = None
    for call, reference in zip(calls, plain, strict=True):
        if call.out is not None:
            residual = reference.out - getattr(reference, head)
            continue
        assert residual is not None
        if name == "auraflow":
            continue  # its final module sees the modulated stream; the picture is checked below
        close(call.final, getattr(reference, head) + residual)


_ROUGH = ("wan", "wan_vace", "wan_s2v", "wan_causal", "wan_flow_rvs", "wan_dancer", "sd3")


@pytest.mark.parametrize("name", FAMILIES)
class TestEveryFamily:
    @pytest.mark.parametrize("method", INSIDE)
    def test_computing_all_changes_nothing(
        self, name: str, method: str, model: Any, untouched: torch.Tensor
    ) -> None:
        with Watch(model.model.diffusion_model, name) as watch:
            out = networks.sample(put(EVERY[method], model, everything=True), name)
        assert torch.equal(out, untouched)
        assert computed(watch.calls) == list(range(10))

    def test_first_block_cache(self, name: str, model: Any) -> None:
        # Thresholds between the changes that occur, so that each one is tested on both sides.
        _, _, whole = run(model, name, FirstBlockCache(0.0))
        signals = [s.after_first - s.into for s in whole]
        steps = sorted(change(b, a) for a, b in pairwise(signals))
        skipped = 0
        for threshold in (steps[2] * 1.01, steps[5] * 1.3, max(steps[-1], steps[5]) * 1.5):
            _, calls, reference = run(model, name, FirstBlockCache(min(threshold, 1.0)))
            signals = [s.after_first - s.into for s in reference]
            expected = near_last_computed(signals, min(threshold, 1.0))
            assert computed(calls) == expected
            assert all(len(call.ran) >= 1 for call in calls)
            check_skipped(name, calls, reference, "after_first")
            skipped += len(calls) - len(expected)
        # The first blocks of these random networks change by more than any threshold allows.
        assert skipped or name in _ROUGH

    def test_magcache(self, name: str, model: Any) -> None:
        for threshold, expected in (
            (0.02, [*range(10)]),
            (0.05, [0, 1, 3, 5, 7, 9]),
            (0.1, [0, 1, 4, 7]),
        ):
            _, calls, reference = run(model, name, mag(threshold))
            assert computed(calls) == expected
            check_skipped(name, calls, reference, "into")

    @pytest.mark.parametrize("order", [1, 2, 3])
    def test_taylorseer(self, name: str, order: int, model: Any) -> None:
        _, calls, reference = run(model, name, seer(order), steps=12)
        assert computed(calls) == [0, 1, 4, 7, 10]
        if name == "auraflow":
            return  # its final module sees the modulated stream
        done: list[int] = []
        for step, (call, plain) in enumerate(zip(calls, reference, strict=True)):
            if call.out is not None:
                done.append(step)
                continue
            residuals = [reference[i].out - reference[i].into for i in done]
            close(call.final, plain.into + differences(done, residuals, step, order))

    def test_dicache(self, name: str, model: Any) -> None:
        _, _, whole = run(model, name, di(0.0))
        changes = sorted(change(b.after_first, a.after_first) for a, b in pairwise(whole))
        counts = []
        for factor in (1.5, 2.5, 4.0):
            threshold = min(changes[4] * factor, 10.0)
            _, calls, reference = run(model, name, di(threshold))
            found, past = computed(calls), []
            sums = [0.0, 0.0]
            expected = []
            for step, (call, plain) in enumerate(zip(calls, reference, strict=True)):
                compute = step < 2 or step == 9
                if not compute:
                    before = halves(reference[step - 1].after_first)
                    for b, part in enumerate(halves(plain.after_first)):
                        sums[b] += change(part, before[b])
                        compute |= not sums[b] < threshold
                if compute:
                    sums = [0.0, 0.0]
                    expected.append(step)
                    past.append((plain.after_first - plain.into, plain.out - plain.into))
                elif name != "auraflow":
                    (p_2, r_2), (p_1, r_1) = past[-2:]
                    probe = halves(plain.after_first - plain.into)
                    parts = []
                    for b in range(BRANCHES):
                        gone = float((probe[b] - halves(p_2)[b]).abs().mean())
                        apart = float((halves(p_1)[b] - halves(p_2)[b]).abs().mean())
                        g = min(max(gone / apart, 1.0), 1.5)
                        parts.append(halves(r_2)[b] + g * (halves(r_1)[b] - halves(r_2)[b]))
                    close(call.final, plain.into + torch.cat(parts))
            assert found == expected
            assert all(call.ran for call in calls)
            counts.append(len(found))
        assert counts[-1] < 10

    def test_dbcache(self, name: str, model: Any) -> None:
        """With one live block at the end, where there are enough."""
        blocks = len(run(model, name, db(0.0))[1][0].ran)
        last = 1 if blocks > 2 else 0
        _, calls, reference = run(model, name, db(1.0, warmup=4, max_gap=2, last_blocks=last))
        signals = [s.after_first - s.into for s in reference]
        expected, row = [], 0
        for step, signal in enumerate(signals):
            near = expected and all(
                change(n, c) < 1.0
                for n, c in zip(halves(signal), halves(signals[expected[-1]]), strict=True)
            )
            if step < 4 or row == 2 or not near:
                expected.append(step)
                row = 0
            else:
                row += 1
        found = [i for i, call in enumerate(calls) if len(call.ran) == blocks]
        assert found == expected
        assert {len(call.ran) for call in calls} <= {blocks, 1 + last}
        if last == 0:
            check_skipped(name, calls, reference, "after_first")

    def test_delta_cache_runs_the_live_blocks(self, name: str, model: Any, untouched: Any) -> None:
        out, calls, _ = run(model, name, delta(model))
        stacks = {path.split(".")[0] for path in calls[0].ran}
        live = sorted([p for p in calls[0].ran if p.split(".")[0] == s][1] for s in stacks)
        for step, call in enumerate(calls):
            if step in (0, 1, 2, 5, 8):
                assert len(call.ran) == len(calls[0].ran)
            else:
                assert sorted(call.ran) == live
        assert torch.isfinite(out).all()
        assert not torch.equal(out, untouched)

    def test_model_without_the_node_is_untouched(
        self, name: str, model: Any, untouched: torch.Tensor
    ) -> None:
        cached(model, FirstBlockCache(0.5))
        assert torch.equal(networks.sample(model, name), untouched)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, SignalKind.MODULATED) for name in WITH_MODULATED),
        ("hidream", SignalKind.TOKENS),
        ("flux", SignalKind.TOKENS),
    ],
)
def test_teacache_on_a_tensor(
    name: str, kind: SignalKind, model: Any, untouched: torch.Tensor
) -> None:
    def signals(calls: Sequence[Any]) -> list[torch.Tensor]:
        return [call.signal if kind is SignalKind.MODULATED else call.into for call in calls]

    out, calls, whole = run(model, name, tea(0.0, kind))
    assert torch.equal(out, untouched)
    assert computed(calls) == list(range(10))
    steps = sorted(change(b, a) for a, b in pairwise(signals(whole)))
    counts = []
    for factor in (1.5, 2.5, 4.0):
        threshold = steps[4] * factor
        _, calls, reference = run(model, name, tea(threshold, kind))
        expected = accumulated(signals(reference), threshold)
        assert computed(calls) == expected
        check_skipped(name, calls, reference, "into")
        counts.append(len(expected))
    assert counts[-1] < 10


@pytest.mark.parametrize(
    ("name", "kind", "module_name"),
    [
        ("wan", SignalKind.TIME_EMBEDDING, "time_embedding"),
        ("wan", SignalKind.TIME_PROJECTION, "time_projection"),
        ("wan_vace", SignalKind.TIME_EMBEDDING, "time_embedding"),
        ("wan_vace", SignalKind.TIME_PROJECTION, "time_projection"),
        ("lumina2", SignalKind.TIME_EMBEDDING, "t_embedder"),
        ("hidream", SignalKind.TIME_EMBEDDING, "t_embedder"),
        ("cogvideox", SignalKind.TIME_EMBEDDING, "time_embedding_linear_2"),
    ],
)
def test_teacache_on_time(
    name: str, kind: SignalKind, module_name: str, model: Any, untouched: torch.Tensor
) -> None:
    network = model.model.diffusion_model
    module = network.get_submodule(module_name)
    seen: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda m, a, out: seen.append(out.clone()))
    assert torch.equal(networks.sample(cached(model, tea(0.0, kind)), name), untouched)
    handle.remove()
    # The first is the pass over the schedule; the others are the network's own.
    signals = [s.flatten(1)[:1] for s in seen[1:]]
    assert len(signals) == 10
    changes = sorted(change(b, a) for a, b in pairwise(signals))
    for factor in (1.5, 2.5, 4.0):
        threshold = changes[4] * factor
        _, calls, reference = run(model, name, tea(threshold, kind))
        assert computed(calls) == accumulated([torch.cat([s, s]) for s in signals], threshold)
        check_skipped(name, calls, reference, "into")


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "auraflow"])
class TestInBfloat16:
    """Predictions of half-precision models, against the formula in float32 on the same tensors."""

    @pytest.fixture
    def half(self, name: str) -> Any:
        return networks.build(name, dtype=torch.bfloat16)

    def test_reuse(self, name: str, half: Any) -> None:
        _, calls, reference = run(half, name, mag(0.1))
        assert computed(calls) == [0, 1, 4, 7]
        check_skipped(name, calls, reference, "into")

    def test_forecast(self, name: str, half: Any) -> None:
        _, calls, reference = run(half, name, seer(1))
        done: list[int] = []
        for step, (call, plain) in enumerate(zip(calls, reference, strict=True)):
            if call.out is not None:
                done.append(step)
                continue
            residuals = [(reference[i].out - reference[i].into).float() for i in done]
            close(call.final, plain.into.float() + differences(done, residuals, step, 1))


@pytest.mark.parametrize("name", ["lumina2", "hidream", "cosmos", "wan_s2v", "cogvideox"])
def test_stand_ins_leave_no_trace(name: str, model: Any, untouched: torch.Tensor) -> None:
    network = model.model.diffusion_model
    before = dict(vars(network))
    networks.sample(cached(model, mag(0.1)), name)
    assert dict(vars(network)) == before

    def fail(module: Any, args: Any) -> None:
        raise RuntimeError("broken")

    handle = network.get_submodule(networks.spec_of(name).last).register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        networks.sample(cached(model, mag(0.1)), name)
    handle.remove()
    assert dict(vars(network)) == before
    assert torch.equal(networks.sample(model, name), untouched)


@pytest.mark.parametrize("name", ["flux", "auraflow", "qwen_image"])
def test_an_unchanged_signal_repeats_the_picture_of_the_formula(name: str, model: Any) -> None:
    """The same step twice: the residual is the right one, so the skipped output is the plain one."""
    network = model.model.diffusion_model
    _, calls, _ = run(model, name, FirstBlockCache(0.0), steps=8)
    call = calls[3]
    family = find_family(network)
    assert family is not None
    layout = family.layout(network)
    schedule = tuple(1 - i / 8 for i in range(9))
    plan = RunPlan(schedule, SamplerTraits("euler", (1,) * 8, False), (0, 8))
    stack = FirstBlockCache(0.5).start(Start(plan, RunReport(8), layout=layout))
    patches = {key: BlockPatch(n) for n, key in family.hooks(network).items()}
    outputs = []
    for _ in range(2):
        stack.begin(lambda: 0.0)
        opened = stack.open([Branch("a", 0), Branch("b", 1)])
        assert opened is not None
        walk = BlockWalk(stack, opened, family, network, layout)
        options = {KEY: OneCall(walk), "patches_replace": {"dit": patches}}
        with torch.inference_mode():
            outputs.append(network(*call.args, **{**call.kwargs, "transformer_options": options}))
    assert stack.close().computed == 1
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-5)
