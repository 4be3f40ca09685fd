"""The operations of the API, one entry each: what it is called, what it takes, and which call does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from roomkit_plugins.server import inputs, views
from roomkit_plugins.server.config import Scope
from roomkit_plugins.server.endpoint import Endpoint, Names
from roomkit_plugins.server.inputs import Nothing
from roomkit_plugins.server.views import Page, event_view, page_of

if TYPE_CHECKING:
    from roomkit_plugins.server.service import RoomService

__all__ = ["ENDPOINTS"]

_ROOM = "/v1/rooms/{room_id}"
_READ, _WRITE = Scope.ROOMS_READ, Scope.ROOMS_WRITE


def _by_id(record: Any) -> str:  # Any: each record of a list has an id
    return str(record.id)


def _view[V: BaseModel](model: type[V]) -> Callable[[object], V]:
    """Return the function that shows a record as `model`."""
    return lambda record: model.model_validate(record)


_room, _binding = _view(views.RoomView), _view(views.BindingView)
_participant, _task = _view(views.ParticipantView), _view(views.TaskView)
_observation, _delivery = _view(views.ObservationView), _view(views.DeliveryView)


# -- rooms ------------------------------------------------------------------------------------


async def list_rooms(rooms: RoomService, _: Names, query: inputs.RoomsQuery, __: Nothing) -> object:
    """List rooms."""
    return page_of(await rooms.list_rooms(query), query.limit, _room, _by_id)


async def create_room(rooms: RoomService, _: Names, __: Nothing, body: inputs.NewRoom) -> object:
    """Create a room."""
    return _room(await rooms.create_room(body))


async def get_room(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> object:
    """Return a room."""
    return _room(await rooms.get_room(names["room_id"]))


async def update_room(rooms: RoomService, names: Names, _: Nothing, body: inputs.RoomChange) -> object:
    """Set keys of a room's metadata."""
    return _room(await rooms.update_room(names["room_id"], body))


