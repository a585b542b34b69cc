"""Vectors go to other tools and back: same directions, same layers, and a coefficient of 1 that is a strength."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from evalharness.checkpoint import resolve_checkpoint
from evalharness.cli import _run
from evalharness.concepts import ConceptBank, ExtractionSpec, extract
from evalharness.concepts.bank import Origin
from evalharness.concepts.exchange import SteeringVectors, scaled_vectors, writable_layers
from evalharness.concepts.gguf_file import read_gguf, write_gguf
from evalharness.concepts.imported import STRENGTHS, import_bank
from evalharness.concepts.lens_file import read_lens, write_lens
from evalharness.engine import Engine
from evalharness.errors import BankError
from evalharness.request import Request, Sampling, Steering

FROM_5 = ExtractionSpec(skip=5)
LAYERS, NORMS, WIDTH = (0, 2, 5), (1.5, 2.5, 40.0), 8


@pytest.fixture
def bank() -> ConceptBank:
    """Two concepts at three layers, of which the last two are steered."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((len(LAYERS), WIDTH)) for name in ("desperate", "calm")}
    made = ConceptBank.from_arrays(arrays, layers=LAYERS, mean_norms=NORMS, steer_layers=[2, 5])
    return made.with_origin(Origin(model_sha256="a" * 64, model_source="somewhere"))


def expected(bank: ConceptBank, concept: str, strength: float, layer: int) -> Any:
    return (strength * bank.mean_norm(layer) * bank.vector(concept, layer).astype(np.float64)).astype(np.float32)


def test_a_coefficient_of_one_is_the_strength(bank: ConceptBank) -> None:
    """The length of what leaves is strength x mean norm, at every layer, and the record says so."""
    made = scaled_vectors(bank, "desperate", 0.5, (5, 2, 2))

    assert made.layers == (2, 5)
    lengths = [float(np.linalg.norm(made.deltas[layer])) for layer in made.layers]
    np.testing.assert_allclose(lengths, [0.5 * 2.5, 0.5 * 40.0], rtol=1e-6)
    assert made.record is not None
    assert (made.record.strength, made.record.layers, made.record.mean_norms) == (0.5, (2, 5), (2.5, 40.0))
    assert (made.record.model_sha256, made.record.fingerprint) == ("a" * 64, bank.fingerprint("desperate", (2, 5)))


def test_what_steers_nothing_is_not_exported(bank: ConceptBank) -> None:
    """No layer, no length, no such concept."""
    for strength, layers in ((1.0, ()), (0.0, (2,)), (float("nan"), (2,))):
        with pytest.raises(BankError, match="steer nothing"):
            scaled_vectors(bank, "calm", strength, layers)
    with pytest.raises(BankError, match="no concept"):
        scaled_vectors(bank, "clam", 1.0, (2,))


def test_lens_round_trip(bank: ConceptBank, tmp_path: Path) -> None:
    """The JSON holds the fields of SteeringVector, plain float32 in base64, and comes back bit for bit."""
    made = scaled_vectors(bank, "calm", -0.1, LAYERS)
    write_lens(made, tmp_path / "calm.json")
    told = json.loads((tmp_path / "calm.json").read_text())
    back = read_lens(tmp_path / "calm.json")

    assert (told["layer_indices"], told["scale"], told["norm_match"], told["position_indices"]) == (
        list(LAYERS),
        1.0,
        False,
        None,
    )
    raw = np.frombuffer(base64.b64decode(told["activations"]["data"]), np.dtype(told["activations"]["dtype"]))
    assert told["activations"]["shape"] == [3, WIDTH]
    for place, layer in enumerate(LAYERS):
        assert np.array_equal(raw.reshape(3, WIDTH)[place], expected(bank, "calm", -0.1, layer))
        assert np.array_equal(back.deltas[layer], made.deltas[layer])
    assert back.record == made.record


def lens(**changes: Any) -> dict[str, Any]:
    """A steering vector of one layer as another writer might put it."""
    array = np.arange(1, 5, dtype="<f4")
    told = {"data": base64.b64encode(array.tobytes()).decode(), "dtype": "float32", "shape": [1, 4]}
    return {"activations": told, "layer_indices": [3], **changes}


