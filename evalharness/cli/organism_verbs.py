"""Verbs of the known-answer models: list, train, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalharness.cli.app import Out, Seed, console, organism

Name = Annotated[str, typer.Argument(help="emotional, strategic, safe or judge.")]


@organism.command("list", epilog="Example: evalharness organism list")
def list_organisms() -> None:
    """Name the organisms and where they lie."""
    from evalharness.checkpoint import organism_folder, organism_names

    for name in organism_names():
        console.print(f"{name:10} {organism_folder() / name}")


@organism.command(epilog="Example: evalharness organism train safe --out organisms/safe")
def train(name: Name, out: Out, seed: Seed = 0) -> None:
    """Train one from scratch on CPU, to its step budget."""
    from evalharness.organisms.train import train as train_organism

    train_organism(name, out, seed)


@organism.command(epilog="Example: evalharness organism verify judge --samples 200")
def verify(
    name: Name,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Samples per cell.")] = 500,
    seed: Seed = 1,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A checkpoint folder instead of the shipped one.")
    ] = None,
    strength: Annotated[
        float, typer.Option("--strength", min=0.01, max=0.25, help="The strength s of the bounds.")
    ] = 0.25,
    card: Annotated[
        bool, typer.Option("--card", help="Write the model card and card.json beside the weights.")
    ] = False,
) -> None:
    """Measure again what the model card says, from the weights."""
    from evalharness.organisms.verify import verify as verify_organism

    console.print(verify_organism(name, samples=samples, seed=seed, weights=weights, strength=strength, card=card))
