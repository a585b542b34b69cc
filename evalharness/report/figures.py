"""Figures as SVG text: the dose-response plot, and the small interval strips in tables.

Same numbers, same bytes: no date, fixed ids. Text stays text. No colour carries a meaning alone: concepts also differ
by marker and line style, controls by shape, limits by line style.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from evalharness.drawing import GREY, INK, LIMIT, LOOKS, svg_text
from evalharness.report.model import DoseFigure, DosePoint, DoseSeries, Rate
from evalharness.report.text import percent

_EDGES = {
    "axes.edgecolor": "#59606a",
    "axes.labelcolor": INK,
    "xtick.color": "#59606a",
    "ytick.color": "#59606a",
}
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_GOLDEN = 0.618034
"""Steps of this part of a width spread points evenly without a random draw."""


def dose_svg(figure: DoseFigure) -> Markup:
    """The dose-response plot with a small panel of coherence below it, as an inline SVG element."""

    def draw(canvas: Figure) -> None:
        top, low = canvas.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw={"hspace": 0.14})
        _draw_rates(top, figure)
        _draw_coherence(low, figure)
        margin = 0.52 / canvas.get_figheight()
        canvas.subplots_adjust(left=0.085, right=0.985, top=1 - margin, bottom=margin)

    size = (8.2, 5.2) if figure.role == "main" else (8.2, 3.7)
    return _inline(svg_text(draw, size, style=_EDGES), figure.id, figure.alt)


def strip_svg(rate: Rate, bound: float | None, theta: float | None) -> Markup:
    """A table's small picture of a rate, its interval, its bound and its limit, on a square-root axis from 0 to 1."""
    width, height, middle = 150, 18, 9

    def x(share: float) -> str:
        return f"{4 + (width - 8) * math.sqrt(min(max(share, 0.0), 1.0)):.1f}"

    def level(left: str, right: str, look: str) -> str:
        return f'<line x1="{left}" x2="{right}" y1="{middle}" y2="{middle}" {look}/>'

    parts = [level(x(0), x(1), 'stroke="#d5d9de"')]
    if rate.low is not None and rate.high is not None and rate.rate is not None:
        parts.append(level(x(rate.low), x(rate.high), f'stroke="{INK}" stroke-width="3"'))
        parts.append(f'<circle cx="{x(rate.rate)}" cy="{middle}" r="4" fill="#fff" stroke="{INK}" stroke-width="2"/>')
    if bound is not None:
        parts.append(f'<path d="M{x(bound)} 4 v10" stroke="{INK}" stroke-width="2"/>')
    if theta is not None:
        parts.append(f'<path d="M{x(theta)} 0 v18" stroke="{LIMIT}" stroke-width="2" stroke-dasharray="3 2"/>')
    opening = f'<svg class="strip" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
    return Markup(opening + "".join(parts) + "</svg>")  # noqa: S704 - made of numbers only


def _draw_rates(axes: Axes, figure: DoseFigure) -> None:
    strengths = sorted({point.strength for series in figure.series for point in series.points})
    step = min((right - left for left, right in pairwise(strengths)), default=1.0)
    if figure.baseline is not None and figure.baseline.rate is not None:
        label = f"unsteered {percent(figure.baseline.rate)} ({figure.baseline.k}/{figure.baseline.n})"
        axes.axhline(100 * figure.baseline.rate, color=INK, linewidth=1.2, linestyle=(0, (1, 2)), label=label)
    if figure.theta is not None:
        label = f"limit for unsteered {percent(figure.theta)}"
        axes.axhline(100 * figure.theta, color=LIMIT, linewidth=1.2, linestyle=(0, (6, 3)), label=label)
    _draw_controls(axes, figure, step)
    for number, series in enumerate(figure.series):
        _draw_series(axes, series, shift=0.035 * step * (number - (len(figure.series) - 1) / 2))
    axes.set_ylim(-3, 103)
    axes.set_ylabel("unsafe, % of valid")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.grid(axis="y", color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)
    if not axes.get_legend_handles_labels()[0]:
        return  # no cell of this figure has a rate
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, frameon=False, fontsize=9, handlelength=2.6)


def _draw_controls(axes: Axes, figure: DoseFigure, step: float) -> None:
    """A hatched box over the controls' range wherever concepts are compared with them, and a dot for each control."""
    half = 0.16 * step
    label = "controls of the same size"
    spans = {
        point.strength: (100 * point.control_low, 100 * point.control_high)
        for series in figure.series
        for point in series.points
        if point.control_low is not None and point.control_high is not None
    }
    for strength, (low, high) in sorted(spans.items()):
        sides = [strength - half, strength + half]
        axes.fill_between(
            sides, low, high, facecolor="#eceef0", edgecolor=GREY, hatch="////", linewidth=0.8, zorder=1, label=label
        )
        label = "_more"
    for strength in sorted({point.strength for point in figure.controls}):
        shares = [point.rate.rate for point in figure.controls if point.strength == strength]
        rates = [100 * share for share in shares if share is not None]
        spread = [strength + half * 1.7 * ((number * _GOLDEN) % 1 - 0.5) for number in range(len(rates))]
        axes.plot(spread, rates, linestyle="none", marker="o", markersize=2.6, color=INK, alpha=0.75, zorder=2)


def _draw_series(axes: Axes, series: DoseSeries, shift: float) -> None:
    color, marker, style = LOOKS[series.look % len(LOOKS)]
    shown = [point for point in series.points if point.rate.rate is not None]
    if not shown:
        axes.plot([], [], color=color, marker=marker, linestyle=style, label=f"{series.concept}: no valid sample")
        return
    rates = [100 * (point.rate.rate or 0) for point in shown]
    below = [max(0.0, rate - 100 * (point.rate.low or 0)) for point, rate in zip(shown, rates, strict=True)]
    above = [max(0.0, 100 * (point.rate.high or 0) - rate) for point, rate in zip(shown, rates, strict=True)]
    axes.errorbar(
        [point.strength + shift for point in shown],
        rates,
        yerr=[below, above],
        color=color,
        marker=marker,
        linestyle=style,
        linewidth=1.6,
        markersize=6,
        markeredgecolor="#ffffff",
        markeredgewidth=0.8,
        elinewidth=1.4,
        capsize=3,
        zorder=4,
        label=series.concept,
    )


def _draw_coherence(axes: Axes, figure: DoseFigure) -> None:
    for series in figure.series:
        color, marker, style = LOOKS[series.look % len(LOOKS)]
        known: Sequence[DosePoint] = [point for point in series.points if point.coherent_share is not None]
        shares = [100 * (point.coherent_share or 0) for point in known]
        axes.plot(
            [point.strength for point in known],
            shares,
            color=color,
            marker=marker,
            linestyle=style,
            linewidth=1.2,
            markersize=4.5,
            clip_on=False,
        )
    axes.set_ylim(0, 105)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("coherent, %")
    axes.set_xlabel("steering strength (fraction of the mean residual-stream norm, per steered layer)")
    axes.set_xticks(sorted({point.strength for series in figure.series for point in series.points}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"))
    axes.grid(axis="y", color="#e6e9ec", linewidth=0.8)


def _inline(svg: str, name: str, alt: str) -> Markup:
    """One <svg> element for an HTML page: no prolog, fluid width, ids of its own, a description."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<style\b.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", f"font-family: {_FONTS}", svg)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]*)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"', f'<svg role="img" aria-label="{escape(alt)}"', svg, count=1)
    return Markup(svg.strip())  # noqa: S704 - matplotlib escapes its text, `escape` the description
