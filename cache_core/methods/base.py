"""What every method is made of: settings with their checks, a rule, the inputs of the nodes that it
looks at, its level, and the start of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, ClassVar

from ..blocks import BlockCache
from ..decide.layout import Layout, Span
from ..decide.policies import ENOUGH_MORE, Clock, Follower, Listed, Policy, RunPlan, SamplerTraits
from ..decide.signals import Reference, SignalKind
from ..outputs import OutputCache
from ..planning.optimiser import target_steps
from ..predict.corrector import Corrector
from ..predict.predictors import REPEAT, Axis, Predictor, Quantity, snr_axis
from ..run.agreement import Agree
from ..run.report import RunReport, format_ranges
from ..run.run import Run
from ..streams import Part, StreamCache

# A run this short has no steps between which outputs change slowly.
FEWEST_STEPS = 8
# From so many steps on Scaling Cache leaves out whole ones.
MANY = 5
# Largest speed-up to aim at.
FASTEST = 6.0
_MOST = 1000
# Letters of a text that an error quotes.
_SHOWN = 40
# Inputs that stand for the method's own value at 0.
_OWN_AT_ZERO = {"threshold", "max_gap"}


class Level(Enum):
    """What a method leaves out. The values are what the user reads."""

    STEP = "whole step"
    BLOCKS = "blocks"
    NEGATIVE = "negative conditioning"
    BRANCHES = "branches beside the network"


class Few(Enum):
    """What is left out where steps are few, in the user's words."""

    AUTO = "auto"
    STEPS = "whole steps"
    SPANS = "middle blocks"

    def inside(self, steps: int) -> bool:
        """Whether a run of so many steps leaves out blocks inside them."""
        return self is Few.SPANS or (self is Few.AUTO and steps < MANY)


FEW = {few.value: few for few in Few}


@dataclass(frozen=True)
class Page:
    """What the docs say of a method, in the columns of their table."""

    leaves_out: str
    signal: str = "none"
    reference: str = "-"
    predictor: str = "reuse"
    needs: str = "none"
    keeps: str = ""
    waits: str = "never"
    source: str = ""


@dataclass(frozen=True)
class Inputs:
    """What the user set on a node, for the methods that use it. The defaults are the node's.

    Attributes:
        speedup: target of Scaling Cache.
        threshold: of the methods that have one, 0 for the recommended one.
        interval: of the methods with a schedule.
        order: of TaylorSeer's differences.
        first_blocks, last_blocks: blocks that always run.
        blocks, single_blocks: lists of Delta Cache.
        warmup: steps at the start that are always computed.
        max_gap: steps skipped in a row at most, 0 for no limit.
        power, center: of DeepCache's schedule.
        schedule: name of a published one.
        start_percent, end_percent: share of the denoising in which steps are skipped.
    """

    speedup: float = 2.0
    threshold: float = 0.0
    interval: int = 4
    warmup: int = 3
    max_gap: int = 6
    order: int = 1
    first_blocks: int = 1
    last_blocks: int = 0
    blocks: str = ""
    single_blocks: str = ""
    power: float = 1.0
    center: int = 15
    schedule: str = ""
    start_percent: float = 0.0
    end_percent: float = 1.0

    @property
    def window(self) -> dict[str, Any]:
        """Start and end by name."""
        return {"start_percent": self.start_percent, "end_percent": self.end_percent}


def _nothing(_: str) -> str:
    return "Nothing is published for this model"


