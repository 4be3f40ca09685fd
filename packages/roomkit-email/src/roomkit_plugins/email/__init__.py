"""E-mail channel for RoomKit: threads, files, opt-outs."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.email.channel import EmailChannel as EmailChannel
    from roomkit_plugins.email.config import EmailChannelConfig as EmailChannelConfig
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "EmailChannel": "channel",
            "EmailChannelConfig": "config",
        },
    )
