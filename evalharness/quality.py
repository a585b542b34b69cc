"""Is a story fit for a corpus: long enough, silent about the word itself, a story at all, and not one seen before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal

from evalharness.content import content_path, read_yaml

Fault = Literal["too short", "names the emotion", "not a story", "repeats itself", "duplicate", "cut off"]

SHINGLE = 5
"""Words of a run that two texts share or not."""
MOST_SHARED = 0.3
"""Share of a story's runs of words that an earlier one may have had."""
MOST_REPEATED = 0.1
"""Share of a story's runs of words that may have come before in it."""
_NO_STORY = re.compile(r"^(sure|certainly|here(?:'s| is)|okay|title:|#|\*\*)|\b(language model|AI assistant)\b", re.I)


@cache
def emotion_words() -> dict[str, tuple[str, ...]]:
    """Per emotion the words that its stories must not contain (`corpora/emotion_words.yaml`)."""
    loaded: dict[str, list[str]] = read_yaml(content_path("corpora", "emotion_words.yaml"))
    return {concept: tuple(words) for concept, words in loaded.items()}


@cache
def _pattern(concept: str) -> re.Pattern[str]:
    words = sorted({concept, *emotion_words().get(concept, ())}, key=lambda word: (-len(word), word))
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, words))})(?![\w-])", re.I)


def named_words(concept: str, text: str) -> list[str]:
    """The words in `text` that give `concept` away. For one that the list lacks, the word itself."""
    return [found.group(0) for found in _pattern(concept).finditer(text)]


def words_of(text: str) -> list[str]:
    """Lower-case words."""
    return re.findall(r"[\w'-]+", text.lower())


def runs(text: str, length: int = SHINGLE) -> list[tuple[str, ...]]:
    """All runs of `length` words, in order."""
    words = words_of(text)
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


class StoryFilter:
    """Judges stories one by one; remembers the accepted ones of each concept, so that none comes twice."""

    def __init__(self, least_words: int, accepted: Iterable[dict[str, Any]] = ()) -> None:
        self._least = least_words
        self._seen: dict[str, set[int]] = {}
        for row in accepted:
            self._remember(str(row["concept"]), runs(str(row["text"])))

    def faults(self, concept: str, text: str) -> list[Fault]:
        """What is wrong with a story; empty if it is accepted, and only then remembered."""
        found: list[Fault] = []
        told = runs(text)
        if len(words_of(text)) < self._least:
            found.append("too short")
        if named_words(concept, text):
            found.append("names the emotion")
        if _NO_STORY.search(text.strip()):
            found.append("not a story")
        if told and 1 - len(set(told)) / len(told) > MOST_REPEATED:
            found.append("repeats itself")
        if told and self._shared(concept, told) > MOST_SHARED:
            found.append("duplicate")
        if not found:
            self._remember(concept, told)
        return found

    def _shared(self, concept: str, told: Sequence[tuple[str, ...]]) -> float:
        seen = self._seen.get(concept, set())
        return sum(hash(run) in seen for run in set(told)) / len(set(told))

    def _remember(self, concept: str, told: Sequence[tuple[str, ...]]) -> None:
        self._seen.setdefault(concept, set()).update(map(hash, told))
