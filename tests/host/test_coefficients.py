"""Which coefficient files fit which model: any load of the one they were made with, and no other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import comfy.sd
import pytest
import torch
from scaling_cache.cache_core.calibration.files import load
from scaling_cache.nodes.host import coefficients
from scaling_cache.nodes.host.coefficients import (
    family,
    find_blocks,
    find_coefficients,
    fingerprint,
    fingerprints,
)
from scaling_cache.nodes.host.sampling import schedule_of

from demo.host.fetch import ROOT
from testbed import networks
from testbed.coefficient_folder import coefficient_file, looking_in

SHIPPED = ROOT / "demo" / "image_model"
FILE = "scalingcache_demo_sd3.safetensors"
DTYPES = (
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)
each = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).split(".")[1])


def loaded(dtype: torch.dtype) -> Any:
    """The demo's image model as the host loads it with a choice of weights."""
    weights = str(SHIPPED / "weights" / FILE)
    return comfy.sd.load_diffusion_model(weights, model_options={"dtype": dtype})


def earlier(model: Any) -> str:
    """The fingerprint that versions up to 0.1.0 wrote: the host's settings, dtype and all."""
    structure = {
        "family": family(model),
        "network": model.model.model_config.unet_config,
        "latent": type(model.model.latent_format).__name__,
    }
    text = json.dumps(structure, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def found(choice: str, model: Any) -> tuple[bool, str]:
    schedule = schedule_of(model, "euler", "simple", 30)
    found = find_coefficients(choice, model, schedule, 4.0)
    return found.guided is not None, found.note


@each
def test_the_shipped_file_of_an_earlier_version_fits_every_load(dtype: torch.dtype) -> None:
    with looking_in(SHIPPED / "coefficients") as folder:
        made = load(folder / FILE).provenance.fingerprint
        assert made == earlier(loaded(torch.float32)), "the file is one of an earlier version"
        model = loaded(dtype)
        assert made != fingerprint(model)
        for choice in ("auto", FILE):
            assert found(choice, model) == (True, f"Coefficients: {FILE}")


@each
def test_a_file_fits_every_load_whichever_it_was_made_with(
    dtype: torch.dtype, folder: Path
) -> None:
    model = loaded(dtype)
    others = {str(other): loaded(other) for other in DTYPES}
    assert len({fingerprint(other) for other in others.values()}) == 1
    assert len({earlier(other) for other in others.values()}) == len(DTYPES), "dtype was told"
    coefficient_file(folder / "new.safetensors", fingerprint(others["torch.float32"]))
    assert [found(choice, model)[0] for choice in ("auto", "new.safetensors")] == [True, True]
    (folder / "new.safetensors").unlink()
    for name, other in others.items():
        file = f"{name}.safetensors"
        coefficient_file(folder / file, earlier(other))
        assert [found(choice, model)[0] for choice in ("auto", file)] == [True, True], name
        (folder / file).unlink()


def test_another_architecture_is_refused() -> None:
    with looking_in(SHIPPED / "coefficients"):
        for name in ("sd3", "flux"):
            other = networks.build(name)
            assert not fingerprints(other) & fingerprints(loaded(torch.float32))
            assert found("auto", other) == (False, "")
            ok, note = found(FILE, other)
            assert not ok
            assert f"coefficients: {FILE} was made for another model (SD3)" in note
            assert "alpha is learned during the run" in note


def test_of_files_for_other_models_the_beginning_is_read_and_no_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def reading(path: Path) -> Any:
        read.append(path)
        return load(path)

    for number in range(200):
        coefficient_file(folder / f"{number:03}.safetensors", f"{number:016x}")
    monkeypatch.setattr(coefficients, "load", reading)
    model = loaded(torch.float32)
    assert found("auto", model) == (False, "")
    assert find_blocks(model) is None
    assert not found("100.safetensors", model)[0]
    assert not read
    coefficient_file(folder / "zz.safetensors", fingerprint(model))
    assert found("auto", model) == (True, "Coefficients: zz.safetensors")
    assert read == [folder / "zz.safetensors"]
