"""What ordinary runs leave behind, in the real host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from .conftest import counting, steadied
from .test_calibrate import folder, put, run, said  # noqa: F401 - fixtures


def learned(place: Path) -> list[Path]:
    return sorted(place.glob("*.safetensors")) if place.exists() else []


@pytest.fixture
def files(learned_folder: Path, folder: Path) -> Path:  # noqa: F811
    """Where learned files go; there are no other coefficient files."""
    return learned_folder


def test_the_second_run_uses_what_the_first_one_learned(
    tiny: Any,
    sample: Any,
    files: Path,
    said: list[str],  # noqa: F811
):
    from scaling_cache.cache_core.coefficients import load
    from scaling_cache.cache_core.optimiser import best_chains, cheapest

    first = put(tiny, speedup=2.0)
    counted, seen = counting(first)
    sample(counted, steps=24)
    assert "Coefficients" not in said[-1]
    (path,) = learned(files)
    assert path.name.endswith("_euler.safetensors")
    file = load(path)
    np.testing.assert_allclose(file.guided.sigmas, seen.sigmas, rtol=1e-6)
    counted, again = counting(put(tiny, speedup=2.0))
    sample(counted, steps=24)
    assert "Coefficients: learned from 1 picture" in said[-1]
    plain, every = counting(tiny)
    sample(plain, steps=24)
    schedule = (*every.sigmas, 0.0)
    chains = best_chains(steadied(tiny, file.guided, schedule), schedule, (), 6)
    chosen = cheapest(chains, 12).steps
    assert again.sigmas == [schedule[i] for i in chosen]


def test_what_is_learned_are_the_products_of_the_computed_outputs(
    tiny: Any, sample: Any, files: Path
):
    from comfy.patcher_extension import WrappersMP
    from scaling_cache.cache_core.coefficients import load

    outputs: list[torch.Tensor] = []
    model = put(tiny, speedup=2.0)
    counted, seen = counting(model)

    def predict(executor: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        before = len(seen.sigmas)
        guided = executor(x, timestep, *args, **kwargs)
        if len(seen.sigmas) > before:
            outputs.append(((x - guided) / timestep[0]).flatten().double())
        return guided

    counted.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "watch", predict)
    sample(counted, steps=24)
    (path,) = learned(files)
    stacked = torch.stack(outputs)
    wanted = (stacked @ stacked.T).numpy()
    np.testing.assert_allclose(load(path).guided.gram[0], wanted, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"speedup": 4.0}, 24),  # too few computed steps
        ({"speedup": 1.5}, 8),
        ({"speedup": 2.0, "coefficients": "none"}, 24),
    ],
)
def test_too_little_or_unwanted_leaves_nothing(
    settings: dict[str, Any], steps: int, tiny: Any, sample: Any, files: Path
):
    sample(put(tiny, **settings), steps=steps)
    assert not learned(files)


def test_noisy_samplers_and_other_predictors_leave_nothing(tiny: Any, sample: Any, files: Path):
    from scaling_cache.cache_core.settings import PredictorKind

    sample(put(tiny, speedup=2.0), steps=24, sampler="euler_ancestral")
    sample(put(tiny, speedup=2.0, predictor=PredictorKind.SCALING), steps=24)
    assert not learned(files)


def test_a_run_that_fails_leaves_nothing(tiny: Any, sample: Any, files: Path):
    calls = 0

    def fail(module: Any, args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 11:
            raise RuntimeError("broken")

    handle = tiny.model.diffusion_model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        sample(put(tiny, speedup=2.0), steps=24)
    handle.remove()
    assert not learned(files)


def test_a_folder_that_cannot_be_written_costs_only_the_lesson(tiny: Any, sample: Any, files: Path):
    files.write_text("a file in the way")
    plain = sample(put(tiny, "none", speedup=2.0), steps=24)
    assert torch.equal(sample(put(tiny, speedup=2.0), steps=24), plain)


def test_a_broken_file_is_not_used(tiny: Any, sample: Any, files: Path, said: list[str]):  # noqa: F811
    sample(put(tiny, speedup=2.0), steps=24)
    (path,) = learned(files)
    path.write_bytes(path.read_bytes()[:-20])
    sample(put(tiny, speedup=2.0), steps=24)
    assert "Coefficients" not in said[-1]


def test_a_calibrated_file_comes_first(tiny: Any, sample: Any, files: Path, said: list[str]):  # noqa: F811
    sample(put(tiny, speedup=2.0), steps=24)
    before = [path.read_bytes() for path in learned(files)]
    run(tiny, runs=1, steps=24)
    sample(put(tiny, speedup=2.0), steps=24)
    assert "Coefficients: tiny.safetensors" in said[-1]
    assert [path.read_bytes() for path in learned(files)] == before


def test_runs_add_up_and_finer_ones_win(tiny: Any, sample: Any, files: Path):
    from scaling_cache.cache_core.coefficients import load
    from scaling_cache.nodes.host.learned import forget

    def known() -> Any:
        (path,) = learned(files)
        return load(path)

    sample(put(tiny, speedup=2.0), steps=24)
    coarse = known()
    sample(put(tiny, speedup=1.3), steps=24)
    fine = known()
    assert len(fine.guided.sigmas) > len(coarse.guided.sigmas)
    sample(put(tiny, speedup=2.0), steps=24)
    assert len(known().guided.sigmas) == len(fine.guided.sigmas)
    assert forget() == 1
    assert not learned(files)


def test_merging():
    from dataclasses import replace

    from scaling_cache.cache_core.calibration import GramTable
    from scaling_cache.cache_core.coefficients import CoefficientFile, Provenance
    from scaling_cache.nodes.host.learned import ENOUGH, merged

    def file(sigmas: list[float], samples: int = 1) -> CoefficientFile:
        table = GramTable(np.array(sigmas), np.eye(len(sigmas))[None])
        made = Provenance("F", "0", "euler", 1.0, (4, 8, 8), samples, "0", "learned")
        return CoefficientFile(made, table, table)

    grid = [1.0, 0.8, 0.5, 0.2]
    both = merged(file(grid), file(grid))
    assert both is not None
    assert both.provenance.samples == 2
    np.testing.assert_array_equal(both.guided.gram, 2 * np.eye(4)[None])
    assert merged(file(grid, ENOUGH), file(grid)) is None
    wide, narrow = file([1.0, 0.7, 0.4, 0.1]), file([0.5, 0.4, 0.3, 0.2, 0.15])
    assert merged(wide, narrow) is None
    assert merged(narrow, wide) is wide
    assert merged(None, narrow) is narrow
    finer = file([1.0, 0.9, 0.7, 0.4, 0.1])
    assert merged(wide, finer) is finer
    assert merged(finer, replace(wide)) is None
