"""VoiceMeUp for RoomKit: SMS and MMS."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.voicemeup.aggregation import configure_voicemeup_mms as configure_voicemeup_mms
    from roomkit_plugins.voicemeup.aggregation import parse_voicemeup_webhook as parse_voicemeup_webhook
    from roomkit_plugins.voicemeup.config import VoiceMeUpConfig as VoiceMeUpConfig
    from roomkit_plugins.voicemeup.provider import VoiceMeUpSMSProvider as VoiceMeUpSMSProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "VoiceMeUpConfig": "config",
            "VoiceMeUpSMSProvider": "provider",
            "configure_voicemeup_mms": "aggregation",
            "parse_voicemeup_webhook": "aggregation",
        },
    )
