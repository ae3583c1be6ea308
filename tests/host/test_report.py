"""The parts of a report: table, curve and pictures; runs that are found through the model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy.patcher_extension import WrappersMP
from comfy_execution.graph import DynamicPrompt
from fontTools.ttLib import TTFont
from scaling_cache.cache_core.calibration.fidelity import Fidelity, SoundFidelity, compare_pictures
from scaling_cache.cache_core.run.report import FinishedRun, RunReport, StepRecord
from scaling_cache.nodes.cache_report import cached_runs, compare, compare_audio, plain_runs
from scaling_cache.nodes.host.language import language
from scaling_cache.nodes.host.progress import runs_of, upstream
from scaling_cache.nodes.report import canvas, picture
from scaling_cache.nodes.report.canvas import (
    COMPUTED,
    CURVE,
    PREDICTED,
    PREDICTED_EDGE,
    Canvas,
    length,
    printable,
    spoken,
    wrap,
)
from scaling_cache.nodes.report.facts import Facts, as_dict, text
from scaling_cache.nodes.report.gallery import choose, difference, full_colour, heat
from scaling_cache.nodes.report.latents import frames, parts, preview
from scaling_cache.nodes.report.timeline import curve_of, nice_above, ticks
from scaling_cache.nodes.scaling_cache import ScalingCache

from demo.host.fetch import ROOT


def make(marks: str, estimates: bool = False, missed: bool = False, **more: Any) -> FinishedRun:
    """A run with a mark per step: c computed, . predicted."""
    report = RunReport(len(marks))
    for step, mark in enumerate(marks):
        computed = mark == "c"
        error = 0.03 if computed else 0.01
        known = (error, 0.02) if estimates and step > 2 else (None, None)
        record = StepRecord(step, 1 - step / len(marks), "test", *known, 1, int(computed))
        record.seconds = 1.0 if computed else 0.0
        record.missed = 0.05 if missed and computed and step > 1 else None
        report.records.append(record)
    return FinishedRun("Test Cache", report, "7", "9", "p", **more)


def pictures(count: int = 1, height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, height, width, 3)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def draw(runs: Any, shown: torch.Tensor, reference: torch.Tensor | None = None, **more: Any):
    fidelity = None if reference is None else compare_pictures(shown, reference)
    facts = Facts(runs, fidelity=fidelity, count=len(shown), size="96 x 64", **more)
    return picture.draw(facts, shown, reference)


def count(image: torch.Tensor, colour: str) -> int:
    """Pixels of a colour."""
    wanted = torch.tensor([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int(((image[0] * 255).round().long() == wanted).all(-1).sum())


# --- drawing


@pytest.mark.parametrize("steps", [1, 2, 8, 30, 50, 200, 1000])
@pytest.mark.parametrize("shown", [1, 2, 4, 21])
def test_any_number_of_steps_and_pictures(steps: int, shown: int):
    marks = "".join("c" if i % 3 == 0 else "." for i in range(steps))
    image = draw([make(marks, estimates=True)], pictures(shown), pictures(shown) // 2)
    assert image.dtype == torch.float32
    assert image.shape[0] == 1
    assert tuple(image.shape[2:]) == (1200, 3)
    assert 500 < image.shape[1] < 3000
    assert float(image.min()) >= 0
    assert float(image.max()) == 1


def test_the_bar_shows_how_many_steps_were_computed():
    image = draw([make("c" * 10 + "." * 30)], pictures())
    computed = count(image, COMPUTED)
    predicted = count(image, PREDICTED) + count(image, PREDICTED_EDGE)
    assert computed / (computed + predicted) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("kind", "drawn"), [({"estimates": True}, True), ({"missed": True}, True), ({}, False)]
)
def test_a_curve_where_there_is_an_error(kind: dict[str, bool], drawn: bool):
    assert (count(draw([make("ccc.c.c.c.", **kind)], pictures()), CURVE) > 500) == drawn


def test_the_curve_that_decided_comes_first():
    def points(run: Any) -> Any:
        curve = curve_of(run.report.records)
        return None if curve is None else (list(curve.points), list(curve.limits), curve.top)

    both = make("ccc.c", estimates=True, missed=True)
    assert points(both) == ([(3, 0.01), (4, 0.03)], [(3, 0.02), (4, 0.02)], 0.03)
    assert points(make("ccc.c", missed=True)) == ([(2, 0.05), (4, 0.05)], [], 0.05)
    assert points(make("ccc.c")) is None
    both.report.records[4].error = math.inf
    assert points(both) == ([(2, 0.05), (4, 0.05)], [], 0.05)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.9, 1), (1, 1), (1.01, 1.5), (0.021, 0.03), (950, 1000), (41, 50)]
)
def test_axes_end_at_round_numbers(value: float, top: float):
    assert nice_above(value) == pytest.approx(top)


@pytest.mark.parametrize("count", [1, 8, 30, 50, 200, 1000])
def test_steps_are_numbered_without_crowding(count: int):
    assert 1 <= len(ticks(count)) <= 12
    assert ticks(count)[0] == 0
    assert ticks(count)[-1] < count


@pytest.mark.parametrize(
    ("total", "worst", "chosen"),
    [
        (3, 1, [0, 1, 2]),
        (21, None, [0, 7, 13, 20]),
        (21, 20, [0, 7, 13, 20]),
        (21, 8, [0, 8, 13, 20]),
        (21, 19, [0, 7, 19, 20]),
    ],
)
def test_the_worst_picture_is_among_the_shown(total: int, worst: Any, chosen: Any):
    assert choose(total, worst) == chosen


def test_the_difference_is_white_where_there_is_none_and_dark_from_its_end_on():
    reference = torch.full((40, 40, 3), 100, dtype=torch.uint8)
    picture = reference.clone()
    picture[:20] += 12
    picture[0, 0, 0] = 255  # one pixel does not set the scale
    apart = difference(picture, reference)
    full = full_colour([apart])
    assert full == 16
    colours = np.asarray(heat(apart, full))
    assert colours[30, 30].tolist() == [255, 255, 255]
    assert colours[10, 10].astype(int).sum() < 400
    assert colours[0, 0].astype(int).sum() < colours[10, 10].astype(int).sum()


def test_a_long_note_is_broken_and_odd_signs_do_not_hurt():
    lines = wrap("a word and 另一个 " * 40, 15, 500)
    assert len(lines) > 3
    assert max(length(line, 15) for line in lines) <= 500
    assert "".join(wrap("x" * 300, 15, 500)) == "x" * 300
    image = draw([make("cc..")], pictures(), notes=["x" * 3000, "缓存"])
    assert image.shape[2] == 1200


def test_signs_of_other_scripts_are_drawn_with_a_font_that_has_them(
    monkeypatch: pytest.MonkeyPatch,
):
    """One that comes with a package here; without one they are question marks and no boxes."""
    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    monkeypatch.setattr(canvas, "FONTS", ("gone.ttf", str(own)))
    assert printable("Модель δ é, 模型") == "Модель δ é, ??"
    assert wrap("Модель " * 30, 15, 300)[0].startswith("Модель Модель")

    def drawn(text: str) -> Any:
        part = Canvas(40)
        part.text((900, 4), text, 20, anchor="ra")
        return np.asarray(part.image())

    assert (drawn("м") != drawn("?")).any()
    right = np.nonzero((drawn("é Модель") < 128).any((0, 2)))[0].max()
    assert 895 <= right <= 900
    monkeypatch.setattr(canvas, "FONTS", ("gone.ttf",))
    assert printable("Модель é") == "?????? ?"
    assert (drawn("м") == drawn("?")).all()


@pytest.fixture
def chinese_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A font that has a sign for every one of the catalogue, all of them alike."""
    font = TTFont(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    catalogue = (ROOT / "locales" / "zh" / "messages.json").read_text(encoding="utf-8")
    signs = {ord(sign): "uni0416" for sign in set(catalogue) if not sign.isascii()}
    for table in font["cmap"].tables:
        if table.isUnicode() and table.format in (4, 12):
            table.cmap.update(signs)
    font.save(tmp_path / "signs.ttf")
    monkeypatch.setattr(canvas, "FONTS", (str(tmp_path / "signs.ttf"),))


def test_the_picture_is_in_the_language_of_the_user(chinese_font: None):
    facts = Facts([make("ccc.c.")], fidelity=Fidelity(43.2, (43.2,)), notes=["No timeline: x"])
    shown = pictures()[:1]
    words = []

    def drawn(chosen: str) -> Any:
        made = picture.draw(facts, shown, shown, chosen)
        words.append([spoken(text) for text in ("Time", "higher is nearer", "Caching stopped: x")])
        return made

    english, chinese, unknown = drawn("en"), drawn("zh"), drawn("xx")
    assert words[0] == words[2] == ["Time", "higher is nearer", "Caching stopped: x"]
    assert words[1] == ["耗时", "越高越接近", "缓存已停止：x"]
    assert torch.equal(english, unknown)
    assert not torch.equal(english[:, :200], chinese[:, :200])


def test_a_language_without_a_font_is_english(monkeypatch: pytest.MonkeyPatch):
    """Question marks would say nothing."""
    monkeypatch.setattr(canvas, "FONTS", ())
    facts, shown = Facts([make("ccc.c.")]), pictures()[:1]
    english = picture.draw(facts, shown, language="en")
    assert torch.equal(english, picture.draw(facts, shown, language="zh"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"Comfy.Locale": "zh"}', "zh"),
        ('{"Comfy.Locale": 3}', "en"),
        ("{}", "en"),
        ("[1]", "en"),
        ("{", "en"),
        (None, "en"),
    ],
)
def test_the_language_is_that_of_the_hosts_settings(
    text: str | None, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("folder_paths.get_user_directory", lambda: str(tmp_path))
    if text is not None:
        (tmp_path / "default").mkdir()
        (tmp_path / "default" / "comfy.settings.json").write_text(text, encoding="utf-8")
    assert language() == found


# --- table and JSON


def table(**more: Any) -> str:
    return text(Facts(**more))


def test_the_text():
    near = Fidelity(43.217, (50.0, 40.5), 0.98765, (0.99, 0.98), 0.01234, (0.01, 0.02))
    assert table(
        runs=[make("ccc.c.")], plain=[make("cccccc", plain=True)], fidelity=near, count=2
    ).splitlines() == [
        "Test Cache: 4 of 6 computed; evaluations of the model",
        "Time: 4.00 s; against 6.00 s without the cache, measured",
        "Speed-up: 1.50x; measured",
        "PSNR: 43.22 dB, worst 40.50 dB (picture 2); higher is nearer; from about 40 dB hard to see",
        "SSIM: 0.9877, worst 0.9800; structure; 1 is identical",
        "GMSD: 0.0123, worst 0.0200; perceptual; 0 is identical",
    ]


def test_an_estimate_is_called_so():
    said = table(runs=[make("cccc....")])
    assert "Speed-up: 2.00x; estimated from the computed steps" in said
    assert "against 8.00 s without the cache, estimated" in said


def test_nothing_is_said_of_what_is_not_known():
    assert table() == ""
    said = table(runs=[make("cccc", plain=True)])
    assert "Speed-up" not in said
    assert "Time: 4.00 s; without a cache" in said


def test_the_statistics_are_json_that_browsers_read():
    same = Fidelity(math.inf, (math.inf,), 1.0, (1.0,), 0.0, (0.0,))
    facts = as_dict(Facts([make("ccc.c.")], fidelity=same))
    read = json.loads(json.dumps(facts, allow_nan=False))
    assert read["fidelity"]["psnr"] is None
    assert read["fidelity"]["identical"] is True
    assert read["runs"][0]["computed_steps"] == [0, 1, 2, 4]
    assert read["speedup"] == pytest.approx(1.5)
    assert read["speedup_measured"] is False
    # The frontend would take it for a file, and fails on a format that is a number.
    assert not {"filename", "subfolder", "type", "format", "frame_rate"} & set(read)
    assert json.loads(json.dumps(as_dict(Facts()), allow_nan=False))["seconds"] is None


# --- latents


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((2, 4, 8, 6), (2, 4, 8, 6)),
        ((2, 16, 3, 8, 6), (6, 16, 8, 6)),
        ((1, 64, 100), (1, 1, 64, 100)),
    ],
)
def test_latents_of_pictures_video_and_sound(shape: Any, found: Any):
    samples = torch.randn(shape)
    made = frames("latent", *parts("latent", {"samples": samples}))
    assert tuple(made.shape) == found
    shown = preview(made, made)
    assert tuple(shown.shape) == (found[0], *found[2:], 3)
    assert shown.dtype == torch.uint8
    assert torch.equal(preview(made * 0, made * 0), torch.full_like(shown, 127))


