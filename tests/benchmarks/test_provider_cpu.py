"""Samples through both providers, with a clock around generation."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.clock import Clock
from benchmarks.provider_cpu import FLOOR, HF_CALLS, HF_EVALUATION, STEERED_CALLS, STEERED_EVALUATION, run
from benchmarks.serving import Server, print_serving, serve_in_turn


class Slow:
    """Something with a method."""

    def work(self, value: int) -> int:
        return value + 1


def test_a_clock_times_a_method_and_leaves_it_as_it_was() -> None:
    """Results pass through; after the block nothing is timed any more."""
    clock, thing = Clock(), Slow()
    with clock.on(Slow, "work"):
        assert 3 == thing.work(2)
    taken = clock.seconds
    thing.work(2)

    assert taken == clock.seconds > 0


def test_servers_take_turns() -> None:
    """Each number of connections once a round, after a few samples that are not counted."""
    served: list[tuple[int, int]] = []
    server = Server(
        serve=lambda samples, connections: served.append((samples, connections)),
        clock=Clock(),
        samples=9,
        connections=(2, 9),
    )
    found = serve_in_turn({"one": server}, rounds=2)

    assert [(9, 2), (9, 9), (9, 2), (9, 9)] == served[1:]
    assert (2, 2) == (len(found["one"][2].wall_s), len(found["one"][9].generation_s))


@pytest.mark.slow
def test_both_providers_serve_all_samples(tmp_path: Path) -> None:
    """Calls and evaluations end well, and generation is a part of the wall time but for the floor, which has none."""
    found = run(tmp_path, samples=6, hf_samples=2, rounds=1)
    console = Console(record=True, width=120)
    for name, serving in found.items():
        print_serving(name, serving, console)

    assert {STEERED_CALLS, HF_CALLS, STEERED_EVALUATION, HF_EVALUATION, FLOOR} == set(found)
    for name, serving in found.items():
        for each in serving.by_connections.values():
            assert (0 < each.generation_s[0] < each.wall_s[0]) or (name == FLOOR and each.generation_s == (0.0,))
    assert "6 samples, 1024 + 8 tokens" in console.export_text()
