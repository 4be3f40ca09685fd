"""RCS channel for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.rcs.channel import RCSChannel as RCSChannel
    from roomkit_plugins.rcs.config import RCSChannelConfig as RCSChannelConfig
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"RCSChannel": "channel", "RCSChannelConfig": "config"}
    )
