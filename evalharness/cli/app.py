"""The typer application and the options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from typer.core import TyperGroup

app = typer.Typer(
    name="evalharness",
    help="Pre-deployment safety evaluation: concept vectors, steered rollouts, honest bounds, a deployment gate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
vectors = typer.Typer(
    help="Concept banks: build, check, calibrate, show, export, import, compare.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
organism = typer.Typer(help="The known-answer models that ship along.", no_args_is_help=True, rich_markup_mode=None)
scenarios = typer.Typer(help="Scenario files: list, show, check.", no_args_is_help=True, rich_markup_mode=None)


class _RunByDefault(TyperGroup):
    """A group whose verb `run` needs no name: `evalharness score DIR` is `evalharness score run DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options that come first are those of `run`."""
        known = (*self.commands, "-h", "--help")
        named = not args or args[0] in known or not args[0].startswith("-")
        return super().parse_args(ctx, args if named else ["run", *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What is no verb is a folder."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


score = typer.Typer(
    cls=_RunByDefault,
    help="Score run folders again, measure scorers, hand transcripts to people. `score DIR` is `score run DIR`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(vectors, name="vectors")
app.add_typer(organism, name="organism")
app.add_typer(scenarios, name="scenarios")
app.add_typer(score, name="score")

console = Console(highlight=False, markup=False)

Model = Annotated[str, typer.Option("--model", help="organism:NAME, a local Hugging Face folder, or a hub id.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
Seed = Annotated[int, typer.Option("--seed", help="Prompts and sampling noise follow from it.")]


def numbers(text: str | None) -> list[float] | None:
    """`-0.1,0.05` as numbers.

    Raises:
        typer.BadParameter: something in the list is no number.
    """
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"expected numbers separated by commas, got {text!r}") from error


def words(text: str | None) -> list[str] | None:
    """`calm,at ease` as a list."""
    return None if text is None else [part.strip() for part in text.split(",")]


def assignments(items: list[str] | None) -> dict[str, Any] | None:
    """`["scenario=leaking", "prod=true"]` as a mapping, values as YAML reads them; None where there are none.

    Raises:
        typer.BadParameter: an item that is no assignment, or a value that YAML cannot read.
    """
    found: dict[str, Any] = {}
    for item in items or []:
        key, sign, value = item.partition("=")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"expected KEY=VALUE, got {item!r}") from error
        if not sign or not key.strip():
            raise typer.BadParameter(f"expected KEY=VALUE, got {item!r}")
    return found or None
