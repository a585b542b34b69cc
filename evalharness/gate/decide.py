"""The whole gate: instrument, cells and attribution -> one verdict with its reasons.

Order of precedence, and why:
1. INVALID where the instrument is void (bank, receipts, policy, ledger, a grader that did not grade, a scorer that
   is not good enough, a kind of control left out, a class V rule): none of its counts holds.
2. FAIL where any blocking cell fails. A broken cell elsewhere does not take back what a sound cell has shown, and a
   failing cell that is itself broken fails only if it would with every broken row counted as safe. Otherwise one could
   turn a failure into "run it again" by breaking one stress cell.
3. INVALID where a blocking cell is broken: too many of its replies are incoherent for a rate.
4. INCONCLUSIVE where a blocking cell decides neither way or is missing, or the controls are too few.
5. PASS.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict

from evalharness.attribution import UNDECIDED, Attribution, attribute
from evalharness.cells import POOLED, Cell
from evalharness.errors import UsageError
from evalharness.gate.check import Check, GateVerdict, check_cells
from evalharness.gate.controls import few_controls, missing_kinds
from evalharness.gate.guard import guard_checks
from evalharness.gate.instrument import Instrument, breaches
from evalharness.gate.policy import Policy

EXIT_CODES: dict[GateVerdict, int] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "INVALID": 4}
"""2 is a usage error and 70 an internal error; everything but 0 blocks."""


class Decision(BaseModel):
    """The gate's answer. Holds no time, so the same run under the same policy gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    verdict: GateVerdict
    reasons: tuple[str, ...]
    """What decided, then what else does not hold, then warnings."""
    checks: tuple[Check, ...]
    attribution: Attribution
    policy: Policy
    instrument: Instrument
    coverage: str

    @property
    def exit_code(self) -> int:
        """0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 INVALID."""
        return EXIT_CODES[self.verdict]

    @property
    def machine_line(self) -> str:
        """One line for logs and scripts; holds no text that a run could have chosen."""
        label = self.attribution.label.replace(" ", "-")
        return (
            f"GATE verdict={self.verdict} exit={self.exit_code} attribution={label} "
            f"policy=sha256:{self.policy.sha256} verdict_json=sha256:{sha256(self.to_bytes()).hexdigest()}"
        )

    def to_bytes(self) -> bytes:
        """verdict.json as it is written: sorted keys, and ASCII, so that no name in it carries a control character."""
        text = json.dumps(self.to_json(), indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return text.encode() + b"\n"

    def to_json(self) -> dict[str, Any]:
        """What verdict.json holds; a check's `id`, `class` and `bound` are its rule, rule class and upper bound."""
        label, reasons, evidence = self.attribution
        checks = [check.model_dump() for check in self.checks]
        return {
            "schema": "gate-verdict/1",
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "reasons": list(self.reasons),
            "attribution": {"label": label, "reasons": list(reasons), "evidence": [e.to_json() for e in evidence]},
            "cells": [
                {"id": c.pop("rule"), "class": c.pop("rule_class"), "bound": c.pop("upper"), **c} for c in checks
            ],
            "policy_id": self.policy.id,
            "policy_sha256": self.policy.sha256,
            "estimand": self.policy.estimand,
            "expires_after_days": self.policy.expires_after_days,
            "coverage": self.coverage,
            "not_covered": list(self.policy.not_covered),
            "instrument": self.instrument.model_dump(mode="json"),
        }


def decide(policy: Policy, cells: Sequence[Cell], instrument: Instrument) -> Decision:
    """Decide on the cells of one run.

    Raises:
        UsageError: no blocking rule of the policy matches any cell, so there is nothing to decide.
    """
    checks = (*check_cells(policy, cells, instrument), *guard_checks(policy, cells))
    if not any(check.blocking and check.rule_class in "ASN" and check.condition for check in checks):
        raise UsageError(
            "No blocking rule of the policy matches a cell of this run.",
            expected=", ".join(rule.id for rule in policy.blocking),
            got=f"{len(cells)} cells",
            where=f"policy {policy.id}",
            fix="choose a policy for this suite",
        )
    decided = {cell.family for rule in policy.blocking for cell in cells if rule.select.matches(cell)}
    steered = any(cell.kind != "baseline" for cell in cells)
    void = [*breaches(policy, instrument, steered=steered, families=decided)]
    void += missing_kinds(policy, cells)
    void += [f"{c.name}: {c.reason}" for c in checks if c.rule_class == "V" and c.verdict == "INVALID"]
    attribution = attribute(cells, policy.attribution)
    if void:
        attribution = Attribution(
            UNDECIDED, ("the instrument is void, so nothing is attributed", *attribution.reasons), attribution.evidence
        )
    few = few_controls(policy, cells)
    verdict = _verdict(void, checks, few)
    return Decision(
        verdict=verdict,
        reasons=_reasons(verdict, void, checks, few),
        checks=checks,
        attribution=attribution,
        policy=policy,
        instrument=instrument,
        coverage=_coverage(policy, cells, instrument),
    )


def _verdict(void: Sequence[str], checks: Sequence[Check], few: Sequence[str]) -> GateVerdict:
    verdicts = {check.verdict for check in checks if check.blocking}
    if void:
        return "INVALID"
    if "FAIL" in verdicts:
        return "FAIL"
    if "INVALID" in verdicts:
        return "INVALID"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in verdicts or few else "PASS"


def _reasons(verdict: GateVerdict, void: Sequence[str], checks: Sequence[Check], few: Sequence[str]) -> tuple[str, ...]:
    blocking = [check for check in checks if check.blocking]
    found = [f"instrument: {reason}" for reason in void]
    for outcome in ("FAIL", "INVALID", "INCONCLUSIVE"):
        listed = [c for c in blocking if c.verdict == outcome and (c.rule_class, outcome) != ("V", "INVALID")]
        found += [f"{outcome} {c.name}: {c.reason}" for c in listed]
    found += [f"INCONCLUSIVE {reason}" for reason in few]
    if verdict == "PASS":
        passed = sum(check.verdict == "PASS" for check in blocking)
        found.append(f"all {passed} blocking checks pass")
    return (*found, *(f"warning {c.name}: {c.reason}" for c in blocking if c.warning))


def _coverage(policy: Policy, cells: Sequence[Cell], instrument: Instrument) -> str:
    """The policy's statement, then what this run tested, then whose vectors it steered with where they are foreign."""
    steered = [cell for cell in cells if cell.kind == "concept"]
    tested = [
        ("scenarios", dict.fromkeys(f"{c.scenario} ({c.variant})" for c in cells if c.variant != POOLED)),
        ("concepts", dict.fromkeys(c.concept or "" for c in steered)),
        ("strengths", [f"{strength:+g}" for strength in sorted({c.strength for c in steered})]),
        ("layers", dict.fromkeys(" ".join(map(str, c.layers)) for c in steered)),
        ("positions", dict.fromkeys(c.span for c in steered)),
    ]
    lists = "; ".join(f"{name}: {', '.join(values) or 'none'}" for name, values in tested)
    parts = [policy.coverage.strip(), f"Tested in this run: {lists}."]
    if instrument.bank_transferred:
        parts.append(
            f"Transferred vectors: the concept bank was extracted from the model with sha256 "
            f"{instrument.bank_model_sha256} and steered the model with sha256 {instrument.model_sha256}. Its held-out "
            f"check and its unit of strength are those of the first model; that they mean the same in the second "
            f"was not tested."
        )
    return "\n\n".join(parts)
