"""Which bot to send by, and how its updates are recognised."""

from __future__ import annotations

import os
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from roomkit_plugins.wire.connection import check_secure_url
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["TelegramBotConfig", "TelegramChannelConfig", "TelegramConfig", "TelegramSourceConfig"]

API = "https://api.telegram.org"
MOST_BYTES = 20 * 1024 * 1024
"""Of a file that a bot may download (Bot API, getFile)."""
_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{3,100}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")


def _token() -> SecretStr:
    return SecretStr(os.environ.get("TELEGRAM_BOT_TOKEN", ""))


class TelegramBotConfig(VendorConfig):
    """The settings of a bot, whichever way its updates come."""

    bot_token: SecretStr = Field(default_factory=_token)
    """The token that BotFather gave, as `123456:ABC...`. `TELEGRAM_BOT_TOKEN` without it."""
    groups: Literal["addressed", "all"] = "addressed"
    """Which messages of groups ask the room's agents: those that address the bot, or all. Every one is in the
    timeline."""
    max_file_bytes: int = Field(default=MOST_BYTES, ge=0, le=2_000_000_000)
    """Files up to this size are fetched and kept; larger ones are said to be missing. Telegram's own limit is
    20 MB; a Bot API server of your own has none."""
    timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds for one request to the API, also for one that sends a file."""
    base_url: str = API
    """Where the API is: a Bot API server of your own, or a simulator."""

    _check_url = field_validator("base_url")(check_secure_url)

    @field_validator("bot_token")
    @classmethod
    def _check_token(cls, token: SecretStr) -> SecretStr:
        if not _TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError(
                "bot_token is not a token of BotFather's, such as 123456:ABC-def; TELEGRAM_BOT_TOKEN is read "
                "without it"
            )
        return token

    @property
    def bot_id(self) -> str:
        """The bot's user id: the part of its token that is no secret."""
        return self.bot_token.get_secret_value().partition(":")[0]


class TelegramConfig(TelegramBotConfig):
    """The settings of `TelegramBotProvider`: of the bot, and of its webhook."""

    webhook_secret: SecretStr | None = None
    """The `secret_token` of setWebhook: 1 to 256 of `A-Z a-z 0-9 _ -`. Without it no update is taken by
    webhook."""

    @field_validator("webhook_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not _SECRET.fullmatch(secret.get_secret_value()):
            raise ValueError("webhook_secret has 1 to 256 characters of A-Z, a-z, 0-9, _ and -")
        return secret


class TelegramSourceConfig(TelegramBotConfig):
    """The settings of `TelegramSource`: of the bot, and of its polling."""

    channel_id: str = Field(min_length=1)
    """The channel that the updates are for."""
    poll_seconds: int = Field(default=50, ge=0, le=50)
    """How long Telegram keeps a request open while there is nothing new."""
    limit: int = Field(default=100, ge=1, le=100)
    """The most updates of one answer."""


class TelegramChannelConfig(BaseModel):
    """The options of `TelegramChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    silent: bool | None = Field(
        None, description="Whether messages come without a sound; None: as each says."
    )
