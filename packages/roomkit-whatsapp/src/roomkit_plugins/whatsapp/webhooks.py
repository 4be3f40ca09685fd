"""WhatsApp's webhooks: pure functions, without network.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference (Aug 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from roomkit.authoring.addresses import international
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import (
    ConsentContent,
    DeleteContent,
    EditContent,
    EventContent,
    SystemContent,
    TextContent,
)
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ConsentState, EventType, ReceiptState
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.whatsapp.contents import CONTENTS, MessagePart, unsupported
from roomkit_plugins.whatsapp.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart

__all__ = ["MOVED_TO", "Account", "read_webhook"]

MOVED_TO = "moved_to"
"""In `InboundMessage.extra`: the address that a person has from now on."""
_OBJECT = "whatsapp_business_account"
_STATUSES = {"played": ReceiptState.READ.value}
_PREFERENCES = {"stop": ConsentState.REVOKED, "resume": ConsentState.GRANTED}
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Account:
    """Whose webhooks are read, and where the files of messages are asked for."""

    phone_number_id: str
    media_url: str
    waba_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Value:
    """One change of a webhook, and who it is for."""

    said: VendorPayload
    channel_id: str
    account: Account

    def only(self, name: str, item: VendorPayload) -> Mapping[str, Any]:
        """Return the change as if it held this item alone: what each part keeps as its raw payload."""
        lists = ("messages", "statuses", "calls", "user_preferences", "errors", "contacts")
        rest = {key: value for key, value in self.said.raw.items() if key not in lists}
        contacts = {"contacts": self.said.raw["contacts"]} if "contacts" in self.said else {}
        return {**rest, **contacts, name: [item.raw]}

    def unparsed(self, reason: str, raw: Mapping[str, Any]) -> UnparsedPart:
        return UnparsedPart(channel_id=self.channel_id, reason=reason[:_LONGEST_REASON], raw=raw)


def read_webhook(payload: object, channel_id: str, account: Account) -> Sequence[WebhookPart]:
    """Return what a verified webhook says. Raises ValueError for what WhatsApp does not send.

    One request holds any number of changes, of several numbers. What is wrong with one message or status is
    said of that one: the others are taken.
    """
    said = VendorPayload(ORIGIN.vendor, payload)
    if said.needed("object") != _OBJECT:
        raise said.wrong("object", _OBJECT)
    return [
        part
        for entry in said.several("entry")
        for change in entry.several("changes")
        for part in _parts(change, entry.text("id"), channel_id, account)
    ]


def _parts(change: VendorPayload, waba_id: str, channel_id: str, account: Account) -> Iterator[WebhookPart]:
    name = change.needed("field")
    value = _Value(change.inside("value"), channel_id, account)
    if account.waba_id is not None and waba_id != account.waba_id:
        yield value.unparsed(f"a change of another account, {waba_id[:40]}", change.raw)
        return
    read = _FIELDS.get(name)
    if read is None:
        yield value.unparsed(_notice(name, value.said), change.raw)
        return
    number = value.said.inside("metadata").text("phone_number_id")
    if number != account.phone_number_id:
        yield value.unparsed(
            f"{name} of another number, {number[:40]}: give it a channel, whose webhooks this URL gets too",
            change.raw,
        )
        return
    yield from read(value)


def _notice(name: str, said: VendorPayload) -> str:
    """Return in one line what a notice on the account says, such as a template that was rejected."""
    names = ("message_template_name", "message_template_language", "event", "new_quality_score", "reason")
    found = [str(said.raw[each]) for each in names if isinstance(said.raw.get(each), str | int)]
    return f"a notice of WhatsApp, {name[:80]}" + (f": {', '.join(found)}" if found else "")


# -- messages -----------------------------------------------------------------------------------


def _messages(value: _Value) -> Iterator[WebhookPart]:
    for item in value.said.several("messages"):
        yield _message_or_why_not(value, item)
    for item in value.said.several("statuses"):
        yield _status_or_why_not(value, item)
    for item in value.said.several("errors"):
        raw = value.only("errors", item)
        yield value.unparsed(f"an error of WhatsApp: {item.text('title') or item.text('code')}", raw)


def _message_or_why_not(value: _Value, item: VendorPayload) -> WebhookPart:
    raw = value.only("messages", item)
    try:
        # What is read of the parts of a message is from outside too: its constructor checks all of it.
        return InboundMessage(**dict(_message(value, item, raw)))
    except ValueError as error:
        return value.unparsed(f"a message that cannot be read: {error}", raw)


@dataclass(frozen=True, slots=True)
class _Person:
    """Who wrote, by every name that WhatsApp gives."""

    user_id: str
    wa_id: str
    name: str
    username: str

    @property
    def address(self) -> str:
        """The user id, which stays when the number is hidden; the number without one."""
        return self.user_id or self.wa_id

    def extra(self) -> dict[str, str]:
        said = {"user_id": self.user_id, "wa_id": self.wa_id, "username": self.username}
        return {name: value for name, value in said.items() if value}


def _person(value: _Value, item: VendorPayload) -> _Person:
    """Return who a message, a call or a preference is of. Raises ValueError for no one."""
    wa_id = item.text("from") or item.text("wa_id")
    user_id = item.text("from_user_id") or item.text("user_id")
    contacts = value.said.several("contacts")
    about = next((each for each in contacts if _is_of(each, wa_id, user_id)), None)
    if about is not None:
        wa_id, user_id = about.text("wa_id") or wa_id, about.text("user_id") or user_id
    if not (wa_id or user_id):
        raise item.wrong("from", "there")
    profile = VendorPayload(ORIGIN.vendor, {}) if about is None else about.inside("profile")
    number = international(wa_id) if wa_id else ""
    return _Person(user_id, number, profile.text("name"), profile.text("username"))


def _is_of(contact: VendorPayload, wa_id: str, user_id: str) -> bool:
    known, number = contact.text("user_id"), contact.text("wa_id")
    if user_id and known:
        return user_id == known
    return (number == wa_id) if number and wa_id else not (wa_id or user_id)


def _message(value: _Value, item: VendorPayload, raw: Mapping[str, Any]) -> InboundMessage:
    person, identity, kind = _person(value, item), item.needed("id"), item.text("type")
    context = item.inside("context")
    act = _ACTS.get(kind)
    message = InboundMessage(
        channel_id=value.channel_id,
        sender_id=person.address,
        conversation=item.text("group_id") or None,
        content=TextContent(body=""),
        external_id=identity,
        provider_message_id=identity,
        idempotency_key=identity,
        in_reply_to=tuple(filter(None, [context.text("id")])),
        raw_payload=raw,
        extra={**person.extra(), **_our_number(value)},
        metadata=_metadata(person, context),
    )
    if act is not None:
        return act(message, item.inside(kind), value)
    return message.replace(content=_content(kind, item, value))


def _our_number(value: _Value) -> Mapping[str, str]:
    about = value.said.inside("metadata")
    return {"phone_number_id": about.text("phone_number_id"), "to": about.text("display_phone_number")}


def _metadata(person: _Person, context: VendorPayload) -> dict[str, Any]:
    named = {"sender_name": person.name} if person.name else {}
    forwarded = context.raw.get("forwarded") is True or context.raw.get("frequently_forwarded") is True
    return {**named, **({"forwarded": True} if forwarded else {})}


def _content(kind: str, item: VendorPayload, value: _Value) -> EventContent:
    """Return what a message says: what cannot be read is named, and its payload kept."""
    read = CONTENTS.get(kind)
    if read is None:
        return unsupported(kind, item)
    try:
        said = item if kind == "contacts" else item.inside(kind)
        return read(MessagePart(said, value.account.media_url, value.account.phone_number_id))
    except ValueError as error:
        return unsupported(kind, item, str(error))


# -- what is about another message, or about a person -------------------------------------------


def _reaction(message: InboundMessage, said: VendorPayload, value: _Value) -> InboundMessage:
    """Without an emoji it is taken back."""
    emoji = said.text("emoji")
    return message.replace(
        event_type=EventType.REACTION,
        content=TextContent(body=emoji),
        in_reply_to=(said.needed("message_id"),),
        metadata={**message.metadata, "emoji": emoji, "action": "add" if emoji else "remove"},
    )


def _button(message: InboundMessage, said: VendorPayload, value: _Value) -> InboundMessage:
    """The quick reply of a template was tapped."""
    return _tapped(message, said.text("text"), said.text("payload"))


def _interactive(message: InboundMessage, said: VendorPayload, value: _Value) -> InboundMessage:
    """A button or a row was tapped, or a flow was answered."""
    kind = said.text("type")
    if kind in ("button_reply", "list_reply"):
        chosen = said.inside(kind)
        return _tapped(message, chosen.text("title"), chosen.text("id"))
    item = VendorPayload(said.vendor, {"interactive": said.raw})
    return message.replace(content=_content("interactive", item, value))


def _tapped(message: InboundMessage, label: str, payload: str) -> InboundMessage:
    """Return the label as the person's words, with the payload that the button was given."""
    metadata = {**message.metadata, **({"postback": payload} if payload else {})}
    return message.replace(content=TextContent(body=label), metadata=metadata)


