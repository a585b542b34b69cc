"""The scenario schema and its loader: a YAML file becomes prompts and the facts a scorer needs.

A scenario knows nothing about models, steering or scoring. A draw fills its slots from a seed that does not
depend on the variant, so that a case and its benign twins are matched pairs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import jinja2
from jinja2 import meta
from pydantic import BaseModel, ConfigDict, Field, model_validator

from evalharness.content import ContentName, content_root, find_content, load_record, read_yaml, template_sandbox
from evalharness.errors import ContentError
from evalharness.ids import derive_seed, sha256_json
from evalharness.mails import INBOX, fill_mailbox
from evalharness.row import Form, Role
from evalharness.sampling import SamplingSpec

Choice = str | dict[str, str]
Value = str | dict[str, str] | list[str] | bool | int | float

_JINJA = template_sandbox()
_JINJA.filters["given"] = lambda name: name.split()[0]
_JINJA.filters["handle"] = lambda name: ".".join(name.lower().replace("'", "").split())

# What a template can raise by what it says: not only Jinja's own errors, but those of the Python underneath.
_TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, ValueError, AttributeError, ArithmeticError, LookupError)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Choose(_Record):
    """A slot that takes several different values at once."""

    choose: Annotated[int, Field(ge=0)]
    of: Annotated[list[str], Field(min_length=1)]


class Words(_Record):
    """How long a prompt may be, all its messages together."""

    min: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1)]


class Variant(_Record):
    """One form of a scenario.

    A twin differs from `twin_of` in what makes the unsafe act possible or tempting. A mitigated variant keeps all of
    that and adds a safe way out. Neither is pooled with the main variants: the one would dilute their rate with cases
    that cannot go wrong, the other with cases that go wrong less often.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    role: Role = "main"
    twin_of: str | None = None
    """The main variant that it is matched with; every variant but a main one has it."""
    set: dict[str, bool | int | float | str] = {}
    title: str = ""


class Rendered(NamedTuple):
    """What one draw gives."""

    messages: tuple[dict[str, str], ...]
    """Chat messages (`role`, `content`): system if the scenario has one, then user."""
    facts: dict[str, str]
    """What a scorer must know and the model is not told."""
    files: dict[str, str]
    hidden: dict[str, str]

    @property
    def text(self) -> str:
        """All messages, one after another."""
        return "\n".join(message["content"] for message in self.messages)

    @property
    def n_words(self) -> int:
        """Words of all messages."""
        return len(self.text.split())


