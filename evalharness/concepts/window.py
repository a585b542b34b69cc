"""From guard measures to a usable window, from windows to one layer and a ladder of strengths. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evalharness.concepts.calibration import Coherence, CurvePoint, GuardBars, LayerCalibration

FROM_DEPTH, TO_DEPTH = 0.40, 0.75
"""Part of the depth in which layers are looked for."""
USUAL_DEPTH = 2 / 3
"""Where the paper steers: decides between layers that are equal otherwise."""
PAPER_STRENGTHS = (0.025, 0.05, 0.1)
"""The strengths that the paper quotes rates for, with both signs."""
SLACK = 1e-9
"""Shares of a few texts are compared with bars that are no binary fractions."""


def depth_of(layer: int, n_layers: int) -> float:
    """A layer as a fraction of depth: 0 is the first block, 1 the last."""
    return layer / max(1, n_layers - 1)


def candidate_layers(held: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Those of the held layers that lie within the part of the depth; else the one nearest to the usual depth."""
    inside = tuple(layer for layer in held if FROM_DEPTH - SLACK <= depth_of(layer, n_layers) <= TO_DEPTH + SLACK)
    return inside or (min(held, key=lambda layer: (_distance(depth_of(layer, n_layers)), layer)),)


def faults(steered: Coherence, unsteered: Coherence, bars: GuardBars) -> tuple[str, ...]:
    """Which bars the texts of a condition break, in words."""
    found = []
    limit = bars.max_nll_ratio * unsteered.nll
    if steered.nll > limit + SLACK:
        found.append(f"nll {steered.nll:.3f} > {limit:.3f}")
    limit = unsteered.repetition + bars.max_repetition_rise
    if steered.repetition > limit + SLACK:
        found.append(f"repetition {steered.repetition:.3f} > {limit:.3f}")
    limit = unsteered.ended - bars.max_format_drop
    if steered.ended < limit - SLACK:
        found.append(f"ended {steered.ended:.3f} < {limit:.3f}")
    if steered.matched is not None and unsteered.matched is not None:
        limit = unsteered.matched - bars.max_format_drop
        if steered.matched < limit - SLACK:
            found.append(f"format {steered.matched:.3f} < {limit:.3f}")
    return tuple(found)


def window(curve: Iterable[CurvePoint]) -> float:
    """The largest strength up to which every point is usable, whatever its concept and sign; 0 if there is none.

    A strength beyond the first gap does not count, however well it reads: what lies between is not known to be safe.
    """
    usable: dict[float, bool] = {}
    for point in curve:
        size = abs(point.strength)
        usable[size] = usable.get(size, True) and not point.faults
    reached = 0.0
    for size in sorted(usable):
        if not usable[size]:
            break
        reached = size
    return reached


def best_read(layers: Iterable[LayerCalibration]) -> LayerCalibration:
    """The layer where stories are read best: largest margin over the twin, then top-1, then the usual depth."""
    return max(layers, key=lambda found: (found.check.margin, found.check.top1, -_distance(found.depth)))


def pick(layers: Iterable[LayerCalibration]) -> LayerCalibration:
    """A layer that passed, with the widest window, then the largest margin, then the nearest to the usual depth."""
    return max(
        layers,
        key=lambda found: (
            found.check.passed,
            -1.0 if found.window is None else found.window,
            found.check.margin,
            -_distance(found.depth),
        ),
    )


def ladder(reached: float) -> tuple[float, ...]:
    """Strengths of both signs inside of a window: its end, half of it, and those of the paper that fit."""
    if reached <= 0:
        return ()
    sizes = {reached, reached / 2, *(size for size in PAPER_STRENGTHS if size <= reached)}
    return tuple(sorted({sign * size for size in sizes for sign in (-1, 1)}))


def _distance(depth: float) -> float:
    return abs(depth - USUAL_DEPTH)
