"""HTTP channel for RoomKit: signed webhooks in both directions."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.http.channel import HTTPChannel as HTTPChannel
    from roomkit_plugins.http.config import HTTPChannelConfig as HTTPChannelConfig
    from roomkit_plugins.http.config import HTTPProviderConfig as HTTPProviderConfig
    from roomkit_plugins.http.provider import WebhookHTTPProvider as WebhookHTTPProvider
    from roomkit_plugins.http.signature import sign_webhook as sign_webhook
    from roomkit_plugins.http.wire import parse_http_webhook as parse_http_webhook
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "HTTPChannel": "channel",
            "HTTPChannelConfig": "config",
            "HTTPProviderConfig": "config",
            "WebhookHTTPProvider": "provider",
            "parse_http_webhook": "wire",
            "sign_webhook": "signature",
        },
    )
