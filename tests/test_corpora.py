"""The frozen corpora hold what they say: every emotion, balanced topics, no word that gives it away, no copies."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from evalharness.content import content_path, load_record, read_yaml
from evalharness.corpora import SHIPPED, corpus, load_stories, read_rows
from evalharness.errors import ContentError
from evalharness.organisms.corpus import contrast_texts
from evalharness.quality import emotion_words, named_words, runs, words_of
from evalharness.selfwritten import Topics
from evalharness.suite import BankSpec

STORIES = list(corpus("emotion_stories"))
CONTRAST = list(corpus("contrast_sets"))
FIRST_PERSON = re.compile(r"\b(I|I'm|I'd|I've|I'll|me|my|myself)\b")
IMPLICIT = {
    "happy", "inspired", "loving", "proud", "calm", "desperate",
    "angry", "guilty", "sad", "afraid", "nervous", "surprised",
}  # fmt: skip


def test_every_emotion_has_its_stories():
    """171 emotions, 12 stories each, every one with its own list of forbidden words."""
    counts = Counter(story["concept"] for story in STORIES)
    assert len(counts) == 171
    assert set(counts.values()) == {12}
    assert set(counts) == set(emotion_words())


def test_topics_and_persons_are_balanced():
    """24 topics of the shipped list, used alike, in first and third person alike, by every emotion."""
    topics = Counter(story["topic"] for story in STORIES)
    assert set(topics) == set(load_record(Topics, content_path("corpora", "topics.yaml")).stories)
    assert len(topics) == 24
    assert max(topics.values()) - min(topics.values()) <= 1
    by_emotion = defaultdict(list)
    for story in STORIES:
        by_emotion[story["concept"]].append(story)
    for stories in by_emotion.values():
        assert len({story["topic"] for story in stories}) == 12
        assert Counter(story["person"] for story in stories) == {"first": 6, "third": 6}


def test_stories_are_long_enough_and_in_their_person():
    """At least 90 words; who tells it is who the row says."""
    for story in STORIES:
        told = re.sub(r'"[^"]*"', " ", story["text"])
        assert len(story["text"].split()) >= 90, story
        assert (FIRST_PERSON.search(told) is not None) == (story["person"] == "first"), story


def test_no_story_names_its_emotion():
    """Neither the word, nor its forms, nor the near synonyms of its list; nor the word emotion."""
    for story in STORIES:
        assert named_words(story["concept"], story["text"]) == [], story
        assert not re.search(r"\bemotion", story["text"], re.IGNORECASE), story


def test_no_copies_and_no_stock_phrases():
    """No run of six words in more than five stories, and no two stories that share a tenth of their runs."""
    where = defaultdict(set)
    for number, story in enumerate(STORIES):
        for run in runs(story["text"], 6):
            where[run].add(number)
    assert max(map(len, where.values())) <= 5
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in where.values():
        ordered = sorted(numbers)
        shared.update((a, b) for place, a in enumerate(ordered) for b in ordered[place + 1 :])
    assert max(shared.values()) <= 10


def test_openings_differ():
    """Hardly any three opening words come again, and within an emotion no first word more than three times."""
    openings = Counter(" ".join(words_of(story["text"])[:3]) for story in STORIES)
    assert max(openings.values()) <= 15
    assert len(openings) >= 0.8 * len(STORIES)
    first = Counter((story["concept"], words_of(story["text"])[0]) for story in STORIES)
    assert max(first.values()) <= 3


def test_lexicon_holds_the_word_itself():
    """Every emotion's list has the emotion and several more forms, without doubles."""
    for concept, words in emotion_words().items():
        assert concept in words
        assert len(words) >= 5, concept
        assert len(set(words)) == len(words), concept


