"""The prompts of a batch whose rows share them: beginnings once per branch, tails once per leaf, then every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from evalharness.engine.attention import SHARED, attending
from evalharness.engine.model import LoadedModel, last_logits
from evalharness.engine.row import Row
from evalharness.engine.shared_cache import Prefix, SharedCache
from evalharness.engine.sharing import Beginning, Sharing, StandIns
from evalharness.engine.stages import PADDING, PROMPT
from evalharness.engine.steering import RowSteering

PREFILL_TOKENS = 1 << 15
"""Most tokens (branches x length of a beginning) in one pass."""


class Prefilled(NamedTuple):
    """A batch whose prompts have been read (A rows, S own slots, V vocabulary)."""

    cache: SharedCache
    own_mask_AS: Tensor
    """1 for real slots, 0 for padding before a short tail."""
    shared_A: Tensor
    """Length of each row's beginning."""
    logits_AV: Tensor


def prefill(
    loaded: LoadedModel, steering: RowSteering, rows: Sequence[Row], sharing: Sharing, attention: str = SHARED
) -> Prefilled:
    """Read all prompts. `steering` is attached and its rows are these."""
    device = loaded.device
    prefixes = [read_beginning(loaded, steering, beginning) for beginning in sharing.beginnings]
    cache = SharedCache(prefixes, sharing.leaf_seats)
    heads = [rows[head] for head in sharing.leaves.heads]
    tails = [head.prompt_ids[head.shared :] for head in heads]
    longest = max(len(tail) for tail in tails)
    ids_LT = torch.tensor([[0] * (longest - len(tail)) + list(tail) for tail in tails], device=device)
    mask_LT = torch.tensor([[0] * (longest - len(tail)) + [1] * len(tail) for tail in tails], device=device)
    shared_L = torch.tensor([head.shared for head in heads], device=device)
    role_LT = torch.where(mask_LT > 0, PROMPT, PADDING).to(torch.int8)
    position_LT = (shared_L[:, None] + mask_LT.cumsum(1) - 1).clamp(min=0)
    cache.prepare(position_LT, mask_LT if len({len(tail) for tail in tails}) > 1 else None)
    with steering.standing_for(sharing.leaves, role_LT):
        logits_LV = shared_logits(loaded, cache, ids_LT, position_LT, attention)
    leaf_A = torch.tensor(sharing.leaves.places, device=device)
    cache.keep(leaf_A)
    return Prefilled(cache, mask_LT[leaf_A], shared_L[leaf_A], logits_LV[leaf_A])


def shared_logits(
    loaded: LoadedModel, cache: SharedCache, ids_AT: Tensor, position_AT: Tensor, attention: str = SHARED
) -> Tensor:
    """float32 logits at the last position, `[A, V]`, of rows whose beginnings stand in the cache."""
    with attending(loaded.model, attention):
        return last_logits(
            loaded, input_ids=ids_AT, position_ids=position_AT, past_key_values=cache, use_cache=True, shared=cache
        )


def read_beginning(
    loaded: LoadedModel, steering: RowSteering, beginning: Beginning, tokens_per_pass: int = PREFILL_TOKENS
) -> Prefix:
    """Keys and values of a beginning: once below the first steered layer, once for each branch above it.

    The model's own attention is used; nothing is padded. If there are many branches, several passes share the work.
    """
    ids_1P = torch.tensor([beginning.token_ids], device=loaded.device)
    branches = beginning.branches
    size = max(1, tokens_per_pass // len(beginning.token_ids))
    passes = [
        _read(loaded, steering, ids_1P, branches.part(start, start + size))
        for start in range(0, len(branches.heads), size)
    ]
    joined = [_join(tensors, len(branches.heads)) for tensors in zip(*(p.keys + p.values for p in passes), strict=True)]
    return Prefix(joined[: len(joined) // 2], joined[len(joined) // 2 :])


def _read(loaded: LoadedModel, steering: RowSteering, ids_1P: Tensor, branches: StandIns) -> Prefix:
    cache = Cache(layer_class_to_replicate=DynamicLayer)
    position_1P = torch.arange(ids_1P.shape[1], device=ids_1P.device)[None]
    with steering.standing_for(branches, torch.full_like(ids_1P, PROMPT, dtype=torch.int8)):
        last_logits(loaded, input_ids=ids_1P, position_ids=position_1P, past_key_values=cache, use_cache=True)
    keys, values = ([getattr(layer, name) for layer in cache.layers] for name in ("keys", "values"))
    return Prefix(keys, values)


def _join(parts: Sequence[Tensor], n_branches: int) -> Tensor:
    """One layer of all passes: side by side where each branch has its own, else any of them."""
    own = sum(len(part) for part in parts) == n_branches
    return torch.cat(list(parts)) if own and len(parts) > 1 else parts[0]
