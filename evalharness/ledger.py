"""The run ledger: an append-only, hash-chained list of what was started, finished and aborted.

Tamper-evident, not tamper-proof: whoever can rewrite the whole file can rewrite the chain. Publish its head.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import jsonlines

from evalharness.errors import ContentError
from evalharness.ids import sha256_json

Event = Literal["register", "start", "finish", "abort", "score", "labels"]
GENESIS = "0" * 64


class Ledger:
    """`ledger.jsonl` of a run folder."""

    def __init__(self, path: Path) -> None:
        """A ledger at `path`, which may not exist yet."""
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        """All lines, oldest first; empty where there is no ledger.

        Raises:
            ContentError: a line is not JSON.
        """
        if not self.path.exists():
            return []
        try:
            with jsonlines.open(self.path) as file:
                return list(file)
        except jsonlines.Error as error:
            raise ContentError("The ledger is damaged.", where=str(self.path), got=str(error)) from error

    def append(self, event: Event, **fields: str | int | None) -> None:
        """Add one line, flushed to disk before this returns."""
        lines = self.lines()
        line = {
            "seq": len(lines),
            "prev_sha256": lines[-1]["sha256"] if lines else GENESIS,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "event": event,
            **fields,
        }
        with jsonlines.open(self.path, "a", compact=True) as file:
            file.write({**line, "sha256": sha256_json(line)})
            os.fsync(file._fp.fileno())

    def intact(self) -> bool:
        """Whether every line is in its place and unchanged."""
        previous = GENESIS
        for number, line in enumerate(self.lines()):
            body = {key: value for key, value in line.items() if key != "sha256"}
            if line["seq"] != number or line["prev_sha256"] != previous or line["sha256"] != sha256_json(body):
                return False
            previous = line["sha256"]
        return True

    def registered_policy(self) -> str | None:
        """Hash of the policy registered first; None where none was."""
        return next((line["policy_sha256"] for line in self.lines() if line["event"] == "register"), None)
