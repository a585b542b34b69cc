"""Finds an Inspect task by registered name or by `file.py@name`, and makes it with its arguments."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from inspect_ai import Task
from inspect_ai.util import registry_create, registry_info

from evalharness.content import import_file
from evalharness.errors import UsageError
from evalharness.ids import SHORT_HASH, sha256_file, sha256_text


class LoadedTask(NamedTuple):
    """A fresh task: `task_with` changes it in place, so each use loads its own."""

    task: Task
    code: str
    """What is known of its code: hash of its file, or version of its package."""


def load_task(name: str, args: Mapping[str, Any]) -> LoadedTask:
    """Make a task as `inspect eval NAME -T ...` would.

    Raises:
        UsageError: no such task, or it does not take these arguments; the message says why.
    """
    path, _, function = name.rpartition("@") if "@" in name else (name, "", "")
    if not path.endswith(".py"):
        return LoadedTask(_make(name, lambda: registry_create("task", name, **args)), _package(name))
    file = Path(path).resolve()
    if not file.is_file():
        raise _refused(name, "the file does not exist")
    with _beside(file):
        task = _make(name, lambda: _function(_module(file), function, name)(**args))
    return LoadedTask(task, f"file sha256 {sha256_file(file)}")


def _make(name: str, build: Any) -> Task:
    try:
        made = build()
    except LookupError as error:
        raise _refused(name, "no such task is registered; is its package installed?") from error
    except (TypeError, ValueError) as error:
        raise _refused(name, " ".join(str(error).split())) from error
    if not isinstance(made, Task):
        raise _refused(name, f"it made {type(made).__name__}, not a task")
    return made


def _function(module: ModuleType, function: str, name: str) -> Any:
    """The `@task` function of a file: the named one, or the only one."""
    there = {
        key: value for key, value in vars(module).items() if _is_task(value) and value.__module__ == module.__name__
    }
    if function in there:
        return there[function]
    if function or len(there) != 1:
        raise _refused(name, f"the file has the tasks {', '.join(there) or 'none'}; name one as FILE@NAME")
    return next(iter(there.values()))


def _is_task(value: object) -> bool:
    try:
        return callable(value) and not isinstance(value, type) and registry_info(value).type == "task"
    except ValueError:  # not in the registry
        return False


def _module(file: Path) -> ModuleType:
    """The file as a module under a name of its own."""
    # Of no package: the task keeps its plain name.
    return import_file(f"{file.stem}_{sha256_text(file.as_posix())[:SHORT_HASH]}", file)


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """A task file may import and read what lies beside it."""
    folder = str(file.parent)
    sys.path.insert(0, folder)
    try:
        with chdir(folder):
            yield
    finally:
        sys.path.remove(folder)


def _package(name: str) -> str:
    package = name.split("/", maxsplit=1)[0]
    found = packages_distributions().get(package, [])
    return ", ".join(f"{distribution} {version(distribution)}" for distribution in sorted(set(found)))


def _refused(name: str, why: str) -> UsageError:
    return UsageError(
        "The task cannot be loaded.",
        expected="a registered task (package/name) or FILE.py@NAME, with arguments that it takes",
        got=why,
        where=f"task {name}",
        fix="see that `inspect eval` runs it, with the same -T",
    )
