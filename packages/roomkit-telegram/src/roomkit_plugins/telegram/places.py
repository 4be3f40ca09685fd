"""The addresses of chats and messages.

A message's id is unique in its chat only, and the private chat of a business account with a customer has the
customer's id, like the bot's own chat with them. So an address is the chat's id, with the business connection
before it; and a message's id is that address with Telegram's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.telegram.errors import ORIGIN

__all__ = ["TelegramChat", "message_key", "number_in"]

_BUSINESS = "business"


@dataclass(frozen=True, slots=True)
class TelegramChat:
    """A chat, as its own or through a business connection."""

    chat: str
    connection: str | None = None

    @classmethod
    def of(cls, address: str) -> TelegramChat:
        """Read an address: `42`, `-1001`, `@channel`, or `business:<connection>:<chat>`."""
        kind, _, rest = address.strip().partition(":")
        if kind == _BUSINESS and ":" in rest:
            connection, _, chat = rest.rpartition(":")
            return cls(chat, connection)
        return cls(address.strip())

    @property
    def address(self) -> str:
        """The address, which `of` reads."""
        return self.chat if self.connection is None else f"{_BUSINESS}:{self.connection}:{self.chat}"

    def fields(self) -> dict[str, Any]:
        """Return the parameters that name the chat. Raises ProviderError for what cannot be a chat."""
        chat = self.chat
        digits = chat.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            named: dict[str, Any] = {"chat_id": int(chat)}
        elif chat.startswith("@") and len(chat) > 1 and chat[1:].isidentifier():
            named = {"chat_id": chat}
        else:
            raise ORIGIN.refused(
                "the recipient is no chat: give the chat's id, such as 123456789 or -1001234567890, or a "
                "channel's @name",
                error_code=ErrorCode.INVALID_RECIPIENT,
            )
        if self.connection is not None:
            named["business_connection_id"] = self.connection
        return named


def message_key(address: str, number: int | str) -> str:
    """Return the id of a message that is unique among all chats of a bot."""
    return f"{address}:{number}"


def number_in(key: str) -> int | None:
    """Return Telegram's number of a message's id; None for what is not one."""
    number = key.rpartition(":")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None
