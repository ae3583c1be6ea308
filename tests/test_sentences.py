"""What the pack says in another language: every sentence has a translation, which says as much."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from docs.sentences import CATALOGUES, JOINTS, WORDS, sentences

LOCALES = Path(__file__).parents[1] / "locales"
# Names, which stay as they are in a sentence.
NAMES = re.compile(r"least squares|whole step|Scaling Cache|Published Schedule|[\w-]+\.safetensors")


def messages(path: Path) -> dict[str, str]:
    return json.loads(path.read_text(encoding="utf-8"))


def placed(text: str) -> list[str]:
    """What names the places of a text."""
    return [field for _, field, _, _ in Formatter().parse(text) if field is not None]


def test_chinese_is_there():
    assert LOCALES / "zh" / "messages.json" in CATALOGUES


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parent.name)
def test_a_catalogue_has_every_sentence_and_no_other(path: Path):
    assert list(messages(path)) == sentences(), "python -m docs.sentences"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parent.name)
def test_a_translation_says_as_much(path: Path):
    for sentence, told in messages(path).items():
        assert told, sentence
        numbers = [str(place) for place in range(len(placed(sentence)))]
        assert sorted(placed(told), key=int) == numbers, sentence


def test_chinese_has_the_signs_of_chinese():
    for sentence, told in messages(LOCALES / "zh" / "messages.json").items():
        if sentence not in (
            *JOINTS,
            "latent",
            "latent {}",
            "least squares",
            "coefficients: {}: {}",
        ):
            assert re.search(r"[\u4e00-\u9fff]|^coefficients：|^model：", told), sentence
        assert not re.search(r"[\u4e00-\u9fff][,:;.]|[,:;.][\u4e00-\u9fff]", told), sentence


def test_sentences_are_what_users_read():
    """Those of every way in which the pack says something, and no texts of nodes, docs or the log."""
    found = sentences()
    assert len(found) == len(set(found)) > 300
    for said in (
        "Not cached. {}",
        "threshold reached",
        "Caching stopped: {}",
        "Less than {}x: {}, {}",
        "computed {} of {} evaluations",
        "Scaling Cache uses it from now on for this model: {}",
        "how to read it",
        "{}: must be between {} and {}, got {}",
    ):
        assert said in found
    known = json.loads((LOCALES / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert known
    for text in (
        "the run could not be planned",
        "The model to make faster.",
        "none; corrects with",
    ):
        assert not [said for said in found if text in said]


def test_words_of_the_report_are_said():
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("cache_core", "nodes")
        for path in (LOCALES.parent / folder).rglob("*.py")
    )
    assert [word for word in WORDS if not re.search(rf"[\"']{word}\b", code)] == []


# --- what is said


@pytest.fixture
def chinese(comfy: Path) -> Any:
    from scaling_cache.nodes.report.words import catalogue

    return catalogue("zh").of


def said() -> list[str]:
    """Texts as users get them."""
    from scaling_cache.cache_core.calibration.fidelity import Fidelity
    from scaling_cache.cache_core.methods.base import check_range, one_of, parse_ranges
    from scaling_cache.cache_core.methods.combinations import choose
    from scaling_cache.cache_core.planning.suggestion import Suggestion
    from scaling_cache.cache_core.run.report import FinishedRun, RunReport, StepRecord
    from scaling_cache.nodes.report.facts import Facts, text

    report = RunReport(20, asked=2.0)
    for step in range(8):
        why = "between scheduled steps" if step % 2 else "no history for a conditioning"
        report.records.append(StepRecord(step, 1.0, why, None, None, 1, 1 - step % 2, 0.5, 0.1))
    report.note("Coefficients: a.safetensors: not surely nearer in its trial, so it learns")
    missing = ["No SSIM: kornia cannot be imported (no)"]
    near = Fidelity(
        43.2, (50.0, 40.5), 0.98, (0.99, 0.98), 0.01, (0.01, 0.02), notes=tuple(missing)
    )
    runs = [
        FinishedRun("TeaCache", report, "5"),
        FinishedRun("X", report, refused="by the settings"),
    ]
    texts = [
        "TeaCache: stopped with 8 of 20 steps done\n" + report.summary(),
        "CFG Cache: " + report.summary("both conditionings"),
        "Not cached. 7 steps: with fewer than 8 every step is computed",
        text(Facts(runs, (), near, 2)),
        f"{Suggestion(28, 2.2, 3.1)}\nCoefficients: a.safetensors",
        str(Suggestion(28, 2.2, None)),
        "Less than 4.0x: dpm_fast is not known, 11 of 20 steps must be computed",
        "Caching stopped: another node changes what the network is asked, and a skipped step would not "
        "hear of it. Prompts with a start and an end, as the host has them, are seen",
    ]
    for wrong in (
        lambda: check_range("speedup", 9.0, 1.0, 6.0),
        lambda: one_of("mode", ["a", "b"], "c"),
        lambda: parse_ranges("computed_steps", "a"),
        lambda: parse_ranges("computed_steps", "4-2"),
        lambda: choose("TeaCache", "blocks", "scaling"),
        lambda: choose("EasyCache", "blocks", "auto"),
        lambda: choose("Delta Cache", "blocks", "order 1"),
    ):
        with pytest.raises(ValueError) as error:
            wrong()
        texts.append(str(error.value))
    return texts


def test_what_users_read_is_chinese(chinese: Any):
    texts = said()
    assert len(texts) >= 15
    for text in texts:
        told = chinese(text)
        assert len(told.split("\n")) == len(text.split("\n"))
        rest = NAMES.sub("", told)
        assert not re.search(r"\b[a-z]{3,},? (\S+ )?[a-z]{3,}\b", rest), told


def test_what_is_put_in_is_translated_and_keeps_its_place(chinese: Any):
    told = chinese(
        "Not cached. EasyCache or LazyCache is on the same model: remove one of the two nodes"
    )
    assert told == "未使用缓存。同一模型上有 EasyCache 或 LazyCache：请移除两个节点之一"
    assert chinese("Run 2 of 4, about 5 min left") == "第 2 次采样，共 4 次，约剩 5 分钟"
    assert (
        chinese("computed 10 of 20 evaluations, about 1.93x") == "20 次求值中计算了 10 次，约 1.93x"
    )


def test_a_text_that_no_catalogue_knows_stays(comfy: Path):
    from scaling_cache.nodes.report.words import Catalogue, catalogue

    for language in ("xx", "en", "../zh", "", "zh/../zh"):
        assert catalogue(language).of("threshold reached") == "threshold reached"
    assert (
        catalogue("zh").of("{0} {1} some words of {} others") == "{0} {1} some words of {} others"
    )
    odd = Catalogue({"a {} b": "{0}"})
    assert odd.of("a {0} b") == "{0}"
    assert odd.of("a a x b b") == "x"
