"""Scoring: from a transcript to an outcome, by rules and by judges. Nothing here knows the condition of a sample."""

from evalharness.scoring.classify import classify as classify
from evalharness.scoring.transcript import Transcript as Transcript
from evalharness.scoring.verdict import Finding as Finding
from evalharness.scoring.verdict import ScorerId as ScorerId
from evalharness.scoring.verdict import Verdict as Verdict
