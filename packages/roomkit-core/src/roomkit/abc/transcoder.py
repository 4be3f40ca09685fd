"""The contract of turning content into what a channel can carry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent

__all__ = ["ContentTranscoder"]


class ContentTranscoder(ABC):
    """Turns content into what a target can carry; asked only when the target cannot as it is."""

    @abstractmethod
    async def transcode(
        self,
        content: EventContent,
        source_binding: ChannelBinding | None,
        target_binding: ChannelBinding,
    ) -> EventContent | None:
        """Return what the target can carry, losing as little as possible, or None when nothing can be.

        None makes the delivery fail with `unsupported_content`. `source_binding` is None for
        events of the framework.
        """
