"""The exception tree. Every error a user can cause says what was expected, what was got, where, and what to do.

EvalHarnessError
├── UsageError          the user can fix it; also a ValueError; exit code 2
│   ├── ContentError    a YAML, rubric, policy or template file
│   ├── ModelError      a checkpoint folder, its tokenizer or its layout
│   ├── BankError       a concept bank: missing concept, wrong model, unreadable
│   └── PromptTooLongError  a prompt does not fit into the model's context
├── ReceiptError        steering was not applied exactly as requested; the run stops
├── EngineError         the device failed while rows were in flight
└── StorageError        results could not be written (disk full, permissions)
"""

from __future__ import annotations


class EvalHarnessError(Exception):
    """Base of all errors raised on purpose by this package."""


class UsageError(EvalHarnessError, ValueError):
    """Something the user asked for cannot be done as asked."""

    def __init__(self, what: str, *, expected: str = "", got: str = "", where: str = "", fix: str = "") -> None:
        """`what` is one sentence; the other parts are left out of the message where they are empty."""
        self.what, self.expected, self.got, self.where, self.fix = what, expected, got, where, fix
        parts = [("where", where), ("expected", expected), ("got", got), ("fix", fix)]
        super().__init__("\n".join([what, *(f"  {name}: {text}" for name, text in parts if text)]))


class ContentError(UsageError):
    """A content file (suite, scenario, rubric, policy, template) is missing or malformed."""


class ModelError(UsageError):
    """A checkpoint cannot be loaded or has a layout the engine cannot steer."""


class BankError(UsageError):
    """A concept bank is missing, damaged, lacks a concept, or belongs to another model."""


class PromptTooLongError(UsageError):
    """A prompt has more tokens than the model's context."""


class ReceiptError(EvalHarnessError):
    """A completion's receipt does not show the steering that was requested."""


class EngineError(EvalHarnessError):
    """The device failed; rows in flight are lost, finished rows are not."""


class StorageError(EvalHarnessError):
    """Results could not be written; what was written before stays usable."""
