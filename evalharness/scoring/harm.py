"""The stated mapping from somebody else's score to flagged or unflagged: `SCORER=VALUE`, written before the run.

`harmful=1`, `judge.harmful=1`, `includes=C`, `severity>=0.5`, `verdict=UNSAFE,PARTIAL:SAFE`. A value that the mapping
does not know is neither flagged nor unflagged: a misspelt mapping must not read as a harmless model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from evalharness.errors import UsageError

_FORM = re.compile(r"(?P<name>[^=<>]+?)\s*(?P<relation>>=|<=|=)\s*(?P<value>[^=<>]+)")
_OPPOSITES = {"c": "i", "i": "c", "1": "0", "0": "1", "yes": "no", "no": "yes", "pass": "fail", "fail": "pass"}
"""Values that come in pairs. `true` and `false` are 1 and 0, as they are in a number column."""
GRAMMAR = "SCORER=VALUE or KEY=VALUE with 1, 0, true, false, C, I, yes, no; SCORER>=NUMBER; SCORER=HARM,...:SAFE,..."


class Reading(NamedTuple):
    """What a mapping makes of the scores of one sample."""

    flagged: bool | None
    """None = it cannot say."""
    note: str
    """The value that was read, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """One mapping."""

    name: str
    """A scorer, a scorer and a key of its score (`scorer.key`), or a key that one scorer has."""
    relation: str
    harmful: frozenset[str]
    harmless: frozenset[str]
    limit: float = 0.0
    """What `>=` and `<=` compare with."""

    @classmethod
    def parse(cls, text: str) -> Harm:
        """Read a mapping.

        Raises:
            UsageError: not of the form, or a value whose harmless counterpart is not known.
        """
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise _unreadable(text, "")
        name, relation, value = form["name"], form["relation"], form["value"]
        if relation != "=":
            limit = _number(value)
            if limit is None:
                raise _unreadable(text, f"{relation} compares numbers")
            return cls(name=name, relation=relation, harmful=frozenset(), harmless=frozenset(), limit=limit)
        harmful, _, harmless = (_tokens(part) for part in value.partition(":"))
        if not harmless:
            harmless = frozenset(_OPPOSITES[token] for token in harmful if token in _OPPOSITES)
            if len(harmful) != 1 or not harmless:
                raise _unreadable(text, f"say what is harmless too: {name}={value}:OTHER")
        if not harmful or harmful & harmless:
            raise _unreadable(text, "a value is either harmful or harmless")
        return cls(name=name, relation=relation, harmful=harmful, harmless=harmless)

    def require_scorer(self, scorers: Mapping[str, tuple[str, ...]], where: str) -> None:
        """See that the task has what the mapping reads. `scorers` has the keys of each scorer's score, or none.

        Raises:
            UsageError: it has not; the message lists what it has.
        """
        names = [name for name, keys in scorers.items() if not keys and name == self.name]
        names += [name for name, keys in scorers.items() for key in keys if _has_key(self.name, name, key)]
        if len(names) != 1:
            raise UsageError(
                "The mapping to harm must name one score of the task.",
                expected=" or ".join(score_names(scorers)),
                got=self.name + (" (more than one has it)" if names else ""),
                where=where,
            )

    def read(self, scores: Mapping[str, Any]) -> Reading:
        """Judge the scores of one sample: a value for each scorer, or a mapping of values."""
        found = [value for name, score in scores.items() for value in self._values(name, score)]
        if len(found) != 1:
            there = ", ".join(scores) or "none"
            return Reading(None, f"the task gave no single score {self.name!r}; it gave {there}")
        token = _token(found[0])
        if token is None:
            return Reading(None, f"the task left {self.name!r} unscored")
        note = f"{self.name} is {token}"
        if self.relation != "=":
            number = _number(token)
            if number is None:
                return Reading(None, f"{note}, which is no number")
            return Reading(number >= self.limit if self.relation == ">=" else number <= self.limit, note)
        if token not in self.harmful | self.harmless:
            return Reading(None, f"{note}, which the mapping does not know")
        return Reading(token in self.harmful, note)

    def _values(self, name: str, score: Any) -> list[Any]:
        if isinstance(score, Mapping):
            return [value for key, value in score.items() if self.name in (key, f"{name}.{key}")]
        return [score] if name == self.name else []


def score_names(scorers: Mapping[str, tuple[str, ...]]) -> list[str]:
    """How a mapping can name each score of a task."""
    return [part for name, keys in scorers.items() for part in ([f"{name}.{key}" for key in keys] or [name])]


def _has_key(wanted: str, scorer: str, key: str) -> bool:
    """Whether a name means this key, which may be a pattern where a scorer does not fix its keys."""
    return fnmatchcase(wanted, key) or (wanted.startswith(f"{scorer}.") and fnmatchcase(wanted[len(scorer) + 1 :], key))


def _tokens(text: str) -> frozenset[str]:
    return frozenset(token for part in text.split(",") if (token := _token(part)))


def _token(value: Any) -> str | None:
    """A value as the mapping compares it: without case; truth values as 1 and 0; None where there is no value."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return f"{value:.10g}" if math.isfinite(value) else None
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip().casefold()
    number = _number(text)
    return f"{number:.10g}" if number is not None else {"true": "1", "false": "0"}.get(text, text)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unreadable(text: str, why: str) -> UsageError:
    return UsageError("Not a mapping to harm.", expected=GRAMMAR, got=text, where="--harm", fix=why)
