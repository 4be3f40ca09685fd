"""Telegram's errors: https://core.telegram.org/bots/api#making-requests (Bot API 10.0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value

__all__ = ["ORIGIN", "TelegramError", "api_error"]

ORIGIN = Origin("bot", "Telegram")

# Telegram has no codes but the HTTP status: a refusal is known by its description alone.
_DESCRIBED: tuple[tuple[str, ErrorCode], ...] = (
    ("bot was blocked by the user", ErrorCode.OPTED_OUT),
    ("chat not found", ErrorCode.INVALID_RECIPIENT),
    ("user not found", ErrorCode.INVALID_RECIPIENT),
    ("user is deactivated", ErrorCode.INVALID_RECIPIENT),
    ("bot was kicked", ErrorCode.INVALID_RECIPIENT),
    ("bot is not a member", ErrorCode.INVALID_RECIPIENT),
    ("can't initiate conversation", ErrorCode.INVALID_RECIPIENT),
    ("can't send messages to bots", ErrorCode.INVALID_RECIPIENT),
    ("group chat was deactivated", ErrorCode.INVALID_RECIPIENT),
    ("upgraded to a supergroup", ErrorCode.INVALID_RECIPIENT),
    ("peer_id_invalid", ErrorCode.INVALID_RECIPIENT),
    ("not enough rights", ErrorCode.PERMISSION),
    ("chat_write_forbidden", ErrorCode.PERMISSION),
    ("have no rights", ErrorCode.PERMISSION),
    ("message is too long", ErrorCode.TOO_LONG),
    ("caption is too long", ErrorCode.TOO_LONG),
    ("message to edit not found", ErrorCode.NOT_FOUND),
    ("message to delete not found", ErrorCode.NOT_FOUND),
    ("message to react not found", ErrorCode.NOT_FOUND),
    ("message can't be", ErrorCode.INVALID_REQUEST),
    ("reaction_invalid", ErrorCode.UNSUPPORTED_CONTENT),
    ("image_process_failed", ErrorCode.UNSUPPORTED_CONTENT),
    ("photo_invalid", ErrorCode.UNSUPPORTED_CONTENT),
    ("wrong type of the web page content", ErrorCode.UNSUPPORTED_CONTENT),
    ("file is too big", ErrorCode.UNSUPPORTED_CONTENT),
)


class TelegramError(ProviderError):
    """A refusal, with what Telegram said of it. `migrated_to` is the chat's new id, if that is why."""

    description: str = ""
    migrated_to: str | None = None


def api_error(answer: HTTPAnswer, token: str) -> TelegramError:
    """Classify an answer that is no success: by its status, and by its description where that says more."""
    said = _object(answer.body)
    text = said.get("description")
    description = (text if isinstance(text, str) else "no description").replace(token, "***")
    code = said.get("error_code")
    status = code if isinstance(code, int) and not isinstance(code, bool) else answer.status
    made = ORIGIN.answered(
        answer.status,
        _code(status, description.lower()),
        description,
        headers=answer.headers,
        codes=[f"telegram_{status}"],
    )
    found = said.get("parameters")
    parameters: Mapping[str, Any] = found if isinstance(found, dict) else {}
    wait, moved = parameters.get("retry_after"), parameters.get("migrate_to_chat_id")
    error = TelegramError(
        str(made),
        error_code=made.error_code,
        retryable=made.retryable,
        retry_after=float(wait) if isinstance(wait, int | float) and wait >= 0 else made.retry_after,
        provider=ORIGIN.provider,
        status_code=answer.status,
        vendor_code=made.vendor_code,
    )
    error.description = description
    error.migrated_to = str(moved) if isinstance(moved, int) else None
    return error


def _code(status: int, description: str) -> ErrorCode:
    if status in (401, 404):
        return ErrorCode.AUTH  # the token is wrong, or revoked: methods and chats that are not there are 400
    if 400 <= status < 500 and status != 429:
        for words, code in _DESCRIBED:
            if words in description:
                return code
    return code_for_status(status)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json_value(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
