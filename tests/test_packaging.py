"""What is shipped: one wheel, built from the sdist, that holds the checkout's content and runs outside of it."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONTENT = ("tasks", "scenarios", "scorers", "reports", "corpora")
ORGANISMS = ("emotional", "strategic", "safe", "judge")
MB = 1_000_000


def tracked_files() -> list[str]:
    """What git knows and the working tree still has."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout, so there is nothing to compare the wheel with")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network from a copy of the tracked files with some litter in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    for litter in ("scenarios/__pycache__/x.cpython-311.pyc", "runs/secret.yaml", "evalharness/__pycache__/y.pyc"):
        (source / litter).parent.mkdir(parents=True, exist_ok=True)
        (source / litter).write_text("litter")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "build", "--no-isolation", "--outdir", out, source],
        capture_output=True,
        text=True,
        check=False,
        cwd=out,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def members(wheel: Path) -> dict[str, int]:
    """Path and size of each file in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.file_size for info in archive.infolist()}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment outside of the checkout that has the wheel, and sees the dependencies only.

    The dependencies are reached by a plain path: site-packages of this interpreter comes after its own, and `.pth`
    files in there are not read, so an editable install of the package cannot answer for the wheel.
    """
    folder = tmp_path_factory.mktemp("outside") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    (own,) = (folder / "lib").glob("python*/site-packages")
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return python


def outside(folder: Path) -> dict[str, str]:
    """An environment that cannot find the checkout or the network."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    }
    return {**kept, "HF_HUB_OFFLINE": "1", "MPLCONFIGDIR": str(folder), "XDG_CACHE_HOME": str(folder)}


def test_the_wheel_has_one_top_level_name(members):
    """Nothing as common as `tasks` or `reports` lands in site-packages."""
    top = {name.split("/")[0] for name in members}

    assert {name for name in top if not name.endswith(".dist-info")} == {"evalharness"}


def test_the_wheel_holds_what_git_knows_and_nothing_else(members):
    """Package files one to one, content below `_content`; no litter, no file left out."""
    expected = {name for name in tracked_files() if name.startswith("evalharness/")}
    expected |= {f"evalharness/_content/{name}" for name in tracked_files() if name.split("/")[0] in CONTENT}

    assert {name for name in members if ".dist-info/" not in name} == expected


def test_the_weights_are_shipped_and_small(members):
    """Each organism is in the wheel, at most 8 MB each and 25 MB together."""
    sizes = [members[f"evalharness/organisms/weights/{name}/model.safetensors"] for name in ORGANISMS]

    assert max(sizes) <= 8 * MB
    assert sum(sizes) <= 25 * MB


def test_the_licence_is_in_the_wheel(members):
    """Whoever gets the wheel gets the licence."""
    assert any(name.endswith("licenses/LICENSE") for name in members)


def test_the_installed_wheel_is_the_one_that_runs(installed, tmp_path):
    """Package, content and entry point come from the wheel, not from the checkout."""
    code = (
        "import evalharness, sys\n"
        "from importlib.metadata import entry_points\n"
        "from evalharness.content import content_root\n"
        "print(evalharness.__file__); print(content_root())\n"
        "(point,) = entry_points(group='inspect_ai', name='evalharness')\n"
        "print(point.dist.locate_file(''))\n"
    )
    done = subprocess.run(
        [installed, "-c", code], cwd=tmp_path, env=outside(tmp_path), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    places = [Path(line) for line in done.stdout.splitlines()]
    assert len(places) == 3
    assert all(place.is_relative_to(installed.parent.parent) for place in places)
    assert places[1].name == "_content"


@pytest.mark.slow
def test_the_installed_wheel_runs_the_demo(installed, tmp_path):
    """`evalharness demo --quick` works from the wheel alone, offline, and leaves three reports."""
    script = installed.with_name("evalharness")
    done = subprocess.run(
        [script, "demo", "--quick", "--out", tmp_path / "demo"],
        cwd=tmp_path,
        env=outside(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    for name in ("emotional", "strategic", "safe"):
        assert (tmp_path / "demo" / name / "report.html").stat().st_size > 10_000


def pins() -> Iterator[tuple[str, str]]:
    """Name and version of every line of constraints.txt."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            yield canonicalize_name(name), version


def test_the_whole_closure_is_pinned():
    """Every package that the package or its dev tools need, directly or not, has one version in constraints.txt."""
    pinned, missing = dict(pins()), set()
    todo, seen = [Requirement("evalharness[dev]")], set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        if name not in pinned and name != "evalharness":
            missing.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # a marker of another platform; its pin was checked above
        for line in lines:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(needed)

    assert missing == set()


def test_pins_satisfy_the_ranges_of_the_project():
    """constraints.txt and pyproject.toml do not contradict each other, and no pin has a local version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(pins())

    assert pinned["torch"] == "2.13.0"
    assert not [version for version in pinned.values() if "+" in version]
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line


def test_one_version_everywhere():
    """pyproject.toml, the citation and the changelog speak of the same version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    section = changelog[changelog.index(f"## [{version}]") :].split("\n## ")[0]

    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^### Results may change$", section, re.MULTILINE)
