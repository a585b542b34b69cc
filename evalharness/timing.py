"""Timing of ways side by side: who runs when, what is written down, how a ratio gets its spread.

Knows nothing of models: a way is handed a piece of work and says which tokens it drew. Every run of another way stands
between two runs of ours, so a machine that slows down or is shared changes both sides of a ratio.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from evalharness.errors import EngineError
from evalharness.manifest import versions
from evalharness.request import Span

OURS = "evalharness"
PROBE_TOKENS = 8


class TimingRecord(BaseModel):
    """What is written to and read from a results file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every way has to do: each prompt under each strength, always to the last new token."""

    prompts: Sequence[Sequence[int]]
    strengths: Sequence[float]
    """One per condition; 0 is the baseline, which is not steered."""
    layer: int
    new_tokens: int
    span: Span = "all"
    greedy: bool = False

    @property
    def rows(self) -> int:
        """Prompts times conditions."""
        return len(self.prompts) * len(self.strengths)

    def probe(self) -> Work:
        """A small greedy piece of it: one prompt, few tokens. Ways that do the same work draw the same tokens."""
        return replace(self, prompts=self.prompts[:1], new_tokens=min(self.new_tokens, PROBE_TOKENS), greedy=True)


class Drawn(NamedTuple):
    """What a way drew, so that nobody is timed doing less than the others."""

    new_tokens: int
    """Over all rows."""
    rows: tuple[tuple[int, ...], ...] | None
    """Token ids of each row, condition after condition; None where a way does not tell."""


class Way(Protocol):
    """One way of getting the tokens."""

    def draw(self, work: Work) -> Drawn:
        """Do all of the work once. Loading a model is not part of it."""


class Environment(TimingRecord):
    """Where and with what a number was measured."""

    date: str
    commit: str | None
    """Git commit of the code, `+changes` if the working tree differs from it; None outside of a checkout."""
    system: str
    cpu: str
    cpus: int
    """Processors that this process may use."""
    threads: int
    """Of torch."""
    device: str
    dtype: str
    versions: dict[str, str]

    @property
    def line(self) -> str:
        """It in one line."""
        packages = ", ".join(f"{name} {self.versions[name]}" for name in ("torch", "transformers", "numpy"))
        machine = self.cpu if self.device == "cpu" else f"{self.device} beside {self.cpu}"
        return f"{machine}, {self.cpus} processors, {self.threads} threads, {self.dtype}, {packages}, {self.date}"


class WayTiming(TimingRecord):
    """Another way beside ours."""

    seconds: tuple[float, ...] = ()
    ours_s: tuple[float, ...] = ()
    """For each of `seconds`: ours, the mean of the run before and the run after."""
    same_greedy_rows: str | None = None
    """Of the probe: rows with the same tokens as ours. None where a way does not tell."""
    not_run: str | None = None
    """Why there is no number."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times longer than ours it took, run by run."""
        return tuple(other / ours for other, ours in zip(self.seconds, self.ours_s, strict=True))


class Timing(TimingRecord):
    """One case: the same work done by all ways."""

    conditions: int
    samples: int
    prompt_tokens: int
    """Of the longest prompt."""
    new_tokens: int
    """Of each row, fixed."""
    span: Span
    ours_s: tuple[float, ...]
    """Every counted run of ours."""
    ours_repeats: bool
    """Whether all runs of ours drew the same tokens."""
    probe_tells: bool
    """Whether conditions drew different tokens in the probe, so that it would show a way that steers otherwise."""
    cpu_share: float
    """Processor time of this process over wall time and threads. Well below 1 on a CPU that does other work as well:
    then seconds are worth little, and ratios less than they seem."""
    ways: dict[str, WayTiming]
    environment: Environment


def time_ways(
    ours: Way, others: Mapping[str, Way | str], work: Work, rounds: Mapping[str, int], environment: Environment
) -> Timing:
    """Run each of the other ways `rounds[way]` times, ours before and after each run.

    The probe warms every way up. A way that is a string is not there, and the string says why; one that raises in the
    probe is recorded with its error and not timed.

    Raises:
        EngineError: a way drew another number of tokens, so the comparison would mean nothing.
    """
    expected = ours.draw(work.probe())
    ways, timed = _probe(expected, others, work.probe())
    start, start_cpu = time.perf_counter(), time.process_time()
    seconds = [_timed(ours, work)]
    for number in range(max(rounds.values(), default=0)):
        for name, way in ways.items():
            if number < rounds[name]:
                other = _timed(way, work)
                seconds.append(_timed(ours, work))
                before = timed[name]
                timed[name] = before.model_copy(
                    update={
                        "seconds": (*before.seconds, other.seconds),
                        "ours_s": (*before.ours_s, (seconds[-2].seconds + seconds[-1].seconds) / 2),
                    }
                )
    cpu_share = (time.process_time() - start_cpu) / (time.perf_counter() - start) / environment.threads
    digests = {run.sha256 for run in seconds}
    return Timing(
        conditions=len(work.strengths),
        samples=len(work.prompts),
        prompt_tokens=max(len(prompt) for prompt in work.prompts),
        new_tokens=work.new_tokens,
        span=work.span,
        ours_s=tuple(run.seconds for run in seconds),
        ours_repeats=len(digests) == 1,
        probe_tells=expected.rows is not None and len(set(expected.rows)) > 1,
        cpu_share=round(cpu_share, 3),
        ways=timed,
        environment=environment,
    )


