"""The README says what the results files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.engine_costs import CostResults
from benchmarks.ladder import Ladder, Step
from benchmarks.results import FOLDER, TimingResults, add_case
from evalharness.timing import Environment, Timing, WayTiming

HERE = Environment(
    date="2026-01-01",
    commit="abc",
    system="Linux",
    cpu="A Processor",
    cpus=2,
    threads=2,
    device="cpu",
    dtype="float32",
    versions={"torch": "1", "transformers": "2", "numpy": "3"},
)


def timing(ratio: float) -> Timing:
    return Timing(
        conditions=5,
        samples=8,
        prompt_tokens=1024,
        new_tokens=48,
        span="all",
        ours_s=(2.0, 2.2, 2.1),
        ours_repeats=True,
        probe_tells=True,
        cpu_share=0.9,
        ways={
            "generate, per condition": WayTiming(seconds=(2 * ratio, 2.2 * ratio), ours_s=(2.0, 2.2)),
            "repeng": WayTiming(not_run="not installed: pip install it"),
            "steering-vectors": WayTiming(not_run="AttributeError: a long story"),
        },
        environment=HERE,
    )


def test_the_readme_holds_what_the_results_give() -> None:
    """On failure, run `python -m benchmarks.table`."""
    written = table.README.read_text(encoding="utf-8").split(table.BEGIN)[1].split(table.END)[0]

    assert table.render(FOLDER) == written.strip()


def test_numbers_come_with_their_range_and_missing_ones_say_so(tmp_path: Path) -> None:
    """A way that is not there is named; a case without a file is not measured yet."""
    add_case(tmp_path / "engine_cpu.json", TimingResults, "one", "5x8", timing(9.0))
    text = table.render(tmp_path)

    assert "| evalharness | 2.1 s [2.0, 2.2] n=3 | not measured yet | not measured yet |" in text
    assert "| 5 x 8 against `generate` per condition | at least 8 x | 9.0 x [9.0, 9.0] n=2 |" in text
    assert "| repeng | not installed | not measured yet |" in text
    assert "| steering-vectors | AttributeError |" in text
    assert (
        "A Processor, 2 processors, 2 threads, float32, torch 1, transformers 2, numpy 3, 2026-01-01, commit abc"
        in text
    )


def step(seconds: tuple[float, ...], against: str | None) -> Step:
    return Step(seconds=seconds, against=against, repeats=True, seed=0, near_ties=0, near_ties_at_first_seed=1)


@pytest.mark.parametrize(("rows", "shown"), [(64, "+2.0 % [+2.0, +3.0] n=3"), (4, "not measured yet")])
def test_costs_are_changes_in_percent_and_trials_do_not_count(tmp_path: Path, rows: int, shown: str) -> None:
    """64 conditions against 1, round by round; the row says 64 rows, so a ladder of 4 is no answer."""
    steps = {
        "not steered": step((1.0, 1.0, 1.0), None),
        "1 condition": step((1.0, 2.0, 1.0), "not steered"),
        "64 conditions": step((1.02, 2.04, 1.03), "1 condition"),
        "1 condition, prompt steered too": step((1.0, 1.0, 1.0), "not steered"),
        "8 concepts traced": step((1.02, 2.04, 1.03), "64 conditions"),
    }
    ladder = Ladder(rows=rows, new_tokens=48, steps=steps, environment=HERE)
    add_case(tmp_path / "engine_costs.json", CostResults, "costs", "ladder", ladder)

    assert f"| 64 distinct conditions against 1, equal rows | at most +5 % | {shown} |" in table.render(tmp_path)


def test_a_case_replaces_itself_and_no_other(tmp_path: Path) -> None:
    """Cases are measured one by one and may be measured again."""
    path = tmp_path / "folder" / "engine_cpu.json"
    for name, ratio in (("5x8", 9.0), ("16x16", 15.0), ("5x8", 10.0)):
        add_case(path, TimingResults, "all", name, timing(ratio))
    cases = TimingResults.model_validate_json(path.read_bytes()).cases

    assert {"5x8": timing(10.0), "16x16": timing(15.0)} == cases
