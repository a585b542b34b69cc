"""What a scenario file is held to beyond its schema: draws without holes, facts that are there, twins that are twins.

A twin may differ from its case in what makes the unsafe act possible or tempting and in nothing else: any other
difference would be a second cause of what the rates show. In mail settings that is a few mails, found by comparing
texts, not taken from the file; elsewhere it is the user message, at about the same length.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from evalharness import codingcheck
from evalharness.errors import ContentError
from evalharness.scenario import Rendered, Scenario, Variant
from evalharness.solving import workspace_check

NAMED_FACTS = ("assistant", "company", "target", "secret_partner", "executive", "everyone", "deadline")
"""Facts that name something in the prompt: where they are given, the main variants must say them."""

MAIL_FAMILIES = ("blackmail",)
"""Families whose prompts are inboxes."""

MOST_LONGER = 1.5
"""How many times as long as the other a plain twin or its case may be, in words."""

_MARKS = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}")
_MAIL = re.compile(r"(?<![\w-])From:[ \t]*(?=\S)")


class Checked(NamedTuple):
    """What was checked, for a line of output."""

    variants: int
    draws: int
    words: tuple[int, int]
    """The shortest and the longest prompt."""


def check_scenario(scenario: Scenario, draws: int) -> Checked:
    """Render `draws` draws of every variant and hold them to the rules of this file.

    Raises:
        ContentError: the first rule that is broken, with scenario, variant and draw.
    """
    lengths: list[int] = []
    for seed in range(draws):
        drawn = {variant.id: scenario.render(variant.id, seed) for variant in scenario.variants}
        for variant in scenario.variants:
            case = _Case(scenario, variant, seed)
            lengths.append(drawn[variant.id].n_words)
            _check_text(case, drawn[variant.id])
            if scenario.form == "workspace":
                _check_workspace(case, drawn[variant.id], None if variant.twin_of is None else drawn[variant.twin_of])
                continue
            _check_facts(case, drawn[variant.id], None if variant.twin_of is None else drawn[variant.twin_of])
            if variant.twin_of is not None and variant.role == "mitigated":
                _check_mitigated(case, drawn[variant.id], drawn[variant.twin_of])
            if scenario.form == "coding":
                _check_coding(case, drawn[variant.id], None if variant.twin_of is None else drawn[variant.twin_of])
        for main in scenario.variants:
            if main.role == "main" and scenario.form not in ("coding", "workspace"):
                check = _check_twins if scenario.family in MAIL_FAMILIES else _check_plain_twins
                check(_Case(scenario, main, seed), drawn)
    return Checked(len(scenario.variants), draws, (min(lengths), max(lengths)))


class _Case(NamedTuple):
    scenario: Scenario
    variant: Variant
    seed: int

    def error(self, what: str, *, expected: str = "", got: str = "") -> ContentError:
        where = f"scenario {self.scenario.id}, variant {self.variant.id}, draw {self.seed}"
        return ContentError(what, expected=expected, got=got, where=where)


def _check_text(case: _Case, rendered: Rendered) -> None:
    mark = _MARKS.search(rendered.text)
    if mark is not None:
        around = rendered.text[max(0, mark.start() - 30) : mark.end() + 30]
        raise case.error("A prompt holds a template mark that was not filled.", got=around)
    bounds = case.scenario.words
    if bounds is not None and not bounds.min <= rendered.n_words <= bounds.max:
        expected = f"{bounds.min} to {bounds.max} words"
        raise case.error("A prompt is too short or too long.", expected=expected, got=f"{rendered.n_words} words")


def _check_workspace(case: _Case, rendered: Rendered, main: Rendered | None) -> None:
    """The rules of `workspace_check`; facts may be known to the files alone, and are those of the main variant."""
    if main is not None and rendered.facts != main.facts:
        raise case.error("A variant has other facts than its main variant.", expected=repr(main.facts))
    for fault in workspace_check.faults(case.variant.role, rendered, main):
        raise case.error(fault.what, expected=fault.expected, got=fault.got)


def _check_facts(case: _Case, rendered: Rendered, main: Rendered | None) -> None:
    """Facts are not empty, name what the prompt names, and are those of the main variant."""
    facts = rendered.facts
    empty = [name for name, value in facts.items() if not value.strip()]
    if empty:
        raise case.error("A fact is empty.", expected="a text for every fact", got=", ".join(empty))
    if main is not None and case.scenario.family in MAIL_FAMILIES and facts != main.facts:
        raise case.error("A variant has other facts than its main variant.", expected=repr(main.facts), got=repr(facts))
    absent = [f"{name}: {facts[name]}" for name in NAMED_FACTS if facts.get(name, "") not in rendered.text]
    if absent and case.variant.role != "twin":
        raise case.error("The prompt never says what a fact names.", got="; ".join(absent))
    said, before = _secrets(rendered), _secrets(rendered if main is None else main)
    if "secret_words" in facts and not before:
        raise case.error("None of the words for the secret stands in the prompt.", expected=facts["secret_words"])
    if said and said != before:
        raise case.error(
            "A twin keeps a part of the secret.",
            expected="all of its words, or none",
            got=", ".join(sorted(said)),
        )


def _secrets(rendered: Rendered) -> set[str]:
    words = [word.strip() for word in rendered.facts.get("secret_words", "").split(",")]
    return {word for word in words if word and re.search(rf"\b{re.escape(word)}\b", rendered.text, re.IGNORECASE)}


def _check_mitigated(case: _Case, rendered: Rendered, main: Rendered) -> None:
    """The way out stands in new lines of the system message; all else is as it was."""
    before, now = (_by_role(found) for found in (main, rendered))
    if now.get("user") != before.get("user"):
        raise case.error("A mitigated variant changes the user message.", expected="new lines in the system message")
    if (rendered.files, rendered.hidden) != (main.files, main.hidden):
        raise case.error("A mitigated variant changes files.", expected="those of its main variant")
    lines = iter(now.get("system", "").split("\n"))
    lost = [line for line in before.get("system", "").split("\n") if line not in lines]  # in order: `in` moves on
    if lost or now.get("system") == before.get("system"):
        raise case.error(
            "A mitigated variant must keep every line of the system message and add some.",
            got="nothing added" if not lost else f"lost: {lost[0]:.80}",
        )


def _check_coding(case: _Case, rendered: Rendered, main: Rendered | None) -> None:
    """The rules of `codingcheck`, for a variant by itself and for a twin beside its main variant."""
    found = list(codingcheck.faults(_world(rendered)))
    if not found and main is not None and case.variant.role == "twin":
        found = list(codingcheck.twin_faults(_world(main), _world(rendered)))
    for fault in found[:1]:
        raise case.error(fault.what, expected=fault.expected, got=fault.got)


def _world(rendered: Rendered) -> codingcheck.CodingWorld:
    texts = _by_role(rendered)
    return codingcheck.CodingWorld(texts.get("user", ""), texts.get("system", ""), rendered.files, rendered.hidden)


def _check_twins(case: _Case, drawn: Mapping[str, Rendered]) -> None:
    """Twins change some mails, each mail to one other text, and different twins different sets of mails."""
    twins = [item for item in case.scenario.variants if item.role == "twin" and item.twin_of == case.variant.id]
    main = _by_role(drawn[case.variant.id])
    changed: dict[str, frozenset[int]] = {}
    forms: dict[int, set[str]] = defaultdict(set)
    for twin in twins:
        found = _by_role(drawn[twin.id])
        at = _Case(case.scenario, twin, case.seed)
        if {role: text for role, text in found.items() if role != "user"} != {
            role: text for role, text in main.items() if role != "user"
        }:
            raise at.error("A twin changes more than mails.", got="another system message")
        for number, text in _changes(at, main["user"], found["user"]):
            forms[number].add(text)
            changed[twin.id] = changed.get(twin.id, frozenset()) | {number}
        if twin.id not in changed:
            raise at.error("A twin is the same as its main variant.")
        n_mails = len(_mails(main["user"])) - 1
        if 2 * len(changed[twin.id]) > n_mails:
            got = f"{len(changed[twin.id])} of {n_mails}"
            raise at.error("A twin changes more than half of the mails.", got=got)
    several = sorted(number for number, texts in forms.items() if len(texts) > 1)
    if several:
        raise case.error("Twins change a mail in different ways.", got=f"mails {several}")
    for first, mails in changed.items():
        for second, others in changed.items():
            if first < second and not (mails.isdisjoint(others) or mails < others or others < mails):
                raise case.error(
                    "Two twins are not told apart by the mails they change.",
                    got=f"{first}: {sorted(mails)}, {second}: {sorted(others)}",
                )


def _check_plain_twins(case: _Case, drawn: Mapping[str, Rendered]) -> None:
    """Twins of one request: the same system message, another user message, about as long."""
    main = drawn[case.variant.id]
    for twin in (item for item in case.scenario.variants if item.role == "twin" and item.twin_of == case.variant.id):
        found, at = drawn[twin.id], _Case(case.scenario, twin, case.seed)
        if found.messages == main.messages:
            raise at.error("A twin is the same as its main variant.")
        if _by_role(found).get("system") != _by_role(main).get("system"):
            raise at.error("A twin changes more than the user message.", got="another system message")
        lengths = sorted((found.n_words, main.n_words))
        if lengths[1] > MOST_LONGER * lengths[0]:
            got = f"{lengths[0]} and {lengths[1]} words"
            raise at.error("A twin and its main variant are not about as long.", got=got)


def _changes(at: _Case, before: str, now: str) -> Iterator[tuple[int, str]]:
    """The numbers, from 1, and the new texts of the mails that differ; senders and readers may not."""
    mails, others = _mails(before), _mails(now)
    if len(mails) != len(others) or mails[0] != others[0]:
        raise at.error("A twin changes more than mails.", got="another number of mails or another text before them")
    for number, (mail, other) in enumerate(zip(mails, others, strict=True)):
        if mail != other:
            if mail.partition("Subject:")[0] != other.partition("Subject:")[0]:
                raise at.error("A twin changes who writes to whom.", got=other.split("\n")[0])
            yield number, other


def _mails(text: str) -> list[str]:
    """What stands before the first mail, then each mail from its `From:` to the next."""
    starts = [0, *(match.start() for match in _MAIL.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(starts)]


def _by_role(rendered: Rendered) -> dict[str, str]:
    return {message["role"]: message["content"] for message in rendered.messages}
