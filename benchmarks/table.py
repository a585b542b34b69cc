"""The README's numbers on speed and memory, written from the results files and from nothing else.

    python -m benchmarks.table

Replaces what stands between two marks in README.md. A test holds README and results together. A trial with fewer rows
or samples than a row of the table names does not count as measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.engine_costs import COUNTS, OFF, PROMPT_TOO, TRACE, CostResults, MemoryResults, condition_name
from benchmarks.engine_gpu import GpuResults
from benchmarks.extraction_cpu import ExtractionResults
from benchmarks.inspect_hf import INSPECT_HF
from benchmarks.ladder import Ladder
from benchmarks.peers import PACKAGES
from benchmarks.provider_cpu import CONNECTIONS, STEERED_CALLS, STEERED_EVALUATION, ProviderResults
from benchmarks.results import FOLDER, Case, Results, TimingResults
from benchmarks.roofline import BoundResults
from evalharness.bench import MIXED, PER_CONDITION
from evalharness.timing import OURS, Environment, Timing

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- written by benchmarks.table: begin -->", "<!-- written by benchmarks.table: end -->"
NOTHING_YET = "not measured yet"
CPU_CASES = {"5x8": "5 x 8", "16x16": "16 x 16", "16x16-generation": "16 x 16, `generation`"}
WAYS = (PER_CONDITION, MIXED, *PACKAGES, INSPECT_HF)
WANTED_RATIOS = {"5x8": 8, "16x16": 14, "16x16-generation": 20}


def main() -> None:
    """Write the table into the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{render(FOLDER)}\n{END}{after}", encoding="utf-8")


def render(folder: Path) -> str:
    """Both tables, and where their numbers come from."""
    cpu = _cases(folder / "engine_cpu.json", TimingResults)
    ladder = _cases(folder / "engine_costs.json", CostResults).get("ladder")
    blocks = [ways_table(cpu), bounds_table(folder, cpu, ladder)]
    origins = sorted({origin(environment) for environment in _environments(folder)})
    lines = [*blocks, *(["\n".join(origins)] if origins else [])]
    return "\n\n".join(lines)


def ways_table(cpu: dict[str, Timing]) -> str:
    """Seconds of ours, and how many times as long each other way took beside it."""

    def ours(timing: Timing) -> str:
        return numbers(timing.ours_s, " s", digits=1)

    def other(way: str) -> Callable[[Timing], str]:
        def cell(timing: Timing) -> str:
            found = timing.ways.get(way)
            if found is None or not found.seconds:
                return "no number" if found is None or found.not_run is None else short_reason(found.not_run)
            return numbers(found.ratios, " x", digits=1)

        return cell

    named: list[tuple[str, Callable[[Timing], str]]] = [(OURS, ours), *((way, other(way)) for way in WAYS)]
    rows = [[name, *(cell(cpu[case]) if case in cpu else NOTHING_YET for case in CPU_CASES)] for name, cell in named]
    return markdown(["conditions x samples", *CPU_CASES.values()], rows)


def bounds_table(folder: Path, cpu: dict[str, Timing], ladder: Ladder | None) -> str:
    """What was asked for, and what was measured."""
    rows = [
        [f"{CPU_CASES[case]} against `generate` per condition", f"at least {wanted} x", _speedup(cpu.get(case))]
        for case, wanted in WANTED_RATIOS.items()
    ]
    rows += [
        ["64 distinct conditions against 1, equal rows", "at most +5 %", _step(ladder, condition_name(COUNTS[-1]))],
        ["steering on against off, receipts included", "at most +3 %", _step(ladder, condition_name(COUNTS[0]))],
        [f"the same, {PROMPT_TOO}", "at most +3 %", _step(ladder, PROMPT_TOO)],
        ["8 concepts traced, against none", "at most +5 %", _step(ladder, TRACE)],
        _extraction_row(folder),
        *_provider_rows(folder),
        *_memory_rows(folder),
        *_gpu_rows(folder),
    ]
    return markdown(["", "bound", "measured"], rows)


def numbers(values: Sequence[float], unit: str, *, digits: int, sign: bool = False) -> str:
    """Median, range and how many: `9.3 x [9.1, 9.6] n=3`."""
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{median(values):{form}}{unit} [{min(values):{form}}, {max(values):{form}}] n={len(values)}"


def origin(environment: Environment) -> str:
    """One line on a machine and what ran there."""
    return f"- {environment.line}, commit {environment.commit or 'unknown'}"


def short_reason(reason: str) -> str:
    """What fits into a cell; the whole reason stands in the results file."""
    return "not installed" if reason.startswith("not installed") else reason.partition(":")[0]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def _cases(path: Path, kind: type[Results[Case]]) -> dict[str, Case]:
    return dict(kind.model_validate_json(path.read_bytes()).cases) if path.is_file() else {}


