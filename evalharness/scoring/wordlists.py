"""The schema of `scorers/<family>.words.yaml`: named word lists of a family whose replies are plain prose.

Patterns are written as in `wording.py`: regular expressions without regard to case, a space for any white space, and a
match that overlaps a match of `unless` does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from evalharness.content import content_path, load_record
from evalharness.ids import sha256_json
from evalharness.scoring.verdict import ScorerId
from evalharness.scoring.wording import Matcher, Wording


class WordLists(BaseModel):
    """One file. Which labels together make which outcome is decided in the family's scorer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["words/1"] = Field(alias="schema")
    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    version: Annotated[int, Field(ge=1)]
    family: str
    labels: Annotated[dict[str, Wording], Field(min_length=1)]

    @field_validator("labels")
    @classmethod
    def _compile(cls, labels: dict[str, Wording]) -> dict[str, Wording]:
        for name, wording in labels.items():
            try:
                Matcher(wording, {})
            except ValueError as error:
                raise ValueError(f"labels.{name}: {error}") from error
        return labels

    @cached_property
    def matchers(self) -> Mapping[str, Matcher]:
        """One compiled matcher for each label."""
        return {name: Matcher(wording, {}) for name, wording in self.labels.items()}

    def scorer_id(self, code_version: int) -> ScorerId:
        """Name, both versions and the hash of everything the file says."""
        digest = sha256_json(self.model_dump(mode="json", by_alias=True))
        return ScorerId(name=f"{self.id}.rules", version=f"{self.version}.{code_version}", sha256=digest)


@lru_cache(maxsize=32)
def load_words(name: str) -> WordLists:
    """The word lists `scorers/<name>.words.yaml`.

    Raises:
        ContentError: no such file, or it breaks the schema, or a pattern does not compile.
    """
    return load_record(WordLists, content_path("scorers", f"{name}.words.yaml"))
