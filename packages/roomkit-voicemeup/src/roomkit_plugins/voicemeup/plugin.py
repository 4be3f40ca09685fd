"""Registers what `roomkit-voicemeup` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    registry.add(
        "sms",
        "voicemeup",
        "roomkit_plugins.voicemeup:VoiceMeUpSMSProvider",
        config="roomkit_plugins.voicemeup:VoiceMeUpConfig",
        summary="SMS and MMS by VoiceMeUp.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there and that a token is."""
    report.expect_module("voicemeup", "httpx2", distribution="roomkit-voicemeup")
    report.expect_variable(
        "voicemeup",
        "VOICEMEUP_AUTH_TOKEN",
        next_step="set VOICEMEUP_USERNAME and VOICEMEUP_AUTH_TOKEN, or give both to VoiceMeUpConfig",
    )
