"""The README's code runs, and prints what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", README, re.DOTALL)


@pytest.mark.parametrize(("code", "said"), BLOCKS)
async def test_a_block_prints_what_the_page_says(
    code: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(exec, code, {"__name__": "__main__"})
    assert capsys.readouterr().out == said
