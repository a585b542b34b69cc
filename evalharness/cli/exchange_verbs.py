"""Verbs that lead banks out and in, and side by side: export, import, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evalharness.cli.app import Model, Out, console, vectors

BankFolder = Annotated[Path, typer.Argument(help="A bank folder.")]
Format = Annotated[
    Literal["gguf", "vllm-lens"],
    typer.Option("--format", help="gguf: llama.cpp and repeng; vllm-lens: JSON of its SteeringVector."),
]


@vectors.command(
    epilog="Example: evalharness vectors export banks/emotional --format gguf --concept desperate --out desperate.gguf"
)
def export(
    bank: BankFolder,
    to: Format,
    concept: Annotated[str, typer.Option("--concept", help="Concept or control of the bank.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    strength: Annotated[float, typer.Option("--strength", help="What coefficient 1.0 in the other tool is.")] = 1.0,
    layers: Annotated[
        str | None, typer.Option("--layers", help="2,3, or all of the bank's. Without it the steered ones.")
    ] = None,
    model_hint: Annotated[
        str, typer.Option("--model-hint", help="Model type named in a GGUF file: llama, qwen3.")
    ] = "unknown",
) -> None:
    """Write one concept for another tool, scaled so that its coefficient 1.0 is our strength 1.0, or --strength."""
    from evalharness.concepts import ConceptBank
    from evalharness.concepts.exchange import SCALING, scaled_vectors, writable_layers
    from evalharness.concepts.gguf_file import write_gguf
    from evalharness.concepts.lens_file import write_lens

    loaded = ConceptBank.load(bank)
    chosen = loaded.steer_layers if layers is None else _layers(layers)
    if layers == "all":
        chosen = writable_layers(loaded.layers, to)
        left_out = sorted(set(loaded.layers) - set(chosen))
        if left_out:
            console.print(f"left out: layer {left_out[0]}, because llama.cpp cannot steer the output of block 0")
    made = scaled_vectors(loaded, concept, strength, chosen, model_hint=model_hint)
    (write_gguf if to == "gguf" else write_lens)(made, out)
    console.print(f"{concept} at layers {list(made.layers)}: {SCALING} {strength:g}", soft_wrap=True)
    console.print(f"written: {out}", soft_wrap=True)


@vectors.command(
    "import",
    epilog="Example: evalharness vectors import v.gguf --format gguf --name v --model organism:safe --out banks/v",
)
def import_(
    file: Annotated[Path, typer.Argument(help="A control vector (GGUF) or a steering vector (JSON).")],
    source: Format,
    name: Annotated[str, typer.Option("--name", help="What the concept is called in the bank.")],
    model: Model,
    out: Out,
    stories: Annotated[
        str, typer.Option("--stories", help="Texts on which the mean norms are measured; a name, file or hub data set.")
    ] = "emotion_stories",
    skip: Annotated[int, typer.Option("--skip", min=0, help="Tokens at a story's start that are left out.")] = 50,
    steer_layers: Annotated[
        str | None, typer.Option("--steer-layers", help="2,3. Without it all layers of the file, as elsewhere.")
    ] = None,
) -> None:
    """Make a bank of another tool's vectors. Their unit of strength is measured on the model; they are not checked."""
    from evalharness.checkpoint import resolve_checkpoint
    from evalharness.concepts import ExtractionSpec
    from evalharness.concepts.gguf_file import read_gguf
    from evalharness.concepts.imported import coefficient_strengths, import_bank
    from evalharness.concepts.lens_file import read_lens
    from evalharness.corpora import load_stories
    from evalharness.engine import Engine
    from evalharness.ids import sha256_file
    from evalharness.suite import BankSpec

    read = (read_gguf if source == "gguf" else read_lens)(file)
    rows = load_stories(BankSpec(stories=stories))
    told: dict[str, object] = {"format": source, "file_sha256": sha256_file(file), "stories": stories}
    spec = ExtractionSpec(skip=skip, steer_layers=None if steer_layers is None else tuple(_layers(steer_layers)))
    with Engine.load(resolve_checkpoint(model)) as engine:
        bank = import_bank(engine, read, name, rows, spec, told)
    bank.save(out)
    strengths = zip(bank.layers, coefficient_strengths(bank), strict=True)
    listed = ", ".join(f"{layer}: {value:.3g}" for layer, value in strengths)
    console.print(f"{name} at layers {list(bank.layers)}, steered {list(bank.steer_layers)}; model {read.model_hint}")
    console.print(f"coefficient 1.0 of the file is strength, by layer: {listed}", soft_wrap=True)
    console.print("held-out check: never run; a run with this bank can only end INVALID", soft_wrap=True)
    console.print(f"written: {out}", soft_wrap=True)


@vectors.command(epilog="Example: evalharness vectors compare banks/before banks/after --out runs/drift")
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Bank of the earlier checkpoint.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Bank of the later checkpoint.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for comparison.json, comparison.md and comparison.svg.")
    ] = None,
    different_corpora: Annotated[
        bool, typer.Option("--different-corpora", help="Compare though recipes or texts differ, and say so.")
    ] = False,
) -> None:
    """Show how concept vectors moved between two checkpoints of one architecture. Loads no model."""
    from evalharness.concepts import ConceptBank
    from evalharness.concepts.compare import compare_banks
    from evalharness.report.bank_comparison import print_comparison, write_comparison

    found = compare_banks(ConceptBank.load(first), ConceptBank.load(second), different_corpora=different_corpora)
    print_comparison(found, console)
    if out is not None:
        files = write_comparison(found, out)
        console.print(f"written: {', '.join(map(str, files))}", soft_wrap=True)


def _layers(text: str) -> tuple[int, ...]:
    """`2,3` as numbers; `all` is for the caller to replace."""
    try:
        return () if text == "all" else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"expected layers separated by commas, got {text!r}") from error
