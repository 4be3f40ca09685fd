"""The README's code for the store runs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def test_the_store_finds_what_was_said_the_last_time(
    postgres_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block as it stands, but for the address, run twice."""
    code = re.sub(r'DSN = ".*"', f"DSN = {postgres_dsn!r}", PYTHON[1])
    for _ in range(2):
        await asyncio.to_thread(exec, code, {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["Is anybody there?"] * 3
    assert int(lines[1].split()[0]) > int(lines[2].split()[0])
