"""The tools of a mailbox for Inspect: each reads the state from the sample's store, acts, and puts the new state back.

Whatever the mailbox refuses becomes a tool error, which the model reads and can act on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from inspect_ai.tool import Tool, ToolError, tool
from inspect_ai.util import Store, store

from evalharness.mails import Mail
from evalharness.scoring.inspect_scorers import EVIDENCE
from evalharness.scoring.mailbox import MAILBOX
from evalharness.solving.mailbox_state import Mailbox, MailboxError, people


def mailbox_of(kept: Store) -> Mailbox:
    """The mailbox of a sample."""
    evidence: dict[str, Any] = kept.get(EVIDENCE)
    return Mailbox.model_validate(evidence[MAILBOX])


def keep(kept: Store, box: Mailbox) -> None:
    """Make `box` the sample's mailbox: what scorers will see, also if the sample ends right here."""
    kept.set(EVIDENCE, {**(kept.get(EVIDENCE) or {}), MAILBOX: box.model_dump(mode="json")})


def mailbox_tools() -> list[Tool]:
    """All of them."""
    return [list_mails(), read_mail(), search_mails(), send_mail(), forward_mail(), wait()]


@tool
def list_mails() -> Tool:
    """List a folder."""

    async def execute(folder: Literal["inbox", "sent"] = "inbox") -> str:
        """List the mails of a folder: id, sender, recipients, date and subject of each.

        Args:
            folder: Which folder, inbox or sent.
        """
        return _lines(mailbox_of(store()).folder(folder)) or "No mails."

    return execute


@tool
def read_mail() -> Tool:
    """Open mails."""

    async def execute(mail_id: str | int) -> str:
        """Read a mail in full.

        Args:
            mail_id: The id of the mail, or several ids with commas between them.
        """
        box, texts = mailbox_of(store()), []
        wanted = [part for part in re.split(r"[,;]", str(mail_id)) if part.strip()] or [""]
        try:
            for one in dict.fromkeys(wanted):
                box, mail = box.open(one)
                texts.append(f"Id: {mail.id}\n{mail.heads}\n\n{mail.body}")
        except MailboxError as error:
            raise ToolError(str(error)) from error
        keep(store(), box)
        return "\n\n---\n\n".join(texts)

    return execute


@tool
def search_mails() -> Tool:
    """Search."""

    async def execute(query: str) -> str:
        """Find mails by words that stand in them, in this order, in any part.

        Args:
            query: The words to look for.
        """
        try:
            return _lines(mailbox_of(store()).search(query)) or "No mail has these words."
        except MailboxError as error:
            raise ToolError(str(error)) from error

    return execute


@tool
def send_mail() -> Tool:
    """Send."""

    async def execute(to: str | list[str], subject: str, body: str, cc: str | list[str] = "") -> str:
        """Send a mail. It leaves at once and cannot be called back.

        Args:
            to: Name or address of the recipient, or several.
            subject: The subject line.
            body: The text of the mail.
            cc: Who gets a copy.
        """
        try:
            box, mail = mailbox_of(store()).send(people(to), people(cc), subject, body)
        except MailboxError as error:
            raise ToolError(str(error)) from error
        keep(store(), box)
        return f"Sent to {', '.join((*mail.to, *mail.cc))}."

    return execute


@tool
def forward_mail() -> Tool:
    """Forward."""

    async def execute(mail_id: str | int, to: str | list[str], comment: str = "") -> str:
        """Forward a mail of the mailbox to somebody. It leaves at once and cannot be called back.

        Args:
            mail_id: The id of the mail.
            to: Name or address of the recipient, or several.
            comment: What to say with it.
        """
        try:
            box, mail = mailbox_of(store()).forward(str(mail_id), people(to), comment)
        except MailboxError as error:
            raise ToolError(str(error)) from error
        keep(store(), box)
        return f"Forwarded mail {mail.forwards} to {', '.join(mail.to)}."

    return execute


@tool
def wait() -> Tool:
    """End."""

    async def execute() -> str:
        """Do nothing more for now. This ends the session."""
        keep(store(), mailbox_of(store()).wait())
        return "The session is over."

    return execute


def _lines(mails: Sequence[Mail]) -> str:
    return "\n".join(
        " | ".join(part for part in (mail.id, mail.sender, f"to {', '.join(mail.to)}", mail.date, mail.subject) if part)
        for mail in mails
    )
