"""The noise is uniform and independent, and filters admit what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from evalharness.engine.sampler import Noise, Scratch, Settings, Step, _filters, draw
from evalharness.request import Sampling

CPU = torch.device("cpu")


def uniforms(seeds: list[int], vocab: int, step: int) -> np.ndarray:
    return (Noise(seeds, vocab, CPU).bits(torch.arange(len(seeds)), step).numpy() + 0.5) / 2**31


def test_bits_are_the_same_everywhere() -> None:
    """The integers are fixed for good: a change here changes every result that was ever sampled."""
    seeds = [0, 1, 2**63 - 1]
    bits = Noise(seeds, 5, CPU).bits(torch.tensor([0, 1, 2]), 3).tolist()
    assert bits[0] == [2115157358, 1061318618, 1537953333, 680362086, 723321359]
    assert bits == [[plain_bits(seed, 3, token) for token in range(5)] for seed in seeds]


def plain_bits(seed: int, step: int, token: int) -> int:
    """The hash in plain integers."""

    def mix(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    z = (seed + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    z ^= z >> 31
    first = mix((z + step * 0x9E3779B9) % 2**32)
    second = mix(z >> 32 ^ (step * 0x85EBCA6B + 1) % 2**32)
    return mix(mix((mix(token) + first) % 2**32) ^ second) % 2**31


def test_noise_is_uniform() -> None:
    """Kolmogorov-Smirnov over rows, over steps and over tokens, on seeds that follow each other."""
    rows = uniforms(list(range(2000)), 50, 0)
    steps = np.stack([uniforms([7], 50, step)[0] for step in range(2000)])
    samples = [rows.ravel(), rows[:, 0], rows[0], steps.ravel(), steps[:, 3], uniforms([11], 100_000, 5)[0]]
    assert min(stats.kstest(sample, "uniform").pvalue for sample in samples) > 1e-3


def test_every_bit_is_fair() -> None:
    """Each of the 31 bits is 1 half of the time, and knowing one says nothing about the next."""
    bits = Noise(list(range(500)), 400, CPU).bits(torch.arange(500), 1).numpy().ravel()
    planes = np.stack([(bits >> place) & 1 for place in range(31)]).astype(float)
    assert np.abs(planes.mean(1) - 0.5).max() < 5 * 0.5 / np.sqrt(bits.size)
    correlation = np.corrcoef(planes) - np.eye(31)
    assert np.abs(correlation).max() < 5 / np.sqrt(bits.size)


def test_noise_is_independent_between_neighbours() -> None:
    """No correlation between next seeds, next steps, next tokens, or step and seed exchanged."""
    grid = np.stack([uniforms(list(range(300)), 300, step) for step in range(4)])
    pairs = {
        "seeds": (grid[:, :-1], grid[:, 1:]),
        "steps": (grid[:-1], grid[1:]),
        "tokens": (grid[..., :-1], grid[..., 1:]),
        "two apart": (grid[..., :-2], grid[..., 2:]),
    }
    for name, (left, right) in pairs.items():
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 5 / np.sqrt(left.size), name
    joint = np.histogram2d(grid[:, :-1].ravel(), grid[:, 1:].ravel(), bins=16, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(joint.ravel()).pvalue > 1e-3


def test_noise_of_a_row_ignores_the_batch() -> None:
    """Row 2 of five equals the same seed alone, bit for bit."""
    alone = Noise([42], 1000, CPU).bits(torch.tensor([0]), 9)
    among = Noise([1, 2, 42, 3, 4], 1000, CPU).bits(torch.tensor([4, 2]), 9)[1]
    assert torch.equal(alone[0], among)


def test_gumbel_max_draws_from_the_softmax() -> None:
    """Chi-squared over 20,000 seeds against the softmax at a temperature, and Gumbel's own distribution."""
    logits = torch.randn(30, generator=torch.Generator().manual_seed(0)) * 1.5
    n = 20_000
    settings = Settings.of([Sampling(max_new_tokens=1, temperature=0.8)] * n, CPU)
    noise = Noise(list(range(n)), 30, CPU)
    tokens = draw(logits.expand(n, -1), settings, noise, torch.arange(n), 0).tokens_A
    expected = n * (logits / 0.8).softmax(-1).double().numpy()
    counts = np.bincount(tokens.numpy(), minlength=30)
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3
    gumbel = noise.gumbel(torch.arange(5000), 2).ravel().numpy()
    assert stats.kstest(gumbel, "gumbel_r").pvalue > 1e-3


def test_noise_stays_finite_at_both_ends() -> None:
    """The largest and the smallest integers give finite noise."""

    class Extremes(Noise):
        def bits(self, rows_A: torch.Tensor, step: Step, scratch: Scratch | None = None) -> torch.Tensor:  # noqa: ARG002, N803
            return torch.tensor([[0, 2**31 - 1]], dtype=torch.int32)

    low, high = Extremes([0], 2, CPU).gumbel(torch.tensor([0]), 0)[0].tolist()
    assert low == pytest.approx(np.log(2.0**32), rel=1e-4)
    assert high == pytest.approx(-np.log(24 * np.log(2)), rel=1e-2)


