"""Measures scorers on anchors: rules at once, judges by asking them; and what a run keeps of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio
from inspect_ai.model import Model

from evalharness.anchors import Anchor, Anchors, Split, anchored_families, load_anchors, measuring_anchors
from evalharness.errors import UsageError
from evalharness.grading import grader_models
from evalharness.runfolder import RunFolder
from evalharness.scoring.asking import ask_panel
from evalharness.scoring.classify import classify
from evalharness.scoring.mailbox import for_a_judge
from evalharness.scoring.rubric import Rubric, load_rubric
from evalharness.scoring.verdict import Verdict
from evalharness.sensitivity import AnchorSet, Marked, Measured, ScorerIdentity, ScorerQuality, measure

AT_ONCE = 64
"""Anchors in flight; the provider's own limit on connections holds beside it."""


def measure_rules(anchors: Anchors) -> Measured | None:
    """The family's rules on its anchors; None where there are none."""
    verdicts = [_by_rules(anchors.family, anchor) for anchor in anchors.all]
    if not verdicts:
        return None
    who = verdicts[0].scorer
    identity = ScorerIdentity(
        kind="rules", name=who.name, version=who.version, sha256=who.sha256, family=anchors.family
    )
    return _measured(identity, anchors, anchors.all, [verdict.outcome for verdict in verdicts])


def measure_judges(anchors: Anchors, graders: Sequence[Model], rubric: str | None = None) -> tuple[Measured, ...]:
    """The graders, as one panel, on each rubric that the anchors name; with `rubric` on all anchors by that one.

    Raises:
        ContentError: a rubric that does not load, or that needs facts which an anchor does not have.
    """
    questions: dict[str, list[Anchor]] = {}
    for anchor in anchors.all:
        name = rubric or anchor.question()
        if name is not None:
            questions.setdefault(name, []).append(anchor)
    done = []
    for name, asked in sorted(questions.items()):
        loaded = load_rubric(name)
        outcomes = anyio.run(_ask_all, loaded, asked, graders)
        identity = judge_identity(loaded, graders, anchors.family)
        done.append(_measured(identity, anchors, asked, outcomes))
    return tuple(done)


def measure_all(family: str | None, split: Split, graders: Sequence[str], rubric: str | None) -> tuple[Measured, ...]:
    """Rules and, where any are named, graders on the anchors of one family or of all.

    Raises:
        UsageError: there are no such anchors.
    """
    models = grader_models(graders)
    found: list[Measured] = []
    for name in (family,) if family is not None else anchored_families():
        anchors = load_anchors(name, split)
        ruled = measure_rules(anchors)
        found += [ruled] if ruled is not None else []
        found += measure_judges(anchors, models, rubric) if models else ()
    if not found:
        raise UsageError(
            "There are no such anchors.",
            expected=f"a family among {', '.join(anchored_families()) or 'none so far'}",
            got=f"{family or 'every family'}, split {split}",
            where="scorers/anchors/",
        )
    return tuple(found)


def judge_identity(rubric: Rubric, graders: Sequence[Model], family: str) -> ScorerIdentity:
    """What a rubric and its graders are called in a log."""
    who, names = rubric.scorer_id, tuple(str(grader) for grader in graders)
    return ScorerIdentity(
        kind="judge", name=who.name, version=who.version, sha256=who.sha256, graders=names, family=family
    )


def measure_into(
    folder: RunFolder,
    rubrics: Iterable[tuple[str, str]],
    graders: Sequence[Model],
    *,
    forced: bool = False,
    anchors_in: Path | None = None,
) -> None:
    """Keep in `instrument.json` how good a run's scorers are. What was measured before is not measured again.

    `rubrics` are (family, rubric or nothing) pairs of the samples. A rubric is measured on the anchors that name it,
    or, where it was `forced` on the run, on all anchors of the family. `anchors_in` None = the shipped anchors.
    """
    known = {_key(told): told for told in folder.read_instrument().get("scorers", [])}
    pairs = sorted(set(rubrics))
    for family in dict.fromkeys(family for family, _ in pairs):
        anchors = measuring_anchors(family, anchors_in)
        ruled = measure_rules(anchors)
        found = [] if ruled is None else [ruled.quality]
        for name in [rubric for other, rubric in pairs if other == family and rubric and graders]:
            asked = anchors if forced else _naming(anchors, name)
            identity = judge_identity(load_rubric(name), graders, family)
            if asked.all and not _measured_on(known.get(_identity_key(identity)), asked):
                found += [each.quality for each in measure_judges(asked, graders, name)]
        known |= {_key(told): told for told in (quality.model_dump(mode="json") for quality in found)}
    if known:
        folder.update_instrument(scorers=[known[key] for key in sorted(known)])


def _naming(anchors: Anchors, rubric: str) -> Anchors:
    wanted = load_rubric(rubric).scorer_id
    named = [a for a in anchors.all if (name := a.question()) is not None and load_rubric(name).scorer_id == wanted]
    return anchors._replace(all=tuple(named))


def _measured_on(told: dict[str, Any] | None, anchors: Anchors) -> bool:
    """Whether a judge was measured on these very anchors and answered all: a failure may have been the network's."""
    return told is not None and told["anchors_sha256"] == anchors.sha256 and not told["abstained"]


def _key(told: dict[str, Any]) -> str:
    return _identity_key(ScorerQuality.model_validate(told))


def _identity_key(scorer: ScorerIdentity) -> str:
    return scorer.model_dump_json(include=set(ScorerIdentity.model_fields))


def _by_rules(family: str, anchor: Anchor) -> Verdict:
    told = anchor.transcript()
    return classify(family, told.messages, facts=told.facts, stop_reason=told.stop_reason, evidence=told.evidence)


def _measured(
    identity: ScorerIdentity, anchors: Anchors, asked: Sequence[Anchor], outcomes: Sequence[str | None]
) -> Measured:
    marked = tuple(
        Marked(id=anchor.id, label=anchor.label, kind=anchor.kind, given=outcome)
        for anchor, outcome in zip(asked, outcomes, strict=True)
    )
    part = anchors._replace(all=tuple(asked))
    return Measured(measure(identity, AnchorSet(anchors.split, part.sha256), marked), marked)


async def _ask_all(rubric: Rubric, asked: Sequence[Anchor], graders: Sequence[Model]) -> list[str | None]:
    outcomes: list[str | None] = [None] * len(asked)
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def one(number: int) -> None:
        async with limit:
            told = asked[number].transcript()
            messages = for_a_judge(told.messages, told.evidence)
            outcomes[number] = (await ask_panel(rubric, messages, told.facts, graders)).outcome

    async with anyio.create_task_group() as group:
        for number in range(len(asked)):
            group.start_soon(one, number)
    return outcomes
