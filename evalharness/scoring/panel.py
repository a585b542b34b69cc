"""A panel of judges: who voted for what, and what the panel says. A judge that failed abstains; it never votes 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalharness.scoring.judge import Judgement
from evalharness.scoring.rubric import Rubric


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One judge's answer."""

    grader: str
    judgement: Judgement

    def as_metadata(self) -> dict[str, Any]:
        """Plain values for a log."""
        said = self.judgement
        return {
            "grader": self.grader,
            "label": said.label,
            "outcome": said.outcome,
            "replies": list(said.replies),
            "prompt_sha256": said.prompt_sha256,
            "error": said.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The votes on one transcript, in the order of the graders. One judge is a panel of one."""

    votes: tuple[Vote, ...]

    @property
    def given(self) -> tuple[Vote, ...]:
        """The votes that hold an outcome."""
        return tuple(vote for vote in self.votes if vote.judgement.outcome is not None)

    @property
    def winner(self) -> Vote | None:
        """The first vote for the outcome that more than half of the given votes name; None where none does."""
        counts = Counter(vote.judgement.outcome for vote in self.given)
        won = next((outcome for outcome, count in counts.items() if 2 * count > len(self.given)), None)
        return next((vote for vote in self.given if vote.judgement.outcome == won), None)

    @property
    def outcome(self) -> str | None:
        """What the panel says."""
        return None if self.winner is None else self.winner.judgement.outcome

    @property
    def why_unscored(self) -> str:
        """One line for the log; empty where there is an outcome."""
        if self.winner is not None:
            return ""
        if len(self.votes) == 1:
            return self.votes[0].judgement.why_unscored
        said = (f"{vote.grader}: {vote.judgement.outcome or vote.judgement.why_unscored}" for vote in self.votes)
        return f"no majority among {len(self.given)} votes ({'; '.join(said)})"

    def as_metadata(self, rubric: Rubric) -> dict[str, Any]:
        """What judged, what it said, and every vote, as plain values for a log."""
        identity, winner = rubric.scorer_id, self.winner
        return {
            "scorer": identity.name,
            "scorer_version": identity.version,
            "scorer_sha256": identity.sha256,
            "grader": " + ".join(vote.grader for vote in self.votes),
            "label": None if winner is None else winner.judgement.label,
            "outcome": self.outcome,
            "replies": [text for vote in self.votes for text in vote.judgement.replies],
            "prompt_sha256": next((v.judgement.prompt_sha256 for v in self.votes if v.judgement.prompt_sha256), ""),
            "error": "; ".join(vote.judgement.error for vote in self.votes if vote.judgement.error),
            "votes": [vote.as_metadata() for vote in self.votes],
        }


def votes_of(metadata: Mapping[str, Any] | None) -> tuple[tuple[str, str | None], ...]:
    """(grader, outcome) of each vote that a log holds; logs from before panels hold one, at the top level."""
    told = metadata or {}
    votes = told.get("votes") or ([told] if "grader" in told else [])
    return tuple((str(vote["grader"]), vote.get("outcome")) for vote in votes)
