"""A corpus of stories as extraction sees it: which rows are long enough, whose concept each is, and its hash.

The rows themselves stay where they are (a data set on disk, or a list); what is kept per story is a few numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.check import HeldOut
from evalharness.concepts.cues import story_cues
from evalharness.concepts.reading import token_ids
from evalharness.errors import BankError

if TYPE_CHECKING:
    from evalharness.engine import Engine

StoryRow = Mapping[str, Any]
"""`concept`, `topic`, `text`, and optionally `person` and `cues` (ids of the sentences that show the feeling)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stories:
    """The stories that are long enough, in the order of the corpus. S of them, C concepts."""

    rows: Sequence[StoryRow]
    kept_S: NDArray[np.int64]
    """Their places in `rows`."""
    label_S: NDArray[np.int32]
    names: tuple[str, ...]
    """Concepts in order of appearance among the stories that are left."""
    dropped: dict[str, int]
    sha256: str
    """Over the token ids of the kept stories."""

    @property
    def labels(self) -> list[str]:
        """The concept of each kept story."""
        return [self.names[label] for label in self.label_S.tolist()]

    def held_out(self, chosen: Sequence[int]) -> HeldOut:
        """What the check knows of these stories. Cues are looked for among them only: nothing else is compared."""
        rows = [self.rows[int(self.kept_S[story])] for story in chosen]
        topics = tuple(str(row.get("topic", "")) for row in rows)
        return HeldOut(tuple(str(row["concept"]) for row in rows), topics, story_cues(rows))


def read_stories(engine: Engine, stories: Iterable[StoryRow], skip: int) -> Stories:
    """Go over the corpus once.

    Raises:
        BankError: a row without its fields, fewer than two concepts, or a concept whose stories are all too short.
    """
    # A `datasets.Dataset` has places and a length, but is no `Sequence` by its class.
    rows = cast("Sequence[StoryRow]", stories if hasattr(stories, "__getitem__") else list(stories))
    place_of: dict[str, int] = {}
    kept, labels, seen, dropped = [], [], dict[str, None](), dict[str, int]()
    digest = hashlib.sha256()
    for number in range(len(rows)):
        row = rows[number]
        if not row.get("concept") or not row.get("text"):
            raise BankError(
                "A story lacks a field.", expected="concept, topic, text", got=", ".join(row), where=f"story {number}"
            )
        name = str(row["concept"])
        seen[name] = None
        ids = token_ids(engine, row)
        if len(ids) <= skip:
            dropped[name] = dropped.get(name, 0) + 1
            continue
        kept.append(number)
        labels.append(place_of.setdefault(name, len(place_of)))
        digest.update(np.asarray((len(ids), *ids), dtype="<i8").tobytes())
    empty = sorted(set(seen) - set(place_of))
    if empty or len(seen) < 2:
        raise BankError(
            "A concept has no story that is long enough." if empty else "Concept vectors need at least two concepts.",
            expected=f"stories of more than {skip} tokens",
            got=", ".join(f"{name}: {dropped.get(name, 0)} too short" for name in empty) or ", ".join(seen) or "none",
            fix="use longer stories or a smaller skip" if empty else "give stories of several concepts",
        )
    return Stories(
        rows=rows,
        kept_S=np.array(kept, dtype=np.int64),
        label_S=np.array(labels, dtype=np.int32),
        names=tuple(place_of),
        dropped=dropped,
        sha256=digest.hexdigest(),
    )
