"""A bank extracted into its folder: what a stopped call has summed is used, and nothing of it is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from evalharness.bankbuild import build_bank, build_bank_into
from evalharness.concepts import ConceptBank, reading
from evalharness.concepts.sums import PARTIAL, StorySums
from evalharness.grid import Controls
from evalharness.suite import BankSpec

if TYPE_CHECKING:
    from evalharness.engine import Engine

RECIPE = BankSpec(stories="organism", neutral="organism", contrast="organism", stories_per_concept=2, skip=5)


def test_a_stopped_build_goes_on(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the third window, the same call ends with the bank of an uninterrupted one and no sums beside it."""
    monkeypatch.setattr(reading, "WINDOW", 16)
    whole = build_bank(engine, RECIPE, Controls(permuted=1))
    add, added = StorySums.add, list[int]()

    def until_the_third(self: StorySums, story: Any) -> None:
        if len(added) == 40:
            raise KeyboardInterrupt
        added.append(story.text)
        add(self, story)

    monkeypatch.setattr(StorySums, "add", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        build_bank_into(engine, RECIPE, Controls(permuted=1), tmp_path)
    assert (tmp_path / "partial" / PARTIAL).is_file()
    added.clear()

    def noted(self: StorySums, story: Any) -> None:
        added.append(story.text)
        add(self, story)

    monkeypatch.setattr(StorySums, "add", noted)
    build_bank_into(engine, RECIPE, Controls(permuted=1), tmp_path)
    assert len(added) == 2 * 30 - 32
    found = ConceptBank.load(tmp_path)
    for name in whole.names:
        np.testing.assert_array_equal(whole.vector(name, 1), found.vector(name, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "vectors.safetensors"]