def _edit(message: InboundMessage, said: VendorPayload, value: _Value) -> InboundMessage:
    original, new = said.needed("original_message_id"), said.inside("message")
    content = EditContent(target_event_id=original, new_content=_content(new.needed("type"), new, value))
    return message.replace(event_type=EventType.EDIT, content=content, in_reply_to=(original,))


def _revoke(message: InboundMessage, said: VendorPayload, value: _Value) -> InboundMessage:
    original = said.needed("original_message_id")
    content = DeleteContent(target_event_id=original)
    return message.replace(event_type=EventType.DELETE, content=content, in_reply_to=(original,))


def _system(message: InboundMessage, said: VendorPayload, value: _Value) -> InboundMessage:
    """A person has another number, another user id, or both: `extra` says which they had and have."""
    kind = said.needed("type")
    new_number, new_user_id = said.text("wa_id"), said.text("user_id")
    old_user_id = said.text("previous_user_id") or str(message.extra.get("user_id", ""))
    new = {"new_wa_id": international(new_number) if new_number else "", "new_user_id": new_user_id}
    moved = new["new_user_id"] or new["new_wa_id"]
    extra = {
        **message.extra,
        **({"user_id": old_user_id} if old_user_id else {}),
        **{name: each for name, each in new.items() if each},
        **({MOVED_TO: moved} if moved else {}),
    }
    data = {"type": kind}
    body = said.text("body") or kind.replace("_", " ")
    content = SystemContent(body=body, code=f"whatsapp.{kind}", data=data)
    sender = old_user_id or message.sender_id
    return message.replace(event_type=EventType.SYSTEM, content=content, extra=extra, sender_id=sender)


