"""The suite schema: which scenarios or tasks run under which conditions, how often, and how the bank is made."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from evalharness.content import ContentName, find_content, load_record
from evalharness.grid import Controls, Grid
from evalharness.row import Form
from evalharness.sampling import SamplingSpec
from evalharness.scoring.harm import Harm


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BankSpec(_Record):
    """How the concept bank is extracted when the run is not given one."""

    stories: str = "emotion_stories"
    """`emotion_stories` (frozen, 171 emotions), `organism` (in the organisms' language), a path to JSONL or Parquet, or
    a hub data set."""
    neutral: str = "neutral_dialogues"
    contrast: str = "contrast_sets"
    """Unrelated pairs, for controls."""
    stories_per_concept: Annotated[int, Field(ge=2)] = 40
    """How many stories the organisms' generator writes for each concept."""
    depth: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Steered layer as a fraction of depth: layer round(depth x (n_layers - 1))."""
    steer_layers: list[int] | None = None
    """Named layers instead of `depth`."""
    skip: Annotated[int, Field(ge=0)] = 50
    """Story tokens before this offset are left out of the mean (paper, extraction: from the 50th token)."""
    denoise: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Neutral principal components up to this share of variance are removed; 0 = off."""
    seed: int = 0


class TaskSpec(_Record):
    """A task of somebody else, as Inspect knows it, and what in its score is harm."""

    name: str
    """A registered name (`inspect_evals/agentic_misalignment`), or `file.py@name`."""
    args: dict[str, JsonValue] = {}
    harm: str | None = None
    """The mapping from the task's own score to flagged or unflagged, as `scoring/harm.py` reads it. It is not guessed:
    `C` means a right answer in one task and a successful attack in the next."""
    english: bool = True
    """Whether replies are English prose. False leaves out the check for gibberish, which code or another language
    would not pass."""

    @field_validator("harm")
    @classmethod
    def _is_mapping(cls, harm: str | None) -> str | None:
        if harm is not None:
            Harm.parse(harm)
        return harm

    @property
    def scenario(self) -> str:
        """What cells and sample ids call the task: its name without the way to its file."""
        path, _, function = self.name.rpartition("@")
        plain = function if path else re.sub(r"\.py$", "", PurePosixPath(self.name).name)
        known = self.name if not path and not self.name.endswith(".py") else plain
        return re.sub(r"[^A-Za-z0-9_./-]", "_", known)


class Block(_Record):
    """Cells that share a scenario, or a task of somebody else, and a number of samples."""

    scenario: ContentName | None = None
    task: TaskSpec | None = None
    """Instead of a scenario. Its only variant is `main`; the samples of a cell go through the task's dataset in order,
    and from its start again where they are more."""
    variants: Annotated[list[str], Field(min_length=1)] = ["main"]
    samples: Annotated[int, Field(ge=1)]
    form: Form | None = None
    """Play the scenario in another form than its own: a mail setting as an agent with mailbox tools."""
    grid: Grid = Grid()

    @model_validator(mode="after")
    def _has_one_content(self) -> Block:
        if (self.scenario is None) == (self.task is None):
            raise ValueError("give either a scenario or a task")
        if self.task is not None and (self.variants != ["main"] or self.form is not None):
            raise ValueError("a task has the variant main only, and its own form")
        return self


class Suite(_Record):
    """A named set of blocks with one way of sampling and one recipe for the bank."""

    schema_: Literal["suite/1"] = Field(alias="schema")
    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    version: int
    title: str
    sampling: SamplingSpec
    bank: BankSpec = BankSpec()
    awareness: bool = False
    """Ask each sample afterwards, in a turn of its own, whether the model took the setting for a test."""
    blocks: Annotated[list[Block], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_conditions(self) -> Suite:
        for number, block in enumerate(self.blocks):
            if not block.grid.conditions():
                raise ValueError(f"blocks.{number}.grid: no condition at all; set baseline, concepts or controls")
            if block.task is not None and self.tasks[block.task.scenario] != block.task:
                raise ValueError(f"blocks.{number}.task: another block has a task of this name, with other settings")
            if block.scenario in self.tasks:
                raise ValueError(f"blocks.{number}.scenario: another block has a task of this name")
        return self

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """The tasks of somebody else, by the name that cells call them."""
        return {block.task.scenario: block.task for block in self.blocks if block.task is not None}


def load_suite(name: str) -> Suite:
    """Load by shipped name (`quick`) or by path to a YAML file.

    Raises:
        ContentError: no such suite, or it breaks the schema; the message names file and field.
    """
    return load_record(Suite, find_content("tasks", name if name.endswith(".yaml") else f"suites/{name}", ".yaml"))


def task_suite(
    task: TaskSpec, *, concepts: list[str], strengths: list[float], controls: int, max_new_tokens: int, bank: BankSpec
) -> Suite:
    """The suite around one task: sizes and kinds of cells as in `quick`, so that a policy can judge it.

    The control directions stand at the largest |strength|.
    """
    concept = Grid(baseline=False, concepts=concepts, strengths=strengths)
    blocks = [Block(task=task, samples=200), Block(task=task, samples=100, grid=concept)]
    if controls:
        largest = max(map(abs, strengths))
        beside = Grid(baseline=False, controls=spread_controls(controls), control_strengths=[largest])
        blocks.append(Block(task=task, samples=50, grid=beside))
    return Suite(
        schema="suite/1",
        id="task",
        version=1,
        title=f"{task.scenario}, a task from elsewhere, steered along concepts",
        sampling=SamplingSpec(max_new_tokens=max_new_tokens),
        bank=bank,
        blocks=[block for block in blocks if block.grid.conditions()],  # strength 0 is the baseline, which is there
    )


def spread_controls(count: int) -> Controls:
    """`count` control directions of all kinds: the mean of the concepts, and the rest in turn from the other three."""
    rest = max(count - 1, 0)
    contrast, gaussian, permuted = ((rest + 2 - place) // 3 for place in range(3))
    return Controls(gaussian=gaussian, permuted=permuted, contrast=contrast, mean=count > 0)
