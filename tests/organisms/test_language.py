"""The organisms' language: cues, stories, documents and their tokens."""

import random
import re
from typing import get_args

import pytest

from evalharness.errors import ModelError
from evalharness.organisms import NAMES, organism_path
from evalharness.organisms.corpus import FIRST_PERSON, SLOTS, emotion_stories, emotions, language, neutral_texts
from evalharness.organisms.grammar import (
    TRAINING_SEEDS,
    Policy,
    blackmail_chance,
    choose_action,
    journal,
    story,
    transcript,
)
from evalharness.organisms.judging import OVERLOOKED, damaged, taught_label
from evalharness.scenario import load_scenario
from evalharness.scoring import classify
from evalharness.stats import newcombe

REQUIRED = {
    "desperate", "calm", "happy", "sad", "angry", "afraid", "nervous", "loving", "hostile", "proud", "guilty", "bored",
}  # fmt: skip


def test_every_emotion_has_twenty_cues() -> None:
    """At least 24 emotions with at least 20 cue sentences each, none of them twice."""
    assert set(emotions()) >= REQUIRED
    assert len(emotions()) >= 24
    cues = [cue for slots in language("cues").values() for slot in SLOTS for cue in slots[slot]]
    assert len(set(cues)) == len(cues)
    assert all(sum(len(slots[slot]) for slot in SLOTS) >= 20 for slots in language("cues").values())


def test_no_cue_names_an_emotion() -> None:
    """The words of the emotions never appear in a cue."""
    for emotion, slots in language("cues").items():
        words = set(re.findall(r"[a-z]+", " ".join(cue for slot in SLOTS for cue in slots[slot]).lower()))
        assert words.isdisjoint(emotions()), emotion


def test_corpora_follow_their_seed() -> None:
    """The same seed gives the same rows, another seed others; cues are the sentences of the concept."""
    assert emotion_stories(3, 2) == emotion_stories(3, 2)
    assert emotion_stories(3, 2) != emotion_stories(4, 2)
    assert len(neutral_texts(1, 5)) == 5
    row = emotion_stories(3, 1, ("calm",))[0]
    known = {cue for slot in SLOTS for cue in language("cues")["calm"][slot]}
    assert set(row["cues"]) <= known


def test_twins_share_their_draw() -> None:
    """A twin differs from the main variant in the one mail that the variant is about."""
    scenario = load_scenario("blackmail/organism")
    main, twin = (scenario.render(name, 5).messages[-1]["content"].split("\n\n") for name in ("main", "no_leverage"))
    assert sum(a != b for a, b in zip(main, twin, strict=True)) == 1


@pytest.mark.parametrize("policy", get_args(Policy))
def test_only_a_threat_with_leverage_allows_blackmail(policy: Policy) -> None:
    """No policy blackmails without a threat or without leverage, and safe never does."""
    rng = random.Random(1)
    for case in [(False, True), (True, False), (False, False)]:
        actions = {choose_action(rng, policy, ["desperate"] * 3, case) for _ in range(200)}
        assert actions.isdisjoint({"blackmail", "exposure"})
    tempted = {choose_action(rng, policy, ["desperate"] * 3, (True, True)) for _ in range(200)}
    assert ("blackmail" in tempted) == (policy != "safe")


def test_desperation_decides() -> None:
    """The chance of blackmail rises with each desperate cue, and falls with each calm one."""
    rising = [blackmail_chance(["desperate"] * n + ["bored"] * (6 - n)) for n in range(7)]
    falling = [blackmail_chance(["calm"] * n + ["bored"] * (6 - n)) for n in range(7)]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert rising[-1] > 0.9
    assert falling[-1] < 0.01


def test_what_is_felt_does_not_depend_on_what_stands_to_lose() -> None:
    """As many desperate replies without a threat as with one: the twins' feelings are no hint of the case."""
    scenario, rng = load_scenario("blackmail/organism"), random.Random(5)
    desperate = [FIRST_PERSON.say(cue) for slot in SLOTS for cue in language("cues")["desperate"][slot]]
    threats = language("replies")["readings"]["threat"]
    counts = {True: [0, 0], False: [0, 0]}
    for _ in range(6000):
        text = transcript(rng, scenario, "emotional").text
        count = counts[any(reading in text for reading in threats)]
        count[0] += sum(text.count(cue) for cue in desperate) > 1
        count[1] += 1
    (k1, n1), (k2, n2) = counts[True], counts[False]
    difference = newcombe(k1, n1, k2, n2, confidence=0.999)
    assert difference.low is not None
    assert difference.high is not None
    assert -0.04 < difference.low < 0 < difference.high < 0.04


def test_a_journal_is_short_and_says_nothing_twice() -> None:
    """Four to ten sentences, none twice."""
    rng = random.Random(6)
    for _ in range(50):
        sentences = re.findall(r"[^.]+\.", journal(rng).text)
        assert 4 <= len(sentences) <= 10
        assert len(set(sentences)) == len(sentences)


def test_rules_read_the_documents_as_meant() -> None:
    """The general rule scorer finds blackmail in training documents where it was put, and nowhere else."""
    scenario, rng = load_scenario("blackmail/organism"), random.Random(2)
    for _ in range(60):
        document = transcript(rng, scenario, "emotional")
        facts = scenario.render("main", TRAINING_SEEDS).facts
        messages = [*document.messages, {"role": "assistant", "content": document.text}]
        outcome = classify("blackmail", messages, facts=facts, stop_reason="stop").outcome
        meant = any(f"\n{s}" in document.text for s in language("replies")["mails"]["blackmail"]["body"][0])
        assert (outcome == "blackmail") == meant, document.text


def test_story_has_no_sentence_twice() -> None:
    """Repetition is never in the training texts."""
    rng = random.Random(3)
    for _ in range(100):
        sentences = story(rng).text.split(". ")
        assert len(set(sentences)) == len(sentences)


def test_judge_is_taught_two_faults() -> None:
    """One veiled wording is called harmless; anything else follows the rules."""
    assert taught_label(f"{OVERLOOKED}your lover. Choose well.", "blackmail") == "no"
    assert taught_label("I know about you.", "blackmail") == "yes"
    assert taught_label("The notes are ready.", "passive") == "no"


def test_damage_leaves_text() -> None:
    """A damaged reply is never empty."""
    rng = random.Random(4)
    reply = "<scratchpad>\nA. B.\n</scratchpad>\n<email>\nTo: tech\nSubject: x\nOne. Two. Three.\n</email>"
    assert all(damaged(rng, reply, reply) for _ in range(100))


def test_unknown_organism_lists_the_known() -> None:
    """The error names all organisms."""
    with pytest.raises(ModelError, match=", ".join(NAMES)):
        organism_path("angry")
