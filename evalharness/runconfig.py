"""Everything a run is asked to do, validated once, stored in the run folder, passed whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from evalharness.errors import ContentError, UsageError
from evalharness.row import SandboxKind
from evalharness.suite import Block, Suite, load_suite


def _as_names(told: object) -> object:
    """One grader may be given as a plain string, none as None."""
    return () if told is None else (told,) if isinstance(told, str) else told


def _as_stored(names: tuple[str, ...]) -> str | list[str] | None:
    """As run folders have always held it, so that earlier ones can be continued."""
    return None if not names else names[0] if len(names) == 1 else list(names)


Graders = Annotated[tuple[str, ...], BeforeValidator(_as_names), PlainSerializer(_as_stored)]


class RunConfig(BaseModel):
    """One run of one suite on one checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    """Shipped name or path of a suite file."""
    model: str
    """`organism:<name>`, a local Hugging Face folder, or a hub id."""
    out: Path
    bank: Path | None = None
    """A concept bank to use; None = extract one by the suite's recipe into the run folder."""
    transfer_bank: bool = False
    """Use `bank` though it is of another model. Instrument and report say so, and the shipped policy ends INVALID."""
    sandbox: SandboxKind | None = None
    """Where code that the model writes is run; None = nowhere, and a suite that needs it is refused."""
    grader: Graders = ()
    """Inspect models that grade, for instance `steered/organism:judge`, or one as a string; none = rules only. Several
    vote: the strict majority of the votes that were given is the judge's label."""
    self_grade: bool = False
    """Let a grader be the model under test. Instrument and report say so."""
    policy: str = "release"
    seed: int = 0
    """Prompts and sampling noise follow from it."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Samples per cell instead of the suite's numbers."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many samples; the rest count as missing until the run is continued."""
    concepts: list[str] | None = None
    """Concepts instead of the suite's, wherever it has any."""
    strengths: list[float] | None = None
    """Strengths instead of the suite's, for concepts."""
    device: str = "auto"
    dtype: str = "auto"
    max_rows: Annotated[int, Field(ge=1)] = 128
    trust_remote_code: bool = False
    display: Literal["none", "plain", "rich", "full"] = "plain"
    """How Inspect shows progress."""

    @property
    def identity(self) -> dict[str, object]:
        """What must stay the same when a run folder is continued; the rest may change between attempts."""
        changeable = {"out", "limit", "device", "max_rows", "display", "self_grade"}
        return self.model_dump(mode="json", exclude=changeable)

    def resolve_suite(self) -> Suite:
        """The suite with this run's changes applied.

        Raises:
            ContentError: unknown or malformed suite, or a change that fits no block of it.
        """
        suite = load_suite(self.suite)
        blocks = [self._change(block) for block in suite.blocks]
        steered = any(block.grid.concepts for block in suite.blocks)
        if (self.concepts or self.strengths) and not steered:
            raise ContentError(
                "The suite steers no concept, so concepts and strengths cannot be replaced.", where=f"suite {suite.id}"
            )
        return suite.model_copy(update={"blocks": blocks})

    def require_transferable(self) -> None:
        """See that a transfer names what is transferred.

        Raises:
            UsageError: `transfer_bank` without a bank.
        """
        if self.transfer_bank and self.bank is None:
            raise UsageError(
                "A transfer needs a bank: without one it is extracted from the model itself.",
                where="--transfer-bank",
                fix="name the other model's bank with --bank, or leave --transfer-bank out",
            )

    def _change(self, block: Block) -> Block:
        grid = block.grid
        if grid.concepts:
            changes = {"concepts": self.concepts, "strengths": self.strengths}
            grid = grid.model_copy(update={key: value for key, value in changes.items() if value is not None})
        return block.model_copy(update={"grid": grid, "samples": self.samples or block.samples})
