"""Control vectors as GGUF files, in the form that llama.cpp and repeng read and write.

`general.architecture` is `controlvector`, `controlvector.model_hint` a string, `controlvector.layer_count` the number
of tensors; tensor `direction.N` is one float32 vector that is added to the output of block N. llama.cpp counts blocks
from 0 and refuses a file with `direction.0`. Ours carry the record of their scale as JSON under `evalharness.record`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import ValidationError

from evalharness.concepts.exchange import SCALING, UNKNOWN_MODEL, ExportRecord, SteeringVectors
from evalharness.errors import BankError, StorageError

ARCHITECTURE, HINT, COUNT = "controlvector", "controlvector.model_hint", "controlvector.layer_count"
RECORD, TENSOR = "evalharness.record", "direction."


def write_gguf(vectors: SteeringVectors, path: Path) -> None:
    """Write one control vector; the file appears whole or not at all.

    Raises:
        BankError: layer 0 is steered, which llama.cpp cannot, or the extra `gguf` is not installed.
        StorageError: the file cannot be written.
    """
    if 0 in vectors.layers:
        raise BankError(
            "A control vector file cannot steer layer 0: llama.cpp has no tensor for the output of block 0.",
            expected="layers from 1 on",
            got=", ".join(map(str, vectors.layers)),
            fix="name other layers, or all of the bank's (--layers all), which leaves layer 0 out",
        )
    gguf, part = _library(), path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(part, ARCHITECTURE)
        writer.add_string(HINT, vectors.model_hint)
        writer.add_uint32(COUNT, len(vectors.layers))
        if vectors.record is not None:
            writer.add_name(vectors.record.concept)
            writer.add_description(SCALING)
            writer.add_string(RECORD, vectors.record.model_dump_json(by_alias=True))
        for layer in vectors.layers:
            writer.add_tensor(f"{TENSOR}{layer}", np.ascontiguousarray(vectors.deltas[layer]))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(path)
    except OSError as error:
        raise StorageError(f"The control vector could not be written to {path}: {error}") from error


def read_gguf(path: Path) -> SteeringVectors:
    """Read a control vector file, by whatever tool it was written.

    Raises:
        BankError: no GGUF file, none of a control vector, a tensor that is no float32 vector, or the extra `gguf` is
            not installed.
    """
    gguf = _library()
    if not path.is_file():
        raise BankError("There is no such control vector file.", where=str(path))
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise BankError("Not a readable GGUF file.", where=str(path), got=str(error)) from error
    kind = _text(reader, "general.architecture")
    if kind != ARCHITECTURE:
        raise BankError(
            "This GGUF file holds no control vector.",
            where=str(path),
            expected=f"general.architecture {ARCHITECTURE}",
            got=kind or "none",
        )
    deltas = {}
    for tensor in reader.tensors:
        number = tensor.name.removeprefix(TENSOR)
        if number == tensor.name:
            continue
        if not number.isdecimal() or tensor.tensor_type != gguf.GGMLQuantizationType.F32:
            raise BankError(
                "A tensor of the control vector cannot be read.",
                where=f"{path}, {tensor.name}",
                expected="direction.N with a float32 vector",
                got=tensor.tensor_type.name,
            )
        deltas[int(number)] = np.array(tensor.data, dtype=np.float32)  # a copy: the reader maps the file
    return SteeringVectors(
        deltas=deltas, record=_record(_text(reader, RECORD), path), model_hint=_text(reader, HINT) or UNKNOWN_MODEL
    )


def _record(text: str | None, path: Path) -> ExportRecord | None:
    try:
        return None if text is None else ExportRecord.model_validate_json(text)
    except ValidationError as error:
        raise BankError(
            "The record of this control vector's scale is damaged.",
            where=f"{path}, {RECORD}",
            got=" ".join(str(error).split())[:400],
        ) from error


def _text(reader: Any, key: str) -> str | None:
    field = reader.get_field(key)
    return None if field is None else str(field.contents())


def _library() -> ModuleType:
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise BankError(
            "GGUF files need the package gguf, which is not installed.", fix="pip install 'evalharness[gguf]'"
        ) from error