@pytest.mark.parametrize("samples", [torch.zeros(3, 4), None, [torch.zeros(1, 4, 8, 8)]])
def test_other_latents_are_refused(samples: Any):
    with pytest.raises(ValueError, match=r"^reference_latent: "):
        frames("reference_latent", *parts("reference_latent", {"samples": samples}))


def test_latents_that_were_sampled_together_are_measured_apart():
    generator = torch.Generator().manual_seed(0)
    video, sound = (torch.randn(s, generator=generator) for s in ((1, 4, 3, 8, 8), (1, 2, 6)))
    plain = {"samples": NestedTensor([torch.zeros(1, 2, 0), video, sound])}
    fast = {"samples": NestedTensor([torch.zeros(1, 2, 0), video * 1.01, sound * 1.2])}
    found = compare(latent=fast, reference_latent=plain)
    assert found.fidelity is not None
    assert found.fidelity.error == pytest.approx(0.01, rel=1e-3)
    assert found.streams == pytest.approx([0.2], rel=1e-3)
    told = text(Facts(fidelity=found.fidelity, kind="latent", streams=found.streams))
    assert "Error: 1.00%" in told
    assert "Error, latent 2: 20.00%" in told
    with pytest.raises(ValueError, match=r"^reference_latent: "):
        compare(latent=fast, reference_latent={"samples": video})


