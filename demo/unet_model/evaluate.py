"""Quality of the trained UNet: prints one JSON line.

Held-out prompts are sampled and read by `measure`.
"""

from __future__ import annotations

from ..image_model.evaluate import main
from .networks import conditioning, load_model

if __name__ == "__main__":
    main(__doc__, load_model, conditioning)
