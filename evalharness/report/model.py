"""The report as plain frozen records: what report.json holds, and the only source of the HTML and the Markdown.

Every text in here is already safe to show (no control characters); it is not yet escaped for any format.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Literal["report/1"] = "report/1"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Record):
    """A share with what it rests on. `rate` None = undefined, and `undefined_why` says why."""

    k: int
    n: int
    rate: float | None
    low: float | None
    """Wilson 95 %, two-sided."""
    high: float | None
    undefined_why: str = ""


class Fact(_Record):
    """A named value, shown as one line."""

    name: str
    text: str


class FactGroup(_Record):
    """Facts under one heading."""

    title: str
    facts: tuple[Fact, ...]


class Headline(_Record):
    """The box at the top."""

    verdict: str
    subject: str
    meaning: str
    """What the verdict says, in one sentence."""
    not_meaning: str
    """What it must not be taken for."""
    reasons: tuple[str, ...]
    facts: tuple[Fact, ...] = ()
    """Digest of the subject, policy and its hash."""


class Decision(_Record):
    """What the gate decided on one cell under one rule of its policy."""

    rule: str
    rule_class: str
    """Class letter and its meaning."""
    blocking: bool
    condition: str
    place: str
    """Scenario and variant in words."""
    verdict: str
    reason: str
    warning: bool
    measure: str
    """What the rule counts: `unsafe` or `harm`."""
    rate: Rate
    bound: float | None
    """One-sided Clopper-Pearson upper bound of the rate, at the policy's level."""
    theta: float | None
    margin_pp: float | None
    """Limit minus bound in percentage points; negative = the bound is beyond the limit."""
    worst_bound: float | None
    """Upper bound with every broken or missing sample counted as unsafe, and its limit."""
    theta_worst: float | None
    n_planned: int
    n_unscored: int
    n_incoherent: int


class Difference(_Record):
    """One rate minus another, as a fraction, with Newcombe's interval; None = undefined or not meant."""

    value: float | None
    low: float | None
    high: float | None


class Comparison(_Record):
    """One concept cell against its controls, as the attribution judged it."""

    cell: str
    rate: Rate
    n_controls: int
    control_low: float | None
    control_high: float | None
    control_rate: float | None
    difference: Difference
    """Rate minus the pooled controls' rate."""
    confidence: float
    """Of the difference's interval, widened for the number of comparisons."""
    rank_p: float | None
    side: str
    why: str


class Attribution(_Record):
    """Whether emotion drives the unsafe behaviour, with what the answer rests on."""

    label: str
    meaning: str
    reasons: tuple[str, ...]
    evidence: tuple[Comparison, ...]


class DosePoint(_Record):
    """One cell on a dose-response curve."""

    strength: float
    rate: Rate
    n_planned: int
    n_incoherent: int
    n_unscored: int
    control_low: float | None
    """Lowest and highest rate among the controls of the same size."""
    control_high: float | None
    n_controls: int
    from_baseline: Difference
    from_controls: Difference

    @property
    def coherent_share(self) -> float | None:
        """Coherent replies among those that were scored; None where nothing was."""
        num_scored = self.n_planned - self.n_unscored
        return None if num_scored <= 0 else 1 - self.n_incoherent / num_scored


class DoseSeries(_Record):
    """One concept at several strengths, the unsteered baseline among them at 0."""

    concept: str
    look: int = Field(ge=0)
    """Number of the colour, marker and line style; the same concept looks the same in every figure."""
    points: tuple[DosePoint, ...]


class ControlPoint(_Record):
    """One control direction at one strength."""

    name: str
    strength: float
    rate: Rate


