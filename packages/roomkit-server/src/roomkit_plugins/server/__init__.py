"""Serves a kit by HTTP: webhooks, REST, web sockets, server-sent events, health and metrics."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.server.app import ServerApp as ServerApp
    from roomkit_plugins.server.app import create_app as create_app
    from roomkit_plugins.server.config import KeyConfig as KeyConfig
    from roomkit_plugins.server.config import Scope as Scope
    from roomkit_plugins.server.config import ServerConfig as ServerConfig
    from roomkit_plugins.server.serving import KitServer as KitServer
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "KeyConfig": "config",
            "KitServer": "serving",
            "Scope": "config",
            "ServerApp": "app",
            "ServerConfig": "config",
            "create_app": "app",
        },
    )
