"""The suite schema: which scenarios run under which conditions, how often, and how the bank is made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evalharness.content import ContentName, find_content, load_record
from evalharness.grid import Grid
from evalharness.row import Form
from evalharness.sampling import SamplingSpec


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


class Block(_Record):
    """Cells that share a scenario and a number of samples."""

    scenario: ContentName
    variants: Annotated[list[str], Field(min_length=1)]
    samples: Annotated[int, Field(ge=1)]
    form: Form | None = None
    """Play the scenario in another form than its own: a mail setting as an agent with mailbox tools."""
    grid: Grid = Grid()


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
        return self


def load_suite(name: str) -> Suite:
    """Load by shipped name (`quick`) or by path to a YAML file.

    Raises:
        ContentError: no such suite, or it breaks the schema; the message names file and field.
    """
    return load_record(Suite, find_content("tasks", name if name.endswith(".yaml") else f"suites/{name}", ".yaml"))
