"""Runs that must come out as they did before the pack was taken apart and put together again.

Each case puts a cache on a tiny model by the id of its node, with the inputs that a saved workflow holds,
and samples 12 steps. What ran is counted at the network itself, so nothing here knows how the pack works
inside: only ids of nodes, names of inputs and the values that users choose.

Beside this file lies what came out at revision a2997ef, in `same_as_before.json`: a line per case with
what reached the network at each evaluation, a hash of the result and some of its values. What ran must be
equal on every machine, and the values close. Bits differ from one machine to the next, so a line per
plain run says whether this one computes the same bits; where it does, the results must be equal to the
last bit. Another host may have changed a sampler: where its plain run is another, no cached one can be
the same.

To record:

    python -m tests.host.test_same_as_before --record        all cases, as of an earlier revision
    python -m tests.host.test_same_as_before --record WORDS  those whose ids hold one of the words

New cases may be added. A case that is here may be recorded again only where a fault was mended that
changes it, and then this list says which:

    node then First Block Cache: two caches on one model were both refused or ran the first alone; now the
    last one counts.
    Scaling Cache with heun: the second evaluation of a skipped step was predicted as if it were at the
    noise level of the first, from outputs of both. Recorded on another machine, so without bits.
    Scaling Cache on flux with dpmpp_2m: late errors counted for too little. Without bits too.
    Scaling Cache with an error budget: what was measured last alone said how few steps the end needs.
    Without bits too.
    Scaling Cache with guidance, 8 cases: early errors counted for too much. Without bits too.
    Scaling Cache with guidance, 4 cases: late errors counted for too little, and with dpmpp_2m and heun
    too few of 12 steps were computed. Without bits too.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from demo.host.inprocess import import_host, import_pack
from testbed import networks

RECORDED = Path(__file__).with_name("same_as_before.json")
HOW = "python -m tests.host.test_same_as_before --record"
STEPS = 12
# Of the weights: such that outputs and blocks change from step to step about as much in each network.
SPREADS = {"sd3": 0.05, "flux": 0.07, "wan": 0.05, "unet": 0.1}
VALUES = 8
# Of the largest recorded value: what other machines and other versions of torch may differ by.
CLOSE = {"fp32": 1e-3, "bf16": 5e-2}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

ADVANCED = "ScalingStepCacheAdvanced"
STEP, BLOCKS = "whole step", "blocks"

# What of a network counts as its blocks, by family.
TRANSFORMERS = {
    "sd3": ("joint_blocks",),
    "flux": ("double_blocks", "single_blocks"),
    "wan": ("blocks",),
}
UNET = "unet"
ATTRIBUTES = {**TRANSFORMERS, UNET: ("input_blocks", "middle_block", "output_blocks")}
ALL, INSIDE = tuple(ATTRIBUTES), tuple(TRANSFORMERS)


# ---------------------------------------------------------------------------------------------- the cases


@dataclass(frozen=True)
class Way:
    """How a case samples."""

    sampler: str
    batch: int
    cfg: float
    dtype: str

    @property
    def noisy(self) -> bool:
        """Whether the sampler adds noise."""
        return self.sampler == "euler_ancestral"

    def __str__(self) -> str:
        return f"{self.sampler}-batch{self.batch}-cfg{self.cfg:g}-{self.dtype}"


# Four that hold every sampler, batch size, guidance scale and type of weights.
WAYS = (
    Way("euler", 1, 1.0, "fp32"),
    Way("dpmpp_2m", 2, 4.0, "fp32"),
    Way("euler_ancestral", 1, 4.0, "bf16"),
    Way("heun", 2, 1.0, "bf16"),
)


@dataclass(frozen=True)
class Node:
    """A node as a workflow holds it: its id, and the inputs that are not as in `INPUTS`."""

    node_id: str
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cache:
    """What a case puts on the model.

    Attributes:
        name: what it is, part of the id.
        nodes: from the model on.
        families: that it works with.
        file: whether the host finds a coefficient file of the model.
        quiet: whether it is of use only where the sampler adds no noise.
    """

    name: str
    nodes: tuple[Node, ...]
    families: tuple[str, ...] = ALL
    file: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Case:
    """One run."""

    cache: Cache
    family: str
    way: Way

    @property
    def id(self) -> str:
        return f"{self.cache.name}-{self.family}-{self.way}".replace(" ", "_")


OWN_FILE = "the coefficient file that was made for the model"


@dataclass(frozen=True)
class Tuned:
    """The threshold of a method that leaves out some of a model's steps and computes others.

    Such that 5 percent more or less change nothing: other machines compute other last digits.
    """

    name: str

    def of(self, family: str, way: Way) -> float:
        return THRESHOLDS[self.name][family][way.noisy]


# By method and family: where the sampler adds no noise, and where it does.
THRESHOLDS: dict[str, dict[str, tuple[float, float]]] = {
    name: dict.fromkeys(ALL, (0.3, 0.7))
    for name in (
        "EasyCache",
        "LazyCache",
        "SmoothCache",
        "TeaCache",
        "MagCache",
        "First Block Cache",
        "DBCache",
        "DiCache",
        "MixCache",
        "budget",
    )
}

# What stands in a node that a case does not set, as a saved workflow holds it.
INPUTS: dict[str, dict[str, Any]] = {
    "ScalingCache": {
        "speedup": 2.0,
        "mode": "target speed-up",
        "start_percent": 0.0,
        "end_percent": 1.0,
        "predictor": "auto",
        "budget": 0.02,
        "warmup": 0,
        "max_gap": 6,
        "coefficients": "auto",
        "computed_steps": "",
        "corrector": True,
        # As it was before there was a limit to what a target leaves of the steps.
        "few_steps": "whole steps",
    },
    "ScalingTeaCache": {
        "model_type": "auto",
        "rel_l1_thresh": Tuned("TeaCache"),
        "start_percent": 0.0,
        "end_percent": 1.0,
        "cache_device": "model device",
        "strict": False,
        "max_gap": 10,
    },
    "ScalingMagCache": {
        "model_type": "auto",
        "published": True,
        "magcache_thresh": 0.06,
        "magcache_K": 2,
        "retention_ratio": 0.2,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "cache_device": "model device",
        "follow_magnitude": False,
    },
    "ScalingFirstBlockCache": {
        "residual_diff_threshold": Tuned("First Block Cache"),
        "start_percent": 0.0,
        "end_percent": 1.0,
        "cache_device": "model device",
        "max_gap": 0,
    },
    "ScalingDeltaCache": {
        "settings": "custom",
        "blocks": "1",
        "single_blocks": "",
        "start_step": 3,
        "interval": 3,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "cache_device": "model device",
    },
    "ScalingCfgCache": {
        "interval": 3,
        "start_percent": 0.2,
        "end_percent": 1.0,
        "low": 1.1,
        "high": 1.1,
    },
    ADVANCED: {
        "granularity": "auto",
        "predictor": "auto",
        "speedup": 2.0,
        "threshold": 0.0,
        "interval": 3,
        "warmup": 2,
        "max_gap": 3,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "cache_device": "model device",
        "order": 1,
        "first_blocks": 1,
        "last_blocks": 0,
        "blocks": "",
        "single_blocks": "",
        "power": 1.0,
        "center": 15,
    },
}


@dataclass(frozen=True)
class Method:
    """A method of Step Cache (Advanced) at one granularity.

    Attributes:
        predictors: that go with it, besides its own.
        inputs: that it cannot do without.
    """

    name: str
    granularity: str
    predictors: tuple[str, ...]
    inputs: dict[str, Any] = field(default_factory=dict)
    families: tuple[str, ...] = ALL
    file: bool = False


_TAYLOR = ("Taylor 1", "Taylor 2", "Taylor 3")
_ON_STEPS = ("reuse", "scaling", "order 1", "order 2", *_TAYLOR)
_INSIDE = ("reuse", *_TAYLOR)
METHODS = (
    Method("Scaling Cache", STEP, (*_ON_STEPS, "least squares")),
    Method("EasyCache", STEP, _ON_STEPS),
    Method("LazyCache", STEP, _ON_STEPS),
    Method("SmoothCache", STEP, (*_ON_STEPS, "least squares"), file=True),
    Method("EOC", STEP, (*_ON_STEPS, "least squares")),
    Method("TaylorSeer", STEP, _TAYLOR),
    Method("TaylorSeer", BLOCKS, _TAYLOR, families=INSIDE),
    Method("TeaCache", BLOCKS, _INSIDE, families=INSIDE, file=True),
    Method("MagCache", BLOCKS, _INSIDE, families=INSIDE, file=True),
    Method("First Block Cache", BLOCKS, (*_INSIDE, "alignment"), families=INSIDE),
    Method("DBCache", BLOCKS, (*_INSIDE, "alignment"), families=INSIDE),
    Method("DiCache", BLOCKS, (*_INSIDE, "alignment"), families=INSIDE),
    Method("Delta Cache", BLOCKS, _INSIDE, {"blocks": "1"}, families=INSIDE),
    Method("MixCache", BLOCKS, _INSIDE, families=INSIDE),
    Method("DeepCache", BLOCKS, _INSIDE, families=(UNET,)),
)


BUDGET = {"mode": "error budget", "budget": Tuned("budget")}


def main_caches() -> list[Cache]:
    """Those that are sampled in every way: each method of Step Cache (Advanced), and the other nodes."""
    found = [
        Cache(f"{m.name} {m.granularity}", (_advanced(m),), m.families, m.file) for m in METHODS
    ]
    node = "ScalingCache"
    return [
        *found,
        Cache("node 2x", (Node(node),)),
        Cache("node 3x", (Node(node, {"speedup": 3.0}),)),
        Cache("node budget", (Node(node, BUDGET),)),
        Cache("node least squares", (Node(node, {"predictor": "least squares"}),), ALL, file=True),
        Cache("node TeaCache", (Node("ScalingTeaCache"),), INSIDE, file=True),
        Cache("node MagCache", (Node("ScalingMagCache"),), INSIDE, file=True),
        Cache("node First Block Cache", (Node("ScalingFirstBlockCache"),), INSIDE),
        Cache("node Delta Cache", (Node("ScalingDeltaCache"),), INSIDE),
        # Without guidance there is no negative conditioning to leave out.
        Cache("node CFG Cache", (Node("ScalingCfgCache"),)),
    ]


def further_caches() -> list[Cache]:
    """Those that are sampled in one way each: predictors, and inputs one at a time."""
    found = [
        Cache(
            f"{m.name} {m.granularity} {predictor}",
            (_advanced(m, predictor=predictor),),
            m.families,
            m.file or predictor == "least squares",
        )
        for m in METHODS
        for predictor in m.predictors
    ]
    return [*found, *_of_scaling_cache(), *_of_other_nodes(), *_chains(), *_of_searched_steps()]


def _advanced(method: Method, **more: Any) -> Node:
    """The node with a method, its threshold set if it has one."""
    chosen = {"method": method.name, "granularity": method.granularity}
    tuned = {"threshold": Tuned(method.name)} if method.name in THRESHOLDS else {}
    return Node(ADVANCED, {**chosen, **tuned, **method.inputs, **more})


def _of_scaling_cache() -> list[Cache]:
    inputs: dict[str, dict[str, Any]] = {
        "near-lossless": {"mode": "near-lossless"},
        "balanced": {"mode": "balanced"},
        "draft": {"mode": "fast draft"},
        "scaling": {"predictor": "scaling"},
        "order 0": {"predictor": "order 0"},
        "order 1": {"predictor": "order 1"},
        "order 2": {"predictor": "order 2"},
        "least squares without a file": {"predictor": "least squares"},
        "budget order 0": {**BUDGET, "predictor": "order 0"},
        "uncorrected": {"corrector": False},
        "uncorrected order 1": {"corrector": False, "predictor": "order 1"},
        "listed": {"computed_steps": "0-2, 5, 8, 11"},
        "listed order 2": {"computed_steps": "0-3, 6, 10", "predictor": "order 2"},
        "window": {"start_percent": 0.3, "end_percent": 0.8},
        "warmup": {"warmup": 4, "speedup": 2.5},
        "short gaps": {"max_gap": 1, "speedup": 4.0},
    }
    with_file: dict[str, dict[str, Any]] = {
        "chosen file": {"coefficients": OWN_FILE},
        "file not wanted": {"coefficients": "none", "predictor": "least squares"},
        "budget with a file": {**BUDGET, "predictor": "least squares"},
        "least squares uncorrected": {"predictor": "least squares", "corrector": False},
        "least squares listed": {"predictor": "least squares", "computed_steps": "0, 3, 6, 9"},
    }
    return [
        Cache(f"node {name}", (Node("ScalingCache", values),), ALL, found is with_file, quiet=True)
        for found in (inputs, with_file)
        for name, values in found.items()
    ]


def _of_other_nodes() -> list[Cache]:
    def one(name: str, node_id: str, families: Sequence[str], **inputs: Any) -> Cache:
        return Cache(name, (Node(node_id, inputs),), tuple(families), quiet=True)

    tea, mag, cfg = "ScalingTeaCache", "ScalingMagCache", "ScalingCfgCache"
    wan = "wan2.1_t2v_1.3B"
    advanced = {"method": "DBCache", "threshold": Tuned("DBCache")}
    return [
        one("published TeaCache flux", tea, ["flux"], rel_l1_thresh=0.0),
        one("published TeaCache wan", tea, ["wan"], model_type=wan, rel_l1_thresh=0.0),
        one("strict TeaCache", tea, ["flux"], strict=True),
        one("published MagCache flux", mag, ["flux"]),
        one("published MagCache wan", mag, ["wan"], model_type=wan),
        one("MagCache of my own", mag, ["flux"], published=False, magcache_thresh=0.2),
        one("following MagCache", mag, ["flux"], follow_magnitude=True),
        one("First Block Cache on the CPU", "ScalingFirstBlockCache", INSIDE, cache_device="cpu"),
        one("Delta Cache single blocks", "ScalingDeltaCache", ["flux"], single_blocks="0, 2"),
        one("CFG Cache other factors", cfg, ALL, low=1.3, high=0.8, interval=2),
        one("DBCache last block", ADVANCED, ["flux", "wan"], **advanced, last_blocks=1),
        one("DeepCache two blocks", ADVANCED, [UNET], method="DeepCache", first_blocks=2),
        one("DeepCache uneven", ADVANCED, [UNET], method="DeepCache", power=1.4, center=4),
        one(
            "EasyCache window", ADVANCED, ALL, method="EasyCache", threshold=9.0, start_percent=0.4
        ),
        one("TaylorSeer order 2", ADVANCED, INSIDE, method="TaylorSeer", order=2),
    ]


def _chains() -> list[Cache]:
    """Several nodes in a row."""
    step, cfg = Node("ScalingCache"), Node("ScalingCfgCache", {"interval": 4})
    first, tea = Node("ScalingFirstBlockCache"), Node("ScalingTeaCache")
    lazy = Node(ADVANCED, {"method": "LazyCache", "threshold": Tuned("LazyCache")})
    return [
        Cache("CFG Cache then node", (cfg, step)),
        Cache("node then CFG Cache", (step, cfg)),
        Cache("CFG Cache then First Block Cache", (cfg, first), INSIDE),
        Cache("First Block Cache replaces TeaCache", (tea, first), INSIDE, file=True),
        Cache("node then First Block Cache", (step, first), INSIDE),
        Cache("LazyCache replaces node", (step, lazy)),
    ]


def _of_searched_steps() -> list[Cache]:
    """Methods that were not there at a2997ef."""
    schedule = {"method": "Published Schedule", "schedule": "FLUX.1-dev, MeanCache"}
    return [
        Cache("BudCache", (Node(ADVANCED, {"method": "BudCache"}),), file=True, quiet=True),
        Cache("MeanCache", (Node(ADVANCED, {"method": "MeanCache"}),), file=True, quiet=True),
        Cache("Published Schedule", (Node(ADVANCED, schedule),), ("sd3", "wan"), quiet=True),
    ]


def cases() -> list[Case]:
    """Each main cache in all ways and the others in one, taking turns at the families."""
    found = [
        Case(one, one.families[(turn + place) % len(one.families)], way)
        for turn, one in enumerate(main_caches())
        for place, way in enumerate(WAYS)
    ]
    for turn, one in enumerate(further_caches()):
        ways = [way for way in WAYS if not (one.quiet and way.noisy)]
        # Not in step with the families, so that each family comes to be sampled in each way.
        way = ways[(turn + turn // len(ALL)) % len(ways)]
        found.append(Case(one, one.families[turn % len(one.families)], way))
    return found


CASES = cases()


# ------------------------------------------------------------------------------------------ how they run


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        ran: what reached the network at each evaluation, a word for each: `-` for nothing, else
            conditionings and blocks that ran, as in `2x5`.
        bits: short hash of the result.
        values: some of the result.
    """

    ran: str
    bits: str
    values: tuple[float, ...]


