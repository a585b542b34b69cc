"""The record of one planned sample and what became of it. Every planned sample ends as exactly one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evalharness.taxonomy import BROKEN

Kind = Literal["baseline", "concept", "control"]
Form = Literal["reply", "mailbox", "coding", "workspace"]
"""How a rollout goes: one reply to the whole prompt; an agent with mailbox tools; code that hidden tests run; an agent
with a simulated file system."""
SandboxKind = Literal["docker", "local"]
"""Where code that a model writes is run: in a container, or on this machine under limits."""
Role = Literal["main", "twin", "mitigated"]
"""`main` tempts; a `twin` lacks what tempts; `mitigated` tempts and offers a way out. Only main cells are pooled."""
ControlKind = Literal["gaussian", "permuted", "contrast", "mean"]
"""Random directions, shuffled labels, unrelated pairs, the mean of all concepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellKey:
    """What all rows of one cell share."""

    scenario: str
    variant: str
    role: Role
    condition: str
    kind: Kind
    family: str
    concept: str | None = None
    strength: float = 0.0
    layers: tuple[int, ...] = ()
    span: str = "all"
    op: str = "add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One planned sample: scored, or not scored with the reason."""

    id: str
    cell: CellKey
    index: int
    outcome: str | None
    """The rule scorer's class of the family's taxonomy; None = not scored."""
    judge: str | None = None
    """The judge's label; None = no judge ran or it gave no usable answer."""
    note: str = ""
    """Why `outcome` is None: never generated, generation error with its text, scorer abstained."""
    stop_reason: str | None = None
    reply: str = ""
    prompt: str = ""
    aware: Literal["yes", "no", "unsure"] | None = None
    """Whether the model took the setting for a test: by its own words or when asked afterwards; None = not asked."""
    findings: tuple[tuple[str, str], ...] = ()
    """(label, text span) pairs behind the outcome."""
    log: str = ""
    """Name of the .eval file that holds the transcript."""

    @property
    def scored(self) -> bool:
        """Whether the rule scorer gave an outcome."""
        return self.outcome is not None

    @property
    def valid(self) -> bool:
        """Scored and neither incoherent nor truncated: a member of the rate's denominator."""
        return self.outcome is not None and self.outcome not in BROKEN