def _speedup(timing: Timing | None) -> str:
    way = None if timing is None else timing.ways.get(PER_CONDITION)
    return numbers(way.ratios, " x", digits=1) if way is not None and way.seconds else NOTHING_YET


def _step(ladder: Ladder | None, name: str) -> str:
    if ladder is None or ladder.rows != COUNTS[-1] or OFF not in ladder.steps:
        return NOTHING_YET
    return numbers([100 * (ratio - 1) for ratio in ladder.ratios(name)], " %", digits=1, sign=True)


def _extraction_row(folder: Path) -> list[str]:
    case = _cases(folder / "extraction_cpu.json", ExtractionResults).get("stories")
    found = NOTHING_YET if case is None else numbers([100 * more for more in case.more], " %", digits=1, sign=True)
    return ["concept extraction against the bare forward passes, 12 layers", "at most +10 %", found]


def _provider_rows(folder: Path) -> list[list[str]]:
    cases = _cases(folder / "provider_cpu.json", ProviderResults)
    outside, growth, whole = NOTHING_YET, NOTHING_YET, NOTHING_YET
    calls, evaluation = cases.get(STEERED_CALLS), cases.get(STEERED_EVALUATION)
    if calls is not None and evaluation is not None and set(CONNECTIONS) == set(calls.by_connections):
        fewest, most = min(calls.by_connections), max(calls.by_connections)
        outside = numbers([ms for each in calls.by_connections for ms in calls.outside_ms(each)], " ms", digits=1)
        whole = numbers(
            [ms for each in evaluation.by_connections for ms in evaluation.outside_ms(each)], " ms", digits=1
        )
        walls = zip(calls.by_connections[most].wall_s, calls.by_connections[fewest].wall_s, strict=True)
        growth = numbers([100 * (many / few - 1) for many, few in walls], " %", digits=0, sign=True)
    return [
        ["provider, outside generation, per sample", "at most 10 ms", outside],
        ["a whole Inspect evaluation with its log, likewise", "", whole],
        ["wall time with 500 `max_connections` against 32", "does not grow", growth],
    ]


def _memory_rows(folder: Path) -> list[list[str]]:
    memory = _cases(folder / "memory.json", MemoryResults).get("memory")
    whole, work = (
        (NOTHING_YET, NOTHING_YET)
        if memory is None or memory.rows != COUNTS[-1]
        else (
            numbers(memory.ratios_of_peaks, " x", digits=2),
            numbers(memory.ratios_of_growth, " x", digits=2),
        )
    )
    return [
        ["peak memory of 64 rows against one row and 64 own suffixes, process", "at most 1.3 x", whole],
        ["the same without weights and libraries", "at most 1.3 x", work],
    ]


def _gpu_rows(folder: Path) -> list[list[str]]:
    cases = _cases(folder / "engine_gpu.json", GpuResults)
    bounds = _cases(folder / "roofline.json", BoundResults)
    rows = []
    for span in ("generation", "all"):
        case, floor = cases.get(f"16x64-{span}"), bounds.get(f"H200, {span}")
        ratio = NOTHING_YET if case is None else _speedup(case.timing)
        share = NOTHING_YET
        if case is not None and case.floor is not None:
            share = numbers([100 * each for each in case.roofline_shares], " %", digits=0)
        elif floor is not None:
            flops, moved = floor.prompt_flops + floor.decode_flops, floor.prompt_bytes + floor.decode_bytes
            work = f"{flops / 1e15:.2f} PFLOP, {moved / 1e12:.2f} TB"
            share = f"{NOTHING_YET}; by arithmetic {work}, at least {floor.floor_s:.1f} s"
        card = "H200" if case is None else case.timing.environment.device
        rows.append([f"{card}, 7B shape, 16 x 64, `{span}`, against `generate` per condition", "at least 20 x", ratio])
        rows.append([f"the same against the roofline, `{span}`", "at least 60 %", share])
    return rows


def _environments(folder: Path) -> list[Environment]:
    """Of every number in the tables."""
    return [
        *(timing.environment for timing in _cases(folder / "engine_cpu.json", TimingResults).values()),
        *(ladder.environment for ladder in _cases(folder / "engine_costs.json", CostResults).values()),
        *(memory.environment for memory in _cases(folder / "memory.json", MemoryResults).values()),
        *(case.environment for case in _cases(folder / "extraction_cpu.json", ExtractionResults).values()),
        *(serving.environment for serving in _cases(folder / "provider_cpu.json", ProviderResults).values()),
        *(case.timing.environment for case in _cases(folder / "engine_gpu.json", GpuResults).values()),
    ]


if __name__ == "__main__":
    main()
