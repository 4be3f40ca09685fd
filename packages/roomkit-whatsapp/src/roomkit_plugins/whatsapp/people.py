"""One person over several addresses: a telephone number, and a business-scoped user id.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids (2026).

A person who hides the number is known by the user id alone, one that was written to first by the number. The
address that a person's first room is bound to stays theirs; under each id that WhatsApp names, it is kept
among the provider's values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import StaleValueError
from roomkit.models.delivery import InboundMessage
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.whatsapp.webhooks import MOVED_TO

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart
    from roomkit.abc.services import Services
    from roomkit.models.channel import ChannelBinding

__all__ = ["known_people"]

_PERSON = "person"
_RECIPIENT = "phone_number"


async def known_people(parts: Sequence[WebhookPart], services: Services | None) -> Sequence[WebhookPart]:
    """Return the parts with each sender's own address, and follow those who have a new number.

    Without services, such as those of a provider without a kit, the parts as they are.
    """
    if services is None:
        return parts
    return [await _of_person(part, services) if isinstance(part, InboundMessage) else part for part in parts]


async def _of_person(message: InboundMessage, services: Services) -> WebhookPart:
    ids = _ids_of(message)
    address = await _address(message, ids, services)
    said = message if address == message.sender_id else message.replace(sender_id=address)
    moved = message.extra.get(MOVED_TO)
    if not isinstance(moved, str):
        return said
    return await _moved(said, moved, services)


def _ids_of(message: InboundMessage) -> Sequence[str]:
    """Return what WhatsApp calls the sender: the user id, the number."""
    named = (message.extra.get(name) for name in ("user_id", "wa_id"))
    return [each for each in named if isinstance(each, str) and each]


async def _address(message: InboundMessage, ids: Sequence[str], services: Services) -> str:
    """Return the address that the sender is known by: that of their room, else the user id."""
    for each in ids:
        kept = await services.values.get(_PERSON, each)
        if kept is not None:
            return str(kept.data["address"])
    if len(ids) < 2:  # there is nothing to join yet
        return message.sender_id
    address = await _bound_to(message, ids, services) or message.sender_id
    for each in ids:
        address = await _keep(each, address, services)
    return address


async def _bound_to(message: InboundMessage, ids: Sequence[str], services: Services) -> str | None:
    """Return the first of the ids that a room is bound to already."""
    for each in ids:
        if await services.rooms.locate(message.replace(sender_id=each, conversation=None)) is not None:
            return each
    return None


async def _keep(name: str, address: str, services: Services) -> str:
    """Keep a person's address under an id; return the one that is kept there."""
    try:
        await services.values.put(_PERSON, name, data={"address": address}, subject=address, if_revision=0)
    except StaleValueError:  # another worker took a message of the same person first
        kept = await services.values.get(_PERSON, name)
        return address if kept is None else str(kept.data["address"])
    return address


async def _moved(message: InboundMessage, new: str, services: Services) -> WebhookPart:
    """Have the person's room answer to the new address; return the note of it, for that room."""
    room_id = await services.rooms.locate(message)
    if room_id is None:
        return UnparsedPart(
            channel_id=message.channel_id,
            reason="a person without a room has a new number or user id",
            raw=message.raw_payload,
        )

    def follow(binding: ChannelBinding) -> ChannelBinding:
        return binding.replace(metadata={**binding.metadata, _RECIPIENT: new})

    await services.rooms.change_binding(room_id, follow, channel_id=message.channel_id)
    for each in _new_ids(message):
        await services.values.put(_PERSON, each, data={"address": new}, subject=new)
    return message.replace(room_id=room_id)


def _new_ids(message: InboundMessage) -> Sequence[str]:
    named = (message.extra.get(name) for name in ("new_user_id", "new_wa_id"))
    return [each for each in named if isinstance(each, str) and each]
