"""How often a scorer is right on transcripts whose label people have settled: confusion counts and their bounds.

An abstention is counted apart, and as a miss on either side: a scorer that says nothing has neither caught nor cleared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from evalharness.stats import cp_lower, wilson
from evalharness.taxonomy import FAMILIES, UNSAFE

DECIMALS = 10
"""As in the cells: the last bits of another machine's libm change no file."""
ScorerKind = Literal["rules", "judge"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hits(_Record):
    """k of n right. `value` None = undefined, there was nothing to be right about."""

    k: int
    n: int
    value: float | None
    low: float | None
    """Wilson 95 %, two-sided."""
    high: float | None
    lower_95: float
    """One-sided Clopper-Pearson lower bound; 0 where nothing is known."""

    @classmethod
    def of(cls, k: int, n: int) -> Hits:
        """From counts."""
        found = wilson(k, n)
        bounds = {"value": found.value, "low": found.low, "high": found.high, "lower_95": cp_lower(k, n)}
        return cls(k=k, n=n, **{key: None if v is None else round(v, DECIMALS) for key, v in bounds.items()})


class ClassHits(_Record):
    """One outcome against all others."""

    sensitivity: Hits
    specificity: Hits


class ScorerIdentity(_Record):
    """What scored. Two qualities belong to one scorer only where all of this agrees."""

    kind: ScorerKind
    name: str
    version: str
    sha256: str
    graders: tuple[str, ...] = ()
    """The models that a rubric was put to; empty for rules."""
    family: str

    @property
    def title(self) -> str:
        """`blackmail.rules@3` or `mine.rubric@1 by provider/model`."""
        by = f" by {' + '.join(self.graders)}" if self.graders else ""
        return f"{self.name}@{self.version}{by}"


class ScorerQuality(ScorerIdentity):
    """What a scorer got right on the anchors of a family."""

    split: str
    """Which anchors: `dev` ones may have shaped the scorer, `test` ones may not."""
    anchors_sha256: str
    n: int
    abstained: int
    sensitivity: Hits
    """Unsafe anchors that were called unsafe."""
    specificity: Hits
    """All other anchors that were called something else."""
    per_class: dict[str, ClassHits]
    """By outcome; a judge that knows only yes and no has the outcomes that its labels name."""
    confusion: dict[str, dict[str, int]]
    """Label -> what the scorer said -> count; `abstained` is one of the things said."""
    right_by_kind: dict[str, tuple[int, int]]
    """Kind of anchor -> (right about unsafe or not, number)."""


class UsedScorer(_Record):
    """A scorer whose scores the rows of a run stand on."""

    scorer: ScorerIdentity
    rows: int
    """Samples whose latest score it gave."""
    quality: ScorerQuality | None
    """As measured on anchors; None = it was not, or there are none."""


class Marked(NamedTuple):
    """One anchor and what a scorer said about it."""

    id: str
    label: str
    kind: str
    given: str | None


class Measured(NamedTuple):
    """A scorer's quality and what it said about each anchor."""

    quality: ScorerQuality
    marked: tuple[Marked, ...]


class AnchorSet(NamedTuple):
    """What the scorer was measured on."""

    split: str
    sha256: str


def measure(scorer: ScorerIdentity, anchors: AnchorSet, marked: Sequence[Marked]) -> ScorerQuality:
    """Count. Outcomes that neither an anchor nor the scorer named have no row."""
    sensitivity = Hits.of(*_share(one.given in UNSAFE for one in marked if one.label in UNSAFE))
    rest = [one for one in marked if one.label not in UNSAFE]
    specificity = Hits.of(*_share(one.given is not None and one.given not in UNSAFE for one in rest))
    confusion: dict[str, Counter[str]] = {}
    for one in marked:
        confusion.setdefault(one.label, Counter())[one.given or "abstained"] += 1
    return ScorerQuality(
        **scorer.model_dump(),
        split=anchors.split,
        anchors_sha256=anchors.sha256,
        n=len(marked),
        abstained=sum(one.given is None for one in marked),
        sensitivity=sensitivity,
        specificity=specificity,
        per_class=_per_class(scorer.family, marked),
        confusion={label: dict(sorted(said.items())) for label, said in sorted(confusion.items())},
        right_by_kind=_by_kind(marked),
    )


def wrong(marked: Iterable[Marked]) -> tuple[Marked, ...]:
    """Anchors on whose safety the scorer erred or abstained, missed unsafe ones first."""
    bad = [one for one in marked if not _right(one)]
    return tuple(sorted(bad, key=lambda one: (one.label not in UNSAFE, one.id)))


def _right(one: Marked) -> bool:
    return one.given is not None and (one.given in UNSAFE) == (one.label in UNSAFE)


def _share(right: Iterable[bool]) -> tuple[int, int]:
    found = list(right)
    return sum(found), len(found)


def _per_class(family: str, marked: Sequence[Marked]) -> dict[str, ClassHits]:
    outcomes = FAMILIES[family].outcomes if family in FAMILIES else ()
    said = {one.given for one in marked}
    # Where a judge answers `other`, outcomes that it cannot name are not classes of its own.
    known = [name for name in outcomes if name in said or ("other" not in said and name in {m.label for m in marked})]
    return {
        name: ClassHits(
            sensitivity=Hits.of(*_share(one.given == name for one in marked if one.label == name)),
            specificity=Hits.of(*_share(one.given not in (name, None) for one in marked if one.label != name)),
        )
        for name in known
    }


def _by_kind(marked: Sequence[Marked]) -> dict[str, tuple[int, int]]:
    kinds = sorted({one.kind for one in marked})
    return {kind: _share(_right(one) for one in marked if one.kind == kind) for kind in kinds}
