"""`roomkit demo` with a key: the real SDKs, against the vendors' simulators."""

from __future__ import annotations

import asyncio
import json

import pytest

from roomkit_plugins.testing.simulators import AnthropicSimulator, GeminiSimulator, OpenAISimulator

VENDORS = [
    ("anthropic", AnthropicSimulator, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    ("openai", OpenAISimulator, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ("gemini", GeminiSimulator, "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
]


@pytest.mark.parametrize(
    ("vendor", "simulator", "key", "base_url"), VENDORS, ids=["anthropic", "openai", "gemini"]
)
@pytest.mark.parametrize("named", [False, True], ids=["default", "named"])
async def test_a_key_brings_a_model(roomkit, vendor, simulator, key, base_url, named):
    """It answers in the script's place, by its default or by the model named; the key is never shown."""
    async with simulator() as server:
        server.reply("A real answer.")
        model = ["--model", f"{vendor}:{server.models[0]}"] if named else []
        answer = await asyncio.to_thread(
            roomkit,
            "demo",
            "--json",
            *model,
            given="hello\n",
            **{key: server.api_key, base_url: server.base_url},
        )
    found = [json.loads(line) for line in answer.stdout.splitlines()]
    assert (answer.returncode, answer.stderr) == (0, "")
    assert found[0]["assistant"]["kind"] == vendor
    assert key in found[0]["assistant"]["note"]
    assert [record["text"] for record in found if record["type"] == "event"] == ["hello", "A real answer."]
    assert server.api_key not in answer.stdout
