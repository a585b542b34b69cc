"""A small suite, run through a run folder on a checkpoint, and the samples that its logs hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai.log import EvalSample, list_eval_logs, read_eval_log

from evalharness.conductor import RunResult, run
from evalharness.runconfig import RunConfig


def run_suite(folder: Path, model: Path, suite: str) -> RunResult:
    """Write the suite's text into `folder` and run it there."""
    path = folder / "suite.yaml"
    path.write_text(suite)
    told: dict[str, Any] = {"suite": str(path), "model": str(model), "out": folder / "run"}
    return run(RunConfig.model_validate({**told, "display": "none", "max_rows": 16}))


def samples_of(finished: RunResult) -> list[EvalSample]:
    """Every logged sample, long texts in their places."""
    infos = list_eval_logs(str(finished.folder.logs))
    return [sample for info in infos for sample in read_eval_log(info, resolve_attachments=True).samples or []]