def admitted(logits: torch.Tensor, sampling: Sampling) -> set[int]:
    """Tokens drawn at least once over many seeds."""
    n = 4000
    settings = Settings.of([sampling] * n, CPU)
    noise = Noise(list(range(n)), len(logits), CPU)
    return set(draw(logits.expand(n, -1), settings, noise, torch.arange(n), 0).tokens_A.tolist())


def naive_nucleus(logits: torch.Tensor, sampling: Sampling) -> set[int]:
    """Top-k, then the smallest set of most likely tokens whose mass reaches top-p, in a loop."""
    order = sorted(range(len(logits)), key=lambda token: -float(logits[token]))
    order = order[: sampling.top_k or len(order)]
    weights = np.exp([float(logits[token]) / sampling.temperature for token in order])
    kept, mass = [], 0.0
    for token, weight in zip(order, weights / weights.sum(), strict=True):
        if mass >= sampling.top_p:
            break
        kept.append(token)
        mass += weight
    return set(kept)


@pytest.mark.parametrize(("top_p", "top_k"), [(0.5, 0), (0.9, 0), (1.0, 3), (0.7, 4), (1e-6, 0), (0.99, 12)])
def test_filters_admit_the_naive_nucleus(top_p: float, top_k: int) -> None:
    """The tokens that are ever drawn are exactly those of a plain loop."""
    logits = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.2, -0.4, -0.6, -0.8, -1.0, -1.2, -1.4])
    sampling = Sampling(max_new_tokens=1, temperature=1.1, top_p=top_p, top_k=top_k)
    assert naive_nucleus(logits, sampling) == admitted(logits, sampling)


@pytest.mark.parametrize(("top_p", "top_k"), [(0.95, 0), (1.0, 127), (1.0, 128), (1.0, 300), (0.8, 200), (0.3, 500)])
def test_rows_that_need_more_than_the_head_are_sorted_whole(top_p: float, top_k: int) -> None:
    """Flat and peaked rows side by side, a vocabulary larger than the head: the nucleus of a plain loop."""
    flat = torch.linspace(0.0, -2.0, 600)
    peaked = torch.linspace(0.0, -60.0, 600)
    sampling = Sampling(max_new_tokens=1, top_p=top_p, top_k=top_k)
    settings = Settings.of([sampling] * 2, CPU)
    allowed, _ = _filters(torch.stack([flat, peaked]), settings.top_p_B, settings.top_k_B, 0.0)
    for row, logits in enumerate((flat, peaked)):
        assert set(allowed[row].nonzero()[:, 0].tolist()) == naive_nucleus(logits, sampling)


def test_greedy_rows_take_the_best_token_beside_random_ones() -> None:
    """Temperature 0 and top-k 1 give the argmax, and the margin is the gap of the two best logits."""
    logits = torch.tensor([[0.0, 2.0, 1.5]]).expand(3, -1)
    samplings = [
        Sampling(max_new_tokens=1, temperature=0.0),
        Sampling(max_new_tokens=1, top_k=1),
        Sampling(max_new_tokens=1),
    ]
    drawn = draw(logits, Settings.of(samplings, CPU), Noise([1, 2, 3], 3, CPU), torch.arange(3), 0)
    assert drawn.tokens_A[:2].tolist() == [1, 1]
    assert drawn.margin_A[:2].tolist() == [0.5, 0.5]


def test_margin_is_small_wherever_rounding_could_decide() -> None:
    """Logits moved by less than half the slack never change a token whose margin was larger than the slack."""
    generator = torch.Generator().manual_seed(1)
    n, slack = 3000, 0.05
    logits = torch.randn(n, 40, generator=generator)
    moved = logits + (torch.rand(n, 40, generator=generator) - 0.5) * slack * 0.99
    kinds = [
        Sampling(max_new_tokens=1),
        Sampling(max_new_tokens=1, top_p=0.8),
        Sampling(max_new_tokens=1, top_k=5),
        Sampling(max_new_tokens=1, top_k=8, top_p=0.6),
        Sampling(max_new_tokens=1, temperature=0.0),
    ]
    settings = Settings.of([kinds[row % 5] for row in range(n)], CPU)
    noise = Noise(list(range(n)), 40, CPU)
    before = draw(logits, settings, noise, torch.arange(n), 0, slack)
    after = draw(moved, settings, noise, torch.arange(n), 0)
    changed = before.tokens_A != after.tokens_A
    assert changed.any()
    assert (before.margin_A[changed] < slack).all()
    assert (before.margin_A < slack).float().mean() < 0.5
