"""The README promises what is there."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_opens_with_the_two_commands() -> None:
    """One runs the main job, one the tests; nothing else is needed on a fresh machine."""
    commands = re.findall(r"^```bash\n(.+)\n```$", README, re.MULTILINE)
    assert commands[:2] == ["pip install uv && uv run roomkit demo", "pip install uv && uv run nox"]


def test_the_table_of_distributions_is_the_folder_of_packages() -> None:
    """Neither more nor less."""
    listed = re.findall(r"^\| `(roomkit[\w-]*)` \|", README, re.MULTILINE)
    there = {folder.name for folder in (ROOT / "packages").iterdir() if (folder / "pyproject.toml").is_file()}
    assert sorted(listed) == sorted(there)


def test_the_quickstart_is_no_longer_than_a_page() -> None:
    """A reader sees all of it at once."""
    quickstart = README.partition("## Quickstart")[2].partition("## ")[0]
    assert quickstart.count("\n") < 60