class Scenario(_Record):
    """A family member of the scenarios: templates, slots, facts and variants.

    Beside Jinja's own filters a template has two for names: `given` (`Ann Lee` -> `Ann`) and `handle` (-> `ann.lee`).
    Beside its slots it has `tools`: whether the rollout acts by tools of a mailbox and not by the text of one reply;
    and prompts have `files`, so that what is shown of a file is what the file says.
    """

    schema_: Literal["scenario/1"] = Field(alias="schema")
    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    family: str
    title: str
    version: int
    split: Literal["public", "heldout"] = "public"
    canary: str
    sampling: SamplingSpec | None = None
    """How replies are drawn where no suite says so."""
    rubric: ContentName | None = None
    """Name of the rubric file that a judge uses, if there is one."""
    words: Words | None = None
    """Bounds on the length of every prompt; `scenarios check` holds the file to them."""
    like: ContentName | None = None
    """Another scenario whose fields this one has, but for those that it gives itself: the same mails asked about
    something else."""
    form: Form = "reply"
    system: str = ""
    user: str
    slots: dict[str, list[Choice] | Choose] = {}
    """Drawn in this order; a value may be a template over the slots before it."""
    distinct: list[list[str]] = []
    """Groups of slots that must not draw the same value."""
    cover: str | None = None
    """A slot of which a draw takes value `seed mod n`: a plan then uses each value equally often (`draw_seed`)."""
    facts: dict[str, str] = {}
    files: dict[str, str] = {}
    """What the world of the rollout holds at its start, by path; contents are templates."""
    hidden: dict[str, str] = {}
    """Files that only the checker has, such as hidden tests; templates too."""
    variants: Annotated[list[Variant], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _filled_up(cls, raw: Any) -> Any:
        """Take what is not given from the scenario under `like`."""
        name = raw.get("like") if isinstance(raw, Mapping) else None
        if not isinstance(name, str):
            return raw
        base = read_yaml(find_content("scenarios", name, ".yaml"))
        if not isinstance(base, Mapping) or "like" in base:
            raise ValueError(f"like: {name} is itself like another scenario or none at all")
        return {**base, **raw}

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        names = [variant.id for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variants: ids must be unique, got {names}")
        mains = [variant.id for variant in self.variants if variant.role == "main"]
        for variant in self.variants:
            if (variant.role == "main") != (variant.twin_of is None) or variant.twin_of not in [None, *mains]:
                raise ValueError(f"variants.{variant.id}: a {variant.role} needs twin_of, one of {mains}")
        if "files" in self.slots:
            raise ValueError("slots: `files` is what prompts call the files of the scenario")
        for group in self.distinct:
            for slot in group:
                if not isinstance(self.slots.get(slot), list):
                    raise ValueError(f"distinct: {slot!r} is no slot with a list of values")
        if self.cover is not None and (not self._covered or any(self.cover in group for group in self.distinct)):
            raise ValueError(f"cover: {self.cover!r} must be a slot with a list of values, and in no group of distinct")
        return self

    @property
    def _covered(self) -> list[Choice]:
        pool = self.slots.get(self.cover or "")
        return pool if isinstance(pool, list) else []

    @property
    def sha256(self) -> str:
        """Hash over everything the file says."""
        return sha256_json(self.model_dump(mode="json", by_alias=True))

    def in_form(self, form: Form) -> Scenario:
        """The same setting played in another form, under a name of its own: rates of two forms are never pooled."""
        return self.model_copy(update={"form": form, "id": f"{self.id}.{form}"})

    def variant(self, name: str) -> Variant:
        """The variant called `name`.

        Raises:
            ContentError: there is none; the message lists those there are.
        """
        for variant in self.variants:
            if variant.id == name:
                return variant
        known = ", ".join(variant.id for variant in self.variants)
        raise ContentError(f"Scenario {self.id!r} has no variant {name!r}.", expected=known, got=name)

    def draw_seed(self, run_seed: int, index: int) -> int:
        """The seed of draw `index` of a run. Any n draws in a row take each of the n values of `cover` once."""
        seed = derive_seed(run_seed, self.id, "draw", index)
        n = len(self._covered)
        if n == 0:
            return seed
        order = random.Random(derive_seed(run_seed, self.id, "order")).sample(range(n), n)
        return seed - seed % n + order[index % n]

    def draw(self, seed: int) -> dict[str, Value]:
        """Fill the slots. The same seed gives the same values for every variant."""
        rng = random.Random(seed)
        drawn: dict[str, Value] = {}
        for name, pool in self.slots.items():
            if isinstance(pool, Choose):
                drawn[name] = [self._fill(text, drawn, name) for text in rng.sample(pool.of, pool.choose)]
                continue
            taken = [drawn[other] for group in self.distinct if name in group for other in group if other in drawn]
            free = [choice for choice in pool if choice not in taken]
            if not free:
                raise ContentError("A slot has no value left.", where=f"scenario {self.id}, slots.{name}")
            choice = pool[seed % len(pool)] if name == self.cover else rng.choice(free)
            drawn[name] = self._fill(choice, drawn, name) if isinstance(choice, str) else choice
        return drawn

    def render(self, variant: str, draw_seed: int, overrides: Mapping[str, Value] | None = None) -> Rendered:
        """The prompt and the facts of one draw. `overrides` replace slot values or variant settings."""
        form = {"tools": self.form == "mailbox"}
        values = {**form, **self.draw(draw_seed), **self.variant(variant).set, **(overrides or {})}
        groups = [("facts", self.facts), ("files", self.files), ("hidden", self.hidden)]
        filled = [{key: self._fill(text, values, f"{group}.{key}") for key, text in d.items()} for group, d in groups]
        texts, shown = (("system", self.system), ("user", self.user)), {**values, "files": filled[1]}
        messages = tuple(
            {"role": role, "content": self._fill(text, shown, role)} for role, text in texts if text.strip()
        )
        rendered = Rendered(messages, *filled)
        if self.form != "mailbox" or any(path.startswith(INBOX) for path in rendered.files):
            return rendered
        return self._as_mailbox(rendered)

    def _as_mailbox(self, rendered: Rendered) -> Rendered:
        """The mails of the user message become files of the inbox; what stands around them stays the message."""
        if "tools" not in meta.find_undeclared_variables(_JINJA.parse(self.system)):
            raise ContentError(
                "A scenario that does not know of tools cannot be played with a mailbox.",
                where=f"scenario {self.id}, system",
                expected="{% if tools %} around what is said about the form of an action",
            )
        *others, user = rendered.messages
        filled = fill_mailbox(user["content"])
        if not filled.files:
            raise ContentError("The prompt shows no mail to fill a mailbox with.", where=f"scenario {self.id}, user")
        return rendered._replace(
            messages=(*others, {"role": "user", "content": filled.briefing}), files={**rendered.files, **filled.files}
        )

    def _fill(self, template: str, values: Mapping[str, Any], field: str) -> str:
        if "{" not in template:
            return template
        try:
            return _compiled(template).render(values).strip()
        except _TEMPLATE_ERRORS as error:
            raise ContentError(
                "A template cannot be rendered.", where=f"scenario {self.id}, {field}", got=str(error)
            ) from error


@lru_cache(maxsize=4096)
def _compiled(template: str) -> jinja2.Template:
    return _JINJA.from_string(template)


def load_scenario(name: str) -> Scenario:
    """Load by shipped name (`blackmail/organism`) or by path to a YAML file.

    Raises:
        ContentError: no such file, or it breaks the schema; the message names file and field.
    """
    return load_record(Scenario, find_content("scenarios", name, ".yaml"))


def scenario_names() -> tuple[str, ...]:
    """Every shipped scenario, as `family/name`."""
    root = content_root() / "scenarios"
    return tuple(sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml")))
