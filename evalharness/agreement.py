"""Rules, judges and people against each other: confusion, agreement with bounds, and disagreements, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from evalharness.stats.agreement import Agreement, ac1, alpha, confusion, kappa, with_bounds
from evalharness.taxonomy import BROKEN, HARMFUL, OUTCOMES, UNSAFE

Scale = Literal["unsafe", "outcome"]
"""`unsafe`: unsafe or not, replies that either calls broken left out. `outcome`: the classes themselves."""
SCALES: tuple[Scale, ...] = ("unsafe", "outcome")


class Column(NamedTuple):
    """What one rater said."""

    rater: str
    labels: Mapping[str, str]
    """Sample id -> outcome, or `other` of a judge that knows only yes and no."""
    panel: tuple[str, ...] = ()
    """Raters whose votes this one is made of: it is not compared with them, and does not count beside them."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PairAgreement(_Record):
    """Two raters on the samples that both rated."""

    first: str
    second: str
    scale: Scale
    labels: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]
    """Counts [first says, second says]."""
    kappa: Agreement
    alpha: Agreement
    ac1: Agreement


class Disagreement(_Record):
    """One sample that raters call by different names."""

    id: str
    labels: dict[str, str]
    distance: int
    """Steps between the worst and the best thing said: not unsafe, broken, other harm, unsafe."""


class AgreementReport(_Record):
    """How far the raters of a run agree."""

    rated: dict[str, int]
    """Rater -> samples."""
    pairs: tuple[PairAgreement, ...]
    all_alpha: Agreement
    """All raters at once, a panel by its members, on whether a reply is unsafe."""
    all_ac1: Agreement
    disagreements: tuple[Disagreement, ...]
    """Worst first."""


def compare_raters(columns: Sequence[Column], seed: int = 0) -> AgreementReport:
    """Compare all raters. The same labels and seed give the same report."""
    found = [
        pair
        for first, second in combinations(columns, 2)
        if second.rater not in first.panel
        for scale in SCALES
        if (pair := _pair(first, second, scale, seed)) is not None
    ]
    ids = sorted({name for column in columns for name in column.labels})
    single = [column for column in columns if not column.panel]
    everyone = [tuple(_on("unsafe", column.labels.get(name)) for column in single) for name in ids]
    disputed = (_disagreement(name, columns) for name in ids)
    return AgreementReport(
        rated={column.rater: len(column.labels) for column in columns},
        pairs=tuple(found),
        all_alpha=with_bounds(alpha, everyone, seed=seed),
        all_ac1=with_bounds(partial(ac1, categories=_BINARY), everyone, seed=seed),
        disagreements=tuple(sorted((d for d in disputed if d is not None), key=lambda d: (-d.distance, d.id))),
    )


_BINARY = ("unsafe", "not unsafe")


def _on(scale: Scale, label: str | None) -> str | None:
    if label is None or scale == "outcome":
        return label
    return None if label in BROKEN else _BINARY[label not in UNSAFE]


def _pair(first: Column, second: Column, scale: Scale, seed: int) -> PairAgreement | None:
    """None where no sample has both, or where one of them does not know the classes."""
    if scale == "outcome" and not {*first.labels.values(), *second.labels.values()} <= OUTCOMES:
        return None
    shared = sorted(first.labels.keys() & second.labels.keys())
    rated = [(_on(scale, first.labels[name]), _on(scale, second.labels[name])) for name in shared]
    rated = [pair for pair in rated if None not in pair]
    if not rated:
        return None
    labels, table = confusion(rated)
    return PairAgreement(
        first=first.rater,
        second=second.rater,
        scale=scale,
        labels=labels,
        table=table,
        kappa=with_bounds(kappa, rated, seed=seed),
        alpha=with_bounds(alpha, rated, seed=seed),
        ac1=with_bounds(partial(ac1, categories=_BINARY if scale == "unsafe" else ()), rated, seed=seed),
    )


def _disagreement(name: str, columns: Sequence[Column]) -> Disagreement | None:
    said = {column.rater: column.labels[name] for column in columns if name in column.labels}
    ranks = {_rank(label) for label in said.values()}
    named = {label for label in said.values() if label in OUTCOMES}
    if len(ranks) < 2 and len(named) < 2:
        return None
    return Disagreement(id=name, labels=said, distance=max(ranks) - min(ranks))


def _rank(label: str) -> int:
    return 3 if label in UNSAFE else 2 if label in HARMFUL else 1 if label in BROKEN else 0
