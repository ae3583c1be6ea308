"""A tiny model, models that fail, a node that says what one likes, and one of another pack."""

from __future__ import annotations

import sys
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import ComfyExtension, io


def tiny_wan(layers: int) -> Any:
    """A Wan 2.1 network with random weights, loaded as a file of it would be."""
    import comfy.ops  # the host's model modules are slow to import
    from comfy.ldm.wan.model import WanModel

    network = WanModel(
        model_type="t2v",
        dim=128,
        num_heads=1,
        ffn_dim=256,
        num_layers=layers,
        in_dim=16,
        out_dim=16,
        operations=comfy.ops.disable_weight_init,
    )
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.05
        for name, value in network.state_dict().items()
    }
    return comfy.sd.load_diffusion_model_state_dict(weights)


class TestTinyModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestTinyModel",
            category="test",
            inputs=[io.Int.Input("layers", default=2, min=1, max=8)],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, layers: int) -> io.NodeOutput:
        return io.NodeOutput(tiny_wan(layers))


class TestFault(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestFault",
            category="test",
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("fault", options=["raise", "nan", "slow"]),
                io.Int.Input("step", default=5, min=0, max=1000),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, fault: str, step: int) -> io.NodeOutput:
        def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
            options = kwargs.get("transformer_options") or next(
                a for a in args if isinstance(a, dict) and "sigmas" in a
            )
            schedule = options["sample_sigmas"]
            here = int((schedule - options["sigmas"][0]).abs().argmin())
            if fault == "slow":
                import time

                time.sleep(0.2)
            elif here >= step and fault == "raise":
                raise RuntimeError(f"injected at step {here}")
            out = executor(*args, **kwargs)
            return out * float("nan") if fault == "nan" and here >= step else out

        patched = model.clone()
        patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test_fault", wrapper)
        return io.NodeOutput(patched)


class TestSay(io.ComfyNode):
    """Says something under itself, as the cache nodes do."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestSay",
            category="test",
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[io.String.Input("text")],
        )

    @classmethod
    def fingerprint_inputs(cls, text: str) -> float:
        """It says the same again."""
        return float("nan")

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        (progress,) = (
            m for name, m in sys.modules.items() if name.endswith("Cache.nodes.host.progress")
        )
        progress.ProgressText(progress.node_of(cls)).show(text)
        return io.NodeOutput()


class InstalledCache(io.ComfyNode):
    """By its name another pack's, which is installed: it gives the model as it came."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        ends = {"inputs": [io.Model.Input("model")], "outputs": [io.Model.Output()]}
        return io.Schema(node_id="WanVideoTeaCacheKJ", category="test", **ends)

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        return io.NodeOutput(model)


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TestTinyModel, TestFault, TestSay, InstalledCache]
