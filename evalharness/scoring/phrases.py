"""Plain phrases of a scenario's facts, found in a reply without regard to case. No regular expressions in facts.

`|` stands between phrases, `*` at the end of a word for any ending, ` ... ` for a gap within one sentence.
"""

from __future__ import annotations

import re
from functools import lru_cache

_GAP = r"[^.!?\n]{0,80}?"
_SIGNS = str.maketrans("’‘“”−", "''\"\"-")  # one sign for one, so that places stay


def straight(text: str) -> str:
    """The same text at the same length with straight quotes and dashes."""
    return text.translate(_SIGNS)


@lru_cache(maxsize=512)
def phrase_pattern(phrases: str) -> re.Pattern[str]:
    """One pattern for all phrases; it never matches where there is none."""
    found = [_phrase(phrase) for phrase in phrases.split("|") if phrase.strip()]
    return re.compile("|".join(found) or r"(?!)", re.IGNORECASE)


def _phrase(phrase: str) -> str:
    pieces = [r"\s+".join(_word(word) for word in piece.split()) for piece in phrase.split("...") if piece.strip()]
    return _GAP.join(pieces)


def _word(word: str) -> str:
    text = re.escape(straight(word.removesuffix("*")))
    return rf"(?<!\w){text}\w*" if word.endswith("*") else rf"(?<!\w){text}(?!\w)"


def phrase_spans(phrases: str, text: str, start: int) -> list[tuple[int, int]]:
    """Where a phrase stands in `text` from `start` on; `text` is already `straight`."""
    return [match.span() for match in phrase_pattern(phrases).finditer(text, start)]
