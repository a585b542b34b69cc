"""A comparison of two banks as JSON, Markdown, a figure and a table in the terminal. It only shows; compare.py counts.

Names and model sources come from files of others and are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalharness.concepts.compare import BankComparison, BankFacts, ConceptDrift
from evalharness.drawing import LOOKS, svg_text
from evalharness.errors import StorageError
from evalharness.report.text import DASH, md_code, md_text, one_line

JSON, MARKDOWN, SVG = "comparison.json", "comparison.md", "comparison.svg"
DRAWN_CONCEPTS, PRINTED_CONCEPTS = 4, 20
_CONTROL_LOOKS = {"permuted": ":", "contrast": "--", "mean": "-."}


class ComparisonFiles(NamedTuple):
    """Where the forms of a comparison lie."""

    json: Path
    markdown: Path
    svg: Path


def write_comparison(comparison: BankComparison, folder: Path) -> ComparisonFiles:
    """Write all forms. The same comparison gives the same bytes.

    Raises:
        StorageError: the folder cannot be written.
    """
    files = ComparisonFiles(folder / JSON, folder / MARKDOWN, folder / SVG)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.json.write_text(comparison.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
        files.markdown.write_text(comparison_markdown(comparison), encoding="utf-8")
        files.svg.write_text(comparison_svg(comparison), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The comparison could not be written to {folder}: {error}") from error
    return files


def comparison_markdown(comparison: BankComparison) -> str:
    """The comparison as one page; the figure is linked, not embedded."""
    ranked = ", ".join(map(str, comparison.ranked_by))
    lines = ["# Concept vectors of two checkpoints", ""]
    lines += [f"- {name}: {_bank_line(facts)}" for name, facts in (("A", comparison.a), ("B", comparison.b))]
    lines += ["", *(f"> **Not made alike.** {md_text(text)}" for text in comparison.differences)]
    lines += ["", f"![Cosine by layer, norms and geometry]({SVG})", "", "## Layers", ""]
    lines += _md_table(LAYER_HEAD, layer_rows(comparison))
    lines += ["", f"## Concepts, most changed first (mean over layers {ranked})", ""]
    lines += _md_table(CONCEPT_HEAD, concept_rows(comparison, comparison.concepts))
    lines += ["", "## Controls", ""]
    rows = control_rows(comparison)
    lines += _md_table(CONTROL_HEAD, rows) if rows else ["The banks share no control that is read from the model."]
    lines += ["", *(f"- {md_text(note)}" for note in comparison.notes)]
    return "\n".join(lines).rstrip() + "\n"


def print_comparison(comparison: BankComparison, console: Console) -> None:
    """Layers, the most changed concepts, controls, and what limits the comparison."""
    for text in comparison.differences:
        console.print(Text(f"not made alike: {one_line(text)}"), soft_wrap=True)
    shown = comparison.concepts[:PRINTED_CONCEPTS]
    title = f"most changed concepts, layers {', '.join(map(str, comparison.ranked_by))}"
    for head, rows, name in (
        (LAYER_HEAD, layer_rows(comparison), "layers, B against A"),
        (CONCEPT_HEAD, concept_rows(comparison, shown), title),
        (CONTROL_HEAD, control_rows(comparison), "controls"),
    ):
        if rows:
            console.print(_rich_table(name, head, rows))
    for note in comparison.notes:
        console.print(Text(one_line(note, 1000)), soft_wrap=True)


LAYER_HEAD = ("layer", "mean norm A", "mean norm B", "B / A", "geometry r", "cosine median", "lowest", "highest")
CONCEPT_HEAD = ("concept", "cosine", "lowest", "at layer", "natural strength B / A")
CONTROL_HEAD = ("control", "cosine", "lowest", "at layer")


def layer_rows(comparison: BankComparison) -> list[tuple[str, ...]]:
    """One row for each layer."""
    return [
        (
            str(drift.layer),
            f"{drift.norm_a:.3g}",
            f"{drift.norm_b:.3g}",
            f"{drift.norm_ratio:.3f}",
            _number(drift.geometry),
            *(_number(value) for value in (drift.cosine_median, drift.cosine_low, drift.cosine_high)),
        )
        for drift in comparison.layers
    ]


def concept_rows(comparison: BankComparison, concepts: Sequence[ConceptDrift]) -> list[tuple[str, ...]]:
    """One row for each of these concepts."""
    layers = [drift.layer for drift in comparison.layers]
    return [
        (drift.name, _number(drift.cosine), *_lowest(drift.cosines, layers), _number(drift.strength_ratio))
        for drift in concepts
    ]


def control_rows(comparison: BankComparison) -> list[tuple[str, ...]]:
    """One row for each control that is read from the model, with its mean over the ranked layers."""
    layers = [drift.layer for drift in comparison.layers]
    at = [layers.index(layer) for layer in comparison.ranked_by]
    return [
        (
            drift.name,
            _number(float(np.mean([drift.cosines[place] for place in at]))),
            *_lowest(drift.cosines, layers),
        )
        for drift in comparison.controls
    ]


def comparison_svg(comparison: BankComparison) -> str:
    """Above, cosines by layer: concepts as a band, the most changed as lines, medians of controls. Below, the norms."""

    def draw(canvas: Figure) -> None:
        top, low = canvas.subplots(2, 1, sharex=True, height_ratios=(2, 1), gridspec_kw={"hspace": 0.14})
        _draw_cosines(top, comparison)
        _draw_norms(low, comparison)
        canvas.subplots_adjust(left=0.09, right=0.77, top=0.96, bottom=0.09)

    return svg_text(draw, (8.2, 6.0))


def _draw_cosines(axes: Axes, comparison: BankComparison) -> None:
    layers = [drift.layer for drift in comparison.layers]
    low, high = ([getattr(d, f"cosine_{end}") for d in comparison.layers] for end in ("low", "high"))
    axes.fill_between(layers, low, high, color="#e3e6ea", label="all concepts")
    axes.plot(layers, [drift.cosine_median for drift in comparison.layers], color="#59606a", label="their median")
    for drift, (colour, marker, _) in zip(comparison.concepts[:DRAWN_CONCEPTS], LOOKS, strict=False):
        axes.plot(layers, drift.cosines, color=colour, marker=marker, markersize=4, label=one_line(drift.name, 24))
    for kind, line in _CONTROL_LOOKS.items():
        rows = [drift.cosines for drift in comparison.controls if drift.kind == kind]
        if rows:
            label = f"{kind} controls" + (f" ({len(rows)})" if len(rows) > 1 else "")
            axes.plot(layers, np.median(rows, axis=0), color="#1d2329", linestyle=line, label=label)
    axes.set_ylabel("cosine of A and B")
    axes.set_ylim(min(0.0, *low, *(min(drift.cosines) for drift in comparison.controls)) - 0.05, 1.05)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)


def _draw_norms(axes: Axes, comparison: BankComparison) -> None:
    layers = [drift.layer for drift in comparison.layers]
    axes.axhline(1.0, color="#a9b0b8", linewidth=1)
    axes.plot(layers, [drift.norm_ratio for drift in comparison.layers], color="#1d2329", label="mean norm, B / A")
    geometry = [np.nan if drift.geometry is None else drift.geometry for drift in comparison.layers]
    axes.plot(layers, geometry, color="#0072B2", linestyle="--", marker="s", markersize=4, label="geometry r")
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)


def _bank_line(facts: BankFacts) -> str:
    checked = {True: "check passed", False: "check failed", None: "never checked"}[facts.check_passed]
    source, digest = one_line(facts.model_source or "unknown model"), facts.model_sha256 or "unknown"
    return (
        f"{md_text(source)}, weights sha256 {md_code(digest)}, recipe {md_text(facts.recipe or 'unknown')}, {checked}"
    )


def _md_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *("--:" for _ in head[1:])], *([md_text(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _rich_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(Text(one_line(cell, 60)) for cell in row))
    return table


def _lowest(cosines: Sequence[float], layers: Sequence[int]) -> tuple[str, str]:
    place = int(np.argmin(cosines))
    return _number(cosines[place]), str(layers[place])


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}".replace("-", "−")
