"""What Profile Blocks measures of the attention, in the real host, against recorded q and k."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from dataclasses import replace
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch
from comfy.ldm.wan.model import WanModel_S2V
from comfy.model_patcher import create_model_options_clone
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.calibration.attention import (
    AttentionStatistics,
    picture_tokens,
    preference,
    token_contrast,
)
from scaling_cache.cache_core.calibration.block_tables import WatchStack
from scaling_cache.nodes.families import find_family
from scaling_cache.nodes.families.family import picture_only, references_behind
from scaling_cache.nodes.families.lumina2 import picture_start
from scaling_cache.nodes.host import attention_probe

from testbed import networks
from testbed.install import cached
from testbed.transformers import TRANSFORMERS
from testbed.watch import Watch

OVERRIDE = "optimized_attention_override"
# The host gives the attention of these no options, so nothing can follow it.
# Newer ones give that of Wan S2V some.
_S2V = "transformer_options=args" in inspect.getsource(WanModel_S2V.forward_orig)
SILENT = ("pixart",) if _S2V else ("wan_s2v", "pixart")


FAMILIES = list(TRANSFORMERS)


class Recorder:
    """An override such as a user's: records each attention and calls the host's own."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.options: list[Any] = []

    def __call__(self, func: Any, q: Any, k: Any, v: Any, *args: Any, **kwargs: Any) -> Any:
        heads = args[0] if args else kwargs["heads"]
        mask = args[1] if len(args) > 1 else kwargs.get("mask")
        if not kwargs.get("skip_reshape"):
            q, k = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in (q, k))
        self.options.append(kwargs.get("transformer_options"))
        self.calls.append({"q": q.clone(), "k": k.clone(), "mask": mask})
        if kwargs.get("skip_reshape"):
            return func(q, k, v, *args, **kwargs)
        q, k = (t.transpose(1, 2).flatten(2) for t in (q, k))
        return func(q, k, v, *args, **kwargs)


def matrix(call: dict[str, Any]) -> np.ndarray:
    """The whole attention matrix of a call in float64 [samples, heads, queries, keys]."""
    q, k = (call[name].double().numpy() for name in "qk")
    logits = q @ k.swapaxes(2, 3) / math.sqrt(q.shape[-1])
    if call["mask"] is not None:
        logits = logits + call["mask"].double().numpy()
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def statistics(seen: list[tuple[int, np.ndarray]] | None = None) -> Any:
    """Statistics that also write down what they take in."""

    class Recorded(AttentionStatistics):
        def observe(self, block: int, scores: torch.Tensor) -> None:
            if seen is not None:
                seen.append((block, scores.numpy().copy()))
            super().observe(block, scores)

    return Recorded()


def profiled(model: Any, found: Any) -> Any:
    return attention_probe.watch(cached(model, WatchStack()), found)


def blocks(model: Any) -> int:
    network = model.model.diffusion_model
    return find_family(network).layout(network).total


def with_override(model: Any, override: Any) -> Any:
    patched = model.clone()
    # Clones copy the objects that a model carries, but no functions.
    options = patched.model_options.setdefault("transformer_options", {})
    options[OVERRIDE] = lambda *args, **kwargs: override(*args, **kwargs)
    return patched


def of_the_user(options: Any) -> bool:
    """Whether the override is a function as `with_override` makes it."""
    return isinstance(options[OVERRIDE], FunctionType)


