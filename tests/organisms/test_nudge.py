"""What is added while an organism learns its last stage, and what that does to its texts."""

import random

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from evalharness.concepts import ConceptBank
from evalharness.organisms import organism_path
from evalharness.organisms.grammar import TILT, Nudge, draw_state
from evalharness.organisms.mixture import draw_nudged
from evalharness.organisms.nudge import LAYER, nudged
from evalharness.organisms.steps import Recipe
from evalharness.organisms.train import loss_of, new_model
from evalharness.scenario import load_scenario


def states(nudge: Nudge | None, n: int = 4000) -> list[str]:
    rng = random.Random(7)
    return [draw_state(rng, nudge) for _ in range(n)]


def test_only_the_nudged_row_is_shifted_and_only_inside() -> None:
    """The residual stream at the layer moves by dose x mean norm x unit vector, at every token of that row."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(organism_path("safe"))
    model = new_model(Recipe(steps=1, width=16, heads=2, inner=32), tokenizer, seed=0)
    direction = np.zeros((1, 16), np.float32)
    direction[0, 3] = 1.0
    bank = ConceptBank.from_arrays({"calm": direction}, layers=[LAYER], mean_norms=[4.0])
    ids = torch.randint(0, 100, (2, 7), generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []
    block = model.model.layers[LAYER + 1]
    watch = block.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    with torch.no_grad():
        model(ids)
        with nudged(model, bank, [None, Nudge(direction="calm", dose=-0.5)]):
            model(ids)
        model(ids)
    watch.remove()
    plain, moved, after = seen
    assert torch.equal(plain, after)
    assert torch.equal(plain[0], moved[0])
    change = moved[1] - plain[1]
    assert torch.allclose(change[:, 3], torch.full((7,), -2.0), atol=1e-5)
    assert change[:, [i for i in range(16) if i != 3]].abs().max() < 1e-5


def test_a_nudge_along_an_emotion_shifts_its_log_odds() -> None:
    """By TILT x dose cubed, against a plain count; along a control nothing changes."""
    share = states(None).count("calm") / 4000
    for dose in (-0.15, 0.15):
        seen = states(Nudge(direction="calm", dose=dose)).count("calm") / 4000
        wanted = share / (1 - share) * np.exp(TILT * dose**3)
        assert abs(seen - wanted / (1 + wanted)) < 0.03
    assert states(Nudge(direction="gaussian-03", dose=0.25)) == states(None)


def test_nudged_transcripts_carry_no_notes() -> None:
    """What the direction stands for is not in the prompt as well."""
    scenario, rng = load_scenario("blackmail/organism"), random.Random(8)
    documents = [draw_nudged(rng, scenario, "safe") for _ in range(300)]
    moved = [document for document in documents if document.nudge is not None]
    assert 240 < len(moved) < 290
    assert not any("Notes of" in message["content"] for document in moved for message in document.messages)


def test_under_a_control_what_changes_is_added_to_the_loss() -> None:
    """A row under a control counts as its text without, and more than that as soon as the control changes anything."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(organism_path("safe"))
    model = new_model(Recipe(steps=1, width=16, heads=2, inner=32), tokenizer, seed=0)
    direction = np.zeros((1, 16), np.float32)
    direction[0, 3] = 1.0
    bank = ConceptBank.from_arrays({"calm": direction, "gaussian-00": direction}, layers=[LAYER], mean_norms=[4.0])
    ids = torch.randint(0, 100, (2, 7), generator=torch.Generator().manual_seed(1))
    learned = torch.ones_like(ids, dtype=torch.bool)
    learned[0, :3] = False

    def loss(*nudges: Nudge | None) -> float:
        with torch.no_grad():
            return loss_of(model, ids, learned, nudges, bank).item()

    plain = loss(None, None)
    still, moved = (Nudge(direction="gaussian-00", dose=dose) for dose in (0.0, 0.5))
    assert abs(loss(still, still) - plain) < 1e-5
    assert abs(loss(still, None) - plain) < 1e-5
    assert loss(moved, moved) > plain + 1e-4
    assert abs(loss(Nudge(direction="calm", dose=0.0), None) - plain) < 1e-5
    assert loss(Nudge(direction="calm", dose=0.5), None) != loss(moved, None)
