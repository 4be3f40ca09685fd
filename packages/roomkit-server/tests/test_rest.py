"""REST: rooms and their contents, errors, pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from roomkit.models import Observation, Task

from .conftest import Site

TEXT = {"type": "text", "body": "hello"}


async def test_a_room_is_made_found_changed_closed_and_deleted(site: Site) -> None:
    client = await site.client()
    made = await client.post(
        "/v1/rooms",
        json={
            "metadata": {"name": "support"},
            "timers": {"closed_after_seconds": 60},
            "retention_seconds": 99,
        },
    )
    assert made.status_code == 201
    room = made.json()
    assert (room["organization_id"], room["timers"]["closed_after_seconds"]) == ("acme", 60)
    assert room["retention_seconds"] == 99
    found = await client.get("/v1/rooms", params={"metadata": '{"name": "support"}'})
    assert [each["id"] for each in found.json()["items"]] == [room["id"]]
    changed = await client.patch(f"/v1/rooms/{room['id']}", json={"metadata": {"vip": True}})
    assert changed.json()["metadata"] == {"name": "support", "vip": True}
    assert (await client.post(f"/v1/rooms/{room['id']}/close")).json()["status"] == "closed"
    refused = await client.post(f"/v1/rooms/{room['id']}/events", json={"content": TEXT})
    assert (refused.status_code, refused.json()["code"]) == (409, "room_closed")
    assert (await client.delete(f"/v1/rooms/{room['id']}")).status_code == 204
    assert (await client.get(f"/v1/rooms/{room['id']}")).status_code == 404
    assert (await client.delete(f"/v1/rooms/{room['id']}")).status_code == 404


@pytest.mark.parametrize(
    "room_id",
    [
        "a/b",
        "/",
        "a//b/",
        "a%2Fb",
        "%2f",
        "\ufdd0/x",
        "sms:+1 555",
        "é/ü?x=1#y",
        "a\\b;c",
        "/v1/rooms",
        "x" * 512,
    ],
)
@pytest.mark.parametrize("is_remote", [False, True], ids=["in-process", "by-socket"])
async def test_a_room_of_any_id_is_reached_by_its_path(site: Site, room_id: str, *, is_remote: bool) -> None:
    """And no other one is, such as the one that a decoded slash would lead to."""
    if is_remote:
        await site.serve()
    client = await (site.remote("operator") if is_remote else site.client("operator"))
    await client.post("/v1/rooms", json={"room_id": "a"})
    assert (await client.post("/v1/rooms", json={"room_id": room_id})).status_code == 201
    path = f"/v1/rooms/{quote(room_id, safe='')}"
    assert (await client.get(path)).json()["id"] == room_id
    said = await client.post(f"{path}/events", json={"content": TEXT})
    assert (said.status_code, said.json()["room_id"]) == (201, room_id)
    assert (await client.get(f"{path}%2F")).status_code == 404
    assert (await client.delete(path)).status_code == 204
    assert (await client.get("/v1/rooms/a")).status_code == 200


async def test_a_channel_is_attached_changed_and_detached(site: Site) -> None:
    client, room = await site.client(), await site.room()
    path = f"/v1/rooms/{room}/channels/sms"
    bound = await client.put(
        path, json={"metadata": {"phone_number": "+15550100"}, "visibility": "transport"}
    )
    assert (bound.status_code, bound.json()["metadata"]) == (200, {"phone_number": "+15550100"})
    changed = await client.patch(
        path, json={"muted": True, "access": "read_only", "visibility": "all", "metadata": {"a": 1}}
    )
    shown = changed.json()
    assert (shown["muted"], shown["access"], shown["visibility"]) == (True, "read_only", "all")
    assert (await client.patch(path, json={"muted": False})).json()["muted"] is False
    listed = await client.get(f"/v1/rooms/{room}/channels")
    assert [each["channel_id"] for each in listed.json()["items"]] == ["sms"]
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    assert (await client.put(f"/v1/rooms/{room}/channels/fax", json={})).status_code == 404
    channels = {each["channel_id"]: each for each in (await client.get("/v1/channels")).json()["items"]}
    assert channels["sms"]["webhooks"] == ["carrier"]
    assert {"desk", "sms", "ws"} <= channels.keys()


async def test_an_event_is_said_read_edited_and_deleted(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "desk")
    events = f"/v1/rooms/{room}/events"
    said = await client.post(
        events,
        json={"content": TEXT, "idempotency_key": "k1", "metadata": {"a": [1]}, "visibility": "transport"},
    )
    assert said.status_code == 201
    event = said.json()
    assert (event["content"]["body"], event["metadata"], event["visibility"]) == (
        "hello",
        {"a": [1]},
        "transport",
    )
    again = await client.post(events, json={"content": TEXT, "idempotency_key": "k1"})
    assert again.json()["id"] == event["id"]
    path = f"{events}/{event['id']}"
    edited = await client.patch(path, json={"content": {"type": "text", "body": "good day"}})
    assert (edited.json()["content"]["body"], edited.json()["is_edited"]) == ("good day", True)
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).json()["is_deleted"] is True
    assert (await client.get(f"{events}/nothing")).status_code == 404


async def test_a_verified_persons_message_takes_the_way_of_every_message(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "sms")
    body = {"channel_id": "sms", "sender_id": "+15550100", "content": TEXT, "idempotency_key": "k1"}
    first = await client.post(f"/v1/rooms/{room}/messages", json=body)
    assert first.status_code == 201, first.text
    assert first.json()["event"]["source"]["participant_id"] == "+15550100"
    again = (await client.post(f"/v1/rooms/{room}/messages", json=body)).json()
    assert (again["is_duplicate"], again["event"]["id"]) == (True, first.json()["event"]["id"])
    people = (await client.get(f"/v1/rooms/{room}/participants")).json()["items"]
    assert [each["id"] for each in people] == ["+15550100"]
    banned = await client.delete(f"/v1/rooms/{room}/participants/+15550100", params={"banned": "true"})
    assert banned.json()["status"] == "banned"
    refused = await client.post(f"/v1/rooms/{room}/messages", json={**body, "idempotency_key": "k2"})
    assert (refused.status_code, refused.json()["code"]) == (409, "participant_banned")
    detached = await client.post(f"/v1/rooms/{room}/messages", json={**body, "channel_id": "desk"})
    assert (detached.status_code, detached.json()["code"]) == (409, "channel_not_attached")


async def test_a_participant_is_added_and_named(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "desk")
    path = f"/v1/rooms/{room}/participants/ann"
    put = await client.put(path, json={"channel_id": "desk", "display_name": "Ann"})
    assert (put.status_code, put.json()["display_name"]) == (200, "Ann")
    assert (await client.delete(path)).json()["status"] == "left"


async def test_tasks_are_added_changed_and_listed_with_observations(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "desk")
    added = await client.post(f"/v1/rooms/{room}/tasks", json={"title": "call back", "assigned_to": "ann"})
    assert added.status_code == 201
    path = f"/v1/rooms/{room}/tasks/{added.json()['id']}"
    changed = await client.patch(path, json={"status": "completed", "description": "done"})
    assert (changed.json()["status"], changed.json()["title"]) == ("completed", "call back")
    listed = await client.get(f"/v1/rooms/{room}/tasks", params={"status": "completed"})
    assert [each["description"] for each in listed.json()["items"]] == ["done"]
    assert (await client.get(f"/v1/rooms/{room}/tasks", params={"status": "pending"})).json()["items"] == []
    other = await site.room()
    assert (await client.patch(path.replace(room, other), json={"title": "x"})).status_code == 404
    await site.kit.store.add_observation(
        Observation(id="o1", room_id=room, channel_id="desk", content="is angry", confidence=0.5)
    )
    seen = await client.get(f"/v1/rooms/{room}/observations")
    assert [(each["content"], each["confidence"]) for each in seen.json()["items"]] == [("is angry", 0.5)]


async def test_a_failed_delivery_is_listed_retried_and_dropped(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "sms")
    await client.post(f"/v1/rooms/{room}/events", json={"content": TEXT})
    (row,) = await _settled(client, room)
    assert (row["state"], row["channel_id"]) == ("failed", "sms")  # the binding has no number
    path = f"/v1/deliveries/{row['id']}"
    assert (await client.get(path)).json()["error"]["code"] == "missing_recipient"
    await site.kit.update_binding_metadata(room, "sms", {"phone_number": "+15550100"})
    assert (await client.post(f"{path}/retry")).status_code == 202
    (row,) = await _settled(client, room)
    assert row["state"] == "sent"
    refused = await client.post(f"{path}/drop", json={"reason": "late"})
    assert (refused.status_code, refused.json()["code"]) == (409, "delivery_not_failed")
    assert (await client.post(f"{path}/retry")).status_code == 409
    assert (await client.get("/v1/deliveries/none")).status_code == 404


async def _settled(client: httpx2.AsyncClient, room: str) -> list[Any]:
    """The deliveries of a room once none is pending."""
    while True:
        rows: list[Any] = (await client.get("/v1/deliveries", params={"room_id": room})).json()["items"]
        if rows and all(each["state"] != "pending" for each in rows):
            return rows


async def test_a_delivery_that_is_dropped_says_why(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "sms")
    await client.post(f"/v1/rooms/{room}/events", json={"content": TEXT})
    (row,) = await _settled(client, room)
    dropped = await client.post(f"/v1/deliveries/{row['id']}/drop", json={"reason": "no number"})
    assert (dropped.json()["state"], dropped.json()["reason"]) == ("skipped", "no number")


# -- pages ------------------------------------------------------------------------------------


async def _pages(client: httpx2.AsyncClient, path: str, **params: Any) -> list[list[str]]:
    """The ids of each page of a list."""
    pages: list[list[str]] = []
    after = None
    while True:
        more = {} if after is None else {"after": after}
        answer = await client.get(path, params={"limit": 2, **params, **more})
        assert answer.status_code == 200, answer.text
        pages.append([each["id"] for each in answer.json()["items"]])
        after = answer.json()["after"]
        if after is None:
            return pages


@pytest.mark.parametrize("what", ["rooms", "events", "participants", "tasks", "deliveries"])
async def test_a_list_is_read_page_by_page_without_gaps_or_duplicates(site: Site, what: str) -> None:
    client, room = await site.client(), await site.room("acme", "desk")
    for number in range(5):
        await site.room()
        await site.kit.send_event(room, "system", _text(number))
        await site.kit.ensure_participant(room, "desk", f"p{number}")
        await site.kit.add_task(Task(id=f"t{number}", room_id=room, title="x"))
    path = f"/v1/{what}" if what in ("rooms", "deliveries") else f"/v1/rooms/{room}/{what}"
    pages = await _pages(client, path)
    ids = [each for page in pages for each in page]
    assert len(ids) == len(set(ids)) >= 5
    assert all(len(page) == 2 for page in pages[:-1])
    whole = (await client.get(path, params={"limit": 500})).json()
    assert [each["id"] for each in whole["items"]] == ids
    assert whole["after"] is None


@pytest.mark.parametrize("path", ["/v1/rooms", "/v1/deliveries", "/v1/rooms/{}/tasks"])
async def test_a_cursor_whose_record_is_gone_says_so(site: Site, path: str) -> None:
    client, room = await site.client(), await site.room()
    answer = await client.get(path.format(room), params={"after": "gone"})
    assert (answer.status_code, answer.json()["code"]) == (410, "stale_cursor")


async def test_events_are_read_backwards_between_indexes_and_as_a_channel_sees_them(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "desk")
    for number in range(3):
        await site.kit.send_event(
            room, "system", _text(number), visibility=("none" if number == 1 else "all")
        )
    path = f"/v1/rooms/{room}/events"

    async def bodies(**params: Any) -> list[str]:
        answer = await client.get(path, params=params)
        items = answer.json()["items"]
        return [each["content"]["body"] for each in items if each["type"] == "message"]

    assert await bodies() == ["0", "1", "2"]
    assert await bodies(newest_first="true", limit=1) == ["2"]
    assert await bodies(as_channel="desk") == ["0", "2"]
    last = (await client.get(path)).json()["items"][-1]["index"]
    assert await bodies(after=last - 1) == ["2"]
    assert await bodies(before=last, after=last - 2) == ["1"]
    assert (await client.get(path, params={"as_channel": "sms"})).status_code == 404


# -- errors -----------------------------------------------------------------------------------


async def test_a_body_that_does_not_fit_is_answered_with_each_place_and_without_its_words(site: Site) -> None:
    client, room = await site.client(), await site.room("acme", "desk")
    answer = await client.post(
        f"/v1/rooms/{room}/events", json={"content": {"type": "text", "bdy": "canary"}, "visible": "x"}
    )
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"]) == (400, "invalid_request")
    assert [each["place"] for each in problem["problems"]] == [
        "body.content.text.body",
        "body.content.text.bdy",
        "body.visible",
    ]
    assert "canary" not in answer.text


@pytest.mark.parametrize("kind", ["system", "edit", "delete", "consent", "custom"])
async def test_acts_are_not_said_as_contents(site: Site, kind: str) -> None:
    client, room = await site.client(), await site.room()
    answer = await client.post(f"/v1/rooms/{room}/events", json={"content": {"type": kind, "body": "x"}})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/rooms?limit=0", 400, "invalid_request"),
        ("GET", "/v1/rooms?limit=1&limit=2", 400, "invalid_request"),
        ("GET", "/v1/rooms?metadata=[]", 400, "invalid_input"),
        ("GET", "/v1/rooms/%00", 404, "room_not_found"),
        ("GET", "/v1/rooms/none", 404, "room_not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/rooms", 405, "method_not_allowed"),
        ("POST", "/v1/rooms", 415, "unsupported_body"),
    ],
)
async def test_a_wrong_request_gets_a_problem(
    site: Site, method: str, path: str, status: int, code: str
) -> None:
    answer = await (await site.client()).request(method, path)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)


async def test_code_that_fails_is_not_described_to_the_client(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ValueError("canary")

    client = await site.client()
    monkeypatch.setattr(site.kit.store, "query_rooms", fail)
    answer = await client.get("/v1/rooms")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "canary" not in answer.text


def _text(number: int) -> Any:
    from roomkit import TextContent

    return TextContent(body=str(number))
