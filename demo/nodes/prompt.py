"""Conditioning for the demo model from a prompt in its small vocabulary."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import emoji
from .vocabulary import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, encode, parse, pool


class ScalingCacheDemoPrompt(io.ComfyNode):
    """STRING to CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        words = "; ".join(", ".join(group) for group in (COLOURS, SHAPES, MOTIONS, BACKGROUNDS))
        return io.Schema(
            node_id="ScalingCacheDemoPrompt",
            display_name="Demo Prompt",
            category="conditioning/scaling cache demo",
            description="A prompt for the demo models.",
            inputs=[
                io.String.Input(
                    "text",
                    default="red circle bouncing night",
                    tooltip=f"One word of each group: {words}. Empty: unconditional.",
                )
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def validate_inputs(cls, text: str) -> bool | str:
        try:
            parse(text)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        prompt = parse(text)
        return io.NodeOutput([[encode(prompt), {"pooled_output": pool(prompt)}]])


class ScalingCacheDemoEmoji(io.ComfyNode):
    """STRING to CONDITIONING of the emoji model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ScalingCacheDemoEmoji",
            display_name="Emoji Prompt",
            category="conditioning/scaling cache demo",
            description="A prompt for the demo's emoji model.",
            inputs=[
                io.String.Input(
                    "text",
                    default="grinning cat",
                    tooltip=f"Up to {emoji.LENGTH} words of the names of emoji. Empty: unconditional.",
                )
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def validate_inputs(cls, text: str) -> bool | str:
        try:
            emoji.parse(text)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        words = emoji.parse(text)
        return io.NodeOutput([[emoji.encode(words), {"pooled_output": emoji.pool(words)}]])


class DemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [ScalingCacheDemoPrompt, ScalingCacheDemoEmoji]
