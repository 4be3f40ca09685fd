"""Workers are killed and paused; nothing is lost, and every delivery ends once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


async def test_killed_and_paused_workers_lose_nothing(dsn: str) -> None:
    """A short run of `python killed.py DSN KILLS SEED`."""
    script = Path(__file__).parent.parent / "killed.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, dsn, "8", "1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert out.decode().startswith("8 kills, ")
