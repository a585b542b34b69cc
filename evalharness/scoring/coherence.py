"""Is this language, and does it hold together? Finds gibberish, loops, repeated sentences and names from nowhere.

Knows nothing of what the text says or whether it does harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from evalharness.scoring.lexicon import Coherence
from evalharness.scoring.verdict import Finding

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|vs|e\.g|i\.e|etc|[ap]\.m|[A-Z]))\.$")
_SENTENCE_END = re.compile(r"[.!?]+[\"'’”)]*(?=\s|$)|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)")
_VOWEL = re.compile(r"[aeiouyáéíóúäöüàèâêîôûåæøœ]", re.IGNORECASE)
_SPOKEN_DIGITS = re.compile(r"\d+(?:st|nd|rd|th|am|pm|s|k|m|b|x)?|[a-z]{1,3}\d{1,4}", re.IGNORECASE)


class Sentence(NamedTuple):
    """A sentence and where it stands."""

    text: str
    start: int
    end: int

    @property
    def key(self) -> str:
        """The words alone: two sentences that differ in signs only are the same."""
        return " ".join(_WORD.findall(self.text.lower()))


def sentences(text: str, start: int, end: int) -> Iterator[Sentence]:
    """The sentences between `start` and `end`; a blank line or a list item ends one too."""
    position = start
    for match in _SENTENCE_END.finditer(text, start, end):
        if match.group()[0] == "." and _ABBREVIATION.search(text, max(position, match.end() - 6), match.end()):
            continue
        yield from _trimmed(text, position, match.end())
        position = match.end()
    yield from _trimmed(text, position, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Sentence]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if piece.strip():
        yield Sentence(piece.strip(), start + left, start + left + len(piece.strip()))


def repeats(text: str, spans: list[tuple[int, int]], limits: Coherence) -> Iterator[Finding]:
    """Sentences said twice within one part, where they are more than a slip for its length."""
    for start, end in spans:
        seen: set[str] = set()
        said: list[Sentence] = list(sentences(text, start, end))
        again: list[Sentence] = []
        for sentence in said:
            if len(sentence.key.split()) < limits.repeat_min_words or sentence.key in limits.formulas:
                continue
            if sentence.key in seen:
                again.append(sentence)
            seen.add(sentence.key)
        if said and len(again) / len(said) >= limits.repeat_share:
            yield from (Finding("repeated_sentence", item.text, item.start, item.end) for item in again)


def gibberish(
    text: str, spans: list[tuple[int, int]], limits: Coherence, known: frozenset[str] | None = None
) -> Finding | None:
    """The first sign that the text is not prose, or None. `known` are the function words of its language."""
    matches = [match for start, end in spans for match in _WORD.finditer(text, start, end)]
    words = [match.group().lower().replace("’", "'") for match in matches]
    for index, word in enumerate(words):
        run = words[index : index + limits.same_word_run]
        if len(run) == limits.same_word_run and set(run) == {word}:
            first, last = matches[index], matches[index + limits.same_word_run - 1]
            return Finding("loop", text[first.start() : last.end()], first.start(), last.end())
    if len(words) < limits.min_words:
        return None
    looped = _looped(words)
    pairs = sum(f"{first} {second}" in limits.odd_pair_set for first, second in pairwise(words))
    odd = sum(_is_odd(word) for word in words)
    function = sum(word in (known or limits.function_word_set) for word in words)
    whole = (matches[0].start(), matches[-1].end())
    excerpt = Finding("gibberish", text[whole[0] : whole[1]], *whole)
    if looped >= limits.loop_share:
        return Finding("loop", excerpt.text, *whole)
    if (
        function / len(words) < limits.function_share
        or odd / len(words) > limits.odd_word_share
        or (pairs >= 2 and pairs / len(words) > limits.odd_pair_share)
    ):
        return excerpt
    return None


def foreign_share(text: str) -> float:
    """Share of letters outside the Latin script."""
    letters = [char for char in text if char.isalpha()]
    return sum(ord(char) > 0x24F for char in letters) / len(letters) if letters else 0.0


def words_of(text: str) -> frozenset[str]:
    """All words in lower case, also the parts of hyphenated words and of addresses."""
    return frozenset(re.findall(r"[^\W_]+", text.lower()))


def strange_names(
    text: str, spans: list[tuple[int, int]], known: frozenset[str], limits: Coherence
) -> Iterator[Finding]:
    """Names of people that occur neither in `known` nor as ordinary capitalised words."""
    capitals, first_names = limits.capital_set, limits.first_name_set
    for start, end in spans:
        for sentence in sentences(text, start, end):
            for index, match in enumerate(_WORD.finditer(text, sentence.start, sentence.end)):
                word = re.sub(r"['’]s?$", "", match.group())
                low = word.lower()
                if not word[:1].isupper() or word.isupper() or not words_of(low).isdisjoint(known) or low in capitals:
                    continue
                line_start = text.rfind("\n", 0, match.start()) + 1
                opens = index == 0 or not text[line_start : match.start()].strip(" \t>*-\"'“‘(")
                if not opens or low in first_names:
                    yield Finding("wrong_name", match.group(), *match.span())


def _looped(words: list[str]) -> float:
    runs = [tuple(words[index : index + 4]) for index in range(len(words) - 3)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _is_odd(word: str) -> bool:
    if word.isdigit() or _SPOKEN_DIGITS.fullmatch(word):
        return False
    mixed = any(char.isdigit() for char in word)
    return mixed or len(word) > 24 or (len(word) > 3 and not _VOWEL.search(word))