@dataclass(frozen=True)
class Model:
    """What a method may know of a model before it is made.

    Attributes:
        family: name of the family of networks, empty where its blocks cannot be reached.
        layout: of its blocks.
        signals: what can be read of them.
        published: the published method that fits it, by name of the method, or why there is none.
        schedules: computed steps that others searched on models, by name of model and method.
    """

    family: str = ""
    layout: Layout = field(default_factory=lambda: Layout(()))
    signals: frozenset[SignalKind] = frozenset()
    published: Callable[[str], Any | str] = _nothing
    schedules: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """What a run is made from, besides its method.

    Attributes:
        plan: what is known of it.
        report: what will have happened.
        agree: makes what decisions are taken from the same on all ranks; None for one rank.
        predictor: of the user's choice, in place of the method's own.
        between: half-open range of the steps between two shares of the denoising.
        layout: blocks of the network, for methods inside it.
        to_host: keep changes of blocks in the host's memory and not on the device.
        negative: whether the negative conditioning may be left out.
        beside: bytes of one output of the branches beside the network for one conditioning, about.
    """

    plan: RunPlan
    report: RunReport
    agree: Agree | None = None
    predictor: Predictor | None = None
    between: Callable[[float, float], tuple[int, int]] = lambda start, end: (0, 0)
    layout: Layout = field(default_factory=lambda: Layout(()))
    to_host: bool = False
    negative: bool = True
    beside: int = 0

    @property
    def clock(self) -> Clock:
        """A fresh clock."""
        return Clock(self.plan.sigmas, self.plan.traits.evaluations, self.plan.breaks)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method and its settings. Instances are immutable and live in the model's options.

    Attributes:
        name: what the user reads.
        level: what it leaves out.
        uses: the inputs of Step Cache (Advanced) that it looks at.
        uses_coefficients: whether a coefficient file makes a difference to it.
        unet: whether it is for UNets alone; methods inside the network are else for transformers.
        counts: what the evaluations that a summary counts had, before the numbers.
        page: for the docs.
        fewest: a run of fewer steps is computed.
        unreached: what is said where the blocks of a model cannot be reached, if not what the host says.
        start_percent, end_percent: share of the denoising outside of which all is computed, 0 to 1.

    Raises:
        ValueError: naming the field and the allowed values.
    """

    name: ClassVar[str]
    level: ClassVar[Level]
    uses: ClassVar[tuple[str, ...]] = ()
    uses_coefficients: ClassVar[bool] = False
    unet: ClassVar[bool] = False
    counts: ClassVar[str] = ""
    page: ClassVar[Page]
    fewest: ClassVar[int] = FEWEST_STEPS
    unreached: ClassVar[str] = ""

    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self) -> None:
        check_range("start_percent", self.start_percent, 0.0, 1.0)
        check_range("end_percent", self.end_percent, 0.0, 1.0)
        if self.start_percent > self.end_percent:
            raise ValueError(
                "start_percent: must not be above end_percent, got "
                f"{self.start_percent} and {self.end_percent}"
            )
        self.check()

    def check(self) -> None:
        """Raises ValueError where a setting of its own is out of range, naming the field."""

    @property
    def off(self) -> bool:
        """Whether these settings ask for no caching at all."""
        return False

    @property
    def asked(self) -> float | None:
        """The speed-up to aim at, where one decides."""
        return None

    @classmethod
    def from_inputs(cls, inputs: Inputs, model: Model) -> Method | str:
        """The method as a user set it, or why this model cannot have it. What a user leaves at 0 is
        the method's own where 0 is out of its range.

        Raises:
            ValueError: naming the field.
        """
        chosen = {name: getattr(inputs, name) for name in cls.uses}
        for name in _OWN_AT_ZERO & chosen.keys():
            chosen[name] = chosen[name] or getattr(cls, name)
        return cls(**chosen, **inputs.window)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> Method:
        """The smallest one that shows what it does: it computes everything, or about every second
        step."""
        raise NotImplementedError

    @classmethod
    def allows(cls, predictor: Predictor) -> bool:
        """Whether a user may put this predictor in the place of the method's own."""
        return predictor.outside and (cls.uses_coefficients or not predictor.calibrated)

    def reads(self, predictor: Predictor) -> bool:
        """Whether it looks for coefficients of the model when it predicts like this."""
        return self.uses_coefficients

    def own_predictor(self, plan: RunPlan) -> Predictor:
        """How it predicts where the user chose nothing else."""
        return REPEAT

    def within(self, steps: int) -> Method:
        """What takes its place in a run of so many steps."""
        return self

    def start(self, start: Start) -> Run:
        """A fresh run.

        Raises:
            ValueError: naming the field, if the method does not fit the model.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class StepMethod(Method):
    """A method that skips the whole network.

    Attributes:
        judges: whether it looks if outputs go on as before, and takes those of the evaluations within a
            step as each on a line of its own, beyond what its source does.
    """

    level: ClassVar[Level] = Level.STEP
    judges: ClassVar[bool] = False

    def quantity(self, traits: SamplerTraits) -> Quantity:
        """What is kept."""
        return Quantity.for_sampler(traits.stochastic)

    def policy(self, plan: RunPlan) -> Policy:
        """A fresh policy for one run; notes where the user's wish cannot be met."""
        raise NotImplementedError

    def decided(self, plan: RunPlan, predictor: Predictor | None) -> tuple[Policy, Predictor]:
        """What chooses the steps of a run, and what predicts the others, where one search tells both.

        Args:
            predictor: of the user's choice, None for the method's own.
        """
        return self.policy(plan), predictor or self.own_predictor(plan)

    def follower(self, plan: RunPlan) -> Follower | None:
        """What tells the policy how the input changes, if it asks."""
        return None

    def corrector(self, plan: RunPlan, axis: Axis) -> Corrector | None:
        """What repairs predicted steps, if it does."""
        return None

    def prepare(self, plan: RunPlan) -> RunPlan:
        """The plan as this method takes it."""
        return plan

    def start(self, start: Start) -> OutputCache:
        plan = self.prepare(start.plan)
        axis, (policy, predictor) = plan.axis, self.decided(plan, start.predictor)
        even = plan.log_snr is not None and plan.traits.single and not plan.traits.stochastic
        axes = [snr_axis(plan.sigmas, s.log_snr or plan.log_snr) for s in plan.streams]
        parts = [
            Part(stream.length, own, self.corrector(plan, own))
            for stream, own in zip(plan.streams, axes, strict=True)
        ]
        make = partial(StreamCache, parts=parts) if parts else OutputCache
        return make(
            clock=Clock(plan.sigmas, plan.traits.evaluations, plan.breaks, apart=self.judges),
            report=start.report,
            agree=start.agree,
            policy=policy,
            predictor=predictor.bind(plan.table),
            quantity=self.quantity(plan.traits),
            axis=axis,
            corrector=self.corrector(plan, axis),
            follower=self.follower(plan),
            judges=self.judges and even,
        )


