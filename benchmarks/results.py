"""Results files: what a script measured, case by case. A case that is measured again replaces itself and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from pydantic import Field

from evalharness.timing import Timing, TimingRecord

FOLDER = Path(__file__).parent / "results"

Case = TypeVar("Case", bound=TimingRecord)


class Results(TimingRecord, Generic[Case]):
    """A results file."""

    about: str
    """What all cases have in common, in words."""
    cases: dict[str, Case] = Field(default_factory=dict)


class TimingResults(Results[Timing]):
    """Ways side by side; written by `engine_cpu` and `engine_gpu`."""


def add_case(path: Path, kind: type[Results[Case]], about: str, name: str, case: Case) -> None:
    """Write one case into a results file, as soon as it is measured: a later case may be stopped."""
    cases = dict(kind.model_validate_json(path.read_bytes()).cases) if path.is_file() else {}
    results = kind(about=about, cases={**cases, name: case})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
