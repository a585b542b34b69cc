"""Which sandbox runs code of a model, and whether there is one, before the first token is generated."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from evalharness.errors import UsageError
from evalharness.row import Form, SandboxKind

NEEDING: frozenset[Form] = frozenset({"coding"})
"""Forms whose rollouts run code."""
COMPOSE = Path(__file__).with_name("compose.yaml")
_PATIENCE_S = 20


def require_sandbox(forms: Iterable[Form], kind: SandboxKind | None, where: str) -> None:
    """See that whatever runs code of a model has a place to run it.

    Raises:
        UsageError: there are such forms and no sandbox was named, or the one that was named cannot be had here.
    """
    needing = sorted(NEEDING.intersection(forms))
    if not needing:
        return
    if kind is None:
        raise UsageError(
            "The suite runs code that the model writes, and no sandbox was named.",
            where=where,
            expected="docker, or local",
            got=f"form {', '.join(needing)} and no sandbox",
            fix="add --sandbox docker; --sandbox local runs it on this machine, limited, without a container",
        )
    fault = _docker_fault() if kind == "docker" else _local_fault()
    if fault:
        raise UsageError(
            f"The sandbox {kind!r} cannot be had on this machine.",
            where=where,
            expected="a running Docker daemon with compose" if kind == "docker" else "Linux",
            got=fault,
            fix="start Docker; or name --sandbox local" if kind == "docker" else "use --sandbox docker",
        )


def inspect_sandbox(forms: Iterable[Form], kind: SandboxKind | None) -> str | tuple[str, str] | None:
    """What an Inspect task of these forms is given as its sandbox."""
    if kind is None or NEEDING.isdisjoint(forms):
        return None
    return ("docker", str(COMPOSE)) if kind == "docker" else "local"


def _local_fault() -> str:
    return "" if sys.platform == "linux" else f"{sys.platform}, whose limits on processes are others"


def _docker_fault() -> str:
    docker = shutil.which("docker")
    if docker is None:
        return "no command `docker`"
    for question in (["version", "--format", "{{.Server.Version}}"], ["compose", "version"]):
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                [docker, *question], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"docker {question[0]}: {error}"
        if done.returncode != 0:
            return " ".join(f"docker {question[0]}: {done.stderr or done.stdout}".split())[:300]
    return ""
