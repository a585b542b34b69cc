"""What was done in a mail setting: read from the text of one reply, or from the mailbox that an agent left behind.

An agent's mails are taken from the mailbox alone. Its words are laid out before them in one text, so that findings have
spans; whatever shape they have, they send nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, takewhile
from typing import Any, NamedTuple

from evalharness.mails import Mail
from evalharness.scoring.actions import Actions, Email, parse, recipients
from evalharness.scoring.transcript import Transcript

MAILBOX = "mailbox"
"""The mailbox's place in the evidence."""
_END = "\n[end of the session]"


class Deeds(NamedTuple):
    """One rollout as the rules for mail read it."""

    prompt: str
    """All that there was to know: the messages before the reply, and the mails of an inbox whether opened or not."""
    text: str
    """What the spans of the actions point into."""
    actions: Actions
    cut_off: bool
    """Whether a limit of tokens or turns ended it."""


def read_deeds(transcript: Transcript) -> Deeds:
    """Read one transcript. Mails that an agent sent are those in its evidence, and no others."""
    box = transcript.evidence.get(MAILBOX)
    if not isinstance(box, Mapping):
        return Deeds(transcript.prompt, transcript.reply, parse(transcript.reply), transcript.cut_off)
    layout = _Layout()
    for message in transcript.messages:
        if message.get("role") == "assistant":
            layout.add_words(str(message.get("content", "")))
    for mail in _mails(box, "sent", "forwarded"):
        layout.add_mail(mail)
    text = "".join(layout.parts) + _END
    actions = layout.actions(text, ended=bool(box.get("waited") or box.get("read")))
    return Deeds(_prompt(transcript, box), text, actions, transcript.cut_off or bool(box.get("out_of_turns")))


def for_a_judge(messages: Sequence[Mapping[str, Any]], evidence: Mapping[str, Any]) -> list[dict[str, str]]:
    """The conversation as a judge reads it: of an agent its inbox, then its words and what it sent; else unchanged."""
    if not isinstance(evidence.get(MAILBOX), Mapping):
        return [{"role": str(message["role"]), "content": str(message["content"])} for message in messages]
    deeds = read_deeds(Transcript(messages=messages, evidence=evidence))
    return [{"role": "user", "content": deeds.prompt}, {"role": "assistant", "content": deeds.text}]


def _mails(box: Mapping[str, Any], *folders: str) -> Sequence[Mail]:
    return [Mail.model_validate(mail) for mail in chain.from_iterable(box.get(name, ()) for name in folders)]


def _prompt(transcript: Transcript, box: Mapping[str, Any]) -> str:
    before = takewhile(lambda message: message.get("role") != "assistant", transcript.messages)
    told = [str(message.get("content", "")) for message in before]
    return "\n".join([*told, *(f"\n[id {mail.id}]\n{mail.heads}\n\n{mail.body}" for mail in _mails(box, "inbox"))])


class _Layout:
    """The one text, part by part, and what lies where in it."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.thoughts: list[tuple[int, int]] = []
        self.prose: list[tuple[int, int]] = []
        self.emails: list[Email] = []
        self.turns: list[tuple[tuple[int, int], ...]] = []

    def put(self, part: str) -> tuple[int, int]:
        start = self.length
        self.parts.append(part)
        self.length += len(part)
        return start, self.length

    def add_words(self, words: str) -> None:
        """Text of one turn. Mails that are only written there are drafts, as thoughts are."""
        start, _ = self.put(words)
        self.put("\n\n")
        said = parse(words)
        drafts = (draft.span for draft in said.emails)
        thoughts = [(start + first, start + last) for first, last in (*said.thought_spans, *drafts)]
        prose = [(start + first, start + last) for first, last in said.prose_spans]
        self.thoughts += thoughts
        self.prose += prose
        self.turns.append((*thoughts, *prose))

    def add_mail(self, mail: Mail) -> None:
        self.put("<email>\n")
        first, _ = self.put(mail.model_copy(update={"sender": ""}).heads + "\n\n")
        body = self.put(mail.body)
        self.put("\n</email>\n\n")
        self.turns.append(((first, body[1]),))
        self.emails.append(
            Email(
                to=recipients(", ".join(mail.to)),
                cc=recipients(", ".join(mail.cc)),
                subject=mail.subject,
                body=mail.body,
                span=(first, body[1]),
                body_span=body,
                forwarded=mail.forwards,
            )
        )

    def actions(self, text: str, *, ended: bool) -> Actions:
        def said(spans: Sequence[tuple[int, int]]) -> str:
            return "\n".join(text[start:end].strip() for start, end in spans).strip()

        return Actions(
            scratchpad=said(self.thoughts),
            emails=tuple(self.emails),
            waited=ended,
            broken=(),
            prose=said(self.prose),
            thought_spans=tuple(self.thoughts),
            prose_spans=tuple(self.prose),
            turns=tuple(self.turns),
        )
