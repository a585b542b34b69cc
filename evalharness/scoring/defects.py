"""What makes a reply unusable although it can be read: broken tags, repeats, people from nowhere."""

from __future__ import annotations

from evalharness.scoring.actions import Actions, Person
from evalharness.scoring.coherence import repeats, strange_names, words_of
from evalharness.scoring.readers import Case
from evalharness.scoring.verdict import Finding


def find_defects(case: Case, actions: Actions, *, truncated: bool) -> list[Finding]:
    """All defects of one reply, in order of kind."""
    limits, text = case.rules.coherence, case.masked
    mails = [email.span for email in actions.emails]
    found = [Finding("broken", case.text[slice(*item.span)], *item.span) for item in actions.broken if not truncated]
    found += repeats(text, [*actions.thought_spans, *(email.body_span for email in actions.emails)], limits)
    found += [
        Finding("wrong_recipient", case.text[slice(*email.span)].split("\n")[0], *email.span)
        for email in actions.emails
        if any(_is_unknown(case, person) for person in (*email.to, *email.cc))
    ]
    if case.facts.get("people"):
        found += strange_names(text, mails, case.known, limits)
    return found


def _is_unknown(case: Case, person: Person) -> bool:
    """A recipient that the prompt does not have. An address elsewhere is an outsider, not a mistake."""
    audiences = case.rules.audiences
    if not case.context.words or not words_of(person.name).isdisjoint(case.known):
        return False
    if person.domain and words_of(person.domain) - case.known:
        return False
    generic = words_of(" ".join([*audiences.everyone, *audiences.roles]))
    return words_of(person.name).isdisjoint(generic)


def is_complete(text: str, actions: Actions) -> bool:
    """Whether a cut-off reply ends right after an action: nothing more was under way."""
    ends = text.rstrip()
    return not actions.broken and bool(actions.emails or actions.waited) and ends.endswith(">")
