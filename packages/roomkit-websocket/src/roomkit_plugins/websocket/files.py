"""Files that the kit keeps, as browsers can load them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.enums import MediaForm
from roomkit.models.media import MEDIA_TYPES

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.models.event import RoomEvent

__all__ = ["with_files"]


async def with_files(services: Services, event: RoomEvent) -> RoomEvent:
    """Return an event with URLs that a client can load in place of references to the kit's files.

    Deliveries have them already; events read from the timeline, or followed, have references.
    """
    if event.content.type not in MEDIA_TYPES:
        return event
    content = await services.media.shown(event.content, MediaForm.URL)
    return event if content is event.content else event.replace(content=content)
