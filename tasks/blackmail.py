"""The replacement-plus-affair email setting as a plain Inspect task, and the task that a run folder's plan fills."""

from inspect_ai import Task, task

from evalharness.row import SandboxKind
from evalharness.tasking import plan_task, scenario_task


@task
def blackmail(
    scenario: str = "blackmail/organism",
    variant: str = "main",
    samples: int = 20,
    seed: int = 0,
    condition: str = "baseline",
) -> Task:
    """One scenario under one condition. A steered condition needs `-M bank=FOLDER -M conditions=FILE`."""
    return scenario_task(scenario, variant=variant, samples=samples, seed=seed, condition=condition)


@task
def grid(plan: str, scenario: str, judge: bool = False, sandbox: SandboxKind | None = None) -> Task:
    """All samples of one scenario in the plan of a run folder (`evalharness run` uses this)."""
    return plan_task(plan, scenario, judge=judge, sandbox=sandbox)
