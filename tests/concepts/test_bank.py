"""Banks survive a round trip, and damaged or foreign ones are refused with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from evalharness.concepts import ConceptBank, ExtractionSpec, extract
from evalharness.concepts.bank import Origin
from evalharness.engine import Engine
from evalharness.errors import BankError, StorageError
from evalharness.ids import sha256_file
from evalharness.request import Request, Sampling, Steering


@pytest.fixture
def bank() -> ConceptBank:
    """Three vectors at layers 2 and 5, one of them a control."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((2, 8)) for name in ("desperate", "calm", "gaussian-00")}
    made = ConceptBank.from_arrays(
        arrays, layers=[2, 5], mean_norms=[1.5, 2.5], steer_layers=[5], controls={"gaussian-00": "gaussian"}
    )
    return made.with_origin(Origin(model_sha256="a" * 64, model_source="somewhere"))


def test_round_trip(bank: ConceptBank, tmp_path: Path) -> None:
    """Everything comes back, the vectors bit for bit."""
    bank.save(tmp_path / "bank")
    back = ConceptBank.load(tmp_path / "bank")
    for name in bank.names:
        for layer in (2, 5):
            assert np.array_equal(bank.vector(name, layer), back.vector(name, layer))
            assert bank.fingerprint(name, [layer]) == back.fingerprint(name, [layer])
    facts = ("names", "concepts", "controls", "layers", "steer_layers", "model_sha256", "d_model", "check")
    assert [getattr(bank, fact) for fact in facts] == [getattr(back, fact) for fact in facts]
    assert [bank.mean_norm(layer) for layer in (2, 5)] == [back.mean_norm(layer) for layer in (2, 5)]


def test_extracted_bank_round_trip(engine: Engine, stories: Any, neutral: Any, tmp_path: Path) -> None:
    """Recipe, corpus and check result are in the manifest, and saving what was loaded gives the same bytes."""
    bank = extract(engine, stories, neutral, ExtractionSpec(skip=5, gaussian=1, permuted=1))
    bank.save(tmp_path / "a")
    back = ConceptBank.load(tmp_path / "a")
    assert (bank.check, bank.origin.corpus) == (back.check, back.origin.corpus)
    assert engine.model_sha256 == back.model_sha256
    back.require_model(engine.model_sha256)
    back.save(tmp_path / "b")
    for name in ("manifest.json", "vectors.safetensors"):
        assert sha256_file(tmp_path / "a" / name) == sha256_file(tmp_path / "b" / name)


def test_vectors_are_scaled_to_unit_length() -> None:
    """Arrays of any length become unit vectors; unit vectors stay as they are."""
    bank = ConceptBank.from_arrays({"x": [[3.0, 4.0]]}, layers=[0], mean_norms=[1.0])
    np.testing.assert_allclose([0.6, 0.8], bank.vector("x", 0), rtol=1e-6)
    again = ConceptBank.from_arrays({"x": [bank.vector("x", 0)]}, layers=[0], mean_norms=[1.0])
    assert bank.fingerprint("x", [0]) == again.fingerprint("x", [0])


def test_fingerprint_covers_vectors_and_norms(bank: ConceptBank) -> None:
    """It changes with the name, the layers and the mean norm, and not with the order of the layers."""
    same = ConceptBank.from_arrays(
        {"desperate": [bank.vector("desperate", 2), bank.vector("desperate", 5)]}, layers=[2, 5], mean_norms=[1.5, 2.6]
    )
    prints = {
        bank.fingerprint("desperate", [2]),
        bank.fingerprint("calm", [2]),
        bank.fingerprint("desperate", [2, 5]),
        same.fingerprint("desperate", [2, 5]),
    }
    assert len(prints) == 4
    assert bank.fingerprint("desperate", [5, 2]) in prints
    assert bank.fingerprint("desperate", [2]) == same.fingerprint("desperate", [2])


def test_unknown_concept_lists_near_names(bank: ConceptBank) -> None:
    """A misspelt name gets the right one; a layer outside the bank gets those there are."""
    with pytest.raises(BankError, match="desperate"):
        bank.vector("desparate", 2)
    with pytest.raises(BankError, match="2, 5"):
        bank.vector("calm", 3)


def test_bank_of_another_model(bank: ConceptBank) -> None:
    """Other weights are refused with both hashes; a bank from arrays fits any model."""
    with pytest.raises(BankError, match="another model") as caught:
        bank.require_model("b" * 64)
    assert "a" * 64 in str(caught.value)
    assert "b" * 64 in str(caught.value)
    ConceptBank.from_arrays({"x": [[1.0]]}, layers=[0], mean_norms=[1.0]).require_model("b" * 64)


def test_transfer(engine: Engine) -> None:
    """The engine takes a foreign bank in its transferred view only, and the view keeps the origin on record."""
    arrays = {"calm": np.eye(2, engine.d_model)}
    made = ConceptBank.from_arrays(arrays, layers=[0, 1], mean_norms=[1.5, 2.5])
    foreign = made.with_origin(Origin(model_sha256="a" * 64, model_source="somewhere"))
    request = Request(prompt="Please", sampling=Sampling(max_new_tokens=2), steering=Steering("calm", 0.1))
    with pytest.raises(BankError, match="--transfer-bank"):
        engine.generate([request], bank=foreign)
    view = foreign.transfer(engine)
    (reply,) = engine.generate([request], bank=view)
    assert reply.receipt.applied == reply.receipt.expected > 0
    assert (view.model_sha256, view.transferred_to) == ("a" * 64, engine.model_sha256)
    assert view.with_check(None).transferred_to == engine.model_sha256
    with pytest.raises(BankError, match="another model"):
        view.require_model("c" * 64)


