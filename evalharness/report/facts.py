"""What was done and with what: methods, versions and hashes as named lines, from configuration and manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalharness.cells import Cell
from evalharness.report.model import Fact, FactGroup
from evalharness.report.text import one_line, strength_text
from evalharness.report.wording import CONTROLS, PAIRING, RATES, STRENGTH

Json = Mapping[str, Any]


def flat(value: Any, name: str = "") -> tuple[Fact, ...]:
    """Any JSON value as named lines; the path of a nested value becomes its name."""
    return tuple(Fact(name=one_line(path) or "value", text=one_line(text, 1000)) for path, text in _walk(value, name))


def method_groups(cells: Sequence[Cell], config: Json, suite: Json) -> tuple[FactGroup, ...]:
    """How the numbers came about."""
    conditions = [cell for cell in cells if cell.kind != "baseline"]
    steered = [cell for cell in conditions if cell.kind == "concept"]
    design = {
        "scenarios": _listed(cell.scenario for cell in cells),
        "variants": _listed(f"{cell.variant} ({cell.role})" for cell in cells if cell.variant != "*"),
        "concepts": _listed(cell.concept or "" for cell in steered),
        "strengths": _listed(strength_text(value) for value in sorted({cell.strength for cell in steered})),
        "controls": f"{len({cell.concept for cell in conditions if cell.kind == 'control'})} directions",
        "steered layers": _listed(", ".join(map(str, cell.layers)) for cell in conditions if cell.layers),
        "steered positions": _listed(cell.span for cell in conditions),
        "judge": " + ".join(_graders(config)) or "none: rules only",
    }
    meanings = {"strength": STRENGTH, "rates and bounds": RATES, "what controls are": CONTROLS, "pairing": PAIRING}
    groups = [("Design", flat({name: text for name, text in design.items() if text}))]
    groups += [("Meanings", flat(meanings))]
    groups += [
        (title, flat(suite[key])) for title, key in (("Sampling", "sampling"), ("Vectors", "bank")) if key in suite
    ]
    return tuple(FactGroup(title=title, facts=facts) for title, facts in groups if facts)


def reproduce_groups(verdict: Json, manifest: Json, config: Json) -> tuple[FactGroup, ...]:
    """Versions, hardware, seeds and hashes."""
    separate = ("versions", "hardware", "files", "scorers")  # scorers have a section of their own
    instrument = {key: value for key, value in verdict["instrument"].items() if key != "scorers"}
    run = {key: value for key, value in manifest.items() if key not in separate}
    groups = (
        ("Run", flat({**run, "policy_sha256": verdict.get("policy_sha256")})),
        ("Instrument", flat(instrument)),
        ("Versions", flat(manifest.get("versions", {}))),
        ("Hardware", flat(manifest.get("hardware", {}))),
        ("Configuration", flat(config)),
    )
    return tuple(FactGroup(title=title, facts=facts) for title, facts in groups if facts)


def commands(config: Json) -> tuple[str, ...]:
    """The commands that repeat the run, and that decide on its folder again."""
    options = [("--seed", config.get("seed")), ("--bank", config.get("bank"))]
    options += [("--grader", grader) for grader in _graders(config)]
    given = " ".join(f"{flag} {_quoted(value)}" for flag, value in options if value not in (None, ""))
    given += " --transfer-bank" if config.get("transfer_bank") else ""
    model, policy = (_quoted(config.get(key, key.upper())) for key in ("model", "policy"))
    return (
        f"evalharness run {_content(config)} --model {model} {given} --out DIR".replace("  ", " "),
        "evalharness report DIR",
        f"evalharness gate DIR --policy {policy}",
    )


def _graders(config: Json) -> list[str]:
    """A run folder holds one grader as a string and several as a list."""
    told = config.get("grader") or []
    return [told] if isinstance(told, str) else [str(name) for name in told]


def _content(config: Json) -> str:
    """The suite, or the task with the options that only a task has."""
    if not config.get("task"):
        return _quoted(config.get("suite", "SUITE"))
    plain = {"--harm": "harm", "--controls": "controls", "--max-new-tokens": "max_new_tokens", "--samples": "samples"}
    lists = {"--concepts": config.get("concepts"), "--strengths": config.get("strengths")}
    options = [f"-T {_quoted(f'{key}={json.dumps(value)}')}" for key, value in (config.get("task_args") or {}).items()]
    options += [f"{flag} {_quoted(config[key])}" for flag, key in plain.items() if config.get(key) is not None]
    options += [f"{flag} {_quoted(','.join(map(str, values)))}" for flag, values in lists.items() if values]
    options += ["--any-language"] if config.get("english") is False else []
    return " ".join([f"--task {_quoted(config['task'])}", *options])


def _listed(values: Iterator[str] | Any) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))


def _quoted(value: object) -> str:
    text = one_line(str(value))
    return (
        text if all(char.isalnum() or char in "-_./:+@=" for char in text) else "'" + text.replace("'", "'\\''") + "'"
    )


def _walk(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key in value:
            yield from _walk(value[key], f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        for number, item in enumerate(value):
            yield from _walk(item, f"{name}.{number}" if name else str(number))
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(_scalar, value)) or "none"
    else:
        yield name, _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
