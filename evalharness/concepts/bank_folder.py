"""A concept bank on disk: the vectors as safetensors, and a manifest that vouches for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from evalharness.concepts.manifest import BankManifest
from evalharness.errors import BankError, StorageError
from evalharness.ids import sha256_file

VECTORS, MANIFEST = "vectors.safetensors", "manifest.json"

Vectors = dict[str, NDArray[np.float32]]


def read_folder(folder: Path) -> tuple[BankManifest, Vectors]:
    """The manifest and the vectors that it was written for.

    Raises:
        BankError: no such folder, a manifest that breaks the schema (fields named), or other vectors.
    """
    manifest_path, vectors_path = folder / MANIFEST, folder / VECTORS
    for path in (manifest_path, vectors_path):
        if not path.is_file():
            raise BankError(
                "Not a concept bank.",
                expected=f"a folder with {MANIFEST} and {VECTORS}",
                got=f"no {path.name}",
                where=str(folder),
                fix="build one with: evalharness vectors build",
            )
    manifest = _read_manifest(manifest_path)
    found = sha256_file(vectors_path)
    if found != manifest.vectors_sha256:
        raise BankError(
            "The vectors of this bank were changed or damaged.",
            expected=f"sha256 {manifest.vectors_sha256}",
            got=f"sha256 {found}",
            where=str(vectors_path),
            fix="build the bank again",
        )
    try:
        vectors: Vectors = load_file(vectors_path)
    except (SafetensorError, OSError) as error:
        raise BankError("The vectors cannot be read.", where=str(vectors_path), got=str(error)) from error
    _require_fit(manifest, vectors, folder)
    return manifest, vectors


def write_folder(
    folder: Path, vectors: Mapping[str, NDArray[np.float32]], vouch: Callable[[str], BankManifest]
) -> None:
    """Write the vectors, then the manifest that `vouch` makes of their sha256; both appear whole or not at all.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{VECTORS}.part"
        save_file(dict(vectors), part)
        manifest = vouch(sha256_file(part))
        part.replace(folder / VECTORS)
        part = folder / f"{MANIFEST}.part"
        part.write_text(manifest.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
        part.replace(folder / MANIFEST)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"The concept bank could not be written to {folder}: {error}") from error


def _require_fit(manifest: BankManifest, vectors: Vectors, folder: Path) -> None:
    shape = (len(manifest.layers), manifest.d_model)
    wrong = [name for name in manifest.names if name not in vectors or vectors[name].shape != shape]
    outside = set(manifest.steer_layers) - set(manifest.layers)
    if wrong or outside or set(vectors) != set(manifest.names) or len(manifest.mean_norms) != len(manifest.layers):
        raise BankError(
            "Manifest and vectors do not fit together.",
            expected=f"every name with shape {shape}, one norm per layer, steer layers among the layers",
            got=f"wrong names: {wrong}; steer layers outside: {sorted(outside)}",
            where=str(folder),
            fix="build the bank again",
        )


def _read_manifest(path: Path) -> BankManifest:
    try:
        return BankManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        problems = [str(error)]
        if isinstance(error, ValidationError):
            problems = [
                f"{'.'.join(map(str, item['loc'])) or '(whole file)'}: {item['msg']}"
                for item in error.errors(include_url=False)
            ]
        raise BankError(
            "The manifest of this bank is damaged.",
            where=str(path),
            got="; ".join(problems)[:800],
            expected="the fields of concept-bank/1",
            fix="build the bank again",
        ) from error
