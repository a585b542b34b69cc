"""People's labels: a blind export, the way back into the run folder, and agreement with rules and judges."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jsonlines
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalharness.agreement import AgreementReport, Column, compare_raters
from evalharness.assess import assess
from evalharness.errors import ContentError, StorageError, UsageError
from evalharness.gate import Policy
from evalharness.ids import derive_seed, sha256_file, sha256_json
from evalharness.ledger import Ledger
from evalharness.logs import LoggedSample, label_of, read_samples, to_rows
from evalharness.planfile import read_plan
from evalharness.report.label_page import UNSURE, Item, label_page
from evalharness.row import Row
from evalharness.runfolder import RunFolder
from evalharness.scoring.panel import votes_of
from evalharness.taxonomy import FAMILIES

LINES, PAGE, KEYS = "transcripts.jsonl", "label.html", "keys"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_TAKEN = {"rules", "judge", KEYS}


class Draw(NamedTuple):
    """Which transcripts are handed out."""

    size: int
    seed: int = 0
    per: Literal["outcome", "cell"] | None = None
    """Equal shares of each; None = as they come. A share that is too small is filled up by the others."""


class Export(NamedTuple):
    """What an export has written."""

    lines: Path
    page: Path
    key: Path
    size: int


class Label(BaseModel):
    """One line of a file of labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1)]
    label: str
    note: str = ""