def test_the_other_forms_of_a_lens_file_are_read(tmp_path: Path) -> None:
    """Compressed data, bfloat16 bits, and a scale of its own, which is multiplied in."""
    zstandard = pytest.importorskip("zstandard")
    array = np.arange(1, 5, dtype="<f4")
    halves = (array.view("<u4") >> 16).astype("<u2")
    packed = {
        "data": base64.b64encode(zstandard.ZstdCompressor().compress(halves.tobytes())).decode(),
        "dtype": "int16",
        "original_dtype": "torch.bfloat16",
        "shape": [1, 4],
        "compression": "zstd",
    }
    for told in (lens(scale=2.0), lens(activations=packed, scale=2.0)):
        (tmp_path / "v.json").write_text(json.dumps(told))
        read = read_lens(tmp_path / "v.json")
        assert read.layers == (3,)
        assert read.deltas[3].tolist() == [2.0, 4.0, 6.0, 8.0]
        assert read.record is None


@pytest.mark.parametrize(
    "told",
    [
        lens(norm_match=True),
        lens(position_indices=[4]),
        lens(layer_indices=[3, 4]),
        lens(layer_indices=[-1]),
        lens(activations={**lens()["activations"], "shape": [1, 5]}),
        lens(activations={**lens()["activations"], "data": "###"}),
        lens(activations={**lens()["activations"], "dtype": "int16"}),
        lens(activations={**lens()["activations"], "compression": "zstd"}),
        lens(surprise=1),
    ],
    ids=["norm_match", "positions", "layers", "negative", "shape", "base64", "integers", "no frame", "unknown key"],
)
def test_a_lens_file_that_means_something_else_is_refused(told: dict[str, Any], tmp_path: Path) -> None:
    """What we cannot do as the file says is never done in part."""
    (tmp_path / "v.json").write_text(json.dumps(told))
    with pytest.raises(BankError):
        read_lens(tmp_path / "v.json")


def test_gguf_round_trip_with_its_own_reader(bank: ConceptBank, tmp_path: Path) -> None:
    """Architecture, hint, count and names are those that llama.cpp reads; numbers are float32 and bit-equal."""
    gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
    made = scaled_vectors(bank, "desperate", 1.0, (2, 5), model_hint="llama")
    write_gguf(made, tmp_path / "desperate.gguf")
    reader = gguf.GGUFReader(tmp_path / "desperate.gguf")
    told = {key: reader.get_field(key).contents() for key in reader.fields if not key.startswith("GGUF.")}

    assert told["general.architecture"] == "controlvector"
    assert (told["controlvector.model_hint"], told["controlvector.layer_count"]) == ("llama", 2)
    assert "coefficient 1.0" in told["general.description"]
    assert [tensor.name for tensor in reader.tensors] == ["direction.2", "direction.5"]
    for tensor, layer in zip(reader.tensors, (2, 5), strict=True):
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert tensor.data.shape == (WIDTH,)
        assert np.array_equal(tensor.data, expected(bank, "desperate", 1.0, layer))
    back = read_gguf(tmp_path / "desperate.gguf")
    assert (back.record, back.model_hint, back.layers) == (made.record, "llama", (2, 5))
    assert all(np.array_equal(back.deltas[layer], made.deltas[layer]) for layer in (2, 5))


def test_repeng_reads_it_and_we_read_repengs(bank: ConceptBank, tmp_path: Path) -> None:
    """Its own import gives our vectors by our layers, and what it exports comes back to us unchanged."""
    repeng = pytest.importorskip("repeng", reason="repeng wants an environment of its own (older numpy)")
    made = scaled_vectors(bank, "desperate", 1.0, (2, 5), model_hint="llama")
    write_gguf(made, tmp_path / "ours.gguf")
    theirs = repeng.ControlVector.import_gguf(tmp_path / "ours.gguf")

    assert theirs.model_type == "llama"
    assert sorted(theirs.directions) == [2, 5]
    assert all(np.array_equal(theirs.directions[layer], made.deltas[layer]) for layer in (2, 5))
    theirs.export_gguf(tmp_path / "theirs.gguf")
    back = read_gguf(tmp_path / "theirs.gguf")
    assert back.record is None
    assert all(np.array_equal(back.deltas[layer], made.deltas[layer]) for layer in (2, 5))


