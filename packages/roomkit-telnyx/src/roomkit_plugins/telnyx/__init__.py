"""Telnyx for RoomKit: SMS, MMS, RCS, delivery receipts."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.telnyx.config import TelnyxConfig as TelnyxConfig
    from roomkit_plugins.telnyx.config import TelnyxRCSConfig as TelnyxRCSConfig
    from roomkit_plugins.telnyx.provider import TelnyxSMSProvider as TelnyxSMSProvider
    from roomkit_plugins.telnyx.rcs import TelnyxRCSProvider as TelnyxRCSProvider
    from roomkit_plugins.telnyx.webhooks import parse_telnyx_rcs_webhook as parse_telnyx_rcs_webhook
    from roomkit_plugins.telnyx.webhooks import parse_telnyx_webhook as parse_telnyx_webhook
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "TelnyxConfig": "config",
            "TelnyxRCSConfig": "config",
            "TelnyxRCSProvider": "rcs",
            "TelnyxSMSProvider": "provider",
            "parse_telnyx_rcs_webhook": "webhooks",
            "parse_telnyx_webhook": "webhooks",
        },
    )
