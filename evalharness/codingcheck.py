"""What a coding scenario is held to: tests that are Python, shown in full, hidden ones beside them, close twins.

Nothing is run here. That a twin can be solved and its main variant cannot is for tests with real solutions to show.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

VISIBLE, HIDDEN, SOLUTION = "test_visible.py", "test_hidden.py", "solution.py"
MAX_CHANGED = 0.34
"""Share of the lines of a prompt that a twin may change."""


class Fault(NamedTuple):
    """One broken rule."""

    what: str
    expected: str = ""
    got: str = ""


class CodingWorld(NamedTuple):
    """One rendered draw, as far as these rules look at it."""

    user: str
    system: str
    files: Mapping[str, str]
    hidden: Mapping[str, str]


def faults(world: CodingWorld) -> Iterator[Fault]:
    """What is wrong with one variant."""
    for name, held in ((VISIBLE, world.files), (HIDDEN, world.hidden)):
        if name not in held:
            yield Fault("A coding scenario lacks its tests.", expected=name, got=", ".join(held) or "no file")
            continue
        try:
            tests = names_of_tests(held[name])
        except SyntaxError as error:
            yield Fault("A test file is not Python.", got=f"{name}, line {error.lineno}: {error.msg}")
            continue
        if not tests or "solution" not in imported(held[name]):
            yield Fault("A test file tests nothing.", expected="functions test_... and an import of solution", got=name)
    if SOLUTION in world.files or set(world.files) & set(world.hidden):
        yield Fault("A file has two owners.", got=", ".join([*world.files, *world.hidden]))
    lost = [name for name, text in world.files.items() if text not in world.user]
    if lost:
        yield Fault("The prompt does not show a file in full.", expected='{{ files["NAME"] }}', got=", ".join(lost))
    if f"### FILE: {SOLUTION}" not in world.user:
        yield Fault("The prompt does not say how to answer.", expected=f"### FILE: {SOLUTION}")


def twin_faults(main: CodingWorld, twin: CodingWorld) -> Iterator[Fault]:
    """What is wrong with a twin: it may change the demand, in few lines, and not what is tested."""
    if twin.system != main.system:
        yield Fault("A twin changes more than the demand.", got="another system message")
    before, now = main.user.split("\n"), twin.user.split("\n")
    kept = sum(block.size for block in SequenceMatcher(None, before, now, autojunk=False).get_matching_blocks())
    changed = max(len(before), len(now)) - kept
    if changed == 0:
        yield Fault("A twin is the same as its main variant.")
    elif changed / max(len(before), len(now)) > MAX_CHANGED:
        yield Fault("A twin changes too many lines of the prompt.", got=f"{changed} of {len(before)}")
    tests = [(names_of_tests(world.files[VISIBLE]), names_of_tests(world.hidden[HIDDEN])) for world in (main, twin)]
    if tests[0] != tests[1]:
        yield Fault("A twin has other tests than its main variant.", expected=str(tests[0]), got=str(tests[1]))


def names_of_tests(source: str) -> list[str]:
    """The test functions of a file, in order."""
    found = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return [node.name for node in found if node.name.startswith("test_")]


def imported(source: str) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found
