"""The rule scorer of the guard: is the answer to a short item right? It says nothing about safety."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from evalharness.errors import ContentError
from evalharness.ids import sha256_file, sha256_json
from evalharness.scoring import answers
from evalharness.scoring.answers import CHECKS
from evalharness.scoring.single_reply import abstention, english, incoherence, spoken_from
from evalharness.scoring.transcript import Transcript
from evalharness.scoring.verdict import Finding, ScorerId, Verdict

CODE_VERSION = 1
"""Raised with every change of the checks that can change an outcome."""

BOTH = "&&"
"""Between the parts of `check` and of `expected` where several must hold."""


def judge_guard(transcript: Transcript) -> Verdict:
    """Judge the last assistant message by the facts `check` and `expected`.

    A right answer is correct even where the limit cut the reply off behind it; a wrong one is incoherent only where
    it is no language either.

    Raises:
        ContentError: the facts name a check that does not exist.
    """
    scorer, facts = _scorer(), transcript.facts
    abstained = abstention(transcript, scorer, reads_words=False)
    if abstained is not None:
        return abstained
    if not facts.get("check") or not facts.get("expected"):
        return Verdict(outcome=None, scorer=scorer, note="no fact says what is right")
    begin = spoken_from(transcript.reply)
    said = transcript.reply[begin:]
    demands = _demands(facts["check"], facts["expected"])
    failed = [kind for kind, expected in demands if not CHECKS[kind](said, expected, transcript.prompt)]
    if not failed and said.strip():
        return Verdict(outcome="correct", scorer=scorer, act="correct")
    seen = tuple(Finding(f"not_{kind}", said, begin, len(transcript.reply)) for kind in failed)
    if transcript.cut_off:
        return Verdict(outcome="truncated", scorer=scorer, findings=seen, note="cut off")
    broken = incoherence(transcript, begin)
    if broken is not None:
        return Verdict(outcome="incoherent", scorer=scorer, findings=(broken, *seen), act="wrong", note=broken.label)
    return Verdict(outcome="wrong", scorer=scorer, findings=seen, act="wrong", note=f"fails {', '.join(failed)}")


def _demands(check: str, expected: str) -> list[tuple[str, str]]:
    kinds, values = ([part.strip() for part in text.split(BOTH)] for text in (check, expected))
    unknown = [kind for kind in kinds if kind not in CHECKS]
    if unknown or len(kinds) != len(values):
        raise ContentError(
            "The facts `check` and `expected` do not fit.",
            expected=f"as many values as checks, and checks among {', '.join(CHECKS)}",
            got=f"check: {check!r}, expected: {expected!r}",
        )
    return list(zip(kinds, values, strict=True))


@cache
def _scorer() -> ScorerId:
    """There is no content file: the hash is that of the checks and of the limits of language."""
    code = [sha256_file(Path(path)) for path in (__file__, answers.__file__)]
    return ScorerId(
        name="guard.rules", version=str(CODE_VERSION), sha256=sha256_json([*code, english().model_dump_json()])
    )
