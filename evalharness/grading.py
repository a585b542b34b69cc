"""Which models grade a run: names to Inspect models under one role, and that no model grades itself unless asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from inspect_ai.model import GenerateConfig, Model, get_model

from evalharness.checkpoint import resolve_checkpoint
from evalharness.errors import ModelError, UsageError
from evalharness.ids import sha256_file
from evalharness.scoring.asking import GRADER


def grader_models(graders: Sequence[str], connections: int | None = None) -> tuple[Model, ...]:
    """The models that grade, in the given order. Nothing is loaded before the first question.

    Raises:
        UsageError: a name that Inspect does not know.
    """
    config = GenerateConfig(max_connections=connections)
    models = []
    for name in graders:
        try:
            models.append(get_model(name, config=config))
        except ValueError as error:
            raise UsageError(
                "A grader cannot be used.",
                expected="an Inspect model such as steered/organism:judge or provider/name",
                got=str(error),
                where=f"--grader {name}",
            ) from error
    return tuple(models)


def grader_roles(models: Sequence[Model]) -> dict[str, str | Model | list[str] | list[Model]]:
    """The roles of an evaluation that these models grade: one role, bound to all of them."""
    return {GRADER: list(models)} if models else {}


def require_other_model(model: str, graders: Sequence[str], *, self_grade: bool) -> None:
    """See that nobody grades himself: a model that is asked about its own replies shares its own blind spots.

    Raises:
        UsageError: a grader is the checkpoint under test, by name, by folder or by equal weights.
    """
    own = own_graders(model, graders)
    if own and not self_grade:
        raise UsageError(
            "The grader is the model under test, which would grade itself.",
            expected=f"another model than {model}",
            got=", ".join(own),
            where="--grader",
            fix="name another grader, or say --self-grade; instrument and report will say so",
        )


def own_graders(model: str, graders: Sequence[str]) -> tuple[str, ...]:
    """Those graders that are the model under test, whatever provider serves them."""
    target = _checkpoint(model)
    return tuple(grader for grader in graders if _same(target, _checkpoint(grader.partition("/")[2])))


def _checkpoint(name: str) -> str:
    """Folder or hub id; a name of somebody else's API stays what it is."""
    try:
        return resolve_checkpoint(name)
    except ModelError:
        return name


def _same(first: str, second: str) -> bool:
    if first == second:
        return True
    folders = Path(first), Path(second)
    if not all(folder.is_dir() for folder in folders):
        return False
    return folders[0].samefile(folders[1]) or _same_weights(*folders)


def _same_weights(first: Path, second: Path) -> bool:
    """Equal files of weights. Sizes are compared first, so that models that differ are rarely read."""
    sizes = _sizes(first)
    if not sizes or sizes != _sizes(second):
        return False
    return all(sha256_file(first / name) == sha256_file(second / name) for name in sizes)


def _sizes(folder: Path) -> Mapping[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}
