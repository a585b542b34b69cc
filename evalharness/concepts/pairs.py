"""Matched pairs -> difference of means: vectors of any concept that can be said in two ways, and unrelated controls.

N pairs, Q sets of pairs, L layers, D width, K kept layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.reading import Float64, text_means, token_ids, windows
from evalharness.errors import BankError

if TYPE_CHECKING:
    from evalharness.engine import Engine

PairRow = Mapping[str, Any]
"""`concept` (or `set`), `side`, `pair`, and `text` or `messages`. A set begins with its positive side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Complete pairs of which both texts are long enough."""

    names: tuple[str, ...]
    set_N: NDArray[np.int32]
    ids: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """Token ids of the positive and of the negative text of each pair."""
    dropped: dict[str, int]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSums:
    """What is left of the pairs after reading."""

    raw_QLD: Float64
    """Mean over the pairs of a set: positive minus negative."""
    difference_NKD: NDArray[np.float32]
    """Per pair at the kept layers."""
    mean_norm_L: Float64
    n_tokens: int


def read_pairs(engine: Engine, rows: Iterable[PairRow], skip: int) -> Pairs:
    """Match the rows up.

    Raises:
        BankError: a row without its fields, a set without exactly two sides, a pair without one of them or with a side
            twice, or a set of which fewer than two pairs are long enough.
    """
    sides: dict[str, dict[str, None]] = {}
    texts: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for number, row in enumerate(rows):
        name, side, pair = row.get("concept") or row.get("set"), row.get("side"), row.get("pair")
        if not name or side is None or pair is None or not (row.get("text") or row.get("messages")):
            raise BankError(
                "A text of a pair lacks a field.",
                expected="concept (or set), side, pair, and text or messages",
                got=", ".join(key for key, value in row.items() if value is not None),
                where=f"row {number}",
            )
        sides.setdefault(str(name), {})[str(side)] = None
        both = texts.setdefault((str(name), str(pair)), {})
        if str(side) in both:
            raise BankError("A pair has one side twice.", where=f"row {number}", got=f"{name}, pair {pair}, {side}")
        both[str(side)] = token_ids(engine, row)
    _require_two_sides(sides, texts)
    names = tuple(sides)
    sets, ids, dropped = [], [], dict[str, int]()
    digest = hashlib.sha256()
    for (name, _), both in texts.items():
        positive, negative = (both[side] for side in sides[name])
        if min(len(positive), len(negative)) <= skip:
            dropped[name] = dropped.get(name, 0) + 1
            continue
        sets.append(names.index(name))
        ids.append((positive, negative))
        for one in (positive, negative):
            digest.update(np.asarray((len(one), *one), dtype="<i8").tobytes())
    few = [name for place, name in enumerate(names) if sets.count(place) < 2]
    if few or not names:
        raise BankError(
            "Too few pairs that are long enough." if few else "There are no pairs.",
            expected=f"at least two pairs a set, each text of more than {skip} tokens",
            got=", ".join(f"{name}: {dropped.get(name, 0)} too short" for name in few) or "nothing",
            fix="use longer texts, more pairs or a smaller skip",
        )
    return Pairs(
        names=names,
        set_N=np.array(sets, dtype=np.int32),
        ids=tuple(ids),
        dropped=dropped,
        sha256=digest.hexdigest(),
    )


def _require_two_sides(
    sides: Mapping[str, Mapping[str, None]], texts: Mapping[tuple[str, str], Mapping[str, tuple[int, ...]]]
) -> None:
    for name, seen in sides.items():
        if len(seen) != 2:
            raise BankError(
                "A set of pairs must have exactly two sides.", expected="2", got=", ".join(seen), where=f"set {name!r}"
            )
    for (name, pair), both in texts.items():
        missing = [side for side in sides[name] if side not in both]
        if missing:
            raise BankError(
                "A pair lacks a side.", expected=missing[0], got="nothing", where=f"set {name!r}, pair {pair}"
            )


def sum_pairs(engine: Engine, pairs: Pairs, layers: Sequence[int], kept: Sequence[int], skip: int) -> PairSums:
    """Read both texts of every pair; `kept` are places among `layers`."""
    size_Q = np.bincount(pairs.set_N)
    raw_QLD = np.zeros((len(size_Q), len(layers), engine.d_model))
    difference_NKD = np.zeros((len(pairs.ids), len(kept), engine.d_model))
    norm_L, n_tokens = np.zeros(len(layers)), 0
    for window in windows(range(2 * len(pairs.ids))):
        for text in text_means(engine, lambda place: pairs.ids[place // 2][place % 2], window, layers, skip):
            pair, sign = text.text // 2, 1 if text.text % 2 == 0 else -1
            raw_QLD[pairs.set_N[pair]] += sign * text.mean_LD / size_Q[pairs.set_N[pair]]
            difference_NKD[pair] += sign * text.mean_LD[list(kept)]
            norm_L += text.norm_L
            n_tokens += text.n_tokens
    return PairSums(
        raw_QLD=raw_QLD,
        difference_NKD=difference_NKD.astype(np.float32),
        mean_norm_L=norm_L / n_tokens,
        n_tokens=n_tokens,
    )
