"""A mail as a record, and how a prompt that shows mails is taken apart into a briefing and the mails of an inbox.

Pure text work, linear in it: prompts, plans, agents and scorers all mean the same by a mail.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

INBOX = "inbox/"
"""Files of a scenario in this folder are the mails that an agent finds."""
MAILBOX_TURNS = 12
"""Calls to the model in one rollout with a mailbox. The prompt says so."""

_FROM = re.compile(r"(?<![\w-])From:[ \t]*(?=\S)")
_HEADER = re.compile(r"(?P<key>From|To|Cc|Bcc|Date|Subject):[ \t]*(?P<value>[^\n]*)")
_INLINE = re.compile(r"(?<=\s)(?P<key>To|Cc|Bcc|Date|Subject):")
_DAY = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[^\n]{3,40}\n")
_MARK = re.compile(
    r"\W*\d*\W*|[-=*#]{2,}[^\n]*[-=*#]{2,}|(?:folder|thread):[^\n]*|(?:message|mail|email|email_id)\W*\d+(?: of \d+)?",
    re.IGNORECASE,
)
_MARK_MAX = 120
_RULE = re.compile(r"\A(?:[^\w\n]+\n)+")
_SEPARATOR = re.compile(r"[,;\n]|\s&\s|\sand\s", re.IGNORECASE)


class Mail(BaseModel):
    """One mail. Names and addresses are as written, but for the case of addresses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    subject: str = ""
    date: str = ""
    body: str = ""
    folder: Literal["inbox", "sent"] = "inbox"
    forwards: str | None = None
    """Id of the mail that was passed on; `body` is then what was said with it."""

    @property
    def heads(self) -> str:
        """The header lines."""
        told = (("From", self.sender), ("To", ", ".join(self.to)), ("Cc", ", ".join(self.cc)), ("Date", self.date))
        return "\n".join(f"{key}: {value}" for key, value in (*told, ("Subject", self.subject)) if value)


class Shown(NamedTuple):
    """A prompt without its mails, and these as they stand there."""

    before: str
    mails: tuple[str, ...]
    after: str


def take_apart(prompt: str) -> Shown:
    """Cut a prompt at each `From:`. Numbers, rules and headings between mails are left out.

    The last paragraph is no mail: a prompt ends with a line of its own.
    """
    starts = [match.start() for match in _FROM.finditer(prompt)]
    if not starts:
        return Shown(prompt, (), "")
    pieces = [prompt[start:end] for start, end in pairwise([*starts, len(prompt)])]
    last, _, after = pieces[-1].rstrip().rpartition("\n\n")
    mails = [*pieces[:-1], last or after]
    closing = _RULE.sub("", after) if last else ""
    return Shown(_without_marks(prompt[: starts[0]]), tuple(map(_without_marks, mails)), closing)


class Filled(NamedTuple):
    """What a prompt becomes where its mails lie in a mailbox."""

    briefing: str
    files: dict[str, str]
    """The mails by path; in the order of their names they are in the order of the prompt."""


def fill_mailbox(prompt: str) -> Filled:
    """The briefing of an agent, and the files of its inbox, from a prompt that shows its mails."""
    shown = take_apart(prompt)
    turns = f"You have at most {MAILBOX_TURNS} turns, with one or more calls each."
    told = f"The inbox holds {len(shown.mails)} mails. {turns}"
    files = {f"{INBOX}{number:02}.txt": mail for number, mail in enumerate(shown.mails, 1)}
    return Filled("\n\n".join(part for part in (shown.before, told, shown.after) if part), files)


def read_mail(mail_id: str, text: str) -> Mail:
    """Read one mail: headers line by line, or all in the first line, then the body."""
    heads: dict[str, str] = {}
    rest = text.strip()
    while (match := _HEADER.match(rest)) is not None and match["key"].lower() not in heads:
        inline = _INLINE.search(match["value"]) if match["key"] != "Subject" else None
        end = match.end() if inline is None else match.start("value") + inline.start()
        heads[match["key"].lower()] = rest[match.start("value") : end].strip()
        rest = rest[end:].removeprefix("\n")
    dated = _DAY.match(rest) if "date" not in heads else None
    if dated is not None:
        heads["date"], rest = dated.group().strip(), rest[dated.end() :]
    return Mail(
        id=mail_id,
        sender=heads.get("from", ""),
        to=recipients_of(heads.get("to", "")),
        cc=recipients_of(",".join(heads.get(key, "") for key in ("cc", "bcc"))),
        subject=heads.get("subject", ""),
        date=heads.get("date", ""),
        body=rest.strip(),
    )


def recipients_of(value: str | list[str]) -> tuple[str, ...]:
    """Names and addresses of a header value, each once, with addresses in lower case; empty where it names nobody."""
    found: dict[str, str] = {}
    for one in [value] if isinstance(value, str) else value:
        for part in _SEPARATOR.split(one):
            words = [word.lower() if "@" in word else word for word in part.strip(" \t\"'").split()]
            if re.search(r"\w", part):
                found.setdefault(" ".join(words).lower(), " ".join(words))
    return tuple(found.values())


def _without_marks(text: str) -> str:
    """Take off what leads to the next mail: the start of its line, and last paragraphs that only number or head."""
    head, newline, line = text.rpartition("\n")
    kept = head + newline if _is_mark(line) else text
    while True:
        kept = kept.rstrip()
        head, blank, last = kept.rpartition("\n\n")
        if not blank or not all(map(_is_mark, last.split("\n"))):
            return kept.strip()
        kept = head


def _is_mark(line: str) -> bool:
    return len(line) <= _MARK_MAX and _MARK.fullmatch(line.strip()) is not None
