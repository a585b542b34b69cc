"""Where the content folders (tasks/, scenarios/, ...) lie. Only this file knows: content is found, never imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Annotated, Any, TypeVar

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from pydantic import AfterValidator, BaseModel, ValidationError

from evalharness.errors import ContentError

KINDS = ("tasks", "scenarios", "scorers", "reports", "corpora")

MAX_YAML_SIZE = 8_000_000
"""Characters and nodes of a YAML file with every alias written out; the largest shipped file has a tenth of it."""

Record = TypeVar("Record", bound=BaseModel)


def _inside(name: str) -> str:
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        raise ValueError("a name may not climb out of its folder with '..'")
    return name


ContentName = Annotated[str, AfterValidator(_inside)]
"""How one content file names another."""


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
        ContentError: no such file, and the message lists the files that exist; or a name that leaves the folder.
    """
    root = content_root() / kind
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ContentError(f"The name leaves the folder {kind}/.", expected=f"a file below {kind}/", got=name)
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
    """Parse one YAML file with the safe loader. The file may be hostile: what it would grow to is measured first.

    Raises:
        ContentError: unreadable or not YAML, with the line; or too large, nested too deep or endless once its
            aliases are followed.
    """
    try:
        size = path.stat().st_size
        if size > MAX_YAML_SIZE:
            raise ContentError(
                "A YAML file is too large.",
                expected=f"at most {MAX_YAML_SIZE:,} bytes",
                got=f"{size:,}",
                where=str(path),
            )
        return _construct(path.read_text(encoding="utf-8"), path)
    except ContentError:
        raise
    except RecursionError as error:
        raise ContentError("A YAML file is nested too deep.", where=str(path)) from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or a date or number that is none
        raise ContentError("Not a readable YAML file.", where=str(path), got=" ".join(str(error).split())) from error


def _construct(text: str, path: Path) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        size = _expanded(node, {}, path)
        if size > MAX_YAML_SIZE:
            raise ContentError(
                "A YAML file grows too large when its aliases are followed.",
                expected=f"at most {MAX_YAML_SIZE:,} characters and nodes",
                got=f"{size:,}" if size < 10**15 else f"about 10^{len(str(size)) - 1}",
                where=str(path),
                fix="write out what is meant, or use fewer aliases of aliases",
            )
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, known: dict[int, int], path: Path) -> int:
    """The size of a node with every alias counted as a copy. Each node is visited once, so a bomb costs nothing."""
    if id(node) in known:
        if known[id(node)] < 0:
            raise ContentError("A YAML file holds itself.", where=f"{path}, line {node.start_mark.line + 1}")
        return known[id(node)]
    known[id(node)] = -1
    if isinstance(node, yaml.MappingNode):
        size = 1 + sum(_expanded(key, known, path) + _expanded(value, known, path) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        size = 1 + sum(_expanded(item, known, path) for item in node.value)
    else:
        size = 1 + len(node.value)
    known[id(node)] = size
    return size


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

    Under that name Inspect's registry sees it as a part of this package.
    """
    return import_file(f"evalharness._content.{kind}.{stem}", content_path(kind, f"{stem}.py"))


def import_file(name: str, path: Path) -> ModuleType:
    """One Python file as the module `name`, imported once. It enters `sys.modules` before it runs."""
    if name in sys.modules:
        return sys.modules[name]
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