def test_a_bank_of_the_model_itself_is_not_transferred(engine: Engine) -> None:
    """Nor is one from arrays: there is no other model to state."""
    made = ConceptBank.from_arrays({"calm": np.eye(1, engine.d_model)}, layers=[0], mean_norms=[1.5])
    own = made.with_origin(Origin(model_sha256=engine.model_sha256))
    assert made.transfer(engine).transferred_to is None
    assert own.transfer(engine).transferred_to is None


def test_a_transfer_is_not_saved(bank: ConceptBank, engine: Engine, tmp_path: Path) -> None:
    """Every use must ask for it anew."""
    made = ConceptBank.from_arrays({"calm": np.eye(1, engine.d_model)}, layers=[0], mean_norms=[1.5])
    made.with_origin(bank.origin).transfer(engine).save(tmp_path / "bank")
    with pytest.raises(BankError, match="another model"):
        ConceptBank.load(tmp_path / "bank").require_model(engine.model_sha256)


@pytest.mark.parametrize(("width", "layers"), [(8, [0]), (32, [0, 99])])
def test_a_transfer_needs_the_same_shape(engine: Engine, width: int, layers: list[int]) -> None:
    """Vectors of another width, or for blocks that the model lacks, cannot be used at all."""
    arrays = {"calm": np.eye(len(layers), width)}
    made = ConceptBank.from_arrays(arrays, layers=layers, mean_norms=[1.0] * len(layers))
    with pytest.raises(BankError, match="does not fit"):
        made.with_origin(Origin(model_sha256="a" * 64)).transfer(engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"mean_norms": "many"}, "mean_norms"),
        ({"mean_norms": [1.5, -1.0]}, "mean_norms"),
        ({"mean_norms": [1.5]}, "do not fit"),
        ({"steer_layers": [9]}, "do not fit"),
        ({"names": ["desperate", "calm"]}, "do not fit"),
        ({"d_model": 7}, "do not fit"),
        ({"schema": "concept-bank/9"}, "schema"),
    ],
)
def test_damaged_manifest(bank: ConceptBank, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Unknown keys, wrong types and contradictions name the file and the field."""
    bank.save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BankError, match=message) as caught:
        ConceptBank.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_damaged_vectors(bank: ConceptBank, tmp_path: Path) -> None:
    """Vectors that are not the ones the manifest vouches for are refused, as are half-written folders."""
    bank.save(tmp_path)
    vectors = load_file(tmp_path / "vectors.safetensors")
    save_file({name: -rows for name, rows in vectors.items()}, tmp_path / "vectors.safetensors")
    with pytest.raises(BankError, match="changed or damaged"):
        ConceptBank.load(tmp_path)
    (tmp_path / "vectors.safetensors").unlink()
    with pytest.raises(BankError, match=r"no vectors\.safetensors"):
        ConceptBank.load(tmp_path)
    with pytest.raises(BankError, match=r"no manifest\.json"):
        ConceptBank.load(tmp_path / "absent")
    bank.save(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BankError, match="manifest of this bank is damaged"):
        ConceptBank.load(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "layers", "norms", "message"),
    [
        ({}, [0], [1.0], "needs vectors"),
        ({"x": [[1.0, 0.0]]}, [0, 1], [1.0, 1.0], "wrong shape"),
        ({"x": [[1.0, 0.0]], "y": [[1.0]]}, [0], [1.0], "differ in width"),
        ({"x": [[0.0, 0.0]]}, [0], [1.0], "zero or not finite"),
        ({"x": [[np.nan, 0.0]]}, [0], [1.0], "zero or not finite"),
        ({"x": [[1.0, 0.0]]}, [0], [0.0], "mean_norms"),
        ({"x": [[1.0], [1.0]]}, [3, 3], [1.0, 1.0], "distinct"),
    ],
)
def test_impossible_arrays(arrays: Any, layers: list[int], norms: list[float], message: str) -> None:
    """What cannot be a bank is refused where it is made."""
    with pytest.raises(BankError, match=message):
        ConceptBank.from_arrays(arrays, layers=layers, mean_norms=norms)


def test_folder_that_cannot_be_written(bank: ConceptBank, tmp_path: Path) -> None:
    """A file in the way of the folder is a StorageError that names it."""
    (tmp_path / "bank").write_text("")
    with pytest.raises(StorageError, match="bank"):
        bank.save(tmp_path / "bank")


def test_reading_a_bank_needs_no_torch(bank: ConceptBank, tmp_path: Path) -> None:
    """Plans and gates load banks on machines without torch."""
    bank.save(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from evalharness.concepts import ConceptBank\n"
        f"print(ConceptBank.load({str(tmp_path)!r}).fingerprint('calm', [2]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert bank.fingerprint("calm", [2]) == output.strip()
