"""Which transcripts a report shows, and which words in them are marked. The draw is random, seeded and comes first."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import islice

from evalharness.ids import derive_seed
from evalharness.report.model import Gallery, Segment, Transcript
from evalharness.report.text import one_line, visible
from evalharness.row import Row
from evalharness.taxonomy import BROKEN, UNSAFE

PER_CELL = 2
"""Random transcripts from each main baseline or concept cell; one from each twin or mitigated cell."""
MAX_CELLS = 120
"""Beyond this many cells the draw takes a random set of cells, baselines first."""
CONTROL_DRAWS, POSITIVES, DISAGREEMENTS, BROKEN_DRAWS = 6, 12, 12, 4
MAX_CHARS = 20_000
"""Characters of a prompt or a reply that are shown; the whole text is in the log."""


def build_gallery(rows: Sequence[Row], seed: int) -> Gallery:
    """Draw transcripts. The same rows and seed give the same gallery."""
    drawn: dict[str, tuple[Row, list[str]]] = {}
    for why, chosen in _draws(rows, seed):
        for row in chosen:
            drawn.setdefault(row.id, (row, []))[1].append(why)
    how = (
        f"{PER_CELL} random transcripts from every main cell, 1 from every twin or mitigated cell and {CONTROL_DRAWS} "
        f"from the controls, drawn with seed {seed} among the samples that ran; then up to {DISAGREEMENTS} on which "
        f"judge and rules disagree, {POSITIVES} with an unsafe outcome, {BROKEN_DRAWS} incoherent or truncated, "
        "drawn likewise. Nobody picked a transcript by hand."
    )
    return Gallery(seed=seed, how=how, transcripts=tuple(_transcript(row, why) for row, why in drawn.values()))


def disagrees(row: Row) -> bool:
    """The row is valid for rules and judge, and only one of them calls the reply unsafe."""
    return judged(row) and (row.outcome in UNSAFE) != (row.judge in UNSAFE)


def judged(row: Row) -> bool:
    """Valid for the rules and for the judge: neither found the reply incoherent or truncated."""
    return row.valid and row.judge is not None and row.judge not in BROKEN


def cell_text(row: Row) -> str:
    """The cell of a row in words."""
    return one_line(f"{row.cell.scenario} / {row.cell.variant} / {row.cell.condition}")


def segments(reply: str, findings: Iterable[tuple[str, str]]) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """A reply cut at the words that the findings name, and the findings whose words are not there.

    Where two findings overlap, the earlier and longer one is marked and the other is listed.
    """
    found: list[tuple[int, int, str]] = []
    unplaced: list[Segment] = []
    for label, words in findings:
        start = reply.find(words) if words else -1
        if start < 0:
            unplaced.append(Segment(text=visible(words), label=one_line(label)))
        else:
            found.append((start, start + len(words), one_line(label)))
    pieces: list[Segment] = []
    position = 0
    for start, end, label in sorted(found, key=lambda item: (item[0], -item[1])):
        if start < position:
            unplaced.append(Segment(text=visible(reply[start:end]), label=label))
            continue
        pieces += [Segment(text=visible(reply[position:start]))] if start > position else []
        pieces.append(Segment(text=visible(reply[start:end]), label=label))
        position = end
    pieces += [Segment(text=visible(reply[position:]))] if position < len(reply) else []
    return tuple(pieces), tuple(unplaced)


def _draws(rows: Sequence[Row], seed: int) -> list[tuple[str, list[Row]]]:
    ran = [row for row in rows if row.reply or row.scored]
    cells: dict[str, list[Row]] = {}
    controls = [row for row in ran if row.cell.kind == "control"]
    for row in ran:
        if row.cell.kind != "control":
            cells.setdefault(cell_text(row), []).append(row)
    draws: list[tuple[str, list[Row]]] = []
    for name in _chosen_cells(cells, seed):
        count = PER_CELL if cells[name][0].cell.role == "main" else 1
        draws.append(("random draw", _sample(cells[name], count, seed, name)))
    unsafe = [row for row in ran if row.outcome in UNSAFE]
    broken = [row for row in ran if row.outcome in BROKEN]
    return [
        *draws,
        ("random draw", _sample(controls, CONTROL_DRAWS, seed, "controls")),
        ("disagreement", _sample([row for row in ran if disagrees(row)], DISAGREEMENTS, seed, "disagreements")),
        ("unsafe outcome", _sample(unsafe, POSITIVES, seed, "unsafe")),
        ("not valid", _sample(broken, BROKEN_DRAWS, seed, "broken")),
    ]


def _chosen_cells(cells: dict[str, list[Row]], seed: int) -> list[str]:
    if len(cells) <= MAX_CELLS:
        return list(cells)
    baselines = [name for name, rows in cells.items() if rows[0].cell.kind == "baseline"]
    others = [name for name in cells if name not in set(baselines)]
    random.Random(derive_seed("gallery", seed, "cells")).shuffle(others)
    chosen = set(islice([*baselines, *others], MAX_CELLS))
    return [name for name in cells if name in chosen]


def _sample(rows: list[Row], count: int, seed: int, name: str) -> list[Row]:
    """`count` of `rows` in their order, from a seed of its own, so that one group does not move another."""
    picked = random.Random(derive_seed("gallery", seed, name)).sample(range(len(rows)), min(count, len(rows)))
    return [rows[number] for number in sorted(picked)]


def _transcript(row: Row, why: list[str]) -> Transcript:
    pieces, unplaced = segments(row.reply[:MAX_CHARS], row.findings)
    if len(row.reply) > MAX_CHARS:
        pieces = (*pieces, Segment(text=f"\n… {len(row.reply) - MAX_CHARS} more characters are in the log."))
    return Transcript(
        id=one_line(row.id),
        cell=cell_text(row),
        outcome=one_line(row.outcome or "not scored"),
        unsafe=row.outcome in UNSAFE,
        judge=one_line(row.judge or "no answer"),
        drawn_as=tuple(dict.fromkeys(why)),
        stop_reason=one_line(row.stop_reason or ""),
        note=one_line(row.note, 1000),
        prompt=visible(row.prompt[:MAX_CHARS]),
        reply=pieces,
        unplaced=unplaced,
        log=one_line(row.log),
    )
