"""Rows -> cells: what was counted under one scenario, variant and condition, with its bounds, beside its controls.

Knows counts and intervals; does not know what rate is acceptable (gate) or what drives it (attribution).
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, model_validator

from evalharness.errors import StorageError, UsageError
from evalharness.row import CellKey, Kind, Role, Row
from evalharness.stats import cp_lower, cp_upper, effective_n, newcombe, wilson
from evalharness.taxonomy import BROKEN, FAMILIES, HARMFUL, UNSAFE

POOLED = "*"
"""The variant that stands for all main variants of a scenario together."""

CSV_NAME, PARQUET_NAME = "cells.csv", "cells.parquet"

DECIMALS = 10
"""Cells are rounded to this many decimals, so that the last bits of another machine's libm change no file."""

_KIND_ORDER = {"baseline": 0, "concept": 1, "control": 2}


class Cell(BaseModel):
    """Counts, rates and bounds of one scenario, variant and condition. Rates are fractions; None = undefined."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenario: str
    variant: str
    """`*` = all main variants pooled."""
    role: Role
    condition: str
    kind: Kind
    family: str
    """What k counts: the family's unsafe outcomes; for `guard`, wrong answers."""
    concept: str | None
    strength: float
    layers: tuple[int, ...]
    span: str
    op: str
    """What steering does with its vector: add, ablate, clamp."""
    k: int
    """Unsafe outcomes by the rule scorer."""
    k_harm: int
    """Outcomes that are harm of any kind; k is a part of it."""
    n_valid: int
    n_planned: int
    """n_valid + n_incoherent + n_unscored, always."""
    n_unscored: int
    """Never generated, failed, or the scorer abstained."""
    n_incoherent: int
    """Incoherent or truncated replies: scored, but evidence of nothing."""
    rate: float | None
    """k / n_valid."""
    wilson_low: float | None
    wilson_high: float | None
    cp_lower_95: float
    """One-sided 95 % bounds of the rate: 0 and 1 where nothing is known."""
    cp_upper_95: float
    harm_cp_upper_95: float
    worst_case_rate: float
    """(k + n_unscored + n_incoherent) / n_planned: everything that is missing counted as unsafe."""
    worst_case_cp_upper_95: float
    k_judge: int
    """Unsafe by the judge's label."""
    n_judge: int
    """Rows with a judge's label that is neither incoherent nor truncated."""
    rate_judge: float | None
    disagreements: int
    """Valid rows with a judge's label, unsafe by one of rule scorer and judge only."""
    n_aware: int
    """Valid rows in which the model took the setting for a test."""
    k_aware: int
    n_unaware: int
    """Valid rows in which it said, asked afterwards, that it took it for real, and showed nothing else."""
    k_unaware: int
    n_controls: int
    """Control cells of the same scenario, variant, |strength|, span, operation and layers that have a rate."""
    control_low: float | None
    """Lowest and highest rate among these control cells."""
    control_high: float | None
    control_k: int
    """The control cells pooled."""
    control_n: int
    control_n_effective: float | None
    """Independent trials that the pooled controls are worth: their rows share prompts and random numbers."""
    diff_baseline: float | None
    """Rate minus the baseline's rate, with Newcombe's 95 % interval."""
    diff_baseline_low: float | None
    diff_baseline_high: float | None
    diff_controls: float | None
    """Rate minus the pooled controls' rate, with Newcombe's 95 % interval at the controls' effective n."""
    diff_controls_low: float | None
    diff_controls_high: float | None

    @model_validator(mode="after")
    def _adds_up(self) -> Cell:
        if self.n_valid + self.n_incoherent + self.n_unscored != self.n_planned or self.n_planned < 1:
            raise ValueError(f"n_valid, n_incoherent and n_unscored do not add up to n_planned {self.n_planned}")
        if not 0 <= self.k <= self.k_harm <= self.n_valid or min(self.n_incoherent, self.n_unscored) < 0:
            raise ValueError("counts are out of range: 0 <= k <= k_harm <= n_valid is expected")
        return self

    @property
    def incoherent_share(self) -> float | None:
        """Share of broken replies among the replies that were scored; None where none was."""
        scored = self.n_valid + self.n_incoherent
        return self.n_incoherent / scored if scored else None

    @property
    def broken_share(self) -> float:
        """Share of the planned samples that give no valid outcome, for whatever reason."""
        return (self.n_incoherent + self.n_unscored) / self.n_planned

    @property
    def dose(self) -> tuple[float, str, str, tuple[int, ...]]:
        """What a concept cell and its controls must share: |strength|, span, operation, layers."""
        return round(abs(self.strength), 9), self.span, self.op, self.layers

    @property
    def name(self) -> str:
        """`scenario/variant/condition`."""
        return f"{self.scenario}/{self.variant}/{self.condition}"


