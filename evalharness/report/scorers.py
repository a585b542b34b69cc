"""How good the scorers are: lines of a report, and what a terminal shows of anchors and of agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalharness.agreement import AgreementReport, PairAgreement
from evalharness.report.model import Rate, ScorerLine
from evalharness.report.text import one_line, rate_text
from evalharness.sensitivity import Hits, Measured, UsedScorer, wrong
from evalharness.stats.agreement import Agreement

SHOWN_ERRORS = 12
NO_ANCHORS = "not measured: no anchors for it"


def scorer_lines(verdict: Mapping[str, Any]) -> tuple[ScorerLine, ...]:
    """The scorers whose scores the rows stand on, as the verdict has them on record."""
    return tuple(_line(UsedScorer.model_validate(told)) for told in verdict["instrument"].get("scorers", []))


def _line(used: UsedScorer) -> ScorerLine:
    quality = used.quality
    return ScorerLine(
        scorer=one_line(used.scorer.title),
        kind=used.scorer.kind,
        family=one_line(used.scorer.family),
        sha256=one_line(used.scorer.sha256),
        rows=used.rows,
        anchors=NO_ANCHORS if quality is None else f"{quality.n}, split {quality.split}, {quality.abstained} abstained",
        sensitivity=_rate(quality.sensitivity if quality is not None else None),
        specificity=_rate(quality.specificity if quality is not None else None),
        sensitivity_lower_95=None if quality is None else quality.sensitivity.lower_95,
        specificity_lower_95=None if quality is None else quality.specificity.lower_95,
    )


def _rate(hits: Hits | None) -> Rate:
    if hits is None:
        return Rate(k=0, n=0, rate=None, low=None, high=None, undefined_why="not measured")
    return Rate(
        k=hits.k, n=hits.n, rate=hits.value, low=hits.low, high=hits.high, undefined_why="" if hits.n else "no anchors"
    )


def print_measured(found: Sequence[Measured], console: Console) -> None:
    """One table over all scorers, one for each of them by class, and the anchors that they got wrong."""
    table = _table(
        "unsafe against the rest, Wilson 95 %, one-sided lower bound",
        ["scorer", "family", "anchors", "sensitivity", "specificity", "abstained"],
    )
    for quality, _ in found:
        row = (quality.title, quality.family, f"{quality.n} {quality.split}")
        table.add_row(
            *map(Text, (*row, _text(quality.sensitivity), _text(quality.specificity), f"{quality.abstained}"))
        )
    console.print(table)
    for quality, marked in found:
        classes = _table(f"{quality.title}: by class", ["outcome", "sensitivity", "specificity"])
        for name, hits in quality.per_class.items():
            classes.add_row(*map(Text, (name, _text(hits.sensitivity), _text(hits.specificity))))
        console.print(classes)
        kinds = ", ".join(f"{kind} {right}/{count}" for kind, (right, count) in quality.right_by_kind.items())
        console.print(one_line(f"right by kind: {kinds}", 2000), soft_wrap=True)
        errors = wrong(marked)
        for one in errors[:SHOWN_ERRORS]:
            said = one.given or "abstained"
            console.print(one_line(f"  wrong: {one.id} ({one.kind}) is {one.label}, said {said}"), soft_wrap=True)
        if len(errors) > SHOWN_ERRORS:
            console.print(f"  and {len(errors) - SHOWN_ERRORS} more")


def _text(hits: Hits) -> str:
    return f"{rate_text(_rate(hits))}, ≥ {100 * hits.lower_95:.1f} %"


def print_agreement(found: AgreementReport, show: int, console: Console) -> None:
    """Pairs of raters with confusion and measures, all raters together, then disagreements."""
    for pair in found.pairs:
        _print_pair(pair, console)
    said = ", ".join(f"{name} {count}" for name, count in found.rated.items())
    console.print(one_line(f"samples: {said}", 1000), soft_wrap=True)
    together = f"alpha {_measure(found.all_alpha)}, AC1 {_measure(found.all_ac1)}"
    console.print(f"all raters, unsafe or not: {together}", soft_wrap=True)
    console.print(f"{len(found.disagreements)} disagreements, worst first")
    for item in found.disagreements[:show]:
        labels = ", ".join(f"{rater}: {label}" for rater, label in item.labels.items())
        console.print(one_line(f"  {item.id}  {labels}", 500), soft_wrap=True)


def _print_pair(pair: PairAgreement, console: Console) -> None:
    console.print(one_line(f"{pair.first} (rows) against {pair.second} (columns), {pair.scale}"), soft_wrap=True)
    table = _table("", ["", *pair.labels])
    for label, counts in zip(pair.labels, pair.table, strict=True):
        table.add_row(Text(label), *map(str, counts))
    console.print(table)
    measures = f"kappa {_measure(pair.kappa)}, alpha {_measure(pair.alpha)}, AC1 {_measure(pair.ac1)}"
    console.print(f"n {pair.kappa.n}: {measures}\n", soft_wrap=True)


def _measure(found: Agreement) -> str:
    if found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return f"{found.value:.3f} (no spread to resample)"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    return table
