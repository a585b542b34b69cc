"""The coherence guard: how steered texts read beside unsteered ones of the same prompts, for the unsteered model."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalharness.concepts.calibration import Coherence, TrialRecord
from evalharness.errors import UsageError
from evalharness.ids import derive_seed, sha256_json
from evalharness.request import Completion, Prompt, Request, Sampling, Steering

if TYPE_CHECKING:
    from evalharness.concepts.bank import ConceptBank
    from evalharness.engine import Engine

RUN = 4
"""Words, or tokens, of a run that may come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Prompts of the length class in use, and how they are answered."""

    prompts: Sequence[Prompt]
    source: str
    """Where they come from, in words."""
    sampling: Sampling
    format: str | None = None
    """A regular expression that is found in an answer of the right form; `.` matches line breaks too."""

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """The format, compiled.

        Raises:
            UsageError: it is no regular expression.
        """
        try:
            return None if self.format is None else re.compile(self.format, re.DOTALL)
        except re.error as error:
            raise UsageError(
                "The format is no regular expression.", got=self.format or "", expected=str(error)
            ) from error


def trial_record(engine: Engine, trial: Trial) -> TrialRecord:
    """What a result says of its prompts.

    Raises:
        UsageError: no prompt, one that leaves no room for an answer, or a format that is no regular expression.
    """
    ids = [engine.render(prompt) for prompt in trial.prompts]
    sizes = [len(prompt) for prompt in ids]
    if not sizes or max(sizes) >= engine.model_length:
        raise UsageError(
            "Strengths cannot be tried on these prompts.",
            expected=f"at least one prompt, each shorter than the context of {engine.model_length} tokens",
            got=f"{len(sizes)} prompts of up to {max(sizes, default=0)} tokens",
            where=trial.source,
        )
    sampling, pattern = trial.sampling, trial.pattern
    return TrialRecord(
        prompts=trial.source,
        n_prompts=len(ids),
        prompt_tokens=(min(sizes), max(sizes)),
        prompts_sha256=sha256_json([list(prompt) for prompt in ids]),
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        stop=sampling.stop,
        format=None if pattern is None else pattern.pattern,
    )


def draw(
    engine: Engine, bank: ConceptBank, trial: Trial, conditions: Sequence[Steering | None], samples: int, seed: int
) -> list[list[Completion]]:
    """`samples` texts under each condition, all in one call: conditions share batches and prompts.

    Text i has the same prompt and the same sampling noise under every condition.
    """
    requests = [
        Request(
            prompt=trial.prompts[number % len(trial.prompts)],
            sampling=trial.sampling,
            steering=steering,
            seed=derive_seed("calibrate", seed, number),
        )
        for steering in conditions
        for number in range(samples)
    ]
    drawn = engine.generate(requests, bank)
    return [drawn[start : start + samples] for start in range(0, len(drawn), samples)]


def read(engine: Engine, trial: Trial, drawn: Sequence[Sequence[Completion]]) -> list[Coherence]:
    """How the texts of each condition read. `drawn` as `draw` gives it."""
    ids = [engine.render(prompt) for prompt in trial.prompts]
    pattern = trial.pattern
    prompts = [ids[number % len(ids)] for texts in drawn for number in range(len(texts))]
    scores = iter(engine.log_likelihoods(prompts, [text.token_ids for texts in drawn for text in texts]))
    found = []
    for texts in drawn:
        own = [next(scores) for _ in texts]
        found.append(
            Coherence(
                n=len(texts),
                nll=_mean([-_mean(tokens) for tokens in own]),
                repetition=_mean([repetition(text) for text in texts]),
                ended=_mean([text.stop_reason == "stop" for text in texts]),
                matched=None if pattern is None else _mean([pattern.search(text.text) is not None for text in texts]),
            )
        )
    return found


def repetition(text: Completion) -> float:
    """Share of runs that the text has had before: of words, or of tokens where that is more.

    A loop of signs has no words, and some scripts have no spaces.
    """
    return max(_repeated(re.findall(r"[\w'-]+", text.text.lower())), _repeated(text.token_ids))


def _repeated(pieces: Sequence[Hashable]) -> float:
    runs = [tuple(pieces[at : at + RUN]) for at in range(len(pieces) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
