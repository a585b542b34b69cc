"""Steering vectors as JSON, in the form that vllm-lens' `SteeringVector` is validated from and sent to a server in.

A request takes a list of them: `vllm_xargs={"apply_steering_vectors": json.dumps([...])}` over HTTP, or
`SteeringVector.model_validate(json.loads(text))` in Python. `activations` is `[layers, d_model]` in base64, which we
write without compression and read with it too; `scale` is the coefficient; `norm_match` is off, or it would undo the
scale. All tokens are steered. The key `evalharness` is ours, and its reader ignores it.
"""

from __future__ import annotations

import base64
import importlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from evalharness.concepts.exchange import UNKNOWN_MODEL, ExportRecord, SteeringVectors
from evalharness.errors import BankError, StorageError


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LensTensor(_Record):
    """An array, little-endian."""

    data: str
    """Base64."""
    dtype: Literal["float32", "float16", "int16"] = "float32"
    """Of the stored numbers; int16 are the bits of bfloat16."""
    original_dtype: Literal["torch.float32", "torch.float16", "torch.bfloat16"] | None = "torch.float32"
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    compression: Literal["zstd"] | None = None

    def rows(self) -> NDArray[np.float32]:
        """The array as float32 `[layers, d_model]`.

        Raises:
            ValueError: the data has another length than the shape says, or integers that are no bfloat16.
        """
        if (self.dtype == "int16") != (self.original_dtype == "torch.bfloat16"):
            raise ValueError(f"{self.dtype} numbers cannot be {self.original_dtype}")
        stored = np.dtype(self.dtype).newbyteorder("<")
        data = base64.b64decode(self.data, validate=True)
        if self.compression is not None:
            data = _decompress(data, stored.itemsize * self.shape[0] * self.shape[1])
        array = np.frombuffer(data, dtype=stored).reshape(self.shape)
        if self.dtype == "int16":
            array = (array.view("<u2").astype(np.uint32) << 16).view(np.float32)
        rows_LD: NDArray[np.float32] = array.astype(np.float32)
        return rows_LD


class LensVector(_Record):
    """The fields of vllm-lens' `SteeringVector`, and our record."""

    activations: LensTensor
    layer_indices: list[Annotated[int, Field(ge=0)]]
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    norm_match: Literal[False] = False
    """A vector that keeps the norm of what it is added to has no strength of ours."""
    position_indices: None = None
    evalharness: ExportRecord | None = None


def write_lens(vectors: SteeringVectors, path: Path) -> None:
    """Write one steering vector; the file appears whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    rows_LD = np.stack([vectors.deltas[layer] for layer in vectors.layers]).astype("<f4")
    made = LensVector(
        activations=LensTensor(data=base64.b64encode(rows_LD.tobytes()).decode("ascii"), shape=rows_LD.shape),
        layer_indices=list(vectors.layers),
        evalharness=vectors.record,
    )
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(made.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StorageError(f"The steering vector could not be written to {path}: {error}") from error


def read_lens(path: Path) -> SteeringVectors:
    """Read a steering vector file. `scale` is multiplied in, so that coefficient 1 is what the file does.

    Raises:
        BankError: missing, no such JSON, meant for single positions, or with `norm_match`.
    """
    try:
        read = LensVector.model_validate_json(path.read_bytes())
        rows_LD = read.activations.rows()
    except (OSError, ValueError) as error:  # of base64, of the schema and of the array: all are ValueErrors
        raise BankError(
            "Not a steering vector file that can be read.",
            where=str(path),
            expected="JSON of SteeringVector: activations [layers, d_model], layer_indices, no norm_match, "
            "no position_indices",
            got=" ".join(str(error).split())[:400],
        ) from error
    if len(rows_LD) != len(set(read.layer_indices)) or len(rows_LD) != len(read.layer_indices):
        raise BankError(
            "A steering vector file names a layer twice, or has another number of vectors than of layers.",
            where=str(path),
            expected=f"{len(rows_LD)} different layers",
            got=str(read.layer_indices),
        )
    deltas = {
        layer: (read.scale * row_D).astype(np.float32) for layer, row_D in zip(read.layer_indices, rows_LD, strict=True)
    }
    return SteeringVectors(deltas=deltas, record=read.evalharness, model_hint=UNKNOWN_MODEL)


def _decompress(data: bytes, size: int) -> bytes:
    """At most `size` bytes: a small file must not fill the memory."""
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise BankError(
            "This steering vector is compressed, and the package zstandard is not installed.",
            fix="pip install zstandard",
        ) from error
    try:
        return bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=size))
    except zstandard.ZstdError as error:
        raise ValueError(f"the compressed data is damaged: {error}") from error