class _Group(NamedTuple):
    key: CellKey
    rows: tuple[Row, ...]
    counts: dict[str, int]


def build_cells(rows: Iterable[Row]) -> tuple[Cell, ...]:
    """One cell for each scenario, variant and condition, and the pooled variant; the order of the rows does not matter.

    Raises:
        UsageError: a row id occurs twice, an outcome is unknown, or rows of one cell disagree about its condition.
    """
    groups = _grouped(_checked(rows))
    controls: dict[tuple[object, ...], list[_Group]] = defaultdict(list)
    baselines: dict[tuple[str, str], _Group] = {}
    for group in groups:
        place = group.key.scenario, group.key.variant
        if group.key.kind == "baseline":
            baselines[place] = group
        if group.key.kind == "control" and group.counts["n_valid"]:
            controls[(*place, *_dose(group.key))].append(group)
    cells = []
    for group in groups:
        place = group.key.scenario, group.key.variant
        beside = controls[(*place, *_dose(group.key))] if group.key.kind == "concept" else []
        cells.append(_cell(group, baselines.get(place), beside))
    return tuple(sorted(cells, key=_order))


def _order(cell: Cell) -> tuple[Any, ...]:
    pooled_first = cell.variant != POOLED
    kind = _KIND_ORDER[cell.kind]
    return cell.scenario, pooled_first, cell.variant, kind, cell.concept or "", cell.strength, cell.condition


def _dose(key: CellKey) -> tuple[object, ...]:
    return round(abs(key.strength), 9), key.span, key.op, key.layers


def _checked(rows: Iterable[Row]) -> list[Row]:
    found = sorted(rows, key=lambda row: row.id)
    for row, following in pairwise(found):
        if row.id == following.id:
            raise UsageError(
                "Two rows have the same id, so a sample would count twice.",
                expected="one row for each planned sample",
                got=repr(row.id),
                where=f"logs {row.log!r} and {following.log!r}",
            )
    for row in found:
        family = FAMILIES.get(row.cell.family)
        known = family.outcomes if family is not None else ()
        if row.outcome is not None and row.outcome not in known:
            # An unknown word would count as valid and not unsafe, that is, as safe.
            raise UsageError(
                f"A row of the family {row.cell.family!r} has an unknown outcome.",
                expected=", ".join(known or FAMILIES),
                got=repr(row.outcome),
                where=f"row {row.id!r}",
            )
    return found


def _grouped(rows: Sequence[Row]) -> list[_Group]:
    members: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        key = row.cell
        if key.variant == POOLED:
            raise UsageError("A variant may not be called '*': it names the pool.", where=f"row {row.id!r}")
        members[key.scenario, key.variant, key.condition].append(row)
        if key.role == "main":
            members[key.scenario, POOLED, key.condition].append(row)
    groups = []
    for (_, variant, _), group in members.items():
        keys = {replace(row.cell, variant=variant) for row in group}
        if len(keys) > 1:
            raise UsageError(
                "Rows of one cell disagree about role, kind, family, concept, strength, layers, span or operation.",
                got=" / ".join(sorted(map(repr, keys))),
                where=f"row {group[0].id!r} and others",
            )
        groups.append(_Group(keys.pop(), tuple(group), _count(group)))
    return groups


def _count(rows: Sequence[Row]) -> dict[str, int]:
    valid = [row for row in rows if row.valid]
    labelled = [row for row in rows if row.judge is not None]
    judged = [row for row in labelled if row.judge not in BROKEN]
    counts = {
        "k": sum(row.outcome in UNSAFE for row in valid),
        "k_harm": sum(row.outcome in HARMFUL for row in valid),
        "n_valid": len(valid),
        "n_planned": len(rows),
        "n_unscored": sum(not row.scored for row in rows),
        "n_incoherent": sum(row.outcome in BROKEN for row in rows),
        "k_judge": sum(row.judge in UNSAFE for row in judged),
        "n_judge": len(judged),
        **_split_by_awareness(valid),
        "disagreements": sum(row.valid and (row.outcome in UNSAFE) != (row.judge in UNSAFE) for row in labelled),
    }
    assert counts["n_valid"] + counts["n_incoherent"] + counts["n_unscored"] == counts["n_planned"]
    return counts


def _split_by_awareness(valid: Sequence[Row]) -> dict[str, int]:
    """A rate over everything hides that a model which thinks itself tested behaves better."""
    counts: dict[str, int] = {}
    for name, answer in (("aware", "yes"), ("unaware", "no")):
        members = [row for row in valid if row.aware == answer]
        counts |= {f"n_{name}": len(members), f"k_{name}": sum(row.outcome in UNSAFE for row in members)}
    return counts


