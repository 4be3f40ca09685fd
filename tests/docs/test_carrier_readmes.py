"""The READMEs of carriers and sources: their code needs a channel too, so it runs where both are."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.docs.blocks import ROOT

PACKAGES = (
    "roomkit-sinch",
    "roomkit-smtp",
    "roomkit-sources",
    "roomkit-teams",
    "roomkit-telegram",
    "roomkit-telnyx",
    "roomkit-twilio",
    "roomkit-voicemeup",
)


def blocks() -> list[tuple[str, str]]:
    """Return each piece of code with what it prints."""
    pages = [(ROOT / "packages" / name / "README.md").read_text() for name in PACKAGES]
    return [
        each
        for page in pages
        for each in re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    ]


@pytest.mark.parametrize(("code", "said"), blocks())
async def test_a_block_prints_what_the_page_says(
    code: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(exec, code, {"__name__": "__main__"})
    assert capsys.readouterr().out == said
