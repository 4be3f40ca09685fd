"""SMS and MMS channel for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.sms.channel import SMSChannel as SMSChannel
    from roomkit_plugins.sms.config import SMSChannelConfig as SMSChannelConfig
    from roomkit_plugins.sms.meta import WebhookMeta as WebhookMeta
    from roomkit_plugins.sms.meta import extract_sms_meta as extract_sms_meta
    from roomkit_plugins.sms.numbers import is_valid_phone as is_valid_phone
    from roomkit_plugins.sms.numbers import normalize_phone as normalize_phone
    from roomkit_plugins.sms.segments import Segments as Segments
    from roomkit_plugins.sms.segments import segments_of as segments_of
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "SMSChannel": "channel",
            "SMSChannelConfig": "config",
            "Segments": "segments",
            "WebhookMeta": "meta",
            "extract_sms_meta": "meta",
            "is_valid_phone": "numbers",
            "normalize_phone": "numbers",
            "segments_of": "segments",
        },
    )
