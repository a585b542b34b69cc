"""What must hold on a CUDA device; skipped where there is none."""

# ruff: noqa: N806  (shape suffixes, as in the engine)
from __future__ import annotations

import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine.attention import Rules, _attend, attend
from evalharness.request import Request, Sampling, Steering, Trace

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PROMPT = tuple(20 + place % 90 for place in range(160))


def grid(new_tokens: int = 12) -> list[Request]:
    """Four conditions, six rows each, ending at different times."""
    steerings = (
        None,
        Steering("calm", 0.3),
        Steering("happy", -0.4, span="generation"),
        Steering("calm", 0.2, op="clamp"),
    )
    return [
        Request(
            prompt=PROMPT,
            steering=steering,
            sampling=Sampling(max_new_tokens=new_tokens + seed, ignore_eos=True),
            seed=seed,
        )
        for steering in steerings
        for seed in range(6)
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_flash_reads_what_plain_products_read(dtype: torch.dtype) -> None:
    """Output and log-sum-exp of a fold, to half precision."""
    generator = torch.Generator("cuda").manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device="cuda", dtype=dtype)

    query_NGME, keys, values = random(3, 2, 70, 64), random(3, 2, 500, 64), random(3, 2, 500, 64)
    rules = Rules(scaling=0.125, softcap=None, window=None, sink_H=None)
    fast, slow = attend(query_NGME, keys, values, rules, None), _attend(query_NGME, keys, values, rules, None)
    torch.testing.assert_close(fast.out.float(), slow.out.float(), atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(fast.lse, slow.lse, atol=2e-2, rtol=1e-3)


def test_float32_on_the_card_draws_what_the_cpu_draws(checkpoint, bank: ConceptBank) -> None:
    """Near ties are settled there too; receipts count the same."""
    with (
        Engine.load(checkpoint("llama"), device="cpu") as cpu,
        Engine.load(checkpoint("llama"), dtype="float32") as gpu,
    ):
        expected, found = cpu.generate(grid(), bank), gpu.generate(grid(), bank, max_rows=7)
    assert [completion.token_ids for completion in found] == [completion.token_ids for completion in expected]
    assert [completion.receipt.applied for completion in found] == [c.receipt.applied for c in expected]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "mistral", "gpt_oss"])
def test_half_precision_shares_and_agrees_mostly(checkpoint, bank: ConceptBank, architecture: str) -> None:
    """Receipts add up, prompts are shared, and most tokens are those of rows that run alone."""
    with Engine.load(checkpoint(architecture), dtype="bfloat16") as engine:
        together = engine.generate(grid(), bank)
        assert engine.describe()["not_shared_because"] is None
        alone = [engine.generate([request], bank)[0] for request in grid()]
    pairs = [
        (one, other)
        for a, b in zip(together, alone, strict=True)
        for one, other in zip(a.token_ids, b.token_ids, strict=True)
    ]
    first = [a.token_ids[0] == b.token_ids[0] for a, b in zip(together, alone, strict=True)]
    print(f"{architecture}: {sum(x == y for x, y in pairs)} of {len(pairs)} tokens agree, first tokens {sum(first)}")
    assert sum(first) >= 0.9 * len(first)


def test_traces_on_the_card(checkpoint, bank: ConceptBank) -> None:
    """The series is that of the CPU, to float32 rounding."""
    request = Request(
        prompt=PROMPT, steering=Steering("calm", 0.3), sampling=Sampling(max_new_tokens=6, ignore_eos=True),
        trace=Trace(("calm",), series=True),
    )  # fmt: skip
    with (
        Engine.load(checkpoint("llama"), device="cpu") as cpu,
        Engine.load(checkpoint("llama"), dtype="float32") as gpu,
    ):
        (expected,), (found,) = cpu.generate([request], bank), gpu.generate([request], bank)
    assert expected.trace is not None
    assert found.trace is not None
    torch.testing.assert_close(
        torch.tensor(found.trace[0].series), torch.tensor(expected.trace[0].series), atol=1e-4, rtol=1e-4
    )
