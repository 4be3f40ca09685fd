"""Sinch for RoomKit: SMS, MMS, delivery receipts."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.sinch.config import SinchConfig as SinchConfig
    from roomkit_plugins.sinch.provider import SinchSMSProvider as SinchSMSProvider
    from roomkit_plugins.sinch.wire import parse_sinch_webhook as parse_sinch_webhook
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "SinchConfig": "config",
            "SinchSMSProvider": "provider",
            "parse_sinch_webhook": "wire",
        },
    )
