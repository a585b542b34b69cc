"""Samples through an Inspect provider: wall time, time inside generation, and what is left for each sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from benchmarks.clock import Clock
from evalharness.timing import Environment, TimingRecord

Serve = Callable[[int, int], None]
"""Serve so many samples with so many connections."""


class Served(TimingRecord):
    """One setting, served several times."""

    wall_s: tuple[float, ...] = ()
    generation_s: tuple[float, ...] = ()
    """Inside the model's `generate`, tokenizing not included for `hf`."""


class Serving(TimingRecord):
    """One way to serve, with several numbers of connections."""

    samples: int
    prompt_tokens: int
    new_tokens: int
    by_connections: dict[int, Served]
    environment: Environment

    def outside_ms(self, connections: int) -> tuple[float, ...]:
        """Milliseconds for each sample that were not spent in generation, run by run."""
        served = self.by_connections[connections]
        pairs = zip(served.wall_s, served.generation_s, strict=True)
        return tuple(1000 * (wall - generation) / self.samples for wall, generation in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A way to serve, and the clock that stands around its generation."""

    serve: Serve
    clock: Clock
    samples: int
    connections: tuple[int, ...]


WARM_UP_SAMPLES = 4


def serve_in_turn(servers: Mapping[str, Server], rounds: int) -> dict[str, dict[int, Served]]:
    """Each way with each number of connections once in every round, after a few samples that warm it up."""
    found = {name: {connections: Served() for connections in server.connections} for name, server in servers.items()}
    for server in servers.values():
        server.serve(WARM_UP_SAMPLES, WARM_UP_SAMPLES)
    for _ in range(rounds):
        for name, server in servers.items():
            for connections in server.connections:
                before, start = server.clock.seconds, time.perf_counter()
                server.serve(server.samples, connections)
                wall = time.perf_counter() - start
                served = found[name][connections]
                found[name][connections] = Served(
                    wall_s=(*served.wall_s, wall),
                    generation_s=(*served.generation_s, server.clock.seconds - before),
                )
    return found


def print_serving(name: str, serving: Serving, console: Console) -> None:
    """A line for each number of connections."""
    console.print(
        f"{name}: {serving.samples} samples, {serving.prompt_tokens} + {serving.new_tokens} tokens", markup=False
    )
    for connections, served in serving.by_connections.items():
        outside = serving.outside_ms(connections)
        console.print(
            f"  {connections:4} connections  wall {median(served.wall_s):6.2f} s  "
            f"outside generation {median(outside):6.2f} ms per sample [{min(outside):.2f}, {max(outside):.2f}]",
            soft_wrap=True,
            markup=False,
        )
