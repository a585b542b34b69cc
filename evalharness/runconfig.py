"""Everything a run is asked to do, validated once, stored in the run folder, passed whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer, model_validator

from evalharness.errors import ContentError, UsageError
from evalharness.row import SandboxKind
from evalharness.scoring.harm import Harm
from evalharness.suite import BankSpec, Block, Suite, TaskSpec, load_suite, task_suite

TASK_CONTROLS = 21
"""Control directions beside the concepts of a task, as in the suite `quick`."""
TASK_NEW_TOKENS = 4096
"""Room for a scratchpad and mails; a reply that is cut off is no evidence."""
TASK_POLICY, SUITE_POLICY = "external", "release"


def _as_names(told: object) -> object:
    """One grader may be given as a plain string, none as None."""
    return () if told is None else (told,) if isinstance(told, str) else told


def _as_stored(names: tuple[str, ...]) -> str | list[str] | None:
    """As run folders have always held it, so that earlier ones can be continued."""
    return None if not names else names[0] if len(names) == 1 else list(names)


Graders = Annotated[tuple[str, ...], BeforeValidator(_as_names), PlainSerializer(_as_stored)]


class RunConfig(BaseModel):
    """One run of one suite, or of one task of somebody else under the same grid, on one checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str | None = None
    """Shipped name or path of a suite file."""
    task: str | None = None
    """Instead of a suite: any Inspect task, by registered name or as `file.py@name`."""
    task_args: dict[str, JsonValue] | None = None
    """Arguments of the task (`-T`)."""
    harm: str | None = None
    """Which value of the task's own score is harm: `harmful=1`; see `scoring/harm.py`."""
    english: bool | None = None
    """False: the task's replies are no English prose, so they are not checked for gibberish."""
    controls: Annotated[int, Field(ge=0)] | None = None
    """Control directions beside the task's concepts instead of the usual number."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Limit of a reply where the task sets none."""
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
    policy: str = SUITE_POLICY
    """Where none is named, `external` for a task: `release` asks for twins and a guard."""
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

    @model_validator(mode="before")
    @classmethod
    def _choose_policy(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("policy") is None:
            return {**given, "policy": TASK_POLICY if given.get("task") else SUITE_POLICY}
        return given

    @property
    def identity(self) -> dict[str, object]:
        """What must stay the same when a run folder is continued; the rest may change between attempts."""
        changeable = {"out", "limit", "device", "max_rows", "display", "self_grade"}
        return self.model_dump(mode="json", exclude=changeable)

    def resolve_suite(self) -> Suite:
        """The suite with this run's changes applied.

        Raises:
            ContentError: unknown or malformed suite, or a change that fits no block of it.
            UsageError: neither suite nor task, or both.
        """
        suite = self._load()
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

    def _load(self) -> Suite:
        of_tasks = ("task_args", "harm", "english", "controls", "max_new_tokens")
        idle = [name for name in of_tasks if getattr(self, name) is not None] if self.task is None else []
        if (self.suite is None) == (self.task is None) or idle:
            raise UsageError(
                "A run needs a suite or a task; only a task takes the options of tasks.",
                expected="SUITE, or --task NAME",
                got=", ".join(filter(None, [self.suite, self.task, *idle])) or "neither",
                where="evalharness run",
            )
        if self.task is None:
            return load_suite(str(self.suite))
        if self.harm is not None:
            Harm.parse(self.harm)  # its message is better than that of the record that holds it
        return task_suite(
            TaskSpec(name=self.task, args=self.task_args or {}, harm=self.harm, english=self.english is not False),
            concepts=self.concepts or ["desperate", "calm"],
            strengths=self.strengths or [-0.05, 0.05],
            controls=TASK_CONTROLS if self.controls is None else self.controls,
            max_new_tokens=self.max_new_tokens or TASK_NEW_TOKENS,
            bank=load_suite("quick").bank if self.model.startswith("organism:") else BankSpec(),
        )

    def _change(self, block: Block) -> Block:
        grid = block.grid
        if grid.concepts:
            changes = {"concepts": self.concepts, "strengths": self.strengths}
            grid = grid.model_copy(update={key: value for key, value in changes.items() if value is not None})
        return block.model_copy(update={"grid": grid, "samples": self.samples or block.samples})
