"""Division of content that is longer than a channel takes, by its own measure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.kernel.delivery.lengths import in_parts, split_text
from roomkit.kernel.kit import RoomKit
from roomkit.models.channel import ChannelBinding, ChannelCapabilities
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    LocationContent,
    MediaContent,
    RichContent,
    TextContent,
)
from roomkit.models.enums import ChannelMediaType, ChannelType, DeliveryState, LengthPolicy
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.contracts.strategies import contents

URL = "https://example.com/a.png"
PICTURE = MediaContent(url=URL, mime_type="image/png")


def bound(most: int | None = 10, policy: LengthPolicy = LengthPolicy.SPLIT) -> ChannelBinding:
    capabilities = ChannelCapabilities(max_length=most)
    return ChannelBinding(
        channel_id="c",
        room_id="r",
        channel_type=ChannelType.SMS,
        capabilities=capabilities,
        length_policy=policy,
    )


def of_capabilities(**limits: Any) -> ChannelBinding:
    return bound().replace(capabilities=ChannelCapabilities(**limits))


BUTTONS = ({"text": "Yes", "type": "reply", "payload": "y"},)


@pytest.mark.parametrize(
    ("limits", "content", "parts"),
    [
        ({"max_caption_length": 5}, PICTURE.replace(caption="012345"), ["012345", PICTURE]),
        ({"max_caption_length": 0}, PICTURE.replace(caption="0"), ["0", PICTURE]),
        (
            {"max_caption_length": 6, "max_length": 5},
            PICTURE.replace(caption="012345"),
            ["01234", "5", PICTURE],
        ),
        (
            {"supports_composite": False},
            CompositeContent(parts=(TextContent(body="look"), PICTURE)),
            [PICTURE.replace(caption="look")],
        ),
        (
            {"supports_composite": False, "max_caption_length": 3},
            CompositeContent(parts=(PICTURE, TextContent(body="look"))),
            [PICTURE, "look"],
        ),
        (
            {"supports_composite": False},
            CompositeContent(parts=(TextContent(body="two"), PICTURE, CompositeContent(parts=(PICTURE,)))),
            ["two", PICTURE, PICTURE],
        ),
        (
            {"max_rich_length": 5},
            RichContent(body="Well. Right?", buttons=BUTTONS),
            [
                RichContent(body="Well."),
                RichContent(body="Right", buttons=()),
                RichContent(body="?", buttons=BUTTONS),
            ],
        ),
        ({"max_rich_length": 5}, RichContent(body="long enough"), None),
        (
            {"supports_text_with_cards": False},
            RichContent(body="Look", buttons=BUTTONS, cards=({"title": "Hat"},), quick_replies=("Yes",)),
            [
                RichContent(body="Look", buttons=BUTTONS),
                RichContent(body="", plain_text="", cards=({"title": "Hat"},), quick_replies=("Yes",)),
            ],
        ),
        ({"supports_text_with_cards": False}, RichContent(body="", cards=({"title": "Hat"},)), None),
        (
            {"max_length": 8},
            RichContent(body="<b>A</b> &amp; B is C", format="html", buttons=BUTTONS),
            ["A & B is", RichContent(body="C", format="html", plain_text="C", buttons=BUTTONS)],
        ),
        (
            {"max_length": 10},
            RichContent(body="**one** and two"),
            [RichContent(body="**one**"), RichContent(body="and two")],
        ),
    ],
)
def test_each_message_is_what_the_vendor_takes(limits: Any, content: Any, parts: list[Any] | None) -> None:
    """Captions, bodies beside buttons, and parts one by one; the last keeps what can be chosen."""
    found = in_parts(content, of_capabilities(**limits), None)
    wanted = [content] if parts is None else [TextContent(body=p) if isinstance(p, str) else p for p in parts]
    assert found == wanted


@given(contents(), st.integers(1, 20), st.integers(0, 20))
def test_no_word_file_or_choice_is_lost_in_parts(content: Any, most: int, caption: int) -> None:
    """Whatever the limits; the parts are messages of their own, in order."""
    binding = of_capabilities(
        max_length=most,
        max_caption_length=caption,
        max_rich_length=most,
        supports_composite=False,
        supports_text_with_cards=False,
    )
    parts = in_parts(content, binding, None)
    assert not any(isinstance(part, CompositeContent) for part in parts)
    assert _chosen(parts) == _chosen([content])
    assert _files(parts) == _files([content])


def _flat(parts: Any) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, CompositeContent):
            yield from _flat(part.parts)
        else:
            yield part


def _chosen(parts: Any) -> list[Any]:
    rich = [part for part in _flat(parts) if isinstance(part, RichContent)]
    return [each for part in rich for each in (*part.buttons, *part.cards, *part.quick_replies)]


def _files(parts: Any) -> list[str]:
    return [part.url for part in _flat(parts) if isinstance(part, MediaContent)]


def octets(most: int) -> Any:
    """Return a measure by bytes of UTF-8, as some vendors have."""
    return lambda text: len(text.encode()) <= most


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.integers(4, 40))
def test_pieces_are_what_the_channel_takes(text: str, most: int) -> None:
    """Each, and together they are the text but for white space at the cuts."""
    pieces = split_text(text, 30, octets(most))
    assert all(len(piece) <= 30 and len(piece.encode()) <= most for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_channel_that_takes_nothing_is_not_asked_for_ever() -> None:
    assert split_text("abc", 10, lambda text: False) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (TextContent(body="0123456789"), None),
        (PICTURE, None),
        (AudioContent(url=URL, transcript="much longer than ten"), None),
        (LocationContent(latitude=0, longitude=0, label="much longer than ten"), None),
        (PICTURE.replace(caption="0123456789"), None),
        (PICTURE.replace(caption="01234 56789"), ["01234", "56789", PICTURE]),
        (RichContent(body="**01234**", plain_text="01234"), None),
        (RichContent(body="**0123456789**", plain_text="0123456789"), ["0123456789"]),
        (CompositeContent(parts=(TextContent(body="01234"), PICTURE)), None),
        (CompositeContent(parts=(TextContent(body="01234 56789"), PICTURE)), ["01234", "56789", PICTURE]),
        (
            CompositeContent(parts=(PICTURE.replace(caption="01234"), PICTURE.replace(caption="56789"))),
            ["01234", "56789", CompositeContent(parts=(PICTURE, PICTURE))],
        ),
        (CompositeContent(parts=(TextContent(body="01234"), TextContent(body="56789"))), ["01234", "56789"]),
    ],
)
def test_words_go_before_files(content: Any, parts: list[Any] | None) -> None:
    """What fits stays as it is; nothing is lost."""
    found = in_parts(content, bound(), None)
    wanted = [content] if parts is None else [TextContent(body=p) if isinstance(p, str) else p for p in parts]
    assert found == wanted


def test_a_measure_of_the_channels_own_is_asked_besides() -> None:
    """Also where it claims no length in code points."""
    assert in_parts(TextContent(body="ääää"), bound(None), octets(4)) == [
        TextContent(body="ää"),
        TextContent(body="ää"),
    ]


@pytest.mark.parametrize(("text", "kept"), [("0123456789a", "012345678…"), ("ääääääää", "ääääää…")])
def test_what_is_truncated_is_taken_with_its_mark(text: str, kept: str) -> None:
    assert in_parts(TextContent(body=text), bound(10, LengthPolicy.TRUNCATE), octets(15)) == [
        TextContent(body=kept)
    ]


def test_a_policy_of_refusing_refuses_captions_too() -> None:
    with pytest.raises(ProviderError, match="11 characters") as caught:
        in_parts(PICTURE.replace(caption="01234 56789"), bound(policy=LengthPolicy.ERROR), None)
    assert caught.value.error_code is ErrorCode.TOO_LONG


class Octets(RecordingChannel):
    """A channel that counts bytes, or whose measure is broken."""

    broken = False

    def capabilities(self) -> ChannelCapabilities:
        return ChannelCapabilities(media_types=(ChannelMediaType.TEXT,), max_length=100)

    def takes_text(self, text: str) -> bool:
        if self.broken:
            raise ValueError("a bug")
        return len(text.encode()) <= 8


@pytest.fixture
async def kit() -> AsyncIterator[RoomKit]:
    async with RoomKit() as kit:
        yield kit


@pytest.mark.virtual_time
async def test_a_room_delivers_by_the_channels_measure(kit: RoomKit) -> None:
    """In one row of the ledger, whatever the number of parts."""
    channel = Octets("octets")
    kit.register_channel(channel)
    await kit.create_room("r")
    await kit.attach_channel("r", "octets")
    await kit.send_event("r", "system", TextContent(body="ääää öööö"))
    await kit.send_event("r", "system", TextContent(body="short"))
    assert channel.texts() == ["ääää", "öööö", "short"]
    assert [row.state for row in await kit.list_deliveries("r")] == [DeliveryState.SENT] * 2


@pytest.mark.virtual_time
async def test_a_measure_that_raises_fails_the_delivery_alone(kit: RoomKit) -> None:
    channel = Octets("octets")
    channel.broken = True
    kit.register_channel(channel)
    await kit.create_room("r")
    await kit.attach_channel("r", "octets")
    await kit.send_event("r", "system", TextContent(body="hello"))
    (row,) = await kit.list_deliveries("r")
    assert row.error is not None
    assert (row.state, row.error.code) == (DeliveryState.FAILED, "foreign_code_failed")


@pytest.mark.virtual_time
async def test_who_opted_out_at_the_vendor_is_skipped(kit: RoomKit) -> None:
    """By any channel: no retry, no other provider, and no fallback to go around it."""
    refusal = ProviderError("unsubscribed", error_code=ErrorCode.OPTED_OUT)
    first, other = RecordingChannel("first", script=[refusal]), RecordingChannel("other")
    for channel in (first, other):
        kit.register_channel(channel)
    await kit.create_room("r")
    await kit.attach_channel("r", "other", visibility="none")
    await kit.attach_channel("r", "first", fallback="other")
    await kit.send_event("r", "system", TextContent(body="hello"), visibility="first")
    (row,) = await kit.list_deliveries("r")
    assert (row.state, row.reason, row.attempts) == (DeliveryState.SKIPPED, "opted_out", 1)
    assert other.texts() == []
