"""A battery as tables: the lines of its verdict, for a terminal, and the whole of it as Markdown. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from evalharness.concepts.battery_record import Battery, Geometry, Implicit, Lens, Numeric

State = Literal["passed", "failed", "reported", "not run"]
MOST_WORDS = 10


class Line(NamedTuple):
    """One part of the battery."""

    part: str
    found: str
    bar: str
    state: State


def verdict_lines(battery: Battery) -> list[Line]:
    """What every part found and which bar it had, the required parts first."""
    held, bars = battery.held_out, battery.required
    return [
        Line(
            "held-out stories",
            f"top-1 {held.top1:.3f}, top-5 {held.top5:.3f} of {held.n_heldout} (chance {held.chance:.3f}), "
            f"p = {held.p_value:.3f}; twin {held.twin_top1:.3f}, p = {held.twin_p_value:.3g}",
            f"p <= {bars['held_out_max_p']:g}; {bars['held_out_min_times_chance']:g} x chance; above the twin by "
            f"{bars['held_out_min_margin_times_chance']:g} x chance",
            "passed" if held.passed else "failed",
        ),
        _implicit_line(battery),
        _stability_line(battery),
        Line(
            "bag of words",
            f"top-1 {battery.bag_of_words.top1:.3f}, top-5 {battery.bag_of_words.top5:.3f}, "
            f"{battery.bag_of_words.n_words} words",
            "",
            "reported",
        ),
        _numeric_line(battery),
        Line("logit lens", battery.not_run.get("lens", "see the table"), "", _reported(battery.lens)),
        _geometry_line(battery),
    ]


def markdown(battery: Battery, figures: Sequence[str]) -> str:
    """The whole check as Markdown; `figures` are file names beside it."""
    parts = [
        "# Check of a concept bank",
        f"**{'passed' if battery.passed else 'failed'}** at layers {', '.join(map(str, battery.layers))}; model sha256 "
        f"`{battery.model_sha256}`.",
        "\n".join(f"- {_text(reason)}" for reason in battery.reasons),
        _table(Line._fields, verdict_lines(battery)),
        "\n\n".join(f"![{name.removesuffix('.svg')}]({name})" for name in figures),
    ]
    if battery.implicit is not None:
        parts += ["## Implicit scenarios", _implicit_text(battery.implicit)]
    if battery.numeric is not None:
        parts += ["## Numeric templates", _numeric_text(battery.numeric)]
    if battery.lens is not None:
        parts += ["## Logit lens", _lens_text(battery.lens)]
    if battery.geometry is not None:
        parts += ["## Geometry", _geometry_text(battery.geometry)]
    if battery.stability is not None:
        cosines = sorted(battery.stability.cosines.items(), key=lambda item: item[1])
        parts += ["## Stability", _table(("concept", "cosine of halves"), [(n, f"{c:.3f}") for n, c in cosines])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _implicit_line(battery: Battery) -> Line:
    found = battery.implicit
    if found is None:
        return Line("implicit scenarios", battery.not_run["implicit"], "", "not run")
    failed = found.model.p_value > battery.required["implicit_max_p"] or found.model.top1 <= max(
        found.chance, found.twin.top1
    )
    return Line(
        "implicit scenarios",
        f"top-1 {found.model.top1:.3f} of {found.n} on {len(found.targets)} concepts (chance {found.chance:.3f}), "
        f"p = {found.model.p_value:.3f}; twin {found.twin.top1:.3f}",
        f"p <= {battery.required['implicit_max_p']:g}; above the twin"
        if found.required
        else f"none below {battery.required['implicit_min_targets']:g} concepts",
        "reported" if not found.required else "failed" if failed else "passed",
    )


def _stability_line(battery: Battery) -> Line:
    found = battery.stability
    if found is None:
        return Line("stability", battery.not_run["stability"], "", "failed")
    own = [] if found.bank_median is None else [found.bank_median]
    text = f"median cosine of halves {found.median:.3f} ({found.low:.3f} to {found.high:.3f})"
    return Line(
        "stability",
        text + "".join(f"; bank against these stories {median:.3f}" for median in own),
        f"above shuffled labels, {found.bar:.3f}",
        "passed" if min([found.median, *own]) > found.bar else "failed",
    )


def _numeric_line(battery: Battery) -> Line:
    found = battery.numeric
    if found is None:
        return Line("numeric templates", battery.not_run["numeric"], "", "not run")
    return Line(
        "numeric templates", f"{found.n_agree} of {found.n} signs as expected, p = {found.p_value:.3f}", "", "reported"
    )


def _geometry_line(battery: Battery) -> Line:
    found = battery.geometry
    if found is None:
        return Line("geometry", battery.not_run["geometry"], "", "not run")
    shares = ", ".join(f"PC{number + 1} {share:.0%}" for number, share in enumerate(found.variance_shares[:3]))
    rated = found.norms
    if rated is None:
        return Line("geometry", shares, "", "reported")
    with_norms = f"; PC1 with valence r = {rated.valence[0]:.2f}, PC2 with arousal r = {rated.arousal[1]:.2f}"
    return Line("geometry", f"{shares}{with_norms} ({rated.n} words)", "", "reported")


def _reported(found: object | None) -> State:
    return "not run" if found is None else "reported"


def _implicit_text(found: Implicit) -> str:
    note = f"Rows are vectors, columns scenarios; mean centred cosine at the last token of the prompt ({found.prompt})."
    tables = [
        f"{who}, layers {', '.join(map(str, reading.layers))}, top-1 {reading.top1:.3f}:\n\n"
        + _table(
            ("", *found.targets),
            [
                (name, *(f"{cosine:+.2f}" for cosine in row))
                for name, row in zip(found.targets, reading.cosines, strict=True)
            ],
        )
        for who, reading in (("Model", found.model), ("Random twin with its own vectors", found.twin))
    ]
    return "\n\n".join([note, *tables])


def _numeric_text(found: Numeric) -> str:
    head = ("template", "concept", "expected", "Spearman", "got", "agrees")
    return _table(
        head,
        [
            (
                sign.template,
                sign.concept,
                sign.expected,
                "" if sign.spearman is None else f"{sign.spearman:+.2f}",
                sign.got,
                "yes" if sign.agrees else "no",
            )
            for sign in found.signs
        ],
    )


def _lens_text(lens: Lens) -> str:
    rows = [
        (name, " ".join(map(_token, words.top[:MOST_WORDS])), " ".join(map(_token, words.bottom[:MOST_WORDS])))
        for name, words in lens.words.items()
    ]
    return f"At layer {lens.layer}.\n\n" + _table(("concept", "more likely", "less likely"), rows)


def _geometry_text(found: Geometry) -> str:
    shares = ", ".join(f"{share:.1%}" for share in found.variance_shares)
    groups = "\n".join(f"- {', '.join(map(_text, group))}" for group in found.clusters)
    text = f"At layer {found.layer}. Shares of variance: {shares}.\n\nClusters:\n\n{groups}"
    if found.norms is None:
        return text
    rows = [
        (f"PC{number + 1}", f"{valence:+.2f}", f"{arousal:+.2f}")
        for number, (valence, arousal) in enumerate(zip(found.norms.valence, found.norms.arousal, strict=True))
    ]
    return f"{text}\n\nOver {found.norms.n} rated words:\n\n" + _table(("", "valence r", "arousal r"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[_text(cell) for cell in row] for row in rows]
    names = [_text(name) for name in head]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, ["---"] * len(names), *lines])


def _token(text: str) -> str:
    """A token in marks that show where it has spaces."""
    return f"⟨{text}⟩".replace("\n", "⏎")


def _text(text: str) -> str:
    """Words of a corpus or a vocabulary are strangers' words: no markup, no line breaks."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!&~$" else sign for sign in text)
    return " ".join(part for part in escaped.split() if part) or " "
