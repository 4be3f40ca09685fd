"""Arguments of the kit's methods that are one of a few words, and ids of objects that do not exist."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from typing import Any, Literal, TypeAliasType, get_args, get_origin

import pytest

import roomkit.models
from roomkit.abc.errors import EventNotFoundError, HookRegistrationError, InvalidInputError
from roomkit.kernel.inbound.pipeline import Wait
from roomkit.kernel.kit import RoomKit
from roomkit.kernel.tenant import Tenant
from roomkit.models.channel import BindingFields, ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.room import RoomTimers
from roomkit.models.webhook import WebhookRequest

DOCUMENTED = {
    ("attach_channel", "channel_type"),
    ("attach_channel", "category"),
    ("attach_channel", "access"),
}
"""Fields of a record: the error names the field and the words that it takes."""
OPEN = {("send_event", "event_type")}
"""Words that a plugin may have of its own; what no channel declares is refused elsewhere."""


def words_of(annotation: Any) -> Iterator[Any]:
    """Yield what of an annotation is a closed set of words."""
    if isinstance(annotation, TypeAliasType):
        annotation = annotation.__value__
    if get_origin(annotation) is Literal or (
        isinstance(annotation, type) and issubclass(annotation, StrEnum)
    ):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for argument in get_args(annotation):
            yield from words_of(argument)


def hints(function: Any) -> dict[str, Any]:
    """Return the annotations of the arguments, without those that only checkers know the names of."""
    names = {name: getattr(roomkit.models, name) for name in roomkit.models.__all__}
    names |= {"Wait": Wait, **vars(typing), **vars(collections.abc)}
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        with suppress(NameError, SyntaxError):
            found[name] = eval(str(parameter.annotation), names)
    return found


def family() -> Iterator[tuple[type, str, str]]:
    for owner in (RoomKit, Tenant):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_"):
                for argument, annotation in hints(function).items():
                    choosy = any(True for _ in words_of(annotation))
                    if choosy and (name, argument) not in DOCUMENTED | OPEN:
                        yield owner, name, argument


async def handler(*_args: Any) -> None: ...


GIVEN: dict[str, Any] = {
    "address_type": "phone",
    "address": "+14165550123",
    "state": "revoked",
    "room_id": "r1",
    "channel_id": "alice",
    "content": TextContent(body="x"),
    "message": InboundMessage(channel_id="alice", sender_id="a", content=TextContent(body="x")),
    "request": WebhookRequest(method="POST", url="http://x", headers={}, body=b""),
    "user_id": "u",
    "target_event_id": "e",
    "emoji": "x",
    "tool_calls": [],
    "fn": handler,
    "trigger": HookTrigger.AFTER_BROADCAST,
    "execution": HookExecution.SYNC,
    "access": "read_only",
}


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("get_room", {"room_id": 5}, r"int cannot be a room id: get_room\(\) takes str"),
        (
            "get_timeline",
            {"room_id": "r1", "limit": 1e9},
            r"float cannot be a limit: get_timeline\(\) takes int",
        ),
        ("list_bindings", {"room_id": None}, "NoneType cannot be a room id: list_bindings"),
        ("process_inbound", {"message": GIVEN["message"], "room_id": 5}, "int cannot be a room id"),
    ],
)
async def test_an_argument_of_another_type_is_named(
    stage: Any, method: str, arguments: dict[str, Any], message: str
) -> None:
    """By what it is, what it should be, and the method."""
    await stage.socket("alice")
    with pytest.raises(InvalidInputError, match=message):
        await getattr(stage.kit, method)(**arguments)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("attach_channel", {"channel_id": "alice", "rate_limmit": 1}, r"ChannelBinding\.rate_limmit: Extra"),
        (
            "attach_channel",
            {"channel_id": "alice", "participant_id": "\0"},
            "attach_channel refused its arguments: ChannelBinding.participant_id: .* nothing was stored",
        ),
        ("edit_event", {"event_id": "\0", "content": TextContent(body="x")}, "EditContent.target_event_id"),
        (
            "get_timeline",
            {"limit": 10**4300},
            r"limit cannot be a number of 14285 bits: get_timeline\(\) takes at most 64",
        ),
        (
            "set_room_timers",
            {"timers": RoomTimers(closed_after_seconds=1e12)},
            "timers.closed_after_seconds cannot be 1000000000000.0: give seconds, at most 1000 years",
        ),
    ],
)
async def test_a_value_that_fits_no_record_is_named(
    stage: Any, method: str, arguments: dict[str, Any], message: str
) -> None:
    """By the method and the field; the value itself may be personal and is in no message of a record."""
    await stage.socket("alice")
    with pytest.raises(InvalidInputError, match=message) as raised:
        await getattr(stage.kit, method)("r1", **arguments)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(("owner", "method", "argument"), [*family()])
async def test_a_word_that_there_is_not_is_refused(
    stage: Any, owner: type, method: str, argument: str
) -> None:
    """Typed, before anything is done, and with what it may be."""
    await stage.socket("alice")
    await stage.kit.create_room("t1", organization_id="acme")
    await stage.kit.attach_channel("t1", "alice")
    subject = stage.kit if owner is RoomKit else stage.kit.for_organization("acme")
    function = getattr(subject, method)
    annotation = hints(getattr(owner, method))[argument]
    wrong = ["soon"] if "Collection" in str(annotation) else "soon"
    needed = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    words = {name: GIVEN[name] for name in needed} | {argument: wrong}
    if method == "identity_hook" and argument != "trigger":
        words["trigger"] = HookTrigger.ON_IDENTITY_UNKNOWN
    if owner is Tenant and "room_id" in words:
        words["room_id"] = "t1"
    before = await stage.timeline(messages=False)

    async def call() -> None:
        outcome = function(**words)
        await outcome if inspect.isawaitable(outcome) else outcome(handler)

    with pytest.raises((InvalidInputError, HookRegistrationError), match="soon"):
        await call()
    assert await stage.timeline(messages=False) == before


def test_the_family_is_found() -> None:
    """`wait` above all, of every method that has it."""
    found = {(method, argument) for _, method, argument in family()}
    assert {("process_inbound", "wait"), ("send_event", "wait"), ("process_webhook", "wait")} <= found
    assert {("publish_reaction", "action"), ("list_deliveries", "state"), ("hook", "on_error")} <= found
    assert len(found) >= 12


@pytest.mark.parametrize(("args", "kwargs"), [((7,), {}), ((), {"channel_id": 7})], ids=["position", "name"])
def test_an_argument_is_checked_however_it_is_given(args: Any, kwargs: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"int cannot be a channel id: get_channel\(\) takes str"):
        RoomKit().get_channel(*args, **kwargs)


async def test_every_one_of_repeated_arguments_is_checked(stage: Any) -> None:
    with pytest.raises(InvalidInputError, match="int cannot be a key"):
        await stage.kit.services.values.get("first", "second", 3)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), (("ws", "more"), {}), (("ws",), {"unasked": 1}), ((), {"unasked": 1})]
)
def test_missing_and_unknown_arguments_are_a_type_error(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match=r"get_channel\(\)"):
        RoomKit().get_channel(*args, **kwargs)


def test_the_kits_own_settings_are_checked_too() -> None:
    with pytest.raises(InvalidInputError, match="agent_response_policy cannot be 'soon'"):
        RoomKit(agent_response_policy="soon")  # type: ignore[arg-type]


async def test_an_event_that_is_not_there_cannot_be_edited_or_deleted(stage: Any) -> None:
    """Neither an unknown one, nor one of another room."""
    await stage.socket("alice")
    await stage.kit.create_room("r2")
    await stage.kit.attach_channel("r2", "alice")
    elsewhere = (await stage.say(room="r2")).event
    for event_id in ("nope", elsewhere.id):
        with pytest.raises(EventNotFoundError, match="no such event to edit or delete"):
            await stage.kit.edit_event("r1", event_id, TextContent(body="x"))
        with pytest.raises(EventNotFoundError, match="no such event to edit or delete"):
            await stage.kit.delete_event("r1", event_id)


SET_BY_THE_KIT = {"address_type", "also", "attached_at", "capabilities"}


def test_attach_channel_takes_every_field_of_a_binding_that_the_kit_does_not_set() -> None:
    """A new field of the record fails this test until it can be given, or is the kit's."""
    parameters = inspect.signature(RoomKit.attach_channel).parameters.keys()
    given = BindingFields.__annotations__.keys()
    assert given == ChannelBinding.model_fields.keys() - parameters - SET_BY_THE_KIT


@pytest.mark.parametrize("name", [*sorted(SET_BY_THE_KIT), "unasked"])
async def test_attach_channel_refuses_what_the_kit_sets(stage: Any, name: str) -> None:
    await stage.socket("alice")
    with pytest.raises(InvalidInputError, match=rf"ChannelBinding\.{name}: Extra inputs are not permitted"):
        await stage.kit.attach_channel("r1", "alice", **{name: True})


async def test_a_misspelt_field_of_a_binding_gets_the_nearest_one(stage: Any) -> None:
    await stage.socket("alice")
    with pytest.raises(InvalidInputError, match="did you mean 'rate_limit'"):
        await stage.kit.attach_channel("r1", "alice", rate_limmit=1)
