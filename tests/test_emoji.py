"""The emoji model: its language, its network, what it draws, and `make demo` in a real host; nothing here
needs the font."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from demo import show
from demo.emoji_model.control import load_control, mirrored, outlines
from demo.emoji_model.evaluate import CFG, LATENT, conditioning, load_model, load_vae
from demo.emoji_model.networks import make_sd3
from demo.emoji_model.reader import load_reader, smaller
from demo.emoji_model.train_dit import some
from demo.few_steps.teachers import TEACHERS, load_student
from demo.host.fetch import ROOT
from demo.host.loaders import load_shifted, sample_euler
from demo.model.networks import export
from demo.nodes.emoji import (
    EMBEDDING_WIDTH,
    LENGTH,
    POOLED_WIDTH,
    all_names,
    all_prompts,
    encode,
    held_out_prompts,
    parse,
    pool,
    training_prompts,
    vocabulary,
)


def test_a_prompt_is_words_of_names_in_any_order():
    words = parse("A grinning CAT, with grinning cat")
    assert words == ("grinning", "cat")
    assert str(words) == "grinning cat"
    assert parse(" with a ") is None


def test_an_unknown_word_is_named_with_those_near_it():
    with pytest.raises(ValueError, match=r"the word 'grining'; near it: grinning"):
        parse("grining cat")


def test_every_picture_can_be_asked_for_and_told_apart():
    assert len(all_names()) > 1500
    assert len(vocabulary()) <= EMBEDDING_WIDTH
    assert all(parse(name) == tuple(name.split()) for name in all_names().values())
    asked = {frozenset(prompt) for prompt in all_prompts()}
    assert len(asked) > 0.98 * len(all_prompts())


def test_embeddings_hold_the_words_and_nothing_for_none():
    words = parse("grinning cat")
    assert encode(words).shape == (1, LENGTH, EMBEDDING_WIDTH)
    assert (encode(words) != 0).sum() == 2
    assert torch.equal(pool(words), pool(parse("cat grinning")))
    assert pool(words).shape == (1, POOLED_WIDTH)
    assert encode(None).abs().max() == pool(None).abs().max() == 0


def test_prompts_are_held_out():
    assert len(held_out_prompts()) == 64
    assert not set(held_out_prompts()) & set(training_prompts())


def test_training_asks_by_some_of_the_words_and_now_and_then_by_none():
    random.seed(0)
    name = ["grinning", "cat", "face"]
    asked = [some(name) for _ in range(400)]
    assert 20 <= asked.count(None) <= 70
    assert all(set(words) <= set(name) for words in asked if words)
    assert {1, 2, 3} == {len(words) for words in asked if words}


def test_the_hosts_loader_knows_the_network_and_the_words_reach_it(tmp_path: Path):
    torch.manual_seed(0)
    net = make_sd3()
    torch.nn.init.normal_(net.final_layer.linear.weight, std=0.1)
    for block in net.joint_blocks:
        torch.nn.init.normal_(block.x_block.adaLN_modulation[1].weight, std=0.1)
    file = tmp_path / "emoji.safetensors"
    export(net.state_dict(), file)
    assert file.stat().st_size < 20e6
    model = load_shifted(file, 3.0)
    latents = []
    for text in ("grinning cat", "cat grinning", "red apple"):
        words = parse(text)
        positive, negative = ([[encode(w), {"pooled_output": pool(w)}]] for w in (words, None))
        latents.append(sample_euler(model, (1, 16, 16, 16), 2, 4.0, (positive, negative), 0))
    assert torch.isfinite(latents[0]).all()
    # Without places of their own, words say the same in any order.
    torch.testing.assert_close(latents[0], latents[1], rtol=1e-3, atol=1e-3)
    assert (latents[0] - latents[2]).abs().max() > 0.01


def test_it_draws_what_it_is_asked_for():
    """Read by a classifier that knows the font's pictures and not the networks."""
    command = [
        sys.executable,
        "-m",
        "demo.emoji_model.evaluate",
        "--samples",
        "60",
        "--steps",
        "20",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    quality = json.loads(result.stdout.splitlines()[-1])
    assert quality["first"] >= 0.9
    assert quality["half"] <= 30


@pytest.mark.parametrize("steps", TEACHERS["emoji"].steps)
def test_a_student_draws_what_it_is_asked_for_in_few_steps(steps: int):
    teacher = TEACHERS["emoji"]
    prompts = held_out_prompts()[:24]
    given = conditioning(list(prompts)), conditioning([None])
    latents = sample_euler(load_student("emoji", steps), (24, *LATENT), steps, 1.0, given, 0)
    pictures = teacher.load_vae().decode(latents)
    names = list(all_names().values())
    found = load_reader()(smaller(pictures.clamp(0, 1).movedim(-1, 1))).argmax(1).tolist()
    assert sum(names[i] == str(p) for i, p in zip(found, prompts, strict=True)) >= 22


def test_outlines_pull_a_picture_their_way():
    """The model knows each picture one way round only; its ControlNet is shown the other."""
    prompts = held_out_prompts()[:12]
    vae, shown = load_vae(), mirrored(prompts)
    hint = load_control().set_cond_hint(outlines(shown), 1.0, (0.0, 1.0), vae=vae)
    more = {"control": hint, "control_apply_to_uncond": True}
    alone, negative = conditioning(list(prompts)), conditioning([None])
    steered = [[text, {**other, **more}] for text, other in alone]

    def like(asked: list[Any], wanted: torch.Tensor) -> float:
        latents = sample_euler(load_model(), (12, *LATENT), 20, CFG, (asked, negative), 0)
        drawn = outlines(vae.decode(latents).clamp(0, 1).movedim(-1, 1))
        pairs = zip(drawn.flatten(1), outlines(wanted).flatten(1), strict=True)
        return float(np.mean([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]))

    with torch.inference_mode():
        assert like(steered, shown) > like(alone, shown) + 0.05
        assert like(steered, shown.flip(-1)) < like(alone, shown.flip(-1)) - 0.15


def test_the_demo_shows_plain_cached_and_fewer_steps_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(show, "STEPS", 20)
    monkeypatch.setattr(show, "OUT", tmp_path)
    show.run(["grinning cat"])
    said = capsys.readouterr().out
    for title in ("all steps", "cache 2x", "cache 3x", "fewer steps"):
        assert f"grinning cat: {title}" in said
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    plain, twice, half, thrice, third = rows
    assert plain["computed"] == 20
    assert (twice["computed"], thrice["computed"]) == (half["computed"], third["computed"])
    assert twice["evaluations"] == 20 > half["evaluations"] > third["evaluations"]
    assert twice["psnr"] > half["psnr"]
    page = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    columns = np.split(page[show.LINE : -show.LINE], 5, axis=1)
    for column in columns:
        assert column.std() > 10
    # The nearer, the darker the corner that shows the difference.
    plain, twice, half, *_ = (c[-show.CORNER :, -show.CORNER :].mean() for c in columns)
    assert twice < half < plain