def _cell(group: _Group, baseline: _Group | None, controls: Sequence[_Group]) -> Cell:
    key, count = group.key, group.counts
    k, n, planned = count["k"], count["n_valid"], count["n_planned"]
    rate, missing = wilson(k, n), planned - n
    values: dict[str, Any] = {
        "rate": rate.value,
        "wilson_low": rate.low,
        "wilson_high": rate.high,
        "cp_lower_95": cp_lower(k, n),
        "cp_upper_95": cp_upper(k, n),
        "harm_cp_upper_95": cp_upper(count["k_harm"], n),
        "worst_case_rate": (k + missing) / planned,
        "worst_case_cp_upper_95": cp_upper(k + missing, planned),
        "rate_judge": count["k_judge"] / count["n_judge"] if count["n_judge"] else None,
        **_against_baseline(count, baseline if key.kind != "baseline" else None),
        **_against_controls(count, controls),
    }
    rounded = {name: round(v, DECIMALS) if isinstance(v, float) else v for name, v in values.items()}
    return Cell(**asdict(key), **count, **rounded)


def _against_baseline(count: dict[str, int], baseline: _Group | None) -> dict[str, float | None]:
    reference = baseline.counts if baseline else {"k": 0, "n_valid": 0}
    # Rows of both cells are paired by their seeds; as if independent, the interval is too wide, never too narrow.
    difference = newcombe(count["k"], count["n_valid"], reference["k"], reference["n_valid"])
    return {
        "diff_baseline": difference.value,
        "diff_baseline_low": difference.low,
        "diff_baseline_high": difference.high,
    }


def _against_controls(count: dict[str, int], controls: Sequence[_Group]) -> dict[str, Any]:
    counts = [control.counts for control in controls]
    rates = [c["k"] / c["n_valid"] for c in counts]
    k, n = sum(c["k"] for c in counts), sum(c["n_valid"] for c in counts)
    worth = _effective_controls(controls) if controls else 0.0
    difference = newcombe(count["k"], count["n_valid"], k / n * worth if n else 0, worth)
    return {
        "n_controls": len(controls),
        "control_low": min(rates, default=None),
        "control_high": max(rates, default=None),
        "control_k": k,
        "control_n": n,
        "control_n_effective": worth if controls else None,
        "diff_controls": difference.value,
        "diff_controls_low": difference.low,
        "diff_controls_high": difference.high,
    }


def _effective_controls(controls: Sequence[_Group]) -> float:
    """The controls' rows on one prompt (variant and index) are one cluster."""
    sizes: Counter[tuple[str, int]] = Counter()
    positives: Counter[tuple[str, int]] = Counter()
    for row in (row for control in controls for row in control.rows if row.valid):
        sizes[row.cell.variant, row.index] += 1
        positives[row.cell.variant, row.index] += row.outcome in UNSAFE
    return effective_n([positives[prompt] for prompt in sizes], list(sizes.values()))


def _schema() -> pa.Schema:
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    fields = []
    for name, field in Cell.model_fields.items():
        plain = next((t for t in kinds if field.annotation in (t, t | None)), str)
        fields.append(pa.field(name, pa.list_(pa.int64()) if name == "layers" else kinds[plain]))
    return pa.schema(fields)


def write_cells(cells: Sequence[Cell], folder: Path) -> None:
    """Write `cells.csv` (for people) and `cells.parquet` (exact); the same cells give the same bytes.

    Raises:
        StorageError: the folder cannot be written; files that were there stay as they were.
    """
    records = [cell.model_dump() for cell in cells]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Cell.model_fields)
    writer.writerows([_csv_text(value) for value in record.values()] for record in records)
    buffer = io.BytesIO()
    columns = [{**record, "layers": list(record["layers"])} for record in records]
    pq.write_table(pa.Table.from_pylist(columns, schema=_schema()), buffer)
    try:
        for name, content in ((CSV_NAME, text.getvalue().encode()), (PARQUET_NAME, buffer.getvalue())):
            partial = folder / f"{name}.partial"
            partial.write_bytes(content)
            partial.replace(folder / name)
    except OSError as error:
        raise StorageError(f"The cells could not be written to {folder}: {error}") from error


def _csv_text(value: object) -> str:
    """Empty for None; a leading quote keeps a spreadsheet from running a name that looks like a formula."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def read_cells(folder: Path) -> tuple[Cell, ...]:
    """Read the cells back from `cells.parquet`.

    Raises:
        UsageError: there is no such file, or it does not hold cells.
    """
    path = folder / PARQUET_NAME
    try:
        records = pq.read_table(path).to_pylist()
        return tuple(Cell.model_validate({**record, "layers": tuple(record["layers"])}) for record in records)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "The cells cannot be read.",
            expected="cells written by a run",
            got=" ".join(str(error).split()),
            where=str(path),
        ) from error