# --- sound


def tone(hertz: float, rate: int = 8000, loud: float = 0.5, moved: float = 0.0) -> dict[str, Any]:
    turns = torch.arange(rate) * hertz / rate + moved
    return {"waveform": loud * torch.sin(2 * math.pi * turns)[None, None], "sample_rate": rate}


def test_sound_is_measured_by_its_wave_and_by_its_spectrum():
    same = compare_audio(tone(440), tone(440))
    assert same == SoundFidelity(math.inf, 0.0)
    noisy = tone(440)
    noise = torch.randn(noisy["waveform"].shape, generator=torch.Generator().manual_seed(0))
    noisy["waveform"] = noisy["waveform"] + 0.005 * math.sqrt(0.5) * noise
    near, moved, other = (
        compare_audio(found, tone(440)) for found in (noisy, tone(440, moved=0.25), tone(550))
    )
    assert near is not None
    assert moved is not None
    assert other is not None
    assert near.si_sdr == pytest.approx(40, abs=0.5)
    assert moved.si_sdr < -40
    assert other.si_sdr < -40
    assert moved.spectral < other.spectral / 3
    said = text(Facts(sound=near))
    assert f"Sound SI-SDR: {near.si_sdr:.2f} dB" in said
    assert as_dict(Facts(sound=near))["sound"]["si_sdr"] == round(near.si_sdr, 3)
    assert "identical but for loudness" in text(
        Facts(sound=compare_audio(tone(440, loud=0.25), tone(440)))
    )