def print_timing(timing: Timing, console: Console) -> None:
    """Seconds with their range, and how many times as fast ours is, ratio by ratio."""
    console.print(
        f"{timing.conditions} conditions x {timing.samples} samples, {timing.prompt_tokens} prompt tokens, "
        f"{timing.new_tokens} new tokens, steering {timing.span}"
    )
    console.print(f"  {OURS:24} {spread(timing.ours_s, 's')}")
    for name, way in timing.ways.items():
        if way.not_run is not None:
            console.print(f"  {name:24} no number: {way.not_run}", soft_wrap=True, markup=False)
        elif way.seconds:
            console.print(f"  {name:24} {spread(way.seconds, 's')}", soft_wrap=True)
            console.print(f"  {'':24} {spread(way.ratios, 'times ours')}", soft_wrap=True)
    console.print(f"  {timing.environment.line}", soft_wrap=True)
    console.print(f"  share of the threads' time that was had: {timing.cpu_share:.2f}", soft_wrap=True)


def environment(*, threads: int, device: str, dtype: str, packages: Sequence[str] = ()) -> Environment:
    """Machine and versions, now. What only a framework knows is handed in; `packages` are named as well."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    return Environment(
        date=datetime.now(UTC).date().isoformat(),
        commit=_commit(),
        system=f"{platform.system()} {platform.machine()}",
        cpu=_cpu(),
        cpus=usable,
        threads=threads,
        device=device,
        dtype=dtype,
        versions=versions() | {package: _version(package) for package in packages},
    )


def spread(values: Sequence[float], unit: str) -> str:
    """Median, range and number of values, short enough for a line of a terminal."""
    return f"{median(values):.2f} {unit} [{min(values):.2f}, {max(values):.2f}] n={len(values)}"


class _Run(NamedTuple):
    seconds: float
    sha256: str


def _probe(
    expected: Drawn, others: Mapping[str, Way | str], probe: Work
) -> tuple[dict[str, Way], dict[str, WayTiming]]:
    """The ways that can be timed, and a record for every way, with its reason where it cannot."""
    ways: dict[str, Way] = {}
    timed: dict[str, WayTiming] = {}
    for name, way in others.items():
        if isinstance(way, str):
            timed[name] = WayTiming(not_run=way)
            continue
        try:
            drawn = way.draw(probe)
        except Exception as error:  # noqa: BLE001 - becomes the recorded reason for a missing number
            timed[name] = WayTiming(not_run=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            continue
        _require_tokens(name, drawn, probe)
        ways[name] = way
        timed[name] = WayTiming(same_greedy_rows=_agreement(drawn, expected))
    return ways, timed


def _agreement(drawn: Drawn, expected: Drawn) -> str | None:
    if drawn.rows is None or expected.rows is None:
        return None
    same = sum(ours == other for ours, other in zip(expected.rows, drawn.rows, strict=True))
    return f"{same} of {len(expected.rows)}"


def _timed(way: Way, work: Work) -> _Run:
    start = time.perf_counter()
    drawn = way.draw(work)
    taken = time.perf_counter() - start
    _require_tokens(type(way).__name__, drawn, work)
    return _Run(taken, hashlib.sha256(repr(drawn.rows).encode()).hexdigest())


def _require_tokens(name: str, drawn: Drawn, work: Work) -> None:
    wanted = work.rows * work.new_tokens
    if drawn.new_tokens != wanted:
        raise EngineError(f"{name} drew {drawn.new_tokens} tokens where {wanted} were asked for.")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """The processor's name where the system tells it."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _commit() -> str | None:
    folder = Path(__file__).parent
    asked = [["git", "rev-parse", "--short=12", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no", "."]]
    try:
        commit, changes = (
            subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit
