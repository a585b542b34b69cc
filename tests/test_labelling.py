"""People's labels: the export is blind, the way back is strict, and agreement is that of hand-made columns."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evalharness.agreement import Column, compare_raters
from evalharness.assess import assess
from evalharness.conductor import run
from evalharness.errors import ContentError, UsageError
from evalharness.gate import load_policy
from evalharness.labelling import Draw, agreement_of, export_blind, import_people
from evalharness.ledger import Ledger
from evalharness.report.label_page import UNSURE, Item, label_page
from evalharness.runfolder import RunFolder
from tests import scripted  # noqa: F401 - registers the provider
from tests.scoredrun import config

RELEASE = load_policy("release")


@pytest.fixture(scope="module")
def original(tmp_path_factory, one_thread):  # noqa: ARG001
    """One judged run."""
    folder = tmp_path_factory.mktemp("labelled")
    run(config(folder, folder / "run", samples=6, grader=["scripted/yes", "scripted/no", "scripted/no_"]))
    return folder / "run"


@pytest.fixture
def finished(original, tmp_path) -> RunFolder:
    """A copy of it."""
    shutil.copytree(original, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def answer(items: list[dict[str, Any]], path: Path, label: str = "passive", **more: str) -> Path:
    path.write_text("".join(json.dumps({"id": item["id"], "label": label, **more}) + "\n" for item in items))
    return path


def test_the_export_is_blind_and_the_key_stays_behind(finished, tmp_path):
    """No sample id, condition, seed, outcome or judge's word in what is handed out; the key finds each sample again."""
    found = export_blind(finished, tmp_path / "out", Draw(size=12, seed=4), RELEASE)
    items, key = lines(found.lines), json.loads(found.key.read_text())["items"]

    assert {"transcripts.jsonl", "label.html"} == {path.name for path in (tmp_path / "out").iterdir()}
    assert [item["id"] for item in items] == list(key)
    assert {"choices", "family", "id", "prompt", "reply", "stop_reason"} == set(items[0])
    for text in (found.lines.read_text(), found.page.read_text()):
        assert not any(word in text for word in ("baseline", "condition", "scripted", *key.values()))
    assert 12 == len(set(key.values()))
    assert sorted(key.values()) != list(key.values())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_draw(finished, tmp_path):
    """An export can be made again, and two exports never share an item's name."""
    made = [
        export_blind(finished, tmp_path / name, Draw(size=5, seed=seed), RELEASE)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]

    assert made[0].lines.read_bytes() == made[1].lines.read_bytes()
    assert made[0].page.read_bytes() == made[1].page.read_bytes()
    assert not {item["id"] for item in lines(made[0].lines)} & {item["id"] for item in lines(made[2].lines)}


@pytest.mark.parametrize("per", ["outcome", "cell"])
def test_shares_are_equal_where_they_can_be(finished, tmp_path, per):
    """Two of each group before a third of any."""
    rows = {row.id: row.outcome if per == "outcome" else row.cell.variant for row in run_rows(finished)}
    groups = sorted(set(rows.values()))
    found = export_blind(finished, tmp_path / "out", Draw(size=len(groups), seed=0, per=per), RELEASE)
    key = json.loads(found.key.read_text())["items"]

    assert groups == sorted(rows[sample] for sample in key.values())


def run_rows(folder: RunFolder):
    return assess(folder, RELEASE).rows


def test_an_export_may_not_lie_beside_its_key(finished):
    """Whoever labels must not be handed the run folder."""
    with pytest.raises(UsageError, match="beside its key"):
        export_blind(finished, finished.root / "labels" / "out", Draw(size=3), RELEASE)


def test_labels_come_back_as_a_column(finished, tmp_path):
    """By sample id, in the ledger and the manifest; a second import adds to the first."""
    items = lines(export_blind(finished, tmp_path / "out", Draw(size=6), RELEASE).lines)
    import_people(finished, answer(items[:4], tmp_path / "one.jsonl", note="a <b>note</b>"), "ann", RELEASE)
    path, read = import_people(finished, answer(items[3:], tmp_path / "two.jsonl"), "ann", RELEASE)
    manifest = json.loads((finished.root / "manifest.json").read_text())["files"]
    ledger = Ledger(finished.ledger)

    assert (3, 6) == (read, len(lines(path)))
    assert all(label["id"].startswith("blackmail-organism/") for label in lines(path))
    assert ("labels", "ann", 6) == tuple(ledger.lines()[-1][name] for name in ("event", "who", "labels"))
    assert manifest["labels/ann.jsonl"]["sha256"] == ledger.lines()[-1]["labels_sha256"]
    assert ledger.intact()


@pytest.mark.parametrize(
    ("who", "change", "says"),
    [
        ("Ann B", {}, "rater's name"),
        ("rules", {}, "rater's name"),
        ("../x", {}, "rater's name"),
        ("ann", {"label": "evil"}, "no outcome"),
        ("ann", {"id": "0badf00d-0001"}, "not handed out"),
        ("ann", {"label": 1}, "readable"),
        ("ann", {"why": "x"}, "readable"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_whole(finished, tmp_path, who, change, says):
    """Nothing is written, and the ledger says nothing."""
    items = lines(export_blind(finished, tmp_path / "out", Draw(size=3), RELEASE).lines)
    labels = [{"id": item["id"], "label": "passive"} for item in items]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(label) + "\n" for label in [*labels[:2], {**labels[2], **change}]))

    with pytest.raises(UsageError, match=says):
        import_people(finished, path, who, RELEASE)
    assert not list(finished.labels.glob("*.jsonl"))
    assert "labels" not in {line["event"] for line in Ledger(finished.ledger).lines()}


def test_a_second_opinion_of_the_same_person_is_not_swallowed(finished, tmp_path):
    """A changed label is an error; twice in one file too."""
    items = lines(export_blind(finished, tmp_path / "out", Draw(size=2), RELEASE).lines)
    import_people(finished, answer(items, tmp_path / "one.jsonl"), "ann", RELEASE)

    with pytest.raises(UsageError, match="differently"):
        import_people(finished, answer(items, tmp_path / "two.jsonl", "refusal"), "ann", RELEASE)
    with pytest.raises(ContentError, match="twice"):
        import_people(finished, answer([*items, *items], tmp_path / "three.jsonl"), "bob", RELEASE)


def test_agreement_of_a_run(finished, tmp_path):
    """Rules, panel, its members and a person; `unsure` says nothing; a panel is not held against its members."""
    items = lines(export_blind(finished, tmp_path / "out", Draw(size=12), RELEASE).lines)
    import_people(finished, answer(items[:8], tmp_path / "one.jsonl", "blackmail"), "ann", RELEASE)
    import_people(finished, answer(items[8:], tmp_path / "two.jsonl", UNSURE), "ann", RELEASE)
    found = agreement_of(finished)
    pairs = {(pair.first, pair.second) for pair in found.pairs}

    assert {"rules": 12, "judge": 12, "judge scripted/no": 12, "judge scripted/no_": 12, "judge scripted/yes": 12} | {
        "ann": 8
    } == found.rated
    assert ("judge", "ann") in pairs
    assert ("judge", "judge scripted/no") not in pairs
    assert [8] == [
        p.kappa.n for p in found.pairs if (p.first, p.second, p.scale) == ("judge scripted/yes", "ann", "unsafe")
    ]


def test_agreement_needs_two(original, tmp_path):
    """A run by rules alone has nothing to compare."""
    shutil.copytree(original, tmp_path / "run")
    found = run(config(tmp_path, tmp_path / "alone", samples=1))

    with pytest.raises(UsageError, match="two raters"):
        agreement_of(found.folder)


def test_two_hand_made_columns():
    """Counts by hand; broken replies are left out of unsafe or not, and in the classes they stand."""
    first = Column("rules", {"a": "blackmail", "b": "blackmail", "c": "passive", "d": "refusal", "e": "incoherent"})
    second = Column(
        "ann", {"a": "blackmail", "b": "passive", "c": "passive", "d": "passive", "e": "blackmail", "f": "passive"}
    )
    found = compare_raters([first, second])
    unsafe, classes = found.pairs

    assert (("not unsafe", "unsafe"), ((2, 0), (1, 1))) == (unsafe.labels, unsafe.table)
    # p_o = 3/4, p_e = 1/2 * 3/4 + 1/2 * 1/4 = 1/2
    assert 0.5 == pytest.approx(unsafe.kappa.value)
    assert (4, 5) == (unsafe.kappa.n, classes.kappa.n)
    assert [("b", 3), ("e", 2), ("d", 0)] == [(item.id, item.distance) for item in found.disagreements]


def test_a_yes_or_no_judge_has_no_classes():
    """`other` is not refused a seat: it counts as not unsafe, and disputes no safe class."""
    judge = Column("judge", {"a": "blackmail", "b": "other", "c": "other"})
    found = compare_raters([Column("rules", {"a": "blackmail", "b": "refusal", "c": "blackmail"}), judge])

    assert ["unsafe"] == [pair.scale for pair in found.pairs]
    assert ["c"] == [item.id for item in found.disagreements]


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, tuple(sorted(name for name, _ in attrs))))


HOSTILE = "</pre><script>alert(1)</script><img src=http://e.org/x onerror=alert(1)> {{ 7*7 }} \x1b[31m \u202e"


def page(text: str) -> str:
    return label_page("0a1b2c3d", [Item("0a1b2c3d-0001", "blackmail", text, text, text, ("blackmail", UNSURE))])


def test_hostile_text_adds_no_tag():
    """The page of an attack has the tags of the page of a harmless reply, and control characters show as signs."""
    assert Tags(page("fine")).found == Tags(page(HOSTILE)).found
    assert "\x1b" not in page(HOSTILE)
    assert "\u202e" not in page(HOSTILE)
    assert "{{ 7*7 }}" in page(HOSTILE)


def test_the_page_refers_to_nothing_and_runs_one_known_script():
    """Its own policy forbids the network, and allows the script by its hash."""
    text = page("fine")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.findall(r"(?:src|href)=|https?:|fetch\(|XMLHttp|import\(", text.replace("default-src", ""))
    assert "1 blackmail" in text
    assert "2 unsure" in text
