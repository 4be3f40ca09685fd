"""SMTP and IMAP for RoomKit: mail by any mail server, both ways."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.smtp.config import IMAPConfig as IMAPConfig
    from roomkit_plugins.smtp.config import SMTPConfig as SMTPConfig
    from roomkit_plugins.smtp.provider import SMTPProvider as SMTPProvider
    from roomkit_plugins.smtp.source import IMAPSource as IMAPSource
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "IMAPConfig": "config",
            "IMAPSource": "source",
            "SMTPConfig": "config",
            "SMTPProvider": "provider",
        },
    )
