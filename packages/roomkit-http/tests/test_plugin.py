"""How the plugin is found and configured, and what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roomkit import RoomKit
from roomkit.models import ChannelMediaType
from roomkit.plugins import ConfigError, DoctorReport
from roomkit_plugins.http import HTTPChannel, plugin


async def test_the_channel_is_built_from_a_configuration() -> None:
    """With its provider and both their settings; an unknown one is named."""
    provider = {"plugin": "webhook", "webhook_url": "https://system.example/hooks", "name": "shop"}
    table = {"plugin": "http", "media_types": ["text", "location"], "provider": provider}
    kit = await RoomKit.from_config({"channels": {"shop": table}})
    channel = kit.get_channel("shop")
    assert isinstance(channel, HTTPChannel)
    assert channel.provider_name == "shop"
    assert channel.capabilities().media_types == (ChannelMediaType.TEXT, ChannelMediaType.LOCATION)
    assert not channel.capabilities().supports_buttons
    await kit.close()
    with pytest.raises(ConfigError, match="did you mean 'webhook_url'"):
        await RoomKit.from_config(
            {"channels": {"shop": {"plugin": "http", "provider": {"plugin": "webhook", "webhook_ulr": "x"}}}}
        )


def test_the_library_is_imported_at_the_first_message() -> None:
    program = (
        "import sys\n"
        "from roomkit_plugins.http import HTTPProviderConfig, WebhookHTTPProvider\n"
        "WebhookHTTPProvider(HTTPProviderConfig(webhook_url='https://system.example/'))\n"
        "assert 'httpx2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)


def test_the_doctor_looks_for_the_library() -> None:
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert [finding.verdict for finding in report.findings] == ["ok"]