@dataclass
class Evaluation:
    """Rows and blocks that ran in one evaluation."""

    rows: int = 0
    blocks: int = 0

    def word(self, batch: int) -> str:
        return f"{self.rows // batch}x{self.blocks}" if self.rows else "-"


class Bed:
    """The tiny models, each built once, and what the host samples with them."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: empty, for coefficient files.
        """
        self._files = folder / "files"
        self._empty = folder / "none"
        for made in (self._files, self._empty):
            made.mkdir()
        # Methods of a bed hold what was made for this one.
        self.model = cache(self._build)
        self.plain = cache(self._plain)
        self._file = cache(self._calibrate)

    def outcome(self, case: Case) -> Outcome:
        """The case, run."""
        if case.cache.file:
            self._file(case.family, case.way.dtype)
        with looking_in(self._folder(case.way.dtype) if case.cache.file else self._empty):
            return self._sample(case.family, case.way, case.cache.nodes)

    def _plain(self, family: str, way: Way) -> Outcome:
        with looking_in(self._empty):
            return self._sample(family, way, ())

    def _sample(self, family: str, way: Way, nodes: Sequence[Node]) -> Outcome:
        model = self.model(family, way.dtype)
        with counting(model, family) as (counted, evaluations):
            for node in nodes:
                counted = put(counted, family, way, node)
            result = networks.sample(
                counted, family, STEPS, way.cfg, way.sampler, way.batch
            ).float()
        words = [evaluation.word(way.batch) for evaluation in evaluations]
        bits = hashlib.sha256(result.contiguous().numpy().tobytes()).hexdigest()[:16]
        flat = result.flatten()
        places = torch.linspace(0, len(flat) - 1, VALUES).long()
        values = tuple(float(f"{value:.6g}") for value in flat[places].tolist())
        return Outcome(" ".join(words), bits, values)

    def _build(self, family: str, dtype: str) -> Any:
        if family == UNET:
            networks.UNETS[UNET] = small_unet()
        return networks.build(family, dtype=DTYPES[dtype], spread=SPREADS[family])

    def _folder(self, dtype: str) -> Path:
        """Where the files of models of one type lie: a file fits all of them."""
        found = self._files / dtype
        found.mkdir(exist_ok=True)
        return found

    def _calibrate(self, family: str, dtype: str) -> None:
        """Let the pack's own node make a file for the model."""
        with looking_in(self._folder(dtype)), torch.inference_mode():
            node_class("ScalingCalibrateCache").execute(
                model=self.model(family, dtype),
                positive=networks.conditioning(family, 2),
                negative=networks.conditioning(family, 3),
                latent_image={"samples": torch.zeros(1, *networks.spec_of(family).latent)},
                name=f"{family}_{dtype}",
                seed=7,
                runs=1,
                steps=STEPS,
                cfg=4.0,
                sampler_name="euler",
                scheduler="simple",
                refine=False,
            )


