"""Attention of rows that share beginnings, registered with transformers under a name of our own.

Every row of a fold is read against the shared keys in one product, its own keys beside it, and the two are merged by
their log-sum-exp. No model code is changed: transformers calls `shared_attention` for models whose configuration names
it, hands `shared=cache` through to it, and asks `reach` for masks.

Shapes: A rows, H query heads, G key-value heads, T tokens of the pass, S keys, E width of a head, N branches, M queries
folded together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from evalharness.engine.shared_cache import Fold, SharedCache

SHARED, SHARED_TRIAL = "evalharness_shared", "evalharness_shared_trial"
HALVES = (torch.bfloat16, torch.float16)
SCORES = 1 << 26
"""Most attention scores held at a time."""
TRIED_WIDTH = 96
"""Positions over which the trial compares a mask without a window with the causal one."""
UNDERSTOOD = frozenset({"scaling", "softcap", "sliding_window", "s_aux", "shared"})
WITHOUT_EFFECT = frozenset(
    {
        "position_ids",
        "cache_position",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
    }
)
"""Options that change nothing here: what they say is in the cache, or is for other parts of a model."""


class CannotShareError(Exception):
    """A model asks for something that shared attention does not have."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What stands where transformers would pass a mask: how far back the tokens of a layer see."""

    window: int | None
    """Nearest tokens seen, the token itself included; None sees everything before."""


class Rules(NamedTuple):
    """How a layer attends."""

    scaling: float
    softcap: float | None
    window: int | None
    sink_H: Tensor | None
    """Per head, the logit of a key that takes weight and gives nothing."""

    @staticmethod
    def of(query_AHTE: Tensor, mask: object, options: dict[str, Any]) -> Rules:
        """From what a model passes.

        Raises:
            CannotShareError: it passes something unknown.
        """
        if not isinstance(mask, Reach):
            raise CannotShareError("its layers do not get their masks from transformers' mask interface")
        if options.get("is_causal") is False or options.get("dropout"):
            raise CannotShareError("its attention is not causal, or drops out")
        known = UNDERSTOOD | WITHOUT_EFFECT | {"is_causal", "dropout"}
        unknown = sorted(name for name, value in options.items() if value is not None and name not in known)
        if unknown:
            raise CannotShareError(f"its attention takes options that sharing does not know: {', '.join(unknown)}")
        scaling = options.get("scaling")
        return Rules(
            scaling=query_AHTE.shape[-1] ** -0.5 if scaling is None else float(scaling),
            softcap=options.get("softcap"),
            window=mask.window,
            sink_H=options.get("s_aux"),
        )


class Partial(NamedTuple):
    """Attention over some of the keys."""

    out: Tensor
    """Weighted mean of their values, `[..., E]`; zero if none is seen."""
    lse: Tensor
    """Log of the sum of their exponentiated scores, float32; -inf if none is seen."""


