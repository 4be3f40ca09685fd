"""Every Python block of the documentation runs, without a network, and prints what the page says."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs import blocks
from tests.docs.blocks import in_checkout, pages_with_blocks


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing out of this machine."""
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a block of the documentation wants to connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(autouse=True)
def same_collector() -> Iterator[None]:
    """Leave the collector of garbage as it was: a page tells how to set it."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize("page", pages_with_blocks(), ids=in_checkout)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, as one program; what they should print is what they print."""
    monkeypatch.chdir(tmp_path)
    blocks.run(page)


def test_a_wrong_block_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place of the block, for an error and for another output."""
    page = tmp_path / "page.md"
    monkeypatch.setattr(blocks, "ROOT", tmp_path)
    page.write_text("# Page\n\n```python\nx = 1\n```\n\n```python\nprint(x)\n```\n\n```text\n2\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:7 printed:\n1"):
        blocks.run(page)
    page.write_text("```python\nawait no_such_name()\n```\n")
    with pytest.raises(NameError, match="no_such_name"):
        blocks.run(page)
