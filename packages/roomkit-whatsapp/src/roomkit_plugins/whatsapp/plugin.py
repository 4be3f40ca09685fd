"""Registers what `roomkit-whatsapp` brings; imports nothing but the core."""

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
        "whatsapp",
        "roomkit_plugins.whatsapp:WhatsAppChannel",
        config="roomkit_plugins.whatsapp:WhatsAppChannelConfig",
        summary="WhatsApp Business: text, files, buttons, templates, and the 24-hour window.",
        parts={"provider": "whatsapp", "providers": ["whatsapp"]},
    )
    registry.add(
        "whatsapp",
        "cloud",
        "roomkit_plugins.whatsapp:WhatsAppCloudProvider",
        config="roomkit_plugins.whatsapp:WhatsAppCloudConfig",
        summary="WhatsApp by Meta's Cloud API.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the libraries are there and that a token is."""
    report.expect_module("whatsapp", "httpx2", distribution="roomkit-whatsapp")
    report.expect_variable(
        "whatsapp",
        "WHATSAPP_ACCESS_TOKEN",
        next_step="set WHATSAPP_ACCESS_TOKEN, or give access_token to WhatsAppCloudConfig",
    )