def test_sound_that_says_nothing_is_no_fault():
    silent, short = tone(440, loud=0.0), {"waveform": torch.ones(1, 2, 3), "sample_rate": 8000}
    assert compare_audio(silent, silent) == SoundFidelity(math.inf, 0.0)
    assert compare_audio(tone(440), silent).si_sdr == -math.inf  # pyright: ignore
    assert compare_audio(short, short) == SoundFidelity(math.inf, 0.0)
    broken = {"waveform": short["waveform"] * math.nan, "sample_rate": 8000}
    assert json.dumps(as_dict(Facts(sound=compare_audio(broken, short))), allow_nan=False)
    assert compare_audio(None, None) is compare_audio(tone(440), None) is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ((None, tone(440)), "audio"),
        ((tone(440, rate=4000), tone(440)), "reference_audio"),
        (({**tone(440), "sample_rate": 1}, tone(440)), "reference_audio"),
        (({"waveform": torch.zeros(1, 2, 0), "sample_rate": 1}, tone(440)), "audio"),
    ],
)
def test_sounds_that_cannot_be_compared_are_named(given: Any, field: str):
    with pytest.raises(ValueError, match=f"^{field}: "):
        compare_audio(*given)


# --- pictures and runs that the node is given


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"^reference_images: .* 4 of 32 x 16, got 1 of 32 x 16"):
        compare(torch.zeros(4, 16, 32, 3), torch.zeros(1, 16, 32, 3))
    latents = [{"samples": torch.zeros(1, 4, 8, n)} for n in (8, 9)]
    with pytest.raises(ValueError, match=r"^reference_latent: .* of 4 x 8 x 8, got 1 of 4 x 8 x 9"):
        compare(None, None, *latents)
    with pytest.raises(ValueError, match=r"^images: holds no picture"):
        compare(torch.zeros(0, 16, 32, 3))