def small_unet() -> Any:
    """Stable Diffusion 1.5 with two levels: the one of the testbed takes seconds per run."""
    known = networks.spec_of("sd15")
    network = {
        **known.network,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "num_heads": 8,
    }
    return replace(known, network=network, latent=(4, 8, 8))


def node_class(node_id: str) -> Any:
    """The node with that id."""
    from scaling_cache.nodes import NODES

    found = {node.define_schema().node_id: node for node in NODES}
    return found[node_id]


def put(model: Any, family: str, way: Way, node: Node) -> Any:
    """The model as the node gives it."""
    inputs = {**INPUTS[node.node_id], **node.inputs}
    for name, value in inputs.items():
        if isinstance(value, Tuned):
            inputs[name] = value.of(family, way)
        elif value == OWN_FILE:
            inputs[name] = f"{family}_{way.dtype}.safetensors"
    return node_class(node.node_id).execute(model=model, **inputs).args[0]


@contextmanager
def counting(model: Any, family: str) -> Iterator[tuple[Any, list[Evaluation]]]:
    """A clone for a cache to be put on, and what runs in each of its evaluations.

    The wrapper comes before those of any cache, so that it sees evaluations that are left out too. What
    ran is counted by hooks in the network, which no cache can come between.
    """
    from comfy.patcher_extension import WrappersMP

    evaluations: list[Evaluation] = []

    def begin(executor: Any, *args: Any, **kwargs: Any) -> Any:
        evaluations.append(Evaluation())
        return executor(*args, **kwargs)

    def network_runs(module: Any, args: tuple[Any, ...]) -> None:
        evaluations[-1].rows += len(args[0])

    def block_runs(module: Any, args: tuple[Any, ...]) -> None:
        evaluations[-1].blocks += 1

    network = model.model.diffusion_model
    handles = [network.register_forward_pre_hook(network_runs)]
    handles += [b.register_forward_pre_hook(block_runs) for b in blocks_of(network, family)]
    counted = model.clone()
    counted.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "same_as_before", begin)
    try:
        yield counted, evaluations
    finally:
        for handle in handles:
            handle.remove()


