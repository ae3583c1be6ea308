"""Students of the demo models that sample in few steps, as LoRAs."""
