"""Verbs of concept banks: build, check, calibrate, show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.app import Model, Out, Seed, console, numbers, vectors, words

if TYPE_CHECKING:
    from evalharness.concepts.battery_record import Battery

BankFolder = Annotated[Path, typer.Argument(help="A bank folder.")]
SCENARIOS = "implicit_scenarios (English), none, or a file with concept, text; else by the stories."
STORIES = (
    "emotion_stories (171 emotions, ships along), organism (in the organisms' language), self (the checkpoint writes "
    "its own), or JSONL, Parquet or a hub data set with concept, topic, text."
)
NEUTRAL = "neutral_dialogues, organism, or JSONL, Parquet or a hub data set with text or messages."
Stories = Annotated[str, typer.Option("--stories", help=STORIES)]
Neutral = Annotated[str, typer.Option("--neutral", help=NEUTRAL)]
AsBuilt = Annotated[
    int | None, typer.Option("--skip", min=0, help="Tokens left out; without it as the bank was built.")
]


@vectors.command(
    epilog="Example: evalharness vectors build --model organism:emotional --stories organism --neutral organism "
    "--contrast organism --skip 20 --out banks/emotional"
)
def build(
    model: Model,
    out: Out,
    stories: Stories = "emotion_stories",
    neutral: Neutral = "neutral_dialogues",
    contrast: Annotated[
        str, typer.Option("--contrast", help="Unrelated pairs for controls: contrast_sets, organism, or a file.")
    ] = "contrast_sets",
    pairs: Annotated[
        str | None,
        typer.Option("--pairs", help="Difference of means over matched pairs (concept, side, pair, text) instead."),
    ] = None,
    layers: Annotated[str | None, typer.Option("--layers", help="Steered layers: 8,9. Without it by --depth.")] = None,
    depth: Annotated[float, typer.Option("--depth", help="Steered layer as a fraction of depth.")] = 0.5,
    skip: Annotated[
        int | None,
        typer.Option("--skip", min=0, help="Tokens at a text's start that are left out: 50, or 0 for --pairs."),
    ] = None,
    denoise: Annotated[float, typer.Option("--denoise", help="Share of neutral variance to remove; 0 is off.")] = 0.5,
    controls: Annotated[int, typer.Option("--controls", min=0, help="Gaussian and permuted controls, each.")] = 20,
    contrast_controls: Annotated[
        int, typer.Option("--contrast-controls", min=0, help="Controls from unrelated pairs.")
    ] = 14,
    concepts: Annotated[
        str | None, typer.Option("--concepts", help="With --stories self: calm,angry. Without it all 171.")
    ] = None,
    topics: Annotated[int, typer.Option("--topics", min=1, help="With --stories self: of 100 topics so many.")] = 24,
    per_topic: Annotated[int, typer.Option("--per-topic", min=1, help="With --stories self: stories each.")] = 1,
    seed: Seed = 0,
) -> int:
    """Extract concept vectors and controls, and check them on held-out material. Continues where it was stopped."""
    from evalharness.bankbuild import build_bank_into, build_pair_bank
    from evalharness.bankcheck import SELF
    from evalharness.checkpoint import resolve_checkpoint
    from evalharness.engine import Engine
    from evalharness.grid import Controls
    from evalharness.quality import emotion_words
    from evalharness.selfwritten import Writing, write_stories
    from evalharness.suite import BankSpec

    wanted = Controls(gaussian=controls, permuted=controls, contrast=contrast_controls, mean=True)
    engine = Engine.load(resolve_checkpoint(model))
    if stories == SELF:
        names = tuple(words(concepts) or emotion_words())
        writing = Writing(concepts=names, topics=topics, per_topic=per_topic, seed=seed)
        written = write_stories(engine, writing, out / SELF)
        told = ", ".join(f"{fault} {count}" for fault, count in sorted(written.rejected.items())) or "none"
        console.print(f"{written.accepted} of {written.wanted} stories accepted; rejected attempts: {told}")
        stories = str(written.stories)
    recipe = BankSpec(
        stories=stories,
        neutral=neutral,
        contrast=contrast,
        depth=depth,
        steer_layers=None if layers is None else [int(layer) for layer in layers.split(",")],
        skip=skip if skip is not None else (50 if pairs is None else 0),
        denoise=denoise,
        seed=seed,
    )
    if pairs is not None:
        build_pair_bank(engine, pairs, recipe, wanted).save(out)
    else:
        build_bank_into(engine, recipe, wanted, out)
    return show(out)


@vectors.command(
    epilog="Example: evalharness vectors check banks/emotional --model organism:emotional --stories organism "
    "--neutral organism"
)
def check(
    bank: BankFolder,
    model: Model,
    stories: Stories = "emotion_stories",
    neutral: Neutral = "neutral_dialogues",
    scenarios: Annotated[str | None, typer.Option("--scenarios", help=SCENARIOS)] = None,
    skip: AsBuilt = None,
    norms: Annotated[Path | None, typer.Option("--norms", help="CSV: word, valence, arousal. None ship along.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the results; else BANK/check.")] = None,
    seed: Seed = 1,
) -> int:
    """Run every check on a bank, write check.json, check.md and figures, and put the verdict into the bank.

    Exit code 1 where it fails; a run with such a bank can only end INVALID at a gate.
    """
    from evalharness.bankcheck import CheckRequest, check_folder
    from evalharness.checkpoint import resolve_checkpoint
    from evalharness.engine import Engine

    request = CheckRequest(
        stories=stories, neutral=neutral, scenarios=scenarios, skip=skip, norms=norms, out=out, seed=seed
    )
    with Engine.load(resolve_checkpoint(model)) as engine:
        battery = check_folder(engine, bank, request)
    _print_battery(battery)
    console.print(f"results in {out or bank / 'check'}")
    return 0 if battery.passed else 1


@vectors.command(
    epilog="Example: evalharness vectors calibrate banks/emotional --model organism:emotional --stories organism "
    "--neutral organism --scenario blackmail/organism --apply"
)
def calibrate(
    bank: BankFolder,
    model: Model,
    stories: Stories = "emotion_stories",
    neutral: Neutral = "neutral_dialogues",
    skip: AsBuilt = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Layers to try: 8,9. Without it the bank's from 40 to 75 % of depth.")
    ] = None,
    concepts: Annotated[
        str | None, typer.Option("--concepts", help="Concepts to steer. Without it desperate,calm where there are.")
    ] = None,
    strengths: Annotated[
        str | None, typer.Option("--strengths", help="Strengths to try with both signs: 0.05,0.1")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Texts per condition.")] = 16,
    prompts: Annotated[
        str | None, typer.Option("--prompts", help="JSONL or Parquet with text or messages. Else everyday questions.")
    ] = None,
    scenario: Annotated[str | None, typer.Option("--scenario", help="Prompts of this scenario instead.")] = None,
    variant: Annotated[str, typer.Option("--variant", help="With --scenario.")] = "main",
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Without it the scenario's, or 128.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Regular expression found in an answer of the right form.")
    ] = None,
    max_nll_ratio: Annotated[
        float, typer.Option("--max-nll-ratio", min=0.01, help="Steered against unsteered negative log-likelihood.")
    ] = 1.25,
    seed: Seed = 1,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to: BANK/calibration.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Make the picked layer the bank's steer layer.")] = False,
) -> int:
    """Find the layer and the strengths that a bank can be steered with. Exit code 1 where there are none."""
    from evalharness import calibrating
    from evalharness.checkpoint import resolve_checkpoint
    from evalharness.concepts import CalibrationSpec, ConceptBank
    from evalharness.concepts.calibration import GuardBars
    from evalharness.concepts.sweep import STRENGTHS
    from evalharness.engine import Engine
    from evalharness.report.calibration import calibration_lines, calibration_table

    if prompts is not None and scenario is not None:
        raise typer.BadParameter("--prompts and --scenario exclude one another")
    tried = numbers(strengths)
    spec = CalibrationSpec(
        layers=None if layers is None else tuple(int(layer) for layer in numbers(layers) or ()),
        concepts=None if concepts is None else tuple(words(concepts) or ()),
        strengths=STRENGTHS if tried is None else tuple(tried),
        samples=samples,
        bars=GuardBars(max_nll_ratio=max_nll_ratio),
        seed=seed,
    )
    loaded = ConceptBank.load(bank)
    engine = Engine.load(resolve_checkpoint(model))
    if scenario is not None:
        trial = calibrating.scenario_trial(scenario, variant, samples, seed, max_new_tokens)
    elif prompts is not None:
        trial = calibrating.file_trial(prompts, samples, max_new_tokens)
    else:
        trial = calibrating.dialogue_trial(engine, samples, max_new_tokens)
    corpora = calibrating.corpora_of(loaded, stories, neutral, skip, seed)
    folder = out or bank / "calibration"
    found = calibrating.calibrate_into(engine, loaded, corpora, replace(trial, format=form), spec, folder)
    console.print(calibration_table(found))
    for line in calibration_lines(found):
        console.print(line, soft_wrap=True)
    console.print(f"written: {folder}", soft_wrap=True)
    if apply:
        done = calibrating.apply(loaded, found, bank)
        console.print(f"bank now steers layer {found.picked}" if done else "bank left as it was")
    return 1 if found.reasons else 0


@vectors.command(epilog="Example: evalharness vectors show banks/emotional")
def show(bank: BankFolder) -> int:
    """Print what a bank holds and how its held-out check ended."""
    from evalharness.concepts import ConceptBank

    loaded = ConceptBank.load(bank)
    console.print(f"{len(loaded.concepts)} concepts: {', '.join(loaded.concepts)}")
    console.print(f"{len(loaded.controls)} controls; layers {list(loaded.layers)}, steered {list(loaded.steer_layers)}")
    norms = ", ".join(f"{layer}: {loaded.mean_norm(layer):.2f}" for layer in loaded.layers)
    console.print(f"mean residual norm by layer: {norms}")
    console.print(f"model sha256 {loaded.model_sha256}")
    state = "not run: evalharness vectors check" if loaded.battery is None else "run, its verdict is below"
    console.print(f"whole check: {state}")
    if loaded.check is None:
        console.print("held-out check: never run; a run with this bank can only end INVALID")
    else:
        console.print_json(loaded.check.model_dump_json())
    return 0


def _print_battery(battery: Battery) -> None:
    from rich.table import Table

    from evalharness.concepts.battery_tables import verdict_lines

    table = Table("part", "found", "bar", "result")
    for line in verdict_lines(battery):
        table.add_row(*line)
    console.print(table)
    for reason in battery.reasons:
        console.print(f"failed: {reason}")
    console.print("passed" if battery.passed else "failed: a run with this bank can only end INVALID")
