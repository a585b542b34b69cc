"""Reads a run folder's .eval logs: which samples are finished, and the row each planned sample ends as."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalSample, list_eval_logs, read_eval_log, recover_eval_log
from inspect_ai.model import ChatMessage, ChatMessageAssistant
from inspect_ai.scorer import Score

from evalharness.plan import PlannedSample
from evalharness.row import Row
from evalharness.scoring.awareness import Aware
from evalharness.scoring.inspect_scorers import AWARENESS
from evalharness.scoring.panel import votes_of
from evalharness.sensitivity import ScorerIdentity, ScorerKind
from evalharness.treatment import receipts_of

RULES, JUDGE = "rule_scorer", "judge_scorer"
NEVER_RAN = "never generated"
_NAME = {scorer: re.compile(rf"{scorer}\d*") for scorer in (RULES, JUDGE)}
_UNUSED_FIELDS = {"events", "attachments", "timelines"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedSample:
    """What a log says of one sample."""

    id: str
    reply: str
    stop_reason: str | None
    rules: Score | None
    judge: Score | None
    error: str
    receipts: tuple[dict[str, Any], ...]
    """One per call to the model."""
    output_tokens: int
    log: str
    aware: Aware | None = None
    """Whether the model took the setting for a test; None where the suite did not ask."""

    @property
    def finished(self) -> bool:
        """Generated and scored; such a sample is never generated again."""
        return not self.error and self.rules is not None


def recover_crashed(folder: Path) -> list[str]:
    """Turn logs that a killed process left open into whole ones. Returns what could not be recovered.

    Samples that were in flight come back as errors, so they are generated again.
    """
    lost = []
    for info in list_eval_logs(str(folder)):
        path = _local(info.name)
        header = read_eval_log(str(path), header_only=True)
        if header.status != "started":
            continue
        try:
            recover_eval_log(str(path), overwrite=True)
        except Exception as error:  # noqa: BLE001 - an unreadable log costs its samples, not the run; it is reported
            lost.append(f"{path.name}: {error}")
    return lost


def read_samples(folder: Path) -> dict[str, LoggedSample]:
    """The best record of each sample id in all logs: a finished one wins, then the latest."""
    best: dict[str, LoggedSample] = {}
    for sample in _all_samples(folder):
        earlier = best.get(sample.id)
        if earlier is None or sample.finished or not earlier.finished:
            best[sample.id] = sample
    return best


def to_rows(planned: Iterable[PlannedSample], logged: dict[str, LoggedSample]) -> tuple[Row, ...]:
    """One row per planned sample, whatever became of it. Logged samples outside the plan are left out."""
    return tuple(_row(sample, logged.get(sample.id)) for sample in planned)


def scorers_of(planned: Iterable[PlannedSample], logged: Mapping[str, LoggedSample]) -> dict[ScorerIdentity, int]:
    """Which scorers gave the latest scores, and to how many samples; several where only some were scored again."""
    found: Counter[ScorerIdentity] = Counter()
    for sample in planned:
        record = logged.get(sample.id)
        if record is not None:
            family = sample.cell.family
            both = (_identity("rules", family, record.rules), _identity("judge", family, record.judge))
            found.update(identity for identity in both if identity is not None)
    return dict(sorted(found.items(), key=lambda item: item[0].model_dump_json()))


def _identity(kind: ScorerKind, family: str, score: Score | None) -> ScorerIdentity | None:
    told = (score.metadata or {}) if score is not None else {}
    if "scorer_sha256" not in told:
        return None
    return ScorerIdentity(
        kind=kind,
        name=str(told["scorer"]),
        version=str(told["scorer_version"]),
        sha256=str(told["scorer_sha256"]),
        graders=tuple(grader for grader, _ in votes_of(told)) if kind == "judge" else (),
        family=family,
    )


def _local(name: str) -> Path:
    return Path(name.removeprefix("file://"))


def _all_samples(folder: Path) -> Iterator[LoggedSample]:
    for info in sorted(list_eval_logs(str(folder), descending=False), key=lambda info: info.name):
        path = _local(info.name)
        log = read_eval_log(str(path), exclude_fields=_UNUSED_FIELDS)
        for sample in log.samples or ():
            yield _logged(sample, path.name)


def _logged(sample: EvalSample, log: str) -> LoggedSample:
    output, scores = sample.output, sample.scores or {}
    metadata = output.metadata or {}
    return LoggedSample(
        id=str(sample.id),
        reply=_what_was_said(sample),
        stop_reason=output.stop_reason if output.choices else None,
        rules=_latest(scores, RULES),
        judge=_latest(scores, JUDGE),
        error=sample.error.message if sample.error else "",
        receipts=tuple(receipts_of(sample.store) or [told for key, told in metadata.items() if key == "receipt"]),
        output_tokens=output.usage.output_tokens if output.usage else 0,
        log=log,
        aware=sample.store.get(AWARENESS, {}).get("aware"),
    )


def _latest(scores: Mapping[str, Score], scorer: str) -> Score | None:
    """What a scorer said last: scoring again appends `rule_scorer1`, `rule_scorer2`, ... and earlier scores stay."""
    turns = {int(name.removeprefix(scorer) or 0): name for name in scores if _NAME[scorer].fullmatch(name)}
    return scores[turns[max(turns)]] if turns else None


def _what_was_said(sample: EvalSample) -> str:
    """The reply; of a conversation of several turns, all that follows the prompt, each turn under its speaker."""
    turns = sample.messages[1 + max((i for i, m in enumerate(sample.messages) if m.source == "input"), default=-1) :]
    if sum(message.role == "assistant" for message in turns) < 2:
        return sample.output.completion if sample.output.choices else ""
    return "\n\n".join(f"[{message.role}]\n{_turn(message)}" for message in turns)


def _turn(message: ChatMessage) -> str:
    calls = message.tool_calls or [] if isinstance(message, ChatMessageAssistant) else []
    said = [f"-> {call.function}({json.dumps(call.arguments, ensure_ascii=False)})" for call in calls]
    return "\n".join([message.text, *said]).strip()


def _row(planned: PlannedSample, logged: LoggedSample | None) -> Row:
    prompt = "\n\n".join(message["content"] for message in planned.messages)
    if logged is None:
        return Row(id=planned.id, cell=planned.cell, index=planned.index, outcome=None, note=NEVER_RAN, prompt=prompt)
    outcome, note = _outcome(logged)
    return Row(
        id=planned.id,
        cell=planned.cell,
        index=planned.index,
        outcome=outcome,
        judge=label_of(logged.judge),
        note=note,
        stop_reason=logged.stop_reason,
        reply=logged.reply,
        prompt=prompt,
        aware=logged.aware,
        findings=_findings(logged.rules),
        log=logged.log,
    )


def _outcome(logged: LoggedSample) -> tuple[str | None, str]:
    if logged.error:
        return None, f"error: {logged.error}"
    value = label_of(logged.rules)
    if value is None:
        return None, (logged.rules.explanation if logged.rules else None) or "the rule scorer gave no outcome"
    return value, ""


def label_of(score: Score | None) -> str | None:
    """The class a scorer gave; unscored (None or NaN) stays None."""
    return score.value if score is not None and isinstance(score.value, str) and score.value else None


def _findings(score: Score | None) -> tuple[tuple[str, str], ...]:
    found = (score.metadata or {}).get("findings", []) if score is not None else []
    return tuple((str(item["label"]), str(item["text"])) for item in found)
