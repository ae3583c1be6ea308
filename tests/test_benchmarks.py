"""The benchmark's own arithmetic: statistics, search of settings, measures, and the page of results."""

from __future__ import annotations

import argparse
import itertools
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from benchmarks import calibration, fidelity, measures, page, plots, results, sheets, snapshot
from benchmarks.beds import BEDS, Plan
from benchmarks.lab import Lab, other_seed, tune
from benchmarks.meter import in_steps
from benchmarks.sections.aims import aimed
from benchmarks.sections.calibration import calibrated
from benchmarks.sections.common import by_plan
from benchmarks.sections.fidelity import by_speed, gains, sections, short
from benchmarks.sections.further import again, samplers, video
from benchmarks.standings import standing
from benchmarks.statistics import interval, over_seeds
from benchmarks.tuning import Search, assigned
from benchmarks.ways import Group, all_ways
from testbed.coefficient_folder import looking_in

SPEEDS = (1.5, 2.0, 2.5, 3.0)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(40.0, 5.0, (200, 32))
    covered = [low <= 40.0 <= high for low, high in map(interval, draws.tolist())]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_interval_is_repeatable_and_holds_the_mean():
    values = [30.0, 35.0, 41.0, 38.0, 29.0]
    found = interval(values)
    assert found == interval(values)
    assert found is not None
    assert found[0] < np.mean(values) < found[1]


def test_interval_of_equal_values_is_a_point():
    assert interval([7.0] * 5) == (7.0, 7.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_too_few_values_have_no_interval(values: list[float]):
    assert interval(values) is None


def test_seeds_are_averaged_within_a_prompt():
    assert over_seeds([1.0, 10.0, 3.0, 30.0], prompts=2) == [2.0, 20.0]
    with pytest.raises(ValueError, match="multiple of 3"):
        over_seeds([1.0, 2.0], prompts=3)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(5, 50), min_size=2, max_size=80),
    target=st.floats(5, 50),
)
def test_search_finds_what_trying_everything_finds(counts: list[int], target: float):
    counts = sorted(counts, reverse=True)
    search = Search(range(len(counts)), lambda i: float(counts[i]))
    found = counts[search.find(target)]
    nearest = min(counts, key=lambda count: abs(np.log(count / target)))
    assert abs(found - target) <= 0.5 or found == nearest


def test_search_asks_seldom_and_never_twice():
    asked: list[int] = []

    def count(setting: int) -> float:
        asked.append(setting)
        return 50.0 - 0.5 * setting

    search = Search(range(80), count)
    for speed in SPEEDS:
        setting = search.find(50 / speed)
        assert abs(count(setting) - 50 / speed) <= 0.5
        asked.pop()
    assert len(asked) == len(set(asked))
    assert len(asked) <= 20


def test_search_ends_where_counts_are_not_monotone():
    counts = [50.0, 20.0, 45.0, 15.0, 40.0, 10.0]
    for target in (12.0, 22.0, 44.0, 50.0):
        found = Search(range(6), lambda i: counts[i]).find(target)
        assert found in range(6)


def test_search_takes_the_nearest_where_a_target_is_out_of_reach():
    search = Search((2, 3, 4), lambda interval: 50.0 / interval + 10)
    assert search.find(50.0) == 2
    assert search.find(3.0) == 4


def test_a_setting_is_measured_for_the_target_that_it_is_nearest_to():
    found = {1.5: ("a", 26.0), 2.0: ("a", 26.0), 2.5: ("b", 18.0), 3.0: ("b", 18.0)}
    assert assigned(found, 50) == {2.0: "a", 3.0: "b"}


def test_work_is_counted_in_steps_of_the_plain_run():
    plain = [100, 100, 100, 100]
    assert in_steps(plain, plain, 50) == 50
    assert in_steps([100, 40, 40, 40], plain, 50) == pytest.approx(27.5)
    assert in_steps([100, 40, 40, 40], plain, 50, free=1) == pytest.approx(20)


