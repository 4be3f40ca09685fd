"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.teams import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestTeamsPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "httpx2"
    key_variable = "TEAMS_APP_PASSWORD"
    construction = (
        "from roomkit_plugins.teams import AgentsTeamsProvider, BotFrameworkTeamsProvider, TeamsConfig\n"
        "for kind in (AgentsTeamsProvider, BotFrameworkTeamsProvider):\n"
        "    kind(TeamsConfig(app_id='a', app_password='p'))"
    )
