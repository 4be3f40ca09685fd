"""`roomkit check --live` with vendors: the real providers, their simulators, and the whole command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roomkit_plugins.testing.simulators import TwilioSimulator, VLLMSimulator

FILE = """
[channels.sms]
plugin = "sms"
provider = {{ plugin = "twilio", account_sid = "{account}", auth_token = "{token}", base_url = "{origin}" }}

[channels.shop]
plugin = "http"
provider = {{ plugin = "webhook", webhook_url = "http://192.0.43.8/messages?key=canary" }}
"""


@pytest.mark.parametrize(
    ("token", "verdict", "says"),
    [
        ("simulated-auth-token", "ok", "is active"),
        ("canary-of-a-wrong-token", "failed", "its auth_token do not fit together"),
    ],
)
async def test_each_vendor_is_asked_and_nothing_is_sent(
    roomkit: Callable[..., Any], tmp_path: Path, token: str, verdict: str, says: str
) -> None:
    file = tmp_path / "roomkit.toml"
    async with TwilioSimulator() as twilio:
        file.write_text(FILE.format(account=twilio.account_sid, token=token, origin=twilio.origin))
        answer = await asyncio.to_thread(roomkit, "check", "--live", "--json", "--config", str(file))

        assert [each.method for each in twilio.requests] == ["GET"]
        assert twilio.messages == []
    found = {each["subject"]: each for each in json.loads(answer.stdout)["findings"]}
    sms, shop = found["channels.sms.provider"], found["channels.shop.provider"]
    assert (answer.returncode, sms["verdict"]) == (int(verdict != "ok"), verdict)
    assert twilio.account_sid in sms["message"]
    assert says in sms["message"]
    assert shop["verdict"] == "ok"
    assert "192.0.43.8 has 1 address that may be posted to; nothing was posted" in shop["message"]
    assert "canary" not in answer.stdout + answer.stderr


async def test_a_model_that_a_function_makes_the_provider_for_is_asked_for(
    roomkit: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "roomkit.toml"
    async with VLLMSimulator() as server:
        provider = f'{{ plugin = "vllm", model = "qwen/qwen3-8b", base_url = "{server.base_url}" }}'
        file.write_text(f'[channels.bot]\nplugin = "ai"\nprovider = {provider}\n')
        answer = await asyncio.to_thread(roomkit, "check", "--live", "--json", "--config", str(file))
        assert {each.method for each in server.requests} == {"GET"}
    found = {each["subject"]: each for each in json.loads(answer.stdout)["findings"]}
    assert answer.returncode == 0
    assert "has model qwen/qwen3-8b" in found["channels.bot.provider"]["message"]