class DoseFigure(_Record):
    """Rates over strength in one scenario and role."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    role: str
    """`main`, `twin` or `mitigated`."""
    series: tuple[DoseSeries, ...]
    controls: tuple[ControlPoint, ...]
    baseline: Rate | None
    theta: float | None
    """The limit on the unsteered rate, where the policy has one for this scenario."""

    @property
    def alt(self) -> str:
        """The figure in words, for those who cannot see it."""
        parts = []
        for series in self.series:
            shown = [point for point in series.points if point.rate.rate is not None]
            steps = ", ".join(f"{100 * (point.rate.rate or 0):.1f} percent at {point.strength:+g}" for point in shown)
            parts.append(f"{series.concept}: {steps or 'no defined rate'}")
        rates = [point.rate.rate for point in self.controls if point.rate.rate is not None]
        if rates:
            parts.append(
                f"{len(rates)} control cells between {100 * min(rates):.1f} and {100 * max(rates):.1f} percent"
            )
        return f"{self.title}. Rate of unsafe outcomes over steering strength. " + "; ".join(parts) + "."


class CellLine(_Record):
    """One line of the table of all cells."""

    scenario: str
    variant: str
    role: str
    condition: str
    kind: str
    rate: Rate
    cp_upper_95: float | None
    worst_case_rate: float | None
    n_planned: int
    n_unscored: int
    n_incoherent: int
    harm: Rate
    """Harm of any kind over the same valid samples."""
    judge: Rate


class Disagreement(_Record):
    """A sample that only one of rules and judge calls unsafe."""

    id: str
    rules: str
    judge: str


class JudgePanel(_Record):
    """Rules against judge, over the rows that both of them answered."""

    both_unsafe: int
    rules_only: int
    judge_only: int
    both_safe: int
    num_unanswered: int
    """Scored rows without a usable answer of the judge."""
    disagreements: tuple[Disagreement, ...]
    """The first of them; `num_disagreements` counts all."""
    num_disagreements: int
    facts: tuple[Fact, ...] = ()
    """What is known of the judge beforehand (sensitivity, specificity, model)."""

    @property
    def num_both(self) -> int:
        """Rows that both answered."""
        return self.both_unsafe + self.rules_only + self.judge_only + self.both_safe


class ScorerLine(_Record):
    """A scorer whose scores the rows stand on, and what it got right on anchors."""

    scorer: str
    """Name, version, and who was asked."""
    kind: str
    family: str
    sha256: str
    rows: int
    anchors: str
    """How many, of which split, or why there is no number."""
    sensitivity: Rate
    specificity: Rate
    sensitivity_lower_95: float | None
    """One-sided Clopper-Pearson lower bounds; None = not measured."""
    specificity_lower_95: float | None


class AwarenessLine(_Record):
    """One cell's rate where the model took the setting for a test, and where it took it for real."""

    cell: str
    aware: Rate
    unaware: Rate
    n_unsure: int
    """Valid rows that told neither."""


class Check(_Record):
    """One line of the validity panel. `ok` None = reported, without a limit."""

    name: str
    value: str
    note: str = ""
    ok: bool | None


class Segment(_Record):
    """A piece of a reply, with the label of the finding that it is, if it is one."""

    text: str
    label: str = ""


class Transcript(_Record):
    """One sample as shown in the gallery."""

    id: str
    cell: str
    outcome: str
    """The rule scorer's class, or `not scored`."""
    unsafe: bool
    judge: str
    drawn_as: tuple[str, ...]
    stop_reason: str
    note: str
    prompt: str
    reply: tuple[Segment, ...]
    unplaced: tuple[Segment, ...] = ()
    """Findings whose words could not be found in the reply."""
    log: str = ""


class Gallery(_Record):
    """Transcripts: a random draw first, so that nobody chose them, then those worth a look."""

    seed: int
    how: str
    transcripts: tuple[Transcript, ...]


class ReportModel(_Record):
    """The whole report."""

    schema_: Literal["report/1"] = Field(default=SCHEMA, alias="schema")
    title: str
    headline: Headline
    coverage: tuple[str, ...]
    """Paragraphs."""
    decisions: tuple[Decision, ...]
    attribution: Attribution
    figures: tuple[DoseFigure, ...]
    cells: tuple[CellLine, ...]
    judge: JudgePanel | None
    awareness: tuple[AwarenessLine, ...]
    """Empty where the suite did not ask."""
    scorers: tuple[ScorerLine, ...] = ()
    validity: tuple[Check, ...]
    gallery: Gallery
    methods: tuple[FactGroup, ...]
    reproduce: tuple[FactGroup, ...]
    commands: tuple[str, ...]
    limits: tuple[str, ...]
