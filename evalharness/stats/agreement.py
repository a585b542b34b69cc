"""Agreement of raters on nominal labels: kappa, Krippendorff's alpha, Gwet's AC1, and bounds by resampling items.

Three numbers, because each misleads alone: where one label is rare, kappa and alpha collapse although raters hardly
ever differ, and AC1 flatters. None is a value that is undefined, never 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import krippendorff
import numpy as np
from statsmodels.stats.inter_rater import cohens_kappa

Ratings = Sequence[Sequence[str | None]]
"""One row per item, one column per rater; None = not rated."""
MOST_ROWS = 500_000
"""Items that all draws together look at, a few seconds."""
Statistic = Callable[[Ratings], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One measure on `n` items that at least two raters rated."""

    value: float | None
    low: float | None
    """Percentile bootstrap 95 % over items; None where resampling shows no spread, which is no certainty."""
    high: float | None
    n: int


def confusion(ratings: Ratings) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Labels, and counts [first rater, second rater] over the items that both rated.

    Raises:
        ValueError: the items do not have two raters.
    """
    pairs = [(row[0], row[1]) for row in _two(ratings) if row[0] is not None and row[1] is not None]
    labels = tuple(sorted({label for pair in pairs for label in pair}))
    return labels, tuple(tuple(sum(pair == (a, b) for pair in pairs) for b in labels) for a in labels)


def kappa(ratings: Ratings) -> float | None:
    """Cohen's kappa of two raters; None where both always use one and the same label.

    Raises:
        ValueError: the items do not have two raters.
    """
    labels, table = confusion(ratings)
    if len(labels) < 2:
        return None
    return float(cohens_kappa(np.asarray(table), return_results=False))


def alpha(ratings: Ratings) -> float | None:
    """Krippendorff's alpha, nominal, any number of raters, missing ratings allowed; None where no label varies."""
    rows = [row for row in ratings if sum(label is not None for label in row) > 1]
    labels = sorted({label for row in rows for label in row if label is not None})
    if len(labels) < 2:
        return None
    code = {label: float(number) for number, label in enumerate(labels)}
    data = np.array([[math.nan if label is None else code[label] for label in row] for row in rows]).T
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal"))


def ac1(ratings: Ratings, categories: Sequence[str] = ()) -> float | None:
    """Gwet's AC1, any number of raters, missing ratings allowed. `categories`: labels that could have been given.

    Chance agreement is sum p(1 - p) / (q - 1) over q categories, with p the mean share of each (Gwet 2008).
    """
    rows = [[label for label in row if label is not None] for row in ratings]
    labels = sorted({label for row in rows for label in row} | set(categories))
    shared = [row for row in rows if len(row) > 1]
    if len(labels) < 2 or not shared:
        return None
    agreed = [
        sum(row.count(label) * (row.count(label) - 1) for label in labels) / (len(row) * (len(row) - 1))
        for row in shared
    ]
    observed, rated = sum(agreed) / len(agreed), [row for row in rows if row]
    shares = [sum(row.count(label) / len(row) for row in rated) / len(rated) for label in labels]
    chance = sum(share * (1 - share) for share in shares) / (len(labels) - 1)
    return (observed - chance) / (1 - chance)


def with_bounds(statistic: Statistic, ratings: Ratings, *, seed: int, draws: int | None = None) -> Agreement:
    """The measure with bootstrap bounds: items are drawn again with replacement, all raters of an item together.

    `draws` None: 1,000, fewer where there are many items, whose bounds are narrow anyway.
    """
    shared = [row for row in ratings if sum(label is not None for label in row) > 1]
    value = statistic(shared) if shared else None
    if value is None:
        return Agreement(value=None, low=None, high=None, n=len(shared))
    rng = np.random.default_rng(seed)
    drawn: list[Any] = []
    for _ in range(draws or max(200, min(1000, MOST_ROWS // len(shared)))):
        again = statistic([shared[number] for number in rng.integers(len(shared), size=len(shared))])
        drawn += [again] if again is not None else []
    if len(set(drawn)) < 2:
        return Agreement(value=value, low=None, high=None, n=len(shared))
    low, high = (float(bound) for bound in np.quantile(drawn, (0.025, 0.975)))
    return Agreement(value=value, low=min(low, value), high=max(high, value), n=len(shared))


def _two(ratings: Ratings) -> Ratings:
    if any(len(row) != 2 for row in ratings):
        raise ValueError("a confusion table and kappa have exactly two raters")
    return ratings
