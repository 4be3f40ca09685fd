"""Images that the kit keeps reach a model that sees."""

from __future__ import annotations

import base64

import pytest

from roomkit import AIChannel, ChannelCategory, MediaContent, RoomKit, TextContent
from roomkit.memory.media import InMemoryMediaStore
from roomkit.models.ai import AIImagePart, AITextPart
from roomkit_plugins.testing import MockAIProvider, RecordingChannel

PNG = b"\x89PNG\r\n\x1a\n" + bytes(80_000)
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_kept_image_is_shown_as_bytes(is_gone: bool) -> None:
    """Also one of the history; one that is gone is named instead."""
    media = InMemoryMediaStore()
    async with RoomKit(media=media) as kit:
        await kit.create_room("room")
        kit.register_channel(RecordingChannel("ann"))
        provider = MockAIProvider(["A cat.", "Yes."], vision=True)
        kit.register_channel(AIChannel("agent", provider))
        await kit.attach_channel("room", "ann")
        await kit.attach_channel("room", "agent", category=ChannelCategory.INTELLIGENCE)
        await kit.send_event(
            "room", "ann", MediaContent(url=URL, mime_type="image/png", caption="What is it?")
        )
        if is_gone:
            await media.delete("room")
        await kit.send_event("room", "ann", TextContent(body="Sure?"))
    first, second = ([part for each in call.messages for part in each.content] for call in provider.calls)
    assert first[-1] == AIImagePart(url=URL, mime_type="image/png")
    gone = AITextPart(text="[file: image/png]")
    assert (gone in second) is is_gone
    assert (first[-1] in second) is not is_gone