def test_transparency_and_grey():
    for channels in (1, 3, 4):
        made = compare(torch.ones(1, 16, 16, channels), torch.ones(1, 16, 16, 3))
        assert tuple(made.pictures.shape) == (1, 16, 16, 3)
        assert made.fidelity is not None
        assert made.fidelity.psnr == math.inf


def test_runs_are_found_through_clones_of_the_model(cached: Any, sample: Any):
    model, reports = cached(speedup=2.0)
    clone = model.clone().clone()
    assert runs_of(clone, set()) == []
    sample(clone)
    (run,) = runs_of(model, set())
    assert run.report is reports[0]
    steps = list(enumerate(run.report.records))
    computed = [i for i, record in steps if record.computed]
    # A line needs two outputs before it can be compared.
    assert [i for i, record in steps if record.missed is not None] == computed[2:]
    sample(model, steps=14)
    (run,) = runs_of(clone, set())
    assert run.report is reports[1]
    sample(model, steps=3)
    (run,) = runs_of(clone, set())
    assert run.refused
    assert not run.report.records


def test_a_node_that_is_off_is_timed_and_changes_nothing(tiny: Any, sample: Any):
    (off,) = ScalingCache.execute(tiny, 1.0, "target speed-up", 0.0, 1.0).args
    assert torch.equal(sample(off, "heun"), sample(tiny, "heun"))
    (run,) = runs_of(off, set())
    assert run.plain
    assert run.report.evaluations == run.report.computed == 2 * 12 - 1
    assert run.report.seconds > 0
    (on,) = ScalingCache.execute(off, 2.0, "target speed-up", 0.0, 1.0).args
    sample(on)
    (run,) = runs_of(on, set())
    assert not run.plain


def test_a_model_without_a_cache_of_this_pack_has_no_runs(tiny: Any):
    runs, said = cached_runs(tiny, set())
    assert runs == []
    assert said[0].startswith("No statistics")
    plain, said = plain_runs(tiny, set())
    assert plain == []
    assert "speedup 1" in said[0]


def test_a_reference_with_a_cache_is_not_timed(cached: Any, sample: Any):
    model, _ = cached(speedup=2.0)
    sample(model)
    assert plain_runs(model, set()) == (
        [],
        ["reference_model: has a cache too; its time is not compared"],
    )


def test_a_run_that_fails_leaves_nothing_in_the_log(tiny: Any, cached: Any, sample: Any):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("on purpose")

    model, _ = cached(speedup=2.0)
    broken = model.clone()
    broken.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "fail", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        sample(broken)
    assert runs_of(model, set()) == []


def test_a_latent_that_holds_no_numbers_is_the_worst():
    latent = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    broken = latent + 0.01
    broken[2, 0, 0, 0] = math.nan
    found = compare(latent={"samples": broken}, reference_latent={"samples": latent})
    facts = Facts(fidelity=found.fidelity, count=3, kind="latent")
    assert "(latent 3)" in text(facts)
    assert as_dict(facts)["fidelity"]["psnr_worst"] is None
    picture.draw(facts, found.pictures, found.reference)


def test_why_every_step_was_computed_stands_in_the_report():
    facts = Facts([make("cccc")])
    assert "Every step was computed: test" in text(facts)
    assert as_dict(facts)["notes"] == as_dict(facts)["runs"][0]["notes"]


def test_what_feeds_an_input_is_told_by_links_alone():
    """A curve of two points is a list of two as well."""
    curve = {"class_type": "Curve", "inputs": {"points": [[0, 0], [1, 1]], "size": [64, 64]}}
    nodes = {
        "1": curve,
        "2": {"class_type": "Sampler", "inputs": {"curve": ["1", 0]}},
        "3": {"class_type": "Report", "inputs": {"images": ["2", 0]}},
    }
    assert upstream(DynamicPrompt(nodes), "3", "images") == {"1", "2"}
