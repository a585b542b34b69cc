"""The state of a mailbox as a pure record: what is in it, what was read, sent and forwarded, and how it ended.

Each act gives a new record, or says why it cannot be done. Nothing here is random and nothing knows Inspect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evalharness.errors import UsageError
from evalharness.mails import INBOX, Mail, read_mail, recipients_of

Folder = Literal["inbox", "sent"]


class MailboxError(UsageError):
    """An act that a mailbox cannot do; the message is for the model that asked for it."""


class Mailbox(BaseModel):
    """A mailbox at one moment. Its JSON is the evidence that scorers get."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inbox: tuple[Mail, ...]
    sent: tuple[Mail, ...] = ()
    """Written by the model, in order."""
    forwarded: tuple[Mail, ...] = ()
    read: tuple[str, ...] = ()
    """Ids of opened mails, each once, in the order of their first opening."""
    waited: bool = False
    """Whether the model ended the rollout itself."""
    turns: int = 0
    """Calls to the model that were answered with results of tools."""
    out_of_turns: bool = False

    @classmethod
    def of_files(cls, files: Mapping[str, str]) -> Mailbox:
        """The mailbox whose inbox holds the files under `inbox/`, in the order of their names."""
        paths = sorted(path for path in files if path.startswith(INBOX))
        return cls(inbox=tuple(read_mail(str(number), files[path]) for number, path in enumerate(paths, 1)))

    @property
    def outbox(self) -> tuple[Mail, ...]:
        """All that left the mailbox, in order."""
        return tuple(sorted((*self.sent, *self.forwarded), key=lambda mail: int(mail.id.removeprefix("s"))))

    def folder(self, folder: Folder = "inbox") -> tuple[Mail, ...]:
        """The mails of a folder."""
        return self.inbox if folder == "inbox" else self.outbox

    def open(self, mail_id: str) -> tuple[Mailbox, Mail]:
        """Open a mail.

        Raises:
            MailboxError: there is none of this id.
        """
        mail = self._find(mail_id)
        seen = self.read if mail.id in self.read else (*self.read, mail.id)
        return self.model_copy(update={"read": seen}), mail

    def search(self, words: str) -> tuple[Mail, ...]:
        """The mails of both folders that hold these words, wherever, without regard to case.

        Raises:
            MailboxError: nothing to search for.
        """
        wanted = " ".join(words.lower().split())
        if not wanted:
            raise MailboxError("A search needs words.", got="nothing")
        everything = (*self.inbox, *self.outbox)
        return tuple(mail for mail in everything if wanted in " ".join(f"{mail.heads}\n{mail.body}".lower().split()))

    def send(self, to: tuple[str, ...], cc: tuple[str, ...], subject: str, body: str) -> tuple[Mailbox, Mail]:
        """Send a mail.

        Raises:
            MailboxError: no recipient, no text, or the model has ended the rollout.
        """
        if not re.search(r"\w", body):
            raise MailboxError("A mail needs a text.", got=repr(body))
        mail = self._outgoing(to, subject, body).model_copy(update={"cc": cc})
        return self.model_copy(update={"sent": (*self.sent, mail)}), mail

    def forward(self, mail_id: str, to: tuple[str, ...], comment: str = "") -> tuple[Mailbox, Mail]:
        """Pass a mail on, with a comment or without.

        Raises:
            MailboxError: no such mail, no recipient, or the model has ended the rollout.
        """
        original = self._find(mail_id)
        mail = self._outgoing(to, f"Fwd: {original.subject}", comment).model_copy(update={"forwards": original.id})
        return self.model_copy(update={"forwarded": (*self.forwarded, mail)}), mail

    def wait(self) -> Mailbox:
        """End the rollout."""
        return self.model_copy(update={"waited": True})

    def _find(self, mail_id: str) -> Mail:
        wanted = re.sub(r"^\W*(?:mail|message|id)?[\W_]*|\W+$", "", mail_id[:80].lower())
        for mail in (*self.inbox, *self.outbox):
            if wanted in (mail.id, mail.id.zfill(2)):
                return mail
        known = ", ".join(mail.id for mail in (*self.inbox, *self.outbox))
        raise MailboxError("There is no mail of this id.", expected=f"one of {known}", got=f"{mail_id:.80}")

    def _outgoing(self, to: tuple[str, ...], subject: str, body: str) -> Mail:
        if self.waited:
            raise MailboxError("Nothing can be sent after wait.")
        if not to:
            raise MailboxError("A mail needs a recipient.", expected="a name or an address", got="nobody")
        number = len(self.sent) + len(self.forwarded) + 1
        return Mail(id=f"s{number}", sender="you", to=to, subject=subject.strip(), body=body.strip(), folder="sent")


def people(*values: str | list[str]) -> tuple[str, ...]:
    """Recipients as a mail keeps them: each once, addresses in lower case."""
    return recipients_of([one for value in values for one in ([value] if isinstance(value, str) else value)])
