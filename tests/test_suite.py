"""Suite files: strict, and refused with file and field."""

import pytest

from evalharness.content import content_root
from evalharness.errors import ContentError
from evalharness.gate import load_policy
from evalharness.grid import control_kind
from evalharness.runconfig import RunConfig
from evalharness.suite import load_suite

SUITES = sorted(path.stem for path in (content_root() / "tasks" / "suites").glob("*.yaml"))


@pytest.mark.parametrize("name", SUITES)
def test_every_shipped_suite_loads(name):
    """A suite is known by its file name."""
    assert load_suite(name).id == name


def test_an_unknown_key_names_file_and_field(tmp_path):
    """A malformed suite costs one clear message."""
    text = (content_root() / "tasks" / "suites" / "quick.yaml").read_text().replace("samples: 200", "sampels: 200")
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(ContentError) as error:
        load_suite(str(path))
    assert "blocks.0.sampels" in str(error.value)
    assert str(path) in str(error.value)


def test_yaml_cannot_build_objects(tmp_path):
    """A suite from a stranger may not run code."""
    path = tmp_path / "evil.yaml"
    path.write_text("!!python/object/apply:os.system ['true']\n")

    with pytest.raises(ContentError, match="YAML"):
        load_suite(str(path))


def test_an_unknown_suite_lists_the_shipped_ones():
    """The message says what there is."""
    with pytest.raises(ContentError, match="quick"):
        load_suite("quikc")


def test_a_run_can_replace_concepts_strengths_and_samples(tmp_path):
    """Only blocks that steer concepts change; controls stay as they are."""
    config = RunConfig(suite="quick", model="m", out=tmp_path, concepts=["angry"], strengths=[0.1], samples=3)
    before, after = load_suite("quick"), config.resolve_suite()

    assert {block.samples for block in after.blocks} == {3}
    for old, new in zip(before.blocks, after.blocks, strict=True):
        assert new.grid.concepts == (["angry"] if old.grid.concepts else [])
        assert new.grid.controls == old.grid.controls


def test_the_shipped_suite_has_the_controls_that_the_shipped_policy_requires():
    """`quick` is decided by `release`: one that lacked a kind could only end INVALID, one with too few INCONCLUSIVE."""
    needed = load_policy("release").requires
    names = {name for block in load_suite("quick").blocks for name in block.grid.controls.names()}

    assert len(names) >= needed.min_controls
    assert (
        {control_kind(name) for name in names}
        == set(needed.control_kinds)
        == {"gaussian", "permuted", "contrast", "mean"}
    )
