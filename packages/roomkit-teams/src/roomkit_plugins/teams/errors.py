"""Errors of the Bot Connector.

https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference (Nov 2026).
"""

from __future__ import annotations

from collections.abc import Mapping

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value

__all__ = ["ORIGIN", "connector_error"]

ORIGIN = Origin("teams", "Teams", setting="service_urls")
_CODES: Mapping[str, ErrorCode] = {
    "BotNotInConversationRoster": ErrorCode.INVALID_RECIPIENT,
    "BotDisabledByAdmin": ErrorCode.PERMISSION,
    "ConversationBlockedByUser": ErrorCode.OPTED_OUT,
    "ConversationNotFound": ErrorCode.INVALID_RECIPIENT,
    "ForbiddenOperationException": ErrorCode.INVALID_RECIPIENT,
    "MessageSizeTooBig": ErrorCode.TOO_LONG,
    "MessageWritesBlocked": ErrorCode.INVALID_RECIPIENT,
    "ServiceError": ErrorCode.OVERLOADED,
}
_STATUSES: Mapping[int, ErrorCode] = {
    404: ErrorCode.INVALID_RECIPIENT,
    412: ErrorCode.OVERLOADED,
    413: ErrorCode.TOO_LONG,
    502: ErrorCode.OVERLOADED,
    504: ErrorCode.OVERLOADED,
}
"""412, 502 and 504 are to be tried again, as Microsoft says of bots' rate limits."""


def connector_error(answer: HTTPAnswer) -> ProviderError:
    """Classify an error answer, by its code, else its status."""
    try:
        said = json_value(answer.body)
    except ValueError:
        said = None
    inside = said.get("error") if isinstance(said, dict) else None
    found = inside if isinstance(inside, dict) else {}
    code, words = found.get("code"), found.get("message")
    known = code if isinstance(code, str) else None
    by_status = _STATUSES.get(answer.status) or code_for_status(answer.status)
    meaning = by_status if answer.status in (401, 429) else _CODES.get(known or "", by_status)
    return ORIGIN.answered(
        answer.status,
        meaning,
        words if isinstance(words, str) else "no message",
        headers=answer.headers,
        codes=[] if known is None else [f"teams_{known}"],
    )
