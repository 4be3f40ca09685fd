"""Microsoft Teams for RoomKit: channel and providers."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.teams.activities import is_bot_added as is_bot_added
    from roomkit_plugins.teams.activities import is_bot_removed as is_bot_removed
    from roomkit_plugins.teams.activities import parse_teams_activity as parse_teams_activity
    from roomkit_plugins.teams.activities import parse_teams_reactions as parse_teams_reactions
    from roomkit_plugins.teams.activities import parse_teams_webhook as parse_teams_webhook
    from roomkit_plugins.teams.channel import TeamsChannel as TeamsChannel
    from roomkit_plugins.teams.compose import TeamsMessageHints as TeamsMessageHints
    from roomkit_plugins.teams.config import TeamsChannelConfig as TeamsChannelConfig
    from roomkit_plugins.teams.config import TeamsConfig as TeamsConfig
    from roomkit_plugins.teams.provider import AgentsTeamsProvider as AgentsTeamsProvider
    from roomkit_plugins.teams.provider import BotFrameworkTeamsProvider as BotFrameworkTeamsProvider
    from roomkit_plugins.teams.references import ConversationReferenceStore as ConversationReferenceStore
    from roomkit_plugins.teams.references import (
        InMemoryConversationReferenceStore as InMemoryConversationReferenceStore,
    )
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "AgentsTeamsProvider": "provider",
            "BotFrameworkTeamsProvider": "provider",
            "ConversationReferenceStore": "references",
            "InMemoryConversationReferenceStore": "references",
            "TeamsChannel": "channel",
            "TeamsChannelConfig": "config",
            "TeamsConfig": "config",
            "TeamsMessageHints": "compose",
            "is_bot_added": "activities",
            "is_bot_removed": "activities",
            "parse_teams_activity": "activities",
            "parse_teams_reactions": "activities",
            "parse_teams_webhook": "activities",
        },
    )
