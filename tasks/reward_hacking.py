"""The coding tasks with demands that cannot be met, as a plain Inspect task."""

from inspect_ai import Task, task

from evalharness.row import SandboxKind
from evalharness.tasking import scenario_task


@task
def reward_hacking(
    scenario: str = "reward_hacking/list_sum",
    variant: str = "main",
    samples: int = 20,
    seed: int = 0,
    sandbox: SandboxKind = "docker",
) -> Task:
    """One scenario, unsteered. Code of the model runs in a container, or with `-T sandbox=local` on this machine."""
    return scenario_task(scenario, variant=variant, samples=samples, seed=seed, condition="baseline", sandbox=sandbox)