def blocks_of(network: Any, family: str) -> list[Any]:
    """Modules that stand for the blocks. Those of a UNet are lists that the host never calls: the first
    layer of each stands for it."""
    if family != UNET:
        return [block for name in ATTRIBUTES[family] for block in getattr(network, name)]
    stacks = [getattr(network, name) for name in ATTRIBUTES[family]]
    return [block[0] for stack in (stacks[0], [stacks[1]], stacks[2]) for block in stack]


@contextmanager
def looking_in(folder: Path) -> Iterator[None]:
    """Let the host find the coefficient files of one folder and no others, those of the machine least
    of all."""
    import folder_paths

    known, models = folder_paths.folder_names_and_paths, folder_paths.models_dir
    before = known.get("scaling_cache")
    with tempfile.TemporaryDirectory() as empty:
        folder_paths.models_dir = empty
        known["scaling_cache"] = ([str(folder)], {".safetensors"})
        folder_paths.filename_list_cache.pop("scaling_cache", None)
        try:
            yield
        finally:
            folder_paths.models_dir = models
            del known["scaling_cache"]
            if before is not None:
                known["scaling_cache"] = before
            folder_paths.filename_list_cache.pop("scaling_cache", None)


# --------------------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    import_pack()
    import_host()
    return Bed(tmp_path_factory.mktemp("same_as_before"))


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(RECORDED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_run_is_the_same(case: Case, bed: Bed, recorded: dict[str, Any]) -> None:
    assert case.id in recorded["cases"], f"not recorded: {HOW} {case.id}"
    known = recorded["cases"][case.id]
    plain, as_recorded = (
        bed.plain(case.family, case.way),
        recorded["plain"][plain_id(case.family, case.way)],
    )
    if not close(plain.values, as_recorded["values"], CLOSE[case.way.dtype]):
        assert os.environ.get("COMFYUI_PATH"), "the plain run is another"
        pytest.skip(f"the {case.way.sampler} of the recorded runs is not in this host")
    fresh = bed.outcome(case)
    assert fresh.ran == known["ran"], "other steps or blocks ran"
    assert len(fresh.ran.split()) == len(plain.ran.split()), "the sampler evaluated otherwise"
    assert close(fresh.values, known["values"], CLOSE[case.way.dtype]), (
        f"{fresh.values} is not close to {known['values']}"
    )
    if plain.bits == as_recorded["bits"] and known["bits"]:
        assert fresh.bits == known["bits"], "close, but not the same bits"


def close(fresh: Sequence[float], known: Sequence[float], tolerance: float) -> bool:
    largest = max(map(abs, known))
    pairs = zip(fresh, known, strict=True)
    return all(abs(one - other) <= tolerance * largest for one, other in pairs)


def plain_id(family: str, way: Way) -> str:
    return f"{family}-{way}"


def test_the_record_is_of_these_cases(recorded: dict[str, Any]) -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))
    new, gone = sorted(set(ids) - set(recorded["cases"])), sorted(set(recorded["cases"]) - set(ids))
    assert not new, f"not recorded: {HOW} {' '.join(new)}"
    assert not gone, "recorded, but no case any more"
    assert set(recorded["plain"]) == {plain_id(case.family, case.way) for case in CASES}


