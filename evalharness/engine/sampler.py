"""logits -> tokens by Gumbel-max, with noise that is a function of (seed, step, token) and of nothing else.

Shapes: B rows, V vocabulary. The noise is a counter-based integer hash, so no generator has a state that a batch could
share: a row draws the same tokens alone, in any batch, in any order. `Draw.margin_B` says how far each decision was
from going the other way; `decode.py` settles the near ties, where float rounding could decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.head import Head
from evalharness.request import Sampling

CHUNK_SCORES = 1 << 21
"""Scores (rows x vocabulary) worked on at a time on a CPU: they stay in cache, and their memory is used again.
Fresh memory for all rows costs more in page faults than all arithmetic of the draw."""
CHUNK_ROWS = 16
"""Fewest rows at a time, so that the product with the vocabulary stays efficient."""
HEAD = 128
"""Tokens sorted per row for top-p and top-k; few rows ever need more."""
_MASK64 = (1 << 64) - 1


def _int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


_GOLDEN, _SECOND = _int32(0x9E3779B9), _int32(0x85EBCA6B)
_MULTIPLY_1, _MULTIPLY_2 = _int32(0x7FEB352D), _int32(0x846CA68B)


Step = int | Tensor
"""How many tokens a row has drawn, one number for all rows or int32 `[A]`."""


class Scratch(NamedTuple):
    """Memory that every step uses again, `[C, V]` each."""

    logits: Tensor
    bits: Tensor
    shifted: Tensor
    noise: Tensor

    @staticmethod
    def like(states_CX: Tensor, vocab_size: int) -> Scratch:
        """For as many rows; logits have the states' type."""
        shape = (len(states_CX), vocab_size)
        kinds = (states_CX.dtype, torch.int32, torch.int32, torch.float32)
        return Scratch(*(torch.empty(shape, dtype=kind, device=states_CX.device) for kind in kinds))

    def first(self, rows: int) -> Scratch:
        """The part for fewer rows."""
        return Scratch(*(tensor[:rows] for tensor in self))


def _mix_(x: Tensor, shifted: Tensor | None = None) -> Tensor:
    """A bijective 32-bit finaliser, in place (shift-xor and odd multipliers; every input bit reaches every output)."""
    shifted = torch.empty_like(x) if shifted is None else shifted
    for shift, multiplier in ((16, _MULTIPLY_1), (15, _MULTIPLY_2), (16, None)):
        torch.bitwise_right_shift(x, shift, out=shifted)
        shifted &= (1 << (32 - shift)) - 1  # int32 shifts drag the sign along; the mask makes the shift logical
        x ^= shifted
        if multiplier is not None:
            x *= multiplier
    return x


def _split_seed(seed: int) -> tuple[int, int]:
    """Two 32-bit words from a seed (splitmix64), so that neighbouring seeds have unrelated words."""
    z = (seed + 0x9E3779B97F4A7C15) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    z ^= z >> 31
    return _int32(z), _int32(z >> 32)


class Noise:
    """Standard Gumbel noise per row, step and token."""

    def __init__(self, seeds: Sequence[int], vocab_size: int, device: torch.device) -> None:
        words = torch.tensor([_split_seed(seed) for seed in seeds], dtype=torch.int32)
        self._words_B2 = words.to(device)
        self._tokens_V = _mix_(torch.arange(vocab_size, dtype=torch.int32, device=device))

    def bits(self, rows_A: Tensor, step: Step, scratch: Scratch | None = None) -> Tensor:
        """Uniform 31-bit integers `[A, V]` for these rows at this step; they stand in `scratch` where one is given."""
        words_A2 = self._words_B2[rows_A]
        step_A = torch.as_tensor(step, dtype=torch.int32, device=rows_A.device)  # products wrap around
        first_A = _mix_(words_A2[:, 0] + step_A * _GOLDEN)
        second_A = _mix_(words_A2[:, 1] ^ (step_A * _SECOND + 1))
        shifted_AV = None if scratch is None else scratch.shifted
        x_AV = torch.add(self._tokens_V, first_A[:, None], out=None if scratch is None else scratch.bits)
        _mix_(x_AV, shifted_AV).bitwise_xor_(second_A[:, None])
        return _mix_(x_AV, shifted_AV).bitwise_and_(0x7FFFFFFF)

    def gumbel(self, rows_A: Tensor, step: Step, scratch: Scratch | None = None) -> Tensor:
        """-log(-log(1 - u)) with u = (bits + 1/2) / 2^31: exact where it matters, in the upper tail."""
        bits_AV = self.bits(rows_A, step, scratch)
        uniform_AV = bits_AV.to(torch.float32) if scratch is None else scratch.noise.copy_(bits_AV)
        uniform_AV.add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
        return uniform_AV.neg_().log1p_().neg_().log_().neg_()


