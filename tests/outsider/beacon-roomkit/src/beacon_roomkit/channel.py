"""The channel of pagers."""

from __future__ import annotations

from collections.abc import Sequence

from beacon_roomkit.provider import PagerProvider
from roomkit import TransportChannel
from roomkit.models import ChannelCapabilities, ChannelType


class PagerChannel(TransportChannel):
    """Pages by any network; a pager shows 240 characters."""

    def __init__(self, channel_id: str, providers: Sequence[PagerProvider]) -> None:
        super().__init__(
            channel_id,
            ChannelType("pager"),
            providers=providers,
            capabilities=ChannelCapabilities(max_length=240),
            recipient_key="pager",
        )
