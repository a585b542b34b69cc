"""Reading prompts: beginnings once for all rows that share them, tails once for all rows that are alike until a draw.

Shapes: N branches, P tokens of a beginning, L leaves, T tokens of a tail, X width of what `Head.logits` needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.attention import SHARED, attending
from evalharness.engine.cache import GrowingCache
from evalharness.engine.model import LoadedModel
from evalharness.engine.row import Row
from evalharness.engine.shared_cache import Prefix, Seat, SharedCache
from evalharness.engine.stages import PADDING, PROMPT
from evalharness.engine.steering import RowSteering, Seated

PREFILL_TOKENS = 1 << 12
"""Most tokens (rows x tokens) in one pass on a CPU: tensors stay small enough for the memory allocator to keep them."""
PREFILL_TOKENS_CUDA = 1 << 15
FEWEST_TOKENS = 64
"""Least length of a piece of a beginning, however many branches there are."""
MASK_SIZE = 1 << 22
"""Most entries (rows x tokens x own slots) of a mask over tails, which every query head of a group has once more."""


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """What several prompts begin with, read; one branch for each way in which rows steer it."""

    prefix: Prefix
    heads: tuple[Row, ...]
    """Of each branch, the row that it was read for."""
    counts_N4: Tensor
    """What the witness saw, to be counted for each row of the branch."""
    trace_NPK: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """The rest of some prompts, read."""

    cache: GrowingCache
    """Tails end side by side."""
    heads: tuple[Row, ...]
    states_LX: Tensor
    counts_L4: Tensor
    trace_LTK: Tensor | None


class Reader:
    """Reads prompts of one model. `share` says whether its rows attend by `shared_attention`."""

    def __init__(self, loaded: LoadedModel, *, share: bool) -> None:
        self._loaded = loaded
        self._share = share
        self.mask_size = MASK_SIZE
        self.tokens_per_pass = PREFILL_TOKENS if loaded.device.type == "cpu" else PREFILL_TOKENS_CUDA

    def beginning(self, steering: RowSteering, heads: Sequence[Row]) -> Beginning:
        """Keys and values of what these rows share: once below the first steered layer, once for each row above it.

        The model's own attention is used; nothing is padded. A long beginning is read piece by piece, each piece for
        all branches at once: tensors stay small, and nothing is computed twice.
        """
        device, length = self._loaded.device, heads[0].shared
        ids_1P = torch.tensor([heads[0].prompt_ids[:length]], device=device)
        position_1P = torch.arange(length, device=device)[None]
        size = max(FEWEST_TOKENS, self.tokens_per_pass // len(heads))
        cache = GrowingCache(room=length)
        with steering.passing(seat_rows(steering, heads), ids_1P, (PROMPT,), fan=True) as now:
            for start in range(0, length, size):
                piece_1T = ids_1P[:, start : start + size]
                steering.set_roles(torch.full_like(piece_1T, PROMPT, dtype=torch.int8))
                self._loaded.head.last_states(
                    input_ids=piece_1T,
                    position_ids=position_1P[:, start : start + size],
                    past_key_values=cache,
                    use_cache=True,
                )
        keys, values = ([getattr(layer, name) for layer in cache.layers] for name in ("keys", "values"))
        return Beginning(Prefix(keys, values), tuple(heads), now.counts_A4, now.traced())

    def leaves(
        self, steering: RowSteering, heads: Sequence[Row], seats: Sequence[Seat], attention: str = SHARED
    ) -> Leaves:
        """The tails of these rows, whose beginnings stand in their seats; rows of a seat are side by side.

        Long tails are read piece by piece: a mask over a whole long prompt would be larger than its keys and values.
        """
        device = self._loaded.device
        tails = [head.tail for head in heads]
        longest = max(len(tail) for tail in tails)
        ids_LT = torch.tensor([[0] * (longest - len(tail)) + list(tail) for tail in tails], device=device)
        length_L = torch.tensor([len(tail) for tail in tails], device=device)
        shared_L = torch.tensor([head.shared for head in heads], device=device)
        padded = len({len(tail) for tail in tails}) > 1
        position_LT, mask_LT = own_positions(shared_L, length_L, longest), own_mask(length_L, longest)
        role_LT = torch.where(mask_LT > 0, PROMPT, PADDING).to(torch.int8)
        cache = SharedCache(seats) if self._share else GrowingCache(room=longest)
        size = max(1, self.mask_size // (len(tails) * longest))
        with steering.passing(seat_rows(steering, heads), role_LT, (PROMPT,)) as now:
            for start in range(0, longest, size):
                piece = slice(start, start + size)
                steering.set_roles(role_LT[:, piece])
                tokens = Tokens(ids_LT[:, piece], position_LT[:, piece], mask_LT[:, : start + size], padded)
                states_LX = self.forward(cache, tokens, attention)
        return Leaves(cache, tuple(heads), states_LX, now.counts_A4, now.traced())

    def forward(self, cache: GrowingCache, tokens: Tokens, attention: str = SHARED) -> Tensor:
        """What `Head.logits` needs at the last position, `[A, X]`; keys and values go into the cache."""
        head = self._loaded.head
        common = {"input_ids": tokens.ids_AT, "position_ids": tokens.position_AT, "use_cache": True}
        if not isinstance(cache, SharedCache):
            return head.last_states(**common, attention_mask=tokens.mask_AS, past_key_values=cache)
        cache.prepare(tokens.position_AT, tokens.mask_AS if tokens.padded else None)
        with attending(self._loaded.model, attention):
            return head.last_states(**common, past_key_values=cache, shared=cache)

    def alone(self, ids: Sequence[int]) -> Tensor:
        """Logits `[1, V]` after these tokens, by a pass of their own without cache or padding."""
        ids_1T = torch.tensor([ids], device=self._loaded.device)
        head = self._loaded.head
        states_1X = head.last_states(input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), use_cache=False)
        return head.logits(states_1X)


class Tokens(NamedTuple):
    """What goes into a forward pass: `[A, T]` tokens, their positions, and which of all own slots `[A, S]` are real."""

    ids_AT: Tensor
    position_AT: Tensor
    mask_AS: Tensor
    padded: bool
    """Whether any slot is not real."""


def seat_rows(steering: RowSteering, rows: Sequence[Row]) -> Seated:
    """The hooks' tables for these rows, and the claims about them, worked out from the rows themselves."""
    condition_A = torch.tensor([row.condition for row in rows], dtype=torch.long, device=steering.device)
    return steering.seat(condition_A, [row.condition for row in rows])


def own_mask(length_A: Tensor, slots: int) -> Tensor:
    """1 for the last `length_A` slots of each row, which are real, `[A, S]`."""
    return (torch.arange(slots, device=length_A.device) >= slots - length_A[:, None]).long()


def own_positions(shared_A: Tensor, length_A: Tensor, tokens: int) -> Tensor:
    """Positions of the last `tokens` tokens of rows that have so many before and of their own, `[A, T]`."""
    back_T = torch.arange(tokens - 1, -1, -1, device=length_A.device)
    return ((shared_A + length_A - 1)[:, None] - back_T).clamp(min=0)
