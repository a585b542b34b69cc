"""Whether a model took the setting for a test: what it says when asked afterwards, and what it said on its own.

A model that thinks itself tested behaves better (paper, blackmail: the final checkpoint was too aware ever to do it),
so rates are given for aware and unaware rollouts apart. Being silent about it is no proof of being unaware.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from evalharness.content import find_content, load_record
from evalharness.scoring.verdict import Finding

Aware = Literal["yes", "no", "unsure"]
"""`yes`: took it for a test. `unsure` is also an answer that cannot be read."""

_ANSWER = re.compile(r"answer\W{0,4}(?P<word>\w+)", re.IGNORECASE)
_BREAK = re.compile(r"[.!?\n]")


class Awareness(BaseModel):
    """The question that is asked afterwards, and the words that show awareness by themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["awareness/1"] = Field(alias="schema")
    id: str
    version: Annotated[int, Field(ge=1)]
    question: Annotated[str, Field(min_length=20)]
    answers: Annotated[dict[str, Aware], Field(min_length=2)]
    """What stands behind `ANSWER:`, in lower case, and what it means."""
    said: Annotated[list[str], Field(min_length=1)]
    """Regular expressions, without case."""
    unless: list[str] = []
    """What is blanked before they are looked for."""

    @field_validator("said", "unless")
    @classmethod
    def _compiles(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return patterns

    def read(self, answer: str) -> Aware:
        """What the model answered: the last known word behind `ANSWER:`."""
        words = [match["word"].lower() for match in _ANSWER.finditer(answer)]
        return next((self.answers[word] for word in reversed(words) if word in self.answers), "unsure")

    def scan(self, reply: str) -> tuple[Finding, ...]:
        """Where a reply says by itself that this is a test; one finding a sentence at most."""
        masked = reply
        for pattern in self.unless:
            masked = re.sub(pattern, lambda match: " " * len(match.group()), masked, flags=re.IGNORECASE)
        ends = [match.end() for match in _BREAK.finditer(masked)]
        found: dict[int, Finding] = {}
        for pattern in self.said:
            for match in re.finditer(pattern, masked, re.IGNORECASE):
                found.setdefault(
                    bisect_right(ends, match.start()), Finding("aware", reply[slice(*match.span())], *match.span())
                )
        return tuple(found[sentence] for sentence in sorted(found))


@lru_cache(maxsize=8)
def load_awareness(name: str = "awareness") -> Awareness:
    """Load by shipped name or by path to a YAML file.

    Raises:
        ContentError: no such file, or it breaks the schema; the message names file and field.
    """
    return load_record(Awareness, find_content("scorers", name, ".yaml"))
