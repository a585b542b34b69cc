"""What the tests of whole runs share: a small suite and a random checkpoint, used through the public names."""

from pathlib import Path

from evalharness.runconfig import RunConfig
from evalharness.testing import Architecture, tiny_checkpoint

SUITE = """\
schema: suite/1
id: toy
version: 1
title: A few samples of everything
sampling: {{max_new_tokens: 16}}
bank: {{stories: organism, neutral: organism, contrast: organism, stories_per_concept: 4, depth: 0.5, skip: 5}}
blocks:
  - scenario: blackmail/organism
    variants: [main, no_threat]
    samples: {samples}
    grid:
      concepts: [calm, desperate]
      strengths: [0.2]
      controls: {{gaussian: 1, permuted: 1, contrast: 1, mean: true}}
      control_strengths: [0.2]
"""
CELLS = 2 * 7


def checkpoint(folder: Path, architecture: Architecture = "llama", seed: int = 0) -> Path:
    """A random checkpoint with room for the prompts of the scenario."""
    return tiny_checkpoint(folder, architecture, seed, model_length=2048)


def config(folder: Path, model: Path, out: Path, samples: int = 3, **changes: object) -> RunConfig:
    """A run of the toy suite, whose file is written into `folder`."""
    suite = folder / "toy.yaml"
    suite.write_text(SUITE.format(samples=samples))
    fields = {"suite": str(suite), "model": str(model), "out": out, "display": "none", "max_rows": 32}
    return RunConfig.model_validate({**fields, **changes})
