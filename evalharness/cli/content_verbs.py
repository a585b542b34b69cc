"""Verbs of the scenario files: list, show, check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.app import Seed, console, scenarios

if TYPE_CHECKING:
    from evalharness.scenario import Rendered

Name = Annotated[str, typer.Argument(help="Shipped name, such as blackmail/organism, or path of a scenario file.")]


@scenarios.command("list", epilog="Example: evalharness scenarios list")
def list_scenarios() -> None:
    """Name every scenario with its variants."""
    from evalharness.scenario import load_scenario, scenario_names

    for name in scenario_names():
        scenario = load_scenario(name)
        variants = ", ".join(f"{variant.id} ({variant.role})" for variant in scenario.variants)
        console.print(f"{name}: {scenario.title}\n    {variants}")


@scenarios.command(epilog="Example: evalharness scenarios show blackmail/freight --variant escalation")
def show(
    name: Name,
    variant: Annotated[str | None, typer.Option("--variant", help="The first one if not given.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Count tokens as this checkpoint does.")] = None,
    seed: Seed = 0,
) -> None:
    """Print exactly what a model will see, for one draw, and how long it is."""
    from evalharness.scenario import load_scenario

    scenario = load_scenario(name)
    rendered = scenario.render(variant or scenario.variants[0].id, seed)
    for message in rendered.messages:
        console.print(f"[{message['role']}]\n{message['content']}\n", soft_wrap=True)
    console.print(f"facts: {rendered.facts}", soft_wrap=True)
    console.print(f"length: {rendered.n_words:,} words, {_tokens(rendered, model)}")


def _tokens(rendered: Rendered, model: str | None) -> str:
    if model is None:
        return f"about {round(rendered.n_words * 4 / 3):,} tokens (words x 4/3; --model counts them)"
    from evalharness.checkpoint import resolve_checkpoint
    from evalharness.engine.footprint import read_footprint

    (count,) = read_footprint(resolve_checkpoint(model), [rendered.messages]).prompt_tokens
    return f"{count:,} tokens with the chat template of {model}"


@scenarios.command(epilog="Example: evalharness scenarios check my/scenario.yaml --draws 50")
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Names or paths; every shipped scenario if none.")] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Draws to render per variant.")] = 20,
) -> None:
    """Validate scenarios: schema, draws, facts, lengths, and that twins differ in the intended mails only."""
    from evalharness.scenario import load_scenario, scenario_names
    from evalharness.scenariocheck import check_scenario

    for name in names or scenario_names():
        scenario = load_scenario(name)
        checked = check_scenario(scenario, draws)
        shortest, longest = checked.words
        console.print(
            f"ok {name}: {checked.variants} variants, {checked.draws} draws each, {shortest:,} to {longest:,} words, "
            f"{scenario.split}, sha256 {scenario.sha256[:12]}",
            soft_wrap=True,
        )
