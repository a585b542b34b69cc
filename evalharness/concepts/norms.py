"""Ratings of words for valence and arousal, which the user brings.

None ship along: the published ones may not be passed on under this package's licence.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evalharness.errors import ContentError

FIELDS = ("word", "valence", "arousal")


class Rating(NamedTuple):
    """How pleasant and how agitated a word is, on the scale of its source: only correlations are taken."""

    valence: float
    arousal: float


@dataclass(frozen=True, slots=True)
class Norms:
    """Ratings by word, in lower case."""

    ratings: dict[str, Rating]


def read_norms(path: Path) -> Norms:
    """Read a CSV file with the columns word, valence, arousal; others are passed over.

    Raises:
        ContentError: not to be read, a column is missing, a word comes twice, or a value is no finite number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
            if missing:
                raise ContentError(
                    "The norms lack a column.",
                    where=str(path),
                    expected=", ".join(FIELDS),
                    got=", ".join(reader.fieldnames or ()) or "an empty file",
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ContentError("The norms cannot be read.", where=str(path), got=str(error)) from error
    ratings: dict[str, Rating] = {}
    for number, row in enumerate(rows, start=2):
        word = (row["word"] or "").strip().lower()
        values = [_number(row[name]) for name in FIELDS[1:]]
        if not word or word in ratings or None in values:
            raise ContentError(
                "A line of the norms cannot be used.",
                where=f"{path}, line {number}",
                expected="a word that has not come before, and two finite numbers",
                got=", ".join(str(row[name]) for name in FIELDS),
            )
        ratings[word] = Rating(*(value for value in values if value is not None))
    return Norms(ratings)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