type _Act = Callable[[InboundMessage, VendorPayload, _Value], InboundMessage]
_ACTS: Mapping[str, _Act] = {
    "button": _button,
    "edit": _edit,
    "interactive": _interactive,
    "reaction": _reaction,
    "revoke": _revoke,
    "system": _system,
}


# -- receipts -----------------------------------------------------------------------------------


def _status_or_why_not(value: _Value, item: VendorPayload) -> WebhookPart:
    raw = value.only("statuses", item)
    try:
        return _status(value, item, raw)
    except ValueError as error:
        return value.unparsed(f"a status that cannot be read: {error}", raw)


def _status(value: _Value, item: VendorPayload, raw: Mapping[str, Any]) -> DeliveryStatus:
    word = item.needed("status")
    error = next(iter(item.several("errors")), None)
    code = "" if error is None else error.text("code")
    return DeliveryStatus(
        provider=ORIGIN.provider,
        channel_id=value.channel_id,
        message_id=item.needed("id"),
        status=_STATUSES.get(word, word),
        reference=item.text("biz_opaque_callback_data") or None,
        recipient=item.text("recipient_user_id") or item.text("recipient_id"),
        sender=value.said.inside("metadata").text("display_phone_number"),
        error_code=f"graph_{code}" if code else None,
        error_message=None if error is None else _words(error) or None,
        timestamp=_time(item),
        raw=raw,
    )


