"""The Cache Report node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io, ui
from comfy_execution.graph import ExecutionBlocker

from ..cache_core.calibration.fidelity import (
    Fidelity,
    SoundFidelity,
    as_saved,
    compare_latents,
    compare_pictures,
    compare_sounds,
)
from ..cache_core.run.report import FinishedRun
from . import inputs
from .host.compat import schema
from .host.language import language
from .host.progress import ProgressText, node_of, runs_of, upstream
from .report.facts import Facts, as_dict, text
from .report.latents import frames, parts, preview
from .report.picture import draw

# Where the statistics stand in the node's results in the history, and in the pictures' metadata.
KEY = "scaling_cache"


class ScalingCacheReport(io.ComfyNode):
    """Draws what a cache did and how near the result is to one without it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingCacheReport",
            display_name="Cache Report",
            category=inputs.CATEGORY,
            description=(
                "Shows what a cache did: a timeline of the steps, the pictures beside those of the same "
                "seed without the cache, where they differ, and a table with PSNR, SSIM, GMSD and time."
            ),
            search_aliases=["compare", "psnr", "ssim", "statistics", "difference", "benchmark"],
            is_output_node=True,
            hidden=[
                io.Hidden.unique_id,
                io.Hidden.dynprompt,
                io.Hidden.prompt,
                io.Hidden.extra_pnginfo,
            ],
            inputs=[
                io.Image.Input(
                    "images", optional=True, tooltip="The pictures that were made with the cache."
                ),
                io.Image.Input(
                    "reference_images",
                    optional=True,
                    tooltip="Those of the same seed and settings without the cache.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="From the cache node: brings the timeline and the time.",
                ),
                io.Model.Input(
                    "reference_model",
                    optional=True,
                    tooltip=(
                        "From a cache node that is switched off, through which the reference is sampled: "
                        "brings its time. Without it the speed-up is estimated."
                    ),
                ),
                io.Latent.Input(
                    "latent", optional=True, tooltip="In place of pictures: what the sampler gave."
                ),
                io.Latent.Input(
                    "reference_latent",
                    optional=True,
                    tooltip="In place of reference pictures: what the sampler gave without the cache.",
                ),
                io.Boolean.Input(
                    "metadata",
                    default=False,
                    optional=True,
                    tooltip=(
                        "Write the statistics into the metadata of the pictures that are saved after "
                        "this node. Save its third output, which passes the pictures on."
                    ),
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="The sound that was made with the cache."
                ),
                io.Audio.Input(
                    "reference_audio",
                    optional=True,
                    tooltip="That of the same seed and settings without the cache, as long.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="report", tooltip="The report as a picture."),
                io.String.Output(display_name="text", tooltip="The table as text."),
                io.Image.Output(display_name="images", tooltip="The pictures, as they came."),
                io.Audio.Output(display_name="audio", tooltip="The sound, as it came."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, metadata: bool = False, **_: Any) -> float:
        """Metadata has to be written for each prompt anew, even if nothing changed."""
        # A new one each time: the host compares by identity first, and math.nan is itself.
        return float("nan") if metadata else 0.0

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        images: Any = None,
        reference_images: Any = None,
        model: Any = None,
        reference_model: Any = None,
        latent: Any = None,
        reference_latent: Any = None,
        metadata: bool = False,
        audio: Any = None,
        reference_audio: Any = None,
    ) -> io.NodeOutput:
        sound = compare_audio(audio, reference_audio)
        compared = compare(images, reference_images, latent, reference_latent)
        if reference_model is not None and compared.reference is None:
            raise ValueError(
                "reference_model: needs reference_images or reference_latent, sampled with it"
            )
        source = "images" if images is not None else "latent"
        runs, said = cached_runs(model, sources(cls, source))
        plain, more = plain_runs(reference_model, sources(cls, f"reference_{source}"))
        notes = [*said, *more]
        info = getattr(getattr(cls, "hidden", None), "extra_pnginfo", None)
        if metadata and not isinstance(info, dict):
            notes.append("metadata: not written, the client sent no extra_pnginfo")
        facts = Facts(
            runs,
            plain,
            compared.fidelity,
            len(compared.pictures),
            compared.size,
            compared.kind,
            notes,
            sound,
            compared.streams,
        )
        statistics = as_dict(facts)
        if metadata and isinstance(info, dict):
            # A client that sends what it read from a picture sends a text.
            held = info[KEY] if isinstance(info.get(KEY), dict) else {}
            info[KEY] = {**held, node_of(cls) or "": statistics}
        picture, words = draw(facts, compared.pictures, compared.reference, language()), text(facts)
        shown = {
            **ui.PreviewImage(picture, cls=cls).as_dict(),
            **ui.PreviewText(words).as_dict(),
            KEY: (statistics,),
        }
        pictures, which = compared.pair(cls)
        ProgressText(node_of(cls)).show(f"{words}{which}", pictures)
        passed = [
            given if given is not None else ExecutionBlocker(None) for given in (images, audio)
        ]
        return io.NodeOutput(picture, words, *passed, ui=shown)


@dataclass(frozen=True)
class Compared:
    """Attributes:
    pictures: uint8 [n, height, width, 3] to show.
    reference: the same, None without a reference.
    fidelity: None without a reference.
    size: of one, in words.
    kind: what one is called.
    streams: relative error of each further latent that was sampled with it; None where that is unknown.
    """

    pictures: torch.Tensor
    reference: torch.Tensor | None
    fidelity: Fidelity | None
    size: str
    kind: str
    streams: Sequence[float | None] = ()

    def pair(self, cls: Any) -> tuple[list[dict[str, str]], str]:
        """Those that differ most, stored for the page of a node, and a line on which they are. Both are
        empty without a reference."""
        if self.reference is None or self.fidelity is None:
            return [], ""
        worst, count = self.fidelity.worst, len(self.pictures)
        both = torch.stack([self.reference[worst], self.pictures[worst]]).float() / 255
        files = ui.PreviewImage(both, cls=cls).as_dict()["images"]
        which = f"\nBelow: {self.kind} {worst + 1} of {count}, which differs most"
        return files, which if count > 1 else ""


def compare(
    images: Any = None,
    reference_images: Any = None,
    latent: Any = None,
    reference_latent: Any = None,
) -> Compared:
    """Check what is connected, and measure it.

    Raises:
        ValueError: naming the field.
    """
    if (images is None) == (latent is None):
        raise ValueError("images: connect either images or latent")
    if images is not None:
        if reference_latent is not None:
            raise ValueError("reference_latent: cannot be compared with images; connect pictures")
        return compare_images(images, reference_images)
    if reference_images is not None:
        raise ValueError("reference_images: cannot be compared with a latent; connect a latent")
    return compare_samples(latent, reference_latent)


def compare_images(images: torch.Tensor, reference_images: torch.Tensor | None) -> Compared:
    """Pictures against pictures, as they would be saved.

    Raises:
        ValueError: naming the field, if there is no picture or the sizes differ.
    """
    pictures = _pixels("images", images)
    size = f"{pictures.shape[2]} x {pictures.shape[1]}"
    if reference_images is None:
        return Compared(pictures, None, None, size, "picture")
    reference = _pixels("reference_images", reference_images)
    if reference.shape != pictures.shape:
        raise ValueError(
            f"reference_images: must be as many and as large as images, {len(pictures)} of {size}, got "
            f"{len(reference)} of {reference.shape[2]} x {reference.shape[1]}"
        )
    fidelity = compare_pictures(pictures, reference)
    return Compared(pictures, reference, fidelity, size, "picture")


def compare_samples(latent: Any, reference_latent: Any) -> Compared:
    """Latents against latents. Of several that were sampled together the first one is shown, and all are
    measured.

    Raises:
        ValueError: naming the field, if a latent cannot be compared or the sizes differ.
    """
    first, *more = parts("latent", latent)
    samples = frames("latent", first)
    size = " x ".join(map(str, samples.shape[1:]))
    if reference_latent is None:
        return Compared(preview(samples, samples), None, None, size, "latent")
    first, *others = parts("reference_latent", reference_latent)
    reference = frames("reference_latent", first)
    if reference.shape != samples.shape:
        raise ValueError(
            f"reference_latent: must be as many and as large as latent, {len(samples)} of {size}, got "
            f"{len(reference)} of {' x '.join(map(str, reference.shape[1:]))}"
        )
    if [part.shape for part in more] != [part.shape for part in others]:
        raise ValueError("reference_latent: must hold as many and as large latents as latent")
    fidelity = compare_latents(samples, reference)
    streams = [compare_latents(a, b).error for a, b in zip(more, others, strict=True) if b.numel()]
    shown = preview(samples, reference), preview(reference, reference)
    return Compared(*shown, fidelity, size, "latent", streams)


def compare_audio(audio: Any, reference_audio: Any) -> SoundFidelity | None:
    """Sound against sound, None without both.

    Raises:
        ValueError: naming the field, if there is no sound in one or they differ in length or rate.
    """
    if audio is None and reference_audio is not None:
        raise ValueError("audio: connect it too, to compare it with reference_audio")
    if audio is None or reference_audio is None:
        return None
    given = {"audio": audio, "reference_audio": reference_audio}
    for field, one in given.items():
        if not one["waveform"].numel():
            raise ValueError(f"{field}: holds no sound")
    size, wanted = [(tuple(a["waveform"].shape), a["sample_rate"]) for a in given.values()]
    if size != wanted:
        raise ValueError(
            f"reference_audio: must have the size and rate of audio, {size[0]} at {size[1]}, got "
            f"{wanted[0]} at {wanted[1]}"
        )
    return compare_sounds(audio["waveform"], reference_audio["waveform"])


def cached_runs(model: Any, samplers: set[str]) -> tuple[list[FinishedRun], list[str]]:
    """Runs of the cached model, and what to say about them."""
    if model is None:
        return [], ["No timeline: connect model with the output of the cache node"]
    runs = runs_of(model, samplers)
    if not runs:
        return [], [
            "No statistics: no cache node of this pack on model, or nothing was sampled yet"
        ]
    if all(run.plain for run in runs):
        return runs, ["The cache on model is switched off"]
    return runs, []


def plain_runs(model: Any, samplers: set[str]) -> tuple[list[FinishedRun], list[str]]:
    """Runs of the reference, if their time can be compared, and what to say about them."""
    if model is None:
        return [], []
    runs = runs_of(model, samplers)
    if not runs:
        why = "connect a Scaling Cache node with speedup 1, and sample the reference through it"
        return [], [f"reference_model: its time was not measured; {why}"]
    if not all(run.plain for run in runs):
        return [], ["reference_model: has a cache too; its time is not compared"]
    return runs, []


def sources(cls: Any, field: str) -> set[str]:
    """Nodes that feed an input of this node."""
    dynprompt = getattr(getattr(cls, "hidden", None), "dynprompt", None)
    return upstream(dynprompt, node_of(cls) or "", field)


def _pixels(field: str, images: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 [n, height, width, 3]: transparency is left out, grey gets three channels."""
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{field}: holds no picture, its shape is {tuple(images.shape)}")
    colours = images[..., :3] if images.shape[-1] >= 3 else images[..., :1].expand(-1, -1, -1, 3)
    return as_saved(colours)
