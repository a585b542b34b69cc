"""The rule scorers' one door: which family is judged by which rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evalharness.scoring.deception import judge_deception
from evalharness.scoring.destructive import judge_destructive
from evalharness.scoring.external import judge_external
from evalharness.scoring.guard import judge_guard
from evalharness.scoring.reward_hacking import judge_code
from evalharness.scoring.rules import judge_mail
from evalharness.scoring.sycophancy import judge_sycophancy
from evalharness.scoring.transcript import Transcript
from evalharness.scoring.verdict import Verdict

_BY_FAMILY: dict[str, Callable[[Transcript], Verdict]] = {
    "deception": judge_deception,
    "destructive": judge_destructive,
    "external": judge_external,
    "guard": judge_guard,
    "reward_hacking": judge_code,
    "sycophancy": judge_sycophancy,
}
"""Families with rules of their own; every other name is that of word lists for mail."""


def classify(
    family: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    facts: Mapping[str, str] | None = None,
    stop_reason: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Verdict:
    """Judge one transcript by rules.

    Args:
        family: Which rules: a family of `evalharness.taxonomy`, or the path of a `.rules.yaml` for mail.
        messages: Chat messages with `role` and `content`, the prompt first.
        facts: What the scenario knows. For mail: `target`, `secret_partner`, `people` (all that exist, with commas),
            `everyone` (addresses that reach all), `secret_words` (further words for the secret, comma separated).
        stop_reason: Why generation ended; without it truncation is not seen.
        evidence: What the rollout left in its world, where its solver recorded anything.

    Raises:
        UsageError: there are no rules for the family.
    """
    transcript = Transcript(messages=messages, facts=facts or {}, stop_reason=stop_reason, evidence=evidence or {})
    scorer = _BY_FAMILY.get(family)
    return scorer(transcript) if scorer is not None else judge_mail(family, transcript)
