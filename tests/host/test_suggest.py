"""Suggest Speed-up in the real host: from a file, and without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfy.k_diffusion import sampling
from comfy.samplers import sampler_object
from scaling_cache.cache_core.calibration.files import load
from scaling_cache.cache_core.methods.base import FASTEST
from scaling_cache.cache_core.planning.optimiser import Chain, best_chains
from scaling_cache.cache_core.planning.suggestion import SAFE
from scaling_cache.nodes import suggest_speedup
from scaling_cache.nodes.host.coefficient_files import offered
from scaling_cache.nodes.host.coefficients import choices
from scaling_cache.nodes.host.sampling import sampler_traits, schedule_of
from scaling_cache.nodes.suggest_speedup import ScalingSuggestSpeedup as Node

from .test_calibrate import run


def ask(model: Any, steps: int = 24, **more: Any) -> tuple[float, str]:
    inputs = {"cfg": 4.0, "sampler_name": "euler", "scheduler": "simple", **more}
    speedup, text = Node.execute(model, steps=steps, **inputs).result
    return speedup, text


def test_it_says_what_the_file_expects(tiny: Any, folder: Path):
    run(tiny, steps=24)
    speedup, text = ask(tiny)
    table = load(folder / "tiny.safetensors").guided
    sigmas = (*table.sigmas.tolist(), 0.0)
    safe = [c for c in best_chains(table, sigmas, (), 6) if c.error <= SAFE]
    wanted = 24 / len(safe[0].steps) if safe else 1.0
    assert wanted - 0.1 < speedup <= wanted
    assert text.startswith(f"At 24 steps {speedup:.1f}x is safe")
    assert "Coefficients: tiny.safetensors" in text
    assert "covers sigma" in ask(tiny, steps=90)[1]
    assert ask(tiny, coefficients="tiny.safetensors") == (speedup, text)
    unguided, text = ask(tiny, cfg=1.0)
    assert unguided == 1.0
    assert "tiny.safetensors: made with guidance, and this run has none" in text
    assert ask(tiny, cfg=1.0, coefficients="tiny.safetensors")[0] > 1


@pytest.mark.parametrize(("computed", "said"), [(15, 1.8), (14, 2.0), (3, FASTEST)])
def test_it_says_the_speedup_that_it_gives(
    computed: int, said: float, tiny: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of 28 steps 15 are 1.87x, which in tenths is no more than 1.8."""
    run(tiny, steps=28, runs=1)
    chain = Chain(tuple(range(computed)), SAFE)
    monkeypatch.setattr(suggest_speedup, "best_chains", lambda *_: [chain])
    speedup, text = ask(tiny, 28)
    assert speedup == said
    assert text.startswith(f"At 28 steps {said:.1f}x is safe")


def test_without_coefficients_it_says_so(tiny: Any, folder: Path):
    speedup, text = ask(tiny)
    assert speedup == 1.0
    assert "no coefficients of this model" in text
    run(tiny)
    assert "made for another model" not in ask(tiny)[1]
    (folder / "bad.safetensors").write_bytes(b"no")
    speedup, text = ask(tiny, coefficients="bad.safetensors")
    assert speedup == 1.0
    assert "damaged" in text


def test_what_runs_of_earlier_versions_left_is_not_read(tiny: Any, folder: Path):
    run(tiny, steps=24)
    (folder / "learned").mkdir()
    (folder / "tiny.safetensors").rename(folder / "learned" / "tiny.safetensors")
    assert choices() == ["auto", "none"]
    assert offered("learned/tiny.safetensors") is None
    assert "no coefficients of this model" in ask(tiny)[1]


def test_a_sampler_that_adds_noise_gets_no_suggestion(tiny: Any, folder: Path):
    run(tiny)
    speedup, text = ask(tiny, sampler_name="euler_ancestral")
    assert speedup == 1.0
    assert "euler_ancestral adds noise" in text


def test_a_sampler_of_another_pack_is_not_said_to_add_noise(
    tiny: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nobody knows; neither node takes it."""

    def sampled(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("nothing is sampled")

    monkeypatch.setattr(sampling, "sample_own", sampled, raising=False)
    speedup, text = ask(tiny, sampler_name="own")
    assert speedup == 1.0
    assert "own may add noise between steps" in text
    with pytest.raises(ValueError, match=r"^sampler_name: own may add noise at each step"):
        run(tiny, sampler_name="own")


def test_what_is_not_repaired_is_less_safe(tiny: Any, folder: Path):
    """Errors of predicted steps are not made good with every sampler."""
    run(tiny)
    schedule = schedule_of(tiny, "heun", "simple", 24)
    assert not sampler_traits(sampler_object("heun"), schedule).sums
    assert ask(tiny, sampler_name="heun")[0] < ask(tiny, sampler_name="euler")[0]
