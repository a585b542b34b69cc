"""What a run measured about itself, and which of it breaks the policy's conditions on the instrument."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import BaseModel, ConfigDict, Field

from evalharness.gate.policy import Policy
from evalharness.sensitivity import UsedScorer
from evalharness.stats import cp_lower


class Instrument(BaseModel):
    """Recorded by the run, read by the gate. None = was not measured, which never counts as held."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bank_check_passed: bool | None
    bank_check_reasons: tuple[str, ...] = ()
    receipts_checked: int = Field(ge=0)
    receipts_mismatched: int = Field(ge=0)
    rows_generated: int = Field(ge=0)
    suite_id: str
    suite_sha256: str
    policy_sha256_registered: str | None
    """Hash of the policy that entered the ledger before the first rollout."""
    model_sha256: str
    bank_model_sha256: str | None
    bank_transferred: bool = False
    """The bank of another model was used because the run asked for it."""
    ledger_ok: bool
    graders: tuple[str, ...] = ()
    """Models that were asked to judge, by the latest order; empty where nobody was."""
    self_graded: tuple[str, ...] = ()
    """Those of them that are the model under test."""
    rows_to_judge: int = Field(default=0, ge=0)
    """Valid rows with a question for a judge."""
    rows_judged: int = Field(default=0, ge=0)
    """Those of them with a judge's label."""
    scorers: tuple[UsedScorer, ...] = ()
    """Whose scores the rows stand on, with what is known of them."""

    def sensitivity_low(self, family: str, alpha: float) -> float | None:
        """Lower bound at 1 - alpha of how much of the unsafe outcomes the rules of a family find.

        The worst of them, where several scored; None where one was not measured.
        """
        bounds = [
            None if used.quality is None else cp_lower(used.quality.sensitivity.k, used.quality.sensitivity.n, alpha)
            for used in self.scorers
            if used.scorer.kind == "rules" and used.scorer.family == family
        ]
        known = [bound for bound in bounds if bound is not None]
        return min(known) if known and len(known) == len(bounds) else None


def breaches(
    policy: Policy, instrument: Instrument, *, steered: bool, families: Collection[str] = ()
) -> tuple[str, ...]:
    """Why nothing this run says counts; empty where the instrument held.

    `steered`: some cell is no baseline. `families`: those of the cells that blocking rules decide on.
    """
    requires = policy.requires
    found = [*_bank(policy, instrument, steered=steered)]
    if requires.receipts and instrument.receipts_mismatched:
        found.append(f"{instrument.receipts_mismatched} receipts do not show the steering that was asked for")
    if requires.receipts and instrument.receipts_checked < instrument.rows_generated:
        found.append(
            f"{instrument.receipts_checked} of {instrument.rows_generated} generated rows had a receipt to check"
        )
    if requires.policy_registered and instrument.policy_sha256_registered is None:
        found.append("no policy was registered before the run, so its limits may have been chosen afterwards")
    elif requires.policy_registered and instrument.policy_sha256_registered != policy.sha256:
        found.append(
            f"the policy registered before the run is {_short(instrument.policy_sha256_registered)}, "
            f"this one is {_short(policy.sha256)}"
        )
    if requires.ledger and not instrument.ledger_ok:
        found.append("the ledger's chain of hashes is broken")
    return (*found, *_judging(policy, instrument), *_quality(policy, instrument, families))


def _bank(policy: Policy, instrument: Instrument, *, steered: bool) -> Iterator[str]:
    requires = policy.requires
    if requires.bank_check and steered and instrument.bank_check_passed is not True:
        state = "was not checked" if instrument.bank_check_passed is None else "failed its check"
        yield ("; ".join([f"the concept bank {state}", *instrument.bank_check_reasons]))
    if requires.bank_of_this_model and steered and instrument.bank_model_sha256 != instrument.model_sha256:
        yield (
            f"the concept bank is from model {_short(instrument.bank_model_sha256)}, "
            f"the model that was run is {_short(instrument.model_sha256)}"
            + (" (transferred because the run asked for it)" if instrument.bank_transferred else "")
        )


def _judging(policy: Policy, instrument: Instrument) -> Iterator[str]:
    """A grader that answers nothing must not look like one that found nothing."""
    least = policy.requires.judged_min
    if not instrument.graders or least is None:
        return
    graders, asked, judged = ", ".join(instrument.graders), instrument.rows_to_judge, instrument.rows_judged
    if not asked:
        yield f"a grader ({graders}) was asked for, and no valid row had a question for it"
    elif judged < least * asked:
        yield f"the grader ({graders}) gave a label to {judged} of {asked} valid rows, {least:.0%} are needed"


def _quality(policy: Policy, instrument: Instrument, families: Collection[str]) -> Iterator[str]:
    """Scorers of the families that are decided on, where the policy asks how good they are."""
    limits = (
        ("sensitivity", policy.requires.sensitivity_min),
        ("specificity", policy.requires.specificity_min),
    )
    for name, least in limits:
        if least is None:
            continue
        here = [used for used in instrument.scorers if used.scorer.family in families]
        ruled = {used.scorer.family for used in here if used.scorer.kind == "rules"}
        for family in sorted(set(families) - ruled):
            yield f"the {name} of what scored {family} is not on record, {least:.0%} is needed"
        for used in here:
            hits = None if used.quality is None else getattr(used.quality, name)
            if hits is None or not hits.n:
                yield f"the {name} of {used.scorer.title} was not measured on anchors, {least:.0%} is needed"
            elif hits.lower_95 < least:
                found = f"{hits.k}/{hits.n}, lower bound {hits.lower_95:.1%}"
                yield f"the {name} of {used.scorer.title} is {found}, {least:.0%} is needed"


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:12]
