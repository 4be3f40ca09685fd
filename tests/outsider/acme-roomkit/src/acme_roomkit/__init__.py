"""Acme SMS for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from acme_roomkit.config import AcmeConfig as AcmeConfig
    from acme_roomkit.provider import AcmeSMSProvider as AcmeSMSProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"AcmeConfig": "config", "AcmeSMSProvider": "provider"}
    )
