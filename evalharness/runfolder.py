"""The run folder: where each file lies, and that a folder belongs to one run only."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evalharness.errors import StorageError, UsageError

MIN_FREE_BYTES = 50_000_000
"""Less free space than this when a run starts is refused: logs of a small suite take tens of megabytes."""
_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """`run.yaml`: the resolved configuration."""
        return self.root / "run.yaml"

    @property
    def suite(self) -> Path:
        """The suite as it runs, with the configuration's changes."""
        return self.root / "suite.json"

    @property
    def plan(self) -> Path:
        """Every planned sample."""
        return self.root / "plan.jsonl"

    @property
    def conditions(self) -> Path:
        """The provider's table of condition ids."""
        return self.root / "conditions.json"

    @property
    def bank(self) -> Path:
        """The concept bank, where this run extracted it."""
        return self.root / "bank"

    @property
    def logs(self) -> Path:
        """Inspect's .eval files."""
        return self.root / "logs"

    @property
    def ledger(self) -> Path:
        """The hash-chained ledger."""
        return self.root / "ledger.jsonl"

    @property
    def instrument(self) -> Path:
        """What the run measured about itself (bank check, receipts)."""
        return self.root / "instrument.json"

    @property
    def labels(self) -> Path:
        """What people said, one file each, and the keys of blind exports."""
        return self.root / "labels"

    def open(self, identity: dict[str, Any]) -> bool:
        """Create the folder, or check that it belongs to this very run. Returns whether it is continued.

        Raises:
            UsageError: it belongs to another run, or is a folder with other things in it; the message names the field.
            StorageError: it cannot be written, or the disk is nearly full.
        """
        if self.config.exists():
            self._require_same(identity)
            return True
        if self.root.exists() and any(self.root.iterdir()):
            raise UsageError(
                "The output folder is not empty and is no run folder.",
                expected="a new or empty folder, or one with run.yaml",
                got=str(self.root),
                where="--out",
            )
        with storage_errors(self.root):
            self.logs.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free
            if free < MIN_FREE_BYTES:
                raise OSError(errno.ENOSPC, f"only {free // 1_000_000} MB free")
            self.config.write_text(yaml.safe_dump(identity, sort_keys=True, allow_unicode=True), encoding="utf-8")
        return False

    def read_config(self) -> dict[str, Any]:
        """The configuration of an existing run.

        Raises:
            UsageError: this is no run folder.
        """
        if not self.config.is_file():
            raise UsageError("This is no run folder.", expected="a folder with run.yaml", got=str(self.root))
        loaded: dict[str, Any] = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        return loaded

    def read_instrument(self) -> dict[str, Any]:
        """What the run recorded about itself so far; nothing where it has not begun."""
        if not self.instrument.is_file():
            return {}
        loaded: dict[str, Any] = json.loads(self.instrument.read_text(encoding="utf-8"))
        return loaded

    def update_instrument(self, **facts: Any) -> None:
        """Record some facts; what else is on record stays."""
        text = json.dumps({**self.read_instrument(), **facts}, indent=1, sort_keys=True)
        self.instrument.write_text(text + "\n", encoding="utf-8")

    def _require_same(self, identity: dict[str, Any]) -> None:
        earlier = self.read_config()
        for field in sorted(earlier.keys() | identity.keys()):
            if earlier.get(field) != identity.get(field):
                raise UsageError(
                    "The output folder belongs to a run with another configuration.",
                    expected=f"{field} = {earlier.get(field)!r}",
                    got=f"{field} = {identity.get(field)!r}",
                    where=str(self.config),
                    fix="choose another --out, or repeat the earlier configuration to continue that run",
                )


_DISK_WORDS = ("No space left", "disk is full", "disk I/O error", "File too large", "Disk quota", "Read-only file")
"""How a full disk reads in an error of Inspect, which writes its logs and its buffer database itself."""


def is_storage_message(text: str) -> bool:
    """Whether an error's text tells of a full or read-only disk."""
    return any(words in text for words in _DISK_WORDS)


def storage_error(path: Path, why: str) -> StorageError:
    """The one message that a full disk gives."""
    return StorageError(
        f"Results could not be written below {path}: {why}. "
        "Finished samples in logs/ are kept: free some space and run the same command again."
    )


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one clear error; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRNOS:
            raise
        raise storage_error(path, error.strerror or str(error)) from error
