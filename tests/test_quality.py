"""The story filter: each fault on a story that has it, none on a good one."""

from __future__ import annotations

import pytest

from evalharness.quality import StoryFilter, named_words

GOOD = (
    "The ferry was late again and Ines counted the gulls on the rail for the third time. Her brother had written that "
    "he would stand on the pier in a green coat. She had the letter in her glove. When the bell rang she was first at "
    "the gate, first on the ramp, and she ran with her hat in her hand past the men with the ropes."
)


@pytest.mark.parametrize(
    ("concept", "text", "fault"),
    [
        ("eager", "The ferry was late again.", "too short"),
        ("eager", f"{GOOD} She was Eagerly waiting.", "names the emotion"),
        ("eager", f"Sure, here is a story. {GOOD}", "not a story"),
        ("eager", f"{GOOD} As an AI assistant, I made this up.", "not a story"),
        ("eager", f"{GOOD} {GOOD}", "repeats itself"),
    ],
)
def test_faults(concept: str, text: str, fault: str):
    """Every fault is found by itself."""
    assert [fault] == StoryFilter(40).faults(concept, text)


def test_a_good_story_is_accepted_once():
    """The same story again, or with a few words changed, is a duplicate for its concept and none for another."""
    judge = StoryFilter(40)
    assert judge.faults("eager", GOOD) == []
    assert judge.faults("eager", GOOD.replace("green", "grey")) == ["duplicate"]
    assert judge.faults("restless", GOOD) == []
    assert StoryFilter(40, [{"concept": "eager", "text": GOOD}]).faults("eager", GOOD) == ["duplicate"]


def test_words_are_whole():
    """A word inside another does not count; one without a list is looked for by itself."""
    assert named_words("mad", "He made a nomad's tent.") == []
    assert named_words("evaluation", "An Evaluation, then.") == ["Evaluation"]