async def close_room(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> object:
    """Close a room: nothing is written to it any more."""
    return _room(await rooms.close_room(names["room_id"]))


async def delete_room(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> None:
    """Delete a room with all that belongs to it."""
    await rooms.delete_room(names["room_id"])


# -- channels ---------------------------------------------------------------------------------


async def list_channels(rooms: RoomService, _: Names, __: Nothing, ___: Nothing) -> object:
    """List the channels that rooms can be attached to."""
    return Page(items=[views.channel_view(each) for each in rooms.list_channels()])


async def list_bindings(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> object:
    """List the channels of a room."""
    return Page(items=[_binding(each) for each in await rooms.list_bindings(names["room_id"])])


async def attach_channel(rooms: RoomService, names: Names, _: Nothing, body: inputs.AttachBody) -> object:
    """Attach a channel to a room, or replace how it is attached."""
    return _binding(await rooms.attach_channel(names["room_id"], names["channel_id"], body))


async def change_binding(rooms: RoomService, names: Names, _: Nothing, body: inputs.BindingChange) -> object:
    """Mute a channel in a room, or change its rights and metadata there."""
    return _binding(await rooms.change_binding(names["room_id"], names["channel_id"], body))


async def detach_channel(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> None:
    """Take a channel out of a room."""
    await rooms.detach_channel(names["room_id"], names["channel_id"])


# -- timeline ---------------------------------------------------------------------------------


async def list_events(rooms: RoomService, names: Names, query: inputs.EventsQuery, _: Nothing) -> object:
    """List the events of a room in order of index, all of them or those that one channel sees."""
    events = await rooms.list_events(names["room_id"], query)
    return page_of(events, query.limit, event_view, lambda event: str(event.index))


async def get_event(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> object:
    """Return an event."""
    return event_view(await rooms.get_event(names["room_id"], names["event_id"]))


async def send_event(rooms: RoomService, names: Names, _: Nothing, body: inputs.EventBody) -> object:
    """Say something in a room; returns once it is committed, before it is delivered."""
    return event_view(await rooms.send_event(names["room_id"], body))


async def edit_event(rooms: RoomService, names: Names, _: Nothing, body: inputs.EditBody) -> object:
    """Replace what an event says."""
    return event_view(await rooms.edit_event(names["room_id"], names["event_id"], body))


async def delete_event(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> None:
    """Delete what an event says; its entry stays."""
    await rooms.delete_event(names["room_id"], names["event_id"])


async def take_message(rooms: RoomService, names: Names, _: Nothing, body: inputs.MessageBody) -> object:
    """Take in a person's message, as if it had come by the channel; returns once it is committed."""
    result = await rooms.take_message(names["room_id"], body)
    assert result.event is not None  # the service raises for a message without an entry
    return views.MessageView(
        event=event_view(result.event),
        is_blocked=result.blocked,
        is_duplicate=result.duplicate,
        reason=result.reason,
    )


# -- people and work --------------------------------------------------------------------------


async def list_participants(rooms: RoomService, names: Names, query: inputs.ListQuery, _: Nothing) -> object:
    """List the participants of a room."""
    found = await rooms.list_participants(names["room_id"], query)
    return page_of(found, query.limit, _participant, _by_id)


async def put_participant(
    rooms: RoomService, names: Names, _: Nothing, body: inputs.ParticipantBody
) -> object:
    """Add a participant to a room, or bring them up to date."""
    return _participant(await rooms.put_participant(names["room_id"], names["participant_id"], body))


async def remove_participant(
    rooms: RoomService, names: Names, query: inputs.RemovalQuery, _: Nothing
) -> object:
    """Remove a participant from a room, or ban them; their connections to it are closed."""
    return _participant(await rooms.remove_participant(names["room_id"], names["participant_id"], query))


async def list_tasks(rooms: RoomService, names: Names, query: inputs.TasksQuery, _: Nothing) -> object:
    """List the tasks of a room."""
    return page_of(await rooms.list_tasks(names["room_id"], query), query.limit, _task, _by_id)


async def add_task(rooms: RoomService, names: Names, _: Nothing, body: inputs.TaskBody) -> object:
    """Add a task to a room."""
    return _task(await rooms.add_task(names["room_id"], body))


async def update_task(rooms: RoomService, names: Names, _: Nothing, body: inputs.TaskChange) -> object:
    """Change a task."""
    return _task(await rooms.update_task(names["room_id"], names["task_id"], body))


async def list_observations(rooms: RoomService, names: Names, query: inputs.ListQuery, _: Nothing) -> object:
    """List the observations of a room."""
    found = await rooms.list_observations(names["room_id"], query)
    return page_of(found, query.limit, _observation, _by_id)


# -- deliveries -------------------------------------------------------------------------------


async def list_deliveries(rooms: RoomService, _: Names, query: inputs.DeliveriesQuery, __: Nothing) -> object:
    """List deliveries: what became of events on their way to channels."""
    return page_of(await rooms.list_deliveries(query), query.limit, _delivery, _by_id)


async def get_delivery(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> object:
    """Return a delivery."""
    return _delivery(await rooms.get_delivery(names["delivery_id"]))


async def retry_delivery(rooms: RoomService, names: Names, _: Nothing, __: Nothing) -> object:
    """Retry a failed delivery in the background."""
    return _delivery(await rooms.retry_delivery(names["delivery_id"]))


async def drop_delivery(rooms: RoomService, names: Names, _: Nothing, body: inputs.DropBody) -> object:
    """Give a failed delivery up."""
    return _delivery(await rooms.drop_delivery(names["delivery_id"], body))


def _endpoint(
    method: str,
    path: str,
    call: Callable[..., Any],
    scope: Scope,
    answer: Any = None,  # Any: a type, or an alias of one
    *,
    status: int | None = None,
    **takes: type[BaseModel],
) -> Endpoint[Any, Any]:
    return Endpoint(
        method=method,
        path=path,
        name=call.__name__,
        summary=(call.__doc__ or "").rstrip("."),
        scope=scope,
        call=call,
        query=takes.get("query", Nothing),
        body=takes.get("body", Nothing),
        answer=answer,
        status=status or (204 if answer is None else 200),
    )


ENDPOINTS = (
    _endpoint("GET", "/v1/rooms", list_rooms, _READ, Page[views.RoomView], query=inputs.RoomsQuery),
    _endpoint("POST", "/v1/rooms", create_room, _WRITE, views.RoomView, status=201, body=inputs.NewRoom),
    _endpoint("GET", _ROOM, get_room, _READ, views.RoomView),
    _endpoint("PATCH", _ROOM, update_room, _WRITE, views.RoomView, body=inputs.RoomChange),
    _endpoint("DELETE", _ROOM, delete_room, _WRITE),
    _endpoint("POST", f"{_ROOM}/close", close_room, _WRITE, views.RoomView),
    _endpoint("GET", "/v1/channels", list_channels, _READ, Page[views.ChannelView]),
    _endpoint("GET", f"{_ROOM}/channels", list_bindings, _READ, Page[views.BindingView]),
    _endpoint(
        "PUT",
        f"{_ROOM}/channels/{{channel_id}}",
        attach_channel,
        _WRITE,
        views.BindingView,
        body=inputs.AttachBody,
    ),
    _endpoint(
        "PATCH",
        f"{_ROOM}/channels/{{channel_id}}",
        change_binding,
        _WRITE,
        views.BindingView,
        body=inputs.BindingChange,
    ),
    _endpoint("DELETE", f"{_ROOM}/channels/{{channel_id}}", detach_channel, _WRITE),
    _endpoint("GET", f"{_ROOM}/events", list_events, _READ, Page[views.EventView], query=inputs.EventsQuery),
    _endpoint(
        "POST",
        f"{_ROOM}/events",
        send_event,
        Scope.MESSAGES_SEND,
        views.EventView,
        status=201,
        body=inputs.EventBody,
    ),
    _endpoint("GET", f"{_ROOM}/events/{{event_id}}", get_event, _READ, views.EventView),
    _endpoint(
        "PATCH",
        f"{_ROOM}/events/{{event_id}}",
        edit_event,
        Scope.MESSAGES_SEND,
        views.EventView,
        body=inputs.EditBody,
    ),
    _endpoint("DELETE", f"{_ROOM}/events/{{event_id}}", delete_event, Scope.MESSAGES_SEND),
    _endpoint(
        "POST",
        f"{_ROOM}/messages",
        take_message,
        Scope.MESSAGES_SEND,
        views.MessageView,
        status=201,
        body=inputs.MessageBody,
    ),
    _endpoint(
        "GET",
        f"{_ROOM}/participants",
        list_participants,
        _READ,
        Page[views.ParticipantView],
        query=inputs.ListQuery,
    ),
    _endpoint(
        "PUT",
        f"{_ROOM}/participants/{{participant_id}}",
        put_participant,
        _WRITE,
        views.ParticipantView,
        body=inputs.ParticipantBody,
    ),
    _endpoint(
        "DELETE",
        f"{_ROOM}/participants/{{participant_id}}",
        remove_participant,
        _WRITE,
        views.ParticipantView,
        query=inputs.RemovalQuery,
    ),
    _endpoint("GET", f"{_ROOM}/tasks", list_tasks, _READ, Page[views.TaskView], query=inputs.TasksQuery),
    _endpoint("POST", f"{_ROOM}/tasks", add_task, _WRITE, views.TaskView, status=201, body=inputs.TaskBody),
    _endpoint(
        "PATCH",
        f"{_ROOM}/tasks/{{task_id}}",
        update_task,
        _WRITE,
        views.TaskView,
        body=inputs.TaskChange,
    ),
    _endpoint(
        "GET",
        f"{_ROOM}/observations",
        list_observations,
        _READ,
        Page[views.ObservationView],
        query=inputs.ListQuery,
    ),
    _endpoint(
        "GET",
        "/v1/deliveries",
        list_deliveries,
        _READ,
        Page[views.DeliveryView],
        query=inputs.DeliveriesQuery,
    ),
    _endpoint("GET", "/v1/deliveries/{delivery_id}", get_delivery, _READ, views.DeliveryView),
    _endpoint(
        "POST",
        "/v1/deliveries/{delivery_id}/retry",
        retry_delivery,
        Scope.DELIVERIES_WRITE,
        views.DeliveryView,
        status=202,
    ),
    _endpoint(
        "POST",
        "/v1/deliveries/{delivery_id}/drop",
        drop_delivery,
        Scope.DELIVERIES_WRITE,
        views.DeliveryView,
        body=inputs.DropBody,
    ),
)
"""What REST clients can do; the OpenAPI document is made from it."""
