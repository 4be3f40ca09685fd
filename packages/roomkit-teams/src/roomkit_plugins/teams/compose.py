"""From RoomKit's content to activities: pure functions, without network.

https://learn.microsoft.com/microsoftteams/platform/bots/how-to/format-your-bot-messages (Nov 2026).
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ErrorCode
from roomkit.authoring.plain_text import buttons_of, label_of
from roomkit.models.base import EMPTY
from roomkit.models.content import (
    CompositeContent,
    EventContent,
    MediaContent,
    RichContent,
    SystemContent,
    TextContent,
)
from roomkit.models.hints import TeamsHints
from roomkit_plugins.teams.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit.abc.errors import ProviderError

__all__ = ["ADAPTIVE", "TeamsMessageHints", "activity_of", "unsupported"]

ADAPTIVE = "application/vnd.microsoft.card.adaptive"
_HERO = "application/vnd.microsoft.card.hero"


@dataclass(slots=True, frozen=True, kw_only=True)
class TeamsMessageHints(TeamsHints):
    """What an event may say of itself to Teams, under "teams" in `channel_data.extra`.

    `card` is an Adaptive Card, shown in place of the event's text, which other channels get. `mentions` are
    people whom the text names: `{"id": "29:...", "name": "Ann"}`, for each "@Ann" in it.
    """

    card: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    mentions: tuple[Mapping[str, str], ...] = ()


def activity_of(content: EventContent, hints: TeamsMessageHints | None) -> dict[str, Any]:
    """Return the activity of a content. Raises ProviderError for what Teams has no form for."""
    said = hints or TeamsMessageHints()
    if said.card:
        return _with({"type": "message", "attachments": [_card(said.card)]}, said)
    parts = content.parts if isinstance(content, CompositeContent) else (content,)
    activity: dict[str, Any] = {"type": "message"}
    attachments: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case TextContent() | SystemContent():
                _say(activity, part.body, "plain")
            case RichContent():
                _say(activity, part.body, "xml" if part.format == "html" else "markdown")
                attachments += _cards(part)
            case MediaContent():
                _say(activity, part.caption or "", "plain")
                attachments.append(_image(part))
            case _:
                raise unsupported(f"{part.type} content")
    if attachments:
        activity["attachments"] = attachments
        if len(attachments) > 1:
            activity["attachmentLayout"] = "carousel"
    if not attachments and not str(activity.get("text", "")).strip():
        raise ORIGIN.refused("the message is empty: it has neither text nor a card")
    return _with(activity, said)


def unsupported(what: str) -> ProviderError:
    """Return the error for what Teams has no form for."""
    return ORIGIN.refused(f"Teams cannot carry {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)


def _say(activity: dict[str, Any], text: str, form: str) -> None:
    if not text:
        return
    before = activity.get("text")
    if before is not None and activity["textFormat"] != form:
        raise unsupported("texts of two formats in one message")
    activity["text"] = text if before is None else f"{before}\n{text}"
    activity["textFormat"] = form


def _card(card: Mapping[str, Any]) -> dict[str, Any]:
    return {"contentType": ADAPTIVE, "content": dict(card)}


def _cards(content: RichContent) -> list[dict[str, Any]]:
    """Return hero cards: one with the message's own buttons, and one for each card."""
    own: list[dict[str, Any]] = (
        [{"buttons": [_action(each) for each in content.buttons]}] if content.buttons else []
    )
    cards: list[dict[str, Any]] = [
        {
            "title": str(card.get("title") or ""),
            "text": str(card.get("description") or ""),
            "images": [{"url": str(card["media_url"])}] if card.get("media_url") else [],
            "buttons": [_action(each) for each in buttons_of(card)],
        }
        for card in content.cards
    ]
    shown = ({name: value for name, value in card.items() if value} for card in (*own, *cards))
    return [{"contentType": _HERO, "content": card} for card in shown]


def _action(button: Mapping[str, Any]) -> dict[str, Any]:
    title = label_of(button)
    url, number, kind = button.get("url"), button.get("phone_number"), button.get("type")
    if url and kind in (None, "url"):
        return {"type": "openUrl", "title": title, "value": str(url)}
    if number and kind in (None, "call"):
        return {"type": "openUrl", "title": title, "value": f"tel:{number}"}
    payload = button.get("payload")
    value = {"payload": str(payload)} if payload else {"payload": title}
    return {"type": "messageBack", "title": title, "displayText": title, "text": title, "value": value}


def _image(part: MediaContent) -> dict[str, Any]:
    if not part.mime_type.startswith("image/"):
        raise unsupported(f"a file of type {part.mime_type} but an image: name others by their URL in a text")
    attachment = {"contentType": part.mime_type, "contentUrl": part.url}
    return attachment if part.filename is None else {**attachment, "name": part.filename}


def _with(activity: dict[str, Any], hints: TeamsMessageHints) -> dict[str, Any]:
    """Name whom the text mentions, and the message that it answers."""
    if hints.reply_to is not None:
        activity["replyToId"] = hints.reply_to
    entities = []
    for mentioned in hints.mentions:
        name, identity = mentioned.get("name", ""), mentioned.get("id", "")
        tag = f"<at>{html.escape(name, quote=False)}</at>"
        if not name or f"@{name}" not in activity.get("text", ""):
            raise ORIGIN.refused(f"the text does not mention {name!r}: write @{name} where it does")
        activity["text"] = activity["text"].replace(f"@{name}", tag)
        mention = {"id": identity, "name": name}
        entities.append({"type": "mention", "text": tag, "mentioned": mention})
    if entities:
        activity["entities"] = entities
    return activity


def members_of(found: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return who is in a conversation: ids, names, and the ids of their accounts where Teams says them."""
    wanted = ("id", "name", "aadObjectId", "email", "userPrincipalName")
    return [
        {name: str(value) for name in wanted if isinstance(value := each.get(name), str)} for each in found
    ]
