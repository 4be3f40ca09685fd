"""How the plugin is found and configured."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.plugins import ConfigError
from roomkit_plugins.email import EmailChannel

TABLE: dict[str, Any] = {
    "plugin": "email",
    "from_address": "desk@shop.example",
    "subject": "Your order",
    "reply_address": "reply@in.shop.example",
    "unsubscribe_url": "https://shop.example/webhooks/email/unsubscribe",
    "secret": "s",
    "purpose": "marketing",
    "languages": ["en", "fr"],
    "stop_words": ["ruhe"],
    "providers": [{"plugin": "mock"}],
}


async def test_the_channel_is_built_from_a_configuration() -> None:
    """With its providers; an unknown setting is named, and the secret is in no repr."""
    kit = await RoomKit.from_config({"channels": {"email": TABLE}})
    channel = kit.get_channel("email")
    assert isinstance(channel, EmailChannel)
    assert [each.name for each in channel.providers] == ["MockEmailProvider"]
    assert (channel.from_address, channel.subject) == ("desk@shop.example", "Your order")
    assert channel.reply_address == "reply@in.shop.example"
    assert set(channel.webhooks()) == {"unsubscribe"}
    await kit.close()
    with pytest.raises(ConfigError, match="did you mean 'from_address'"):
        await RoomKit.from_config({"channels": {"email": {"plugin": "email", "from_adress": "a@b.example"}}})