def shared_attention(
    module: nn.Module, query_AHTE: Tensor, key_AGSE: Tensor, value_AGSE: Tensor, mask: object, **options: Any
) -> tuple[Tensor, None]:
    """The signature that transformers calls. Keys and values are the rows' own; returns `[A, T, H, E]`."""
    cache = options["shared"]
    assert isinstance(cache, SharedCache)
    layer = module.layer_idx
    assert isinstance(layer, int)
    rules = Rules.of(query_AHTE, mask, options)
    own = _own(query_AHTE, key_AGSE, value_AGSE, cache, rules)
    parts = [_read(query_AHTE, cache, layer, fold, rules) for fold in cache.folds(layer)]
    before = parts[0] if len(parts) == 1 else Partial(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    return merge(before, own, rules.sink_H).to(query_AHTE.dtype).transpose(1, 2), None


def merge(one: Partial, other: Partial, sink_H: Tensor | None) -> Tensor:
    """Attention over the keys of both, `[A, H, T, E]`; at least one of them has seen a key."""
    total_AHT = torch.logaddexp(one.lse, other.lse)
    if sink_H is not None:
        total_AHT = torch.logaddexp(total_AHT, sink_H.to(total_AHT.dtype)[None, :, None])
    weights = (torch.exp(part.lse - total_AHT)[..., None] for part in (one, other))
    first, second = (part.out * weight for part, weight in zip((one, other), weights, strict=True))
    return first + second


def _own(query_AHTE: Tensor, key_AGSE: Tensor, value_AGSE: Tensor, cache: SharedCache, rules: Rules) -> Partial:
    """Each row against its own keys; rows that have few of them are not read with those that have many."""
    G, S = key_AGSE.shape[1:3]
    parts = []
    for band in cache.bands:
        some_AHTE = query_AHTE[band.rows]
        A, H, T, E = some_AHTE.shape
        keys, values = (tensor[band.rows, :, band.start :] for tensor in (key_AGSE, value_AGSE))
        hidden = cache.own_hidden(band, rules.window, S, H // G)
        part = attend(some_AHTE.reshape(A, G, -1, E), keys, values, rules, hidden)
        parts.append(Partial(part.out.reshape(A, H, T, -1), part.lse.reshape(A, H, T)))
    return parts[0] if len(parts) == 1 else Partial(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _read(query_AHTE: Tensor, cache: SharedCache, layer: int, fold: Fold, rules: Rules) -> Partial:
    """The rows of a fold against the beginning that they share."""
    some_AHTE, N = query_AHTE[fold.rows], fold.branches
    if fold.prefix is None:
        nothing_AHT = some_AHTE.new_full(some_AHTE.shape[:-1], -torch.inf, dtype=torch.float32)
        return Partial(torch.zeros_like(some_AHTE), nothing_AHT)
    start = cache.prefix_start(fold, rules.window)
    both = (fold.prefix.keys, fold.prefix.values)
    keys, values = (tensor[layer][fold.first : fold.first + N, :, start:] for tensor in both)
    (A, H, T, E), (G, P) = some_AHTE.shape, keys.shape[1:3]
    query_NGME = some_AHTE.reshape(N, A // N, G, H // G, T, E).transpose(1, 2).reshape(N, G, -1, E)
    hidden_ATP = cache.prefix_hidden(fold, rules.window, cache.get_seq_length(layer))
    hidden_N1MP = None
    if hidden_ATP is not None:
        hidden_N1MP = hidden_ATP[:, None].expand(A, H // G, T, P).reshape(N, 1, -1, P)
    part = attend(query_NGME, keys, values, rules, hidden_N1MP)
    out, lse = (tensor.reshape(N, G, A // N, H // G, T, -1).transpose(1, 2) for tensor in part)
    return Partial(out.reshape(A, H, T, -1), lse.reshape(A, H, T))


def attend(query_NGME: Tensor, keys: Tensor, values: Tensor, rules: Rules, hidden: Tensor | None) -> Partial:
    """Queries `[N, G, M, E]` against keys `[N, G, S, E]` without the `hidden` ones, bool `[N, 1, M, S]`."""
    plain = rules.softcap is None and keys.shape[-1] == values.shape[-1] <= 256
    if plain and query_NGME.device.type == "cpu":
        # The kernel behind scaled_dot_product_attention; called by name because only so it returns its log-sum-exp.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        mask = None if hidden is None else query_NGME.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
        out, lse_NGM = kernel(query_NGME, keys, values, 0.0, False, attn_mask=mask, scale=rules.scaling)
        return Partial(out, lse_NGM)
    if plain and hidden is None and query_NGME.device.type == "cuda" and query_NGME.dtype in HALVES:
        # The same on CUDA, in half precision; heads of up to 256.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention
        out, lse_NGM, *_ = kernel(query_NGME, keys, values, 0.0, False, False, scale=rules.scaling)
        return Partial(out, lse_NGM[..., : query_NGME.shape[2]])
    M, per_query = query_NGME.shape[2], keys.shape[:3].numel()
    size = max(1, SCORES // max(1, per_query))
    parts = [
        _attend(
            query_NGME[:, :, at : at + size],
            keys,
            values,
            rules,
            None if hidden is None else hidden[:, :, at : at + size],
        )
        for at in range(0, M, size)
    ]
    return parts[0] if len(parts) == 1 else Partial(*(torch.cat(tensors, 2) for tensors in zip(*parts, strict=True)))


def _attend(query_NGME: Tensor, keys: Tensor, values: Tensor, rules: Rules, hidden: Tensor | None) -> Partial:
    score_NGMS = (query_NGME * rules.scaling @ keys.mT).to(torch.float32)
    if rules.softcap is not None:
        score_NGMS = torch.tanh(score_NGMS / rules.softcap) * rules.softcap
    if hidden is not None:
        score_NGMS = score_NGMS.masked_fill(hidden, -torch.inf)
    top_NGM1 = score_NGMS.amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).min)
    weight_NGMS = score_NGMS.sub_(top_NGM1).exp_()
    sum_NGM1 = weight_NGMS.sum(-1, keepdim=True)
    out_NGME = (weight_NGMS / sum_NGM1.clamp(min=1e-30)).to(values.dtype) @ values
    return Partial(out_NGME, (top_NGM1 + sum_NGM1.log())[..., 0])


def reach(local_size: int | None = None, **request: Any) -> Reach:
    """What transformers gets when it asks for a mask: `local_size` is the sliding window of the layers it is for."""
    del request
    return Reach(local_size)


def proven_reach(mask_function: Callable[..., Any], local_size: int | None = None, **request: Any) -> Reach:
    """The same during the trial, which sees that the model's own mask says nothing else.

    Raises:
        CannotShareError: the mask is not causal with that window (chunks, two directions, packed sequences).
    """
    del request
    size = TRIED_WIDTH if local_size is None else 2 * local_size + 2
    key_S = torch.arange(size)
    zero = torch.zeros((), dtype=torch.long)
    for query in {0, size // 2 - 1, size // 2, size - 1}:
        seen_S = torch.as_tensor(mask_function(zero, zero, torch.tensor(query), key_S)).expand(size)
        expected_S = (key_S <= query) & (key_S > query - (size if local_size is None else local_size))
        if not torch.equal(seen_S, expected_S):
            raise CannotShareError("its mask is neither causal nor a sliding window")
    return Reach(local_size)


@contextmanager
def attending(model: Any, name: str = SHARED) -> Iterator[None]:
    """Inside, the model's layers attend by the function registered under this name."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


for _name, _mask in ((SHARED, reach), (SHARED_TRIAL, proven_reach)):
    AttentionInterface.register(_name, shared_attention)
    AttentionMaskInterface.register(_name, _mask)
