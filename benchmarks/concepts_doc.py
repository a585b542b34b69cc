"""`docs/concepts.md`: the concept vectors of the shipped organisms, measured, with their figures.

    python -m benchmarks.concepts_doc [--write-only]

Runs the verbs that a user would run, on `emotional`, on `safe` and on a checkpoint of random weights, keeps their
results as `docs/figures/concepts.json` and their figures beside it, and writes the page from the two. With
`--write-only` nothing is measured. A test holds page and results together.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from evalharness.checkpoint import resolve_checkpoint
from evalharness.cli import app
from evalharness.content import template_sandbox

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = DOCS / "figures"
FACTS = FIGURES / "concepts.json"
TEMPLATE = Path(__file__).with_name("concepts.md.j2")
LANGUAGE = ("--stories", "organism", "--neutral", "organism")
BUILD = (*LANGUAGE, "--contrast", "organism", "--skip", "20")
SCENARIO = ("--scenario", "blackmail/organism")
SHOWN = ("desperate", "calm", "afraid", "angry", "loving", "disgusted")
"""Concepts whose logit lens stands on the page."""

Facts = dict[str, Any]


def main() -> None:
    """Measure, unless told not to, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-only", action="store_true", help="write the page from the results that are there")
    if not parser.parse_args().write_only:
        FIGURES.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as name:
            facts = measure(Path(name))
        FACTS.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (DOCS / "concepts.md").write_text(page(json.loads(FACTS.read_text(encoding="utf-8"))), encoding="utf-8")


def page(facts: Facts) -> str:
    """The page that belongs to these results."""
    return template_sandbox().from_string(TEMPLATE.read_text(encoding="utf-8")).render(**facts).strip() + "\n"


def measure(folder: Path) -> Facts:
    """Banks of both organisms and of random weights, checked, calibrated, compared; the figures are copied."""
    random = folder / "random-model"
    random_weights(resolve_checkpoint("organism:emotional"), random)
    checks = {}
    for name, model in (("emotional", "organism:emotional"), ("safe", "organism:safe"), ("random", str(random))):
        evalharness("vectors", "build", "--model", model, *BUILD, "--out", str(folder / name))
        evalharness("vectors", "check", str(folder / name), "--model", model, *LANGUAGE, may_fail=name == "random")
        checks[name] = read(folder / name / "check" / "check.json")
    bank = str(folder / "emotional")
    evalharness("vectors", "calibrate", bank, "--model", "organism:emotional", *LANGUAGE, *SCENARIO)
    evalharness("vectors", "compare", bank, str(folder / "safe"), "--out", str(folder / "drift"))
    for source, kept in (
        (folder / "emotional/check/stability.svg", "concepts-stability.svg"),
        (folder / "emotional/check/components.svg", "concepts-components.svg"),
        (folder / "emotional/calibration/calibration.svg", "concepts-calibration.svg"),
        (folder / "drift/comparison.svg", "concepts-drift.svg"),
    ):
        shutil.copyfile(source, FIGURES / kept)
    manifest = read(folder / "emotional/manifest.json")
    calibration = read(folder / "emotional/calibration/calibration.json")
    return {
        "checks": {name: _check_facts(check) for name, check in checks.items()},
        "norms": dict(zip(map(str, manifest["layers"]), manifest["mean_norms"], strict=True)),
        "words": {name: checks["emotional"]["lens"]["words"][name]["top"][:6] for name in SHOWN},
        "calibration": _calibration_facts(calibration),
        "drift": _drift_facts(read(folder / "drift/comparison.json")),
    }


def _check_facts(check: Facts) -> Facts:
    held_out, stability = check["held_out"], check["stability"]
    kept = ("passed", "top1", "top5", "chance", "p_value", "twin_top1", "twin_p_value", "n_heldout", "n_concepts")
    return {
        **{key: held_out[key] for key in kept},
        "passed": check["passed"],
        "reasons": check["reasons"],
        "bag_of_words": check["bag_of_words"]["top1"],
        "halves": {key: stability[key] for key in ("median", "low", "high", "permuted_95")},
        "components": check["geometry"]["variance_shares"][:3],
    }


def _calibration_facts(calibration: Facts) -> Facts:
    layers = [
        {
            "layer": one["layer"],
            "depth": one["depth"],
            "top1": one["check"]["top1"],
            "window": one["window"],
            "curve": [
                {
                    "concept": point["concept"],
                    "strength": point["strength"],
                    "nll_ratio": point["nll_ratio"],
                    "ended": point["coherence"]["ended"],
                    "faults": point["faults"],
                }
                for point in one["curve"]
                if abs(point["strength"]) >= 0.1
            ],
        }
        for one in calibration["layers"]
    ]
    return {**{key: calibration[key] for key in ("picked", "ladder", "samples")}, "layers": layers}


def _drift_facts(comparison: Facts) -> Facts:
    concepts = comparison["concepts"]
    return {
        "layers": comparison["layers"],
        "least": [{key: one[key] for key in ("name", "cosine")} for one in concepts[:3]],
        "most": [{key: one[key] for key in ("name", "cosine")} for one in concepts[-3:]],
    }


def random_weights(like: str, folder: Path) -> None:
    """A checkpoint of the same architecture and tokenizer whose weights nobody trained."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(like))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)


def evalharness(*arguments: str, may_fail: bool = False) -> None:
    """Run a verb as a user would; exit code 1 says that a check did not pass."""
    code = app(list(arguments), standalone_mode=False) or 0
    if code not in ((0, 1) if may_fail else (0,)):
        raise SystemExit(f"evalharness {' '.join(arguments)} ended with {code}")


def read(path: Path) -> Facts:
    """One JSON file."""
    found: Facts = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
