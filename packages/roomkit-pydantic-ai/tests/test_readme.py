"""The README's code runs as it stands: it needs no key."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


async def test_the_quick_start_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The agent of the first block prints its answer."""
    await asyncio.to_thread(exec, BLOCKS[0], {"__name__": "__main__"})
    assert capsys.readouterr().out == "Because blue light scatters most."
