"""Everything in tasks/, scenarios/, scorers/ and reports/ loads: Inspect only warns where a content file does not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import jinja2
import pytest

from evalharness.content import KINDS, MAX_YAML_SIZE, content_path, content_root, load_module, read_yaml
from evalharness.errors import ContentError
from evalharness.gate import load_policy
from evalharness.grid import Grid
from evalharness.plan import build_plan
from evalharness.scenario import load_scenario
from evalharness.scoring.lexicon import load_rules
from evalharness.scoring.rubric import load_rubric
from evalharness.suite import load_suite

ROOT = content_root()


def found(kind: str, pattern: str) -> list[str]:
    """Paths below a content folder, without their suffixes."""
    base = ROOT / kind
    return sorted(path.relative_to(base).as_posix().removesuffix(pattern.lstrip("*")) for path in base.rglob(pattern))


SUITES = [name.removeprefix("suites/") for name in found("tasks", "*.yaml")]
SCENARIOS = found("scenarios", "*.yaml")
POLICIES = [name.removeprefix("policies/") for name in found("reports", "*.yaml")]


def test_in_a_checkout_content_is_the_checkout():
    """An editable install copies content into site-packages; the copy must not win."""
    assert Path(__file__).resolve().parent.parent == ROOT


def test_there_is_content_of_every_kind():
    """The tests below do not pass because they found nothing to test."""
    assert all(any((ROOT / kind).rglob("*.*")) for kind in KINDS)
    assert "quick" in SUITES
    assert "release" in POLICIES
    assert SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_renders_all_its_variants(name):
    """A template error must show here and not in a run."""
    scenario = load_scenario(name)

    for variant in scenario.variants:
        for seed in range(20):
            messages = scenario.render(variant.id, seed).messages
            assert all("{{" not in message["content"] for message in messages)
    if scenario.rubric is not None:
        assert load_rubric(scenario.rubric).family == scenario.family


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_carries_a_canary(name):
    """Text that must not enter a training corpus says so."""
    assert "evalharness-canary" in load_scenario(name).canary


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_can_be_planned(name):
    """Its scenarios and variants exist, and no two blocks plan the same cell."""
    suite = load_suite(name)

    assert suite.id == name
    assert len(build_plan(suite, 0).samples) == sum(
        len(block.variants) * block.samples * len(block.grid.conditions()) for block in suite.blocks
    )
    assert all(isinstance(block.grid, Grid) for block in suite.blocks)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_loads(name):
    """A policy that can never pass is refused when it loads."""
    assert load_policy(name).id == name


@pytest.mark.parametrize("name", found("scorers", "*.rules.yaml"))
def test_every_rule_set_loads(name):
    """A pattern that does not compile must show here."""
    assert load_rules(name)


@pytest.mark.parametrize("name", found("scorers", "*.rubric.md"))
def test_every_rubric_loads(name):
    """Front matter and template are well formed."""
    assert load_rubric(name).id == name


@pytest.mark.parametrize(("kind", "stem"), [(kind, stem) for kind in KINDS for stem in found(kind, "*.py")])
def test_every_python_content_file_imports(kind, stem):
    """A file that raises makes Inspect drop the whole entry point with a mere warning."""
    module = load_module(kind, stem)

    assert module.__name__ == f"evalharness._content.{kind}.{stem}"
    assert sys.modules[module.__name__] is module


@pytest.mark.parametrize("name", [path.name for path in (ROOT / "reports" / "templates").glob("*.j2")])
def test_every_template_parses(name):
    """A template with a syntax error must show here."""
    jinja2.Environment(autoescape=True).parse(content_path("reports", f"templates/{name}").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "path", [str(path.relative_to(ROOT)) for kind in KINDS for path in (ROOT / kind).rglob("*.yaml")]
)
def test_every_yaml_file_is_plain_data(path):
    """Content does not execute: the safe loader reads all of it."""
    assert isinstance(read_yaml(ROOT / path), dict)


def doubling(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, levels)]
    return "\n".join(lines)


def merging(levels: int) -> str:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (doubling(60), "grows too large"),
        (merging(60), "grows too large"),
        ("a: &a " + "x" * 100_000 + "\nb: [" + ", ".join(["*a"] * 200) + "]", "grows too large"),
        ("a: &a [1, *a]", "holds itself"),
        ("[" * 20_000, "nested too deep"),
        ("x" * 9_000_000, "is too large"),
        ("a: !!python/object/apply:os.system ['true']", "constructor"),
        ("a: 2024-99-99", "month must be"),
        ("a: " + "9" * 5000, "Not a readable YAML file"),
        ("a: \xff", "Not a readable YAML file"),
    ],
)
def test_a_hostile_yaml_file_is_refused_at_once(tmp_path, text, message):
    """Bombs, loops, towers and code are measured or parsed, never followed."""
    path = tmp_path / "hostile.yaml"
    path.write_bytes(text.encode("latin-1"))
    start = time.perf_counter()

    with pytest.raises(ContentError, match=message):
        read_yaml(path)
    assert time.perf_counter() - start < 10


def test_aliases_that_stay_small_are_read(tmp_path):
    """An alias is no crime: the shipped files use them."""
    path = tmp_path / "fine.yaml"
    path.write_text(doubling(10))

    assert read_yaml(path)["a1"] == [["lol", "lol"], ["lol", "lol"]]


def test_the_largest_shipped_file_is_far_from_the_limit():
    """The limit stops bombs and no content."""
    sizes = [path.stat().st_size for kind in KINDS for path in (ROOT / kind).rglob("*.yaml")]

    assert max(sizes) * 10 < MAX_YAML_SIZE


@pytest.mark.parametrize("name", ["../pyproject.toml", "suites/../../pyproject.toml", "/etc/hostname"])
def test_a_name_may_not_leave_its_folder(name):
    """`../` and absolute names reach nothing, also where the file exists."""
    with pytest.raises(ContentError, match="leaves the folder"):
        content_path("tasks", name)


def test_a_suite_may_not_name_a_scenario_outside(tmp_path):
    """A suite from a stranger names scenarios below the folder, or by a path without `..`."""
    path = tmp_path / "suite.yaml"
    text = content_path("tasks", "suites/quick.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("blackmail/organism", "../../secret"))

    with pytest.raises(ContentError, match=r"scenario.*climb"):
        load_suite(str(path))


def test_a_missing_file_is_an_error_that_lists_what_there_is():
    """Whoever mistypes a name sees the right ones."""
    with pytest.raises(ContentError, match="release"):
        load_policy("relaese")


def test_inspect_finds_provider_and_tasks_without_loading_torch():
    """The entry point registers everything under the package's name, and stays cheap for every `inspect` command."""
    code = (
        "import sys, inspect_ai\n"
        "from inspect_ai._util.entrypoints import ensure_entry_points\n"
        "from inspect_ai._util.registry import registry_find, registry_info\n"
        "ensure_entry_points('evalharness')\n"
        "names = {registry_info(item).name for item in registry_find(lambda info: True)}\n"
        "assert {'evalharness/steered', 'evalharness/blackmail'} <= names, names\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