@pytest.mark.parametrize("cfg", [3.0, 1.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_picture_is_that_of_a_plain_run(name: str, cfg: float) -> None:
    model, found = networks.build(name), statistics()
    plain = networks.sample(model, name, cfg=cfg)
    assert torch.equal(networks.sample(profiled(model, found), name, cfg=cfg), plain)
    if name in SILENT:
        with pytest.raises(ValueError, match="could not be followed"):
            found.preferences(blocks(model))
        return
    values = found.preferences(blocks(model))
    assert len(values) == blocks(model)
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize(
    ("name", "per_block", "start", "more"),
    [
        ("flux", 1, 5, {}),
        ("flux", 1, 5, {"batch": 2}),
        ("wan", 2, 0, {}),
        ("wan", 2, 0, {"batch": 2}),
        ("wan_short", 2, 0, {}),
        ("sd3", 1, 5, {"batch": 2}),
        # The host masks the padding of one prompt at a time.
        ("hunyuan_video", 1, 0, {"cfg": 1.0}),
    ],
)
def test_column_means_are_those_of_the_recorded_attention(
    name: str,
    per_block: int,
    start: int,
    more: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On pictures of fewer tokens than queries are taken, where all of them are."""
    if name == "hunyuan_video":
        # Two words of padding, which its blocks do not attend to.
        mask = torch.tensor([[1, 1, 1, 0, 0]])
        spec = TRANSFORMERS[name]
        padded = replace(spec, more={**spec.more, "attention_mask": mask})
        monkeypatch.setitem(TRANSFORMERS, name, padded)
    # As many tokens as words: the attention to the text has the shape of that among the tokens.
    short = replace(TRANSFORMERS["wan"], latent=(16, 5, 2, 2))
    monkeypatch.setitem(TRANSFORMERS, "wan_short", short)
    model, user, seen = networks.build(name), Recorder(), []
    networks.sample(profiled(with_override(model, user), statistics(seen)), name, **more)
    tokens = {"flux": 16, "sd3": 16, "wan_short": 5}.get(name, 32)
    # Newer hosts put the text first in more networks, and say so.
    start = user.options[-1].get("img_slice", [start])[0]
    columns = slice(start, start + tokens)
    depth = blocks(model)
    # What comes before the blocks, such as the refinement of the text, is shorter.
    calls = [
        (call, options["cond_or_uncond"].index(0))
        for call, options in zip(user.calls, user.options, strict=True)
        if call["q"].shape[2] >= tokens and not of_the_user(options)
    ]
    assert len(calls) == 10 * depth * per_block
    assert [block for block, _ in seen] == list(range(depth)) * 10
    batch = more.get("batch", 1)
    for (_, found), (call, branch) in zip(seen, calls[::per_block], strict=True):
        whole = matrix(call)[..., columns, columns].mean((1, 2))
        assert found.shape == (batch, tokens)
        np.testing.assert_allclose(found, whole[branch * batch :][:batch], atol=1e-4)
    masks = {call["mask"] is not None for call, _ in calls}
    assert masks == {name == "hunyuan_video"}


def test_preferences_are_those_of_recorded_attention_and_outputs() -> None:
    model, user, outputs = networks.build("flux"), Recorder(), []

    def look(args: Any) -> Any:
        outputs.append([out.double().numpy() for out in args["conds_out"]])
        return args["conds_out"]

    looked = with_override(model, user)
    looked.model_options["sampler_pre_cfg_function"] = [look]
    found = statistics()
    networks.sample(profiled(looked, found), "flux")
    contrast = np.zeros(16)
    for positive, negative in outputs:
        gap = np.abs(positive - negative)[0].mean(0)
        patches = gap.reshape(4, 2, 4, 2).mean((1, 3)).flatten()
        contrast += patches / patches.mean()
    foreground = contrast > contrast.mean()
    assert 0 < foreground.sum() < 16
    for block, value in enumerate(found.preferences(5)):
        scores = np.zeros(16)
        for step in range(10):
            call, options = user.calls[step * 5 + block], user.options[step * 5 + block]
            place = options["cond_or_uncond"].index(0)
            scores += matrix(call)[place, :, 5:, 5:].mean((0, 1))
        high = scores > np.median(scores)
        assert value == pytest.approx((high & foreground).sum() / foreground.sum())


def test_without_guidance_the_negative_conditioning_is_computed_at_every_fourth_evaluation() -> (
    None
):
    model, found, seen = networks.build("flux"), statistics(), []

    def look(executor: Any, model: Any, conds: Any, *args: Any) -> Any:
        outputs = executor(model, conds, *args)
        seen.append((len(conds), outputs[0].double().numpy()))
        return outputs

    watched = profiled(model, found)
    watched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "look", look)
    with Watch(model.model.diffusion_model, "flux") as watch:
        networks.sample(watched, "flux", cfg=1.0)
    assert len(watch.calls) == 13
    assert [count for count, _ in seen] == [2, 1, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1, 2]
    contrast = np.zeros(16)
    for place in (0, 5, 10):
        gap = np.abs(seen[place][1] - seen[place + 1][1])[0].mean(0)
        patches = gap.reshape(4, 2, 4, 2).mean((1, 3)).flatten()
        contrast += patches / patches.mean()
    scores = torch.stack([found._scores[block] for block in range(5)]).double().numpy()
    np.testing.assert_allclose(found.preferences(5), preference(scores, contrast[None]))


# --- where the picture is


def keys_of_block_0(model: Any, name: str, call: Any, x: torch.Tensor) -> torch.Tensor:
    """Keys [samples, heads, tokens, width] of the first attention among all tokens of block 0."""
    user = Recorder()
    options = {
        key: value
        for key, value in call.kwargs["transformer_options"].items()
        if key in ("sigmas", "sample_sigmas", "cond_or_uncond", "uuids")
    }
    kwargs = {**call.kwargs, "transformer_options": {**options, OVERRIDE: user}}
    with torch.inference_mode():
        model.model.diffusion_model(x, *call.args[1:], **kwargs)
    stream = math.prod(call.into.shape[1:-1])
    return next(c["k"] for c in user.calls if c["q"].shape[2] == c["k"].shape[2] >= stream)


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Lumina 2 that fills its picture up, as Z-Image does, and a Flux with reference images."""
    spec = TRANSFORMERS["lumina2"]
    padded = replace(spec, network={**spec.network, "pad_tokens_multiple": 12})
    monkeypatch.setitem(TRANSFORMERS, "z_image", padded)
    for name in ("flux", "qwen_image"):
        spec = TRANSFORMERS[name]
        latents = [torch.ones(1, *spec.latent[:-2], 6, 4)]
        if name == "flux":
            more = {**spec.more, "reference_latents": latents}
        else:
            more = {"reference_latents": latents}
        monkeypatch.setitem(TRANSFORMERS, f"{name}_edit", replace(spec, more=more))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "name",
    [*(n for n in FAMILIES if n not in SILENT), "z_image", "flux_edit", "qwen_image_edit"],
)
def test_a_change_of_the_picture_moves_the_key_of_its_token(name: str) -> None:
    """One patch of the latent is changed: that is where the contrast is, and the one key that moves is
    the one that stands for it."""
    model = networks.build(name)
    network = model.model.diffusion_model
    with Watch(network, name) as watch:
        networks.sample(model, name, steps=8)
    call = watch.calls[0]
    family = find_family(network)
    x, patch = call.args[0], family.patch(network)
    count = picture_tokens(x.shape, patch)
    before = keys_of_block_0(model, name, call, x)
    stream = math.prod(call.into.shape[1:-1])
    columns = family.picture_keys(network, stream, before.shape[2], count)
    assert columns is not None
    for place in ((0, 0, 0), (-1, 1, 2), (-1, -1, -1)):
        frame, row, column = place
        changed = x.clone()
        target = changed.reshape(*x.shape[:2], -1, *x.shape[-2:])
        rows = range(x.shape[-2])[row * patch :][:patch]
        across = range(x.shape[-1])[column * patch :][:patch]
        target[:, :, frame, rows.start : rows.stop, across.start : across.stop] += 1.0
        contrast = token_contrast(changed, x, patch)[0]
        after = keys_of_block_0(model, name, call, changed)
        moved = (after - before).abs().amax((0, 1, 3)).nonzero().flatten().tolist()
        if name in ("lumina2", "z_image"):
            # The picture's tokens have attended to each other before block 0, those that fill up too.
            filled = range(columns.start, before.shape[2])
            assert set(range(columns.start, columns.stop)) <= set(moved) <= set(filled)
            continue
        assert contrast.nonzero().flatten().tolist() == [int(contrast.argmax())]
        assert moved == [columns.start + int(contrast.argmax())]


def test_where_the_picture_cannot_be_told() -> None:
    assert (picture_only(None, 16, 16), picture_only(None, 20, 16)) == (0, None)
    assert (references_behind(None, 20, 16), references_behind(None, 8, 16)) == (0, None)

    class Filled:
        pad_tokens_multiple = 32

    assert (picture_start(Filled, 96, 40), picture_start(Filled, 40, 40)) == (32, None)


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        # A second picture between the rows of the first.
        ("hidream", {"concat_latent_image": torch.ones(1, 16, 8, 8)}, "more than the picture"),
        ("flux", {"area": (4, 8, 0, 0)}, "could not be followed"),
    ],
)
def test_what_is_not_the_whole_picture_is_not_taken_for_it(
    name: str, more: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TRANSFORMERS[name]
    monkeypatch.setitem(TRANSFORMERS, name, replace(spec, more={**spec.more, **more}))
    model, found = networks.build(name), statistics()
    plain = networks.sample(model, name)
    assert torch.equal(networks.sample(profiled(model, found), name), plain)
    with pytest.raises(ValueError, match=why):
        found.preferences(blocks(model))


# --- nothing is left behind


@pytest.fixture
def before() -> Iterator[tuple[Any, Recorder]]:
    """A model with an override of the user, whose options must stay as they are."""
    user = Recorder()
    model = with_override(networks.build("flux"), user)
    options = copy.copy(model.model_options["transformer_options"])
    yield model, user
    assert model.model_options["transformer_options"] == options
    assert list(options) == [OVERRIDE]
    user.options.clear()
    networks.sample(model, "flux")
    assert len(user.options) == 50
    assert all(map(of_the_user, user.options))


def test_the_override_of_the_user_is_called_and_stays(before: Any) -> None:
    model, user = before
    plain = networks.sample(model, "flux")
    assert len(user.calls) == 50
    watched = profiled(model, statistics())
    options = create_model_options_clone(watched.model_options)
    assert torch.equal(networks.sample(watched, "flux"), plain)
    assert watched.model_options == options
    # The probe was there during the run, and only then.
    assert all(map(of_the_user, user.options[:50]))
    assert len(user.calls) == len(user.options) == 100
    assert not any(map(of_the_user, user.options[50:]))


def test_the_options_are_as_before_after_an_exception(before: Any) -> None:
    model, _ = before
    network = model.model.diffusion_model
    attributes, calls = dict(vars(network)), []

    def fail(module: Any, args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("broken")

    handle = network.single_blocks[1].register_forward_pre_hook(fail)
    watched = profiled(model, statistics())
    options = create_model_options_clone(watched.model_options)
    with pytest.raises(RuntimeError, match="broken"):
        networks.sample(watched, "flux")
    handle.remove()
    assert watched.model_options == options
    assert dict(vars(network)) == attributes


def test_a_clone_is_measured_as_well() -> None:
    found = statistics()
    networks.sample(profiled(networks.build("flux"), found).clone(), "flux")
    assert len(found.preferences(5)) == 5


def test_without_an_override_of_the_user_none_stays() -> None:
    model = networks.build("flux")
    watched = profiled(model, statistics())
    networks.sample(watched, "flux")
    for one in (model, watched):
        assert OVERRIDE not in one.model_options.get("transformer_options", {})
    with Watch(model.model.diffusion_model, "flux") as watch:
        networks.sample(model, "flux")
    assert all(OVERRIDE not in call.kwargs["transformer_options"] for call in watch.calls)


def test_a_fault_of_the_measurement_costs_the_preferences_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, found = networks.build("flux"), statistics()
    plain = networks.sample(model, "flux")

    def fail(*args: Any) -> Any:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(attention_probe, "column_means", fail)
    assert torch.equal(networks.sample(profiled(model, found), "flux"), plain)
    with pytest.raises(ValueError, match="RuntimeError: no memory left"):
        found.preferences(5)
