"""The README's code runs, against the simulator."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from roomkit_plugins.testing.simulators import GeminiSimulator

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


async def test_the_quick_start_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first block, as it stands, prints what the model says."""
    async with GeminiSimulator() as simulator:
        monkeypatch.setenv("GEMINI_API_KEY", simulator.api_key)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", simulator.base_url)
        monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
        simulator.reply("Because blue light scatters most.")
        await asyncio.to_thread(exec, BLOCKS[0], {"__name__": "__main__"})
    assert capsys.readouterr().out == "Because blue light scatters most."


@pytest.mark.parametrize("block", BLOCKS[1:])
async def test_the_other_blocks_run(block: str) -> None:
    """What the README shows needs no key."""
    await asyncio.to_thread(exec, block, {"__name__": "__main__"})
