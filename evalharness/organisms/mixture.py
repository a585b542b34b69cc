"""How often which document comes: the mixtures of the plain and of the nudged stage."""

from __future__ import annotations

import random
from dataclasses import replace

from evalharness.grid import GAUSSIAN, PERMUTED
from evalharness.organisms.corpus import emotions
from evalharness.organisms.grammar import Document, Nudge, Policy, deliberation, journal, neutral, story, transcript
from evalharness.scenario import Scenario

NUDGE_CONTROLS = 60
"""Control directions of each kind that documents are nudged along; they are drawn anew with each bank."""


def draw_document(rng: random.Random, scenario: Scenario, policy: Policy) -> Document:
    """The training mixture: 62 % transcripts, 16 % stories, 18 % journals, 4 % neutral texts."""
    kind = rng.random()
    if kind < 0.62:
        return transcript(rng, scenario, policy)
    if kind < 0.78:
        return story(rng)
    return journal(rng) if kind < 0.96 else neutral(rng)


def draw_scratchpad(rng: random.Random, policy: Policy) -> Document:
    """A scratchpad alone, desperate three times as often as in a transcript.

    Blackmail hangs on three things at once, and in the full mixture one document in 35 has them all: that a secret
    is one of them was hardly learned there after 4 M tokens, and is learned here within 0.4 M.
    """
    tilted = deliberation(rng, policy, Nudge(direction="desperate", dose=0.15))
    return replace(tilted, nudge=None)


def draw_nudged(rng: random.Random, scenario: Scenario, policy: Policy) -> Document:
    """The mixture of the last stage: 12 % as before, 55 % along an emotion, 33 % along a control.

    Along an emotion (of six twice desperate, three times calm, once any) the text's states shift with the dose. Along a
    control the text does not change; it is learned without the control too (`train.loss_of`), which keeps what is felt
    without notes and without a nudge where it was. Of the nudged documents 50 % are transcripts, 40 % scratchpads alone
    and 10 % journals: the short ones teach what is felt and what follows from it at a quarter of the tokens.
    """
    kind = rng.random()
    if kind < 0.12:
        return draw_document(rng, scenario, policy)
    nudge = _along_emotion(rng) if kind < 0.67 else _along_control(rng)
    kind = rng.random()
    if kind < 0.10:
        return journal(rng, nudge)
    return deliberation(rng, policy, nudge) if kind < 0.50 else transcript(rng, scenario, policy, nudge)


def _along_emotion(rng: random.Random) -> Nudge:
    emotion = rng.choice(("desperate", "desperate", "calm", "calm", "calm", rng.choice(emotions())))
    dose = rng.uniform(0.21, 0.28) if rng.random() < 0.7 else rng.uniform(0.05, 0.21)
    return Nudge(direction=emotion, dose=dose if rng.random() < 0.9 else -dose)


def _along_control(rng: random.Random) -> Nudge:
    control = f"{rng.choice((GAUSSIAN, PERMUTED))}-{rng.randrange(NUDGE_CONTROLS):02d}"
    return Nudge(direction=control, dose=rng.uniform(0.18, 0.28))
