"""The comparison runs all ways on the same work; how fast they are is for a person to read."""

from __future__ import annotations

import pytest
from rich.console import Console

from evalharness.bench import MIXED, OURS, PER_CONDITION, Work, print_timing, time_ways
from evalharness.engine import Engine


@pytest.mark.parametrize("span", ["all", "generation"])
def test_every_way_is_timed_in_every_round(engine: Engine, checkpoint, span) -> None:
    """Three ways, two rounds each beside the one that warms up, and a table of them."""
    work = Work(prompts=[[7, 8, 9], [7, 8]], strengths=(0.0, 0.1), layer=1, new_tokens=3, span=span)
    timing = time_ways(str(checkpoint()), engine, work, rounds=2)
    assert {OURS, PER_CONDITION, MIXED} == set(timing.seconds)
    assert all(len(seconds) == 2 for seconds in timing.seconds.values())
    assert (2, 2, 3) == (timing.conditions, timing.samples, timing.new_tokens)
    assert all(ratio > 0 for ratio in timing.ratios(MIXED))
    console = Console(record=True, width=120)
    print_timing(timing, console)
    assert "2 conditions x 2 samples x 3 new tokens" in console.export_text()
