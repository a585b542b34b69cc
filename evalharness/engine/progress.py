"""How far a session is. No torch."""

from __future__ import annotations

from typing import NamedTuple


class Progress(NamedTuple):
    """Rows and tokens of a session."""

    done: int
    running: int
    waiting: int
    output_tokens: int
    """Of the rows that are done."""
    seconds: float
    """Spent in steps."""

    @property
    def tokens_per_s(self) -> float:
        """Drawn tokens of rows that are done, per second."""
        return self.output_tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go if the rows to come take as long as those that are done; None before the first is done."""
        return self.seconds / self.done * (self.running + self.waiting) if self.done else None
