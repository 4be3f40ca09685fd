"""How the plugin is found and configured."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from roomkit.abc import SupportsSessions
from roomkit.kernel.kit import RoomKit
from roomkit.plugins import ConfigError, DoctorReport, default_manager
from roomkit_plugins.websocket import WebSocketChannel, plugin
from roomkit_plugins.websocket.sessions import SessionOptions


async def test_the_channel_is_built_from_a_configuration():
    """Its settings are checked, and an unknown one is named."""
    table = {"plugin": "websocket", "send_timeout": 0.5, "backlog": 7}
    kit = await RoomKit.from_config({"channels": {"ws": table}})
    assert isinstance(kit.get_channel("ws"), WebSocketChannel)
    await kit.close()
    with pytest.raises(ConfigError, match="did you mean 'backlog'"):
        await RoomKit.from_config({"channels": {"ws": {"plugin": "websocket", "backlogs": 7}}})
    with pytest.raises(ConfigError, match="greater than 0"):
        await RoomKit.from_config({"channels": {"ws": {"plugin": "websocket", "send_timeout": 0}}})


def test_the_channel_needs_no_socket_library():
    """Only the server imports it, when it is started."""
    program = (
        "import sys, roomkit_plugins.websocket.channel, roomkit_plugins.websocket.serve\n"
        "assert 'websockets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)


def test_the_doctor_looks_for_the_socket_library(monkeypatch):
    """Its absence is a failure with what to install."""
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)
    plugin.roomkit_doctor(report)
    there, gone = report.findings
    assert (there.verdict, gone.verdict) == ("ok", "failed")
    assert gone.next_step == "pip install roomkit-websocket"


def test_the_component_is_found_by_name():
    component = default_manager().find("channel", "websocket")
    assert component.plugin == "websocket"


def test_the_channel_serves_sockets_of_web_servers():
    """A server finds it by what it offers, and passes what the contract has."""
    names = inspect.signature(SupportsSessions.session).parameters.keys() - {"max_frame_bytes"}
    assert isinstance(WebSocketChannel("ws"), SupportsSessions)
    assert names <= inspect.signature(WebSocketChannel.session).parameters.keys()
    assert "max_frame_bytes" in SessionOptions.__annotations__