class Settings(NamedTuple):
    """The sampling parameters of a batch as tensors, one entry per row."""

    temperature_B: Tensor
    """1 for greedy rows, whose noise is switched off instead."""
    greedy_B: Tensor
    top_p_B: Tensor
    top_k_B: Tensor
    any_random: bool
    any_greedy: bool
    any_filter: bool

    @staticmethod
    def of(samplings: Sequence[Sampling], device: torch.device) -> Settings:
        """From the requests' records. `top_k` 1 is greedy."""
        greedy = [s.temperature == 0 or s.top_k == 1 for s in samplings]
        temperature = [1.0 if cold else s.temperature for s, cold in zip(samplings, greedy, strict=True)]
        filters = [not cold and (s.top_p < 1 or s.top_k > 0) for s, cold in zip(samplings, greedy, strict=True)]
        return Settings(
            temperature_B=torch.tensor(temperature, device=device),
            greedy_B=torch.tensor(greedy, device=device),
            top_p_B=torch.tensor([s.top_p if f else 1.0 for s, f in zip(samplings, filters, strict=True)]).to(device),
            top_k_B=torch.tensor([s.top_k if f else 0 for s, f in zip(samplings, filters, strict=True)]).to(device),
            any_random=not all(greedy),
            any_greedy=any(greedy),
            any_filter=any(filters),
        )


class Draw(NamedTuple):
    """One token per row."""

    tokens_A: Tensor
    margin_A: Tensor
    """By how much (in logits / temperature) the drawn token beat the next; 0 where a top-p or top-k edge was near."""
    logprob_A: Tensor
    """Log-probability of the drawn token at temperature 1 without filters; zeros unless asked for."""


def draw(logits_AV: Tensor, settings: Settings, noise: Noise, rows_A: Tensor, step: Step, slack: float = 0.0) -> Draw:
    """Draw for rows `rows_A` of the batch. Every pair of decisions closer than `slack` shows up as a small margin."""
    return draw_turn(logits_AV, settings, noise, Turn(rows_A, step, slack))


def draw_turn(logits_AV: Tensor, settings: Settings, noise: Noise, turn: Turn) -> Draw:
    """The same, with log-probabilities if the turn asks for them."""
    return _draw_(logits_AV.to(torch.float32, copy=True), settings, noise, turn)


class Turn(NamedTuple):
    """Whose turn it is."""

    rows_A: Tensor
    step: Step
    slack: float
    logprobs: bool = False