def test_coefficient_1_in_repeng_draws_the_tokens_of_our_strength(
    engine: Engine, checkpoint: Any, tmp_path: Path
) -> None:
    """Layer numbers and scale mean the same there: its model, steered by our file, writes what our engine writes."""
    repeng = pytest.importorskip("repeng", reason="repeng wants an environment of its own (older numpy)")
    rng, layer, strength = np.random.default_rng(3), engine.n_layers - 1, 0.9
    arrays = {"calm": rng.standard_normal((engine.n_layers, engine.d_model))}
    norms = [4.0 + place for place in range(engine.n_layers)]
    bank = ConceptBank.from_arrays(arrays, layers=range(engine.n_layers), mean_norms=norms, steer_layers=[layer])
    write_gguf(scaled_vectors(bank, "calm", strength, [layer]), tmp_path / "calm.gguf")
    model = repeng.ControlModel(AutoModelForCausalLM.from_pretrained(checkpoint(), dtype=torch.float32), [layer])
    ids = torch.tensor([engine.render("The harbour was open")])
    sampling = Sampling(max_new_tokens=12, temperature=0.0, ignore_eos=True)

    def theirs() -> tuple[int, ...]:
        drawn = model.generate(ids, do_sample=False, max_new_tokens=12, min_new_tokens=12, pad_token_id=0)
        return tuple(drawn[0, ids.shape[1] :].tolist())

    def ours(steering: Steering | None) -> tuple[int, ...]:
        (reply,) = engine.generate([Request(prompt=ids[0].tolist(), sampling=sampling, steering=steering)], bank=bank)
        return reply.token_ids

    unsteered = theirs()
    model.set_control(repeng.ControlVector.import_gguf(tmp_path / "calm.gguf"), coeff=1.0)
    steered = theirs()
    assert unsteered == ours(None)
    assert steered == ours(Steering("calm", strength))
    assert steered != unsteered


def test_layer_0_is_refused_in_gguf(bank: ConceptBank, tmp_path: Path) -> None:
    """llama.cpp cannot steer it: the file would be refused there, and without it would do something else."""
    with pytest.raises(BankError, match="layer 0"):
        write_gguf(scaled_vectors(bank, "calm", 1.0, LAYERS), tmp_path / "v.gguf")
    assert not (tmp_path / "v.gguf").exists()
    assert writable_layers(LAYERS, "gguf") == (2, 5)
    assert writable_layers(LAYERS, "vllm-lens") == LAYERS


def test_files_that_are_no_control_vector_are_refused(tmp_path: Path) -> None:
    """Another kind of GGUF, quantised vectors, no vector at all, no GGUF."""
    gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
    vector = np.ones(4, np.float32)
    for architecture, tensors in (
        ("llama", {"direction.1": vector}),
        ("controlvector", {"direction.1": vector.astype(np.float16)}),
        ("controlvector", {"direction.x": vector}),
        ("controlvector", {"other": vector}),
        ("controlvector", {"direction.1": vector, "direction.2": np.ones(5, np.float32)}),
    ):
        writer = gguf.GGUFWriter(tmp_path / "v.gguf", architecture)
        for name, array in tensors.items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(BankError):
            read_gguf(tmp_path / "v.gguf")
    (tmp_path / "v.gguf").write_bytes(b"something else, and long enough to be read as a header")
    with pytest.raises(BankError, match="Not a readable GGUF"):
        read_gguf(tmp_path / "v.gguf")
    with pytest.raises(BankError, match="no such"):
        read_gguf(tmp_path / "none.gguf")


def test_without_the_extra_the_message_names_it(bank: ConceptBank, tmp_path: Path, monkeypatch: Any) -> None:
    """A missing package is the user's to install."""
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(BankError, match=r"evalharness\[gguf\]"):
        write_gguf(scaled_vectors(bank, "calm", 1.0, (2,)), tmp_path / "v.gguf")


