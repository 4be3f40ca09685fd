"""What a message of a room becomes in mail: a formatted text, and files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from roomkit.abc.errors import ErrorCode
from roomkit.authoring.data_url import inline_file
from roomkit.authoring.plain_text import described
from roomkit.models.content import (
    AudioContent,
    CustomContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.wire.markup import parse, to_text
from roomkit_plugins.wire.markup.links import kept_url
from roomkit_plugins.wire.markup.tree import (
    LINK_SCHEMES,
    PICTURE_SCHEMES,
    Heading,
    Hyperlink,
    Listing,
    MarkupBlock,
    MarkupTree,
    Paragraph,
    Picture,
    Styled,
)
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.plain_message import parts_of

__all__ = ["MailBody", "MailFile", "mail_body"]


@dataclass(frozen=True, slots=True)
class MailFile:
    """A file of a message; one with a `content_id` is shown within the text."""

    data: bytes = field(repr=False)
    mime_type: str
    filename: str
    content_id: str | None = None


@dataclass(slots=True)
class MailBody:
    """A message: `text` for readers of plain text, `tree` for the others, and the files."""

    text: str = ""
    tree: MarkupTree = ()
    files: list[MailFile] = field(default_factory=list)


def mail_body(content: EventContent, origin: Origin) -> MailBody:
    """Return a content as a mail carries it; its parts are one message, in their order.

    Files are `data:` URLs: those go along, pictures within the text. Other files are links. Raises
    ProviderError: `invalid_request` for an empty message, `unsupported_content` for what is no message.
    """
    body, texts, trees = MailBody(), list[str](), list[MarkupBlock]()
    for number, part in enumerate(parts_of(content), 1):
        text, tree = _part(part, number, body.files, origin)
        if text:
            texts.append(text)
        trees.extend(tree)
    body.text, body.tree = "\n\n".join(texts), tuple(trees)
    if not body.text.strip() and not body.files:
        raise origin.refused("the mail is empty: it has neither text nor a file")
    return body


def _part(part: EventContent, number: int, files: list[MailFile], origin: Origin) -> tuple[str, MarkupTree]:
    match part:
        case TextContent() | SystemContent():
            return part.body, parse(part.body, "plain")
        case RichContent():
            return _rich(part)
        case MediaContent():
            name = part.filename or _name(number, part.mime_type)
            return _file(part.url, part.mime_type, name, part.caption or "", files, origin)
        case AudioContent():
            name = _name(number, part.mime_type)
            return _file(part.url, part.mime_type, name, part.transcript or "", files, origin)
        case VideoContent():
            return _file(part.url, part.mime_type, _name(number, part.mime_type), "", files, origin)
        case LocationContent() | CustomContent():
            return _plain(described(part))
        case TemplateContent() if part.body:
            return _plain(part.body)
        case _:
            raise origin.refused(
                f"a mail cannot carry {part.type} content", error_code=ErrorCode.UNSUPPORTED_CONTENT
            )


def _plain(text: str) -> tuple[str, MarkupTree]:
    return text, parse(text, "plain")


def _name(number: int, mime_type: str) -> str:
    return f"{mime_type.partition('/')[0] or 'file'}-{number}"


# -- formatted text -------------------------------------------------------------------------------


def _rich(part: RichContent) -> tuple[str, MarkupTree]:
    """Return formatted text with its cards, buttons and quick replies."""
    tree = parse(part.body, part.format)
    further = tuple(_further(part))
    text = part.plain_text if part.plain_text is not None else to_text(tree)
    return "\n\n".join(filter(None, (text, to_text(further)))), (*tree, *further)


def _further(part: RichContent) -> Iterator[MarkupBlock]:
    for card in part.cards:
        yield from _card(card)
    yield from _options(part.buttons)
    if part.quick_replies:
        yield Listing(tuple((Paragraph((reply,)),) for reply in part.quick_replies))


def _card(card: Mapping[str, Any]) -> Iterator[MarkupBlock]:
    if title := str(card.get("title") or ""):
        yield Heading(3, (title,))
    if url := kept_url(str(card.get("media_url") or ""), PICTURE_SCHEMES):
        yield Paragraph((Picture(url, title or url),))
    if said := str(card.get("description") or ""):
        yield from parse(said, "plain")
    buttons = card.get("buttons")
    yield from _options(buttons if isinstance(buttons, list | tuple) else ())


def _options(buttons: Iterable[object]) -> Iterator[MarkupBlock]:
    """Yield buttons as a list: a link where one leads somewhere."""
    items = [_option(each) for each in buttons if isinstance(each, Mapping)]
    if items:
        yield Listing(tuple((item,) for item in items), start=1)


def _option(button: Mapping[str, Any]) -> Paragraph:
    label = str(button.get("text") or button.get("title") or button.get("label") or "")
    phone = button.get("phone_number")
    target = str(button.get("url") or (f"tel:{phone}" if phone else ""))
    if url := kept_url(target, LINK_SCHEMES):
        return Paragraph((Hyperlink(url, (label or url,)),))
    return Paragraph((f"{label}: {target}" if target else label or "?",))


# -- files ----------------------------------------------------------------------------------------


def _file(
    url: str, mime_type: str, name: str, caption: str, files: list[MailFile], origin: Origin
) -> tuple[str, MarkupTree]:
    """Attach a file, or link to it; return its caption and where it is in the text."""
    text, tree = _plain(caption)
    if not url.lower().startswith("data:"):
        return _link(url, name, text, tree, origin)
    inline = inline_file(url)
    if inline is None:
        raise origin.refused("a file's data: URL cannot be read", error_code=ErrorCode.UNSUPPORTED_CONTENT)
    is_picture = mime_type.lower().startswith("image/") and mime_type.lower() != "image/svg+xml"
    content_id = f"file{len(files) + 1}" if is_picture else None
    files.append(MailFile(inline.data, mime_type, name, content_id))
    if content_id is None:
        return text, tree
    return text, (*tree, Paragraph((Picture(f"cid:{content_id}", name),)))


def _link(url: str, name: str, text: str, tree: MarkupTree, origin: Origin) -> tuple[str, MarkupTree]:
    if not (kept := kept_url(url, LINK_SCHEMES)):
        raise origin.refused(
            "a mail cannot carry a file without its bytes or an http(s) URL",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )
    line = Paragraph((Styled("bold", (f"{name}: ",)), Hyperlink(kept, (kept,))))
    return "\n\n".join(filter(None, (text, to_text((line,))))), (*tree, line)