def _words(error: VendorPayload) -> str:
    said = (error.text("title") or error.text("message"), error.inside("error_data").text("details"))
    return ": ".join(filter(None, said))


def _time(item: VendorPayload) -> datetime | None:
    """Return the time of POSIX seconds; None for anything else, which is in the raw payload."""
    try:
        return datetime.fromtimestamp(int(item.text("timestamp")), UTC)
    except (ValueError, OverflowError, OSError):
        return None


# -- calls and preferences ----------------------------------------------------------------------


def _calls(value: _Value) -> Iterator[WebhookPart]:
    for item in value.said.several("calls"):
        raw = value.only("calls", item)
        try:
            yield _call(value, item, raw)
        except ValueError as error:
            yield value.unparsed(f"a call that cannot be read: {error}", raw)
    for item in value.said.several("statuses"):
        yield value.unparsed(f"the status of a call: {item.text('status')}", value.only("statuses", item))


def _call(value: _Value, item: VendorPayload, raw: Mapping[str, Any]) -> InboundMessage:
    """The session's description (SDP) is in the raw payload alone."""
    identity, event = item.needed("id"), item.needed("event")
    is_ours = item.text("direction") == "BUSINESS_INITIATED"
    about = VendorPayload(ORIGIN.vendor, {**item.raw, "from": item.text("to")}) if is_ours else item
    person = _person(value, about)
    facts = {
        name: each
        for name in ("direction", "status", "duration", "start_time", "end_time")
        if isinstance(each := item.raw.get(name), str | int)
    }
    return InboundMessage(
        channel_id=value.channel_id,
        sender_id=person.address,
        event_type=EventType.SYSTEM,
        content=SystemContent(
            body=_call_in_words(event, facts, is_ours=is_ours),
            code=f"whatsapp.call.{event}",
            data={"call_id": identity, **facts},
        ),
        external_id=identity,
        idempotency_key=f"{identity}:{event}",
        raw_payload=raw,
        extra={**person.extra(), **_our_number(value)},
        metadata={"sender_name": person.name} if person.name else {},
    )


def _call_in_words(event: str, facts: Mapping[str, Any], *, is_ours: bool) -> str:
    who = "Call to WhatsApp" if is_ours else "Call by WhatsApp"
    if event != "terminate":
        return f"{who}: {event}"
    seconds = facts.get("duration")
    return f"{who}: ended" + (f" after {seconds} s" if seconds is not None else "")


def _preferences(value: _Value) -> Iterator[WebhookPart]:
    for item in value.said.several("user_preferences"):
        raw = value.only("user_preferences", item)
        try:
            yield _preference(value, item, raw)
        except ValueError as error:
            yield value.unparsed(f"a preference that cannot be read: {error}", raw)


def _preference(value: _Value, item: VendorPayload, raw: Mapping[str, Any]) -> WebhookPart:
    """A person stops or resumes marketing messages: consent for that purpose."""
    state = _PREFERENCES.get(item.needed("value"))
    if state is None or item.text("category") != "marketing_messages":
        return value.unparsed(f"a preference of another kind, {item.text('category')[:80]}", raw)
    person, at = _person(value, item), item.text("timestamp")
    return InboundMessage(
        channel_id=value.channel_id,
        sender_id=person.address,
        event_type=EventType.CONSENT,
        content=ConsentContent(
            address_type="phone",
            address=person.address,
            state=state,
            purpose="marketing",
            source="vendor",
            at=_time(item),
            body=item.text("detail"),
        ),
        idempotency_key=f"preference:{person.address}:{at}:{state.value}",
        raw_payload=raw,
        extra={**person.extra(), **_our_number(value)},
    )


_FIELDS: Mapping[str, Callable[[_Value], Iterator[WebhookPart]]] = {
    "messages": _messages,
    "calls": _calls,
    "user_preferences": _preferences,
}
