"""A bank's calibration in words: the table by layer, the curve of the picked layer, and what it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from evalharness.concepts import BankCalibration

LAYER_COLUMNS = ("layer", "depth", "check", "top-1", "twin", "margin", "p", "usable up to")
CURVE_COLUMNS = ("concept", "strength", "nll ratio", "repetition", "ended", "format", "norm", "usable")


def layer_rows(found: BankCalibration) -> list[tuple[str, ...]]:
    """One row per swept layer; the picked one carries a star."""
    rows: list[tuple[str, ...]] = []
    for layer in found.layers:
        window = "not steered" if layer.window is None else f"{layer.window:g}{'+' if layer.open_ended else ''}"
        rows.append(
            (
                f"{layer.layer}{' *' if layer.layer == found.picked else ''}",
                f"{100 * layer.depth:.0f} %",
                "passed" if layer.check.passed else "failed",
                f"{layer.check.top1:.3f}",
                f"{layer.check.twin_top1:.3f}",
                f"{layer.check.margin:.3f}",
                f"{layer.check.p_value:.3f}",
                window,
            )
        )
    return rows


def curve_rows(found: BankCalibration) -> list[tuple[str, ...]]:
    """The unsteered texts, then every point at the picked layer."""
    base = found.unsteered
    shares = (f"{base.repetition:.3f}", f"{base.ended:.3f}", _share(base.matched))
    rows: list[tuple[str, ...]] = [("(unsteered)", "0", "1.000", *shares, "", "")]
    for point in found.picked_layer.curve:
        read = point.coherence
        rows.append(
            (
                point.concept,
                f"{point.strength:+g}",
                "-" if point.nll_ratio is None else f"{point.nll_ratio:.3f}",
                f"{read.repetition:.3f}",
                f"{read.ended:.3f}",
                _share(read.matched),
                f"{point.mean_relative_norm:.3f}",
                "no: " + "; ".join(point.faults) if point.faults else "yes",
            )
        )
    return rows


def calibration_lines(found: BankCalibration) -> Iterator[str]:
    """The result in a few sentences."""
    picked = found.picked_layer
    if found.reasons:
        yield f"nothing to steer with: {'; '.join(found.reasons)}"
    else:
        more = " or more: no stronger one was tried" if picked.open_ended else ""
        yield f"layer {found.picked}, usable up to strength {picked.window:g}{more}"
        yield f"ladder: {', '.join(f'{strength:+g}' for strength in found.ladder)}"
    trial = found.trial
    yield (
        f"measured on {trial.n_prompts} prompts of {trial.prompt_tokens[0]} to {trial.prompt_tokens[1]} tokens "
        f"({trial.prompts}), at most {trial.max_new_tokens} new tokens, {found.samples} texts per condition: "
        "other lengths have other windows"
    )
    if found.samples * found.bars.max_format_drop < 1:
        yield f"{found.samples} texts are few: one of them is more than the bar of {found.bars.max_format_drop:g}"


def calibration_table(found: BankCalibration) -> Table:
    """The layers, for a terminal."""
    table = Table(title="layers", title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in LAYER_COLUMNS:
        table.add_column(heading, no_wrap=True)
    for row in layer_rows(found):
        table.add_row(*row)
    return table


def calibration_markdown(found: BankCalibration, figure: str) -> str:
    """The whole result as a page; `figure` is the address of the plot."""
    bars = found.bars
    parts = [
        "# Calibration of a concept bank",
        "\n".join(
            f"- {line}" for line in (*calibration_lines(found), f"model {found.model_source}, {found.model_sha256}")
        ),
        f"![Held-out check and guard by layer and strength]({figure})",
        "## Layers",
        _markdown_table(LAYER_COLUMNS, layer_rows(found)),
        f"## Strengths at layer {found.picked}",
        f"Usable: negative log-likelihood under the unsteered model at most {bars.max_nll_ratio:g} times that of "
        f"unsteered texts, repetition at most {bars.max_repetition_rise:g} above theirs, the shares that end by "
        f"themselves and match the format at most {bars.max_format_drop:g} below theirs. `norm` is the mean size of "
        "the change relative to the residual stream, as the receipts show it.",
        _markdown_table(CURVE_COLUMNS, curve_rows(found)),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
