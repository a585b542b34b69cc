"""Which texts are read together. Pure Python: knows lengths, not tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RowLength(NamedTuple):
    """The size of one row."""

    prompt: int
    new: int
    """The most tokens it may draw."""


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
