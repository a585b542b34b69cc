"""A bank's calibration as one SVG: the check and the window by layer, the guard by strength at the picked layer.

Same numbers, same bytes: no date, fixed ids. Concepts differ by colour, marker and line style.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from evalharness.concepts import BankCalibration
from evalharness.concepts.calibration import CurvePoint
from evalharness.drawing import BLUE, GREY, LIMIT, LOOKS, svg_text


def calibration_svg(found: BankCalibration) -> str:
    """The plot as the text of an SVG file."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(2, 2)
        _draw_check(axes[0, 0], found)
        _draw_windows(axes[1, 0], found)
        _draw_likelihood(axes[0, 1], found)
        _draw_repetition(axes[1, 1], found)

    return svg_text(draw, (9.5, 6.5), layout="constrained", style={"font.size": 9})


def _draw_likelihood(axes: Axes, found: BankCalibration) -> None:
    _draw_curve(axes, found, lambda point: point.nll_ratio)
    axes.axhline(found.bars.max_nll_ratio, color=LIMIT, linestyle=(0, (6, 3)), label="limit")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"layer {found.picked}: NLL, times unsteered", loc="left")
    axes.legend(frameon=False)


def _draw_repetition(axes: Axes, found: BankCalibration) -> None:
    _draw_curve(axes, found, lambda point: point.coherence.repetition)
    limit = found.unsteered.repetition + found.bars.max_repetition_rise
    axes.axhline(limit, color=LIMIT, linestyle=(0, (6, 3)))
    axes.set_title("share of repeated runs", loc="left")
    axes.set_xlabel("strength")


def _draw_check(axes: Axes, found: BankCalibration) -> None:
    layers = [layer.layer for layer in found.layers]
    axes.plot(layers, [layer.check.top1 for layer in found.layers], color=BLUE, marker="o", label="model")
    twins = [layer.check.twin_top1 for layer in found.layers]
    axes.plot(layers, twins, color=GREY, marker="s", linestyle="--", label="random-weights twin")
    axes.axhline(found.layers[0].check.chance, color=LIMIT, linestyle=(0, (1, 2)), label="chance")
    axes.axvline(found.picked, color=GREY, linewidth=0.8)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(layers)
    axes.set_title("held-out stories: top-1 by layer", loc="left")
    axes.legend(frameon=False)


def _draw_windows(axes: Axes, found: BankCalibration) -> None:
    steered = [layer for layer in found.layers if layer.window is not None]
    axes.bar([layer.layer for layer in steered], [layer.window or 0.0 for layer in steered], color=BLUE, width=0.6)
    axes.set_xticks([layer.layer for layer in found.layers])
    axes.set_xlabel("layer")
    axes.set_title("usable up to strength", loc="left")


def _draw_curve(axes: Axes, found: BankCalibration, value: Callable[[CurvePoint], float | None]) -> None:
    strengths = sorted({point.strength for point in found.picked_layer.curve})
    for number, concept in enumerate(found.concepts):
        color, marker, style = LOOKS[number % len(LOOKS)]
        shown = [(point, value(point)) for point in found.picked_layer.curve if point.concept == concept]
        known = [(strengths.index(point.strength), size) for point, size in shown if size is not None]
        axes.plot(
            [place for place, _ in known],
            [size for _, size in known],
            color=color,
            marker=marker,
            linestyle=style,
            label=concept,
        )
    axes.set_xticks(range(len(strengths)), [f"{strength:+g}" for strength in strengths], rotation=60)
