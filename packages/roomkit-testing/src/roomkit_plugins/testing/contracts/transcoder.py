"""The contract suite of content transcoders."""

from __future__ import annotations

from collections.abc import Sized

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.transcoder import ContentTranscoder
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import (
    MEDIA_TYPE_OF,
    CompositeContent,
    EditContent,
    EventContent,
    RichContent,
    TextContent,
    text_of,
)
from roomkit.models.enums import ChannelMediaType
from roomkit_plugins.testing.contracts.base import ContractSuite, binding
from roomkit_plugins.testing.contracts.providers import EVERY_CONTENT, each_content
from roomkit_plugins.testing.contracts.strategies import PROPERTY, contents

__all__ = ["ContentTranscoderContract"]

_MEDIA_TYPES = st.sets(st.sampled_from(ChannelMediaType)).map(tuple)
_LIMITS = st.none() | st.integers(1, 3)
CAPABILITIES = st.builds(
    ChannelCapabilities,
    media_types=_MEDIA_TYPES,
    supports_buttons=st.booleans(),
    supports_cards=st.booleans(),
    supports_quick_replies=st.booleans(),
    max_buttons=_LIMITS,
    max_button_text_length=_LIMITS,
    max_cards=_LIMITS,
    max_quick_replies=_LIMITS,
    supports_edit=st.booleans(),
    supports_delete=st.booleans(),
)
EVERYTHING = ChannelCapabilities(
    media_types=tuple(ChannelMediaType),
    supports_buttons=True,
    supports_cards=True,
    supports_quick_replies=True,
    supports_edit=True,
    supports_delete=True,
)


class ContentTranscoderContract(ContractSuite):
    """What a channel gets is what it can carry, and as much of it as can be."""

    @pytest.fixture
    def transcoder(self, subject: ContentTranscoder) -> ContentTranscoder:
        """Return the transcoder under test."""
        return subject

    async def transcode(
        self, transcoder: ContentTranscoder, content: EventContent, capabilities: ChannelCapabilities
    ) -> EventContent | None:
        """Transcode for a channel of these capabilities."""
        target = binding("room", "target", capabilities=capabilities)
        return await transcoder.transcode(content, binding("room", "source"), target)

    @PROPERTY
    @given(content=contents(), capabilities=CAPABILITIES)
    async def test_the_result_is_what_the_target_carries(
        self, transcoder: ContentTranscoder, content: EventContent, capabilities: ChannelCapabilities
    ) -> None:
        result = await self.transcode(transcoder, content, capabilities)
        assert result is None or carried(result, capabilities)

    @PROPERTY
    @given(content=contents())
    async def test_what_is_carried_as_it_is_stays_as_it_is(
        self, transcoder: ContentTranscoder, content: EventContent
    ) -> None:
        """A channel that can do everything gets everything."""
        assert await self.transcode(transcoder, content, EVERYTHING) == content

    @PROPERTY
    @given(content=contents(), capabilities=CAPABILITIES)
    async def test_transcoding_again_changes_nothing(
        self, transcoder: ContentTranscoder, content: EventContent, capabilities: ChannelCapabilities
    ) -> None:
        """The result is its own result, and the same each time."""
        once = await self.transcode(transcoder, content, capabilities)
        assert await self.transcode(transcoder, content, capabilities) == once
        if once is not None:
            assert await self.transcode(transcoder, once, capabilities) == once

    @each_content
    async def test_a_channel_of_text_gets_everything_in_words(
        self, transcoder: ContentTranscoder, content: EventContent
    ) -> None:
        result = await self.transcode(transcoder, content, ChannelCapabilities())
        assert result is not None
        words = text_of(result)
        assert words.strip()
        assert "data:" not in words
        for link in links_of(content):
            assert link in words
        if isinstance(content, RichContent):
            for option in [*(button["text"] for button in content.buttons), *content.quick_replies]:
                assert option in words
            assert all(card["title"] in words for card in content.cards)

    async def test_the_words_survive(self, transcoder: ContentTranscoder) -> None:
        """Whatever the target lacks, the words are still there."""
        for media_types in ((ChannelMediaType.TEXT,), (ChannelMediaType.TEXT, ChannelMediaType.MEDIA)):
            capabilities = ChannelCapabilities(media_types=media_types)
            for content in EVERY_CONTENT:
                said = content.plain_text if isinstance(content, RichContent) else text_of(content)
                result = await self.transcode(transcoder, content, capabilities)
                assert result is not None
                assert (said or "") in text_of(result)

    async def test_the_framework_has_no_binding(self, transcoder: ContentTranscoder) -> None:
        """Its events are transcoded without a source."""
        target = binding("room", "target")
        assert await transcoder.transcode(TextContent(body="hello"), None, target) == TextContent(
            body="hello"
        )


def carried(content: EventContent, capabilities: ChannelCapabilities) -> bool:
    """Return whether a channel carries `content` as it is."""
    if isinstance(content, CompositeContent):
        return all(carried(part, capabilities) for part in content.parts)
    if isinstance(content, EditContent):
        return capabilities.supports_edit
    if content.type == "delete":
        return capabilities.supports_delete
    if content.type in ("system", "consent"):
        return True
    if isinstance(content, RichContent) and (
        (content.buttons and not capabilities.supports_buttons)
        or (content.cards and not capabilities.supports_cards)
        or (content.quick_replies and not capabilities.supports_quick_replies)
        or _is_over(capabilities.max_buttons, content.buttons)
        or _is_over(capabilities.max_cards, content.cards)
        or _is_over(capabilities.max_quick_replies, content.quick_replies)
        or any(_is_over(capabilities.max_button_text_length, label) for label in content.quick_replies)
    ):
        return False
    return MEDIA_TYPE_OF[content.type] in capabilities.media_types


def _is_over(most: int | None, given: Sized) -> bool:
    return most is not None and len(given) > most


def links_of(content: EventContent) -> list[str]:
    """Return the addresses of the files in `content` that a reader could follow."""
    if isinstance(content, CompositeContent):
        return [link for part in content.parts for link in links_of(part)]
    url = getattr(content, "url", None)
    heard = getattr(content, "transcript", None)
    return [url] if url and not heard and not url.startswith("data:") else []
