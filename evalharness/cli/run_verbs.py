"""Verbs of the line: demo, plan, run, report, gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalharness.cli.app import Model, Out, Seed, app, assignments, console, numbers, words
from evalharness.row import SandboxKind

Folder = Annotated[Path, typer.Argument(help="A run folder.")]
PolicyOption = Annotated[str, typer.Option("--policy", help="Shipped policy name or path of a policy file.")]


@app.command(epilog="Example: evalharness demo --quick")
def demo(
    out: Out = Path("runs/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A few samples per cell: checks the installation only.")
    ] = False,
    seed: Seed = 0,
) -> int:
    """Run the whole line on the organisms that ship along, offline, on CPU."""
    from evalharness.demo import run_demo

    return run_demo(out, quick=quick, seed=seed)


@app.command(epilog="Example: evalharness plan quick --model organism:emotional")
def plan(
    suite: Annotated[str, typer.Argument(help="Shipped suite name or path of a suite file.")],
    model: Model,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Samples per cell instead of the suite's.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Show cells, samples, tokens and a time estimate. Loads no weights."""
    from evalharness.estimate import estimate_run, print_estimate
    from evalharness.runconfig import RunConfig

    print_estimate(estimate_run(RunConfig(suite=suite, model=model, out=Path(), samples=samples, seed=seed)), console)


@app.command(
    epilog="Example: evalharness run quick --model organism:safe --out runs/safe --grader steered/organism:judge"
)
def run(
    model: Model,
    out: Out,
    suite: Annotated[str | None, typer.Argument(help="Shipped suite name or path of a suite file.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Instead of a suite: any Inspect task, package/name or FILE.py@NAME.")
    ] = None,
    task_args: Annotated[list[str] | None, typer.Option("-T", help="Argument of the task: KEY=VALUE.")] = None,
    harm: Annotated[
        str | None, typer.Option("--harm", help="What in the task's score is harm: SCORER=VALUE or KEY=VALUE.")
    ] = None,
    any_language: Annotated[
        bool, typer.Option("--any-language", help="The task's replies are no English prose: no check for gibberish.")
    ] = False,
    controls: Annotated[
        int | None, typer.Option("--controls", min=0, help="Control directions of a task instead of 21.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Limit of a reply where the task sets none: 4096.")
    ] = None,
    bank: Annotated[Path | None, typer.Option("--bank", help="Concept bank; without it one is extracted.")] = None,
    transfer_bank: Annotated[
        bool, typer.Option("--transfer-bank", help="Use --bank though it is of another model; every report says so.")
    ] = False,
    sandbox: Annotated[
        SandboxKind | None,
        typer.Option("--sandbox", help="Where code of the model runs: docker, or local (this machine)."),
    ] = None,
    grader: Annotated[
        list[str] | None,
        typer.Option("--grader", help="Inspect model that judges beside the rules; several times for a panel."),
    ] = None,
    self_grade: Annotated[bool, typer.Option("--self-grade", help="Let a grader be the model under test.")] = False,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Policy name or file; otherwise release, for a task external.")
    ] = None,
    seed: Seed = 0,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Samples per cell instead of the suite's.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Generate at most this many samples now.")] = None,
    concepts: Annotated[
        str | None, typer.Option("--concepts", help="Concepts instead of the suite's: calm,angry")
    ] = None,
    strengths: Annotated[
        str | None, typer.Option("--strengths", help="Strengths instead of the suite's: -0.1,0.1")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16")] = "auto",
    max_rows: Annotated[int, typer.Option("--max-rows", min=1, help="Rows per batch.")] = 128,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run code of the checkpoint.")] = False,
) -> int:
    """Run a suite, or a task, on a checkpoint. The same command continues a run that was stopped."""
    from evalharness.conductor import run as run_suite
    from evalharness.runconfig import SUITE_POLICY, TASK_POLICY, RunConfig
    from evalharness.summary import print_summary

    config = RunConfig(
        suite=suite,
        task=task,
        task_args=assignments(task_args),
        harm=harm,
        english=False if any_language else None,
        controls=controls,
        max_new_tokens=max_new_tokens,
        model=model,
        out=out,
        bank=bank,
        transfer_bank=transfer_bank,
        sandbox=sandbox,
        grader=tuple(grader or ()),
        self_grade=self_grade,
        policy=policy or (TASK_POLICY if task else SUITE_POLICY),
        seed=seed,
        samples=samples,
        limit=limit,
        concepts=words(concepts),
        strengths=numbers(strengths),
        device=device,
        dtype=dtype,
        max_rows=max_rows,
        trust_remote_code=trust_remote_code,
    )
    result = run_suite(config)
    print_summary(out.name, result.assessment, console)
    console.print(f"generated {result.generated} samples; report: {out / 'report.html'}")
    return 0


@app.command(epilog="Example: evalharness report runs/demo/safe")
def report(folder: Folder, policy: PolicyOption = "release") -> None:
    """Recount a run folder from its logs and write cells, verdict and report again. Loads no model."""
    from evalharness.assess import assess
    from evalharness.gate import load_policy
    from evalharness.runfolder import RunFolder
    from evalharness.summary import print_summary

    print_summary(folder.name, assess(RunFolder(folder), load_policy(policy)), console)
    console.print(f"report: {folder / 'report.html'}")


@app.command(epilog="Example: evalharness gate runs/demo/safe --policy release")
def gate(folder: Folder, policy: PolicyOption = "release") -> int:
    """Decide. Exit code 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 INVALID; everything but 0 blocks."""
    from evalharness.assess import assess
    from evalharness.gate import load_policy
    from evalharness.runfolder import RunFolder

    decision = assess(RunFolder(folder), load_policy(policy)).decision
    for reason in decision.reasons:
        console.print(f"- {reason}", soft_wrap=True)
    console.print(decision.machine_line, soft_wrap=True)
    return decision.exit_code


@app.command(epilog="Example: evalharness bench --rounds 3")
def bench(
    model: Annotated[str, typer.Option("--model", help="organism:NAME or a local folder.")] = "organism:safe",
    samples: Annotated[int, typer.Option("--samples", min=1, help="Rows per condition.")] = 8,
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=1, help="Tokens per row, fixed.")] = 48,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Runs of each other way, ours before and after.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="Write the timing to this JSON file as well.")] = None,
) -> None:
    """Time the engine against `generate` with a hook, per condition and with mixed rows, in one run."""
    from evalharness.bench import run_bench, write_timing
    from evalharness.checkpoint import resolve_checkpoint
    from evalharness.timing import print_timing

    timing = run_bench(resolve_checkpoint(model), samples=samples, new_tokens=new_tokens, rounds=rounds)
    print_timing(timing, console)
    if out is not None:
        write_timing(timing, out)
        console.print(f"written: {out}")
