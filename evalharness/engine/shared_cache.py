"""Keys and values of a batch whose rows share beginnings: each beginning once, what is a row's own beside it.

Shapes: A rows of the tensors, G key-value heads, P tokens of a beginning, S own slots, T tokens of a pass, E width of a
head, N branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.cache import GrowingCache
from evalharness.engine.sharing import Seat


class Prefix(NamedTuple):
    """One beginning, per layer: `[1, G, P, E]` where all of its branches are alike, else `[N, G, P, E]`."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """Tokens of the beginning."""
        return self.keys[0].shape[2]


class Fold(NamedTuple):
    """Rows side by side that read one beginning, equally many for each of its branches `first` to `first + branches`.

    All of them read it in one product: the rows of a branch are folded into the length of the query.
    """

    prefix: int
    rows: slice
    first: int
    branches: int


class SharedCache(GrowingCache):
    """A `GrowingCache` of what is the rows' own, the beginnings that they share, and who reads which.

    transformers sees the own part only; `attention.py` reads both. Before each pass call `prepare`.
    """

    def __init__(self, prefixes: Sequence[Prefix], seats: Sequence[Seat]) -> None:
        """`seats` are those of the rows of the tensors; rows of a branch stand side by side."""
        super().__init__()
        self.prefixes = list(prefixes)
        self._position_AT = torch.empty(0)
        self._own_mask_AS: Tensor | None = None
        self._hidden: dict[tuple[object, ...], Tensor | None] = {}
        self._sit(seats)

    def keep(self, rows_A: Tensor) -> None:
        """Hold these rows instead, in this order; one may stand for several."""
        super().keep(rows_A)
        self._sit([self._seats[row] for row in rows_A.tolist()])

    def prepare(self, position_AT: Tensor, own_mask_AS: Tensor | None) -> None:
        """Say where the tokens of the next pass stand in their rows, and which own slots, its own included, are real.

        None means that all are.
        """
        self._position_AT, self._own_mask_AS = position_AT, own_mask_AS
        self._hidden.clear()

    def folds(self, layer: int) -> list[Fold]:
        """Together these hold every row of the tensors once, in order."""
        return [
            fold
            for number, prefix in enumerate(self.prefixes)
            for fold in (self._whole if len(prefix.keys[layer]) == 1 else self._branched)[number]
        ]

    def own_hidden(self, window: int | None, slots: int) -> Tensor | None:
        """Which own slots a token must not see, bool `[A, T, S]`; None if it sees all.

        `window` is that of `attention.Reach`. A padding token sees itself, so that no row of scores is empty.
        """
        tokens = self._position_AT.shape[1]
        limit = window if window is not None and slots > window else None
        key = ("own", limit, slots)
        if key not in self._hidden:
            device = self._position_AT.device
            back_TS = torch.arange(slots - tokens, slots, device=device)[:, None] - torch.arange(slots, device=device)
            hidden_ATS = (back_TS < 0)[None]
            if limit is not None:
                hidden_ATS = hidden_ATS | (back_TS >= limit)
            if self._own_mask_AS is not None:
                hidden_ATS = hidden_ATS | ((self._own_mask_AS == 0)[:, None] & (back_TS != 0))
            nothing = tokens == 1 and limit is None and self._own_mask_AS is None
            self._hidden[key] = None if nothing else hidden_ATS.expand(len(self._seats), -1, -1)
        return self._hidden[key]

    def prefix_start(self, fold: Fold, window: int | None) -> int:
        """The first token of the beginning that a row's own tokens may still see; they all stand behind it."""
        length = self.prefixes[fold.prefix].length
        return 0 if window is None else min(length - 1, max(0, length + 1 - window))

    def prefix_hidden(self, fold: Fold, window: int | None, slots: int) -> Tensor | None:
        """Which tokens of the beginning, from `prefix_start` on, a token must not see, bool `[rows, T, P]`, or None."""
        length = self.prefixes[fold.prefix].length
        if window is None or length + slots <= window:
            return None
        key = ("prefix", fold.prefix, fold.rows.start, fold.rows.stop, window)
        if key not in self._hidden:
            token_P = torch.arange(self.prefix_start(fold, window), length, device=self._position_AT.device)
            self._hidden[key] = self._position_AT[fold.rows, :, None] - token_P >= window
        return self._hidden[key]

    def _sit(self, seats: Sequence[Seat]) -> None:
        self._seats = list(seats)
        self._whole: list[list[Fold]] = [[] for _ in self.prefixes]
        self._branched: list[list[Fold]] = [[] for _ in self.prefixes]
        start = 0
        for seat, group in groupby(self._seats):
            stop = start + len(list(group))
            whole, branched = self._whole[seat.beginning], self._branched[seat.beginning]
            first = whole[0].rows.start if whole else start
            whole[:] = [Fold(seat.beginning, slice(first, stop), 0, 1)]
            if branched and _goes_on(branched[-1], seat, stop - start):
                last = branched.pop()
                branched.append(Fold(last.prefix, slice(last.rows.start, stop), last.first, last.branches + 1))
            else:
                branched.append(Fold(seat.beginning, slice(start, stop), seat.branch, 1))
            start = stop


def _goes_on(fold: Fold, seat: Seat, rows: int) -> bool:
    """Whether these rows are those of the next branch, and as many as of each branch before."""
    return fold.first + fold.branches == seat.branch and (fold.rows.stop - fold.rows.start) == rows * fold.branches