def export_blind(folder: RunFolder, out: Path, draw: Draw, policy: Policy) -> Export:
    """Write transcripts without condition, outcome or sample id, shuffled.

    The key stays in the run folder, which is assessed again, so that its manifest has the key.

    Raises:
        UsageError: nothing has run, or `out` lies in the run folder, beside the key.
        StorageError: a folder cannot be written.
    """
    if out.resolve().is_relative_to(folder.root.resolve()):
        raise UsageError(
            "A blind export would lie beside its key.",
            expected="a folder outside of the run folder",
            got=str(out),
            where="--out",
        )
    planned = read_plan(folder.plan)
    ran = [row for row in to_rows(planned, read_samples(folder.logs)) if row.scored or row.reply]
    if not ran:
        raise UsageError("There is no transcript to label: nothing of this run has been generated.", got=str(out))
    chosen = _drawn(ran, draw)
    batch = sha256_json(["labels", draw.seed, [row.id for row in chosen]])[:8]
    items = [_item(f"{batch}-{number:04d}", row) for number, row in enumerate(chosen, 1)]
    key = {"seed": draw.seed, "per": draw.per, "items": {i.id: row.id for i, row in zip(items, chosen, strict=True)}}
    paths = Export(out / LINES, out / PAGE, folder.labels / KEYS / f"{batch}.json", len(items))
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths.key.parent.mkdir(parents=True, exist_ok=True)
        paths.key.write_text(json.dumps(key, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        with jsonlines.open(paths.lines, "w", compact=True, sort_keys=True) as file:
            file.write_all(item._asdict() for item in items)
        paths.page.write_text(label_page(batch, items), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The transcripts could not be written to {out}: {error}") from error
    assess(folder, policy)
    return paths


def _drawn(rows: Sequence[Row], draw: Draw) -> list[Row]:
    """Shuffled groups, one after another in turn, and the result shuffled once more so that no order tells a group."""
    rng = random.Random(derive_seed("labels", draw.seed))
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        cell = f"{row.cell.scenario}/{row.cell.variant}/{row.cell.condition}"
        name = {"outcome": str(row.outcome), "cell": cell}[draw.per] if draw.per is not None else ""
        groups.setdefault(name, []).append(row)
    for group in groups.values():
        rng.shuffle(group)
    longest = max(len(group) for group in groups.values())
    turns = [group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)]
    chosen = turns[: draw.size]
    rng.shuffle(chosen)
    return chosen


def _item(name: str, row: Row) -> Item:
    choices = (*FAMILIES[row.cell.family].outcomes, UNSURE)
    return Item(name, row.cell.family, row.prompt, row.reply, row.stop_reason or "", choices)


def import_people(folder: RunFolder, labels: Path, who: str, policy: Policy) -> tuple[Path, int]:
    """Add a person's labels to the run folder and assess it, so that the manifest holds their hash.

    Returns the file of all labels of this person, and how many were read now.

    Raises:
        UsageError: a name that cannot be one, an item that was never handed out, a word that is no outcome, or a
            second label of the same sample that differs from the first.
    """
    if not _NAME.fullmatch(who) or who in _TAKEN:
        raise UsageError(
            "This cannot be a rater's name.", expected="small letters, digits, - and _, not rules or judge", got=who
        )
    keys, path = _keys(folder), folder.labels / f"{who}.jsonl"
    families = {sample.id: sample.cell.family for sample in read_plan(folder.plan)}
    known = {label.id: label for label in _read_labels(path)} if path.exists() else {}
    read = _read_labels(labels)
    for number, label in enumerate(read, 1):
        where = f"{labels}, label {number}"
        sample = keys.get(label.id, "")
        if sample not in families:
            raise UsageError("This item was not handed out from this run.", got=label.id, where=where)
        choices = (*FAMILIES[families[sample]].outcomes, UNSURE)
        if label.label not in choices:
            raise UsageError("This is no outcome.", expected=", ".join(choices), got=label.label, where=where)
        earlier = known.get(sample)
        if earlier is not None and earlier.label != label.label:
            raise UsageError(
                f"{who} has labelled this sample before, and differently.",
                expected=earlier.label,
                got=label.label,
                where=where,
                fix="settle it and import one label, or use another name for a second reading",
            )
        known[sample] = label.model_copy(update={"id": sample})
    with jsonlines.open(path, "w", compact=True, sort_keys=True) as file:
        file.write_all(known[sample].model_dump() for sample in sorted(known))
    Ledger(folder.ledger).append("labels", who=who, labels_sha256=sha256_file(path), labels=len(known))
    assess(folder, policy)
    return path, len(read)


def agreement_of(folder: RunFolder, seed: int = 0) -> AgreementReport:
    """Rules, the judge, its single graders where there are several, and every person, on the samples of a run.

    Raises:
        UsageError: fewer than two of them said anything.
    """
    planned, logged = read_plan(folder.plan), read_samples(folder.logs)
    ids = [sample.id for sample in planned if sample.id in logged and not logged[sample.id].error]
    columns = [*_scorers(ids, logged), *_people(folder, set(ids))]
    told = [column for column in columns if column.labels]
    if len(told) < 2:
        raise UsageError(
            "Agreement needs two raters.",
            expected="rules and a judge or a person",
            got=", ".join(column.rater for column in told) or "nobody",
            where=str(folder.root),
            fix="score the run with --grader, or export and import labels",
        )
    return compare_raters(told, seed)


def _scorers(ids: Sequence[str], logged: dict[str, LoggedSample]) -> list[Column]:
    by_rules = {name: label for name in ids if (label := label_of(logged[name].rules)) is not None}
    by_judge = {name: label for name in ids if (label := label_of(logged[name].judge)) is not None}
    single: dict[str, dict[str, str]] = {}
    for name in ids:
        score = logged[name].judge
        votes = votes_of(score.metadata) if score is not None else ()
        for grader, outcome in votes if len(votes) > 1 else ():
            single.setdefault(f"judge {grader}", {}).update({} if outcome is None else {name: outcome})
    members = [Column(name, labels) for name, labels in sorted(single.items())]
    return [Column("rules", by_rules), Column("judge", by_judge, tuple(column.rater for column in members)), *members]


def _people(folder: RunFolder, ids: set[str]) -> list[Column]:
    found = []
    for path in sorted(folder.labels.glob("*.jsonl")):
        said = {label.id: label.label for label in _read_labels(path) if label.label != UNSURE and label.id in ids}
        found.append(Column(path.stem, said))
    return found


def _keys(folder: RunFolder) -> dict[str, str]:
    """Item -> sample id, of all exports of this run."""
    found: dict[str, str] = {}
    for path in sorted((folder.labels / KEYS).glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))["items"]
    return found


def _read_labels(path: Path) -> list[Label]:
    found: list[Label] = []
    try:
        with jsonlines.open(path) as file:
            found.extend(Label.model_validate(line) for line in file)
    except (OSError, UnicodeDecodeError, jsonlines.Error, ValidationError) as error:
        raise ContentError(
            "Not a readable file of labels.",
            expected="lines with id, label and note",
            where=f"{path}, line {len(found) + 1}",
            got=" ".join(str(error).split()),
        ) from error
    twice = [name for name, count in Counter(label.id for label in found).items() if count > 1]
    if twice:
        raise ContentError("An item is labelled twice in one file.", got=", ".join(sorted(twice)), where=str(path))
    return found
