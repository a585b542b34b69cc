"""The prompts of a batch whose rows share them: beginnings once per branch, tails once per leaf, then every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.attention import SHARED, attending
from evalharness.engine.cache import GrowingCache
from evalharness.engine.model import LoadedModel
from evalharness.engine.row import Row
from evalharness.engine.shared_cache import Prefix, SharedCache
from evalharness.engine.sharing import Beginning, Sharing, StandIns
from evalharness.engine.stages import PADDING, PROMPT
from evalharness.engine.steering import RowSteering

PREFILL_TOKENS = 1 << 12
"""Most tokens (branches x piece of a beginning) in one pass."""
FEWEST_TOKENS = 64
"""Least length of a piece, however many branches there are."""


class Prefilled(NamedTuple):
    """A batch whose prompts have been read (A rows, S own slots, V vocabulary)."""

    cache: SharedCache
    own_mask_AS: Tensor
    """1 for real slots, 0 for padding before a short tail."""
    shared_A: Tensor
    """Length of each row's beginning."""
    states_AX: Tensor
    """What `Head.logits` needs at the last token."""


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
        states_LX = shared_states(loaded, cache, ids_LT, position_LT, attention)
    leaf_A = torch.tensor(sharing.leaves.places, device=device)
    cache.keep(leaf_A)
    return Prefilled(cache, mask_LT[leaf_A], shared_L[leaf_A], states_LX[leaf_A])


def shared_states(
    loaded: LoadedModel, cache: SharedCache, ids_AT: Tensor, position_AT: Tensor, attention: str = SHARED
) -> Tensor:
    """What `Head.logits` needs at the last position, of rows whose beginnings stand in the cache."""
    with attending(loaded.model, attention):
        return loaded.head.last_states(
            input_ids=ids_AT, position_ids=position_AT, past_key_values=cache, use_cache=True, shared=cache
        )


def read_beginning(
    loaded: LoadedModel, steering: RowSteering, beginning: Beginning, tokens_per_pass: int = PREFILL_TOKENS
) -> Prefix:
    """Keys and values of a beginning: once below the first steered layer, once for each branch above it.

    The model's own attention is used; nothing is padded. A long beginning is read piece by piece, each piece for all
    branches at once: tensors stay small, and nothing is computed twice.
    """
    ids_1P = torch.tensor([beginning.token_ids], device=loaded.device)
    length = ids_1P.shape[1]
    size = max(FEWEST_TOKENS, tokens_per_pass // len(beginning.branches.heads))
    cache = GrowingCache(room=length)
    position_1P = torch.arange(length, device=loaded.device)[None]
    with steering.standing_for(beginning.branches, torch.empty(0, dtype=torch.int8, device=loaded.device)):
        for start in range(0, length, size):
            piece_1T = ids_1P[:, start : start + size]
            steering.set_roles(torch.full_like(piece_1T, PROMPT, dtype=torch.int8), (PROMPT,))
            loaded.head.last_states(
                input_ids=piece_1T,
                position_ids=position_1P[:, start : start + size],
                past_key_values=cache,
                use_cache=True,
            )
    keys, values = ([getattr(layer, name) for layer in cache.layers] for name in ("keys", "values"))
    return Prefix(keys, values)
