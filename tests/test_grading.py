"""Nobody grades himself: not by name, not by folder, not as a copy, not through another provider."""

from __future__ import annotations

import shutil

import pytest

from evalharness.checkpoint import organism_folder
from evalharness.errors import UsageError
from evalharness.grading import grader_models, own_graders, require_other_model
from evalharness.runconfig import RunConfig


@pytest.mark.parametrize(
    ("model", "grader"),
    [
        ("organism:safe", "steered/organism:safe"),
        ("organism:safe", f"steered/{organism_folder() / 'safe'}"),
        ("someone/some-model", "hf/someone/some-model"),
        ("someone/some-model", "vllm/someone/some-model"),
    ],
)
def test_the_model_under_test_is_recognised(model, grader):
    """Whatever provider serves it."""
    assert (grader,) == own_graders(model, [grader, "steered/organism:judge"])
    with pytest.raises(UsageError, match=r"grade itself[\s\S]*--self-grade"):
        require_other_model(model, [grader], self_grade=False)
    require_other_model(model, [grader], self_grade=True)


def test_a_copy_under_another_name_is_recognised(checkpoint, tmp_path):
    """Equal weights are the same model; other weights of the same size are not."""
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint(), copy)

    assert own_graders(str(checkpoint()), [f"steered/{copy}"])
    assert not own_graders(str(checkpoint(seed=1)), [f"steered/{copy}"])


def test_another_model_may_grade():
    """Names that resolve to nothing here belong to somebody's API."""
    require_other_model("organism:safe", ["steered/organism:judge", "provider/some/long/name"], self_grade=False)


def test_an_unknown_provider_is_a_usage_error():
    """The message names the grader."""
    with pytest.raises(UsageError, match=r"nobody/model"):
        grader_models(["nobody/model"])


@pytest.mark.parametrize(
    ("given", "held", "stored"),
    [
        (None, (), None),
        ("a/b", ("a/b",), "a/b"),
        (["a/b"], ("a/b",), "a/b"),
        (("a/b", "c/d"), ("a/b", "c/d"), ["a/b", "c/d"]),
    ],
)
def test_one_grader_or_several(tmp_path, given, held, stored):
    """A string is a panel of one, and is stored as run folders have always stored it."""
    config = RunConfig.model_validate({"suite": "quick", "model": "organism:safe", "out": tmp_path, "grader": given})

    assert held == config.grader
    assert stored == config.identity["grader"]
