"""Can these numbers be trusted: judge against rules, and the checks of the instrument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evalharness.cells import Cell
from evalharness.report.doses import cell_name
from evalharness.report.facts import flat
from evalharness.report.gallery import disagrees, judged
from evalharness.report.model import AwarenessLine, Check, Disagreement, JudgePanel
from evalharness.report.rates import share
from evalharness.report.text import one_line, rate_text
from evalharness.report.wording import TRANSFERRED
from evalharness.row import Row
from evalharness.taxonomy import GUARD, UNSAFE

LISTED_DISAGREEMENTS, LISTED_NOTES = 40, 5

Json = Mapping[str, Any]


def judge_panel(rows: Sequence[Row], verdict: Json) -> JudgePanel | None:
    """Confusion counts over valid rows that both answered; None where no judge ran."""
    if not any(row.judge is not None for row in rows):
        return None
    valid = [row for row in rows if row.valid]
    table = Counter((row.outcome in UNSAFE, row.judge in UNSAFE) for row in valid if judged(row))
    disputed = [row for row in valid if disagrees(row)]
    return JudgePanel(
        both_unsafe=table[True, True],
        rules_only=table[True, False],
        judge_only=table[False, True],
        both_safe=table[False, False],
        num_unanswered=sum(not judged(row) for row in valid),
        disagreements=tuple(
            Disagreement(id=one_line(row.id), rules=one_line(row.outcome or ""), judge=one_line(row.judge or ""))
            for row in disputed[:LISTED_DISAGREEMENTS]
        ),
        num_disagreements=len(disputed),
        facts=flat({"judge": ", ".join(verdict["instrument"].get("graders", [])) or None}),
    )


def awareness_lines(rows: Sequence[Row], cells: Sequence[Cell]) -> tuple[AwarenessLine, ...]:
    """Rates for aware and unaware rollouts. Controls are left out; their numbers are in the cells."""
    if not any(row.aware is not None for row in rows):
        return ()
    return tuple(
        AwarenessLine(
            cell=cell_name(cell),
            aware=share(cell.k_aware, cell.n_aware, "never took it for a test"),
            unaware=share(cell.k_unaware, cell.n_unaware, "never took it for real"),
            n_unsure=cell.n_valid - cell.n_aware - cell.n_unaware,
        )
        for cell in cells
        if cell.kind != "control" and cell.family != GUARD.id
    )


def validity_checks(rows: Sequence[Row], cells: Sequence[Cell], verdict: Json) -> tuple[Check, ...]:
    """The instrument's own checks, the policy's validity rules, then what became of all planned samples."""
    return (*_instrument(verdict), *_validity_rules(verdict), *_completeness(rows, cells))


def _instrument(verdict: Json) -> list[Check]:
    found = verdict["instrument"]
    bank, reasons = found["bank_check_passed"], "; ".join(found["bank_check_reasons"])
    receipts = f"{found['receipts_checked']} of {found['rows_generated']} generated samples checked"
    mismatched = found["receipts_mismatched"]
    registered = found["policy_sha256_registered"]
    lines = [
        ("concept bank, check", {True: "passed", False: "failed"}.get(bank, "not measured"), reasons, bank),
        (
            "bank and model belong together",
            f"bank of {_short(found['bank_model_sha256'])}, model {_short(found['model_sha256'])}",
            TRANSFERRED if found.get("bank_transferred") else "",
            None if found["bank_model_sha256"] is None else found["bank_model_sha256"] == found["model_sha256"],
        ),
        (
            "steering receipts",
            f"{receipts}, {mismatched} do not show what was asked for",
            "",
            not mismatched and found["receipts_checked"] >= found["rows_generated"],
        ),
        (
            "policy fixed before the run",
            "not registered" if registered is None else f"registered {_short(registered)}",
            "",
            registered == verdict["policy_sha256"],
        ),
        ("ledger", "chain of hashes whole" if found["ledger_ok"] else "chain of hashes broken", "", found["ledger_ok"]),
    ]
    if found.get("graders"):
        own = f"graded by itself: {', '.join(found['self_graded'])}" if found.get("self_graded") else ""
        lines.append(("judge, labels", f"{found['rows_judged']} of {found['rows_to_judge']} valid rows", own, None))
    return [
        Check(name=name, value=one_line(value), note=one_line(note, 1000), ok=ok) for name, value, note, ok in lines
    ]


def _validity_rules(verdict: Json) -> list[Check]:
    return [
        Check(
            name=one_line(f"{raw['id']}: {raw['scenario']}/{raw['variant']}/{raw['condition']}"),
            value=one_line(str(raw["reason"])),
            ok=raw["verdict"] == "PASS",
        )
        for raw in verdict["cells"]
        if raw["class"] == "V"
    ]


def _completeness(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Check]:
    scored = [row for row in rows if row.scored]
    unscored = share(len(rows) - len(scored), len(rows))
    broken = share(sum(not row.valid for row in scored), len(scored))
    checks = [
        Check(name="planned samples that were not scored", value=rate_text(unscored), ok=None),
        Check(name="scored samples incoherent or truncated", value=rate_text(broken), ok=None),
    ]
    worst = max(cells, key=lambda cell: cell.broken_share, default=None)
    if worst is not None:
        lost = rate_text(share(worst.n_incoherent + worst.n_unscored, worst.n_planned))
        checks.append(Check(name="largest share not valid in one cell", value=lost, note=cell_name(worst), ok=None))
    why = Counter(one_line(row.note, 120) or "no reason on record" for row in rows if not row.scored)
    for note, count in why.most_common(LISTED_NOTES):
        checks.append(Check(name=f"not scored, {count} samples", value=note, ok=None))
    return checks


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:12]
