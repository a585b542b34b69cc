"""Every command and every example that the documents print is real.

Commands stand in blocks marked `console`, each on a line that begins with `$ `. Cheap ones are run; the others are
parsed by the command line they belong to, so that an option that was renamed shows here.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from evalharness.cli import app

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("docs", "evalharness", "benchmarks")
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.md")))
    if "_content" not in path.parts
)
SHELLS = {"bash", "sh", "shell", "zsh"}
PLAIN = {"cd", "git", "open", "ls", "cat"}
"""Commands that only lead somewhere."""
CHEAP = ("evalharness --help", "evalharness scenarios list", "evalharness organism list")


class Block(NamedTuple):
    """A fenced block of a document."""

    path: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    """All fenced blocks of all documents."""
    for path in DOCUMENTS:
        fence, start = "", 0
        lines: list[str] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if fence and line.strip() == fence[:3]:
                yield Block(path, start, fence[3:].strip(), "\n".join(lines))
                fence, lines = "", []
            elif fence:
                lines.append(line)
            elif line.lstrip().startswith("```"):
                fence, start = line.strip(), number
        assert not fence, f"{path} ends inside of a fenced block"


COMMANDS = [
    pytest.param(line.removeprefix("$ "), id=f"{block.place} {line}")
    for block in blocks()
    if block.language == "console"
    for line in block.text.splitlines()
    if line.startswith("$ ")
]
EXAMPLES = [pytest.param(block.text, id=block.place) for block in blocks() if block.language == "python"]


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb of the command line with its path. `Any`: typer carries classes of its own for what click has."""
    if hasattr(command, "commands"):
        for name, child in sorted(command.commands.items()):
            yield from walk(child, (*path, name))
    else:
        yield path, command


PARSE_ERROR = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
VERBS = list(walk(typer.main.get_command(app)))
EPILOGS = [pytest.param(str(verb.epilog).removeprefix("Example: "), id=" ".join(path)) for path, verb in VERBS]


def parse(arguments: list[str]) -> None:
    """Parse the arguments of `evalharness` without doing anything; unknown verbs and options raise."""
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        context = command.make_context(arguments[0], [], parent=context, resilient_parsing=True)
        name, command, arguments = command.resolve_command(context, arguments)
        assert command is not None, f"no verb {name}"
    if arguments not in (["--help"], ["-h"]):
        command.make_context(command.name, list(arguments), parent=context)


def make_targets() -> set[str]:
    """Targets of the Makefile."""
    return set(re.findall(r"^(\w[\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_command(command: str) -> None:
    """Refuse what could not work as printed."""
    words = shlex.split(command, comments=True)
    program, arguments = Path(words[0]).name, words[1:]
    if program == "evalharness":
        parse(arguments)
    elif program == "make":
        assert set(arguments) <= make_targets()
    elif program == "inspect":
        check_inspect(arguments)
    elif program in {"pip", "python", "python3.11", "pytest", "uv"}:
        named = [word for word in arguments if word.endswith((".py", ".txt", ".toml")) and not word.startswith("-")]
        assert all((ROOT / name).exists() for name in named)
        if "-m" in arguments:
            check_module(arguments[arguments.index("-m") + 1 :])
    else:
        assert program in PLAIN or command == ".ci/run", f"cannot tell whether this works: {command}"


def check_module(arguments: list[str]) -> None:
    """A script of benchmarks/ exists and knows the options; modules of Python itself are taken as they are."""
    module, *options = arguments
    if module.startswith("benchmarks."):
        script = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        assert all(f'"{option}"' in script for option in options if option.startswith("--"))
    else:
        assert module in {"venv", "pip", "pytest"}


def check_inspect(arguments: list[str]) -> None:
    """`inspect eval evalharness/<task>` names a task of ours."""
    from evalharness.content import load_module  # noqa: PLC0415 - loads Inspect

    if arguments[:1] == ["eval"]:
        package, _, task = arguments[1].partition("/")
        assert package == "evalharness"
        assert callable(getattr(load_module("tasks", task), task))
    else:
        assert arguments[:1] in (["view"], ["list"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_printed_command_can_work(command):
    """Verbs, options, targets, tasks and files that the documents name exist."""
    check_command(command)


@pytest.mark.parametrize("example", EPILOGS)
def test_every_verb_ends_its_help_with_an_example_that_parses(example):
    """`--help` shows how the verb is used."""
    assert example.startswith("evalharness ")
    check_command(example)


def test_a_command_that_could_not_work_is_refused():
    """The check above has teeth."""
    for command in (
        "evalharness rnu quick",
        "evalharness gate DIR --polcy release",
        "make coffee",
        "curl http://e.org",
        "python -m benchmarks.engine_cpu --ruonds 3",
        "python -m benchmark.engine_cpu",
    ):
        with pytest.raises((PARSE_ERROR, AssertionError)):
            check_command(command)


@pytest.mark.parametrize("command", CHEAP)
def test_cheap_commands_run(command):
    """The installed script starts, answers and ends with 0."""
    script = Path(sys.executable).with_name("evalharness")
    done = subprocess.run([script, *command.split()[1:]], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("arguments", [[], ["gate", "DIR", "--polcy", "x"], ["gate"], ["rnu"]])
def test_a_mistyped_command_ends_with_the_code_for_usage(arguments):
    """Exit code 2 and a short message: 1 would mean FAIL, 70 a fault of ours."""
    script = Path(sys.executable).with_name("evalharness")
    done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("code", EXAMPLES)
def test_every_python_example_runs(code, tmp_path):
    """An example that is printed can be pasted and run, in an empty folder and offline."""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_no_command_hides_in_an_unchecked_block():
    """Commands stand in `console` blocks, where they are checked."""
    assert [block.place for block in blocks() if block.language in SHELLS] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path):
    """A relative link names a file of the repository."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]

    assert [target for target in targets if target and not (path.parent / target).exists()] == []


def test_the_readme_names_every_file_of_the_package() -> None:
    """The list at its end is the first docstring line of each module; on failure, paste what was expected."""
    package = ROOT / "evalharness"
    files = sorted(package.rglob("*.py"), key=lambda path: (path.parent != package, path.relative_to(package).parts))
    names = [str(path.relative_to(ROOT)) for path in files]
    width = max(map(len, names))
    firsts = [
        (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0] for path in files
    ]
    listing = "\n".join(f"{name:{width}}  {first}" for name, first in zip(names, firsts, strict=True))
    assert listing in (ROOT / "README.md").read_text(encoding="utf-8")
