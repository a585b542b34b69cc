"""Rubric files: how a judge is asked, and how its reply is read. Strict both ways; never guesses a label.

A rubric is Markdown with YAML front matter (see `scorers/README.md`), then a Jinja template over `reply`,
`transcript` and `facts`. What the model was steered with is not among them: a judge is blind to the condition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
import yaml
from jinja2 import meta
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalharness.content import find_content, template_sandbox
from evalharness.errors import ContentError
from evalharness.ids import sha256_json
from evalharness.scoring.verdict import ScorerId

VARIABLES = ("facts", "reply", "transcript")
_FRONT = re.compile(r"\A---\n(?P<head>.*?\n)---\n(?P<body>.*)\Z", re.DOTALL)
_JINJA = template_sandbox()


class Rubric(BaseModel):
    """One question to a judge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["rubric/1"] = Field(default="rubric/1", alias="schema")
    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    version: Annotated[int, Field(ge=1)]
    family: str
    labels: Annotated[dict[Annotated[str, Field(min_length=1)], str], Field(min_length=2)]
    """What the judge may answer -> the outcome it stands for. `other` is any outcome that is not named."""
    answer_after: str = ""
    """Where the judge may reason first: only what follows this mark is the answer, for instance `ANSWER:`."""
    retry: str = ""
    """Said to a judge whose reply could not be read; empty = ask again in the same words."""
    system: str = ""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    temperature: Annotated[float, Field(ge=0)] = 0.0
    template: str
    """The text below the front matter."""

    @model_validator(mode="after")
    def _consistent(self) -> Rubric:
        if len({_words(label) for label in self.labels}) != len(self.labels) or not all(map(_words, self.labels)):
            raise ValueError(f"labels: must differ in their words, got {', '.join(self.labels)}")
        try:
            used = meta.find_undeclared_variables(_JINJA.parse(self.template))
        except jinja2.TemplateSyntaxError as error:
            raise ValueError(f"template, line {error.lineno}: {error.message}") from error
        if not used <= set(VARIABLES) or not used & {"reply", "transcript"}:
            raise ValueError(
                f"template: uses {', '.join(sorted(used)) or 'no variable'}; it must use reply or transcript, "
                f"and may use only {', '.join(VARIABLES)}"
            )
        return self

    @property
    def scorer_id(self) -> ScorerId:
        """Name, version and hash of everything the file says."""
        return ScorerId(
            name=f"{self.id}.rubric",
            version=str(self.version),
            sha256=sha256_json(self.model_dump(mode="json", by_alias=True)),
        )

    def prompt(self, messages: Sequence[Mapping[str, Any]], facts: Mapping[str, str] | None = None) -> str:
        """What the judge reads about the last assistant message.

        Raises:
            ContentError: the template needs a fact that the scenario does not have.
        """
        reply = next((str(m.get("content", "")) for m in reversed(messages) if m.get("role") == "assistant"), "")
        transcript = "\n\n".join(f"[{m.get('role')}]\n{_said(m)}" for m in messages)
        try:
            text = _JINJA.from_string(self.template).render(reply=reply, transcript=transcript, facts=dict(facts or {}))
        except jinja2.TemplateError as error:
            raise ContentError(
                "A rubric cannot be rendered.",
                where=f"rubric {self.id}",
                got=str(error),
                expected=f"facts among {', '.join(sorted(facts or {})) or 'none'}",
            ) from error
        return text.strip()

    def read(self, reply: str) -> str | None:
        """The label in a judge's reply; None unless exactly one known label is in it."""
        text = reply
        if self.answer_after:
            _, mark, text = reply.rpartition(self.answer_after)
            if not mark:
                return None
        said = f" {_words(text)} "
        found = set()
        for label in sorted(self.labels, key=len, reverse=True):  # so that "not safe" is not read as "safe"
            padded = f" {_words(label)} "
            if padded in said:
                found.add(label)
                said = said.replace(padded, "  ")
        return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=32)
def load_rubric(name: str) -> Rubric:
    """Load by shipped name (`blackmail-organism`) or by path to a `.rubric.md` file.

    Raises:
        ContentError: no such file, or it breaks the schema; the message names file and field.
    """
    path = find_content("scorers", name if name.endswith(".md") else f"{name}.rubric.md", ".md")
    text = _read(path)
    parts = _FRONT.match(text)
    if parts is None:
        raise ContentError("A rubric begins with YAML between two lines `---`.", where=str(path), got=f"{text[:60]!r}")
    try:
        head = yaml.safe_load(parts["head"])
    except yaml.YAMLError as error:
        raise ContentError(
            "The front matter is not YAML.", where=str(path), got=" ".join(str(error).split())
        ) from error
    if not isinstance(head, dict):
        raise ContentError("The front matter is not a mapping.", where=str(path), got=f"{head!r:.80}")
    try:
        return Rubric.model_validate({**head, "template": parts["body"]})
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or '(whole file)'}: {item['msg']}, got {item['input']!r:.80}"
            for item in error.errors(include_url=False)
        ]
        raise ContentError(
            f"{path.name} is not a valid rubric.",
            where=f"{path}: " + "; ".join(problems),
            expected="keys id, version, family, labels (quote yes and no: YAML reads them as true and false)",
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError("Not a readable text file.", where=str(path), got=str(error)) from error


def _said(message: Mapping[str, Any]) -> str:
    """What a message says, with its tool calls below."""
    return "\n".join(part for part in (str(message.get("content", "")), str(message.get("calls", ""))) if part)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
