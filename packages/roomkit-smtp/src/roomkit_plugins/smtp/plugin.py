"""Registers what `roomkit-smtp` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    registry.add(
        "email",
        "smtp",
        "roomkit_plugins.smtp:SMTPProvider",
        config="roomkit_plugins.smtp:SMTPConfig",
        summary="E-mail by any mail server.",
    )
    registry.add(
        "source",
        "imap",
        "roomkit_plugins.smtp:IMAPSource",
        config="roomkit_plugins.smtp:IMAPConfig",
        summary="The mails of a mailbox, as they come in.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there and that a password is."""
    report.expect_module("smtp", "aiosmtplib", distribution="roomkit-smtp")
    report.expect_variable(
        "smtp",
        "SMTP_PASSWORD",
        next_step="set SMTP_PASSWORD, or give SMTPConfig password, or SMTPProvider token",
    )
