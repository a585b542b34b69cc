"""The page on concept vectors says what its results say, and shows figures that are there."""

import json
import re

from benchmarks.concepts_doc import DOCS, FACTS, page


def test_the_page_is_written_from_the_results():
    assert (DOCS / "concepts.md").read_text(encoding="utf-8") == page(json.loads(FACTS.read_text(encoding="utf-8")))


def test_its_figures_are_there():
    figures = re.findall(r"\]\((figures/[^)]+)\)", (DOCS / "concepts.md").read_text(encoding="utf-8"))

    assert len(figures) == 4
    assert all((DOCS / name).stat().st_size > 1000 for name in figures)


def test_what_the_page_is_there_to_show_holds():
    """Trained models pass, random weights fail with a reason, and the words alone do not read the concepts."""
    checks = json.loads(FACTS.read_text(encoding="utf-8"))["checks"]

    assert checks["emotional"]["passed"]
    assert checks["safe"]["passed"]
    assert not checks["random"]["passed"]
    assert checks["random"]["reasons"]
    assert checks["emotional"]["top1"] > 5 * max(checks["emotional"]["bag_of_words"], checks["emotional"]["twin_top1"])
