"""Registers what `roomkit-sms` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the channel."""
    registry.add(
        "channel",
        "sms",
        "roomkit_plugins.sms:SMSChannel",
        config="roomkit_plugins.sms:SMSChannelConfig",
        summary="SMS and MMS, by one provider or several.",
        parts={"provider": "sms", "providers": ["sms"]},
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that numbers can be read."""
    report.expect_module("sms", "phonenumbers", distribution="roomkit-sms")
