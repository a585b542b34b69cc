"""The rows that are being decoded, as tensors, and how rows come and go.

Shapes: A rows of the tensors, S own cache slots, N drawn tokens, T prompt tokens, K traced projections, X width of what
`Head.logits` needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.cache import GrowingCache, Source
from evalharness.engine.prefill import Leaves, Reader
from evalharness.engine.roster import Roster
from evalharness.engine.row import Row
from evalharness.engine.shared_cache import Seat, SharedCache, make_bands
from evalharness.engine.steering import RowSteering, Seated

ROOM = 64
"""Free places of a new buffer of drawn tokens."""


class Entry(NamedTuple):
    """A row whose prompt has been read, about to sit down."""

    row: Row
    seat: Seat
    leaves: Leaves
    place: int
    """Which of the leaves."""
    counts_4: Tensor
    """What the witness saw of its prompt."""
    trace_TK: Tensor | None
    """What was traced of its prompt."""


class Sitting(NamedTuple):
    """A row of the tensors."""

    row: Row
    seat: Seat
    trace_TK: Tensor | None
    since: int
    """Steps that had been made before its first."""


class Running:
    """Everything about the rows of the tensors. A row keeps its place until `reseat`."""

    def __init__(self, reader: Reader, steering: RowSteering) -> None:
        device = steering.device
        self.reader, self.steering = reader, steering
        self.sitting: list[Sitting] = []
        self.alive = 0
        self.padded = False
        """Whether rows differ in how many slots are their own."""
        self.cache: GrowingCache = GrowingCache()
        self.roster: Roster
        self.seated: Seated
        self.states_AX = torch.empty(0, device=device)
        """What the next token of each row is drawn from."""
        self.alive_A = torch.zeros(0, dtype=torch.bool, device=device)
        self.places_A = torch.zeros(0, dtype=torch.long, device=device)
        self.condition_A = torch.zeros(0, dtype=torch.long, device=device)
        self.shared_A = torch.zeros(0, dtype=torch.long, device=device)
        """Tokens of each row that stand before its own slots."""
        self.own_A = torch.zeros(0, dtype=torch.long, device=device)
        """Own slots of each row that are real: its tail, and what was drawn and fed back."""
        self.count_A = torch.zeros(0, dtype=torch.int32, device=device)
        """Tokens that each row has drawn."""
        self.counts_A4 = torch.zeros(0, 4, dtype=torch.float64, device=device)
        self._tokens_AN = torch.zeros(0, ROOM, dtype=torch.long, device=device)
        self._logprobs_AN = torch.zeros(0, ROOM, device=device)
        self._traces_ANK: Tensor | None = None
        self._steps = 0
        self._oldest = 0
        """Steps that had been made before the first of the row that sits longest."""

    @property
    def rows(self) -> list[Row]:
        """The rows in the order of the tensors, those included that have ended since the last `reseat`."""
        return [sitting.row for sitting in self.sitting]

    def count(self, place: int) -> int:
        """Tokens that a row has drawn."""
        return self._steps - self.sitting[place].since

    def last(self) -> Tensor:
        """The token that each row drew last, `[A]`."""
        return self._tokens_AN.gather(1, (self.count_A.long() - 1)[:, None])[:, 0]

    def reseat(self, entries: Sequence[Entry]) -> None:
        """Let go of the rows that have ended and take in others; rows of a beginning come to stand side by side."""
        keep_A = self.alive_A.nonzero()[:, 0]
        kept = keep_A.tolist()
        fresh = [Sitting(entry.row, entry.seat, entry.trace_TK, self._steps) for entry in entries]
        sitting = [*(self.sitting[place] for place in kept), *fresh]
        order = sorted(range(len(sitting)), key=lambda at: _rank(sitting[at].seat, at))
        order_A = torch.tensor(order, dtype=torch.long, device=keep_A.device)
        self._gather_cache(keep_A, entries, [sitting[at] for at in order], torch.argsort(order_A))
        self._gather_columns(keep_A, entries, order_A)
        self.sitting = [sitting[at] for at in order]
        self.alive = len(self.sitting)
        self._oldest = min((some.since for some in self.sitting), default=self._steps)
        self.alive_A = torch.ones(self.alive, dtype=torch.bool, device=keep_A.device)
        self.places_A = torch.arange(self.alive, device=keep_A.device)
        self.seat_again(self.steering)

    def seat_again(self, steering: RowSteering) -> None:
        """Look up the tables of these hooks: what is done follows the tensors, what is claimed is asked of the rows."""
        self.steering = steering
        self.seated = steering.seat(self.condition_A, [row.condition for row in self.rows])

    def _gather_cache(
        self, keep_A: Tensor, entries: Sequence[Entry], sitting: Sequence[Sitting], place_S: Tensor
    ) -> None:
        """A new cache with the own slots of these rows, no wider than the widest; `place_S`: where each one goes."""
        kept = len(keep_A)
        sources = [Source(self.cache, keep_A, place_S[:kept])] if kept else []
        by_leaves: dict[int, list[int]] = {}
        for number, entry in enumerate(entries):
            by_leaves.setdefault(id(entry.leaves), []).append(number)
        for group in by_leaves.values():
            leaves = entries[group[0]].leaves
            rows_R = torch.tensor([entries[number].place for number in group], device=keep_A.device)
            sources.append(Source(leaves.cache, rows_R, place_S[[kept + number for number in group]]))
        widths = [some.row.tail_tokens + self._steps - some.since for some in sitting]
        self.padded = len(set(widths)) > 1
        shared = any(isinstance(source.cache, SharedCache) for source in sources)
        self.cache = SharedCache([some.seat for some in sitting]) if shared else GrowingCache()
        if isinstance(self.cache, SharedCache):
            self.cache.bands = make_bands(widths)
        if sources:
            self.cache.take(sources, len(sitting), max(widths))

    def _gather_columns(self, keep_A: Tensor, entries: Sequence[Entry], order_A: Tensor) -> None:
        rows = [entry.row for entry in entries]

        def joined(old: Tensor, fresh: Tensor) -> Tensor:
            parts = [part for part in (old[keep_A], fresh.to(old.device)) if len(part)]
            return torch.cat(parts)[order_A] if parts else old[:0]

        def numbers(values: list[int], kind: torch.dtype = torch.long) -> Tensor:
            return torch.tensor(values, dtype=kind, device=keep_A.device)

        def empty(old: Tensor) -> Tensor:
            return old.new_zeros(len(rows), *old.shape[1:])

        states = [entry.leaves.states_LX[entry.place] for entry in entries]
        self.states_AX = joined(self.states_AX, torch.stack(states) if states else self.states_AX[:0])
        self.condition_A = joined(self.condition_A, numbers([row.condition for row in rows]))
        self.shared_A = joined(self.shared_A, numbers([row.shared for row in rows]))
        self.own_A = joined(self.own_A, numbers([row.tail_tokens for row in rows]))
        self.count_A = joined(self.count_A, numbers([0] * len(rows), torch.int32))
        counts = [entry.counts_4 for entry in entries]
        self.counts_A4 = joined(self.counts_A4, torch.stack(counts) if counts else self.counts_A4[:0])
        self._tokens_AN = joined(self._tokens_AN, empty(self._tokens_AN))
        self._logprobs_AN = joined(self._logprobs_AN, empty(self._logprobs_AN))
        if self._traces_ANK is not None:
            self._traces_ANK = joined(self._traces_ANK, empty(self._traces_ANK))

    def append(self, tokens_A: Tensor, logprob_A: Tensor) -> None:
        """One more token for every row."""
        at_A1 = self.count_A.long()[:, None]
        if self._steps - self._oldest >= self._tokens_AN.shape[1]:
            self._tokens_AN, self._logprobs_AN = (_wider(b) for b in (self._tokens_AN, self._logprobs_AN))
        self._tokens_AN.scatter_(1, at_A1, tokens_A[:, None])
        if self.roster.any_logprobs:
            self._logprobs_AN.scatter_(1, at_A1, logprob_A[:, None])
        self.count_A = self.count_A + 1
        self._steps += 1

    def trace(self, now_A1K: Tensor | None) -> None:
        """Keep the projections of the tokens that were just fed back."""
        if now_A1K is None:
            return
        if self._traces_ANK is None:
            self._traces_ANK = now_A1K.new_zeros(len(self.sitting), self._tokens_AN.shape[1], now_A1K.shape[2])
        if self._traces_ANK.shape[1] < self._tokens_AN.shape[1]:
            self._traces_ANK = _wider(self._traces_ANK)
        self._traces_ANK[self.places_A, self.count_A.long() - 1] = now_A1K[:, 0]

    def drawn(self, place: int) -> list[int]:
        """The tokens that a row has drawn."""
        ids: list[int] = self._tokens_AN[place, : self.count(place)].tolist()
        return ids

    def logprobs(self, place: int) -> list[float]:
        """How likely they were."""
        values: list[float] = self._logprobs_AN[place, : self.count(place)].tolist()
        return values

    def seat_of(self, place: int) -> Seated:
        """The tables for one row alone."""
        return self.steering.seat(self.condition_A[place][None], [self.sitting[place].row.condition])

    def drop(self, place: int) -> None:
        """Let a row run along without counting; it keeps its place until the next `reseat`."""
        self.alive_A = self.alive_A & (self.places_A != place)
        self.alive -= 1

    def traced(self, place: int) -> Tensor | None:
        """What was traced of a row: its prompt, then every drawn token but the last, which is never fed back."""
        prompt_TK = self.sitting[place].trace_TK
        if prompt_TK is None or self._traces_ANK is None:
            return prompt_TK
        return torch.cat([prompt_TK, self._traces_ANK[place, : self.count(place) - 1]])


def _rank(seat: Seat, at: int) -> tuple[int, int, int]:
    """Rows of a beginning side by side, in it those of a branch; else as they came."""
    return (id(seat.prefix) if seat.prefix is not None else -1, seat.branch, at)


def _wider(buffer: Tensor) -> Tensor:
    """The same with twice as many places."""
    return torch.cat([buffer, torch.zeros_like(buffer)], dim=1)
