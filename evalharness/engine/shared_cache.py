"""Keys and values of a batch whose rows share beginnings: each beginning once, what is a row's own beside it.

Shapes: A rows of the tensors, G key-value heads, P tokens of a beginning, S own slots, T tokens of a pass, E width of a
head, N branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.cache import GrowingCache


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """One beginning, per layer: `[1, G, P, E]` where all of its branches are alike, else `[N, G, P, E]`."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """Tokens of the beginning."""
        return self.keys[0].shape[2]


class Seat(NamedTuple):
    """Which beginning a row reads; None reads none."""

    prefix: Prefix | None
    branch: int = 0


class Fold(NamedTuple):
    """Rows side by side that read one beginning, equally many for each of its branches `first` to `first + branches`.

    All of them read it in one product: the rows of a branch are folded into the length of the query.
    """

    prefix: Prefix | None
    rows: slice
    first: int
    branches: int


class Band(NamedTuple):
    """Rows side by side that have about as many own slots: what is before `start` is padding for all of them."""

    rows: slice
    start: int
    ragged: bool
    """Whether any of them has padding behind it as well."""


MOST_BANDS, NARROW = 8, 16


def make_bands(widths: Sequence[int]) -> list[Band]:
    """At most `MOST_BANDS` runs of rows, as alike in width as that allows; `NARROW` slots apart are alike enough."""
    starts = [max(widths) - width for width in widths]
    slack = NARROW
    while True:
        cuts, low, high = [0], starts[0], starts[0]
        for row, start in enumerate(starts):
            low, high = min(low, start), max(high, start)
            if high - low > slack:
                cuts.append(row)
                low = high = start
        if len(cuts) <= MOST_BANDS:
            break
        slack *= 2
    runs = [slice(first, last) for first, last in pairwise([*cuts, len(starts)])]
    return [Band(run, min(starts[run]), len(set(starts[run])) > 1) for run in runs]


class SharedCache(GrowingCache):
    """A `GrowingCache` of what is the rows' own, the beginnings that they share, and who reads which.

    transformers sees the own part only; `attention.py` reads both. Before each pass call `prepare`.
    """

    def __init__(self, seats: Sequence[Seat]) -> None:
        """`seats` are those of the rows of the tensors; rows of a beginning, and in it of a branch, side by side."""
        super().__init__()
        self._seats = list(seats)
        self._position_AT = torch.empty(0)
        self._own_mask_AS: Tensor | None = None
        self._hidden: dict[tuple[object, ...], Tensor] = {}
        self.bands = [Band(slice(0, len(self._seats)), 0, ragged=True)]
        self._whole: list[Fold] = []
        """Runs of rows of a beginning."""
        self._branched: dict[int, list[Fold]] = {}
        """The same by the number of the run, cut where the branches are not equally large."""
        self._sit()

    def prepare(self, position_AT: Tensor, own_mask_AS: Tensor | None) -> None:
        """Say where the tokens of the next pass stand in their rows, and which own slots, its own included, are real.

        None means that all are.
        """
        self._position_AT, self._own_mask_AS = position_AT, own_mask_AS
        self._hidden.clear()

    def folds(self, layer: int) -> list[Fold]:
        """Together these hold every row of the tensors once, in order."""
        folds: list[Fold] = []
        for number, run in enumerate(self._whole):
            alike = run.prefix is None or len(run.prefix.keys[layer]) == 1
            folds += [run] if alike else self._branched[number]
        return folds

    def own_hidden(self, band: Band, window: int | None, slots: int, repeats: int) -> Tensor | None:
        """Which own slots from `band.start` on a token must not see, bool `[rows, 1, repeats x T, S]`; None: none.

        `window` is that of `attention.Reach`. A padding token sees itself, so that no row of scores is empty.
        """
        tokens = self._position_AT.shape[1]
        limit = window if window is not None and slots > window else None
        mask_AS = self._own_mask_AS if band.ragged else None
        if tokens == 1 and limit is None and mask_AS is None:
            return None
        key = ("own", band.rows.start, limit, slots, repeats)
        if key not in self._hidden:
            device, rows = self._position_AT.device, band.rows.stop - band.rows.start
            slot_S = torch.arange(band.start, slots, device=device)
            back_TS = torch.arange(slots - tokens, slots, device=device)[:, None] - slot_S
            hidden_ATS = (back_TS < 0)[None]
            if limit is not None:
                hidden_ATS = hidden_ATS | (back_TS >= limit)
            if mask_AS is not None:
                hidden_ATS = hidden_ATS | ((mask_AS[band.rows, band.start :] == 0)[:, None] & (back_TS != 0))
            shape = (rows, repeats, tokens, len(slot_S))
            self._hidden[key] = hidden_ATS[:, None].expand(shape).reshape(rows, 1, -1, len(slot_S))
        return self._hidden[key]

    def prefix_start(self, fold: Fold, window: int | None) -> int:
        """The first token of the beginning that a row's own tokens may still see; they all stand behind it."""
        assert fold.prefix is not None
        length = fold.prefix.length
        return 0 if window is None else min(length - 1, max(0, length + 1 - window))

    def prefix_hidden(self, fold: Fold, window: int | None, slots: int) -> Tensor | None:
        """Which tokens of the beginning, from `prefix_start` on, a token must not see, bool `[rows, T, P]`, or None."""
        assert fold.prefix is not None
        length = fold.prefix.length
        if window is None or length + slots <= window:
            return None
        key = ("prefix", fold.rows.start, fold.rows.stop, window)
        if key not in self._hidden:
            token_P = torch.arange(self.prefix_start(fold, window), length, device=self._position_AT.device)
            self._hidden[key] = self._position_AT[fold.rows, :, None] - token_P >= window
        return self._hidden[key]

    def _sit(self) -> None:
        start = 0
        for (number, branch), group in groupby(self._seats, key=lambda seat: (id(seat.prefix), seat.branch)):
            rows = list(group)
            prefix, stop = rows[0].prefix, start + len(rows)
            if not self._whole or id(self._whole[-1].prefix) != number:
                self._whole.append(Fold(prefix, slice(start, stop), 0, 1))
            run = len(self._whole) - 1
            self._whole[run] = Fold(prefix, slice(self._whole[run].rows.start, stop), 0, 1)
            branched = self._branched.setdefault(run, [])
            if branched and _goes_on(branched[-1], branch, len(rows)):
                last = branched.pop()
                branched.append(Fold(prefix, slice(last.rows.start, stop), last.first, last.branches + 1))
            else:
                branched.append(Fold(prefix, slice(start, stop), branch, 1))
            start = stop


def _goes_on(fold: Fold, branch: int, rows: int) -> bool:
    """Whether these rows are those of the next branch, and as many as of each branch before."""
    return fold.first + fold.branches == branch and (fold.rows.stop - fold.rows.start) == rows * fold.branches
