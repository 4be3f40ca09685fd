"""How the plugin is found and configured."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.plugins import ConfigError, DoctorReport
from roomkit_plugins.sms import SMSChannel, plugin

TABLE: dict[str, Any] = {
    "plugin": "sms",
    "from_numbers": ["+14375550998", "+14375550999"],
    "max_segments": 6,
    "purpose": "marketing",
    "languages": ["en", "fr"],
    "stop_words": ["ruhe"],
    "providers": [{"plugin": "mock"}],
}


async def test_the_channel_is_built_from_a_configuration() -> None:
    """With its providers; an unknown setting is named."""
    kit = await RoomKit.from_config({"channels": {"sms": TABLE}})
    channel = kit.get_channel("sms")
    assert isinstance(channel, SMSChannel)
    assert [each.name for each in channel.providers] == ["MockSMSProvider"]
    assert (channel.from_numbers, channel.max_segments) == (("+14375550998", "+14375550999"), 6)
    await kit.close()
    with pytest.raises(ConfigError, match="did you mean 'from_number'"):
        await RoomKit.from_config({"channels": {"sms": {"plugin": "sms", "from_numer": "+1"}}})


def test_numbers_are_read_at_the_first_use_only() -> None:
    """`phonenumbers` takes some hundred milliseconds to import."""
    program = (
        "import sys, roomkit_plugins.sms.channel, roomkit_plugins.sms.numbers\n"
        "assert 'phonenumbers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)


def test_the_doctor_looks_for_the_library() -> None:
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert [finding.verdict for finding in report.findings] == ["ok"]
