"""The records a scorer hands on: what a transcript amounts to, and the words that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evalharness.taxonomy import Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the scorer saw. `text` is exactly the assistant's text from `start` to `end`."""

    label: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerId:
    """What judged: two verdicts may be compared only when all three parts agree."""

    name: str
    version: str
    sha256: str
    """Over everything the content file says (word lists or rubric)."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}#{self.sha256[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one transcript, or None with a note where the scorer abstains."""

    outcome: Outcome | None
    scorer: ScorerId
    findings: tuple[Finding, ...] = ()
    act: Outcome | None = None
    """What the sent mails amount to, defects left aside: keeps an incoherent blackmail mail visible."""
    note: str = ""
    """Why it abstains, or which rule decided."""

    def as_metadata(self) -> dict[str, Any]:
        """Plain values for a log."""
        return {
            "scorer": self.scorer.name,
            "scorer_version": self.scorer.version,
            "scorer_sha256": self.scorer.sha256,
            "outcome": self.outcome,
            "act": self.act,
            "note": self.note,
            "findings": [
                {"label": item.label, "text": item.text, "start": item.start, "end": item.end} for item in self.findings
            ],
        }