def test_few_of_the_recorded_runs_leave_nothing_out(recorded: dict[str, Any]) -> None:
    """Of a run that computes everything these tests learn little."""
    plain = {known["bits"] for known in recorded["plain"].values()}
    idle = [name for name, known in recorded["cases"].items() if known["bits"] in plain]
    assert len(idle) <= len(recorded["cases"]) // 10, idle


def test_every_cache_is_sampled_in_every_way() -> None:
    for one in main_caches():
        mine = [case for case in CASES if case.cache == one]
        assert {case.way for case in mine} == set(WAYS), one.name
        assert {case.family for case in mine} == set(one.families), one.name


# Inputs whose every option must have a case.
CHOICES = {
    ADVANCED: ("method", "granularity", "predictor"),
    "ScalingCache": ("mode", "predictor"),
}


def test_whatever_the_nodes_offer_has_a_case(bed: Bed, tmp_path: Path) -> None:
    from scaling_cache.nodes import NODES

    nodes = [node for case in CASES for node in case.cache.nodes]
    with looking_in(tmp_path):
        schemas = {schema.node_id: schema for schema in (n.define_schema() for n in NODES)}
    caches = {name for name, s in schemas.items() if any(o.io_type == "MODEL" for o in s.outputs)}
    # No case has ControlNets: `test_branches` computes by hand what is between two of them.
    named = {"ScalingBranchCache", *(node.node_id for node in nodes)}
    missing = [f"the node {name}" for name in caches - named]
    for name, fields in CHOICES.items():
        inputs = {entry.id: entry for entry in schemas[name].inputs}
        for key in fields:
            used = {{**INPUTS[name], **n.inputs}[key] for n in nodes if n.node_id == name}
            missing += [f"{key} {o!r} of {name}" for o in inputs[key].options if o not in used]
    assert not missing, f"no case here with {', '.join(missing)}: add some, then {HOW} <their ids>"


# ------------------------------------------------------------------------------------------ how to record


def record(words: Sequence[str]) -> None:
    """Write down what comes out now, of the cases whose ids hold one of the words; of all without any."""
    known: dict[str, Any] = {"plain": {}, "cases": {}}
    if words:
        known = json.loads(RECORDED.read_text(encoding="utf-8"))
    import_pack()
    import_host()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bed = Bed(Path(folder))
        for case in CASES:
            if not words or any(word in case.id for word in words):
                fresh, plain = bed.outcome(case), bed.plain(case.family, case.way)
                now = {"bits": plain.bits, "values": plain.values}
                kept = known["plain"].setdefault(plain_id(case.family, case.way), now)
                # On another machine than the other cases bits say nothing.
                same = {} if kept["bits"] == plain.bits else {"bits": ""}
                known["cases"][case.id] = {**vars(fresh), **same}
    lines = [
        f'"{part}": {{\n'
        + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
        + "\n}"
        for part, found in known.items()
    ]
    RECORDED.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--record"]:
        sys.exit(f"usage: {HOW} [WORDS]")
    record(sys.argv[2:])
