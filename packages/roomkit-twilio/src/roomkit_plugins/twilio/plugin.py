"""Registers what `roomkit-twilio` brings; imports nothing but the core."""

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
        "twilio",
        "roomkit_plugins.twilio:TwilioSMSProvider",
        config="roomkit_plugins.twilio:TwilioConfig",
        summary="SMS and MMS by Twilio.",
    )
    registry.add(
        "rcs",
        "twilio",
        "roomkit_plugins.twilio:TwilioRCSProvider",
        config="roomkit_plugins.twilio:TwilioRCSConfig",
        summary="RCS by Twilio, with SMS in its place where that is allowed.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the SDK is there and that a token is."""
    report.expect_module("twilio", "twilio", distribution="roomkit-twilio")
    report.expect_variable(
        "twilio",
        "TWILIO_AUTH_TOKEN",
        next_step="set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or give both to TwilioConfig",
    )
