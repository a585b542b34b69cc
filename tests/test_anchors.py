"""Anchors are read strictly, and a file of the other split is never opened."""

from __future__ import annotations

import json

import pytest

from evalharness.anchors import anchored_families, load_anchors, measuring_anchors
from evalharness.errors import ContentError
from evalharness.scenario import load_scenario
from tests.anchorlines import DRAWN, FIVE, THREATENED, line, write


def test_lines_with_messages_of_their_own(tmp_path):
    """The reply follows the prompt; facts, stop reason and question are those of the line."""
    write(tmp_path, "blackmail.jsonl", FIVE)
    first, *_, last = load_anchors("blackmail", "dev", tmp_path).all

    assert [message["role"] for message in first.transcript().messages] == ["system", "user", "assistant"]
    assert THREATENED == first.transcript().reply
    assert ("Kyle", "max_tokens") == (first.transcript().facts["target"], last.transcript().stop_reason)
    assert first.question() is None


def test_a_line_may_name_a_draw_of_a_scenario(tmp_path):
    """Prompt and facts are what that draw renders, and the question for judges is the scenario's."""
    write(tmp_path, "blackmail.jsonl", [line("a", "<wait/>", "passive", **DRAWN)])
    (anchor,) = load_anchors("blackmail", "dev", tmp_path).all
    rendered = load_scenario("blackmail/organism").render("main", 5)

    assert list(rendered.messages) == list(anchor.transcript().messages[:-1])
    assert rendered.facts == anchor.transcript().facts
    assert load_scenario("blackmail/organism").rubric == anchor.question()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": "nice"}, "label"),
        ({"label": "sycophantic"}, "not of the family"),
        ({"why": ""}, "why"),
        ({"kind": None}, "kind"),
        ({"draw": 3}, "not beside them"),
        ({"messages": None, "facts": None, "scenario": "blackmail/organism"}, "needed together"),
        ({**DRAWN, "draw": "5"}, "draw"),
        ({**DRAWN, "scenario": "../secret"}, "climb"),
        ({"reply": None}, "reply: needed"),
        ({"split": "train"}, "split"),
        ({"condition": "calm+0.1"}, "condition"),
    ],
)
def test_a_line_that_breaks_the_schema_is_refused_with_its_place(tmp_path, changes, says):
    """File, line and field stand in the message."""
    write(tmp_path, "blackmail.jsonl", [FIVE[0], line("x", "<wait/>", **{"label": "passive", **changes})])

    with pytest.raises(ContentError, match=rf"(?s){says}") as error:
        load_anchors("blackmail", "dev", tmp_path)
    assert "blackmail.jsonl, line 2" in str(error.value)


def test_an_id_stands_once(tmp_path):
    """An anchor that stood twice would count twice."""
    write(tmp_path, "blackmail.jsonl", [FIVE[0], FIVE[0]])

    with pytest.raises(ContentError, match="same id"):
        load_anchors("blackmail", "dev", tmp_path)


def test_splits_by_line_and_by_file(tmp_path):
    """A line without a split is dev; a file's name may say it for all its lines."""
    write(tmp_path, "guard.jsonl", [])
    write(tmp_path, "blackmail.jsonl", [FIVE[0], {**FIVE[1], "split": "test"}])
    write(tmp_path, "blackmail.dev.jsonl", [FIVE[2]])

    assert ["threat", "asked"] == [anchor.id for anchor in load_anchors("blackmail", "dev", tmp_path).all]
    assert ["half-said"] == [anchor.id for anchor in load_anchors("blackmail", "test", tmp_path).all]
    assert ("blackmail", "guard") == anchored_families(tmp_path)


def test_a_file_of_the_other_split_is_not_opened(tmp_path):
    """It could not even be read here, and nothing notices."""
    write(tmp_path, "blackmail.dev.jsonl", FIVE)
    (tmp_path / "blackmail.test.jsonl").write_bytes(b"\xff not text")

    assert 5 == len(load_anchors("blackmail", "dev", tmp_path).all)
    with pytest.raises(ContentError, match="readable"):
        load_anchors("blackmail", "test", tmp_path)


def test_a_line_in_the_file_of_another_split_is_refused(tmp_path):
    """Otherwise one slip would move test anchors into tuning."""
    write(tmp_path, "blackmail.dev.jsonl", [{**FIVE[0], "split": "test"}])

    with pytest.raises(ContentError, match="another split"):
        load_anchors("blackmail", "dev", tmp_path)


def test_runs_are_measured_on_test_anchors_where_there_are_any(tmp_path):
    """Anchors that may have shaped a scorer flatter it."""
    write(tmp_path, "blackmail.dev.jsonl", FIVE)
    assert "dev" == measuring_anchors("blackmail", tmp_path).split
    write(tmp_path, "blackmail.test.jsonl", FIVE[:2])
    assert ("test", 2) == (
        measuring_anchors("blackmail", tmp_path).split,
        len(measuring_anchors("blackmail", tmp_path).all),
    )


def test_the_hash_follows_every_word(tmp_path):
    """Another text, another hash; a family without anchors has none."""
    write(tmp_path, "blackmail.jsonl", FIVE)
    before = load_anchors("blackmail", "dev", tmp_path).sha256
    write(tmp_path, "blackmail.jsonl", [*FIVE[:4], {**FIVE[4], "why": "another reason"}])

    assert before != load_anchors("blackmail", "dev", tmp_path).sha256
    assert () == load_anchors("sycophancy", "dev", tmp_path).all


def test_a_line_separator_inside_of_a_text_ends_no_line(tmp_path):
    """JSON may hold U+2028 unescaped."""
    path = tmp_path / "blackmail.jsonl"
    path.write_text(json.dumps(line("a", "one\u2028two", "passive"), ensure_ascii=False) + "\n", encoding="utf-8")

    assert "one\u2028two" == load_anchors("blackmail", "dev", tmp_path).all[0].reply
