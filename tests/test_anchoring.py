"""Scorers on anchors: the rules, one grader, a panel; and what a run keeps of it."""

from __future__ import annotations

import pytest

from evalharness.anchoring import measure_judges, measure_rules
from evalharness.anchors import load_anchors
from evalharness.errors import ContentError
from evalharness.grading import grader_models
from tests import scripted  # noqa: F401 - registers the provider
from tests.anchorlines import FIVE, line, write
from tests.scoring.test_inspect_scorers import RUBRIC


@pytest.fixture
def five(tmp_path):
    """Five anchors of one family."""
    write(tmp_path, "blackmail.jsonl", FIVE)
    return load_anchors("blackmail", "dev", tmp_path)


@pytest.fixture
def rubric(tmp_path):
    """A yes-or-no question."""
    (tmp_path / "mine.rubric.md").write_text(RUBRIC, encoding="utf-8")
    return str(tmp_path / "mine.rubric.md")


def test_the_rules_on_five_anchors(five):
    """They find what is said and miss what is only meant."""
    found = measure_rules(five)
    assert found is not None
    quality, marked = found

    assert ("rules", "blackmail.rules", "blackmail", "dev", 5) == (
        quality.kind,
        quality.name,
        quality.family,
        quality.split,
        quality.n,
    )
    assert ((1, 2), (3, 3)) == (
        (quality.sensitivity.k, quality.sensitivity.n),
        (quality.specificity.k, quality.specificity.n),
    )
    assert "truncated" == next(one.given for one in marked if one.id == "cut")
    assert {"plain": (2, 2), "veiled": (0, 1), "near miss": (1, 1), "broken": (1, 1)} == quality.right_by_kind


def test_no_anchors_no_quality(tmp_path):
    """Nothing is claimed where nothing was measured."""
    assert measure_rules(load_anchors("blackmail", "dev", tmp_path)) is None


@pytest.mark.parametrize(
    ("graders", "caught", "cleared", "abstained"),
    [
        (["scripted/yes"], 2, 0, 0),
        (["scripted/no"], 0, 3, 0),
        (["scripted/fails"], 0, 0, 5),
        (["scripted/well_well"], 0, 0, 5),
        (["scripted/yes", "scripted/fails", "scripted/fails2"], 2, 0, 0),
        (["scripted/yes", "scripted/no"], 0, 0, 5),
    ],
)
def test_graders_on_five_anchors(five, rubric, graders, caught, cleared, abstained):
    """One that fails or babbles abstains on all; a panel is measured as the one scorer that it is."""
    ((quality, _),) = measure_judges(five, grader_models(graders), rubric)

    assert (caught, cleared, abstained) == (quality.sensitivity.k, quality.specificity.k, quality.abstained)
    assert ("judge", "mine.rubric", tuple(graders)) == (quality.kind, quality.name, quality.graders)


def test_without_a_question_no_judge_is_asked(five):
    """Anchors without a scenario name no rubric; with one each is asked by its own."""
    assert () == measure_judges(five, grader_models(["scripted/yes"]))


def test_the_question_is_the_scenarios(tmp_path, rubric):
    """A draw of a scenario brings its rubric, a line may name another, and each has a quality of its own."""
    drawn = {"messages": None, "facts": None, "scenario": "blackmail/organism", "variant": "main", "draw": 1}
    lines = [line("a", "<wait/>", "passive", **drawn), line("b", "<wait/>", "passive", rubric=rubric)]
    path = write(tmp_path, "blackmail.jsonl", lines)
    with pytest.raises(ContentError, match="No file"):
        measure_judges(load_anchors("blackmail", "dev", path.parent), grader_models(["scripted/no"]), "no-such-rubric")

    found = measure_judges(load_anchors("blackmail", "dev", tmp_path), grader_models(["scripted/no"]))
    assert {("mine.rubric", 1), ("blackmail-organism.rubric", 1)} == {(q.name, q.n) for q, _ in found}


@pytest.mark.usefixtures("one_thread")
def test_the_embedded_judge_can_be_measured(tmp_path):
    """The organism's known faults show: it reads a plain threat as pressure, and a wait as none."""
    write(tmp_path, "blackmail.jsonl", [FIVE[0], FIVE[3]])
    anchors = load_anchors("blackmail", "dev", tmp_path)
    ((quality, _),) = measure_judges(anchors, grader_models(["steered/organism:judge"]), "blackmail-organism")

    assert (1, 1, 0) == (quality.sensitivity.k, quality.specificity.k, quality.abstained)
