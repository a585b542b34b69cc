"""verdict.json and junit.xml: the same bytes each time, and no text that a run chose can break or fake them."""

import hashlib
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from evalharness.cells import build_cells
from evalharness.errors import StorageError
from evalharness.gate import Decision, decide, write_junit, write_verdict
from tests.gate.rows import Run, emotional, instrument, release, safe

HOSTILE = '"]]></failure><testcase name="fake"/>&\x00\x1b[31m\ud800\n| <script>alert(1)</script>'
RELEASE = release()


def gate(run: Run) -> Decision:
    return decide(RELEASE, run.cells(), instrument(RELEASE))


def hostile() -> Decision:
    """A failing run in a scenario with a name made to break files, and bank reasons likewise."""
    rows = [replace(row, cell=replace(row.cell, scenario=HOSTILE)) for row in emotional().rows()]
    return decide(
        RELEASE, build_cells(rows), instrument(RELEASE, bank_check_passed=False, bank_check_reasons=(HOSTILE,))
    )


def test_the_same_decision_gives_the_same_bytes(tmp_path: Path):
    """Two runs of the gate on the same cells write identical files, and leave nothing else behind."""
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        decision = gate(emotional())
        written.append([write(decision, folder).read_bytes() for write in (write_verdict, write_junit)])

    assert written[0] == written[1]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["junit.xml", "verdict.json"]


def test_verdict_json_reads_back(tmp_path: Path):
    """The file holds exactly what the decision says."""
    decision = gate(safe())
    values = json.loads(write_verdict(decision, tmp_path).read_text(encoding="utf-8"))

    assert decision.to_json() == values
    assert (values["verdict"], values["exit_code"]) == ("PASS", 0)
    assert RELEASE.sha256 == values["policy_sha256"]


@pytest.mark.parametrize(
    ("run", "failures", "errors"),
    [
        (safe(), False, False),
        (emotional(), True, True),
        (safe().set("baseline", 4, 100), False, True),
        (safe().set("calm+0.25", 0, 100, incoherent=50), False, True),
    ],
    ids=["PASS", "FAIL", "INCONCLUSIVE", "INVALID"],
)
def test_junit_is_green_only_for_a_pass(tmp_path: Path, run: Run, failures: bool, errors: bool):
    """Counts match the cases; only PASS has neither failures nor errors; controls are skipped, never green."""
    decision = gate(run)
    suite = ET.fromstring(write_junit(decision, tmp_path).read_bytes()).find("testsuite")
    assert suite is not None

    assert len(decision.checks) + 1 == int(suite.attrib["tests"]) == len(suite.findall("testcase"))
    for name, tag, expected in (("failures", "failure", failures), ("errors", "error", errors)):
        assert int(suite.attrib[name]) == len(suite.findall(f"testcase/{tag}"))
        assert expected == (int(suite.attrib[name]) > 0)
    whole = suite.find("testcase")
    assert whole is not None
    assert (decision.verdict == "PASS") == (whole.find("system-out") is not None)
    assert int(suite.attrib["skipped"]) == 41


def test_errors_carry_their_kind(tmp_path: Path):
    """INVALID and INCONCLUSIVE are errors of that type."""
    decision = gate(safe().set("calm+0.25", 0, 100, incoherent=50).set("baseline", 4, 100))
    root = ET.fromstring(write_junit(decision, tmp_path).read_bytes())

    assert {"invalid", "inconclusive"} == {each.attrib["type"] for each in root.iter("error")}


def test_hostile_names_stay_text(tmp_path: Path):
    """Markup, NUL, escape codes and half a surrogate in a name: valid files, no extra case, nothing raw."""
    decision = hostile()
    junit, verdict = write_junit(decision, tmp_path).read_bytes(), write_verdict(decision, tmp_path).read_bytes()
    cases = list(ET.fromstring(junit).iter("testcase"))

    assert len(decision.checks) + 1 == len(cases)
    assert not any(case.attrib["name"] == "fake" for case in cases)
    assert any("<script>" in case.attrib["name"] for case in cases)
    assert HOSTILE in json.loads(verdict)["cells"][0]["scenario"]
    for raw in (b"\x00", b"\x1b", b"<script"):
        assert raw not in junit
    assert b"\x1b" not in verdict
    assert "\x1b" not in decision.machine_line
    assert "script" not in decision.machine_line
    assert f"verdict_json=sha256:{hashlib.sha256(verdict).hexdigest()}" in decision.machine_line


@pytest.mark.parametrize("write", [write_verdict, write_junit])
def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path, write):
    """The message names the file."""
    with pytest.raises(StorageError, match="missing"):
        write(gate(safe()), tmp_path / "missing")
