"""What has been read of prompts, for whom it is kept, and how rows get their seats.

A *beginning* is a run of prompt tokens that several rows start with. It has one *branch* for each way in which those
rows steer their prompts, and a branch has one *leaf* for each distinct rest of the prompt, its *tail*. A beginning is
read once up to the first steered layer and once for each branch above it; a tail once for each leaf; only what is drawn
is each row's own. A tail has at least one token: the last one, whose logits the first draw needs. A row that shares
nothing is a leaf whose tail is the whole prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.prefill import Beginning, Leaves, Reader
from evalharness.engine.row import PromptSteering, Row
from evalharness.engine.running import Entry
from evalharness.engine.shared_cache import Seat
from evalharness.engine.steering import RowSteering
from evalharness.engine.witness import STRAY

NOWHERE = Seat(None)
AHEAD = 0.5
"""Share of the cache slots up to which branches are read for rows that still wait: below the first steered layer they
cost nothing if they are read together."""


class Numbers:
    """Small numbers for long keys, as long as somebody counts on them."""

    def __init__(self) -> None:
        self._number_of: dict[Hashable, int] = {}
        self._key_of: dict[int, Hashable] = {}
        self.users: Counter[int] = Counter()
        self._next = 0

    def enter(self, key: Hashable) -> int:
        """The number of a key, with one more user."""
        if key not in self._number_of:
            self._number_of[key], self._key_of[self._next] = self._next, key
            self._next += 1
        number = self._number_of[key]
        self.users[number] += 1
        return number

    def leave(self, number: int) -> bool:
        """One user less; whether it was the last one."""
        self.users[number] -= 1
        if self.users[number] > 0:
            return False
        del self.users[number]
        self._number_of.pop(self._key_of.pop(number), None)
        return True


class _Branch(NamedTuple):
    beginning: Beginning
    number: int


class _Leaf(NamedTuple):
    leaves: Leaves
    place: int


class Held:
    """Beginnings that running or waiting rows read, and leaves that waiting rows start from."""

    def __init__(self) -> None:
        self._beginnings, self._leaf_numbers = Numbers(), Numbers()
        self._branches: dict[int, dict[PromptSteering, _Branch]] = {}
        self._leaves: dict[int, _Leaf] = {}
        self._alike: dict[tuple[int, int], bool] = {}
        self.computed_tokens = 0
        """Prompt tokens that have been computed."""

    def place(self, row: Row, shared: int) -> Row:
        """The row with the numbers of what it shares; from now on that is kept for it."""
        beginning = self._beginnings.enter(row.prompt_ids[:shared]) if shared else -1
        leaf = self._leaf_numbers.enter((row.prompt_ids, row.prompt_steering, shared))
        return row.placed(shared, beginning, leaf)

    def release(self, row: Row) -> None:
        """A row that had begun needs nothing any more."""
        if row.beginning >= 0 and self._beginnings.leave(row.beginning):
            self._branches.pop(row.beginning, None)

    def forget(self, row: Row) -> None:
        """A row that waited needs nothing any more."""
        self._leave_leaf(row)
        self.release(row)

    def clear(self) -> None:
        """Let go of every tensor; who counts on what stays known."""
        self._branches.clear()
        self._leaves.clear()

    def has(self, row: Row) -> bool:
        """Whether the row's beginning has been read under its steering."""
        return row.beginning < 0 or row.prompt_steering in self._branches.get(row.beginning, {})

    @property
    def slots(self) -> int:
        """Cache slots of all beginnings."""
        return sum(len(part.heads) * part.prefix.length for part in self._parts())

    def read_before(self, prompt_ids: tuple[int, ...]) -> int:
        """Length of the longest beginning that is held and with which this prompt starts."""
        begun = {part.heads[0].prompt_ids[: part.heads[0].shared] for part in self._parts()}
        fitting = (len(ids) for ids in begun if len(ids) < len(prompt_ids) and prompt_ids[: len(ids)] == ids)
        return max(fitting, default=0)

    def read(
        self, reader: Reader, steering: RowSteering, chosen: Sequence[Row], waiting: Sequence[Row], budget: int
    ) -> list[Entry]:
        """Read what the chosen rows need, and seat them; branches of rows that wait for the same are read with them."""
        try:
            self._read_beginnings(reader, steering, chosen, waiting, budget)
            self._read_leaves(reader, steering, chosen)
            return [self._entry(row, steering.alike) for row in chosen]
        finally:
            for row in chosen:
                self._leave_leaf(row)

    def _parts(self) -> Iterable[Beginning]:
        branches = (branch for group in self._branches.values() for branch in group.values())
        return {id(branch.beginning): branch.beginning for branch in branches}.values()

    def _read_beginnings(
        self, reader: Reader, steering: RowSteering, chosen: Sequence[Row], waiting: Sequence[Row], budget: int
    ) -> None:
        wanted: dict[int, dict[PromptSteering, Row]] = {}
        for row in chosen:
            if not self.has(row):
                wanted.setdefault(row.beginning, {}).setdefault(row.prompt_steering, row)
        ahead = AHEAD * budget - self.slots - sum(row.shared for heads in wanted.values() for row in heads.values())
        for row in waiting:
            if row.beginning not in wanted or self.has(row) or row.prompt_steering in wanted[row.beginning]:
                continue
            ahead -= row.shared
            if ahead < 0:
                break
            wanted[row.beginning][row.prompt_steering] = row
        for number, heads in wanted.items():
            beginning = reader.beginning(steering, list(heads.values()))
            self.computed_tokens += beginning.prefix.length * len(heads)
            branches = self._branches.setdefault(number, {})
            branches |= {how: _Branch(beginning, branch) for branch, how in enumerate(heads)}

    def _read_leaves(self, reader: Reader, steering: RowSteering, chosen: Sequence[Row]) -> None:
        heads: dict[int, Row] = {}
        for row in chosen:
            if row.leaf not in self._leaves:
                heads.setdefault(row.leaf, row)
        seats = {leaf: self._seat(row) for leaf, row in heads.items()}
        order = sorted(heads, key=lambda leaf: (*_side_by_side(seats[leaf]), heads[leaf].tail_tokens, leaf))
        for part in _cut([heads[leaf].tail_tokens for leaf in order], reader.tokens_per_pass):
            some = order[part]
            leaves = reader.leaves(steering, [heads[leaf] for leaf in some], [seats[leaf] for leaf in some])
            self.computed_tokens += sum(heads[leaf].tail_tokens for leaf in some)
            self._leaves |= {leaf: _Leaf(leaves, place) for place, leaf in enumerate(some)}

    def _seat(self, row: Row) -> Seat:
        if row.beginning < 0:
            return NOWHERE
        branch = self._branches[row.beginning][row.prompt_steering]
        return Seat(branch.beginning.prefix, branch.number)

    def _entry(self, row: Row, alike: Callable[[int, int], bool]) -> Entry:
        """The row counts what was done to the rows that it was read with, as far as their claims are the same."""
        leaf = self._leaves[row.leaf]
        heads, counts_4 = [leaf.leaves.heads[leaf.place]], leaf.leaves.counts_L4[leaf.place].clone()
        traces = [] if leaf.leaves.trace_LTK is None else [leaf.leaves.trace_LTK[leaf.place, -row.tail_tokens :]]
        if row.beginning >= 0:
            branch = self._branches[row.beginning][row.prompt_steering]
            heads.append(branch.beginning.heads[branch.number])
            counts_4 += branch.beginning.counts_N4[branch.number]
            if branch.beginning.trace_NPK is not None:
                traces.insert(0, branch.beginning.trace_NPK[branch.number])
        for head in heads:
            pair = (row.condition, head.condition)
            if pair not in self._alike:
                self._alike[pair] = alike(*pair)
            counts_4[STRAY] += not self._alike[pair]
        trace_TK: Tensor | None = torch.cat(traces) if traces else None
        return Entry(row, self._seat(row), leaf.leaves, leaf.place, counts_4, trace_TK)

    def _leave_leaf(self, row: Row) -> None:
        if self._leaf_numbers.leave(row.leaf):
            self._leaves.pop(row.leaf, None)


def _side_by_side(seat: Seat) -> tuple[int, int]:
    return (id(seat.prefix) if seat.prefix is not None else -1, seat.branch)


def _cut(lengths: Sequence[int], tokens_per_pass: int) -> list[slice]:
    """Runs of tails that are read together: padded to the longest, they are at most so many tokens."""
    cuts, start, longest = [], 0, 0
    for at, length in enumerate(lengths):
        longest = max(longest, length)
        if at > start and (at + 1 - start) * longest > tokens_per_pass:
            cuts.append(slice(start, at))
            start, longest = at, length
    return [*cuts, slice(start, len(lengths))] if lengths else []
