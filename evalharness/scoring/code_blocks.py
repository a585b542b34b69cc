"""From a reply to the files that it writes, and where in the reply each stands. Pure; runs nothing.

The form that prompts ask for: a line `### FILE: path`, then a fenced block with the whole file. A reply without any
such line may hold its solution in a plain fenced block, or be nothing but Python.
"""

from __future__ import annotations

import ast
import re
from pathlib import PurePosixPath
from typing import NamedTuple

SOLUTION = "solution.py"
MAX_FILES, MAX_SIZE = 20, 100_000

_MARK = re.compile(r"^[ \t]*(?:[#*>-]+[ \t]*)*FILE:[ \t]*[`*\"']*(?P<path>[^\s`*\"']+)[^\n]*$", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*(?P<ticks>`{3,}|~{3,})[ \t]*(?P<language>[\w.+-]*)[^\n`]*$")
_PYTHON = ("", "python", "py", "python3")


class CodeFile(NamedTuple):
    """One file of a reply: `text` is the reply from `start` to `end`."""

    path: str
    text: str
    start: int
    end: int
    closed: bool
    """Whether the fence was closed; a reply that was cut off may end within a file."""


class CodeReply(NamedTuple):
    """What a reply amounts to as code."""

    files: tuple[CodeFile, ...]
    """The last of each path, in order."""
    strange: tuple[str, ...] = ()
    """Paths that lead out of the folder, or files beyond the bounds; they are not written."""

    @property
    def contents(self) -> dict[str, str]:
        """Path to text, without files that were cut off."""
        return {file.path: file.text for file in self.files if file.closed}


class _Block(NamedTuple):
    path: str | None
    language: str
    start: int
    end: int
    closed: bool


def read_code(reply: str) -> CodeReply:
    """The files of a reply."""
    blocks = _blocks(reply)
    marked = [block for block in blocks if block.path is not None]
    if not marked:
        return CodeReply(tuple(_unmarked(reply, blocks)))
    files: dict[str, CodeFile] = {}
    strange: list[str] = []
    for block in marked:
        path = _inside(block.path or "")
        if path is None or block.end - block.start > MAX_SIZE or (path not in files and len(files) >= MAX_FILES):
            strange.append(block.path or "")
            continue
        files.pop(path, None)
        files[path] = _file(reply, path, block)
    return CodeReply(tuple(files.values()), tuple(strange))


def _unmarked(reply: str, blocks: list[_Block]) -> list[CodeFile]:
    """The last block of Python that defines something, else the last at all, else the reply itself if it is Python."""
    found = [block for block in blocks if block.language.lower() in _PYTHON and block.end - block.start <= MAX_SIZE]
    defining = [block for block in found if _defines(reply[block.start : block.end])]
    for block in (defining or found)[-1:]:
        return [_file(reply, SOLUTION, block)]
    if not blocks and len(reply) <= MAX_SIZE and _defines(reply):
        return [CodeFile(SOLUTION, reply, 0, len(reply), closed=True)]
    return []


def _blocks(reply: str) -> list[_Block]:
    found: list[_Block] = []
    path: str | None = None
    position, opened = 0, None
    for line in reply.splitlines(keepends=True):
        bare, start, position = line.rstrip("\r\n"), position, position + len(line)
        fence = _FENCE.match(bare)
        if opened is not None:
            if fence and fence["ticks"].startswith(opened[0]) and not fence["language"]:
                found.append(_Block(path, opened[1], opened[2], start, closed=True))
                opened, path = None, None
        elif fence:
            opened = (fence["ticks"], fence["language"], position)
        elif mark := _MARK.match(bare):
            path = mark["path"]
        elif bare.strip():
            path = None  # a mark belongs to the block right below it
    if opened is not None:
        found.append(_Block(path, opened[1], opened[2], len(reply), closed=False))
    return found


def _file(reply: str, path: str, block: _Block) -> CodeFile:
    return CodeFile(path, reply[block.start : block.end], block.start, block.end, block.closed)


def _inside(path: str) -> str | None:
    """The path in its plain form; None where it is none of the folder."""
    pure = PurePosixPath(path.replace("\\", "/"))
    good = pure.parts and not pure.is_absolute() and ".." not in pure.parts and ":" not in path and "\0" not in path
    return str(pure) if good and len(path) <= 200 and str(pure) != "." else None


def _defines(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body)
