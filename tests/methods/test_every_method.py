"""What all methods have in common: computing everything they change no bit, leaving something out they
give a sane result, always the same one, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.context_windows as windows
import pytest
import torch
from scaling_cache.cache_core.decide.policies import FRESH
from scaling_cache.cache_core.methods import CfgCache, Level
from scaling_cache.nodes.host.cache import Cache, caches_of

from testbed import networks
from testbed.install import cached

from .every import EVERY, INSIDE, STEPS, left_out, network_of, put

RUNS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "without guidance": {"cfg": 1.0},
    "a batch": {"batch": 2},
    "a batch without guidance": {"batch": 3, "cfg": 1.0},
    "two evaluations per step": {"sampler": "heun"},
    "with noise": {"sampler": "euler_ancestral"},
}


@pytest.mark.parametrize("more", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("method", EVERY)
def test_a_run(
    method: str, more: dict[str, Any], built: Callable[[str], Any], plain: Callable[..., Any]
) -> None:
    entry = EVERY[method]
    name, more = network_of(entry), {"steps": STEPS, **more}
    model, reference = built(name), plain(name, **more)
    attributes = dict(vars(model.model.diffusion_model))
    runs: list[Any] = []

    everything = networks.sample(put(entry, model, runs, everything=True), name, **more)
    assert torch.equal(everything, reference)
    assert runs[0].report.computed == runs[0].report.evaluations
    assert not left_out(runs[0])

    skipping = put(entry, model, runs)
    result = networks.sample(skipping, name, **more)
    assert result.shape == reference.shape
    assert torch.isfinite(result).all()
    if entry.kind.level is Level.NEGATIVE and more.get("cfg") == 1.0:
        assert torch.equal(result, reference)
        assert any("no gain" in note for note in runs[1].report.notes)
    else:
        assert not torch.equal(result, reference)
        assert 0 < len(left_out(runs[1])) < STEPS
    assert torch.equal(networks.sample(skipping, name, **more), result)

    assert [run.nbytes for run in runs] == [0, 0, 0]
    assert [type(cache) for cache in caches_of(skipping)] == [Cache]
    assert dict(vars(model.model.diffusion_model)) == attributes
    assert torch.equal(networks.sample(model, name, **more), reference)


# A batch is compared as a whole, so one picture of it may decide for the others.
ON_THEIR_OWN = [name for name, entry in EVERY.items() if entry.kind.page.signal == "none"]


@pytest.mark.parametrize("method", ON_THEIR_OWN)
def test_each_image_of_a_batch_is_the_one_that_would_come_alone(
    method: str, built: Callable[[str], Any], plain: Callable[..., Any]
) -> None:
    entry = EVERY[method]
    name = network_of(entry)
    both = plain(name, steps=STEPS, batch=2)
    torch.testing.assert_close(both[:1], plain(name, steps=STEPS), rtol=1e-3, atol=1e-3)
    model = put(entry, built(name))
    batch = networks.sample(model, name, steps=STEPS, batch=2)
    alone = networks.sample(model, name, steps=STEPS)
    assert not torch.allclose(batch[0], batch[1])
    torch.testing.assert_close(batch[:1], alone, rtol=1e-3, atol=1e-3)


# Of those that go by the number of the step, which is the same for all conditionings.
BY_STEPS = [name for name in ON_THEIR_OWN if name in INSIDE]


@pytest.mark.parametrize("method", BY_STEPS)
def test_a_conditioning_that_missed_a_computed_step_is_not_predicted_from_before_it(
    method: str, built: Callable[[str], Any], plain: Callable[..., Any]
) -> None:
    """CFG Cache asks for the negative one at every fifth step: both together are about as far as each."""
    entry, steps = EVERY[method], 20
    name = network_of(entry)
    model, reference = built(name), plain(name, steps=steps)
    alone, beside = put(entry, model, steps=steps), CfgCache(5, start_percent=0.0)
    found = (alone, cached(model, beside), cached(alone, beside))
    far = [float((networks.sample(each, name, steps=steps) - reference).norm()) for each in found]
    assert 0 < far[2] < 1.5 * (far[0] + far[1])


def windowed(model: Any, period: int) -> Any:
    """A clone that samples two windows of 8 of 16 rows, which move on by one from step to step and are
    back after so many. None begins with row 0, which newer hosts add to those that do not."""

    def moving(rows: int, handler: Any, _: Any) -> list[list[int]]:
        first = 1 + handler._step % period
        return [[(first + i + j) % rows for j in range(8)] for i in (0, 8)]

    patched = model.clone()
    patched.model_options["context_handler"] = windows.IndexListContextHandler(
        context_schedule=windows.ContextSchedule("moving", moving),
        fuse_method=windows.get_matching_fuse_method("flat"),
        context_length=8,
        dim=2,
    )
    return patched


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("method", EVERY)
def test_nothing_is_predicted_for_a_window_that_was_long_away(
    method: str, built: Callable[[str], Any]
) -> None:
    """Nor kept: a window that moves on is another one at each step."""
    entry = EVERY[method]
    name, away = network_of(entry), FRESH + 2
    latent = networks.empty(name, 1)
    more: dict[str, Any] = {"steps": STEPS, "latent": latent.repeat(1, 1, 16 // latent.shape[2], 1)}
    runs: list[Any] = []
    for period in (1, away):
        model = windowed(built(name), period)
        reference = networks.sample(model, name, **more)
        result = networks.sample(put(entry, model, runs), name, **more)
        assert torch.equal(result, reference) is (period == away)
    still, moving = (run.report.cache_bytes for run in runs)
    assert moving <= (FRESH + 1) * still
