"""Kill -9 at any time and run again: finished samples are kept, and the result is that of an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalharness.conductor import run
from evalharness.logs import read_samples
from tests.toyrun import CELLS, checkpoint, config

SAMPLES = 8
PATIENCE_S = 120


def replies(folder: Path) -> dict[str, str]:
    return {name: sample.reply for name, sample in read_samples(folder / "logs").items() if sample.finished}


def command(suite: Path, model: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "evalharness", "run", str(suite), "--model", str(model), "--out", str(out), *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run and what the others need to repeat it."""
    folder = tmp_path_factory.mktemp("whole")
    model = checkpoint(folder / "llama")
    run(config(folder, model, folder / "run", samples=SAMPLES))
    return folder


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_tokens(whole, tmp_path):
    """The second process generates only what the first one had not finished, and nothing differs."""
    out, suite = tmp_path / "run", whole / "toy.yaml"
    # One row at a time, so that the run is far from done when it is killed.
    started = subprocess.Popen(command(suite, whole / "llama", out, "--max-rows", "1"))
    end = time.monotonic() + PATIENCE_S
    while not any((out / "logs").glob("*.eval")) and time.monotonic() < end:
        assert started.poll() is None, "the run ended before it could be killed"
        time.sleep(0.2)
    time.sleep(1.5)
    assert started.poll() is None, "the run ended before it could be killed"
    os.kill(started.pid, signal.SIGKILL)
    started.wait()

    result = run(config(tmp_path, whole / "llama", out, samples=SAMPLES, suite=str(suite)))

    assert replies(whole / "run") == replies(out)
    assert 0 < result.generated <= CELLS * SAMPLES
    assert (whole / "run" / "cells.csv").read_bytes() == (out / "cells.csv").read_bytes()


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_costs_nothing(whole, tmp_path):
    """With a limit on file size in place of a full disk: exit code 70, one message, and the run can be continued."""
    out, suite = tmp_path / "run", whole / "toy.yaml"
    limited = f"ulimit -f 250; exec {' '.join(command(suite, whole / 'llama', out))}"
    first = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)

    assert first.returncode == 70
    # The limit also hits Inspect's own trace file, so its complaints may stand around ours.
    assert first.stderr.count("free some space and run the same command again.") == 1

    run(config(tmp_path, whole / "llama", out, samples=SAMPLES, suite=str(suite)))

    assert replies(whole / "run") == replies(out)
