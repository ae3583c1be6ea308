"""Latents that the host packs into one row, as video with its sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import comfy.sample
import pytest
import torch
from scaling_cache.cache_core import streams
from scaling_cache.nodes.host.sampling import log_snr, streams_of

from testbed import networks
from testbed.further import FURTHER
from testbed.methods import entries
from testbed.observe import listening, refusal, watching

STEPS = 12
# How far from the plain result each may be; what EasyCache repeats is of use for flow models alone.
METHODS = {"Scaling Cache": 0.6, "EasyCache": math.inf}
# Sizes of latents that are sampled together.
PACKS = {
    "one": [(2, 2, 4, 4)],
    "two": [(1, 2, 8, 8), (1, 1, 4)],
    "three, of two samples": [(2, 2, 4, 4), (2, 1, 3), (2, 5)],
    "an empty one": [(1, 2, 4, 4), (1, 3, 0)],
    "the first is empty": [(1, 0, 4, 4), (1, 1, 16), (1, 1, 8)],
}


@pytest.fixture(scope="module")
def model() -> Any:
    """A network that takes any row."""
    spec = networks.spec_of("stable_audio")
    small = {**spec.network, "io_channels": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FURTHER, "one_row", replace(spec, network=small, latent=(1, 48)))
        return networks.build("one_row", spread=0.1)


def sample(model: Any, shapes: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """The row that comes of latents of some sizes."""
    generator = torch.Generator().manual_seed(0)
    noise = networks.nested([torch.randn(shape, generator=generator) for shape in shapes])
    latent = networks.nested([torch.zeros(shape) for shape in shapes])
    texts = networks.conditioning("stable_audio", 2), networks.conditioning("stable_audio", 3)
    with torch.inference_mode():
        out = comfy.sample.sample(
            model, noise, STEPS, 4.0, "euler", "simple", *texts, latent, disable_pbar=True, seed=1
        )
    parts = out.unbind() if out.is_nested else [out]
    return torch.cat([part.flatten(1) for part in parts], 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_is_cached_stream_by_stream(
    model: Any, method: str, pack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = PACKS[pack]
    lengths = [n for n in (math.prod(shape[1:]) for shape in shapes) if n]
    cuts: list[Sequence[int]] = []
    cut = streams.cut
    monkeypatch.setattr(streams, "cut", lambda x, own: (cuts.append(own), cut(x, own))[1])
    entry = next(entry for entry in entries() if entry.name == method)
    plain = sample(model, shapes)
    assert torch.equal(sample(entry.put(model, STEPS, True, "none"), shapes), plain)
    with listening() as lines, watching(entry.put(model, STEPS, False, "none")) as (watched, seen):
        found = sample(watched, shapes)
    assert not refusal(lines)
    (report,) = seen.reports
    assert 0 < report.computed < report.evaluations == STEPS
    assert all(own == lengths for own in cuts)
    assert bool(cuts) is (len(lengths) > 1)
    for near, far in zip(found.split(lengths, 1), plain.split(lengths, 1), strict=True):
        assert torch.isfinite(near).all()
        assert 0 < (near - far).norm() / far.norm() < METHODS[method]


def test_a_stream_has_a_place_of_its_own_on_the_schedule(model: Any) -> None:
    """By its own positions, and by how much larger the host carries it."""
    schedule, shapes = (1.0, 0.7, 0.3, 0.0), [(1, 4, 9, 16, 16), (1, 8, 12)]
    video, sound = streams_of(model, schedule, shapes)
    assert (video.length, sound.length) == (4 * 9 * 256, 96)
    assert video.log_snr == log_snr(model, schedule, shapes[0])
    assert sound.log_snr == log_snr(model, schedule, shapes[1]) != video.log_snr
    sampling = model.get_model_object("model_sampling")
    carried = SimpleNamespace(
        get_model_object=lambda _: SimpleNamespace(**vars(sampling), audio_scale=4.0)
    )
    assert streams_of(carried, schedule, shapes[:1]) == ()
    assert streams_of(carried, schedule, shapes)[1].log_snr == log_snr(
        carried, schedule, shapes[1], 4.0
    )


@pytest.mark.parametrize(("name", "louder"), [("ltx2", 1.0), ("minimax_h3", 4.0)])
def test_models_of_video_and_sound(name: str, louder: float) -> None:
    """Those of newer hosts, which one carries the sound of another shift larger."""
    model, latent = networks.build(name), networks.empty(name)
    shapes = [tuple(part.shape) for part in latent.unbind()]
    schedule = (1.0, 0.7, 0.3, 0.0)
    _, sound = streams_of(model, schedule, shapes)
    assert sound.log_snr == log_snr(model, schedule, shapes[1], louder)
    entry = next(entry for entry in entries() if entry.name == "Scaling Cache")
    plain = networks.sample(model, name, STEPS)
    with watching(entry.put(model, STEPS, False, "none")) as (watched, seen):
        found = networks.sample(watched, name, STEPS)
    assert seen.reports[0].computed < STEPS
    lengths = [math.prod(shape[1:]) for shape in shapes]
    for near, far in zip(found.split(lengths, 1), plain.split(lengths, 1), strict=True):
        assert 0 < (near - far).norm() / far.norm() < 0.6
