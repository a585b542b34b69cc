"""The comparison runs all ways on the same work; how fast they are is for a person to read."""

from __future__ import annotations

import pytest
from rich.console import Console

from evalharness.bench import (
    MIXED,
    PER_CONDITION,
    MixedRows,
    Ours,
    PerCondition,
    direction_bank,
    engine_environment,
    load_plain_model,
    write_timing,
)
from evalharness.cli import _run
from evalharness.engine import Engine
from evalharness.errors import EngineError
from evalharness.timing import Drawn, Timing, Way, Work, print_timing, time_ways

WORK = Work(prompts=[[7, 8, 9], [7, 8]], strengths=(0.0, 0.1), layer=1, new_tokens=3)


class Short:
    """A way that does less than it was asked to."""

    def draw(self, work: Work) -> Drawn:
        return Drawn(work.rows * work.new_tokens - 1, None)


class Broken:
    """A way that does not run."""

    def draw(self, work: Work) -> Drawn:
        raise ImportError(f"no [kernel] for {work.rows} rows")


def timed(engine: Engine, checkpoint, work: Work = WORK, **more: Way | str) -> Timing:
    """Both usual ways, two runs each, and more."""
    bank = direction_bank(engine.d_model, work.layer)
    model = load_plain_model(str(checkpoint()), "float32")
    others: dict[str, Way | str] = {PER_CONDITION: PerCondition(model, bank), MIXED: MixedRows(model, bank), **more}
    return time_ways(Ours(engine, bank), others, work, dict.fromkeys(others, 2), engine_environment(engine))


@pytest.mark.parametrize("span", ["all", "generation"])
def test_every_way_draws_the_same_greedy_tokens(engine: Engine, checkpoint, span) -> None:
    """Equal prompts, vectors, strengths and positions: otherwise the times would be of different work."""
    work = Work(prompts=WORK.prompts, strengths=(0.0, 0.1, 0.4), layer=1, new_tokens=6, span=span)
    bank = direction_bank(engine.d_model, 1)
    model = load_plain_model(str(checkpoint()), "float32")
    ours, by_condition, mixed = (
        way.draw(work.probe()) for way in (Ours(engine, bank), PerCondition(model, bank), MixedRows(model, bank))
    )

    assert ours == by_condition == mixed
    assert ours.rows is not None
    assert len(set(ours.rows)) > 1


def test_each_run_of_another_way_stands_between_two_of_ours(engine: Engine, checkpoint) -> None:
    """Two ways, two rounds: four runs with ours before and after, and ours repeats itself."""
    timing = timed(engine, checkpoint)

    assert {PER_CONDITION, MIXED} == set(timing.ways)
    assert len(timing.ours_s) == 5
    first, second = timing.ours_s[:2]
    assert (first + second) / 2 == timing.ways[PER_CONDITION].ours_s[0]
    assert all(2 == len(way.ratios) and min(way.ratios) > 0 for way in timing.ways.values())
    assert timing.ours_repeats
    assert 0 < timing.cpu_share


def test_a_way_that_draws_less_is_not_timed(engine: Engine, checkpoint) -> None:
    """A ratio between different amounts of work means nothing."""
    with pytest.raises(EngineError, match="drew 15 tokens where 16"):
        timed(engine, checkpoint, Work(prompts=[[7, 8]], strengths=(0.0, 0.1), layer=1, new_tokens=8), short=Short())


def test_a_way_that_is_missing_or_broken_is_named_with_its_reason(engine: Engine, checkpoint) -> None:
    """No number, and the words that say why, brackets included."""
    timing = timed(engine, checkpoint, gone="not installed: pip install '.[x]'", broken=Broken())
    console = Console(record=True, width=120)
    print_timing(timing, console)
    text = console.export_text()

    assert "not installed: pip install '.[x]'" in text
    assert timing.ways["broken"].not_run == "ImportError: no [kernel] for 2 rows"
    assert () == timing.ways["broken"].seconds
    assert "2 conditions x 2 samples, 3 prompt tokens, 3 new tokens" in text


def test_a_timing_is_read_back_as_it_was_written(engine: Engine, checkpoint, tmp_path) -> None:
    """With the machine and the versions in it."""
    timing = timed(engine, checkpoint)
    write_timing(timing, tmp_path / "out" / "timing.json")

    assert timing == Timing.model_validate_json((tmp_path / "out" / "timing.json").read_bytes())
    assert {"torch", "transformers", "python"} <= set(timing.environment.versions)


@pytest.mark.slow
def test_the_verb_prints_and_writes_what_it_timed(tmp_path, capsys) -> None:
    """On a shipped organism, with the numbers of a file that can be read back."""
    out = tmp_path / "timing.json"
    options = ["--samples", "1", "--new-tokens", "2", "--rounds", "1", "--out", str(out)]

    assert 0 == _run(["bench", *options])
    said = capsys.readouterr().out
    timing = Timing.model_validate_json(out.read_bytes())
    assert "times ours" in said
    assert (5, 1, 2) == (timing.conditions, timing.samples, timing.new_tokens)
    assert all("5 of 5" == way.same_greedy_rows for way in timing.ways.values())
