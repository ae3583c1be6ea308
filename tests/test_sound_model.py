"""The demo's model of video with its sound, in the real host."""

from __future__ import annotations

import torch
from scaling_cache.cache_core.methods import ScalingCache

from demo.sound_model.clips import HUES, PROMPTS, SOUND, VIDEO, pictures, render, waves
from demo.sound_model.evaluate import sample
from demo.sound_model.networks import FILE, load_model
from testbed.install import cached

STEPS = 16


def hue(picture: torch.Tensor) -> int:
    """Of the hues that clips have, the nearest to what is bright in frames [..., 3]."""
    bright = picture.flatten(0, -2)
    mean = (bright * bright.sum(1, keepdim=True) ** 2).sum(0)
    return int(torch.nn.functional.cosine_similarity(torch.tensor(HUES), mean[None]).argmax())


def test_video_and_sound_are_both_near_at_twice_the_speed() -> None:
    """Nearer than half the steps come, and what was asked for."""
    assert FILE.stat().st_size < 3_000_000
    model, prompts = load_model(), PROMPTS[::13][:8]
    assert [hue(p) for p in pictures(render(prompts, 0)[0])] == [p.hue for p in prompts]
    plain = sample(model, prompts, STEPS, 0)
    assert [part.shape[1:] for part in plain] == [VIDEO, SOUND]
    asked = [hue(p) == w.hue for p, w in zip(pictures(plain[0]), prompts, strict=True)]
    assert sum(asked) >= 5
    assert waves(plain[1]).abs().amax(1).min() > 0.05
    fast = sample(cached(model, ScalingCache(2.0), runs := []), prompts, STEPS, 0)
    few = sample(model, prompts, STEPS // 2, 0)
    assert runs[0].report.computed < STEPS
    for near, far, full in zip(fast, few, plain, strict=True):
        assert (near - full).norm() < (far - full).norm()
