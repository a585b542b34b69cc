"""Stories by the checkpoint itself: every slot ends as a story or its rejects; a stopped run ends like a whole one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evalharness import selfwritten
from evalharness.checkpoint import resolve_checkpoint
from evalharness.errors import UsageError
from evalharness.selfwritten import REJECTS, STORIES, Writing, write_stories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evalharness.engine import Engine

WRITING = Writing(concepts=("calm", "angry"), topics=3, per_topic=2, attempts=2, least_words=3, max_new_tokens=24)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An organism: the prompt is longer than the context of the tiny checkpoints."""
    from evalharness.engine import Engine  # noqa: PLC0415 - most tests need no torch

    with Engine.load(resolve_checkpoint("organism:safe")) as loaded:
        yield loaded


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_every_slot_is_accepted_or_tried_to_the_end(engine: Engine, tmp_path: Path):
    """Random weights write noise: what passes stands once, what does not has its reasons, attempt by attempt."""
    written = write_stories(engine, WRITING, tmp_path)
    accepted, rejected = rows(tmp_path / STORIES), rows(tmp_path / REJECTS)
    slots = {(row["concept"], row["topic"], row["number"]) for row in (*accepted, *rejected)}
    assert written.wanted == len(slots) == 12
    assert written.accepted == len(accepted)
    done = {(row["concept"], row["topic"], row["number"]) for row in accepted}
    for slot in slots - done:
        assert [row["attempt"] for row in rejected if (row["concept"], row["topic"], row["number"]) == slot] == [0, 1]
    assert all(row["faults"] for row in rejected)
    assert {row["person"] for row in (*accepted, *rejected)} == {"first", "third"}


def test_a_stopped_run_goes_on(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stopped between two batches and with a torn last line, it ends with the files of an uninterrupted run."""
    monkeypatch.setattr(selfwritten, "BATCH", 4)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    write_stories(engine, WRITING, whole)
    calls = []

    def once(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return asked(*given)  # type: ignore[arg-type]

    asked = engine.generate
    monkeypatch.setattr(engine, "generate", once)
    with pytest.raises(KeyboardInterrupt):
        write_stories(engine, WRITING, stopped)
    monkeypatch.undo()
    monkeypatch.setattr(selfwritten, "BATCH", 4)
    with (stopped / REJECTS).open("a", encoding="utf-8") as file:
        file.write('{"concept": "ca')
    write_stories(engine, WRITING, stopped)
    for name in (STORIES, REJECTS):
        assert rows(whole / name) == rows(stopped / name)


def test_another_task_is_refused(engine: Engine, tmp_path: Path):
    """A folder with stories of other settings is not mixed with these."""
    write_stories(engine, WRITING, tmp_path)
    with pytest.raises(UsageError, match="another task"):
        write_stories(engine, Writing(concepts=("calm",), topics=3), tmp_path)
    with pytest.raises(UsageError, match="at most 100"):
        write_stories(engine, Writing(concepts=("calm",), topics=101), tmp_path / "other")
