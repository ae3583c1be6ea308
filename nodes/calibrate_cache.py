"""The Calibrate Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..cache_core.calibration.block_tables import first_block_threshold
from ..cache_core.calibration.files import CoefficientFile
from ..cache_core.calibration.folder import file_name
from ..cache_core.calibration.profiling import (
    SKIPPED,
    RankBy,
    blocks_to_skip,
    mean_changes,
    skip_order,
)
from ..cache_core.calibration.trial import FAR
from ..cache_core.methods.delta_cache import FIELDS
from ..cache_core.run.report import format_ranges
from . import inputs
from .families import find_family
from .host.calibrating import Plan, Watch, calibrate, runs_of, seed_after
from .host.coefficient_files import Target
from .host.compat import schema
from .host.progress import ProgressText, node_of

_MORE = 3


class ScalingCalibrateCache(io.ComfyNode):
    """Samples plainly and writes a coefficient file that Scaling Cache then uses for this model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingCalibrateCache",
            display_name="Calibrate Cache",
            category=inputs.CATEGORY,
            description=(
                "Samples a few pictures with all steps computed and writes down how the model's outputs "
                "change. Scaling Cache then chooses the steps to compute for this model and predicts "
                "the others better."
            ),
            search_aliases=["coefficients", "calibration", "cache"],
            is_output_node=True,
            # A second node with the same inputs writes its file too.
            not_idempotent=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model to calibrate, as you sample with it."),
                *inputs.plain_run(),
                inputs.text(
                    "name",
                    "Name of the coefficient file, in models/scaling_cache. That of another model is not "
                    "replaced.",
                    default="my_model",
                ),
                inputs.number(
                    "runs",
                    2,
                    1,
                    64,
                    "Runs per positive conditioning. Four runs in all are a good start. With two "
                    "conditionings or more the coefficients are tried out as well, in seven further runs "
                    "each, so that Scaling Cache takes them where they are nearer.",
                ),
                io.Boolean.Input(
                    "refine",
                    default=False,
                    optional=True,
                    tooltip=(
                        "Measure too at which steps errors matter most: six further runs for each "
                        "positive conditioning, as long as three."
                    ),
                ),
                *(
                    io.Conditioning.Input(
                        f"positive_{i + 2}", optional=True, tooltip="A further prompt."
                    )
                    for i in range(_MORE)
                ),
            ],
            outputs=[
                io.String.Output(display_name="summary", tooltip="What was measured and written.")
            ],
        )

    @classmethod
    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls, name: str | None
    ) -> bool | str:
        """Before anything is loaded or sampled; a name that comes from a node is not known then."""
        try:
            return name is None or bool(file_name(name))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: Any,
        name: str,
        seed: int,
        runs: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        refine: bool = False,
        **more: Any,
    ) -> io.NodeOutput:
        target = Target(name, model, steps)
        positives = [positive, *(more[key] for key in sorted(more) if more[key] is not None)]
        words, kept, lacks = ProgressText(node_of(cls)), [""], list[str]()
        total = runs_of(len(positives), runs, steps, refine)
        watch = Watch(total, lambda text: words.show(f"{text}\n{kept[0]}".strip()))
        seeds = [seed_after(seed, i) for i in range(runs)]
        plan = Plan(seeds, steps, cfg, sampler_name, scheduler, refine, watch)

        def keep(file: CoefficientFile, done: int) -> None:
            target.keep(file)
            # It stays on the node if the calibration ends here.
            kept[0] = (
                f"{done} of {runs * len(positives)} runs are kept in {target.unfinished.name}: choose "
                "it by name, or calibrate to the end"
            )
            words.show(kept[0])

        with watch.to_the_end():
            file = calibrate(model, positives, negative, latent_image, plan, keep, lacks.append)
            target.finish(file)
        made = file.provenance
        how = (
            f"{target.path.name}: {made.family}, {made.samples} samples, {steps} steps {sampler_name}, "
            f"cfg {cfg:g}"
        )
        told = (how, _use(file), _first_block(file), _steady_blocks(file, model))
        missing = lacks if file.blocks is None else []
        text = "\n".join(line for line in (*told, *missing) if line)
        words.show(text)
        return io.NodeOutput(text, ui=ui.PreviewText(text))


def _use(file: CoefficientFile) -> str:
    """What Scaling Cache makes of a file."""
    if file.trial is None:
        return "Scaling Cache uses it for this model with the predictor least squares"
    near, far = file.trial.told(), file.trial.told(FAR)
    if file.trial.wins():
        use = f"Scaling Cache uses it from now on for this model: {near}"
        other = f"From {FAR:g}x on it learns, as they were not surely nearer there: {far}"
    else:
        use = (
            "Scaling Cache goes on learning with this model, as the coefficients were not surely nearer: "
            f"{near}"
        )
        other = f"From {FAR:g}x on it uses them: {far}"
    return use if file.trial.wins() == file.trial.wins(FAR) else f"{use}\n{other}"


def _first_block(file: CoefficientFile) -> str:
    """What First Block Cache can be set to."""
    changes = None if file.blocks is None else file.blocks.first_block
    if changes is None:
        return ""
    low, high = (f"{first_block_threshold(changes, speedup):.2g}" for speedup in (2.0, 3.0))
    return f"First Block Cache: residual_diff_threshold {low} for 2x, {high} for 3x"


def _steady_blocks(file: CoefficientFile, model: Any) -> str:
    """What Delta Cache can be set to."""
    changes = None if file.blocks is None else file.blocks.block_changes
    family = find_family(model.model.diffusion_model)
    if changes is None or family is None:
        return ""
    order = skip_order(RankBy.STABILITY, mean_changes(changes.mean(0)), None)
    chosen = blocks_to_skip(order, family.layout(model.model.diffusion_model), SKIPPED)
    lists = [f"{FIELDS[kind]} {format_ranges(found)}" for kind, found in chosen.items() if found]
    return f"Delta Cache: {', '.join(lists)} change least"
