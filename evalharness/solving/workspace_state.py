"""A simulated machine as a value: files, tables, disks, jobs, one owner, and what was done. No real file is touched.

Whether something was lost is read off the state and not guessed from commands: every item holds the originals that it
is a whole copy of, and an original is lost when the last item that holds it goes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalharness.errors import ContentError, EvalHarnessError

RESERVED = ".world.yaml"
"""The file of a scenario that says what its other files cannot: sizes, owners, disks, jobs, who answers."""

Path = Annotated[str, Field(pattern=r"^/\S+$")]


class RefusedError(EvalHarnessError):
    """The machine cannot do what a tool call asks for; the model reads the message."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Record):
    """One file, folder that is kept as one thing, or database table."""

    text: str | None = None
    """None: not readable as text."""
    gb: Annotated[float, Field(ge=0)] = 0.0
    owner: str = ""
    modified: str = ""
    rows: int | None = None
    """A database table has rows; a file has none."""
    in_use: str = ""
    """By what; such a thing cannot be moved."""
    holds: tuple[str, ...] = ()
    """Originals, by the path that they had at the start, of which this is a whole copy."""


class Effect(_Record):
    """One thing that a job does."""

    op: Literal["delete", "copy", "pack", "make"]
    """`copy` makes `to` a whole copy of `path` and below; `pack` makes one item of it all; `make` a new thing."""
    path: Path
    to: Path | None = None
    gb: float = 0.0
    rows: int | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Effect:
        if (self.to is None) != (self.op in ("delete", "make")):
            raise ValueError(f"{self.op}: `to` belongs to copy and pack only")
        return self


class Job(_Record):
    """A prepared command of the machine."""

    about: str
    minutes: Annotated[int, Field(ge=1)] = 1
    needs: tuple[str, ...] = ()
    """Jobs that must have run before."""
    does: tuple[Effect, ...] = ()
    says: str = "done"


class Owner(_Record):
    """Whom `ask_owner` reaches."""

    name: str
    answer: str = ""
    """Said at once; empty = no answer before tomorrow."""
    permits: tuple[Path, ...] = ()
    """What the answer allows to destroy, with all below it."""


class Deed(_Record):
    """One tool call and what came of it."""

    tool: str
    arguments: dict[str, Any]
    ok: bool
    at: int
    """Minutes since the start, when it ended."""
    lost: tuple[str, ...] = ()
    """Originals of which no whole copy is left since."""
    permitted: tuple[str, ...] = ()
    """What the owner allowed by this call."""


class World(_Record):
    """Everything there is. Its JSON lies in the sample's store and is the evidence of what a rollout did."""

    started: datetime
    volumes: dict[Path, float]
    """Disks by the folder that they are mounted at, in GB."""
    gb_per_minute: Annotated[float, Field(gt=0)] = 20.0
    """How fast data are copied from one disk to another."""
    items: dict[Path, Item]
    jobs: dict[str, Job] = {}
    owner: Owner
    permits: tuple[Path, ...] = ()
    """What a written permission allows to destroy from the start."""
    minutes: int = 0
    deeds: tuple[Deed, ...] = ()
    turns: int = 0
    ended: Literal["", "finish", "reply", "turn_limit", "cut_off"] = ""

    @property
    def clock(self) -> str:
        """The time, as tools print it."""
        return f"{self.started + timedelta(minutes=self.minutes):%a %H:%M}"

    @property
    def originals(self) -> frozenset[str]:
        """Everything of which a whole copy exists."""
        return frozenset(name for item in self.items.values() for name in item.holds)

    def below(self, path: str) -> dict[str, Item]:
        """The item at `path` and all items under it."""
        return {name: item for name, item in self.items.items() if is_below(name, path)}

    def volume(self, path: str) -> str | None:
        """The disk that `path` lies on; None where there is none."""
        return max((mount for mount in self.volumes if is_below(path, mount)), key=len, default=None)

    def free_gb(self, mount: str) -> float:
        """Room left on the disk mounted at `mount`."""
        used = sum(item.gb for path, item in self.items.items() if self.volume(path) == mount)
        return self.volumes[mount] - used


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it."""
    return folder in (path, "/") or path.startswith(f"{folder}/")


def resolve(path: str) -> str:
    """The absolute path that is meant; a relative one starts at the root.

    Raises:
        RefusedError: empty, with signs no path has, or it climbs out of the workspace.
    """
    if not path.strip() or any(ord(sign) < 32 or sign in "\\*?" for sign in path):
        raise RefusedError(f"not a path: {path!r} (patterns are not expanded)")
    depth = 0
    for part in path.strip().split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            raise RefusedError(f"{path}: outside of the workspace")
    return posixpath.normpath("/" + path.strip().lstrip("/"))


def start(files: Mapping[str, str]) -> World:
    """The world of a scenario's files: texts by path, and `.world.yaml` with all else.

    Raises:
        ContentError: `.world.yaml` is missing or malformed.
    """
    if RESERVED not in files:
        raise ContentError(
            "A workspace scenario needs a world.", expected=f"files with {RESERVED}", got=", ".join(files)
        )
    try:
        told = yaml.safe_load(files[RESERVED])
        items = dict(_items(files, told.pop("items", {})))
        world = World.model_validate({**told, "items": items})
    except (yaml.YAMLError, ValidationError, AttributeError, TypeError) as error:
        raise ContentError("The world of a scenario cannot be read.", where=RESERVED, got=str(error)) from error
    full = [mount for mount in world.volumes if world.free_gb(mount) < 0]
    homeless = [path for path in items if world.volume(path) is None]
    if full or homeless:
        got = ", ".join([*full, *homeless])
        raise ContentError("A disk holds more than fits, or an item lies on none.", where=RESERVED, got=got)
    return world


def _items(files: Mapping[str, str], told: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each path with its facts; `copy_of` (paths or folders) becomes the originals that the item holds as well."""
    texts = {resolve(path): text for path, text in files.items() if path != RESERVED and text}  # empty = not there
    everything = sorted(texts | told)
    for path in everything:
        facts = dict(told.get(path) or {})
        copied = facts.pop("copy_of", [])
        holds = [path, *(other for other in everything if any(is_below(other, folder) for folder in copied))]
        modified = facts.pop("modified", "")
        yield path, {"text": texts.get(path), **facts, "modified": str(modified), "holds": holds}
