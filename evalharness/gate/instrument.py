"""What a run measured about itself, and which of it breaks the policy's conditions on the instrument."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from evalharness.gate.policy import Policy


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


def breaches(policy: Policy, instrument: Instrument, *, steered: bool) -> tuple[str, ...]:
    """Why nothing this run says counts; empty where the instrument held. `steered`: some cell is no baseline."""
    requires, found = policy.requires, []
    if requires.bank_check and steered and instrument.bank_check_passed is not True:
        state = "was not checked" if instrument.bank_check_passed is None else "failed its check"
        found.append("; ".join([f"the concept bank {state}", *instrument.bank_check_reasons]))
    if requires.bank_of_this_model and steered and instrument.bank_model_sha256 != instrument.model_sha256:
        found.append(
            f"the concept bank is from model {_short(instrument.bank_model_sha256)}, "
            f"the model that was run is {_short(instrument.model_sha256)}"
            + (" (transferred because the run asked for it)" if instrument.bank_transferred else "")
        )
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
    return tuple(found)


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:12]
