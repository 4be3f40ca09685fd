"""Registers what `roomkit-sources` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the sources."""
    registry.add(
        "source",
        "websocket",
        "roomkit_plugins.sources:WebSocketSource",
        config="roomkit_plugins.sources:WebSocketSourceConfig",
        summary="Messages that come by a web socket.",
    )
    registry.add(
        "source",
        "sse",
        "roomkit_plugins.sources:SSESource",
        config="roomkit_plugins.sources:SSESourceConfig",
        summary="Messages that come as server-sent events.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the libraries are there."""
    for module in ("websockets", "httpx2"):
        report.expect_module("sources", module, distribution="roomkit-sources")
