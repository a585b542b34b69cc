"""Which rows share a computation. Pure Python: knows token ids and steerings, not tensors.

A *beginning* is a run of prompt tokens that several rows start with. It has one *branch* for each way in which those
rows steer their prompts, and a branch has one *leaf* for each distinct rest of the prompt, its *tail*. A beginning is
run once up to the first steered layer and once for each branch above it; a tail once for each leaf; only what is drawn
is each row's own. A tail has at least one token: the last one, whose logits the first draw needs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalharness.engine.row import Row


class StandIns(NamedTuple):
    """Rows that are computed once for several."""

    heads: tuple[int, ...]
    """The rows of the batch that are computed, in the order of the tensors."""
    rows: tuple[int, ...]
    """The rows of the batch that they are computed for."""
    places: tuple[int, ...]
    """For each of `rows`, which of `heads` stands for it."""

    def part(self, start: int, stop: int) -> StandIns:
        """Only these heads and the rows that they stand for."""
        pairs = [(row, place) for row, place in zip(self.rows, self.places, strict=True) if start <= place < stop]
        return StandIns(self.heads[start:stop], tuple(r for r, _ in pairs), tuple(p - start for _, p in pairs))


class Seat(NamedTuple):
    """Where a row's shared keys and values stand."""

    beginning: int
    branch: int
    """Counted from 0 within its beginning."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Tokens that rows of a batch start with, and the rows that stand for its branches."""

    token_ids: tuple[int, ...]
    branches: StandIns


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the rows of one batch share their prompts. Rows of a branch stand side by side."""

    beginnings: tuple[Beginning, ...]
    leaves: StandIns
    seat_B: tuple[Seat, ...]

    @property
    def leaf_seats(self) -> tuple[Seat, ...]:
        """The seats of the rows that stand for the leaves."""
        return tuple(self.seat_B[row] for row in self.leaves.heads)


def arrange(rows: Sequence[Row]) -> list[Row]:
    """The same rows with those of a beginning side by side, in it those of a branch, in it those of a leaf."""
    if not any(row.shared for row in rows):
        return list(rows)
    first_seen: dict[Hashable, int] = {}

    def rank(*key: Hashable) -> int:
        return first_seen.setdefault(key, len(first_seen))

    def place(row: Row) -> tuple[int, int, int]:
        branch = (row.beginning, row.prompt_steering)
        return rank(row.beginning), rank(*branch), rank(*branch, row.prompt_ids)

    return sorted(rows, key=place)


def find_sharing(rows: Sequence[Row]) -> Sharing | None:
    """How rows share, in the order of `arrange`; None if they are rows that share nothing."""
    if not any(row.shared for row in rows):
        return None
    beginnings = _stand_ins([row.beginning for row in rows])
    leaves = _stand_ins([(row.beginning, row.prompt_steering, row.prompt_ids) for row in rows])
    parts: list[Beginning] = []
    seats: list[Seat] = []
    for number, head in enumerate(beginnings.heads):
        members = [row for row, place in zip(beginnings.rows, beginnings.places, strict=True) if place == number]
        branches = _stand_ins([rows[member].prompt_steering for member in members])
        heads = tuple(members[branch] for branch in branches.heads)
        parts.append(Beginning(rows[head].beginning, StandIns(heads, tuple(members), branches.places)))
        seats += [Seat(number, branch) for branch in branches.places]
    assert [seat.beginning for seat in seats] == list(beginnings.places), "rows are not arranged"
    return Sharing(tuple(parts), leaves, tuple(seats))


def _stand_ins(keys: Sequence[Hashable]) -> StandIns:
    """The first row of each key stands for all rows of that key."""
    place_of: dict[Hashable, int] = {}
    heads: list[int] = []
    for row, key in enumerate(keys):
        if key not in place_of:
            place_of[key] = len(heads)
            heads.append(row)
    return StandIns(tuple(heads), tuple(range(len(keys))), tuple(place_of[key] for key in keys))