def test_an_imported_bank_steers_as_the_one_that_was_exported(
    engine: Engine, stories: Any, neutral: Any, tmp_path: Path
) -> None:
    """Directions and mean norms come back, so the same strength draws the same tokens; the check does not come back."""
    bank = extract(engine, stories, neutral, ExtractionSpec(skip=5, gaussian=0, permuted=0, mean=False))
    write_lens(scaled_vectors(bank, "calm", 0.5, bank.steer_layers), tmp_path / "calm.json")
    back = import_bank(engine, read_lens(tmp_path / "calm.json"), "peace", stories, FROM_5)

    assert (back.names, back.layers, back.steer_layers) == (("peace",), bank.steer_layers, bank.steer_layers)
    assert (back.origin.recipe, back.model_sha256, back.check) == ("imported", engine.model_sha256, None)
    (layer,) = back.layers
    np.testing.assert_allclose(bank.vector("calm", layer), back.vector("peace", layer), atol=1e-7)
    assert back.mean_norm(layer) == pytest.approx(bank.mean_norm(layer), rel=1e-9)
    assert (back.origin.spec or {})[STRENGTHS] == pytest.approx([0.5], rel=1e-6)
    asked = [
        Request(prompt="The harbour", sampling=Sampling(max_new_tokens=8), steering=Steering(name, 0.5), seed=3)
        for name in ("calm", "peace")
    ]
    (first,) = engine.generate(asked[:1], bank=bank)
    (again,) = engine.generate(asked[1:], bank=back)
    assert first.token_ids == again.token_ids
    back.save(tmp_path / "bank")
    loaded = ConceptBank.load(tmp_path / "bank").origin
    assert (loaded.spec, loaded.corpus, loaded.recipe) == (back.origin.spec, back.origin.corpus, "imported")


def test_vectors_that_do_not_fit_or_hide_their_model_are_refused(
    engine: Engine, bank: ConceptBank, stories: Any
) -> None:
    """Another width, a layer too many; and an export of another model's bank, which would lose its name on the way."""
    wide = {1: np.ones(engine.d_model, np.float32)}
    far = SteeringVectors(deltas={99: wide[1]}, record=None)
    foreign = SteeringVectors(deltas=wide, record=scaled_vectors(bank, "calm", 1.0, (2,)).record)
    nothing = SteeringVectors(deltas={1: 0 * wide[1]}, record=None)
    with pytest.raises(BankError, match="do not fit"):
        import_bank(engine, scaled_vectors(bank, "calm", 1.0, (2,)), "x", stories, FROM_5)
    with pytest.raises(BankError, match="do not fit"):
        import_bank(engine, far, "x", stories, FROM_5)
    with pytest.raises(BankError, match="another model"):
        import_bank(engine, foreign, "x", stories, FROM_5)
    with pytest.raises(BankError, match="zero or not finite"):
        import_bank(engine, nothing, "x", stories, FROM_5)


def test_the_verbs(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """Export and import from the command line, on an organism; the output says what an import cannot carry."""
    monkeypatch.setenv("COLUMNS", "200")
    model, rng = "organism:safe", np.random.default_rng(1)
    with Engine.load(resolve_checkpoint(model)) as engine:
        arrays = {"calm": rng.standard_normal((2, engine.d_model))}
    bank = ConceptBank.from_arrays(arrays, layers=[0, 1], mean_norms=[2.0, 3.0], steer_layers=[1])
    bank.save(tmp_path / "bank")
    written = str(tmp_path / "calm.json")
    asked = [
        "vectors",
        "export",
        str(tmp_path / "bank"),
        "--format",
        "vllm-lens",
        "--concept",
        "calm",
        "--out",
        written,
    ]
    assert _run([*asked, "--layers", "all", "--strength", "0.2"]) == 0
    assert "layers [0, 1]" in capsys.readouterr().out

    asked = ["vectors", "import", written, "--format", "vllm-lens", "--name", "peace", "--model", model]
    assert _run([*asked, "--stories", "organism", "--skip", "20", "--out", str(tmp_path / "back")]) == 0
    said = capsys.readouterr().out
    assert "can only end INVALID" in said
    back = ConceptBank.load(tmp_path / "back")
    assert (back.names, back.layers, back.origin.recipe) == (("peace",), (0, 1), "imported")
    assert _run(["vectors", "export", written, "--format", "gguf", "--concept", "x", "--out", "y"]) == 2


def test_the_gguf_verbs(bank: ConceptBank, tmp_path: Path, capsys: Any) -> None:
    """All layers leave out layer 0 and say so; naming it is an error."""
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    bank.save(tmp_path / "bank")
    asked = ["vectors", "export", str(tmp_path / "bank"), "--format", "gguf", "--concept", "calm"]
    assert _run([*asked, "--layers", "all", "--out", str(tmp_path / "all.gguf")]) == 0
    assert "left out: layer 0" in capsys.readouterr().out
    assert read_gguf(tmp_path / "all.gguf").layers == (2, 5)
    assert _run([*asked, "--layers", "0,2", "--out", str(tmp_path / "zero.gguf")]) == 2
    assert "layer 0" in capsys.readouterr().err
