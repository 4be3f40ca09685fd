"""The README's code runs, against the simulator."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from roomkit_plugins.testing.simulators import MistralSimulator

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


async def test_the_quick_start_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first block prints what the model says; it asks the simulator in the vendor's place."""
    async with MistralSimulator() as simulator:
        monkeypatch.setenv("MISTRAL_API_KEY", simulator.api_key)
        simulator.reply("Because blue light scatters most.")
        here = f'model="mistral-large-latest", base_url="{simulator.base_url}"'
        block = BLOCKS[0].replace('model="mistral-large-latest"', here)
        await asyncio.to_thread(exec, block, {"__name__": "__main__"})
    assert capsys.readouterr().out == "Because blue light scatters most."


@pytest.mark.parametrize("block", BLOCKS[1:])
async def test_the_other_blocks_run(block: str) -> None:
    """What the README shows needs no key."""
    await asyncio.to_thread(exec, block, {"__name__": "__main__"})
