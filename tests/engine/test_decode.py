"""A row's tokens depend on the row alone, and every row ends for the right reason."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine.decode import Decoder
from evalharness.engine.session import is_out_of_memory
from evalharness.errors import EngineError, UsageError
from evalharness.request import Completion, Request, Sampling, Steering

WORDS = ("The clerk", "At five the server", "Maria could not sleep", "He laughed until he had to hold on")


def mixed_requests(n: int) -> list[Request]:
    """Rows that differ in everything a request can say."""
    steerings: list[Any] = [
        None,
        Steering("desperate", 0.3),
        Steering("calm", -0.2, span="generation"),
        (Steering("happy", 0.2, layers=(0, 3)), Steering("calm", 0.4, op="clamp")),
    ]
    samplings = [
        Sampling(max_new_tokens=25),
        Sampling(max_new_tokens=12, temperature=0.7, top_p=0.9),
        Sampling(max_new_tokens=30, temperature=0.0),
        Sampling(max_new_tokens=18, temperature=1.3, top_k=20, stop=("the", "\n")),
        Sampling(max_new_tokens=20, top_p=0.6, top_k=50, ignore_eos=True),
    ]
    return [
        Request(
            prompt=" ".join(WORDS[: 1 + row % 4]) * (1 + row % 3),
            steering=steerings[row % 4],
            sampling=samplings[row % 5],
            seed=row // 2,
            id=str(row),
        )
        for row in range(n)
    ]


def test_batch_order_and_size_do_not_matter(engine: Engine, bank: ConceptBank) -> None:
    """One by one, all together, shuffled in batches of seven: the same completions, receipts' counts included."""
    requests = mixed_requests(20)
    alone = [engine.generate([request], bank)[0] for request in requests]
    shuffled = random.Random(0).sample(range(20), 20)
    together = engine.generate([requests[row] for row in shuffled], bank, max_rows=7)
    back: dict[int, Completion] = dict(zip(shuffled, together, strict=True))
    for row, (one, all_at_once) in enumerate(zip(alone, engine.generate(requests, bank), strict=True)):
        for other in (all_at_once, back[row]):
            assert (one.token_ids, one.text, one.stop_reason) == (other.token_ids, other.text, other.stop_reason)
            assert one.receipt.applied == other.receipt.applied


def test_seed_decides_and_condition_does_not(engine: Engine, bank: ConceptBank) -> None:
    """The same seed draws the same tokens; a steering of strength 0 shares its noise; another seed differs."""
    sampling = Sampling(max_new_tokens=20, ignore_eos=True)
    steerings = (None, Steering("calm", 0.0), None)
    rows = [
        Request(prompt=WORDS[0], steering=s, sampling=sampling, seed=q)
        for s, q in zip(steerings, (5, 5, 6), strict=True)
    ]
    same, shared, other = engine.generate(rows, bank)
    assert same.token_ids == shared.token_ids
    assert same.token_ids != other.token_ids


def test_near_ties_are_settled_alone(engine: Engine, bank: ConceptBank) -> None:
    """With every decision called a near tie, each token comes from a lone forward pass, and nothing changes."""
    requests = mixed_requests(10)
    doubting = Engine(engine._loaded)
    doubting._decoder = Decoder(engine._loaded, engine._detokenizer, tie_margin=1e9)
    settled = doubting.generate(requests, bank)
    assert [completion.token_ids for completion in engine.generate(requests, bank)] == [
        completion.token_ids for completion in settled
    ]
    assert doubting._decoder.stats.near_ties == sum(completion.output_tokens for completion in settled)
    assert 0 < doubting._decoder.stats.largest_drift < engine._decoder.stats.tie_margin / 2


def test_answers_come_in_the_order_of_the_requests(engine: Engine) -> None:
    """Scheduling by length does not leak into the result, and `on_batch` sees each row once with its place."""
    requests = mixed_requests(11)
    plain = [Request(prompt=r.prompt, sampling=r.sampling, seed=r.seed) for r in requests]
    seen: dict[int, Completion] = {}
    answers = engine.generate(plain, max_rows=4, on_batch=seen.update)
    assert [engine.render(request.prompt) for request in plain] == [
        engine.render(plain[place].prompt) for place in range(11)
    ]
    assert dict(enumerate(answers)) == seen
    assert [len(engine.render(request.prompt)) for request in plain] == [answer.prompt_tokens for answer in answers]


def test_usage_and_reason_at_the_limit(engine: Engine) -> None:
    """A row that runs into its limit drew exactly that many tokens."""
    (answer,) = engine.generate([Request(prompt="He", sampling=Sampling(max_new_tokens=9, ignore_eos=True))])
    assert (answer.output_tokens, len(answer.token_ids), answer.stop_reason) == (9, 9, "max_tokens")


