"""The README's promises hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.tree.plan import sizes as core_sizes
from tools.source import Tree

README_PATH = ROOT / "README.md"
README = README_PATH.read_text(encoding="utf-8")


def test_it_opens_with_the_two_commands() -> None:
    """One runs the main job, one the tests; nothing else is needed on a fresh machine."""
    commands = re.findall(r"^```bash\n(.+)\n```$", README, re.MULTILINE)
    assert commands[:2] == ["pip install uv && uv run roomkit demo", "pip install uv && uv run nox"]


def test_the_table_of_distributions_is_the_folder_of_packages() -> None:
    listed = re.findall(r"^\| `(roomkit[\w-]*)` \|", README, re.MULTILINE)
    there = {folder.name for folder in (ROOT / "packages").iterdir() if (folder / "pyproject.toml").is_file()}
    assert sorted(listed) == sorted(there)


def test_the_quickstart_is_no_longer_than_a_page() -> None:
    """A reader sees all of it at once."""
    quickstart = README.partition("## Quickstart")[2].partition("## ")[0]
    assert quickstart.count("\n") < 60


PAGES = [README_PATH, *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_tells_to_install_the_other_project(page: Path) -> None:
    """`pip install roomkit` brings another project's; only the page about it says so."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"pip install roomkit(?![-\w])", text)
    assert not found or page.name == "install.md"


@pytest.mark.parametrize(
    "readme", sorted(ROOT.glob("packages/*/README.md")), ids=lambda page: page.parent.name
)
def test_every_package_says_how_to_install_it_from_a_checkout(readme: Path) -> None:
    """Until it is published that is the only way."""
    assert "docs/how-to/install.md" in readme.read_text(encoding="utf-8")


def test_the_size_of_the_core_is_what_it_says() -> None:
    """To a twentieth; `python -m tests.tree.plan` prints the exact figures."""
    pattern = r"has ([\d,]+) lines of code on .*path, ([\d,]+) beside it [^.]*\sand\s+([\d,]+) of\s+contracts"
    said = re.findall(pattern, README)
    sizes = core_sizes(Tree())
    for figure, kind in zip(said[0], ("path", "beside", "voice"), strict=True):
        assert int(figure.replace(",", "")) == pytest.approx(sizes[kind], rel=0.05)
