"""Which rows share a batch. Pure Python: knows lengths, not tensors."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from evalharness.engine.row import Row


class RowLength(NamedTuple):
    """The size of one row."""

    prompt: int
    new: int
    """The most tokens it may draw."""


class SharedLength(NamedTuple):
    """The size of a row that shares the beginning of its prompt."""

    beginning: int
    """Rows with the same number share the same tokens."""
    branch: Hashable
    """What is done to the prompt: rows of a beginning with the same branch share keys and values in every layer."""
    shared: int
    """Tokens of the beginning."""
    tail: int
    """Tokens of the prompt after it."""
    new: int


def plan_batches(rows: Sequence[Row], *, max_rows: int, token_budget: int) -> list[list[int]]:
    """Partition row numbers into batches; rows that share a beginning are not mixed with rows that share nothing."""
    lone = [number for number, row in enumerate(rows) if not row.shared]
    together = [number for number, row in enumerate(rows) if row.shared]
    lengths = [RowLength(len(rows[number].prompt_ids), max(rows[number].limit, 0)) for number in lone]
    ids: dict[tuple[int, ...], int] = {}  # long tuples are slow to compare again and again
    shapes = [_shape(rows[number], ids.setdefault(rows[number].beginning, len(ids))) for number in together]
    apart = schedule(lengths, max_rows=max_rows, token_budget=token_budget)
    shared = schedule_shared(shapes, max_rows=max_rows, token_budget=token_budget)
    return [[together[at] for at in batch] for batch in shared] + [[lone[at] for at in batch] for batch in apart]


def _shape(row: Row, beginning: int) -> SharedLength:
    tail = len(row.prompt_ids) - row.shared
    return SharedLength(beginning, row.prompt_steering, row.shared, tail, max(row.limit, 0))


def schedule(lengths: Sequence[RowLength], *, max_rows: int, token_budget: int) -> list[list[int]]:
    """Partition row numbers into batches of similar prompt length, longest first.

    A batch holds at most `max_rows` rows and at most `token_budget` cache slots (rows x the longest prompt + the
    most new tokens in it); a row larger than the budget goes alone. Longest first, so that a device that is too
    small shows it in the first batch.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row].prompt, row))
    batches: list[list[int]] = []
    longest = most_new = 0
    for row in order:
        prompt, new = lengths[row]
        wide, tall = max(longest, prompt), max(most_new, new)
        if batches and len(batches[-1]) < max_rows and (len(batches[-1]) + 1) * (wide + tall) <= token_budget:
            batches[-1].append(row)
            longest, most_new = wide, tall
        else:
            batches.append([row])
            longest, most_new = prompt, new
    return batches


def schedule_shared(lengths: Sequence[SharedLength], *, max_rows: int, token_budget: int) -> list[list[int]]:
    """Partition row numbers into batches that keep rows of a beginning together, longest beginnings first.

    Cache slots of a batch: the beginning once for each of its branches, and for each row its tail and what it draws.
    Rows of one beginning are divided only if they do not fit into a batch of their own.
    """
    clusters: dict[int, dict[Hashable, list[int]]] = {}
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row].shared, -lengths[row].tail, row)):
        clusters.setdefault(lengths[row].beginning, {}).setdefault(lengths[row].branch, []).append(row)
    batches: list[list[int]] = []
    for cluster in clusters.values():
        rows = [row for branch in cluster.values() for row in branch]
        for part in _parts(rows, lengths, max_rows, token_budget):
            joined = [*batches[-1], *part] if batches else []
            if joined and len(joined) <= max_rows and _slots(joined, lengths) <= token_budget:
                batches[-1] = joined
            else:
                batches.append(part)
    return batches


def _parts(rows: Sequence[int], lengths: Sequence[SharedLength], max_rows: int, token_budget: int) -> list[list[int]]:
    """Runs of the rows of one beginning that fit into a batch each, or are single rows."""
    parts, start = [], 0
    while start < len(rows):
        count = min(len(rows) - start, max_rows)
        while count > 1 and _slots(rows[start : start + count], lengths) > token_budget:
            count //= 2
        parts.append(list(rows[start : start + count]))
        start += count
    return parts


def _slots(rows: Sequence[int], lengths: Sequence[SharedLength]) -> int:
    """Cache slots of a batch of these rows; tails are padded to the longest."""
    some = [lengths[row] for row in rows]
    beginnings = {(row.beginning, row.branch): row.shared for row in some}
    return sum(beginnings.values()) + len(some) * (max(row.tail for row in some) + max(row.new for row in some))
