"""The checkpoint writes its own stories: asked through the engine, filtered, every reject kept with its reason.

The paper's vectors come from stories by the subject model itself (Sofroniew et al. 2026, extraction): 100 topics with
12 stories each per emotion. A stopped run goes on where its files end.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jsonlines
from pydantic import BaseModel, ConfigDict, Field

from evalharness.content import content_path, load_record, template_sandbox
from evalharness.errors import StorageError, UsageError
from evalharness.ids import derive_seed, sha256_json
from evalharness.quality import StoryFilter
from evalharness.request import Completion, Request, Sampling

if TYPE_CHECKING:
    from evalharness.engine import Engine

STORIES, REJECTS, TASK = "stories.jsonl", "rejects.jsonl", "task.json"
BATCH = 512
"""Stories asked for at a time: what a stopped run loses at most is what was being written."""


class StoryPrompt(BaseModel):
    """`corpora/self_written.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["self-written/1"] = Field(alias="schema")
    version: int
    system: str
    user: str
    persons: dict[str, str]


class Topics(BaseModel):
    """`corpora/topics.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["topics/1"] = Field(alias="schema")
    stories: dict[str, str]
    more: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What is to be written."""

    concepts: tuple[str, ...]
    topics: int = 24
    """The first so many of the shipped 100."""
    per_topic: int = 1
    attempts: int = 3
    """Tries for a story that the filter rejects."""
    least_words: int = 60
    max_new_tokens: int = 260
    seed: int = 0


class Written(NamedTuple):
    """What came of it."""

    stories: Path
    accepted: int
    wanted: int
    rejected: dict[str, int]
    """Rejected attempts by fault; one attempt may have several."""


class _Slot(NamedTuple):
    concept: str
    topic: str
    person: str
    number: int


def write_stories(engine: Engine, writing: Writing, folder: Path) -> Written:
    """Let the engine's checkpoint write; files in `folder`: the accepted stories, the rejects, and what was asked.

    Raises:
        UsageError: `folder` holds stories of another task, or there are fewer topics than asked for.
        StorageError: the folder cannot be written.
    """
    prompt = load_record(StoryPrompt, content_path("corpora", "self_written.yaml"))
    slots = list(_slots(writing, prompt))
    _open(engine, writing, prompt, folder)
    accepted, rejected = _read(folder / STORIES), _read(folder / REJECTS)
    judge = StoryFilter(writing.least_words, accepted)
    for attempt in range(writing.attempts):
        done = {(row["concept"], row["topic"], row["number"]) for row in accepted}
        tried = {(row["concept"], row["topic"], row["number"]) for row in rejected if row["attempt"] == attempt}
        todo = [slot for slot in slots if (slot.concept, slot.topic, slot.number) not in done | tried]
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]
            replies = engine.generate([_request(slot, prompt, writing, attempt) for slot in part])
            rows = [_judged(slot, reply, judge, attempt) for slot, reply in zip(part, replies, strict=True)]
            accepted += _append(folder / STORIES, [row for row in rows if not row["faults"]])
            rejected += _append(folder / REJECTS, [row for row in rows if row["faults"]])
    faults = Counter(fault for row in rejected for fault in row["faults"])
    return Written(folder / STORIES, len(accepted), len(slots), dict(faults))


def _slots(writing: Writing, prompt: StoryPrompt) -> Iterator[_Slot]:
    shipped = load_record(Topics, content_path("corpora", "topics.yaml"))
    topics = [*shipped.stories.values(), *shipped.more]
    if writing.topics > len(topics):
        raise UsageError("There are not so many topics.", expected=f"at most {len(topics)}", got=str(writing.topics))
    persons = list(prompt.persons)
    for concept in writing.concepts:
        for place, topic in enumerate(topics[: writing.topics]):
            for number in range(writing.per_topic):
                yield _Slot(concept, topic, persons[(place + number) % len(persons)], number)


def _request(slot: _Slot, prompt: StoryPrompt, writing: Writing, attempt: int) -> Request:
    template = template_sandbox().from_string(prompt.user)
    told = template.render(
        topic=slot.topic, concept=slot.concept, person=prompt.persons[slot.person], number=slot.number + 1
    )
    return Request(
        prompt=[{"role": "system", "content": prompt.system}, {"role": "user", "content": told}],
        sampling=Sampling(max_new_tokens=writing.max_new_tokens, top_p=0.95),
        seed=derive_seed("self-written", writing.seed, *slot, attempt),
    )


def _judged(slot: _Slot, reply: Completion, judge: StoryFilter, attempt: int) -> dict[str, Any]:
    text = " ".join(reply.text.split())
    faults: list[str] = [] if reply.stop_reason == "stop" else ["cut off"]
    faults = faults or list(judge.faults(slot.concept, text))
    return {**slot._asdict(), "attempt": attempt, "text": text, "faults": faults}


def _open(engine: Engine, writing: Writing, prompt: StoryPrompt, folder: Path) -> None:
    task = {
        "model_sha256": engine.model_sha256,
        "prompt": sha256_json(prompt.model_dump(by_alias=True)),
        **{name: getattr(writing, name) for name in writing.__slots__},
        "concepts": list(writing.concepts),
    }
    path = folder / TASK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            other = [name for name in task if found.get(name) != task[name]]
            if other:
                raise UsageError(
                    "The folder holds stories of another task.",
                    where=str(path),
                    expected="the same model, prompt and settings",
                    got=f"other {', '.join(other)}",
                    fix="name another folder, or delete this one",
                )
        path.write_text(json.dumps(task, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The stories could not be written to {folder}: {error}") from error


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; a line that was cut off by a crash is cut off the file as well."""
    if not path.is_file():
        return []
    held = path.read_bytes()
    whole = held.rfind(b"\n") + 1
    if whole < len(held):
        os.truncate(path, whole)
    return [json.loads(line) for line in held[:whole].decode().splitlines()]


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        with jsonlines.open(path, "a") as file:
            file.write_all(rows)
    except OSError as error:
        raise StorageError(f"The stories could not be written to {path}: {error}") from error
    return list(rows)
