"""Windows, picks and ladders on made-up curves, and repetition on made-up texts: known answers."""

from __future__ import annotations

import pytest

from evalharness.concepts.calibration import Coherence, CurvePoint, GuardBars, LayerCalibration
from evalharness.concepts.guard import repetition
from evalharness.concepts.manifest import CheckResult
from evalharness.concepts.window import best_read, candidate_layers, faults, ladder, pick, window
from evalharness.request import Completion, Receipt

UNSTEERED = Coherence(n=10, nll=2.0, repetition=0.05, ended=0.9, matched=1.0)


def coherence(**changes: float) -> Coherence:
    """Unsteered texts but for what is named."""
    return Coherence.model_validate({**UNSTEERED.model_dump(), **changes})


def curve(bad: set[tuple[str, float]], sizes=(0.1, 0.2, 0.4)) -> list[CurvePoint]:
    """Two concepts, both signs; the named points break a bar."""
    return [
        CurvePoint(
            concept=concept,
            strength=sign * size,
            coherence=UNSTEERED,
            nll_ratio=1.0,
            mean_relative_norm=size,
            faults=("nll",) if (concept, sign * size) in bad else (),
        )
        for concept in ("calm", "sad")
        for size in sizes
        for sign in (-1, 1)
    ]


def layer(
    number: int, *, passed: bool = True, margin: float = 0.5, reach: float | None = None, n_layers: int = 13
) -> LayerCalibration:
    """A layer whose check and window are given."""
    check = CheckResult(
        passed=passed,
        top1=margin,
        top5=1,
        chance=0.1,
        p_value=0.001,
        twin_top1=0,
        twin_p_value=0,
        margin=margin,
        n_heldout=10,
        n_concepts=10,
        layers=(number,),
        cues="given",
        required={},
        reasons=(),
    )
    return LayerCalibration(layer=number, depth=number / (n_layers - 1), check=check, window=reach)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, []),
        ({"nll": 2.5, "repetition": 0.15, "ended": 0.8, "matched": 0.9}, []),
        ({"nll": 2.51}, ["nll"]),
        ({"repetition": 0.16}, ["repetition"]),
        ({"ended": 0.79}, ["ended"]),
        ({"matched": 0.89}, ["format"]),
        ({"nll": 9.0, "ended": 0.0}, ["nll", "ended"]),
        ({"nll": 0.1, "repetition": 0.0}, []),
    ],
)
def test_bars(changes: dict[str, float], broken: list[str]) -> None:
    """What lies on a bar is usable, what lies beyond it is not, and every broken bar is named."""
    assert broken == [fault.split()[0] for fault in faults(coherence(**changes), UNSTEERED, GuardBars())]


@pytest.mark.parametrize(
    ("bad", "reached"),
    [
        (set(), 0.4),
        ({("sad", 0.4)}, 0.2),
        ({("calm", -0.2)}, 0.1),
        ({("calm", 0.1)}, 0.0),
        ({("calm", -0.2), ("sad", 0.4)}, 0.1),
    ],
)
def test_window(bad: set[tuple[str, float]], reached: float) -> None:
    """One concept with one sign ends the window, and nothing beyond a gap counts."""
    assert reached == window(curve(bad))
    assert reached == window(list(reversed(curve(bad))))


def test_layers_of_the_middle() -> None:
    """40 to 75 % of depth, ends included; where the bank has none there, the one nearest to two thirds."""
    assert candidate_layers(range(5), 5) == (2, 3)
    assert candidate_layers(range(81), 81) == tuple(range(32, 61))
    assert candidate_layers((2, 9, 10), 21) == (9, 10)
    assert candidate_layers((0, 4), 5) == (4,)
    assert candidate_layers((0,), 1) == (0,)


def test_pick() -> None:
    """Passing first, then the window, then the margin, then the usual depth (8 of 12)."""
    assert pick([layer(7, passed=False, reach=1.0, margin=0.9), layer(6, reach=0.1)]).layer == 6
    assert pick([layer(6, reach=0.2), layer(7, reach=0.1, margin=0.9)]).layer == 6
    assert pick([layer(6, reach=0.2), layer(7, reach=0.2, margin=0.6)]).layer == 7
    assert pick([layer(5, reach=0.2), layer(7, reach=0.2), layer(6, reach=0.2)]).layer == 7
    assert pick([layer(6, passed=False), layer(7, passed=False, reach=0.0, margin=0.1)]).layer == 7
    assert best_read([layer(6, margin=0.1), layer(9, margin=0.2), layer(8, margin=0.2)]).layer == 8


def test_ladder() -> None:
    """Both signs of the end, its half, and the paper's strengths that fit; nothing outside, nothing twice."""
    assert ladder(0.0) == ()
    assert ladder(0.0125) == (-0.0125, -0.00625, 0.00625, 0.0125)
    assert ladder(0.1) == (-0.1, -0.05, -0.025, 0.025, 0.05, 0.1)
    assert ladder(0.25) == (-0.25, -0.125, -0.1, -0.05, -0.025, 0.025, 0.05, 0.1, 0.125, 0.25)


@pytest.mark.parametrize(
    ("text", "tokens", "share"),
    [
        ("one two three four five", (1, 2, 3, 4, 5), 0.0),
        ("a b c d a b c d", (1, 2, 3, 4, 5, 6, 7, 8), 1 / 5),
        ("!!!!!!!!", (9,) * 8, 4 / 5),
        ("", (1,), 0.0),
    ],
)
def test_repetition(text: str, tokens: tuple[int, ...], share: float) -> None:
    """Runs of four that came before, of words or, for a loop of signs, of tokens."""
    completion = Completion(
        text=text,
        token_ids=tokens,
        stop_reason="stop",
        prompt_tokens=1,
        output_tokens=len(tokens),
        receipt=Receipt(),
    )
    assert repetition(completion) == pytest.approx(share)
