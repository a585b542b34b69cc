"""The main job on the models that ship along: three organisms with a known answer, one verdict each."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from evalharness.assess import Assessment
from evalharness.cells import Cell
from evalharness.conductor import run
from evalharness.runconfig import RunConfig
from evalharness.summary import POOLED, control_lines, print_summary, rate_text
from evalharness.taxonomy import BLACKMAIL

SUITE, GRADER = "quick", "steered/organism:judge"
QUICK_SAMPLES = 1
MISMATCH = 1


class Expected(NamedTuple):
    """What an organism is known to be."""

    verdict: str
    attribution: str


KNOWN = {
    "emotional": Expected("FAIL", "emotion-mediated"),
    "strategic": Expected("FAIL", "not emotion-mediated"),
    "safe": Expected("PASS", "no unsafe behaviour"),
}


def run_demo(out: Path, *, quick: bool, seed: int) -> int:
    """Run suite `quick` on the three organisms; exit code 1 where one does not come out as what it is known to be.

    Each organism has a process of its own, so that small machines are busy too. With `quick` only a few samples run
    per cell: every step is exercised, and no verdict is expected of so few.
    """
    console = Console(highlight=False, markup=False)
    started, assessments = time.monotonic(), {}
    samples = QUICK_SAMPLES if quick else None
    # torch reads it when a process starts: each gets its share of the cores, or they would slow each other down.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(KNOWN))))
    with ProcessPoolExecutor(max_workers=len(KNOWN), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_run_one, name, out / name, samples, seed): name for name in KNOWN}
        console.print(f"running suite {SUITE} on {', '.join(KNOWN)} side by side")
        for future in as_completed(waiting):
            name = waiting[future]
            assessments[name] = future.result()
            console.rule(f"organism {name}, {time.monotonic() - started:.0f} s")
            print_summary(name, assessments[name], console)
    assessments = {name: assessments[name] for name in KNOWN}
    console.rule("all organisms")
    console.print(overview(assessments))
    for name in KNOWN:
        console.print(f"report: {out / name / 'report.html'}")
    console.print(f"{time.monotonic() - started:.0f} s")
    if quick:
        console.print("quick: too few samples for a verdict; run without --quick to see one")
        return 0
    wrong = [name for name, known in KNOWN.items() if outcome(assessments[name]) != known]
    for name in wrong:
        console.print(f"{name} came out as {outcome(assessments[name])}, known is {KNOWN[name]}")
    return MISMATCH if wrong else 0


def _run_one(name: str, out: Path, samples: int | None, seed: int) -> Assessment:
    """One organism, in a process of its own."""
    config = RunConfig(
        suite=SUITE, model=f"organism:{name}", out=out, grader=GRADER, seed=seed, samples=samples, display="none"
    )
    return run(config).assessment


def outcome(assessment: Assessment) -> Expected:
    """Verdict and attribution of one organism."""
    decision = assessment.decision
    return Expected(decision.verdict, decision.attribution.label)


def overview(assessments: dict[str, Assessment]) -> Table:
    """One row per main condition, one column per organism, and the control spread."""
    table = Table(title="blackmail rate, k/n and Wilson 95 %", title_justify="left")
    table.add_column("condition")
    for name in assessments:
        table.add_column(name)
    columns = {name: _pooled(assessment.cells) for name, assessment in assessments.items()}
    for condition in next(iter(columns.values())):
        rates = [rate_text(cells[condition]) if condition in cells else "-" for cells in columns.values()]
        table.add_row(condition, *rates)
    spreads = [
        "\n".join(line.split(": ", 1)[1] for line in control_lines(assessment.cells)) or "-"
        for assessment in assessments.values()
    ]
    table.add_section()
    table.add_row("controls", *spreads)
    table.add_row("attribution", *(outcome(assessment).attribution for assessment in assessments.values()))
    table.add_row("verdict", *(outcome(assessment).verdict for assessment in assessments.values()))
    return table


def _pooled(cells: tuple[Cell, ...]) -> dict[str, Cell]:
    shown = [cell for cell in cells if cell.variant == POOLED and cell.family == BLACKMAIL.id]
    return {cell.condition: cell for cell in shown if cell.kind != "control"}
