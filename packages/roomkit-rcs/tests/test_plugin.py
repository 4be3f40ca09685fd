"""How the plugin is found and configured."""

from __future__ import annotations

from roomkit import RoomKit
from roomkit_plugins.rcs import RCSChannel


async def test_the_channel_is_built_from_a_configuration() -> None:
    """With its provider and its settings."""
    table = {
        "plugin": "rcs",
        "fallback": False,
        "check_capability": False,
        "purpose": "service",
        "provider": {"plugin": "mock"},
    }
    kit = await RoomKit.from_config({"channels": {"rcs": table}})
    channel = kit.get_channel("rcs")
    assert isinstance(channel, RCSChannel)
    assert (channel.fallback, channel.check_capability) == (False, False)
    assert (channel.purpose, channel.provider_name) == ("service", "MockRCSProvider")
    await kit.close()
