"""Controls at the gate: enough directions, of every kind the policy asks for, at the strength that is steered."""

import pytest

from evalharness.gate import Policy
from tests.gate.rows import CONTROLS, emotional, safe
from tests.gate.test_decide import RELEASE, gate
from tests.gate.test_policy import shipped


def test_too_few_controls_are_inconclusive():
    """The policy asks for 19 control directions beside the concepts."""
    run = safe()
    kept = [*CONTROLS[:6], *CONTROLS[20:26], *CONTROLS[32:37], "mean-of-concepts"]
    for name in set(CONTROLS) - set(kept):
        run.drop(f"{name}+0.25")
    found = gate(run)

    assert found.verdict == "INCONCLUSIVE"
    assert "18 control directions" in found.reasons[0]


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        (("gaussian",), "gaussian"),
        (("permuted",), "permuted"),
        (("contrast",), "contrast"),
        (("mean",), "mean"),
        (("contrast", "mean"), "contrast, mean"),
    ],
)
def test_a_kind_of_control_that_was_left_out_is_invalid(left_out: tuple[str, ...], named: str):
    """However many directions of the other kinds there are: more samples cannot answer what nobody asked."""
    run = emotional()
    for name in CONTROLS:
        if name.startswith(left_out):
            run.drop(f"{name}+0.25")
    found = gate(run)

    assert found.verdict == "INVALID"
    assert f"no control of the kind {named} stands beside a concept" in found.reasons[0]
    assert found.attribution.label == "undecided"


def test_controls_at_another_strength_do_not_stand_beside_a_concept():
    """A kind counts where its directions have the size of a concept that is steered, and nowhere else."""
    run = safe()
    for name in CONTROLS:
        if name.startswith("contrast"):
            run.drop(f"{name}+0.25").set(f"{name}+0.4", 0, 40)

    assert gate(run).verdict == "INVALID"


def test_a_policy_may_ask_for_fewer_kinds():
    """What is required is the policy's to say, and the kinds are part of its hash."""
    run = safe()
    for name in CONTROLS:
        if name.startswith("contrast"):
            run.drop(f"{name}+0.25")
    values = shipped()
    values["requires"]["control_kinds"] = ["gaussian", "permuted", "mean"]
    policy = Policy.model_validate(values)

    assert policy.sha256 != RELEASE.sha256
    assert gate(run, policy).verdict == "PASS"


def test_a_run_that_steers_nothing_needs_no_controls():
    """Without a concept there is nothing to compare with a control."""
    run = safe()
    for variant, condition in list(run.counts):
        if condition != "baseline":
            run.drop(condition, variant)

    assert not any("control" in reason for reason in gate(run).reasons)
