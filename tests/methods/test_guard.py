"""A fault of a cache, wherever it is, costs speed and not the picture, and is said once; one of the model
itself reaches the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from scaling_cache.cache_core.decide.policies import Accumulating, Distance
from scaling_cache.cache_core.methods import (
    CfgCache,
    EasyCache,
    FirstBlockCache,
    Method,
    ScalingCache,
)
from scaling_cache.cache_core.methods.easycache import InputChange
from scaling_cache.cache_core.negative import Guidance
from scaling_cache.cache_core.predict.corrector import Corrector
from scaling_cache.cache_core.predict.predictors import History
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.host import block_hooks, sampling, session
from scaling_cache.nodes.host.cache import Cache, install
from scaling_cache.nodes.host.presets import facts_of
from scaling_cache.nodes.host.progress import STATISTICS, ProgressText

from testbed import networks
from testbed.install import cached
from testbed.observe import listening, watching

STEPS = 10
METHODS = (EasyCache, FirstBlockCache, CfgCache)  # one of each level
ERRORS: dict[str, type[Exception]] = {
    "a bug": RuntimeError,
    "no memory": torch.OutOfMemoryError,
}
# What of a run fails, and at which of its calls: the first, or one after something was skipped.
OF_A_RUN = [
    (name, at)
    for name in ("begin", "_decide", "skips", "complete", "hand_over", "expected_bytes", "close")
    for at in ((0,) if name in ("expected_bytes", "close") else (0, 6))
]


class Injected:
    """Takes the place of a function and fails at one of its calls, or from it on."""

    def __init__(self, function: Callable[..., Any], error: type[Exception], at: int = 0) -> None:
        self.function, self.error, self.at = function, error, at
        self.calls = self.struck = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls - 1 >= self.at:
            self.struck += 1
            raise self.error("a fault of the cache")
        return self.function(*args, **kwargs)


@pytest.fixture(params=METHODS, ids=lambda kind: kind.name)
def method(request: pytest.FixtureRequest, built: Callable[[str], Any]) -> Method:
    return request.param.example(False, STEPS, facts_of(built("flux")))


@pytest.fixture(params=ERRORS)
def error(request: pytest.FixtureRequest) -> type[Exception]:
    return ERRORS[request.param]


@pytest.fixture
def picture(
    method: Method, built: Callable[[str], Any], plain: Callable[..., Any]
) -> Callable[[Injected], Run | None]:
    """Samples while something is injected, and looks at what came of it. Gives the run, None where there
    was none."""

    def sample(injected: Injected) -> Run | None:
        runs: list[Run] = []
        calm = networks.sample(cached(built("flux"), method), "flux", steps=STEPS)
        injected.calls = injected.struck = 0
        with listening() as lines, watching(cached(built("flux"), method, runs)) as (model, seen):
            result = networks.sample(model, "flux", steps=STEPS)
        assert injected.struck, "nothing was injected"
        assert result.shape == calm.shape
        assert torch.isfinite(result).all()
        run = runs[0] if runs else None
        if seen.computed == STEPS:
            assert torch.equal(result, plain("flux", steps=STEPS))
        faults = [line for line in lines if "Traceback" in line]
        assert len(faults) == 1, "said once"
        assert f"{injected.error.__name__}: a fault of the cache" in faults[0]
        return run

    return sample


def inject(
    patch: pytest.MonkeyPatch, owner: Any, name: str, error: type[Exception], at: int = 0
) -> Injected:
    """Let a function or method fail; of a class it stays one that is bound."""
    injected = Injected(getattr(owner, name), error, at)
    found = (lambda *args, **kwargs: injected(*args, **kwargs)) if isinstance(owner, type) else None
    patch.setattr(owner, name, found or injected)
    return injected


@pytest.mark.parametrize(("name", "at"), OF_A_RUN)
def test_faults_of_a_run(
    name: str,
    at: int,
    method: Method,
    error: type[Exception],
    picture: Callable[[Injected], Run | None],
    built: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks.sample(cached(built("flux"), method, runs := []), "flux", steps=STEPS)
    injected = inject(monkeypatch, type(runs[0]), name, error, at)
    run = picture(injected)
    assert run is not None
    assert run.sealed
    assert run.nbytes == 0
    said = [note for note in run.report.notes if "a fault of the cache" in note]
    assert said == [f"Caching stopped: {error.__name__}: a fault of the cache"]
    if at == 0 and name != "close":
        assert not any(r.computed < r.evaluations for r in run.report.records)
    if at:
        later = run.report.records[at:]
        assert all(r.computed == r.evaluations for r in later)


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize(
    ("method", "owner", "name"),
    [
        (EasyCache, Accumulating, "decide"),
        (EasyCache, Accumulating, "settle"),
        (EasyCache, InputChange, "enter"),
        (EasyCache, InputChange, "compare"),
        (EasyCache, InputChange, "learn"),
        (ScalingCache, Corrector, "add"),
        (ScalingCache, Corrector, "repair"),
        (ScalingCache, History, "learn"),
        (FirstBlockCache, Distance, "decide"),
        (FirstBlockCache, Distance, "settle"),
        (CfgCache, Guidance, "knows"),
        (CfgCache, Guidance, "keep"),
        (CfgCache, Guidance, "negative"),
    ],
    indirect=["method"],
)
def test_faults_of_what_a_run_is_made_of(
    owner: Any,
    name: str,
    at: int,
    error: type[Exception],
    picture: Callable[[Injected], Run | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = picture(inject(monkeypatch, owner, name, error, at))
    assert run is not None
    assert run.sealed
    assert run.nbytes == 0


@pytest.mark.parametrize("method", [ScalingCache], indirect=True)
def test_a_skipped_step_whose_output_cannot_be_kept_stays_skipped(
    method: Method,
    error: type[Exception],
    built: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model does not run for it any more, so it is not counted as computed."""
    injected = inject(monkeypatch, Corrector, "add", error)
    with watching(cached(built("flux"), method, runs := [])) as (model, seen):
        networks.sample(model, "flux", steps=STEPS)
    assert injected.struck == 1
    assert runs[0].sealed
    assert runs[0].report.computed == seen.computed == STEPS - 1


