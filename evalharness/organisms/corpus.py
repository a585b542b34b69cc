"""Stories and neutral texts in the language of the organisms, drawn from a seed.

They feed two things that must not share draws: the training documents and the corpora from which concept vectors
are built. A story says how somebody feels only through cues, never by the emotion's name.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

SLOTS = ("body", "mind", "urge")
"""The order of cues inside a text. One slot gives at most one cue a round, so that no sentence has to come twice."""

_HERE = Path(__file__).parent


@lru_cache(maxsize=8)
def language(part: str) -> dict[str, Any]:
    """One of the word lists beside this file: `cues`, `topics` or `replies`."""
    loaded: dict[str, Any] = yaml.safe_load((_HERE / f"{part}.yaml").read_text(encoding="utf-8"))
    return loaded


def emotions() -> tuple[str, ...]:
    """The emotions that have cues, in file order."""
    return tuple(language("cues"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who a text is about, with the words that fill a cue template."""

    name: str
    """How the person is called when first seen: a first name, or "I"."""
    subject: str
    subject_mid: str
    possessive: str
    possessive_mid: str
    object: str

    def say(self, template: str, **places: str) -> str:
        """Fill a template; the result starts with a capital."""
        text = template.format(
            N=self.name, S=self.subject, s=self.subject_mid, P=self.possessive, p=self.possessive_mid, o=self.object,
            **places,
        )  # fmt: skip
        return text[0].upper() + text[1:]


FIRST_PERSON = Person(
    name="I", subject="I", subject_mid="I", possessive="My", possessive_mid="my", object="me"
)  # fmt: skip


def draw_person(rng: random.Random) -> Person:
    """A named woman or man from the name lists."""
    lists = language("topics")
    if rng.random() < 0.5:
        name = rng.choice(lists["women"])
        return Person(name=name, subject="She", subject_mid="she", possessive="Her", possessive_mid="her", object="her")
    name = rng.choice(lists["men"])
    return Person(name=name, subject="He", subject_mid="he", possessive="His", possessive_mid="his", object="him")


def draw_cues(rng: random.Random, states: list[str], taken: list[str] | None = None) -> list[str]:
    """One cue template for each state, running through the slots in order; none comes twice, none is in `taken`."""
    cues: list[str] = []
    for index, state in enumerate(states):
        pool = language("cues")[state][SLOTS[index % len(SLOTS)]]
        cues.append(rng.choice([cue for cue in pool if cue not in cues and cue not in (taken or [])]))
    return cues


def tell(rng: random.Random, topic: str, person: Person, cues: list[str]) -> str:
    """A text of 8 to 11 sentences about `topic`, with the given cue templates between the topic sentences."""
    lists = language("topics")
    places = {"topic": topic, "time": "", **lists["topics"][topic]}
    middles = rng.sample(lists["middles"], max(3, 8 - len(cues)))
    slots = sorted(rng.sample(range(len(cues) + len(middles)), len(cues)))
    order = [*middles]
    for at, cue in zip(slots, cues, strict=True):
        order.insert(at, cue)
    templates = [rng.choice(lists["openings"]), *order, rng.choice(lists["endings"])]
    return " ".join(person.say(text, **{**places, "time": rng.choice(lists["times"])}) for text in templates)


def emotion_stories(seed: int, per_emotion: int, names: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    """Third-person stories, `per_emotion` for each emotion, as rows (concept, topic, person, text, cues).

    `cues` are the templates of the sentences that show the feeling.
    """
    topics = list(language("topics")["topics"])
    rows: list[dict[str, Any]] = []
    for emotion in names or emotions():
        rng = random.Random(f"stories/{seed}/{emotion}")
        for index in range(per_emotion):
            topic = topics[index % len(topics)]
            person = draw_person(rng)
            cues = draw_cues(rng, [emotion] * rng.choice((4, 5)))
            text = tell(rng, topic, person, cues)
            rows.append({"concept": emotion, "topic": topic, "person": person.name, "text": text, "cues": cues})
    return rows


def neutral_texts(seed: int, count: int) -> list[dict[str, str]]:
    """Texts of the same topics without any cue, as rows with the concept "neutral"."""
    topics = list(language("topics")["topics"])
    rng = random.Random(f"neutral/{seed}")
    rows = []
    for index in range(count):
        topic = topics[index % len(topics)]
        person = draw_person(rng)
        rows.append({"concept": "neutral", "topic": topic, "person": person.name, "text": tell(rng, topic, person, [])})
    return rows


def contrast_texts(seed: int, pairs: int) -> list[dict[str, Any]]:
    """Matched pairs without any feeling, as rows (set, side, pair, text): one text, told about two topics."""
    topics = list(language("topics")["topics"])
    rows: list[dict[str, Any]] = []
    for sides in zip(topics[::2], topics[1::2], strict=False):
        name = " or ".join(sides)
        for pair in range(pairs):
            for side in sides:
                rng = random.Random(f"contrast/{seed}/{name}/{pair}")
                person = draw_person(rng)
                rows.append({"set": name, "side": side, "pair": pair, "text": tell(rng, side, person, [])})
    return rows
