"""Texts for concept vectors: the frozen corpora that ship along, the organisms' own, a file, or a hub data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import datasets
from pydantic import BaseModel, ConfigDict, Field

from evalharness.concepts.numeric import NumericTemplate, NumericTemplates
from evalharness.content import content_path, load_record
from evalharness.errors import ContentError
from evalharness.ids import sha256_file
from evalharness.organisms.corpus import contrast_texts, emotion_stories, neutral_texts
from evalharness.suite import BankSpec

SHIPPED = ("emotion_stories", "neutral_dialogues", "contrast_sets", "implicit_scenarios")
ORGANISM = "organism"
"""The corpora in the language of the organisms, drawn from the recipe's seed."""
NEUTRAL_TEXTS = 200
CONTRAST_PAIRS = 24
_LOADERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
_HUB = re.compile(r"^(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(:(?P<split>\w+))?$")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusEntry(_Record):
    """One frozen corpus."""

    file: str
    version: int
    fields: list[str]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CorpusIndex(_Record):
    """`corpora/index.yaml`."""

    schema_: Literal["corpora/1"] = Field(alias="schema")
    corpora: dict[str, CorpusEntry]


def corpus(name: str) -> datasets.Dataset:
    """A frozen corpus: `emotion_stories`, `neutral_dialogues`, `contrast_sets` or `implicit_scenarios`.

    `emotion_stories` has concept, topic, person, text; `neutral_dialogues` kind, messages; `contrast_sets` set, side,
    pair, text; `implicit_scenarios` concept, text. `corpora/README.md` says how they were written.

    Raises:
        ContentError: unknown name, or a file that is not the one the index was written for.
    """
    index = load_record(CorpusIndex, content_path("corpora", "index.yaml"))
    if name not in index.corpora:
        raise ContentError(f"There is no corpus {name!r}.", expected=", ".join(index.corpora), got=name)
    entry = index.corpora[name]
    path = content_path("corpora", entry.file)
    if sha256_file(path) != entry.sha256:
        raise ContentError(
            "A frozen corpus was changed or damaged.",
            where=str(path),
            expected=f"sha256 {entry.sha256}",
            got=f"sha256 {sha256_file(path)}",
            fix="install evalharness again, or give your own corpus by its path",
        )
    return read_rows(str(path), entry.fields)


def load_stories(spec: BankSpec) -> Sequence[Any]:
    """Rows (concept, topic, text) by the bank's recipe.

    Raises:
        ContentError: missing file, unknown format, or rows without these fields.
    """
    return _load(spec.stories, ("concept", "text"), lambda: emotion_stories(spec.seed, spec.stories_per_concept))


def load_neutral(spec: BankSpec) -> Sequence[Any]:
    """Rows (text or messages) without feelings, for the components that are removed.

    Raises:
        ContentError: as for the stories.
    """
    return _load(spec.neutral, (), lambda: neutral_texts(spec.seed, NEUTRAL_TEXTS))


def load_contrast(spec: BankSpec) -> Sequence[Any]:
    """Rows (set, side, pair, text) of unrelated pairs, for controls.

    Raises:
        ContentError: as for the stories.
    """
    return _load(spec.contrast, ("side", "pair"), lambda: contrast_texts(spec.seed, CONTRAST_PAIRS))


def read_scenarios(name: str) -> Sequence[Any]:
    """Rows (concept, text) of `implicit_scenarios`, or of the user's own scenarios.

    Raises:
        ContentError: as for the stories.
    """
    rows: Sequence[Any] = corpus(name) if name in SHIPPED else read_rows(name, ("concept", "text"))
    return rows


def numeric_templates() -> tuple[NumericTemplate, ...]:
    """The messages in which one number changes what the situation means.

    Raises:
        ContentError: a damaged file.
    """
    return load_record(NumericTemplates, content_path("corpora", "numeric_templates.yaml")).templates


def _load(name: str, fields: Sequence[str], of_organism: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    if name == ORGANISM:
        return of_organism()
    rows: Sequence[Any] = corpus(name) if name in SHIPPED else read_rows(name, fields)
    return rows


def read_rows(name: str, fields: Sequence[str]) -> datasets.Dataset:
    """A JSONL or Parquet file, or a hub data set (`owner/name`, `owner/name@revision:split`), with these fields.

    Raises:
        ContentError: not to be found or read, or a field is missing.
    """
    table = _read_table(name)
    missing = [field for field in fields if field not in table.column_names]
    if missing:
        raise ContentError(
            "The corpus lacks a field.", where=name, expected=", ".join(fields), got=", ".join(table.column_names)
        )
    return table


def _read_table(name: str) -> datasets.Dataset:
    path, hub = Path(name), _HUB.match(name)
    try:
        if path.is_file() and path.suffix in _LOADERS:
            return datasets.load_dataset(_LOADERS[path.suffix], data_files=str(path), split="train")
        if hub is not None and not path.suffix:
            return datasets.load_dataset(hub["id"], revision=hub["revision"], split=hub["split"] or "train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ContentError("The corpus cannot be read.", where=name, got=" ".join(str(error).split())[:300]) from error
    raise ContentError(
        "Not a corpus.",
        expected=f"{', '.join(SHIPPED)}, {ORGANISM}, an existing {', '.join(_LOADERS)} file, or a hub id owner/name",
        got=name,
    )
