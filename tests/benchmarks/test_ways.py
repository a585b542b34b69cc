"""Every way does the same work, on a model and a grid that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import AutoTokenizer

from benchmarks.checkpoints import as_text, random_prompt, small_llama, write_checkpoint
from benchmarks.engine_costs import OFF, condition_name, variants
from benchmarks.engine_cpu import CASES, Grid, run_grid
from benchmarks.engine_gpu import GpuCase, floor_of, print_case, run_case
from benchmarks.grids import GridShape, directions, grid_requests
from benchmarks.inspect_hf import INSPECT_HF
from benchmarks.ladder import climb
from benchmarks.memory import key_value_bytes, measure_memory
from benchmarks.peers import PACKAGES, peers
from benchmarks.roofline import GridWork, gpu_grid
from evalharness.bench import MIXED, PER_CONDITION, direction_bank, engine_environment, load_plain_model
from evalharness.engine import Engine
from evalharness.timing import Work

PROMPT = random_prompt(400, 160)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Llama as the benchmarks write it."""
    path = tmp_path_factory.mktemp("small")
    write_checkpoint(small_llama(), path)
    return path


@pytest.mark.usefixtures("one_thread")
def test_text_and_ids_are_the_same_prompt_and_nothing_ends_a_reply(folder: Path) -> None:
    """One word is one token, as a chat too; the end token is not among those that can be drawn."""
    with Engine.load(folder) as engine:
        assert tuple(PROMPT) == engine.render(as_text(PROMPT))
        assert tuple(PROMPT) == engine.render([{"role": "user", "content": as_text(PROMPT)}])
    auto: Any = AutoTokenizer
    assert 400 <= auto.from_pretrained(folder).eos_token_id


@pytest.mark.usefixtures("one_thread")
def test_all_ways_do_the_same_work(folder: Path) -> None:
    """Ways that tell their tokens draw the same greedy ones; peers that are not installed say so."""
    grid = Grid(conditions=3, samples=2, prompt_tokens=160, new_tokens=4)
    timing = run_grid(str(folder), small_llama(), grid, (2, 1))
    runs = {name: len(way.seconds) for name, way in timing.ways.items() if way.not_run is None}

    assert runs.items() >= {PER_CONDITION: 2, MIXED: 1, INSPECT_HF: 1}.items()
    assert all("3 of 3" == timing.ways[name].same_greedy_rows for name in runs if name != INSPECT_HF)
    assert timing.ours_repeats
    assert timing.probe_tells
    for name in PACKAGES:
        assert name in runs or "bench-peers" in str(timing.ways[name].not_run)


def test_peers_that_are_not_installed_are_named_with_the_command_that_installs_them(folder: Path) -> None:
    """One that is installed is a way."""
    found = peers(lambda: load_plain_model(str(folder), "float32"), direction_bank(32, 1), 1)

    assert set(PACKAGES) == set(found)
    for way in found.values():
        assert not isinstance(way, str) or "pip install '.[bench-peers]'" in way


def test_a_grid_has_equal_rows_and_distinct_conditions() -> None:
    """64 rows under 16 conditions: 16 directions and strengths, four rows each, one seed per row."""
    requests = grid_requests(PROMPT, directions(32, 1, 16), GridShape(64, 16, 5), "generation", first_seed=100)
    steerings = [request.steerings[0] for request in requests]

    assert 16 == len(set(steerings)) == len({steering.concept for steering in steerings})
    assert list(range(100, 164)) == [request.seed for request in requests]
    assert not any(
        request.steerings for request in grid_requests(PROMPT, directions(32, 1, 1), GridShape(4, 0, 5), "all")
    )


@pytest.mark.usefixtures("one_thread")
def test_a_ladder_compares_within_rounds(folder: Path) -> None:
    """Each variant once a round; ratios against the named base; the same tokens every time."""
    with Engine.load(folder) as engine:
        bank = directions(engine.d_model, 1, 4)
        ladder = climb(engine, bank, variants(PROMPT, bank, 4, 3), 2, engine_environment(engine))

    assert (4, 3) == (ladder.rows, ladder.new_tokens)
    assert all(2 == len(step.seconds) and step.repeats for step in ladder.steps.values())
    step, base = ladder.steps[condition_name(4)], ladder.steps[condition_name(1)]
    assert step.seconds[1] / base.seconds[1] == ladder.ratios(condition_name(4))[1]
    assert OFF == base.against


@pytest.mark.slow
def test_memory_is_measured_in_processes_of_its_own(folder: Path) -> None:
    """Peaks lie above what stood before; a row's own bytes are keys and values of 1 + 3 tokens."""
    memory = measure_memory(folder, PROMPT, rows=16, new_tokens=3, repeats=1)

    assert 4 * 4 * 2 * 2 * 8 * 4 == memory.own_bytes_per_row == 4 * key_value_bytes(small_llama(), 4)
    for peaks in (memory.one_row, memory.all_rows, memory.generate_rows):
        assert peaks[0].peak >= peaks[0].before > 100 << 20
    assert 0.9 < memory.ratios_of_peaks[0] < 1.3


@pytest.mark.usefixtures("one_thread")
def test_the_gpu_case_runs_in_small_without_a_gpu(tmp_path: Path) -> None:
    """All of it but the device: bfloat16, ways beside each other, and a share of the roofline on a known card."""
    config = small_llama()
    write_checkpoint(config, tmp_path, dtype="bfloat16")
    grid = GridWork(conditions=2, samples=2, prompt_tokens=160, new_tokens=3, steered_block=1, span="generation")
    case = run_case(str(tmp_path), config, grid, (1, 1))
    known = GpuCase(timing=case.timing, floor=floor_of(config, grid, "NVIDIA H200"), ours_peak_bytes=0)
    console = Console(record=True, width=120)
    print_case(known, console)

    assert case.floor is None or case.ours_peak_bytes > 0
    assert "bfloat16" == case.timing.environment.dtype
    assert 1 == len(case.timing.ways[PER_CONDITION].seconds)
    assert all(0 < share < 1 for share in known.roofline_shares)
    assert "share of the roofline" in console.export_text()


def test_only_cards_with_known_peaks_have_a_roofline() -> None:
    """No number is guessed for another card."""
    grid = gpu_grid("generation", samples=1)

    assert floor_of(small_llama(), grid, "NVIDIA H200") is not None
    assert floor_of(small_llama(), grid, "Another Card") is None


def test_the_cases_are_those_that_the_readme_names() -> None:
    """Two thirds of depth, 1,024 prompt tokens, 48 new ones."""
    work: Work = CASES["16x16"].work(400, 12)

    assert {"5x8", "16x16", "16x16-generation"} == set(CASES)
    assert (7, 1024, 48, 256) == (work.layer, len(work.prompts[0]), work.new_tokens, work.rows)
