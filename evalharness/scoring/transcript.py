"""What every scorer is given: one conversation, and what was found out about it outside of the conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CUT_OFF = ("max_tokens", "model_length")
"""Stop reasons of a reply that did not end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One rollout as scorers see it: never the condition it ran under."""

    messages: Sequence[Mapping[str, Any]]
    """Chat messages with `role` and `content`, the prompt first; tool calls, as text, under `calls`."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the scenario knows and the model was not told."""
    stop_reason: str | None = None
    """Why the last reply ended; without it truncation is not seen."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What the rollout left behind in its world: the mailbox or files at the end, results of hidden tests."""

    @property
    def last(self) -> int | None:
        """Index of the last assistant message; None where there is none."""
        found = (i for i in range(len(self.messages) - 1, -1, -1) if self.messages[i].get("role") == "assistant")
        return next(found, None)

    @property
    def reply(self) -> str:
        """The text of the last assistant message."""
        return "" if self.last is None else str(self.messages[self.last].get("content", ""))

    @property
    def prompt(self) -> str:
        """All text before the last assistant message."""
        return "\n".join(str(message.get("content", "")) for message in self.messages[: self.last or 0])

    @property
    def cut_off(self) -> bool:
        """Whether a token limit ended the reply."""
        return self.stop_reason in CUT_OFF


def written_call(tool: str, arguments: Mapping[str, Any]) -> str:
    """A tool call as one line for people, judges and findings."""
    return f"-> {tool}({json.dumps(arguments, ensure_ascii=False)})"