@dataclass(frozen=True, kw_only=True)
class Plain(Method):
    """Computes every step, so that a report can say what a cache saved against it."""

    name: ClassVar[str] = "Plain"
    level: ClassVar[Level] = Level.STEP

    def start(self, start: Start) -> Run:
        # Counted whatever the sampler: nothing may be read from the device.
        counted = start.plan.traits.evaluations or (1,) * start.plan.steps
        return Run(clock=Clock(start.plan.sigmas, counted), report=start.report)


@dataclass(frozen=True, kw_only=True)
class BlockMethod(Method):
    """A method that skips blocks inside the network.

    Attributes:
        reference: when the tensor that the signal is compared with is replaced.
        probes: whether the first blocks run before the decision, so that predictors can align.
    """

    level: ClassVar[Level] = Level.BLOCKS
    reference: ClassVar[Reference] = Reference.NONE
    probes: ClassVar[bool] = False

    @property
    def signal(self) -> SignalKind:
        """What is compared."""
        return SignalKind.NONE

    @property
    def probe(self) -> int:
        """Blocks at the start that run before the decision."""
        return 0

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """Which runs of blocks are cached, in order; blocks outside them always run.

        Raises:
            ValueError: naming the field, if the method does not fit the network.
        """
        raise NotImplementedError

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Policy:
        """A fresh policy for one conditioning of a run, 0 for the positive one of the usual
        samplers."""
        raise NotImplementedError

    @classmethod
    def allows(cls, predictor: Predictor) -> bool:
        return predictor.inside and (cls.probes or not predictor.aligned)

    def start(self, start: Start) -> BlockCache:
        return self.cache(BlockCache, start)

    def cache(self, kind: type[BlockCache], start: Start, **more: Any) -> Any:
        """A run of some kind of block cache."""
        predictor = start.predictor or self.own_predictor(start.plan)
        return kind(
            clock=start.clock,
            report=start.report,
            agree=start.agree,
            rule=self,
            plan=start.plan,
            layout=start.layout,
            predictor=predictor,
            to_host=start.to_host,
            **more,
        )


def middle_blocks(layout: Layout, first: int = 0, last: int = 0) -> tuple[Span, ...]:
    """All blocks but the first and the last few.

    A run that ends before the last block is cut where one stack follows the other: only there do
    text and picture come as the host keeps them.

    Args:
        first: blocks at the start that always run; they must be of one stack.
        last: blocks at the end that always run.

    Raises:
        ValueError: naming the field, if no block is left or the first blocks are not of one stack.
    """
    depth = layout.stacks[0][1]
    if first > depth:
        raise ValueError(f"first_blocks: must be at most {depth} in this model, got {first}")
    if first + last >= layout.total:
        raise ValueError(
            f"first_blocks, last_blocks: leave none of the {layout.total} blocks of this model"
        )
    if last == 0:
        return (Span(first, layout.total - 1),)
    return layout.cut(range(first, layout.total - last))


@dataclass(frozen=True)
class Aimed(StepMethod):
    """A method whose computed steps are planned for a speed-up.

    Attributes:
        speedup: steps over computed steps.
    """

    speedup: float = 2.0

    def check(self) -> None:
        check_range("speedup", self.speedup, 1.0, FASTEST)

    @property
    def off(self) -> bool:
        return self.speedup == 1.0

    @property
    def asked(self) -> float:
        return self.speedup


def as_listed(plan: RunPlan, listed: Sequence[int]) -> Listed:
    """The user's list of steps, the first step, and those outside the window."""
    beyond = [step for step in listed if step >= plan.steps]
    if beyond:
        ends = f"this run ends with {plan.steps - 1}"
        plan.note(f"The list of steps goes on to {beyond[-1]}, {ends}")
    return Listed({*listed, *plan.always(), 0})


