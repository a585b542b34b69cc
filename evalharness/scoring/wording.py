"""The ways one thing is said: regular expressions with macros, and what finds them in a text.

Patterns are regular expressions without regard to case; a space stands for any white space, an apostrophe for both
kinds, `%name%` for the macro of that name. A match that overlaps a match of `unless` does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_LONG_GAP = re.compile(r"\s{40,}")
_MACRO = re.compile(r"%([a-z_]+)%")
_ENDINGS = ("ings", "ing", "ies", "ied", "es", "ed", "ly", "s")
MIN_STEM = 3
"""Stems are not cut below this length, so that `sing` stays what it is."""


class Record(BaseModel):
    """Immutable, and no field that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Wording(Record):
    """The ways one thing is said."""

    patterns: Annotated[list[str], Field(min_length=1)]
    unless: list[str] = []
    """Innocent readings of the same words."""


class Matcher:
    """Finds one label in a text."""

    def __init__(self, wording: Wording, macros: dict[str, str]) -> None:
        self._patterns = [compile_pattern(pattern, macros, "") for pattern in wording.patterns]
        self._unless = [compile_pattern(pattern, macros, "") for pattern in wording.unless]

    def spans(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Matches between `start` and `end`, without those that overlap an innocent reading."""
        hits = [match.span() for pattern in self._patterns for match in pattern.finditer(text, start, end)]
        if not hits:
            return
        innocent = [match.span() for pattern in self._unless for match in pattern.finditer(text, start, end)]
        for low, high in sorted(set(hits)):
            if not any(low < stop and begin < high for begin, stop in innocent):
                yield low, high


def bounded(text: str) -> str:
    """`text` at the same length with long runs of white space filled up, so that no pattern searches them twice."""
    return _LONG_GAP.sub(lambda match: "\n" + "\0" * (len(match.group()) - 1), text)


def check_wording(wording: Wording, macros: dict[str, str], where: str) -> None:
    """Raise ValueError, with the place, for a pattern that does not compile."""
    for kind, patterns in (("patterns", wording.patterns), ("unless", wording.unless)):
        for index, pattern in enumerate(patterns):
            compile_pattern(pattern, macros, f"{where}.{kind}.{index}")


def expand(pattern: str, macros: dict[str, str], where: str) -> str:
    """Put the macros in."""

    def replace(match: re.Match[str]) -> str:
        if match[1] not in macros:
            raise ValueError(f"{where}: no macro {match[1]!r} above, only {', '.join(macros) or 'none'}")
        return f"(?:{macros[match[1]]})"

    return _MACRO.sub(replace, pattern)


def compile_pattern(pattern: str, macros: dict[str, str], where: str) -> re.Pattern[str]:
    """One pattern, ready to search."""
    expanded = expand(pattern, macros, where).replace("'", "['’]")
    expanded = re.sub(r" (?=[?*+{])", r"\\s", expanded).replace(" ", r"\s+")
    try:
        return re.compile(expanded, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{where}: not a regular expression ({error}): {pattern}") from error


def stem_of(word: str) -> str:
    """A word without its commonest English endings, in lower case."""
    word = word.lower().replace("’", "'").removesuffix("'s").removesuffix("'")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= MIN_STEM:
            return word.removesuffix(ending).removesuffix("e")
    return word.removesuffix("e") if len(word) > MIN_STEM else word
