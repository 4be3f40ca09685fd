"""Registers what `roomkit-telnyx` brings; imports nothing but the core."""

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
        "telnyx",
        "roomkit_plugins.telnyx:TelnyxSMSProvider",
        config="roomkit_plugins.telnyx:TelnyxConfig",
        summary="SMS and MMS by Telnyx.",
    )
    registry.add(
        "rcs",
        "telnyx",
        "roomkit_plugins.telnyx:TelnyxRCSProvider",
        config="roomkit_plugins.telnyx:TelnyxRCSConfig",
        summary="RCS by Telnyx, with SMS in its place where that is allowed.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the libraries are there and that a key is."""
    report.expect_module("telnyx", "httpx2", distribution="roomkit-telnyx")
    report.expect_variable(
        "telnyx", "TELNYX_API_KEY", next_step="set TELNYX_API_KEY, or give api_key to TelnyxConfig"
    )