def uncalibrated(plan: RunPlan, name: str, searched: bool = False) -> Listed:
    """Computes every step, and notes that a method goes by coefficients that are not there.

    Args:
        name: of the method.
        searched: whether steps that others have searched would do too.
    """
    needs = f"{name} needs coefficients of this model: make them with Calibrate Cache"
    plan.note(f"{needs}, or take a Published Schedule" if searched else needs)
    return Listed(range(plan.steps))


def nothing_pays(plan: RunPlan) -> str:
    """Why a run is computed whole."""
    if plan.forgets and plan.steps > ENOUGH_MORE:
        return (
            f"{plan.traits.name} starts from new noise at each step: with guidance nothing that could be "
            "left out pays, and every step is computed. Without guidance it does"
        )
    if plan.traits.free:
        return (
            f"{plan.traits.name} chooses noise levels by how evaluations differ: nothing that could be "
            "left out pays, and every step is computed"
        )
    if plan.traits.stochastic:
        return (
            f"{plan.steps} steps: {plan.traits.name} adds noise at each, and nothing that could be "
            "left out pays: every step is computed"
        )
    if plan.scale != 1.0:
        return (
            f"{plan.steps} steps with guidance: nothing that could be left out pays: every step is "
            "computed"
        )
    return f"{plan.steps} steps: nothing that could be left out pays: every step is computed"


def leaves_nothing_out(plan: RunPlan) -> str:
    """Where a target is so near to 1 that it asks for no step less."""
    return f"{plan.steps} steps: these settings leave nothing out"


def tell_less(plan: RunPlan, target: float | None, asked: int, computed: int) -> None:
    """Note why more steps are computed than a target asks for, and what would help.

    Args:
        target: None for as fast as pays.
        asked: computed steps that were looked for.
        computed: those that there are.
    """
    aimed = target_steps(plan.steps, target or FASTEST)
    if computed > asked or (plan.traits.unknown and aimed < computed < plan.steps):
        why = "by the settings"
        if plan.traits.unknown:
            why = f"{plan.traits.name} is not known"
        elif plan.breaks:
            why = f"the model is asked something else at step {format_ranges(plan.breaks)}"
        counts = f"{computed} of {plan.steps} steps must be computed"
        plan.note(
            f"{counts}: {why}" if target is None else f"Less than {target:.1f}x: {why}, {counts}"
        )
    elif aimed == plan.steps:
        plan.note(leaves_nothing_out(plan))
    elif computed == plan.steps:
        plan.note(nothing_pays(plan))
    elif computed > aimed:
        gain, fewer = plan.steps / computed, plan.worth(calibrated=True)
        if plan.table is None and fewer < computed:
            plan.note(
                f"{plan.steps} steps: {computed} computed, {gain:.1f}x. With coefficients, which "
                f"Calibrate Cache makes, {fewer} are enough"
            )
        else:
            plan.note(
                f"{plan.steps} steps: {computed} computed, {gain:.1f}x. For more, sample with fewer "
                "steps: that is as fast and comes nearer"
            )


def check_range(field: str, value: float, low: float, high: float = _MOST) -> None:
    """
    Raises:
        ValueError: naming the field and its range.
    """
    # NaN is in no range, and a whole number may be too large for math.isfinite.
    if not low <= value <= high:
        raise ValueError(f"{field}: must be between {low} and {high}, got {value}")


def one_of(field: str, allowed: Collection[str], value: str) -> str:
    """The same value.

    Raises:
        ValueError: naming the field and the allowed values, if it is none of them.
    """
    if value not in allowed:
        raise ValueError(f"{field}: must be one of {', '.join(allowed)}, got {value!r}")
    return value


def parse_ranges(field: str, text: str) -> tuple[int, ...]:
    """Numbers from a list of steps or blocks such as `0, 2-7, 10-20`.

    Raises:
        ValueError: naming the field and the part that is not a number or a range, is larger than
            any step or block, or does not rise.
    """
    found: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, dash, last = part.partition("-")
        try:
            ends = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(
                f"{field}: must be numbers and ranges such as '0, 2-7', got {part[:_SHOWN]!r}"
            ) from None
        if ends[0] > ends[1]:
            raise ValueError(f"{field}: the range {part[:_SHOWN]!r} runs backwards")
        check_range(field, ends[1], 0, 10 * _MOST)
        if len(found) + ends[1] - ends[0] >= 10 * _MOST:
            raise ValueError(f"{field}: must hold {10 * _MOST} numbers at most")
        found += range(ends[0], ends[1] + 1)
    return tuple(found)


def rising(field: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The same numbers.

    Raises:
        ValueError: naming the field, if they do not rise or one comes twice.
    """
    if list(numbers) != sorted(set(numbers)):
        raise ValueError(f"{field}: must rise and not repeat a step")
    return numbers
