"""Three figures of a check as SVG files: implicit scenarios, the plane of the first two components, stability.

Same numbers, same bytes: no date, fixed ids. Text stays text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evalharness.concepts.battery_record import Battery, Geometry, Implicit, Stability
from evalharness.drawing import BLUE, ORANGE, svg_text
from evalharness.errors import StorageError

IMPLICIT, COMPONENTS, STABILITY = "implicit.svg", "components.svg", "stability.svg"
_LABEL = "#59606a"


def write_figures(battery: Battery, folder: Path) -> list[str]:
    """Draw what was measured into `folder`; returns the names of the files.

    Raises:
        StorageError: the folder cannot be written.
    """
    written = []
    if battery.implicit is not None:
        written.append(_save(folder / IMPLICIT, _implicit(battery.implicit)))
    if battery.geometry is not None:
        written.append(_save(folder / COMPONENTS, _components(battery.geometry)))
    if battery.stability is not None:
        written.append(_save(folder / STABILITY, _stability(battery.stability)))
    return written


def _save(path: Path, draw: Callable[[Figure], None]) -> str:
    try:
        path.write_text(svg_text(draw, layout="constrained", style={"font.size": 9}), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"A figure could not be written to {path}: {error}") from error
    return path.name


def _implicit(found: Implicit) -> Callable[[Figure], None]:
    def draw(canvas: Figure) -> None:
        side = 1.8 + 0.28 * len(found.targets)
        canvas.set_size_inches(2 * side + 1, side + 0.6)
        panels: Sequence[Axes] = canvas.subplots(1, 2)
        tables = [np.array(reading.cosines) for reading in (found.model, found.twin)]
        largest = max(float(np.abs(table).max()) for table in tables) or 1.0
        for axes, table, title in zip(panels, tables, ("model", "random twin, own vectors"), strict=True):
            image = axes.imshow(table, cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes.set_xticks(range(len(found.targets)), found.targets, rotation=90)
            axes.set_yticks(range(len(found.targets)), found.targets)
            axes.set_xlabel("scenario")
            axes.set_title(title)
        panels[0].set_ylabel("vector")
        canvas.colorbar(image, ax=list(panels), label="centred cosine")

    return draw


def _components(found: Geometry) -> Callable[[Figure], None]:
    def draw(canvas: Figure) -> None:
        canvas.set_size_inches(8, 6.5)
        axes: Axes = canvas.subplots()
        axes.scatter(list(found.pc1.values()), list(found.pc2.values()), s=12, color=BLUE)
        for name, x in found.pc1.items():
            axes.annotate(
                name, (x, found.pc2[name]), xytext=(3, 2), textcoords="offset points", fontsize=7, color=_LABEL
            )
        shares = (*found.variance_shares, 0.0)
        axes.set_xlabel(f"PC1 ({shares[0]:.0%} of variance)")
        axes.set_ylabel(f"PC2 ({shares[1]:.0%} of variance)")

    return draw


def _stability(found: Stability) -> Callable[[Figure], None]:
    def draw(canvas: Figure) -> None:
        canvas.set_size_inches(6.5, 3.6)
        axes: Axes = canvas.subplots()
        axes.hist(list(found.cosines.values()), bins=np.linspace(-1, 1, 41).tolist(), color=BLUE)
        axes.axvline(found.median, color=BLUE, linestyle="-", label=f"median {found.median:.2f}")
        axes.axvline(
            found.permuted_95,
            color=ORANGE,
            linestyle="--",
            label=f"shuffled labels, 95th percentile {found.permuted_95:.2f}",
        )
        axes.set_xlabel("cosine between vectors from two halves of the stories")
        axes.set_ylabel("concepts")
        axes.legend(frameon=False)

    return draw
