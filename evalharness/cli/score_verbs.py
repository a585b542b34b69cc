"""Verbs of scoring: score a run folder again, measure scorers on anchors, hand transcripts to people, agreement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evalharness.cli.app import console, score

if TYPE_CHECKING:
    from evalharness.gate import Policy
    from evalharness.runfolder import RunFolder

Folder = Annotated[Path, typer.Argument(help="A run folder.")]
Graders = Annotated[
    list[str] | None, typer.Option("--grader", help="Inspect model that judges; several times for a panel that votes.")
]
SelfGrade = Annotated[bool, typer.Option("--self-grade", help="Let a grader be the model under test.")]
PolicyOption = Annotated[str | None, typer.Option("--policy", help="The run's own one if not given.")]
Seed = Annotated[int, typer.Option("--seed", help="Draw and order follow from it.")]
Rubric = Annotated[str | None, typer.Option("--rubric", help="Rubric name or path instead of the scenarios' own.")]


@score.command("run", epilog="Example: evalharness score runs/demo/safe --grader steered/organism:judge")
def run(
    folder: Folder,
    grader: Graders = None,
    rubric: Rubric = None,
    rules: Annotated[bool, typer.Option("--rules", help="Apply the rules of today again.")] = False,
    policy: PolicyOption = None,
    self_grade: SelfGrade = False,
) -> None:
    """Score a finished run again without its model, and assess. Earlier scores stay. `score DIR` does the same."""
    from evalharness.rescoring import ScoreOrder, rescore
    from evalharness.summary import print_summary

    opened, chosen = _open(folder, policy)
    order = ScoreOrder(graders=tuple(grader or ()), rubric=rubric, rules=rules, self_grade=self_grade)
    print_summary(folder.name, rescore(opened, order, chosen), console)
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True)


@score.command(epilog="Example: evalharness score anchors --family blackmail --split dev")
def anchors(
    family: Annotated[str | None, typer.Option("--family", help="Every family with anchors if not given.")] = None,
    split: Annotated[Literal["dev", "test"], typer.Option("--split", help="test: not for tuning.")] = "dev",
    grader: Graders = None,
    rubric: Rubric = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write everything to this JSON file as well.")] = None,
) -> None:
    """Measure scorers on transcripts whose label is settled: sensitivity, specificity, abstentions, with bounds."""
    from evalharness.anchoring import measure_all
    from evalharness.report.scorers import print_measured

    found = measure_all(family, split, tuple(grader or ()), rubric)
    print_measured(found, console)
    if out is not None:
        text = json.dumps([each.quality.model_dump(mode="json") for each in found], indent=1, sort_keys=True)
        out.write_text(text + "\n", encoding="utf-8")
        console.print(f"written: {out}", soft_wrap=True)


@score.command("export-labels", epilog="Example: evalharness score export-labels runs/demo/safe --out labels")
def export_labels(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="New folder for transcripts.jsonl and label.html.")],
    sample: Annotated[int, typer.Option("--sample", min=1, help="Transcripts to hand out.")] = 100,
    seed: Seed = 0,
    per: Annotated[
        Literal["outcome", "cell"] | None, typer.Option("--per", help="Equal shares of each outcome or cell.")
    ] = None,
    policy: PolicyOption = None,
) -> None:
    """Write transcripts for people to label: shuffled, without condition or outcome, with a page that works offline."""
    from evalharness.labelling import Draw, export_blind

    opened, chosen = _open(folder, policy)
    written = export_blind(opened, out, Draw(size=sample, seed=seed, per=per), chosen)
    console.print(f"{written.size} transcripts: {written.lines}, {written.page}", soft_wrap=True)
    console.print(f"the key stays in the run folder: {written.key}", soft_wrap=True)


@score.command(
    "import-labels", epilog="Example: evalharness score import-labels runs/demo/safe labels/labels.jsonl --who ann"
)
def import_labels(
    folder: Folder,
    labels: Annotated[Path, typer.Argument(help="JSONL that the page saved: id, label, note.")],
    who: Annotated[str, typer.Option("--who", help="Whose labels these are.")],
    policy: PolicyOption = None,
) -> None:
    """Add a person's labels to a run folder, as a column of their own."""
    from evalharness.labelling import import_people

    opened, chosen = _open(folder, policy)
    path, count = import_people(opened, labels, who, chosen)
    console.print(f"{count} labels of {who}: {path}", soft_wrap=True)


@score.command(epilog="Example: evalharness score agreement runs/demo/safe")
def agreement(
    folder: Folder,
    show: Annotated[int, typer.Option("--show", min=0, help="Disagreements to list.")] = 20,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Write everything to this JSON file as well.")] = None,
) -> None:
    """Compare rules, judges and people: confusion, kappa, alpha, AC1 with bounds, and disagreements, worst first."""
    from evalharness.labelling import agreement_of
    from evalharness.report.scorers import print_agreement

    opened, _ = _open(folder, None)
    found = agreement_of(opened, seed)
    print_agreement(found, show, console)
    if out is not None:
        out.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {out}", soft_wrap=True)


def _open(folder: Path, policy: str | None) -> tuple[RunFolder, Policy]:
    """The folder and the policy that it is assessed by: the one that it was registered under, if none is named."""
    from evalharness.gate import load_policy
    from evalharness.runfolder import RunFolder

    opened = RunFolder(folder)
    return opened, load_policy(policy or str(opened.read_config()["policy"]))
