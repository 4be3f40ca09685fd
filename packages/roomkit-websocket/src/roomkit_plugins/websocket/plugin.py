"""Registers what `roomkit-websocket` brings; imports nothing but the core."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the channel."""
    registry.add(
        "channel",
        "websocket",
        "roomkit_plugins.websocket:WebSocketChannel",
        config="roomkit_plugins.websocket:WebSocketChannelConfig",
        summary="People on live connections: events, answers while they are generated, resume.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the socket server can run."""
    if find_spec("websockets") is None:
        report.fail(
            "websocket",
            "the websockets library is not installed, so WebSocketServer cannot run",
            next_step="pip install roomkit-websocket",
        )
    else:
        report.ok("websocket", "the websockets library is installed")