def test_measures_know_equal_pictures_and_rank_errors():
    clean = torch.rand(2, 1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    near, far = ((clean + size * noise).clamp(0, 1) for size in (0.02, 0.1))
    assert measures.psnr(clean, clean).tolist() == [100.0, 100.0]
    np.testing.assert_allclose(measures.psnr(clean * 0 + 0.1, clean * 0), [20.0, 20.0], atol=1e-4)
    assert measures.ssim(clean, clean).tolist() == pytest.approx([1.0, 1.0])
    assert (measures.ssim(near, clean) > measures.ssim(far, clean)).all()
    flipped = measures.flip(clean, clean)
    if flipped is None:
        pytest.skip("flip-evaluator has no build for this Python")
    assert flipped.tolist() == [0.0, 0.0]
    closer, further = measures.flip(near, clean), measures.flip(far, clean)
    assert closer is not None
    assert further is not None
    assert (closer > 0).all()
    assert (closer < further).all()


@pytest.mark.parametrize(
    ("measure", "equal", "sign"), [(measures.st_lpips, 0.0, 1), (measures.jod, 10.0, -1)]
)
def test_measures_with_weights_know_equal_pictures_and_rank_errors(
    measure: Any, equal: float, sign: int
):
    """Pictures, and clips."""
    for frames in (1, 3):
        random = torch.Generator().manual_seed(frames)
        clean = torch.rand(1, frames, 64, 64, 3, generator=random)
        noise = torch.randn(clean.shape, generator=random)
        same = measure(clean, clean)
        if same is None:
            pytest.skip("demo.setup installs them")
        near, far = (measure((clean + s * noise).clamp(0, 1), clean) for s in (0.05, 0.2))
        assert same.tolist() == pytest.approx([equal], abs=1e-4)
        assert (sign * same < sign * near).all()
        assert (sign * near < sign * far).all()
    assert "torchsummary" not in sys.modules, "what stands in for it is gone"


def row(
    method: str, group: Group, target: float | None, computed: float, psnr: float | None
) -> Any:
    each = [] if psnr is None else [psnr - 1, psnr, psnr + 1]
    return {
        "bed": "toy",
        "sampler": "euler",
        "cfg": 4.0,
        "shift": 3.0,
        "steps": 50,
        "method": method,
        "group": group.value,
        "target": target,
        "setting": "",
        "computed": computed,
        "work": computed,
        "evaluations": 50,
        "seconds": 1.0,
        "speedup": 50 / computed,
        "psnr": psnr,
        "psnr_worst": None if psnr is None else psnr - 1,
        "ssim": None if psnr is None else 0.9,
        "perceptual": None,
        "st_lpips": None,
        "jod": None if psnr is None else 9.2,
        "truth_psnr": 30.0,
        "n": 3,
        "samples": 3,
        "intervals": {"psnr": interval(each), "truth_psnr": None},
        "each": {"psnr": each},
        "curve": None if psnr is None else [0.1] * 50,
    }


@pytest.fixture
def rows() -> list[Any]:
    return [
        row("plain", Group.PLAIN, None, 50.0, None),
        row("scaling_cache_online", Group.OURS, 2.0, 25.0, 50.0),
        row("scaling_cache_online", Group.OURS, 3.0, 17.0, 45.0),
        row("TeaCache", Group.PUBLISHED, 2.0, 24.0, 40.0),
        row("EOC", Group.PUBLISHED, 2.0, 35.0, 60.0),
        row("host_lazycache", Group.HOST, 2.0, 26.0, 52.0),
        row("fewer_steps", Group.FEWER, 2.0, 25.0, 39.0),
    ]


FACTS = {
    "host_version": "1",
    "torch": "2",
    "device": "cpu",
    "threads": 1,
    "dtype": "float32",
    "date": "2026-01-01",
    "revision": "abc",
    "seeds": [1],
    "tuning": 4,
}


def test_rows_that_compute_too_much_are_not_at_a_speed(rows: list[Any]):
    found = results.at_speed(rows, 2.0)
    assert "EOC" not in found
    assert set(found) == {"scaling_cache_online", "TeaCache", "host_lazycache", "fewer_steps"}


def test_rows_that_leave_nothing_out_are_not_drawn(rows: list[Any]):
    idle = row("host_easycache", Group.HOST, 2.0, 50.0, 100.0)
    assert not results.skips(idle)
    assert not results.skips(rows[0])
    assert all(map(results.skips, rows[1:]))


def test_gains_are_those_of_prompts_and_may_be_losses(rows: list[Any]):
    text = gains(rows)
    assert "| 2x | learning | TeaCache | +10.0 [+10.0, +10.0] | +10.0 |" in text
    assert "| 2x | learning | LazyCache (host) | -2.0 [-2.0, -2.0] | -2.0 |" in text


def test_the_page_shows_every_method_and_where_it_has_no_setting(rows: list[Any]):
    text = sections(FACTS, rows)
    assert "| TeaCache | published, in this pack | 40.0 (39.0) at 24.0 | - |" in text
    assert "No setting comes near: EOC." in text
    assert (
        "| Scaling Cache, learning | this pack's own | 50.0 (49.0) at 25.0 | 45.0 (44.0) at 17.0"
        in text
    )
    assert "best: the host's" not in text
    shorter = sections(FACTS, [*rows, *({**r, "steps": 20} for r in rows)])
    assert "| method |  | 2x | 3x | 2x of 20 | 3x of 20 |" in shorter
    assert "best: the host's" not in shorter
    other = [{**r, "cfg": 1.0} for r in rows]
    assert (
        "| toy, 50 steps euler, cfg 1, shift 3 | 2x | 50.0 | - | 40.0 | 52.0 | 39.0 |"
        in sections(FACTS, [*rows, *other])
    )
    in_short = short(FACTS, rows)
    assert "TeaCache, the best published one" in in_short
    assert "EOC" not in in_short


def test_the_video_page_begins_with_most_steps(rows: list[Any]):
    text = video(FACTS, [*rows, *({**r, "steps": 28} for r in rows)])
    first, _, _ = text.partition("<details>")
    assert "\n3 held-out prompts" in first
    assert "toy, 50 steps euler, cfg 4, shift 3" in first
    assert "<summary>toy, 28 steps euler, cfg 4, shift 3</summary>" in text


def test_what_is_further_than_fewer_steps_has_a_sentence(rows: list[Any]):
    worse = row("MagCache", Group.PUBLISHED, 2.0, 25.0, 38.0)
    text = by_speed([*rows, worse])
    assert (
        "Further than fewer steps at 2x, dB: MagCache (38.0). No setting comes near: EOC." in text
    )
    assert "| MagCache" not in text
    assert "| TeaCache | published, in this pack | 40.0" in text
    assert "Further than" not in by_speed(rows[:4]), "there is nothing to compare with"


def test_what_misses_an_aim_is_bold(rows: list[Any]):
    lines = aimed(rows).splitlines()
    # 10 dB over the published method, 2 under the host's, 11 over fewer steps; worst prompt 49 over 40.
    assert "| toy | 2x | learning | **-2.0** | +10.0 | +11.0 | - | - | **9.20** | +9.0 |" in lines
    assert "| toy | 3x | learning | - | - | - | - | - | 9.20 | - |" in lines
    assert "over fewer steps, dB (at least 6 at 2x and 3x; 4 at 4x) |" in lines[2]
    assert "| toy, 50 steps euler, cfg 4, shift 3 | 3x | 45.0 dB | - |" in lines


@pytest.mark.parametrize("measure", ["perceptual", "st_lpips"])
def test_distances_are_compared_with_the_lowest_of_the_others(rows: list[Any], measure: str):
    for each, found in zip(rows, (None, 0.03, 0.1, 0.05, 0.01, 0.08, 0.06), strict=True):
        each[measure] = found
    lines = aimed(rows).splitlines()
    # EOC computes too much to be at this speed.
    assert any("| toy | 2x | learning |" in line and "**0.60**" in line for line in lines)


def test_other_samplers_are_counted_against_the_best_of_each_kind(rows: list[Any]):
    other = [{**r, "sampler": "uni_pc"} for r in rows]
    better = [r for r in other if r["method"] != "host_lazycache"]
    text = samplers(FACTS, [*rows, *better])
    assert "| 2x | learning | the host's | 0 of 1 plans | -2.0 | -2.0 |" in text
    assert "| 2x | learning | fewer steps | 2 of 2 plans | +11.0 | +11.0 |" in text
    assert "| toy, 50 steps uni_pc, cfg 4, shift 3 | 2x | 50.0 | - | 40.0 | - | 39.0 |" in text


def test_the_picture_of_samplers_is_drawn_where_ways_are_missing(tmp_path: Path, rows: list[Any]):
    other = [{**r, "cfg": 1.0} for r in rows[:2]]
    panels = {name: standing(mine, 2.0) for name, mine in by_plan([*rows, *other])}
    plots.samplings(panels, tmp_path / "samplers.png")
    assert (tmp_path / "samplers.png").stat().st_size > 10_000


def test_a_second_run_agrees_where_the_intervals_overlap(rows: list[Any]):
    moved = [row("fewer_steps", Group.FEWER, 2.0, 25.0, 44.0)]
    near = [row("TeaCache", Group.PUBLISHED, 2.0, 24.0, 41.0)]
    text = again(rows, FACTS, [*near, *moved])
    assert "1 of 2 intervals overlap" in text
    assert "| 2x | TeaCache | 40.0 [39.0, 41.0] | 41.0 [40.0, 42.0] | yes |" in text
    assert "| 2x | fewer steps | 39.0 [38.0, 40.0] | 44.0 [43.0, 45.0] | no |" in text
    assert again(rows, FACTS, [row("EOC", Group.PUBLISHED, 1.5, 30.0, 60.0)]).count("| no") == 0


def test_what_is_kept_of_result_files_is_small_and_all_that_pages_read(tmp_path: Path):
    """Written again from the snapshot, the short pages are those in the repository."""
    files = [path for path in page.RESULTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    environment, rows = results.read(page.RESULTS / page.FIDELITY)
    text = page.PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    full = page.filled(text, "fidelity", sections(environment, page.taken(page.FIDELITY, rows)))
    assert page.brief(full) == text
    assert "At 3x:" in full
    # README tells what was measured at the same revision.
    begin, end = page.marks("results")
    told = page.README.read_text(encoding="utf-8").split(begin)[1].split(end)[0]
    assert told.strip() == short(environment, rows).strip()
    assert f"revision {environment['revision']}" in told


def test_the_wrapped_measure_of_others_is_what_the_page_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    text = page.PAGE.read_text(encoding="utf-8")
    code, said = re.findall(r"```python\n(.*?)# (.*?)\n```", text, re.DOTALL)[0]
    lines = tmp_path / "wrapped.py"
    lines.write_text(code)
    runpy.run_path(str(lines))
    assert capsys.readouterr().out.strip() == said


def test_filling_replaces_what_is_between_the_marks_and_nothing_else():
    begin, end = page.marks("x")
    text = f"# Head\n\n{begin}old\n{end}tail\n"
    once = page.filled(text, "x", "new\n")
    assert once == f"# Head\n\n{begin}\nnew\n\n{end}tail\n"
    assert page.filled(once, "x", "new") == once
    with pytest.raises(ValueError, match="marks for y"):
        page.filled(text, "y", "new")


def test_a_calibration_is_summed_up_for_each_bed():
    def row(bed: str, method: str, scores: list[float]) -> dict[str, Any]:
        sampling = {"steps": 50, "sampler": "euler", "cfg": 4.0, "shift": 3.0, "wanted": 25}
        means = {"psnr_mean": sum(scores) / 2, "psnr_std": 1.0, "psnr_worst": min(scores)}
        return {"bed": bed, **sampling, "method": method, "computed": 25.0, **means, "psnr": scores}

    def of(bed: str, ours: list[float]) -> list[dict[str, Any]]:
        others = {"even_order1": [40.0, 40.0], "fewer_steps": [30.0, 30.0]}
        own = {"online": ours, "calibrated": [44.0, 44.0]}
        return [row(bed, method, scores) for method, scores in {**others, **own}.items()]

    facts = {**FACTS, "seed": 3}
    text = calibrated(facts, [*of("toy", [43.0, 39.0]), *of("other", [50.0, 52.0])])
    toy, _, other = text.partition("### other, on 2 held-out prompts")
    assert "| learning | evenly spaced line | 1 | +1.0 | +1.0 | +1.0 | -1.0 |" in toy
    assert "| learning | calibrated | 1 | -3.0 | -3.0 | -3.0 | -5.0 |" in toy
    assert "| learning | calibrated | 1 | +7.0 | +7.0 | +7.0 | +6.0 |" in other
    assert "images/calibration_toy.png" in toy
    assert "41.0 ± 1.0 (39.0)" in toy
    fewer = [{**row, "cfg": 1.0, "psnr": row["psnr"][:1]} for row in of("toy", [43.0, 39.0])]
    assert "### toy, on 1 to 2 held-out prompts" in calibrated(
        facts, [*of("toy", [43.0, 39.0]), *fewer]
    )


def test_the_committed_pages_have_the_marks():
    text = page.PAGE.read_text(encoding="utf-8")
    for name in ("aims", "fidelity", "samplers", "video", "again", "cost"):
        page.filled(text, name, "")
    page.filled(page.CALIBRATED.read_text(encoding="utf-8"), "calibration", "")
    page.filled(page.README.read_text(encoding="utf-8"), "results", "")


def test_result_files_come_back_as_they_were(tmp_path: Path, rows: list[Any]):
    file = tmp_path / "deep" / "fidelity.json"
    results.write(file, FACTS, rows[:2])
    facts, found = results.read(file)
    assert facts == FACTS
    assert [r["method"] for r in found] == ["plain", "scaling_cache_online"]
    assert not list(file.parent.glob("*.part"))


def test_what_is_added_later_says_so(tmp_path: Path, rows: list[Any]):
    file = tmp_path / "fidelity.json"
    first = {**FACTS, "prompts": 3, "date": "2026-01-01", "revision": "a"}
    assert results.kept(file, first, ("prompts",)) == (first, [])
    for before, now in (("a", "b"), ("a to b", "c")):
        results.write(file, {**first, "revision": before}, rows)
        facts, found = results.kept(file, {**first, "revision": now}, ("prompts",))
        assert (facts["date"], facts["revision"]) == ("2026-01-01", f"a to {now}")
        assert len(found) == len(rows)
    with pytest.raises(SystemExit, match="has prompts 3, not 4"):
        results.kept(file, {**first, "prompts": 4}, ("prompts",))


def test_parts_of_one_revision_are_joined(rows: list[Any]):
    more = [{**r, "steps": 20} for r in rows]
    facts = {**FACTS, "prompts": 3}
    later = {**facts, "date": "2026-01-02"}
    joined, found = snapshot.joined([(facts, rows), (later, more)])
    assert joined == {**facts, "date": "2026-01-01 to 2026-01-02"}
    assert found == [*rows, *more]
    for name, other in (("revision", "abcd"), ("seeds", [2]), ("prompts", 4)):
        with pytest.raises(SystemExit, match=name):
            snapshot.joined([(facts, rows), ({**facts, name: other}, more)])


@pytest.mark.parametrize("name", snapshot.PARTS)
def test_parts_of_the_snapshot_ask_for_what_there_is(name: str):
    options = snapshot.options_of(snapshot.PARTS[name])
    beds = {bed for bed, _ in fidelity.planned(options)}
    assert beds
    for bed in beds:
        ways = all_ways(bed.load(bed.shift), bed)
        assert fidelity.chosen(ways, options.ways or [way.method for way in ways])


def test_a_snapshot_measures_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was broken off is measured again, what is there is not, and pages wait for the last part."""
    measured: list[str] = []

    def measure(options: argparse.Namespace) -> None:
        options.out.mkdir(exist_ok=True)
        measured.append(options.out.stem)

    monkeypatch.setattr(fidelity, "run", measure)
    monkeypatch.setattr(snapshot, "take", lambda folder: measured.append("page"))
    first, second, *others = snapshot.PARTS
    (tmp_path / first).mkdir()
    (tmp_path / f"{second}.part").mkdir()
    snapshot.run(argparse.Namespace(out=tmp_path, parts=[first, second]))
    assert measured == [second]
    assert not (tmp_path / f"{second}.part").exists()
    snapshot.run(argparse.Namespace(out=tmp_path, parts=others))
    assert measured == [second, *others, "page"]


def test_a_second_run_replaces_its_rows_and_keeps_the_others(rows: list[Any]):
    again = [rows[0], {**rows[1], "psnr": 51.0}]
    other = {**rows[1], "bed": "other"}
    found = results.merged([*rows, other], again)
    assert found[0]["method"] == "plain"
    assert [r["psnr"] for r in found if r["method"] == "scaling_cache_online"] == [45.0, 51.0, 50.0]
    assert len(found) == len(rows) + 1
    assert found[-1] is other


def test_plots_are_drawn_with_names_apart(tmp_path: Path, rows: list[Any]):
    plots.fidelity(rows, tmp_path)
    assert {f.name.split("_toy")[0] for f in tmp_path.glob("*.png")} == {
        "fidelity_computed",
        "fidelity_speedup",
        "fidelity_curves",
    }


@pytest.mark.parametrize("frames", [1, 5])
def test_a_sheet_holds_every_method_and_clips_play_beside_each_other(
    tmp_path: Path, rows: list[Any], frames: int
):
    def clips(value: float) -> torch.Tensor:
        fading = torch.linspace(value, 0.0, frames)[None, :, None, None, None]
        return fading.expand(2, frames, 32, 32, 3)

    made = {r["method"]: {2.0: clips(0.5)} for r in rows} | {"plain": {1.0: clips(1.0)}}
    plan = Plan(50, 4.0, 3.0, "euler")
    sheets.save(tmp_path, BEDS["demo_video"], plan, rows, made, 2.0)
    sheet, best = sorted(tmp_path.iterdir(), key=lambda path: path.suffix)
    methods = len(results.at_speed(rows, 2.0)) + 1
    shown = 2 if frames == 1 else 1
    with Image.open(sheet) as image:
        assert image.size == (32 * shown, methods * (32 + 22))
    # All steps, learning, the best published one, the host's, fewer steps.
    with Image.open(best) as image:
        if frames == 1:
            assert image.size == (32 * shown, 5 * (32 + 22))
            return
        assert (image.n_frames, image.size) == (frames, (3 * 64, 2 * (64 + 22)))
        first, last = (_middle_of(image, moment) for moment in (0, frames - 1))
    # The plain run's tile fades from white to black, its neighbour from grey.
    assert (first > (240, 110)).all()
    assert (last < 15).all()


def _middle_of(image: Image.Image, moment: int) -> NDArray[np.float64]:
    """Mean brightness in the pictures of the first two tiles."""
    image.seek(moment)
    grey = np.asarray(image.convert("L"), float)
    return np.array([grey[40:70, x : x + 40].mean() for x in (12, 76)])


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12))
def test_names_are_spread_in_order_and_stay_inside(wanted: list[float]):
    wanted = sorted(wanted)
    places = plots.spread(wanted, 0.5, 0.0, 10.0)
    assert all(b - a >= 0.5 - 1e-6 for a, b in itertools.pairwise(places))
    assert places[0] >= -1e-6
    assert places[-1] <= 10.0 + 1e-6


@pytest.fixture(scope="module")
def lab(comfy: Path) -> Iterator[Lab]:
    made = Lab(BEDS["demo_emoji"], Plan(10, 5.0, 10.0, "euler"), tuning=1)
    with looking_in(made.bed.coefficients.parent):
        yield made


def test_every_row_but_fewer_steps_is_cached(lab: Lab):
    found = all_ways(lab.model, lab.bed)
    assert len({way.method for way in found}) == len(found)
    for way in found:
        settings = way.settings or way.candidates(lab.plan, 2.0)
        made = [way.make(lab.model, setting) for setting in (settings[0], settings[-1])]
        assert all((m is lab.model) == (way.group is Group.FEWER) for m in made), way.method


def test_what_runs_is_counted(lab: Lab):
    found = fidelity.chosen(
        all_ways(lab.model, lab.bed), ["scaling_cache_online", "CFG Cache", "fewer_steps"]
    )
    trials = tune(lab, found, [2.0])
    compared = list(
        fidelity.compare(lab, [*trials, other_seed(lab)], lab.bed.held_out()[:2], [1, 2], None)
    )
    *rows, floor = [row for row, _ in compared]
    assert floor.computed == 10
    assert floor.psnr < max(row.psnr for row in rows if row.psnr is not None)
    by_name = {row.method: row for row in rows}
    assert by_name["plain"].computed == 10
    assert by_name["plain"].psnr is None
    assert by_name["scaling_cache_online"].computed == by_name["fewer_steps"].computed == 5
    # It leaves out one of two conditionings at some steps.
    assert 5 < by_name["CFG Cache"].computed < 10
    assert by_name["CFG Cache"].computed * 2 % 1 == 0
    assert all(len(row.each["psnr"]) == 2 for row in rows if row.psnr is not None)
    assert by_name["fewer_steps"].curve is None
    assert len(by_name["CFG Cache"].curve or []) == 10
    assert compared[0][1].shape[0] == 4

    # Times go to the rows with the same setting alone.
    file = [asdict(row) for row in rows]
    other = next(row for row in file if row["method"] == "CFG Cache")
    other["setting"] = "another"
    pairs = fidelity.held(file, lab, trials)
    assert [row["method"] for _, row in pairs] == ["plain", "scaling_cache_online", "fewer_steps"]
    times = fidelity.clock(lab, [trial for trial, _ in pairs], lab.bed.held_out()[:1], 1)
    assert times[0]["speedup"] == 1
    assert all(columns["seconds"] > 0 for columns in times)
    assert fidelity.clock(lab, trials, [], 3) == [{}] * len(trials)


def test_the_same_way_twice_is_the_same(lab: Lab):
    prompts = lab.bed.held_out()[:1]
    again = replace(lab.plain, method="again")
    (first, _), (second, _) = fidelity.compare(lab, [lab.plain, again], prompts, [1], None)
    assert first.psnr is None
    assert second.psnr == 100
    assert max(second.curve or [1.0]) == 0


def test_what_was_measured_before_an_end_stays(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compare = fidelity.compare

    def cut_off(*args: Any) -> Iterator[Any]:
        yield from itertools.islice(compare(*args), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(fidelity, "compare", cut_off)
    parser = argparse.ArgumentParser()
    fidelity.add_arguments(parser)
    brief = ["--steps=10", "--prompts=1", "--tuning=1", "--speeds=2", "--clips=0", "--no-truth"]
    ways = ["--ways", "scaling_cache_online", "fewer_steps"]
    with pytest.raises(KeyboardInterrupt):
        fidelity.run(parser.parse_args([*brief, *ways, "--out", str(tmp_path)]))
    _, rows = results.read(tmp_path / fidelity.FILE)
    assert [row["method"] for row in rows] == ["plain", "scaling_cache_online"]


def test_a_calibration_benchmark_adds_what_is_missing(lab: Lab):
    plan = Plan(20, 5.0, 10.0, "euler")
    known = [
        calibration.Row("demo_emoji", 20, "euler", 5.0, 10.0, method, wanted, *sums)
        for wanted in calibration.COMPUTED[20]
        for method in calibration.METHODS
        for sums in [(float(wanted), 30.0, 0.0, 30.0, None, [30.0])]
        if method != calibration.ONLINE
    ]
    assert calibration.missing_rows(plan, known) == len(calibration.COMPUTED[20])
    runs: list[None] = []
    rows = calibration.measure(
        lab.bed, plan, lab.bed.held_out()[:2], lab.vae, known, lambda: runs.append(None)
    )
    assert [row for row in rows if row.method != calibration.ONLINE] == known
    assert [row.wanted for row in rows if row.method == calibration.ONLINE] == [12, 10, 8]
    assert calibration.missing_rows(plan, rows) == 0
    assert len(runs) == 1 + len(calibration.COMPUTED[20])
    for row in rows:
        if row.method == calibration.ONLINE:
            assert row.computed == row.wanted
            # As many prompts as there were.
            (score,) = row.psnr
            assert 25 < score < 100
            assert row.over_even == pytest.approx((score - 30, score - 30))
