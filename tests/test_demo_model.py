"""The committed demo model, through the host's own loaders: it draws what it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from demo.host.fetch import ROOT
from demo.model.clips import render
from demo.model.measure import read_clip
from demo.nodes.vocabulary import (
    Prompt,
    all_prompts,
    encode,
    held_out_prompts,
    parse,
    training_prompts,
)
from demo.run import measure, methods

# Sampling 64 clips takes some minutes on two cores.
pytestmark = pytest.mark.timeout(1600)


@pytest.fixture(scope="module")
def quality() -> dict[str, Any]:
    """Measured in a process of its own, with all cores."""
    command = [sys.executable, "-m", "demo.model.evaluate", "--samples", "64", "--steps", "20"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_vae_reconstructs_held_out_clips(quality: dict[str, Any]):
    assert quality["vae_psnr"] >= 28


def test_samples_show_the_asked_colour(quality: dict[str, Any]):
    assert quality["colour"] >= 0.85


def test_samples_show_the_asked_shape(quality: dict[str, Any]):
    assert quality["shape"] >= 0.60


def test_samples_move(quality: dict[str, Any]):
    assert quality["moving"] >= 0.95


def test_weights_are_small():
    """Of each model, the ControlNet, the students and video with sound included."""
    folders = [*(ROOT / "demo").glob("*/*weights")]
    assert len(folders) == 6
    for folder in folders:
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 30 * 2**20


def test_the_unet_draws_what_it_is_asked_for():
    command = [sys.executable, "-m", "demo.unet_model.evaluate"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    quality = json.loads(result.stdout.splitlines()[-1])
    assert quality["vae_psnr"] >= 30
    assert quality["colour"] >= 0.85
    assert quality["shape"] >= 0.75


# --- the measure itself, on clips whose content is known


def test_the_measure_reads_true_clips():
    prompts = held_out_prompts()[::2]
    readings = [
        read_clip(render(p, 900 + i).permute(1, 2, 3, 0).numpy()) for i, p in enumerate(prompts)
    ]
    pairs = list(zip(readings, prompts, strict=True))
    assert sum(r.colour == p.colour for r, p in pairs) >= 0.97 * len(prompts)
    assert sum(r.shape == p.shape for r, p in pairs) >= 0.90 * len(prompts)
    assert all(r.motion > 0.002 for r in readings)


def test_the_measure_sees_nothing_where_nothing_is():
    still = render(Prompt("red", "circle", "left", "night"), 3)[:, :1].expand(-1, 17, -1, -1)
    assert read_clip(still.permute(1, 2, 3, 0).numpy()).motion == 0
    empty = torch.full((17, 128, 128, 3), 0.4)
    reading = read_clip(empty.numpy())
    assert (reading.colour, reading.shape) == (None, None)


# --- the vocabulary


def test_prompts_are_held_out():
    assert len(held_out_prompts()) == 64
    assert not set(held_out_prompts()) & set(training_prompts())
    assert len(training_prompts()) + 64 == len(all_prompts()) == 432


def test_prompts_are_parsed_in_any_order():
    assert parse("night, bouncing circle RED") == Prompt("red", "circle", "bouncing", "night")
    assert parse("  ") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red elephant left night", "unknown word 'elephant', allowed are red"),
        ("red circle left", "one background"),
        ("red blue circle left night", "one colour"),
    ],
)
def test_bad_prompts_are_explained(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_embeddings_tell_prompts_apart():
    embeddings = torch.cat([encode(p) for p in all_prompts()])
    assert len(torch.unique(embeddings.flatten(1), dim=0)) == len(all_prompts())
    assert encode(None).abs().max() == 0


@pytest.mark.host
def test_the_comparison_of_methods_is_there_after_each_prompt():
    chosen = methods()[:2]
    seen = [
        [clip.counts for result in results for clip in result.clips]
        for results, facts in measure(chosen, clips=2)
        if facts["host_version"]
    ]
    assert [len(counts) for counts in seen] == [2, 4]
    assert seen[1][0] == seen[1][1] == (50, 50)
    assert all(computed == 25 for computed, _ in seen[1][2:])
