"""Where the content folders (tasks/, scenarios/, ...) lie. Only this file knows: content is found, never imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ValidationError

from evalharness.errors import ContentError

KINDS = ("tasks", "scenarios", "scorers", "reports", "corpora")

Record = TypeVar("Record", bound=BaseModel)


def content_root() -> Path:
    """The folder that holds the content folders: inside the installed package, or the checkout.

    Raises:
        ContentError: neither place has content (a damaged installation).
    """
    package = Path(__file__).parent
    if (package / "_content").is_dir():
        return package / "_content"
    if (package.parent / "pyproject.toml").is_file():
        return package.parent
    raise ContentError(
        "The content folders of evalharness were not found.",
        expected=f"{package / '_content'} (installed) or {package.parent / 'pyproject.toml'} (checkout)",
        fix="install evalharness again",
    )


def content_path(kind: str, name: str) -> Path:
    """The path of one content file, for instance `content_path("scenarios", "blackmail/organism.yaml")`.

    Raises:
        ContentError: no such file; the message lists the files that exist.
    """
    root = content_root() / kind
    path = root / name
    if not path.is_file():
        there = sorted(str(p.relative_to(root)) for p in root.rglob(f"*{path.suffix}"))
        raise ContentError(
            f"No file {name!r} in {kind}/.", expected=", ".join(there), got=name, fix="choose one of these"
        )
    return path


def find_content(kind: str, name: str, suffix: str) -> Path:
    """A content file by path or by shipped name: a path that exists wins, then `<kind>/<name><suffix>`."""
    given = Path(name)
    if given.suffix == suffix and given.is_file():
        return given
    return content_path(kind, name if name.endswith(suffix) else name + suffix)


def read_yaml(path: Path) -> Any:
    """Parse one YAML file with the safe loader.

    Raises:
        ContentError: unreadable or not YAML, with the line.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ContentError("Not a readable YAML file.", where=str(path), got=" ".join(str(error).split())) from error


def load_record(model: type[Record], path: Path) -> Record:
    """Read a YAML file into a strict record.

    Raises:
        ContentError: the file breaks the schema; the message names every field, what it got, and what is allowed.
    """
    raw = read_yaml(path)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False):
            field = ".".join(str(part) for part in item["loc"]) or "(whole file)"
            problems.append(f"{field}: {item['msg']}, got {item['input']!r:.80}")
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        raise ContentError(
            f"{path.name} is not a valid {model.__name__.lower()} file.",
            where=f"{path}: " + "; ".join(problems),
            expected=f"top-level keys among {known}",
        ) from error


def load_module(kind: str, stem: str) -> ModuleType:
    """Import one Python content file under the stable name `evalharness._content.<kind>.<stem>`.

    It enters `sys.modules` before it runs, so that Inspect's registry sees it as a part of this package.
    """
    name = f"evalharness._content.{kind}.{stem}"
    if name in sys.modules:
        return sys.modules[name]
    path = content_path(kind, f"{stem}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def template_sandbox() -> SandboxedEnvironment:
    """Jinja for content files: no access to Python, and an undefined name is an error. Plain text, nothing escaped."""
    return SandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False, keep_trailing_newline=False
    )
