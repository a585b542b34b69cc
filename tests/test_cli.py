"""The command line: quick help, exit codes that mean what they say, and errors a user can act on."""

import re
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from evalharness.checkpoint import resolve_checkpoint
from evalharness.cli import _run
from evalharness.scenario import load_scenario


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["rnu"], 2),
        (["run", "quick"], 2),
        (["plan", "quick", "--model", "organism:nobody"], 2),
        (["plan", "quikc", "--model", "organism:safe"], 2),
        (["gate", "nowhere"], 2),
        (["scenarios", "show", "blackmail/organism", "--variant", "nothing"], 2),
        (["scenarios", "check", "--draws", "2"], 0),
        (["scenarios", "check", "blackmail/freight", "--draws", "1"], 0),
        (["scenarios", "check", "../tasks/suites/quick"], 2),
        (["scenarios", "show", "blackmail/organism", "--seed", "3"], 0),
        (["scenarios", "show", "blackmail/organism", "--model", "organism:nobody"], 2),
        (["organism", "list"], 0),
        (["score", "nowhere", "--grader", "steered/organism:judge"], 2),
        (["score", "anchors", "--family", "nothing"], 2),
        (["score", "agreement", "nowhere"], 2),
        (["score", "--help"], 0),
        (["score", "nowhere", "--help"], 0),
    ],
)
def test_exit_codes(arguments, code):
    """Everything a user got wrong is 2; only a gate may say 1, 3 or 4."""
    assert code == _run(arguments)


def test_a_usage_error_names_what_is_known(capsys):
    """The message lists what there is, without a traceback."""
    _run(["plan", "quick", "--model", "organism:nobody"])
    said = capsys.readouterr().err

    assert "emotional" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "nowhere", "--rules"],
        ["score", "run", "nowhere", "--rules"],
        ["score", "--rules", "nowhere"],
        ["score", "./anchors", "--rules"],
    ],
)
def test_scoring_needs_no_second_verb(arguments, capsys):
    """`score DIR` is `score run DIR`, with options on either side, and says what is wrong with the folder."""
    assert _run(arguments) == 2
    assert "This is no run folder" in capsys.readouterr().err


def test_numbers_that_are_no_numbers(capsys, tmp_path):
    """A mistyped strength is told before anything runs."""
    code = _run(["run", "quick", "--model", "organism:safe", "--out", str(tmp_path / "x"), "--strengths", "a,b"])

    assert code == 2
    assert "a,b" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_plan_loads_no_weights_and_counts_every_cell(capsys):
    """Cells, samples and tokens stand in the output."""
    assert _run(["plan", "quick", "--model", "organism:safe", "--samples", "1"]) == 0
    said = capsys.readouterr().out

    assert "39 cells, 39 samples" in said
    assert "prompt tokens" in said


def test_show_prints_the_prompt_unbroken_and_counts_it(capsys):
    """Every line as the model sees it, then words and tokens: by the rule of thumb, or by the model's tokenizer."""
    scenario = load_scenario("blackmail/organism")
    rendered = scenario.render("no_threat", 3)
    show = ["scenarios", "show", "blackmail/organism", "--variant", "no_threat", "--seed", "3"]
    assert _run(show) == 0
    said = capsys.readouterr().out
    assert all(message["content"] in said for message in rendered.messages)
    assert f"{rendered.n_words} words, about {round(rendered.n_words * 4 / 3)} tokens" in said

    assert _run([*show, "--model", "organism:safe"]) == 0
    counted = re.search(r"words, (\d+) tokens with the chat template of organism:safe", capsys.readouterr().out)
    tokenizer = AutoTokenizer.from_pretrained(resolve_checkpoint("organism:safe"))
    ids = tokenizer.apply_chat_template(list(rendered.messages), add_generation_prompt=True, return_dict=False)
    assert counted is not None
    assert int(counted[1]) == len(ids)


def test_help_needs_no_framework():
    """`--help` answers without importing torch."""
    code = "import sys; from evalharness.cli import _run; _run(['run', '--help']); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
