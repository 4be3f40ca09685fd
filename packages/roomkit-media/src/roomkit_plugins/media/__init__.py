"""RoomKit's files on disk, and the guarded fetch of URLs that come from outside."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.media.config import DiskMediaConfig as DiskMediaConfig
    from roomkit_plugins.media.config import FetchConfig as FetchConfig
    from roomkit_plugins.media.disk import DiskMediaStore as DiskMediaStore
    from roomkit_plugins.media.fetch import PinnedFetch as PinnedFetch
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "DiskMediaConfig": "config",
            "DiskMediaStore": "disk",
            "FetchConfig": "config",
            "PinnedFetch": "fetch",
        },
    )
