"""Registers what `roomkit-http` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the channel and its provider."""
    registry.add(
        "channel",
        "http",
        "roomkit_plugins.http:HTTPChannel",
        config="roomkit_plugins.http:HTTPChannelConfig",
        summary="Any system that speaks HTTP, by one provider or several.",
        parts={"provider": "http", "providers": ["http"]},
    )
    registry.add(
        "http",
        "webhook",
        "roomkit_plugins.http:WebhookHTTPProvider",
        config="roomkit_plugins.http:HTTPProviderConfig",
        summary="Posts signed JSON to a URL, and takes signed JSON.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the HTTP library is there."""
    report.expect_module("http", "httpx2", distribution="roomkit-http")