@pytest.mark.parametrize("at", [0, 6])
def test_faults_of_the_identity_of_a_call(
    at: int,
    method: Method,
    error: type[Exception],
    picture: Callable[[Injected], Run | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = picture(inject(monkeypatch, session, "describe_call", error, at))
    assert run is not None
    assert run.sealed
    assert [note for note in run.report.notes if "a fault of the cache" in note]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (sampling, "plan"),
        (sampling, "sampler_traits"),
        (sampling, "log_snr"),
    ],
)
def test_faults_before_a_run(
    owner: Any,
    name: str,
    error: type[Exception],
    picture: Callable[[Injected], Run | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert picture(inject(monkeypatch, owner, name, error)) is None


@pytest.mark.parametrize("name", ["start", "update", "finish"])
def test_faults_of_what_is_told(
    name: str,
    method: Method,
    error: type[Exception],
    built: Callable[[str], Any],
    picture: Callable[[Injected], Run | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "SECONDS_BETWEEN_UPDATES", 0.0)
    networks.sample(cached(built("flux"), method, calm := []), "flux", steps=STEPS)
    run = picture(inject(monkeypatch, ProgressText, name, error))
    assert run is not None
    same = [(r.step, r.computed) for r in calm[0].report.records]
    assert [(r.step, r.computed) for r in run.report.records] == same, "and no speed either"


@pytest.mark.parametrize("method", [FirstBlockCache], indirect=True)
def test_faults_of_the_size_of_the_stream(
    error: type[Exception],
    picture: Callable[[Injected], Run | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = picture(inject(monkeypatch, block_hooks.Network, "stream_bytes", error))
    assert run is not None
    assert run.sealed


def test_a_listener_that_fails_costs_nothing(
    method: Method, error: type[Exception], built: Callable[[str], Any]
) -> None:
    calm = networks.sample(cached(built("flux"), method), "flux", steps=STEPS)

    def fail(run: Run) -> None:
        raise error("a fault of the cache")

    loud = install(built("flux"), Cache(method, on_close=fail))
    with listening() as lines:
        assert torch.equal(networks.sample(loud, "flux", steps=STEPS), calm)
    assert len([line for line in lines if "a fault of the cache" in line]) == 1


@pytest.mark.parametrize("at", [0, 5])
def test_a_fault_of_the_model_reaches_the_host(
    at: int, method: Method, error: type[Exception], built: Callable[[str], Any]
) -> None:
    """The host frees memory and says what is wrong; a cache that took the fault for its own would run the
    model again."""
    model, runs = built("flux"), []
    network = model.model.diffusion_model
    # Counted at the last block, which no method here skips on a computed step.
    injected = Injected(lambda module, args: None, error, at)
    handle = network.final_layer.register_forward_pre_hook(injected)
    try:
        with pytest.raises(error, match="a fault of the cache"):
            networks.sample(cached(model, method, runs), "flux", steps=STEPS)
    finally:
        handle.remove()
    assert injected.struck == 1
    assert runs[0].nbytes == 0
    assert not runs[0].report.notes


@pytest.mark.parametrize("name", ["_arranged", "_hooked"])
def test_a_run_that_could_not_begin_is_not_under_way_for_ever(
    name: str, error: type[Exception], built: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been told to who asks where a prompt stands."""
    model = install(built("flux"), Cache(ScalingCache(), "7", coefficients="none"))
    inject(monkeypatch, sampling, name, error)
    prompt = f"{name} {error.__name__}"
    with CurrentNodeContext(prompt, "9"):
        networks.sample(model, "flux", steps=STEPS)
    assert [run["state"] for run in STATISTICS.of(prompt)["runs"]] == ["refused"]
