"""What the host's guiders do to the outputs of a model."""

from __future__ import annotations

from typing import Any

from comfy.samplers import CFGGuider


def guidance_scale(guider: Any) -> float | None:
    """The scale at which a guider pulls outputs from the negative to the positive conditioning; None if
    it works in another way."""
    # One that does may still hold the scale that all guiders begin with.
    if getattr(type(guider), "predict_noise", None) is not CFGGuider.predict_noise:
        return None
    return float(guider.cfg)


def has_guidance(guider: Any) -> bool:
    """Whether guidance pulls the outputs: by a scale, in a guider's own way, or learned by the model,
    which then takes the scale as an input."""
    config = getattr(guider.model_patcher.model, "model_config", None)
    learned = getattr(config, "unet_config", {}).get("guidance_embed", False)
    return learned or guidance_scale(guider) != 1.0
