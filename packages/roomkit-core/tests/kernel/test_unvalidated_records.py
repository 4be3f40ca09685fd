"""Records that nothing validated are refused wherever code hands them in, with the field named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from roomkit.abc.errors import ForeignCodeError, InvalidInputError
from roomkit.abc.identity import IdentityResolver
from roomkit.abc.records import checked
from roomkit.models.ai import StreamDone, StreamTextDelta
from roomkit.models.base import Record
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import CompositeContent, EditContent, TemplateContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage, ProviderResult
from roomkit.models.enums import ChannelType, DeliveryState, HookTrigger, IdentificationStatus
from roomkit.models.event import EventSource, Generation, RoomEvent
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.identity import Identity, IdentityResult
from roomkit.models.task import Observation, Task
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time

TEXT = TextContent(body="hello")
SOURCE = EventSource(channel_id="alice", channel_type=ChannelType.WEBSOCKET)
WHOLE: tuple[Record, ...] = (
    InboundMessage(channel_id="alice", sender_id="alice", content=TEXT),
    RoomEvent(room_id="r1", source=SOURCE, content=TEXT, generation=Generation(model="m")),
    SOURCE,
    TEXT,
    TemplateContent(template_id="t", parameters={"name": "Ann"}),
    CompositeContent(parts=(TEXT, TEXT)),
    EditContent(target_event_id="e", new_content=TEXT),
    ProviderResult(success=True, parts=("a",)),
    DeliveryStatus(message_id="m", status="delivered"),
    IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=Identity(id="ann")),
    Task(id="t", room_id="r1", title="call"),
    Observation(id="o", room_id="r1", channel_id="bot", content="angry"),
)
UNCHECKED = {"session"}
"""Fields that take any value."""


class Wrong:
    """A value that no field takes."""


def made(whole: Record, **fields: Any) -> Any:
    """Return a copy with fields that nothing validated."""
    return type(whole).model_construct(**{**whole.__dict__, **fields})


def wrong_fields(whole: Record) -> Iterator[str]:
    yield from (name for name in type(whole).model_fields if name not in UNCHECKED)


def cases(*records: Record) -> Any:
    each = [(whole, name) for whole in records for name in wrong_fields(whole)]
    return pytest.mark.parametrize(
        ("whole", "name"), each, ids=[f"{type(whole).__name__}.{name}" for whole, name in each]
    )


@cases(*WHOLE)
def test_a_wrong_field_of_any_record_is_refused_and_named(whole: Record, name: str) -> None:
    """Also by records that were seen valid before; what the constructor makes is returned itself."""
    assert checked(whole, type(whole), "given") is whole
    with pytest.raises(InvalidInputError, match=f"{type(whole).__name__}.*{name}"):
        checked(made(whole, **{name: Wrong()}), type(whole), "given")
    assert checked(whole, type(whole), "given") is whole


@cases(*WHOLE)
def test_what_a_constructor_refuses_for_its_type_is_refused(whole: Record, name: str) -> None:
    for value in (5, "x", b"x", True, 1.5, None, [5], (5,), {"a": Wrong()}):
        record = made(whole, **{name: value})
        try:
            type(whole).model_validate({**whole.__dict__, name: value})
        except ValidationError as error:
            if error.errors()[0]["type"] in ("literal_error", "less_than_equal"):
                continue  # a wrong value of the right type
            with pytest.raises(InvalidInputError):
                checked(record, type(whole), "given")


def test_a_record_without_a_field_is_refused_or_gets_the_default() -> None:
    with pytest.raises(InvalidInputError, match=r"InboundMessage\.content: Field required"):
        checked(InboundMessage.model_construct(channel_id="a", sender_id="a"), InboundMessage, "given")
    bare = InboundMessage.model_construct(channel_id="a", sender_id="a", content=TEXT)
    del bare.__dict__["visibility"]
    assert checked(bare, InboundMessage, "given").visibility is None


def test_mutable_json_is_frozen_each_time() -> None:
    for _ in range(3):
        message = made(WHOLE[0], metadata={"a": [1]})
        assert checked(message, InboundMessage, "given") == WHOLE[0].replace(metadata={"a": [1]})
        with pytest.raises(InvalidInputError, match="metadata"):
            checked(made(WHOLE[0], metadata={"a": Wrong()}), InboundMessage, "given")


def test_a_tuple_is_looked_into_each_time() -> None:
    for _ in range(3):
        checked(made(WHOLE[0], addressed_to=("bot",)), InboundMessage, "given")
        with pytest.raises(InvalidInputError, match="addressed_to"):
            checked(made(WHOLE[0], addressed_to=(5,)), InboundMessage, "given")


@cases(WHOLE[0])
async def test_process_inbound_refuses_a_wrong_message(stage: Any, whole: Record, name: str) -> None:
    await stage.socket("alice")
    with pytest.raises(InvalidInputError, match=f"given to process_inbound.*{name}"):
        await stage.kit.process_inbound(made(whole, **{name: Wrong()}), room_id="r1")
    assert await stage.texts() == []
    await stage.say("good")
    assert await stage.texts() == ["good"]


class Parsing(RecordingChannel):
    """A channel whose parsed events have a field of a wrong type."""

    wrong: dict[str, Any]

    async def handle_inbound(self, message: Any, context: Any) -> Any:
        return made(self.event_of(message, context), **self.wrong)


@cases(WHOLE[1])
async def test_a_wrong_event_of_a_channel_is_refused(stage: Any, whole: Record, name: str) -> None:
    channel = await stage.join(Parsing("alice"))
    channel.wrong = {name: Wrong()}
    with pytest.raises(InvalidInputError, match=f"channel 'alice' made of a message.*{name}"):
        await stage.say("hello")
    assert await stage.texts() == []


async def test_send_event_and_edit_event_refuse_wrong_content(stage: Any) -> None:
    content = made(TEXT, body=5)
    with pytest.raises(InvalidInputError, match=r"TextContent\.body"):
        await stage.kit.send_event("r1", "system", content)
    event = await stage.kit.send_event("r1", "system", TEXT)
    with pytest.raises(InvalidInputError, match=r"TextContent\.body"):
        await stage.kit.edit_event("r1", event.id, content)
    assert await stage.texts() == ["hello"]


@cases(WHOLE[8])
async def test_a_wrong_receipt_is_refused(stage: Any, whole: Record, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"given to process_delivery_status.*{name}"):
        await stage.kit.process_delivery_status(made(whole, **{name: Wrong()}))


class Returning(RecordingChannel):
    """A channel that returns what it is given to return."""

    output: Any = None

    async def deliver(self, *_arguments: Any, **_options: Any) -> Any:
        return self.output

    async def deliver_stream(self, stream: Any, *_arguments: Any, **_options: Any) -> Any:
        async for _ in stream:
            pass
        return self.output


FAILED = made(ProviderResult(success=False))
DELIVERED = {
    "nothing": None,
    "text": "x",
    "state": ChannelOutput(state=5),  # type: ignore[arg-type]  # a plugin's mistake
    "state of another kind": ChannelOutput(state=DeliveryState.FAILED),
    "skip_reason": ChannelOutput(state=DeliveryState.SKIPPED, skip_reason=5),  # type: ignore[arg-type]
    "ProviderResult": ChannelOutput(provider_result=5),  # type: ignore[arg-type]
    "no success": ChannelOutput(provider_result=ProviderResult.model_construct()),
    **{
        f"ProviderResult.{name}": ChannelOutput(provider_result=made(FAILED, **{name: Wrong()}))
        for name in wrong_fields(FAILED)
        if name not in ("provider_message_id", "parts")
    },
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", DELIVERED)
async def test_a_delivery_fails_that_returns_something_else(stage: Any, name: str, streamed: bool) -> None:
    """Its row says what; the other deliveries and the next message are undisturbed."""
    await stage.socket("alice")
    out = await stage.join(Returning("out", streaming=streamed))
    out.output = DELIVERED[name]
    if streamed:
        await stage.agent("bot", ["an answer", "another"], streaming=True)
    await stage.say("hello")
    rows = await stage.kit.list_deliveries("r1", channel_id="out")
    assert {row.state for row in rows} == {DeliveryState.FAILED}
    for row in rows:
        assert row.error.message.startswith("ForeignCodeError: "), row.error
        assert "channel 'out'" in row.error.message
        assert name.rpartition(".")[2] in row.error.message or " " in name or name in ("nothing", "text")
    out.output = ChannelOutput()
    result = await stage.say("again")
    assert result.delivery_results["out"].success


class Answering:
    """Makes an agent return `output` instead of its answer."""

    def __init__(self, output: Any) -> None:
        self.output = output

    async def __call__(self, *_arguments: Any) -> Any:
        return self.output


ANSWER = RoomEvent(room_id="r1", source=SOURCE, content=TEXT)


async def pieces(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


OUTPUTS: dict[str, Any] = {
    "ChannelOutput": lambda: 5,
    "response_events": lambda: ChannelOutput(response_events=5),  # type: ignore[arg-type]
    "RoomEvent": lambda: ChannelOutput(response_events=[5]),  # type: ignore[list-item]
    "response_stream": lambda: ChannelOutput(response_stream=5),  # type: ignore[arg-type]
    "str or stream events": lambda: ChannelOutput(response_stream=pieces("a", 5)),
    "StreamTextDelta": lambda: ChannelOutput(response_stream=pieces("a", StreamTextDelta(5))),  # type: ignore[arg-type]
    "Generation.provider": lambda: ChannelOutput(
        response_stream=pieces("a", StreamDone(metadata={"provider": 5}))
    ),
    "Generation.usage": lambda: ChannelOutput(response_stream=pieces("a", StreamDone(usage=5))),  # type: ignore[arg-type]
    "Generation.finish_reason": lambda: ChannelOutput(response_stream=pieces("a", StreamDone(5))),  # type: ignore[arg-type]
    **{
        name: lambda name=name: ChannelOutput(response_events=[made(ANSWER, **{name: Wrong()})])
        for name in wrong_fields(ANSWER)
    },
    "TextContent.body": lambda: ChannelOutput(response_events=[made(ANSWER, content=made(TEXT, body=5))]),
    "Task.title": lambda: ChannelOutput(tasks=[made(WHOLE[10], title=Wrong())]),
    "Observation.content": lambda: ChannelOutput(observations=[made(WHOLE[11], content=Wrong())]),
}


@pytest.mark.parametrize("name", OUTPUTS)
async def test_a_turn_fails_that_returns_something_else(stage: Any, name: str) -> None:
    """With an error of ours that names the agent and the field; its next turn is undisturbed."""
    await stage.socket("alice")
    agent = await stage.agent("bot", ["whole"])
    agent.on_event = Answering(OUTPUTS[name]())
    result = await stage.say("hello")
    assert isinstance(result.error, ForeignCodeError | InvalidInputError), repr(result.error)
    assert "'bot'" in str(result.error)
    assert name in str(result.error)
    del agent.on_event
    assert (await stage.say("again")).error is None
    assert (await stage.texts())[-1] == "whole"


@pytest.mark.parametrize("inject", [False, True])
@cases(WHOLE[1])
async def test_a_gates_wrong_event_blocks(stage: Any, whole: Record, name: str, inject: bool) -> None:
    """As a gate that raises does; nothing of it is stored."""
    await stage.socket("alice")
    wrong = True

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST, name="gate")
    async def gate(event: RoomEvent, context: Any) -> HookResult:
        if not wrong:
            return HookResult.allow()
        bad = made(event, **{name: Wrong()})
        return HookResult.allow([InjectedEvent(bad)]) if inject else HookResult.modify(bad)

    result = await stage.say("hello")
    assert (result.blocked, result.reason) == (True, "hook_failed")
    (failure,) = [event for event in stage.told if event.type == "hook_error"]
    assert name in failure.data["error"]
    wrong = False
    await stage.say("again")
    assert await stage.texts() == ["again"]


async def test_json_that_a_gate_sets_without_validation_is_frozen(stage: Any) -> None:
    await stage.socket("alice")

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST, name="gate")
    async def gate(event: RoomEvent, context: Any) -> HookResult:
        return HookResult.modify(event.replace(metadata={"seen": [1]}))

    await stage.say("hello")
    (event,) = await stage.timeline()
    assert event.metadata == {"seen": [1]}
    with pytest.raises(TypeError, match="read-only"):
        event.metadata["seen"].append(2)  # type: ignore[attr-defined]  # which is what must not work


class Resolver(IdentityResolver):
    """Gives the scripted answer."""

    answer: Any = None

    async def resolve(self, message: Any, context: Any) -> Any:
        return self.answer


@pytest.mark.parametrize("name", [*wrong_fields(WHOLE[9]), "nothing", "Identity.id"])
async def test_a_resolvers_wrong_answer_counts_as_unknown(staging: Any, name: str) -> None:
    resolver = Resolver()
    whole = WHOLE[9]
    if name == "Identity.id":
        resolver.answer = made(whole, identity=made(Identity(id="ann"), id=Wrong()))
    elif name != "nothing":
        resolver.answer = made(whole, **{name: Wrong()})
    async with staging(identity_resolver=resolver) as stage:
        await stage.socket("alice")
        await stage.say("hello")
        (failure,) = [event for event in stage.told if event.type == "identity_error"]
        assert "the identity resolver" in failure.data["error"]
        assert name in failure.data["error"] or name == "nothing"
        assert await stage.texts() == ["hello"]
