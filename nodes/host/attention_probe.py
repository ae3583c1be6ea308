"""Watch the attention of a plain run: which tokens each block attends to, and where the prompt acts.

For the length of a call of the network its options carry an override of the host's attention, which gives
back what the host, or an override of the user, makes of the same arguments. The block under way is known
from the walk that the profile's session has open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ...cache_core.calibration.attention import (
    QUERIES,
    AttentionStatistics,
    column_means,
    picture_tokens,
    spread,
    token_contrast,
)
from ..families import find_family
from .block_hooks import KEY as CALL_KEY
from .block_hooks import BlockWalk
from .progress import log_fault
from .session import KEY as SESSION_KEY

KEY = "scaling_cache_attention"
OVERRIDE = "optimized_attention_override"
# At cfg 1 the host leaves the negative conditioning out; it is computed for every so many evaluations.
EVERY = 4
_POSITIVE = 0


def watch(model: Any, statistics: AttentionStatistics) -> Any:
    """A clone of a model whose next run is measured; it must carry a profile, which knows the blocks."""
    network = model.model.diffusion_model
    family = find_family(network)
    watcher = _Watcher(statistics, 1 if family is None else family.patch(network))
    watched = model.clone()
    for kind, method in (
        (WrappersMP.PREDICT_NOISE, watcher.predict_noise),
        (WrappersMP.CALC_COND_BATCH, watcher.calc_cond_batch),
        (WrappersMP.APPLY_MODEL, watcher.apply_model),
    ):
        watched.add_wrapper_with_key(kind, KEY, _as_function(method))
    return watched


def _as_function(method: Callable[..., Any]) -> Callable[..., Any]:
    """Clones of a model copy the objects that it carries, but no functions."""
    return lambda *args, **kwargs: method(*args, **kwargs)


@dataclass
class _Watcher:
    """Wrappers of one run.

    Attributes:
        statistics: where the numbers go.
        patch: height and width of a token.
        negative: the run's negative conditioning.
        shape: of the latent, without the samples.
        evaluations: so far.
    """

    statistics: AttentionStatistics
    patch: int
    negative: Any = None
    shape: torch.Size | None = None
    evaluations: int = 0

    def predict_noise(
        self, executor: Any, x: Any, timestep: Any, model_options: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """See what the evaluation works on."""
        self.shape = x.shape[1:]
        self.negative = executor.class_obj.conds.get("negative")
        self.evaluations += 1
        return executor(x, timestep, model_options, *args, **kwargs)

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: Any, x: Any, timestep: Any, model_options: Any
    ) -> Any:
        """Compare the outputs of both conditionings."""
        outputs = executor(model, conds, x, timestep, model_options)
        if len(conds) < 2 or conds[_POSITIVE] is None or self.statistics.stopped:
            return outputs
        negative = outputs[1]
        if conds[1] is None:
            if not self.negative or self.evaluations % EVERY != 1:
                return outputs
            options = _unwatched(model_options)
            (negative,) = executor(model, [self.negative], x, timestep, options)
        try:
            self.statistics.contrast(token_contrast(outputs[_POSITIVE], negative, self.patch))
        except Exception as error:
            _give_up(self.statistics, error)
        return outputs

    def apply_model(
        self,
        executor: Any,
        x: Any,
        t: Any,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Override the attention for this call, in options of its own."""
        options = transformer_options or {}
        session = options.get(CALL_KEY)
        if session is not None and x.shape[1:] == self.shape and not self.statistics.stopped:
            tokens = picture_tokens(x.shape, self.patch)
            positive = tuple(index == _POSITIVE for index in options["cond_or_uncond"])
            earlier = options.get(OVERRIDE)
            probe = _Probe(self.statistics, session, tokens, positive, earlier)
            transformer_options = {**options, OVERRIDE: probe}
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, *args, **kwargs)


@dataclass
class _Probe:
    """Override of the attention for one call of the network, which changes nothing.

    Attributes:
        statistics: where the numbers go.
        session: of the profile; knows the walk through the blocks.
        tokens: the picture's.
        positive: which branches of the call are the prompt's.
        earlier: override that was there before.
        seen: blocks whose attention was measured. The first one among all tokens of a block counts, which
            leaves out that to the text and a second one among the picture's tokens.
    """

    statistics: AttentionStatistics
    session: Any
    tokens: int
    positive: tuple[bool, ...]
    earlier: Callable[..., Any] | None
    seen: set[int] = field(default_factory=set)

    def __call__(self, attention: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `attention` gives, or the earlier override of it."""
        walk = getattr(self.session, "walk", None)
        if isinstance(walk, BlockWalk) and not self.statistics.stopped:
            try:
                self._observe(walk, *args, **kwargs)
            except Exception as error:
                _give_up(self.statistics, error)
        if self.earlier is not None:
            return self.earlier(attention, *args, **kwargs)
        return attention(*args, **kwargs)

    def _observe(
        self,
        walk: BlockWalk,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        heads: int,
        mask: torch.Tensor | None = None,
        attn_precision: Any = None,
        skip_reshape: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Measure an attention, by the names that the host's functions have for their arguments."""
        number = walk.running
        if number is None or number in self.seen:
            return
        if not skip_reshape:
            q, k = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k))
        count = k.shape[2]
        if q.shape[2] != count or count < walk.tokens:
            return
        columns = walk.family.picture_keys(walk.network, walk.tokens, count, self.tokens)
        if columns is None:
            self.statistics.stop("the blocks see more than the picture, such as reference images")
            return
        self.seen.add(number)
        if mask is not None:
            # As the host reads it: samples and heads may be missing.
            mask = mask[None] if mask.ndim == 2 else mask
            mask = mask[:, None] if mask.ndim == 3 else mask
            mask = mask.expand(len(q), *mask.shape[1:])
        rows = columns.start + spread(QUERIES, self.tokens)
        branches = len(self.positive)
        for branch in (b for b in range(branches) if self.positive[b]):
            part = slice(branch * len(q) // branches, (branch + 1) * len(q) // branches)
            taken = None if mask is None else mask[part]
            means = column_means(q[part], k[part], rows, columns, taken)
            self.statistics.observe(number, means)


def _unwatched(model_options: Any) -> Any:
    """The same options for a call that is neither profiled nor measured."""
    options = dict(model_options.get("transformer_options", {}))
    options.pop(SESSION_KEY, None)
    return {**model_options, "transformer_options": options}


def _give_up(statistics: AttentionStatistics, error: Exception) -> None:
    """A fault of the measurement must not cost the user the profile."""
    statistics.stop(log_fault("attention is not measured further", error))