class Sampler:
    """Draws from the states of many rows, a few rows at a time."""

    def __init__(self, head: Head, vocab_size: int, device: torch.device) -> None:
        self._head = head
        self._size = max(CHUNK_ROWS, CHUNK_SCORES // vocab_size) if device.type == "cpu" else 1 << 30
        self._vocab_size = vocab_size
        self._scratch: Scratch | None = None

    def draw(self, states_AX: Tensor, settings: Settings, noise: Noise, turn: Turn) -> Draw:
        """As the function `draw` of the logits of these states (see `Head`)."""
        parts = []
        for start in range(0, len(states_AX), self._size):
            piece = slice(start, start + self._size)
            some_CX, rows_C = states_AX[piece], turn.rows_A[piece]
            step = turn.step[piece] if isinstance(turn.step, Tensor) else turn.step
            scratch = self._memory(some_CX)
            logits_CV = self._head.logits(some_CX, scratch.logits)
            parts.append(_draw_(logits_CV, settings, noise, Turn(rows_C, step, turn.slack, turn.logprobs), scratch))
        return parts[0] if len(parts) == 1 else Draw(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _memory(self, states_CX: Tensor) -> Scratch:
        if self._scratch is None or len(self._scratch.bits) < len(states_CX):
            self._scratch = Scratch.like(states_CX, self._vocab_size)
        return self._scratch.first(len(states_CX))


def _draw_(logits_AV: Tensor, settings: Settings, noise: Noise, turn: Turn, scratch: Scratch | None = None) -> Draw:
    """The logits are overwritten."""
    rows_A, slack = turn.rows_A, turn.slack
    temperature_A = settings.temperature_B[rows_A]
    mass_A = logits_AV.logsumexp(-1) if turn.logprobs else None
    scores_AV = logits_AV.div_(temperature_A[:, None])
    sure_AV = gumbel_AV = None
    if settings.any_filter:
        allowed_AV, sure_AV = _filters(scores_AV, settings.top_p_B[rows_A], settings.top_k_B[rows_A], slack)
    if settings.any_random:
        gumbel_AV = noise.gumbel(rows_A, turn.step, scratch)
        if settings.any_greedy:
            gumbel_AV.masked_fill_(settings.greedy_B[rows_A, None], 0.0)
        scores_AV.add_(gumbel_AV)
    if sure_AV is not None:
        scores_AV.masked_fill_(~allowed_AV, -torch.inf)
    best = scores_AV.max(-1)
    tokens_A = best.indices
    margin_A = best.values - scores_AV.scatter_(-1, tokens_A[:, None], -torch.inf).amax(-1)
    if sure_AV is not None:
        margin_A = margin_A.where(sure_AV.gather(-1, tokens_A[:, None])[:, 0], torch.zeros_like(margin_A))
    if mass_A is None:
        return Draw(tokens_A, margin_A, torch.zeros_like(margin_A))
    noise_A = 0.0 if gumbel_AV is None else gumbel_AV.gather(-1, tokens_A[:, None])[:, 0]
    return Draw(tokens_A, margin_A, (best.values - noise_A) * temperature_A - mass_A)


def _filters(scores_AV: Tensor, top_p_A: Tensor, top_k_A: Tensor, slack: float) -> tuple[Tensor, Tensor]:
    """Masks [A, V]: tokens that top-k then top-p may admit, and those that stay admitted if scores move by `slack`.

    Top-p keeps the smallest set of most likely tokens with at least that mass. Thresholds are values, not ranks, so
    exact ties are kept together. Only the likeliest tokens are sorted; rows that need more are sorted whole.
    """
    size = scores_AV.shape[-1]
    bounds = _bounds(scores_AV, scores_AV.topk(min(HEAD, size)).values, top_p_A, top_k_A, slack)
    if size > HEAD:
        open_O = (~bounds.known_A).nonzero()[:, 0]
        if len(open_O):
            some_OV = scores_AV[open_O]
            whole = _bounds(some_OV, some_OV.sort(-1, descending=True).values, top_p_A[open_O], top_k_A[open_O], slack)
            bounds.admitted_A1[open_O], bounds.sure_A1[open_O] = whole.admitted_A1, whole.sure_A1
    return scores_AV >= bounds.admitted_A1, scores_AV >= bounds.sure_A1


class _Bounds(NamedTuple):
    """The least score that may be admitted, and the least that stays admitted whatever rounding does."""

    admitted_A1: Tensor
    sure_A1: Tensor
    known_A: Tensor
    """False where the sorted tokens were too few to say."""


def _bounds(scores_AV: Tensor, sorted_AK: Tensor, top_p_A: Tensor, top_k_A: Tensor, slack: float) -> _Bounds:
    """`sorted_AK` are the K largest scores of each row, falling."""
    size = sorted_AK.shape[-1]
    whole = size == scores_AV.shape[-1]
    no_k_A1, off_A1 = (top_k_A == 0)[:, None], (top_p_A >= 1)[:, None]
    last_A1 = (top_k_A[:, None] - 1).clamp(min=0, max=size - 1)
    kth_A1 = sorted_AK.gather(-1, last_A1).masked_fill(no_k_A1, -torch.inf)
    after_A1 = sorted_AK.gather(-1, (last_A1 + 1).clamp(max=size - 1))
    after_A1 = after_A1.masked_fill(no_k_A1 | (last_A1 + 1 >= size), -torch.inf)

    # With top-k the mass is that of the k best, which are all sorted; without it, that of the whole vocabulary.
    kept_AK = sorted_AK.masked_fill(sorted_AK < kth_A1, -torch.inf)
    mass_A1 = torch.where(no_k_A1, scores_AV.logsumexp(-1, keepdim=True), kept_AK.logsumexp(-1, keepdim=True))
    probability_AK = (kept_AK - mass_A1).exp()
    before_AK = probability_AK.cumsum(-1) - probability_AK
    last_wide_A1 = ((before_AK < top_p_A[:, None] + slack) & (probability_AK > 0)).sum(-1, keepdim=True) - 1
    last_sure_A1 = (before_AK < top_p_A[:, None] - slack).sum(-1, keepdim=True).clamp(min=1) - 1
    wide_A1 = sorted_AK.gather(-1, last_wide_A1) - slack
    edge_A1, next_A1 = (sorted_AK.gather(-1, at.clamp(max=size - 1)) for at in (last_sure_A1, last_sure_A1 + 1))
    # The last token inside is sure only if the next one is clearly less likely; else rounding could swap the two.
    safe_A1 = torch.where((next_A1 < edge_A1 - slack) | (last_sure_A1 == size - 1), edge_A1, edge_A1 + slack)
    known_A1 = (no_k_A1 | (last_A1 + 1 < size)) & (off_A1 | (last_wide_A1 + 1 < size))
    return _Bounds(
        admitted_A1=torch.maximum(kth_A1 - slack, wide_A1.masked_fill(off_A1, -torch.inf)),
        sure_A1=torch.maximum(torch.maximum(kth_A1, after_A1 + slack), safe_A1.masked_fill(off_A1, -torch.inf)),
        known_A=known_A1[:, 0] | whole,
    )
