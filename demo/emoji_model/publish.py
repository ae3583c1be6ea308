"""Write the averaged weights of the last checkpoints as the files that are measured and committed.

    python -m demo.emoji_model.publish

Works while training goes on; the trainings do it themselves at their end.
"""

from __future__ import annotations

from ..host.inprocess import import_host
from ..model.networks import export
from ..model.training import CACHE, averaged
from ..unet_model.train_vae import with_host_scale
from . import train_dit, train_vae
from .networks import SD3_FILE, VAE_FILE


def main() -> None:
    import_host()
    decoder = f"{train_vae.NAME}_decoder"
    vae = decoder if (CACHE / f"{decoder}.pt").exists() else train_vae.NAME
    export(with_host_scale(averaged(vae)), VAE_FILE)
    export(averaged(train_dit.NAME), SD3_FILE)


if __name__ == "__main__":
    main()
