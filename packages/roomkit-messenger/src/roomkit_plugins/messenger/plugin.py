"""Registers what `roomkit-messenger` brings; imports nothing but the core."""

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
        "messenger",
        "roomkit_plugins.messenger:MessengerChannel",
        config="roomkit_plugins.messenger:MessengerChannelConfig",
        summary="Facebook Messenger: text, files, buttons, cards, and the 24-hour window.",
        parts={"provider": "messenger", "providers": ["messenger"]},
    )
    registry.add(
        "messenger",
        "facebook",
        "roomkit_plugins.messenger:FacebookMessengerProvider",
        config="roomkit_plugins.messenger:MessengerConfig",
        summary="Messenger by a Facebook page.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the libraries are there and that a token is."""
    report.expect_module("messenger", "httpx2", distribution="roomkit-messenger")
    report.expect_variable(
        "messenger",
        "MESSENGER_PAGE_ACCESS_TOKEN",
        next_step="set MESSENGER_PAGE_ACCESS_TOKEN, or give page_access_token to MessengerConfig",
    )
