"""Twilio for RoomKit: SMS, MMS, status callbacks."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.twilio.config import TwilioConfig as TwilioConfig
    from roomkit_plugins.twilio.provider import TwilioSMSProvider as TwilioSMSProvider
    from roomkit_plugins.twilio.wire import parse_twilio_webhook as parse_twilio_webhook
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {"TwilioConfig": "config", "TwilioSMSProvider": "provider", "parse_twilio_webhook": "wire"},
    )
