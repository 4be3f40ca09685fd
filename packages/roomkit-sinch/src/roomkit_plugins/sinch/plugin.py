"""Registers what `roomkit-sinch` brings; imports nothing but the core."""

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
        "sinch",
        "roomkit_plugins.sinch:SinchSMSProvider",
        config="roomkit_plugins.sinch:SinchConfig",
        summary="SMS and MMS by Sinch.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there and that a token is."""
    report.expect_module("sinch", "httpx2", distribution="roomkit-sinch")
    report.expect_variable(
        "sinch",
        "SINCH_API_TOKEN",
        next_step="set SINCH_API_TOKEN, or give SinchConfig api_token, or key_id and key_secret",
    )
