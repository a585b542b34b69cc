"""The replacement-plus-affair email setting as a plain Inspect task."""

from inspect_ai import Task, task

from evalharness.tasking import scenario_task


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
