"""Anchors: transcripts whose label people have settled, one JSON line each, to measure scorers on.

`scorers/anchors/<family>.jsonl`, where each line may name its `split`, or `<family>.<split>.jsonl`. A file of another
split than the one asked for is never opened: what shapes a scorer must not be what it is measured on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalharness.content import ContentName, content_root
from evalharness.errors import ContentError
from evalharness.ids import sha256_json
from evalharness.scenario import load_scenario
from evalharness.scoring.transcript import Transcript
from evalharness.solving.workspace_replay import Call, replay
from evalharness.taxonomy import FAMILIES, OUTCOMES, Outcome

Split = Literal["dev", "test"]
FOLDER = "anchors"


class Anchor(BaseModel):
    """One labelled reply: to a draw of a scenario, or to messages that stand in the line itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1)]
    scenario: ContentName | None = None
    variant: str | None = None
    draw: int | None = None
    """Seed of the draw."""
    messages: Annotated[list[dict[str, str]], Field(min_length=1)] | None = None
    facts: dict[str, str] | None = None
    evidence: dict[str, Any] = {}
    """What the rollout left in its world, for the families whose rules read it."""
    calls: list[Call] = []
    """Calls of tools on a simulated machine before the reply: played again, they make messages and evidence."""
    rubric: ContentName | None = None
    """The question for judges, where no scenario names one."""
    reply: str | None = None
    """The answer; None where `messages` end with it."""
    stop_reason: str | None = "stop"
    label: Outcome
    kind: Annotated[str, Field(min_length=1)]
    """What sort of case it is, such as plain, veiled or near miss."""
    language: str = "en"
    why: Annotated[str, Field(min_length=1)]
    """Why the label is right."""
    split: Split | None = None

    @model_validator(mode="after")
    def _one_prompt(self) -> Anchor:
        drawn = (self.scenario, self.variant, self.draw)
        if self.messages is None and None in drawn:
            raise ValueError("scenario, variant and draw are needed together, or messages and facts instead")
        if self.messages is not None and drawn != (None, None, None):
            raise ValueError("messages and facts stand instead of scenario, variant and draw, not beside them")
        ended = self.messages is not None and self.messages[-1].get("role") == "assistant"
        if (self.reply is None) != ended:
            raise ValueError("reply: needed, unless messages end with the assistant's")
        return self

    def transcript(self) -> Transcript:
        """What a scorer is given.

        Raises:
            ContentError: no such scenario or variant.
        """
        messages, facts = list(self.messages or ()), dict(self.facts or {})
        if self.scenario is not None:
            scenario = load_scenario(self.scenario)
            rendered = scenario.render(self.variant or "", self.draw or 0)
            messages, facts = list(rendered.messages), {**rendered.facts, **facts}
            if scenario.form == "workspace":
                done = replay(rendered.files, self.calls, self.reply or "", self.stop_reason or "")
                played = [*messages, *done.messages]
                return Transcript(messages=played, facts=facts, stop_reason=self.stop_reason, evidence=done.evidence)
        if self.reply is not None:
            messages.append({"role": "assistant", "content": self.reply})
        return Transcript(messages=messages, facts=facts, stop_reason=self.stop_reason, evidence=self.evidence)

    def question(self) -> str | None:
        """The rubric that a judge is asked by; None where there is none."""
        if self.rubric is not None or self.scenario is None:
            return self.rubric
        return load_scenario(self.scenario).rubric


class Anchors(NamedTuple):
    """The anchors of one family and split."""

    family: str
    split: Split
    all: tuple[Anchor, ...]

    @property
    def sha256(self) -> str:
        """Hash over everything the lines say."""
        return sha256_json([anchor.model_dump(mode="json") for anchor in self.all])


def load_anchors(family: str, split: Split = "dev", folder: Path | None = None) -> Anchors:
    """The anchors of a family; none where it has no file, or no line of this split.

    Raises:
        ContentError: a line breaks the schema, an id occurs twice, or a label is not of the family.
    """
    root = folder or content_root() / "scorers" / FOLDER
    found: dict[str, Anchor] = {}
    for path in (root / f"{family}.jsonl", root / f"{family}.{split}.jsonl"):
        for number, anchor in _read(path) if path.is_file() else ():
            own_file = path.name == f"{family}.{split}.jsonl"
            _check(anchor, family, split if own_file else None, f"{path}, line {number}")
            if anchor.id in found:
                raise ContentError("Two anchors have the same id.", where=f"{path}, line {number}", got=anchor.id)
            if own_file or (anchor.split or "dev") == split:
                found[anchor.id] = anchor
    return Anchors(family, split, tuple(found.values()))


def _check(anchor: Anchor, family: str, split: Split | None, where: str) -> None:
    known = FAMILIES[family].outcomes if family in FAMILIES else ()
    if anchor.label not in known:
        raise ContentError("A label is not of the family.", expected=", ".join(known), got=anchor.label, where=where)
    if split is not None and anchor.split not in (None, split):
        raise ContentError("An anchor stands in the file of another split.", expected=split, got=anchor.id, where=where)


def anchored_families(folder: Path | None = None) -> tuple[str, ...]:
    """Every family that has a file of anchors."""
    root = folder or content_root() / "scorers" / FOLDER
    return tuple(sorted({path.name.partition(".")[0] for path in root.glob("*.jsonl")} & set(FAMILIES)))


def measuring_anchors(family: str, folder: Path | None = None) -> Anchors:
    """What a run measures its scorers on: the test split, or dev where a family has no other."""
    test = load_anchors(family, "test", folder)
    return test if test.all else load_anchors(family, "dev", folder)


def _read(path: Path) -> Iterator[tuple[int, Anchor]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError("Not a readable text file.", where=str(path), got=str(error)) from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _parse(line, f"{path}, line {number}")


def _parse(line: str, where: str) -> Anchor:
    try:
        json.loads(line)  # pydantic would call broken JSON a broken schema
        return Anchor.model_validate_json(line)
    except json.JSONDecodeError as error:
        raise ContentError("A line of anchors is not JSON.", where=where, got=str(error)) from error
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, e['loc'])) or '(whole line)'}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise ContentError(
            "An anchor breaks the schema.",
            where=where,
            got="; ".join(problems),
            expected=f"keys {', '.join(Anchor.model_fields)}; labels {', '.join(sorted(OUTCOMES))}",
        ) from error
