"""What a message of Telegram's says, as contents: pure functions, without network.

https://core.telegram.org/bots/api#message (Bot API 10.0). Files are references (`FILES` and the file's id),
which the intake puts the bytes in place of: the URL at which Telegram has them contains the bot's token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, unquote

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    CustomContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.telegram.entities import formatted, marks_of, plain_with_links

__all__ = ["FILES", "content_of", "file_ids_of", "joined", "with_files"]

FILES = "https://api.telegram.org/file/"
"""Where references lead; nothing is there without a token."""
_UNKNOWN_TYPE = "application/octet-stream"
_ENVELOPE = frozenset(
    {
        "message_id", "message_thread_id", "direct_messages_topic", "from", "sender_chat",
        "sender_boost_count", "sender_business_bot", "date", "business_connection_id", "chat",
        "forward_origin", "is_topic_message",
        "is_automatic_forward", "reply_to_message", "external_reply", "quote", "reply_to_story",
        "reply_to_checklist_task_id", "reply_to_poll_option_id", "via_bot", "edit_date",
        "has_protected_content", "is_from_offline", "is_paid_post", "media_group_id", "author_signature",
        "paid_star_count", "entities",
        "link_preview_options", "suggested_post_info", "effect_id", "caption_entities", "sender_tag",
        "show_caption_above_media", "has_media_spoiler", "reply_markup", "caption", "forward_date",
    }
)  # fmt: skip
"""Fields that say of what kind, whose or when a message is, not what it says."""


def content_of(message: VendorPayload) -> EventContent:
    """Return what a message says; what is not known, or cannot be read, is named and never left out."""
    kind = next((kind for kind in _READERS if kind in message), None)
    if kind is None:
        return _of_service(message)
    try:
        return _READERS[kind](message)
    except InvalidInputError as error:
        return SystemContent(
            body=f"A message of the kind {kind} that cannot be read: {error}", code="unparsed"
        )


# -- files --------------------------------------------------------------------------------------


def file_ids_of(content: EventContent) -> Iterator[str]:
    """Yield the ids of the files that a content refers to."""
    match content:
        case CompositeContent():
            for part in content.parts:
                yield from file_ids_of(part)
        case MediaContent() | AudioContent() | VideoContent() if content.url.startswith(FILES):
            yield unquote(content.url.removeprefix(FILES))
        case _:
            return


def with_files(content: EventContent, found: Mapping[str, str | None]) -> EventContent:
    """Return a content with the URLs of its files; None for one that cannot be had, which is named."""
    match content:
        case CompositeContent():
            return content.replace(parts=tuple(with_files(part, found) for part in content.parts))
        case MediaContent() | AudioContent() | VideoContent() if content.url.startswith(FILES):
            url = found.get(unquote(content.url.removeprefix(FILES)))
            return content.replace(url=url) if url is not None else _missing(content)
        case _:
            return content


def _missing(content: MediaContent | AudioContent | VideoContent) -> EventContent:
    """Return the line that stands for a file, with the words that came with it."""
    name = content.filename if isinstance(content, MediaContent) else None
    size = content.size_bytes if isinstance(content, MediaContent) else None
    facts = ", ".join(filter(None, (name, content.mime_type, f"{size} bytes" if size else None)))
    lost = SystemContent(body=f"A file ({facts}) could not be fetched from Telegram", code="missing_file")
    words = content.caption if isinstance(content, MediaContent) else None
    return joined(TextContent(body=words), lost) if words else lost


def _reference(file: VendorPayload) -> str:
    return f"{FILES}{quote(file.needed('file_id'), safe='')}"


def _media(message: VendorPayload, kind: str, mime_type: str, name: str | None = None) -> MediaContent:
    file = message.inside(kind)
    return MediaContent(
        url=_reference(file),
        mime_type=file.text("mime_type") or mime_type,
        filename=file.text("file_name") or name,
        size_bytes=file.integer("file_size"),
        caption=_caption(message),
    )


def _caption(message: VendorPayload) -> str | None:
    text = message.text("caption")
    return plain_with_links(text, marks_of(text, message.several("caption_entities"))) if text else None


def _photo(message: VendorPayload) -> EventContent:
    sizes = message.several("photo")
    if not sizes:
        raise message.wrong("photo", "a list of sizes")
    largest = max(sizes, key=lambda size: (size.integer("width") or 0) * (size.integer("height") or 0))
    return MediaContent(
        url=_reference(largest),
        mime_type="image/jpeg",
        size_bytes=largest.integer("file_size"),
        caption=_caption(message),
    )


def _sticker(message: VendorPayload) -> EventContent:
    sticker = message.inside("sticker")
    is_animated, is_video = sticker.raw.get("is_animated"), sticker.raw.get("is_video")
    mime_type = "video/webm" if is_video else "application/x-tgsticker" if is_animated else "image/webp"
    return MediaContent(
        url=_reference(sticker),
        mime_type=mime_type,
        size_bytes=sticker.integer("file_size"),
        caption=sticker.text("emoji") or None,
    )


def _sound(kind: str, mime_type: str) -> Callable[[VendorPayload], EventContent]:
    def read(message: VendorPayload) -> EventContent:
        file = message.inside(kind)
        sound = AudioContent(
            url=_reference(file),
            mime_type=file.text("mime_type") or mime_type,
            duration_seconds=_seconds(file),
        )
        return _captioned(message, sound)

    return read


def _film(kind: str) -> Callable[[VendorPayload], EventContent]:
    def read(message: VendorPayload) -> EventContent:
        file = message.inside(kind)
        film = VideoContent(
            url=_reference(file),
            mime_type=file.text("mime_type") or "video/mp4",
            duration_seconds=_seconds(file),
        )
        return _captioned(message, film)

    return read


def _seconds(file: VendorPayload) -> float | None:
    duration = file.integer("duration")
    return None if duration is None or duration < 0 else float(duration)


def _captioned(message: VendorPayload, file: EventContent) -> EventContent:
    words = _caption(message)
    return file if words is None else joined(TextContent(body=words), file)


def joined(*parts: EventContent) -> EventContent:
    """Return several contents as one, without nesting composites."""
    flat: list[EventContent] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, CompositeContent) else (part,))
    return flat[0] if len(flat) == 1 else CompositeContent(parts=tuple(flat))


# -- what has no file ---------------------------------------------------------------------------


def _text(message: VendorPayload) -> EventContent:
    text = message.text("text")
    marks = marks_of(text, message.several("entities"))
    html = formatted(text, marks)
    if html is None:
        return TextContent(body=text)
    return RichContent(body=html, format="html", plain_text=plain_with_links(text, marks))


def _location(message: VendorPayload) -> EventContent:
    place = message.inside("location")
    return LocationContent(latitude=place.number("latitude"), longitude=place.number("longitude"))


def _venue(message: VendorPayload) -> EventContent:
    venue = message.inside("venue")
    place = venue.inside("location")
    return LocationContent(
        latitude=place.number("latitude"),
        longitude=place.number("longitude"),
        label=venue.text("title") or None,
        address=venue.text("address") or None,
    )


def _contact(message: VendorPayload) -> EventContent:
    contact = message.inside("contact")
    name = " ".join(filter(None, (contact.text("first_name"), contact.text("last_name"))))
    return _custom(message, "contact", f"Contact: {name}, {contact.text('phone_number')}")


def _poll(message: VendorPayload) -> EventContent:
    poll = message.inside("poll")
    options = [f"{at}. {each.text('text')}" for at, each in enumerate(poll.several("options"), 1)]
    return _custom(message, "poll", "\n".join([f"Poll: {poll.text('question')}", *options]))


def _dice(message: VendorPayload) -> EventContent:
    dice = message.inside("dice")
    return _custom(message, "dice", f"{dice.text('emoji')} {dice.text('value')}")


def _game(message: VendorPayload) -> EventContent:
    return _custom(message, "game", f"Game: {message.inside('game').text('title')}")


def _story(message: VendorPayload) -> EventContent:
    return _custom(message, "story", "A story was forwarded")


def _checklist(message: VendorPayload) -> EventContent:
    checklist = message.inside("checklist")
    tasks = [f"- {each.text('text')}" for each in checklist.several("tasks")]
    return _custom(message, "checklist", "\n".join([f"Checklist: {checklist.text('title')}", *tasks]))


def _paid_media(message: VendorPayload) -> EventContent:
    body = f"Paid media, for {message.inside('paid_media').text('star_count')} stars"
    return _custom(message, "paid_media", "\n".join(filter(None, (body, _caption(message)))))


def _invoice(message: VendorPayload) -> EventContent:
    invoice = message.inside("invoice")
    return _custom(message, "invoice", f"Invoice: {invoice.text('title')}")


def _custom(message: VendorPayload, kind: str, body: str) -> CustomContent:
    return CustomContent(kind=f"telegram.{kind}", body=body, data=dict(message.inside(kind).raw))


# -- service messages ---------------------------------------------------------------------------


def _of_service(message: VendorPayload) -> EventContent:
    """Return what happened in a chat, by the name that Telegram has for it."""
    kinds = sorted(name for name, value in message.raw.items() if name not in _ENVELOPE and value is not None)
    if not kinds:
        return SystemContent(body="A message without a content that is known", code="unparsed")
    kind = kinds[0]
    said = message.raw[kind]
    data = {kind: said} if isinstance(said, dict | list | str | int | float | bool) else {}
    describe = _SERVICE.get(kind)
    body = kind.replace("_", " ").capitalize() if describe is None else describe(message)
    return SystemContent(body=body, code=f"telegram_{kind}"[:100], data=data)


def _name(user: VendorPayload) -> str:
    full = " ".join(filter(None, (user.text("first_name"), user.text("last_name"))))
    return full or user.text("title") or user.text("username") or user.text("id")


def _joined_members(message: VendorPayload) -> str:
    return f"{', '.join(map(_name, message.several('new_chat_members')))} joined"


_SERVICE: Mapping[str, Callable[[VendorPayload], str]] = {
    "new_chat_members": _joined_members,
    "left_chat_member": lambda message: f"{_name(message.inside('left_chat_member'))} left",
    "new_chat_title": lambda message: f"The chat is called {message.text('new_chat_title')} now",
    "migrate_to_chat_id": lambda message: "The group became a supergroup",
    "migrate_from_chat_id": lambda message: "The supergroup was a group before",
    "pinned_message": lambda message: "A message was pinned",
}
_READERS: Mapping[str, Callable[[VendorPayload], EventContent]] = {
    "text": _text,
    "photo": _photo,
    "voice": _sound("voice", "audio/ogg"),
    "audio": _sound("audio", "audio/mpeg"),
    "animation": _film("animation"),  # before the document, which is there for older clients
    "video": _film("video"),
    "video_note": _film("video_note"),
    "sticker": _sticker,
    "document": lambda message: _media(message, "document", _UNKNOWN_TYPE),
    "venue": _venue,  # before the location, which is there as well
    "location": _location,
    "contact": _contact,
    "poll": _poll,
    "dice": _dice,
    "game": _game,
    "story": _story,
    "checklist": _checklist,
    "paid_media": _paid_media,
    "invoice": _invoice,
}
