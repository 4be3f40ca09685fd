"""What RoomKit tells an AI coding assistant is true of everything that is built."""

from __future__ import annotations

import pytest

import roomkit
from roomkit import get_ai_context, get_llms_txt
from tests.docs.blocks import ROOT
from tests.tree.rules.naming import LIBRARIES
from tools.source import Tree

AI_DOCS = ROOT / "packages/roomkit-core/src/roomkit/ai_docs"


def test_no_name_is_made_up() -> None:
    """Each `roomkit.X` and each name of the import lines exists."""
    for line in get_ai_context().splitlines():
        if line.startswith("from roomkit import "):
            for name in line.removeprefix("from roomkit import ").split(", "):
                assert name == "X" or hasattr(roomkit, name)


def test_every_distribution_is_listed_with_what_it_brings() -> None:
    """The list of plugins comes from the installation, not from a text."""
    section = get_llms_txt().partition("## Installed here\n\n")[2]
    for plugin in Tree().plugins:
        assert plugin.name in LIBRARIES or f"- `{plugin.name}` 1.0.0: " in section
    assert "Components: `tools:mcp`." in section
    assert "From `roomkit`: `MCPConfig`, " in section


@pytest.mark.parametrize("name", ["AGENTS.md", "llms.txt"])
def test_the_copies_at_the_top_are_current(name: str) -> None:
    """They are files and no links, which a checkout on Windows does not have."""
    copy = ROOT / name
    assert not copy.is_symlink()
    assert copy.read_text(encoding="utf-8") == (AI_DOCS / name).read_text(encoding="utf-8")
