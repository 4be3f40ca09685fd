"""Erasing the vendors' receipts for a person that no delivery matches yet."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read_attribute
from roomkit.kernel.flow.contract import owner_of
from roomkit.models.channel import default_address_type

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.privacy.person import Person
    from roomkit.kernel.runtime.channels import Channels

__all__ = ["WaitingReceipts"]


class WaitingReceipts:
    """Erases by recipient: a receipt names neither a person nor, while it waits, a room of theirs."""

    def __init__(self, store: ConversationStore, channels: Channels) -> None:
        self._store = store
        self._channels = channels

    async def erase(self, person: Person) -> int:
        """Remove the receipts for the addresses found since the last call; return how many.

        Those of a registered channel with addresses of another kind stay: they are for another person.
        """
        recipients: defaultdict[str | None, set[str]] = defaultdict(set)  # bound: the person's addresses
        for kind, address in person.take_addresses():
            recipients[kind].add(address)
        count = 0
        for kind, addresses in recipients.items():
            count += await self._store.delete_waiting_receipts(addresses, not_of=self._others(kind))
        return count

    def _others(self, kind: str | None) -> list[str]:
        if kind is None:
            return []
        return [each for each, channel in self._channels.items() if kind not in _kinds(each, channel)]


def _kinds(channel_id: str, channel: Channel) -> tuple[str, ...]:
    """Return what a kind of addresses is called that the channel's senders have."""
    name = str(channel.channel_type)
    own = read_attribute(owner_of(channel_id), channel, "address_type", str)
    return own, name, default_address_type(name)
