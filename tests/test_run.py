"""The whole line on random checkpoints: one row per planned sample, resumable, and never a PASS for noise."""

import json
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log

from evalharness.cells import read_cells
from evalharness.conductor import run
from evalharness.engine.steering import RowSteering
from evalharness.errors import BankError, ReceiptError, UsageError
from evalharness.ids import sha256_file
from evalharness.ledger import Ledger
from evalharness.logs import read_samples
from evalharness.planfile import read_plan
from evalharness.worker import close_workers
from tests.toyrun import CELLS, checkpoint, config


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("run") / "llama")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, llama):
    """One uninterrupted run that several tests look at."""
    folder = tmp_path_factory.mktemp("finished")
    return run(config(folder, llama, folder / "run"))


def replies(folder: Path) -> dict[str, str]:
    return {name: sample.reply for name, sample in read_samples(folder / "logs").items()}


def test_every_planned_sample_ends_as_one_row(finished):
    """Counts agree between plan, logs, rows and cells."""
    planned = read_plan(finished.folder.plan)
    rows = finished.assessment.rows

    assert len(planned) == CELLS * 3 == finished.generated
    assert [sample.id for sample in planned] == [row.id for row in rows]
    assert all(row.scored for row in rows)
    for cell in read_cells(finished.folder.root):
        assert cell.n_planned == cell.n_valid + cell.n_incoherent + cell.n_unscored


def test_a_run_folder_has_every_file_and_its_hash(finished):
    """The manifest covers all files but itself, and each hash holds."""
    root = finished.folder.root
    manifest = json.loads((root / "manifest.json").read_text())
    names = {"run.yaml", "ledger.jsonl", "cells.csv", "cells.parquet", "verdict.json", "junit.xml"}
    names |= {"report.json", "report.html", "report.md", "plan.jsonl", "conditions.json", "bank/manifest.json"}

    assert names <= set(manifest["files"])
    assert all(sha256_file(root / name) == entry["sha256"] for name, entry in manifest["files"].items())
    assert Ledger(finished.folder.ledger).intact()


def test_continuing_a_finished_run_generates_nothing(finished, llama):
    """The second call changes no count and no verdict."""
    before = {name: (finished.folder.root / name).read_bytes() for name in ("cells.csv", "verdict.json", "report.md")}
    again = run(config(finished.folder.root.parent, llama, finished.folder.root))

    assert again.generated == 0
    assert before == {name: (finished.folder.root / name).read_bytes() for name in before}


def test_a_run_in_two_parts_equals_one_in_one(finished, llama, tmp_path):
    """Stopping after some samples changes no token of any other. What is missing until then is unscored, never safe."""
    first = run(config(tmp_path, llama, tmp_path / "run", limit=7))
    missing = [row for row in first.assessment.rows if not row.scored]
    second = run(config(tmp_path, llama, tmp_path / "run"))

    assert (first.generated, len(missing)) == (7, CELLS * 3 - 7)
    assert first.assessment.decision.verdict != "PASS"
    assert second.generated == CELLS * 3 - 7
    assert replies(finished.folder.root) == replies(tmp_path / "run")


@pytest.mark.parametrize("architecture", ["qwen2", "gemma3"])
def test_noise_is_never_a_pass(tmp_path, architecture):
    """Random weights write nonsense: the gate says that it cannot tell, whatever the architecture."""
    model = checkpoint(tmp_path / architecture, architecture)
    result = run(config(tmp_path, model, tmp_path / "run", samples=2))

    assert result.assessment.decision.verdict in ("INVALID", "INCONCLUSIVE")


def test_noise_is_invalid_for_stated_reasons(finished):
    """The reasons name the failed bank check and the incoherent replies."""
    decision = finished.assessment.decision

    assert decision.verdict == "INVALID"
    assert any("failed its check" in reason for reason in decision.reasons)
    assert any("incoherent" in reason or "broken" in reason for reason in decision.reasons)


def test_a_bank_of_another_model_is_refused(finished, tmp_path):
    """Vectors mean nothing in another model, even one of the same shape."""
    other = checkpoint(tmp_path / "other", seed=1)

    with pytest.raises(BankError, match="model"):
        run(config(tmp_path, other, tmp_path / "run", bank=finished.folder.bank))


def test_a_transferred_bank_runs_and_is_stated_everywhere(finished, tmp_path):
    """Instrument, verdict, both reports and Inspect's own log say so; the shipped policy ends INVALID for it."""
    other = checkpoint(tmp_path / "other", seed=1)
    asked = {"bank": finished.folder.bank, "transfer_bank": True, "samples": 1}
    result = run(config(tmp_path, other, tmp_path / "run", **asked))
    told = json.loads(result.folder.instrument.read_text())
    (log,) = (read_eval_log(path, header_only=True) for path in result.folder.logs.glob("*.eval"))

    assert told["bank_transferred"] is True
    assert told["bank_model_sha256"] != told["model_sha256"]
    assert all(row.scored for row in result.assessment.rows)
    assert result.assessment.decision.verdict == "INVALID"
    assert any("concept bank is from model" in reason for reason in result.assessment.decision.reasons)
    assert log.eval.model_args["transfer_bank"] is True
    for name in ("report.html", "report.md", "verdict.json"):
        page = (tmp_path / "run" / name).read_text()
        assert all(word in page for word in ("Transferred vectors", told["bank_model_sha256"], told["model_sha256"])), (
            name
        )

    with pytest.raises(UsageError, match="transfer_bank"):
        run(config(tmp_path, other, tmp_path / "run", **{**asked, "transfer_bank": False}))


def test_a_bank_of_this_model_is_not_called_transferred(finished, llama, tmp_path):
    """The flag permits; what happened is on record."""
    asked = {"bank": finished.folder.bank, "transfer_bank": True, "samples": 1}
    result = run(config(tmp_path, llama, tmp_path / "run", **asked))

    assert json.loads(result.folder.instrument.read_text())["bank_transferred"] is False
    assert "Transferred" not in result.assessment.decision.coverage


def test_a_transfer_without_a_bank_is_refused(llama, tmp_path):
    """There is nothing to transfer, and the run folder does not come to exist."""
    with pytest.raises(UsageError, match="needs a bank"):
        run(config(tmp_path, llama, tmp_path / "run", transfer_bank=True))
    assert not (tmp_path / "run").exists()


def test_a_concept_that_the_bank_lacks_is_named(finished, llama, tmp_path):
    """The message names the missing concept and the bank."""
    with pytest.raises(BankError, match=r"envious-ish[\s\S]*bank"):
        run(config(tmp_path, llama, tmp_path / "run", bank=finished.folder.bank, concepts=["envious-ish"]))


def test_a_missing_model_folder_leaves_nothing_behind(tmp_path):
    """The error comes before the run folder."""
    with pytest.raises(UsageError, match="does not exist"):
        run(config(tmp_path, tmp_path / "nowhere", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_hook_that_is_not_applied_stops_the_run(llama, tmp_path, monkeypatch):
    """A planted fault: the hooks run and change nothing. The receipts must show it, and no verdict is given."""
    monkeypatch.setattr(RowSteering, "_apply", lambda _self, _stage, hidden: hidden)
    close_workers()
    with pytest.raises(ReceiptError):
        run(config(tmp_path, llama, tmp_path / "run"))
    close_workers()

    assert not (tmp_path / "run" / "verdict.json").exists()
    assert Ledger(tmp_path / "run" / "ledger.jsonl").lines()[-1]["event"] == "abort"
