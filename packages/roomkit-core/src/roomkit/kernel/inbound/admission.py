"""What a channel says of a message before anything else is done with it: pure functions of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from roomkit._names import nearest
from roomkit.abc.attributes import read
from roomkit.abc.errors import ForeignCodeError
from roomkit.abc.records import checked, problems_of
from roomkit.kernel.flow.contract import owner_of, type_of
from roomkit.models.base import FrozenDict
from roomkit.models.channel import BindingFields, ChannelBinding
from roomkit.models.delivery import InboundMessage

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel

__all__ = ["admitted", "first_fields", "learnt_state", "without_reserved"]


def without_reserved(message: InboundMessage) -> InboundMessage:
    """Return the message without what only the framework may say of it."""
    if any(key.startswith("_") for key in message.metadata):
        kept = {key: value for key, value in message.metadata.items() if not key.startswith("_")}
        message = message.replace(metadata=FrozenDict(kept))
    return message


def admitted(message: InboundMessage, channel: Channel) -> InboundMessage:
    """Return the message as its channel admits it. Raises ForeignCodeError."""
    owner = owner_of(message.channel_id)
    found: InboundMessage = read(owner, "admit()", lambda: channel.admit(message), InboundMessage)
    if found is message:
        return message
    found = checked(found, InboundMessage, f"that admit() of {owner} returned", ForeignCodeError)
    if found.channel_id != message.channel_id:
        raise ForeignCodeError(
            f"admit() of {owner} returned a message of channel {found.channel_id!r}: keep its channel_id"
        )
    return without_reserved(found)


def learnt_state(message: InboundMessage, channel: Channel) -> Mapping[str, Any]:
    """Return what a message says of its channel's side of the conversation. Raises ForeignCodeError."""
    owner = owner_of(message.channel_id)
    found: Mapping[str, Any] = read(owner, "binding_state()", lambda: channel.binding_state(message), Mapping)
    return found


def first_fields(message: InboundMessage, channel: Channel, room_id: str) -> Mapping[str, Any]:
    """Return the fields of the binding that a message makes, as its channel says. Raises ForeignCodeError."""
    owner = owner_of(message.channel_id)
    found: Mapping[str, Any] = read(owner, "first_binding()", lambda: channel.first_binding(message), Mapping)
    unknown = next((name for name in found if name not in BindingFields.__annotations__), None)
    if unknown is not None:
        near = nearest(unknown, BindingFields.__annotations__)
        advice = f"did you mean {near!r}?" if near else "return fields that attach_channel takes"
        raise ForeignCodeError(f"first_binding() of {owner} has an unknown field {unknown!r}: {advice}")
    try:
        ChannelBinding(
            channel_id=message.channel_id,
            room_id=room_id,
            channel_type=type_of(channel, message.channel_id),
            **found,
        )
    except ValidationError as wrong:  # without its cause, which would quote the values
        raise ForeignCodeError(
            f"first_binding() of {owner} cannot be used: {problems_of(wrong)}; return fields that "
            "attach_channel takes"
        ) from None
    return found
