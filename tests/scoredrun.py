"""A small unsteered run of an organism: what the tests of scoring start from."""

from pathlib import Path

from evalharness.runconfig import RunConfig

SUITE = """\
schema: suite/1
id: plain
version: 1
title: Unsteered only
sampling: {{max_new_tokens: 160}}
blocks:
  - scenario: blackmail/organism
    variants: [main, no_threat]
    samples: {samples}
"""


def config(folder: Path, out: Path, model: str = "emotional", samples: int = 10, **changes: object) -> RunConfig:
    """A run of the suite above, whose file is written into `folder`."""
    suite = folder / "plain.yaml"
    suite.write_text(SUITE.format(samples=samples))
    fields = {"suite": str(suite), "model": f"organism:{model}", "out": out, "display": "none", "max_rows": 32}
    return RunConfig.model_validate({**fields, **changes})
