"""Runs the code of a reply against visible and hidden tests in the sandbox, and leaves what came of it as evidence.

Nothing of the code runs in this process. Visible tests run in the folder as the reply leaves it, hidden ones with the
scenario's own files put back; their text reaches the sandbox only then, and never lies in a folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import sandbox

from evalharness.codingcheck import HIDDEN, VISIBLE, names_of_tests
from evalharness.errors import SandboxError
from evalharness.row import SandboxKind
from evalharness.scoring.code_blocks import read_code
from evalharness.scoring.inspect_scorers import EVIDENCE

_SPARE_S = 20
"""What starting and clearing up may take beside the time of the tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run of tests may use."""

    seconds: int = 10
    memory_mb: int = 256
    """Of one process."""
    processes: int = 16
    """Together, threads included."""
    file_mb: int = 8
    output: int = 4000
    """Bytes of output that are kept, from its end."""


@solver
def run_code(kind: SandboxKind = "docker", seconds: int = 10) -> Solver:
    """Run the last reply's code. `kind` says which sandbox the task has; it decides which Python runs the tests."""
    limits = Limits(seconds=seconds)

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - the protocol of Inspect
        shown, hidden = dict(state.metadata["files"]), dict(state.metadata["hidden"])
        reply = read_code(state.output.completion if state.output.choices else "")
        code = reply.contents
        evidence: dict[str, Any] = {
            "code": code,
            "shown": shown,
            "strange_paths": list(reply.strange),
            "files_changed": sorted(path for path in shown if path in code and code[path].strip() != shown[path]),
        }
        if code:
            visible = await _run({**shown, **code}, VISIBLE, None, kind, limits)
            visible |= _sorted_out(visible.pop("facts"), shown[VISIBLE])
            again = await _run({**code, **shown}, HIDDEN, hidden[HIDDEN], kind, limits)
            again |= _sorted_out(again.pop("facts"), hidden[HIDDEN])
            written = set(visible.pop("changed", []))
            evidence |= {
                "visible": visible,
                "hidden": {name: value for name, value in again.items() if name != "changed"},
                "files_changed": sorted({*evidence["files_changed"], *(path for path in written if path in shown)}),
            }
        state.store.set(EVIDENCE, evidence)
        return state

    return solve


async def _run(
    files: Mapping[str, str], path: str, source: str | None, kind: SandboxKind, limits: Limits
) -> dict[str, Any]:
    """One run of the supervisor in the sandbox.

    Raises:
        SandboxError: it did not run the tests; the sample ends as an error and is no evidence of anything.
    """
    order = {"files": dict(files), "path": path, "source": source, "harness": _script("harness"), **asdict(limits)}
    python = sys.executable if kind == "local" else "python3"
    command = ["env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", python, "-I", "-S", "-B", "-c", _script("supervisor")]
    try:
        done = await sandbox().exec(
            command, input=json.dumps(order), timeout=limits.seconds + _SPARE_S, timeout_retry=False
        )
        told = json.loads(done.stdout) if done.success else {"refused": done.stderr[-2000:]}
    except (TimeoutError, json.JSONDecodeError) as error:
        told = {"refused": f"{type(error).__name__}: {error}"}
    if "refused" in told or not isinstance(told, dict):
        raise SandboxError(f"The {kind} sandbox did not run {path}: {told}")
    if kind == "docker" and told["isolation"]["network"] == "open":
        told["isolation"]["network"] = "cut by the container"
    return told


def _sorted_out(facts: list[dict[str, Any]], tests: str) -> dict[str, Any]:
    """What the harness told, by test. The first word on a test counts; a test of which nothing is told is missing."""
    results: dict[str, str] = {}
    told: dict[str, Any] = {"load_error": "", "complete": False, "patched": []}
    for fact in facts:
        if fact["event"] == "test":
            results.setdefault(fact["test"], fact["error"])
        elif fact["event"] == "load":
            told["load_error"] = fact["error"]
        else:
            told |= {"complete": True, "patched": fact["patched"]}
    return told | {
        "passed": [name for name, error in results.items() if not error],
        "failed": [{"test": name, "error": error} for name, error in results.items() if error],
        "missing": [name for name in names_of_tests(tests) if name not in results],
    }


def _script(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
