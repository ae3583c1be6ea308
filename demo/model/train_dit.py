"""Train the demo's diffusion transformer on encoded clips.

    python -m demo.model.train_dit --frames-only --minutes 7 --rate 1.5e-3
    python -m demo.model.train_dit --resume --minutes 29 --rate 1.5e-3
    python -m demo.model.train_dit --resume --minutes 33 --rate 3.5e-3

Rectified flow: x_t = (1 - t) x_0 + t noise, the network predicts noise - x_0. Half of the times are
uniform and half logit-normal, both shifted as the demo samples. Single frames first, as they are five
times cheaper, then clips with some frames in between.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor
from torch.nn import functional

from ..nodes.vocabulary import WORDS, Prompt, encode
from .encode_clips import BANK
from .evaluate import SHIFT
from .networks import WAN_FILE, export, make_wan
from .training import CACHE, Ema, Progress, cosine, save, start

NAME = "wan"
DROPOUT = 0.12  # prompts left out, for guidance
CLIPS, FRAMES = 10, 40  # batch sizes of about the same cost


class Bank:
    """Normalised latents with prompts."""

    def __init__(self, device: str) -> None:
        content = torch.load(CACHE / BANK, weights_only=True)
        self._device = device
        mean, std = (content[k].reshape(1, -1, 1, 1, 1) for k in ("mean", "std"))
        # The decoder amplifies channels by about their spread: errors count likewise.
        self.importance = (std / std.mean()).to(device)
        self._sets = {
            kind: ((content[kind].float() - mean) / std, content[f"{kind[:-1]}_words"])
            for kind in ("frames", "clips")
        }

    def draw(self, kind: str, count: int) -> tuple[Tensor, Tensor]:
        """Random latents and their text embeddings, some of them empty."""
        latents, words = self._sets[kind]
        chosen = torch.randint(len(latents), (count,))
        texts = [
            encode(None if random.random() < DROPOUT else prompt_of(row))
            for row in words[chosen].tolist()
        ]
        return latents[chosen].to(self._device), torch.cat(texts).to(self._device)


def attention(_, q: Tensor, k: Tensor, v: Tensor, heads: int, *unused, **unneeded) -> Tensor:
    """Attention [batch, tokens, width] in one kernel, which the compiler can see through."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def prompt_of(words: list[int]) -> Prompt:
    return Prompt(*(WORDS[i] for i in words))


def times(count: int, step: int) -> Tensor:
    """Noise levels in 0 to 1."""
    even = torch.rand(count) if step % 2 else torch.sigmoid(torch.randn(count))
    return SHIFT * even / (1 + (SHIFT - 1) * even)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--frames-only", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--compile", action="store_true", help="a quarter faster, needs a C++ compiler"
    )
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    random.seed(1)
    torch.manual_seed(1)
    device = arguments.device
    net = make_wan().to(device)
    bank = Bank(device)
    matrices = [p for n, p in net.named_parameters() if p.ndim == 2 and n.startswith("blocks.")]
    chosen = {id(p) for p in matrices}
    others = [p for p in net.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(
        matrices, lr=1e-3, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    ema = Ema(net, 0.997)
    start(NAME, net, ema, [muon, adam], arguments.resume)
    if arguments.compile:
        for block in net.blocks:
            block.compile(dynamic=False)
    options = {"optimized_attention_override": attention}
    progress = Progress(arguments.minutes)
    while progress.running:
        fall = 1.0 if arguments.frames_only else cosine(progress.done, 0.02, hold=0.35)
        rate = arguments.rate * fall * min(1, (progress.steps + 1) / 60)
        for optimizer, share in ((muon, 1.0), (adam, 0.7)):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        clips = not arguments.frames_only and progress.steps % 8 != 0
        clean, text = bank.draw("clips", CLIPS) if clips else bank.draw("frames", FRAMES)
        t = times(len(clean), progress.steps).to(device)
        noise = torch.randn_like(clean)
        share = t.reshape(-1, 1, 1, 1, 1)
        with torch.autocast(device, dtype=torch.bfloat16):
            noisy = (1 - share) * clean + share * noise
            flow = net(noisy, t * 1000, text, transformer_options=options).float()
        loss = (bank.importance * (flow - (noise - clean)).square()).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        ema.update(net)
        progress.step(float(loss.detach()))
    save(NAME, net, ema, [muon, adam], progress)
    export(ema.weights, WAN_FILE)


if __name__ == "__main__":
    main()
