"""Our wheels install beside an index that has another project's `roomkit`, and a mixture is recognised."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Environment, uv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LINE = "uv build --all-packages -o dist && pip install dist/*.whl"
PAGE = (ROOT / "docs/how-to/install.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(fresh: Callable[[], Environment], dist: Path, index: str) -> Environment:
    """Install the wheels with the foreign index asked first."""
    environment = fresh()
    wheels = sorted(dist.glob("*.whl"))
    uv(
        "pip",
        "install",
        "--quiet",
        "--index",
        index,
        "--python",
        environment.python,
        *wheels,
        cwd=environment.folder,
    )
    return environment


def command(environment: Environment, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the `roomkit` command of an environment."""
    plain = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        [environment.folder / "bin/roomkit", *words],
        env=plain,
        capture_output=True,
        text=True,
        timeout=300,
        input="hi\n",
    )


def test_the_page_says_the_line_that_is_tested() -> None:
    """The one line that works from a checkout."""
    assert LINE in PAGE


def test_our_wheels_win(installed: Environment) -> None:
    """Whatever the index has, all distributions are ours, and nothing is mixed."""
    printed = installed.run(
        "import roomkit\nfrom importlib.metadata import version\n"
        "from roomkit.plugins.mixture import mixture\n"
        "print(version('roomkit'), roomkit.__version__, mixture())"
    )
    assert printed.split() == ["1.0.0", "1.0.0", "None"]


def test_the_demo_runs_from_wheels(installed: Environment) -> None:
    """With the command that the wheels bring."""
    answer = command(installed, "demo", "--json")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_every_wheel_and_sdist_has_the_licence(dist: Path) -> None:
    import tarfile
    import zipfile

    for wheel in dist.glob("*.whl"):
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names), wheel.name
    for sdist in dist.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            assert any(name.count("/") == 1 and name.endswith("/LICENSE") for name in archive.getnames()), (
                sdist.name
            )


@pytest.mark.parametrize("last", ["foreign", "core"])
def test_a_mixed_folder_is_recognised(
    fresh: Callable[[], Environment], dist: Path, foreign: Path, last: str
) -> None:
    environment = fresh()
    ours = sorted(path for path in dist.glob("*.whl") if not path.name.startswith("roomkit-"))
    first, second = (ours, [foreign]) if last == "foreign" else ([foreign], ours)
    environment.install(*first)
    environment.install(*second)

    answer = command(environment, "plugins", "doctor")
    said = answer.stdout + answer.stderr
    assert answer.returncode == 1
    assert "roomkit 0.109.0, another project's, is installed in the folder of roomkit-core" in said
    assert "pip uninstall -y roomkit roomkit-core" in said
    if last == "core":
        printed = environment.run(
            "import asyncio\nfrom roomkit import RoomKit, RoomKitError\n"
            "async def main():\n    async with RoomKit(): ...\n"
            "try:\n    asyncio.run(main())\nexcept RoomKitError as error:\n    print(error.code)"
        )
        assert printed.strip() == "mixed_installation"
