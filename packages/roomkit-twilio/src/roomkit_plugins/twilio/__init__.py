"""Twilio for RoomKit: SMS, MMS, RCS, status callbacks."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.twilio.config import TwilioConfig as TwilioConfig
    from roomkit_plugins.twilio.config import TwilioRCSConfig as TwilioRCSConfig
    from roomkit_plugins.twilio.provider import TwilioSMSProvider as TwilioSMSProvider
    from roomkit_plugins.twilio.rcs import TwilioRCSProvider as TwilioRCSProvider
    from roomkit_plugins.twilio.wire import parse_twilio_rcs_webhook as parse_twilio_rcs_webhook
    from roomkit_plugins.twilio.wire import parse_twilio_webhook as parse_twilio_webhook
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "TwilioConfig": "config",
            "TwilioRCSConfig": "config",
            "TwilioRCSProvider": "rcs",
            "TwilioSMSProvider": "provider",
            "parse_twilio_rcs_webhook": "wire",
            "parse_twilio_webhook": "wire",
        },
    )
