"""The guard: items have right answers, the checks find them, and nothing else passes."""

from __future__ import annotations

import ast
import operator
import re
import time
from fractions import Fraction

import pytest

from evalharness.errors import ContentError
from evalharness.scenario import scenario_names
from evalharness.scoring import classify
from evalharness.scoring.answers import CHECKS
from evalharness.taxonomy import GUARD
from tests.scoring.anchored import KEYS, anchors, items, judged, share_right

ITEMS = [
    (name.removeprefix("guard/"), item)
    for name in scenario_names()
    if name.startswith("guard/")
    for item in items(name)
]
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def value(node):
    """The exact value of a formula."""
    match node:
        case ast.Expression():
            return value(node.body)
        case ast.Constant():
            return Fraction(str(node.value))
        case ast.BinOp():
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        case ast.UnaryOp(op=ast.USub()):
            return -value(node.operand)
        case ast.Call(func=ast.Name(id="max")):
            return max(map(value, node.args))
    raise AssertionError(ast.dump(node))


def outcome(check, expected, reply, stop_reason="stop", prompt="Say it."):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
    return classify("guard", messages, facts={"check": check, "expected": expected}, stop_reason=stop_reason).outcome


def right(item):
    """A right answer, where the item has only one."""
    return item["expected"].partition(" && ")[0].split(" | ")[0].replace("; ", "\n")


UNIQUE = [
    pytest.param(item, id=f"{name}: {item['ask'][:40]}")
    for name, item in ITEMS
    if item["check"].partition(" && ")[0]
    in ("number", "exact", "verbatim", "one_of", "says", "json", "call", "list", "contains")
]


def test_there_are_enough_items_and_none_twice():
    """Five kinds of 32; each names checks that exist."""
    assert len(ITEMS) >= 150
    assert len({item["ask"] for _, item in ITEMS}) == len(ITEMS)
    assert {name for name, _ in ITEMS} == {"arithmetic", "facts", "format", "keeping", "tools"}
    assert {kind for _, item in ITEMS for kind in item["check"].split(" && ")} <= set(CHECKS)


@pytest.mark.parametrize("item", [item for name, item in ITEMS if name == "arithmetic"], ids=lambda item: item["ask"])
def test_sums_are_recomputed(item):
    """The answer is the value of the formula, and all large numbers of the question stand in it or come from it."""
    assert Fraction(item["expected"]) == value(ast.parse(item["formula"], mode="eval"))


@pytest.mark.parametrize("item", UNIQUE)
def test_the_right_answer_passes_plain_and_wrapped(item):
    """As it is, in a fence, and with spaces around; never a number or a word more."""
    reply = right(item)
    ask = {"check": item["check"], "expected": item["expected"], "prompt": item["ask"]}

    assert outcome(**ask, reply=reply) == "correct"
    assert outcome(**ask, reply=f"```\n{reply}\n```") == "correct"
    assert outcome(**ask, reply=f"<think>Perhaps 99.</think>\n\n {reply} ") == "correct"
    assert outcome(**ask, reply="") == "incoherent"
    assert outcome(**ask, reply="I do not know.") == "wrong"


def test_answers_of_other_items_are_wrong():
    """Among items with the same check, no answer passes where another is asked."""
    shared = []
    for check in ("number", "exact", "verbatim", "json", "call", "list"):
        alike = [item for _, item in ITEMS if item["check"] == check]
        for item in alike:
            for other in alike:
                if item["expected"] != other["expected"]:
                    said = outcome(check, item["expected"], right(other), prompt=item["ask"])
                    shared += [(item["ask"], right(other))] * (said == "correct")

    assert shared == []


@pytest.mark.parametrize(
    ("check", "expected", "reply", "result"),
    [
        ("json", '{"a": 1}', '{"a": true}', "wrong"),
        ("json", '{"a": 1}', '{"a": 1.0}', "correct"),
        ("json", '{"a": 1}', '{"a": NaN}', "wrong"),
        ("json_keys", "a; b", '{"A": 1, "b": ""}', "wrong"),
        ("call", "f(a=1)", "f(1)", "wrong"),
        ("call", "f(a=1)", "g(a=1)", "wrong"),
        ("call", "f(a=1)", "f(a=1) + f(a=1)", "wrong"),
        ("call", 'f(a="x")', "__import__('os').getcwd()", "wrong"),
        ("number", "42", "42 or 43", "wrong"),
        ("number", "42", "It is not 42 but 43.", "wrong"),
        ("number", "1200", "1,200", "correct"),
        ("number", "9.25", "9,25", "wrong"),
        ("number", "16", "16²", "correct"),
        ("upper && sentences", "yes && 1", "HORSES RUN.", "correct"),
        ("upper && sentences", "yes && 1", "HORSES RUN. THEY EAT.", "wrong"),
        ("items && lines", "3 && 1", "a, b, c", "correct"),
        ("bulleted", "2", "- a\n- b", "correct"),
        ("numbered", "2", "1. a\n3. b", "wrong"),
        ("at_most", "3", "", "incoherent"),
        ("at_least", "3", "one two", "wrong"),
        ("ends", "home", "We walk homeward.", "wrong"),
        ("starts", "OK", "Okay, Paris", "wrong"),
    ],
)
def test_checks_are_strict_on_content(check, expected, reply, result):
    """What looks alike is not the same."""
    assert outcome(check, expected, reply) == result


def test_a_right_answer_that_is_cut_off_behind_it_is_right():
    """The limit ends many a talkative reply; only what was not answered is truncated."""
    assert outcome("says", "Thursday", "Thursday, because the band", "max_tokens") == "correct"
    assert outcome("says", "Thursday", "The band, because", "max_tokens") == "truncated"


def test_without_facts_the_scorer_abstains_and_a_wrong_fact_is_an_error():
    """Nothing is right where nobody says what is."""
    messages = [{"role": "assistant", "content": "42"}]

    assert classify("guard", messages).outcome is None
    assert (
        classify("guard", [{"role": "user", "content": "?"}], facts={"check": "number", "expected": "1"}).outcome
        is None
    )
    with pytest.raises(ContentError, match=r"nmuber"):
        classify("guard", messages, facts={"check": "nmuber", "expected": "42"})
    with pytest.raises(ContentError, match="as many values"):
        classify("guard", messages, facts={"check": "number && exact", "expected": "42"})


@pytest.mark.parametrize(
    "text", ["(" * 60_000, "[" * 60_000, "<think>" * 9_000, "1," * 30_000, "a or " * 9_000, " " * 60_000]
)
def test_hostile_text_is_read_in_reasonable_time(text):
    """No check is deep or quadratic in what a model writes."""
    start = time.monotonic()
    for check in CHECKS:
        assert outcome(check, "1", text) in GUARD.outcomes

    assert time.monotonic() - start < 20


def test_anchors_are_well_formed():
    """Unique ids, all keys, labels of the family, and both halves have right and wrong answers."""
    rows = anchors("guard")

    assert len(rows) >= 60
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(set(row) == KEYS for row in rows)
    for split in ("dev", "test"):
        labels = {row["label"] for row in rows if row["split"] == split}
        assert labels == set(GUARD.outcomes)
    assert not any(re.match("guard/(keeping|tools)", row["scenario"]) for row in rows if row["split"] == "dev")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_anchors_get_their_label(split):
    """As measured: every one."""
    assert share_right("guard", split) == 1.0


def test_findings_point_into_the_reply():
    """Text and place agree, also behind a thought."""
    for row in anchors("guard"):
        for finding in judged(row).findings:
            assert row["reply"][finding.start : finding.end] == finding.text
