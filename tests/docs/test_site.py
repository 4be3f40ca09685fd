"""The web site has every page, and the reference of every public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, in_checkout
from tools.exports import built_names
from tools.site import configuration, reference, sources, stage
from tools.source import Tree

SOURCES = sources()


@pytest.mark.parametrize("page", DOCS, ids=in_checkout)
def test_every_page_is_in_the_site(page: Path) -> None:
    assert page in SOURCES


def test_what_a_page_links_to_is_in_the_site(tmp_path: Path) -> None:
    """In its own place: the link holds there as it does in the checkout."""
    stage(tmp_path)
    staged = {
        path.relative_to(tmp_path / "pages") for path in (tmp_path / "pages").rglob("*") if path.is_file()
    }
    assert {path.relative_to(ROOT) for path in SOURCES} <= staged
    assert Path("packages/roomkit-websocket/src/roomkit_plugins/websocket/protocol.py") in staged


def test_every_public_name_has_its_entry() -> None:
    """Once, on the page of its module, which the list of names links to."""
    pages = reference()
    entries = [entry for text in pages.values() for entry in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    assert sorted(entries) == sorted(f"{home}.{name}" for name, home in built_names(Tree()))
    assert all(f"]({name})" in pages["index.md"] for name in pages if name != "index.md")


def test_nothing_is_fetched_to_read_it(tmp_path: Path) -> None:
    """The theme would take its fonts from a server."""
    assert "font: false" in configuration(tmp_path)
