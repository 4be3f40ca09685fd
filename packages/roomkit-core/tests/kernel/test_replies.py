"""What a reply or reaction may be to, over every store."""

from __future__ import annotations

from roomkit.models.enums import EventType
from roomkit_plugins.testing import RecordingChannel


async def test_a_reply_is_to_an_event_of_its_room_that_its_channel_sees(store, bare_stage):
    stage = await bare_stage(store=store, single_process=True).open()
    await stage.kit.create_room("r2")
    for name in ("alice", "bob"):
        await stage.socket(name)
    await stage.join(RecordingChannel("carol"), "r2")
    seen = (await stage.say("one", channel="bob")).event
    hidden = (await stage.say("psst", channel="bob", visibility="none")).event
    own = (await stage.say("note to self", visibility="none")).event
    elsewhere = (await stage.say("there", channel="carol", room="r2")).event

    async def reply(event_id, kind=EventType.MESSAGE, **fields):
        result = await stage.say("re", parent_event_id=event_id, event_type=kind, **fields)
        assert result.blocked is (result.event is None)
        return result.reason

    for kind in (EventType.MESSAGE, EventType.REACTION):
        reasons = [await reply(each, kind) for each in (seen.id, own.id, hidden.id, elsewhere.id, "e")]
        assert reasons == [None, None, *["parent_event_not_found"] * 3]
    assert await reply(seen.id, room="r9") == "parent_event_not_found"
    assert await stage.kit.store.get_room("r9") is None

    assert await reply(seen.id, idempotency_key="k") is None
    await stage.kit.delete_event("r1", seen.id)
    assert await reply(seen.id) is None
    assert await reply(seen.id, idempotency_key="k") is None
    await stage.kit.close()
