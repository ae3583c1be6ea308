"""The benchmark of large models: they have their published sizes, and every method is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import large


@pytest.mark.parametrize(
    ("name", "billions"), [("flux_12b", 11.90), ("wan_14b", 14.29), ("hunyuan_video_13b", 12.82)]
)
def test_models_have_their_published_size(comfy: Path, name: str, billions: float):
    model = large.build(large.MODELS[name], torch.bfloat16, torch.device("meta"))
    count = sum(weight.numel() for weight in model.diffusion_model.parameters())
    assert count / 1e9 == pytest.approx(billions, abs=0.01)
    halves = sum(w.numel() for w in model.diffusion_model.parameters() if w.dtype.itemsize == 2)
    assert halves / count > 0.99


def test_every_method_is_measured_computing_and_skipping(comfy: Path):
    from testbed.methods import Level, entries

    bench = large.Bench("tiny", torch.float32)
    rows = {row.method: row for row in large.rows(bench, None, compiled=False)}
    expected = {entry.name for entry in entries() if not entry.needs_file} - {"DeepCache"}
    assert set(rows) == expected | {"EasyCache (host)", "LazyCache (host)"}
    for name, row in rows.items():
        # At cfg 1 there is no negative conditioning to leave out.
        assert (row.skipped is None) == (name == "CFG Cache"), name
        assert row.plain > 0
        assert 0 < row.computed <= row.steps == large.STEPS
        if row.level == Level.STEP.value and row.skipped is not None:
            assert row.computed < row.steps
        assert row.bytes is None
        assert row.waits is None
