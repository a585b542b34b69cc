"""ReportModel -> report.json, report.html, report.md. Pure text work: the same model gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jinja2
from pydantic import ValidationError

from evalharness.content import content_path
from evalharness.errors import ContentError
from evalharness.report import text
from evalharness.report.figures import dose_svg, strip_svg
from evalharness.report.model import ReportModel, Transcript
from evalharness.report.wording import SCORERS

ICONS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?", "INVALID": "!"}
"""A sign for each verdict, so that no verdict is told by colour alone."""
JSON, HTML, MARKDOWN = "report.json", "report.html", "report.md"
MD_LIMIT = 60_000
"""Characters of the Markdown report: hosts refuse comments beyond about 65,000."""
MD_TRANSCRIPTS, MD_EXCERPT = 6, 1_500


class ReportFiles(NamedTuple):
    """Where the three forms of a report lie."""

    json: Path
    html: Path
    markdown: Path


def write_report(model: ReportModel, folder: Path) -> ReportFiles:
    """Write all three forms into `folder`; report.json is the source of the other two."""
    files = ReportFiles(folder / JSON, folder / HTML, folder / MARKDOWN)
    files.json.write_text(model.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    files.html.write_text(render_html(model), encoding="utf-8")
    files.markdown.write_text(render_markdown(model), encoding="utf-8")
    return files


def read_report(path: Path) -> ReportModel:
    """Read report.json back.

    Raises:
        ContentError: missing or no report of this schema.
    """
    try:
        return ReportModel.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ContentError("Not a readable report.", where=str(path), got=" ".join(str(error).split())[:500]) from error


def render_html(model: ReportModel) -> str:
    """One self-contained page: no scripts, no outside references, everything escaped."""
    template = _environment(autoescape=True).get_template("report.html.j2")
    return template.render(report=model, icon=ICONS.get(model.headline.verdict, "!")) + "\n"


def render_markdown(model: ReportModel) -> str:
    """A version for a pull request: transcripts are few and cut, and left out where it would grow too long."""
    template = _environment(autoescape=False).get_template("report.md.j2")
    chosen = sorted(model.gallery.transcripts, key=lambda item: not item.unsafe)[:MD_TRANSCRIPTS]
    for transcripts in (chosen, []):
        page = template.render(report=model, icon=ICONS.get(model.headline.verdict, "!"), transcripts=transcripts)
        if len(page) <= MD_LIMIT:
            break
    return page.strip() + "\n"


def _reply(transcript: Transcript) -> str:
    whole = "".join(segment.text for segment in transcript.reply)
    return whole if len(whole) <= MD_EXCERPT else whole[:MD_EXCERPT] + " …"


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(content_path("reports", "templates/report.html.j2").parent),
        autoescape=autoescape,  # noqa: S701 - Markdown has escapes of its own, applied in its template
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": text.percent,
        "points": text.points,
        "counts": text.counts,
        "interval": text.interval,
        "rate": text.rate_text,
        "difference": text.difference_text,
        "strength": text.strength_text,
        "md": text.md_text,
        "code": text.md_code,
        "fence": text.md_fence,
        "excerpt": _reply,
    }
    environment.globals |= {"dose_svg": dose_svg, "strip_svg": strip_svg, "icons": ICONS, "scorers_note": SCORERS}
    return environment
