"""Tells RoomKit what this package brings."""

from roomkit.plugins import hookimpl


@hookimpl
def roomkit_register(registry):
    """Declare the provider; its code is imported at first use."""
    registry.add(
        "sms",
        "acme",
        "acme_roomkit.provider:AcmeSMSProvider",
        config="acme_roomkit.config:AcmeConfig",
        summary="SMS through Acme.",
    )


@hookimpl
def roomkit_doctor(report):
    """Check what the provider needs from this machine."""
    report.ok("acme", "Acme needs nothing on this machine")
