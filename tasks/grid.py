"""What a run folder's plan holds of one scenario, as the Inspect task that `evalharness run` evaluates."""

from inspect_ai import Task, task

from evalharness.row import SandboxKind
from evalharness.tasking import plan_task


@task
def grid(plan: str, scenario: str, judge: bool = False, sandbox: SandboxKind | None = None) -> Task:
    """All samples of one scenario in the plan of a run folder."""
    return plan_task(plan, scenario, judge=judge, sandbox=sandbox)