def test_neutral_dialogues():
    """At least 200, of ten kinds alike, whole exchanges, and none of the 171 words."""
    rows = list(corpus("neutral_dialogues"))
    kinds = Counter(row["kind"] for row in rows)
    assert len(rows) >= 200
    assert len(kinds) == 10
    assert min(kinds.values()) >= 20
    openings: Counter[str] = Counter()
    labels = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, emotion_words()))})(?![\w-])", re.IGNORECASE)
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        told = roles[1:] if roles[0] == "system" else roles
        assert told == ["user", "assistant"] * (len(told) // 2)
        assert 2 <= len(told) // 2 <= 6
        text = " ".join(message["content"] for message in row["messages"])
        assert len(text.split()) >= 100
        assert labels.search(text) is None, labels.search(text)
        assert "!" not in text
        user = next(message["content"] for message in row["messages"] if message["role"] == "user")
        openings[" ".join(words_of(user)[:4])] += 1
    assert max(openings.values()) == 1


def test_contrast_sets_are_matched():
    """At least 12 sets of 24 pairs; the two texts of a pair differ in few words, and all differ in some."""
    pairs: dict[tuple[str, int], dict[str, list[str]]] = defaultdict(dict)
    for row in CONTRAST:
        pairs[row["set"], row["pair"]][row["side"]] = row["text"].split()
    sizes = Counter(name for name, _ in pairs)
    assert len(sizes) >= 12
    assert set(sizes.values()) == {24}
    for key, sides in pairs.items():
        one, other = sides.values()
        assert min(len(one), len(other)) >= 90, key
        alike = sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())
        assert 1 <= max(len(one), len(other)) - alike <= 20, key


def test_implicit_scenarios_name_nothing():
    """At least five for each of the paper's twelve emotions, and no word of any list of the twelve."""
    rows = list(corpus("implicit_scenarios"))
    counts = Counter(row["concept"] for row in rows)
    assert set(counts) == IMPLICIT
    assert min(counts.values()) >= 5
    for row in rows:
        assert named_words(row["concept"], row["text"]) == [], row


def test_numeric_templates():
    """Six templates with rising values and a direction for emotions that have stories."""
    templates = read_yaml(content_path("corpora", "numeric_templates.yaml"))["templates"]
    assert len(templates) == 6
    for template in templates:
        assert "{x}" in template["text"]
        assert template["values"] == sorted(template["values"])
        assert set(template["expected"]) <= set(emotion_words())
        assert set(template["expected"].values()) <= {"up", "down"}


def test_organism_contrasts_are_matched():
    """The organisms' own pairs: the same text about two topics, of the same number of sentences."""
    rows = contrast_texts(3, 4)
    assert rows == contrast_texts(3, 4)
    assert len({row["set"] for row in rows}) >= 12
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert (one["set"], one["pair"]) == (other["set"], other["pair"])
        assert one["side"] != other["side"]
        assert one["text"].count(".") == other["text"].count(".")


def test_a_changed_corpus_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A file that is not the one the index was written for does not load."""
    text = content_path("corpora", "implicit_scenarios.jsonl").read_text(encoding="utf-8")
    for name in ("index.yaml", "implicit_scenarios.jsonl"):
        (tmp_path / name).write_bytes(content_path("corpora", name).read_bytes())
    (tmp_path / "implicit_scenarios.jsonl").write_text(text.replace("bandage", "plaster"), encoding="utf-8")
    monkeypatch.setattr("evalharness.corpora.content_path", lambda _, name: tmp_path / name)
    with pytest.raises(ContentError, match="changed or damaged"):
        corpus("implicit_scenarios")


def test_own_files_and_wrong_names(tmp_path: Path):
    """JSONL and Parquet load; a missing field, a missing file and an unknown corpus say what was expected."""
    path = tmp_path / "own.jsonl"
    path.write_text('{"concept": "calm", "topic": "sea", "text": "Waves."}\n', encoding="utf-8")
    assert next(iter(load_stories(BankSpec(stories=str(path)))))["text"] == "Waves."
    read_rows(str(path), ()).to_parquet(tmp_path / "own.parquet")
    assert len(load_stories(BankSpec(stories=str(tmp_path / "own.parquet")))) == 1
    with pytest.raises(ContentError, match="lacks a field"):
        read_rows(str(path), ("person",))
    with pytest.raises(ContentError, match=r"nothing\.jsonl"):
        load_stories(BankSpec(stories="nothing.jsonl"))
    with pytest.raises(ContentError, match=", ".join(SHIPPED[:2])):
        corpus("jokes")