def test_end_of_sequence_token(engine: Engine) -> None:
    """The end token ends a row with "stop", counts as drawn, and is not part of the text; `ignore_eos` goes on."""
    eos = min(engine._loaded.eos_ids)
    many = [Request(prompt=WORDS[0], sampling=Sampling(max_new_tokens=150), seed=seed) for seed in range(15)]
    answers = engine.generate(many)
    ended = [seed for seed, answer in enumerate(answers) if answer.stop_reason == "stop"]
    assert ended
    for seed in ended:
        assert answers[seed].token_ids.index(eos) == answers[seed].output_tokens - 1
        assert "<|eos|>" not in answers[seed].text
    sampling = Sampling(max_new_tokens=150, ignore_eos=True)
    (longer,) = engine.generate([Request(prompt=WORDS[0], sampling=sampling, seed=ended[0])])
    assert longer.output_tokens == 150


def test_stop_string_cuts_the_text(engine: Engine) -> None:
    """The text ends before the stop string, the tokens include it, and nothing is drawn after it."""
    free = Request(prompt=WORDS[1], sampling=Sampling(max_new_tokens=60, ignore_eos=True), seed=3)
    (whole,) = engine.generate([free])
    middle = whole.text[20:23]
    sampling = Sampling(max_new_tokens=60, ignore_eos=True, stop=("nowhere in it", middle))
    (cut,) = engine.generate([Request(prompt=WORDS[1], sampling=sampling, seed=3)])
    assert whole.text[: whole.text.index(middle)] == cut.text
    assert cut.stop_reason == "stop"
    assert whole.token_ids[: cut.output_tokens] == cut.token_ids
    assert middle in engine._detokenizer.text(cut.token_ids)
    assert middle not in engine._detokenizer.text(cut.token_ids[:-1])


def test_special_token_as_a_stop_string(engine: Engine) -> None:
    """The name of a special token stops a row although decoding hides it."""
    pad = Sampling(max_new_tokens=150, stop=("<|pad|>",), ignore_eos=True)
    rows = [Request(prompt=WORDS[0], sampling=pad, seed=seed) for seed in range(15)]
    stopped = [answer for answer in engine.generate(rows) if answer.stop_reason == "stop"]
    assert stopped
    assert {answer.token_ids[-1] for answer in stopped} == {0}


def test_model_length(engine: Engine) -> None:
    """Prompt and answer together never exceed the model's length; a prompt that fills it draws nothing."""
    many = Sampling(max_new_tokens=100, ignore_eos=True)
    prompts = [[7] * 250, [7] * 256, [7] * 10]
    near, full, short = engine.generate([Request(prompt=prompt, sampling=many) for prompt in prompts])
    assert (near.output_tokens, near.stop_reason) == (6, "model_length")
    assert (full.output_tokens, full.stop_reason, full.text) == (0, "model_length", "")
    assert (short.output_tokens, short.stop_reason) == (100, "max_tokens")


def test_a_prompt_longer_than_the_context_is_refused(engine: Engine) -> None:
    """Before the first token, with both lengths."""
    with pytest.raises(UsageError, match=r"longer than the model's context[\s\S]*at most 256 tokens[\s\S]*257 tokens"):
        engine.generate([Request(prompt=[7] * 257, sampling=Sampling(max_new_tokens=1))])


class SmallMemory(Decoder):
    """A decoder on a device that holds so many rows."""

    rows = 3
    sizes: list[int]

    def admit(self, running: Any, entries: Any) -> None:
        super().admit(running, entries)
        self.sizes.append(running.alive)
        if running.alive > self.rows:
            raise torch.OutOfMemoryError("planted")


def test_out_of_memory_halves_what_runs_together(engine: Engine, bank: ConceptBank) -> None:
    """Rows begin again until they fit and the answers are those of a large device; one row too large is an error."""
    requests = mixed_requests(10)
    small = Engine(engine._loaded)
    small._decoder = SmallMemory(engine._loaded, engine._detokenizer)
    small._decoder.sizes = []
    assert [a.token_ids for a in engine.generate(requests, bank)] == [
        a.token_ids for a in small.generate(requests, bank)
    ]
    assert small._decoder.sizes[:3] == [10, 5, 2]
    assert max(small._decoder.sizes[3:]) == 2
    small._decoder.rows = 0
    with pytest.raises(EngineError, match="does not fit into memory"):
        small.generate(requests[:1])
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_no_requests(engine: Engine) -> None:
    """Nothing in, nothing out."""
    assert engine.generate([]) == []
