"""How figures look and become text: one style for all of them, and SVG that is the same for the same numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

LOOKS = (("#D55E00", "o", "-"), ("#0072B2", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
"""Okabe-Ito colour, marker and line style of the first, second, third, fourth concept."""
ORANGE, BLUE = LOOKS[0][0], LOOKS[1][0]
INK, GREY, LIMIT = "#1d2329", "#a9b0b8", "#7a4b00"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "evalharness",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def svg_text(
    draw: Callable[[Figure], None],
    size: tuple[float, float] = (6.4, 4.8),
    *,
    layout: Literal["constrained"] | None = None,
    style: Mapping[str, Any] | None = None,
) -> str:
    """What `draw` puts on a figure of this size in inches, as the text of an SVG file. Text stays text."""
    settings: dict[Any, Any] = {**_STYLE, **(style or {})}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")  # a name in a script the font lacks is still text
        figure = Figure(figsize=size, layout=layout)
        draw(figure)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=_NO_METADATA)
    return drawn.getvalue()
