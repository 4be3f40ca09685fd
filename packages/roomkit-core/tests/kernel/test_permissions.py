"""Who may add what to a room: by the connection and the roster, never by what a message says."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from roomkit.abc.errors import InvalidInputError
from roomkit.models.content import DeleteContent, EditContent, TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    Access,
    ChannelDirection,
    ChannelType,
    DeleteType,
    EventStatus,
    EventType,
    ParticipantRole,
    ParticipantStatus,
)
from roomkit_plugins.testing import RecordingChannel, run_virtual

pytestmark = pytest.mark.virtual_time


class TestSpeaking:
    @pytest.mark.parametrize(
        ("binding", "reason"),
        [
            ({"muted": True}, "source_muted"),
            ({"access": Access.READ_ONLY}, "source_read_only"),
            ({"access": Access.NONE}, "source_read_only"),
            ({"access": Access.WRITE_ONLY}, None),
        ],
        ids=["muted", "read-only", "none", "write-only"],
    )
    @pytest.mark.parametrize("way", ["inbound", "send_event"])
    async def test_a_source_without_the_right_is_refused_and_kept(self, stage, binding, reason, way):
        await stage.socket("alice", **binding)
        bob = await stage.socket("bob")
        if way == "inbound":
            result = await stage.say()
            event, blocked, why = result.event, result.blocked, result.reason
        else:
            event = await stage.kit.send_event("r1", "alice", TextContent(body="hello"))
            blocked, why = event.status is EventStatus.BLOCKED, event.block_reason
        assert (blocked, why) == (reason is not None, reason)
        assert bob.texts() == ([] if reason else ["hello"])
        if reason:
            assert (event.blocked_by, event.block_reason) == (reason, reason)
            assert await stage.refused() == [(reason, reason)]

    @pytest.mark.parametrize(
        "binding",
        [{"access": Access.WRITE_ONLY}, {"access": Access.NONE}, {"direction": ChannelDirection.INBOUND}],
        ids=["write-only", "none", "inbound-only"],
    )
    async def test_who_may_not_read_is_sent_nothing(self, stage, binding):
        """Neither messages nor answers, whole or streamed."""
        await stage.socket("alice")
        bob = await stage.socket("bob", streaming=True, **binding)
        await stage.agent("bot", ["an answer"], streaming=True)
        await stage.say()
        assert bob.attempts == []
        assert bob.streams == []

    async def test_a_muted_channel_still_listens(self, stage):
        """Muting takes the voice, not the ears; unmuting gives it back."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        await stage.kit.mute("r1", "bob")
        await stage.say()
        assert bob.texts() == ["hello"]
        assert (await stage.say(channel="bob")).reason == "source_muted"
        await stage.kit.unmute("r1", "bob")
        assert not (await stage.say(channel="bob")).blocked

    async def test_nothing_of_a_banned_person_is_accepted(self, stage):
        await stage.socket("alice")
        await stage.socket("other")
        await stage.say(by="eve")
        await stage.kit.remove_participant("r1", "eve", banned=True)
        for channel in ("alice", "other"):
            result = await stage.say("again", channel=channel, by="eve")
            assert (result.reason, result.event) == ("participant_banned", None)
        with pytest.raises(InvalidInputError, match="participant_banned"):
            await stage.kit.send_event("r1", "alice", TextContent(body="x"), participant_id="eve")
        assert not (await stage.say("me", by="alice")).blocked
        assert await stage.texts() == ["hello", "me"]

    async def test_who_left_may_come_back(self, stage):
        await stage.socket("alice")
        await stage.say()
        await stage.kit.remove_participant("r1", "alice")
        assert not (await stage.say()).blocked

    async def test_a_ban_while_a_message_waits_holds(self, stage):
        """The roster is read under the lock."""
        await stage.socket("alice")
        await stage.say(by="eve")
        async with stage.kit.lock_manager.locked("r1"):
            person = await stage.kit.store.get_participant("r1", "eve")
            talking = stage.saying("late", by="eve")
            await stage.kit.store.update_participant(person.replace(status=ParticipantStatus.BANNED))
        assert (await talking).reason == "participant_banned"

    async def test_whoever_speaks_is_in_the_roster(self, stage):
        """With every channel they came by; a blocked stranger is not."""
        await stage.socket("alice")
        await stage.socket("other")
        await stage.socket("mute", muted=True)
        await stage.say(by="ann")
        await stage.say(channel="other", by="ann")
        await stage.say(channel="mute", by="stranger")
        (ann,) = await stage.kit.list_participants("r1")
        assert (ann.id, ann.connected_via) == ("ann", ("alice", "other"))


class TestAmending:
    async def test_authors_edit_and_delete_their_own(self, stage):
        """The entry stays where it was, with its former words; the index does not move."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        target = (await stage.say("helo")).event
        edit = EditContent(target_event_id=target.id, new_content=TextContent(body="hello"))
        assert not (await stage.say(edit, event_type=EventType.EDIT)).blocked
        edited = await stage.kit.store.get_event(target.id)
        assert (text_of(edited.content), edited.index, edited.edited) == ("hello", target.index, True)
        assert [text_of(one) for one in edited.amendment.former_contents] == ["helo"]
        assert bob.texts() == ["helo", "Correction: hello"]
        deletion = DeleteContent(target_event_id=target.id)
        assert not (await stage.say(deletion, event_type=EventType.DELETE)).blocked
        assert (await stage.kit.store.get_event(target.id)).deleted
        assert bob.texts()[-1] == "[Message deleted]"

    @pytest.mark.parametrize(
        ("content", "kind", "reason"),
        [
            (lambda t: EditContent(target_event_id="none", new_content=TextContent(body="x")), "edit",
             "target_event_not_found"),
            (lambda t: EditContent(target_event_id=t["other"], new_content=TextContent(body="x")), "edit",
             "target_event_not_found"),
            (lambda t: EditContent(target_event_id=t["bob"], new_content=TextContent(body="x")), "edit",
             "not_original_author"),
            (lambda t: DeleteContent(target_event_id=t["bob"]), "delete", "not_original_author"),
            (lambda t: DeleteContent(target_event_id=t["own"], delete_type=DeleteType.SYSTEM), "delete",
             "not_authorized"),
            (lambda t: DeleteContent(target_event_id=t["bob"], delete_type=DeleteType.ADMIN), "delete",
             "not_authorized"),
            (lambda t: DeleteContent(target_event_id=t["own"]), "edit", "content_type_mismatch"),
            (lambda t: DeleteContent(target_event_id=t["own"]), "message", "content_type_mismatch"),
            (lambda t: TextContent(body="x"), "edit", "content_type_mismatch"),
            (lambda t: DeleteContent(target_event_id=t["blocked"]), "delete", "target_event_not_found"),
            (lambda t: DeleteContent(target_event_id=t["deleted"]), "delete", "target_not_amendable"),
            (lambda t: DeleteContent(target_event_id=t["note"]), "delete", "target_event_not_found"),
            (lambda t: DeleteContent(target_event_id=t["host"]), "delete", "identity_required_for_edit"),
        ],
        ids=[
            "edit-nothing", "edit-elsewhere", "edit-anothers", "delete-anothers", "delete-as-system",
            "delete-as-admin", "deletion-as-edit", "deletion-as-message", "text-as-edit", "delete-blocked",
            "delete-deleted", "delete-note", "delete-hosts",
        ],
    )  # fmt: skip
    async def test_everything_else_is_refused_with_its_reason(self, stage, content, kind, reason):
        await stage.socket("alice")
        await stage.socket("bob")
        await stage.socket("mute", muted=True)
        await stage.kit.create_room("r2")
        await stage.kit.attach_channel("r2", "alice")
        targets = {
            "own": (await stage.say("own")).event.id,
            "bob": (await stage.say("bobs", channel="bob")).event.id,
            "other": (await stage.say("elsewhere", room="r2")).event.id,
            "blocked": (await stage.say("blocked", channel="mute", by="alice")).event.id,
            "deleted": (await stage.say("deleted")).event.id,
            "note": (await stage.timeline(messages=False))[0].id,
            "host": (await stage.kit.send_event("r1", "alice", TextContent(body="host"))).id,
        }
        await stage.kit.delete_event("r1", targets["deleted"])
        before = await stage.timeline(messages=False)
        result = await stage.say(content(targets), event_type=EventType(kind))
        assert (result.blocked, result.reason, result.event) == (True, reason, None)
        assert await stage.timeline(messages=False) == before

    async def test_owners_may_delete_anything(self, stage):
        """By their role in the roster."""
        await stage.socket("alice")
        await stage.socket("bob")
        target = (await stage.say("bobs", channel="bob")).event
        await stage.say("hi")
        owner = await stage.kit.store.get_participant("r1", "alice")
        await stage.kit.store.update_participant(owner.replace(role=ParticipantRole.OWNER))
        deletion = DeleteContent(target_event_id=target.id, delete_type=DeleteType.ADMIN)
        assert not (await stage.say(deletion, event_type=EventType.DELETE)).blocked
        assert (await stage.kit.store.get_event(target.id)).deleted

    async def test_the_host_may_amend_anything(self, stage):
        await stage.socket("alice")
        target = (await stage.say("helo")).event
        await stage.kit.edit_event("r1", target.id, TextContent(body="hello"))
        assert await stage.texts() == ["hello"]
        await stage.kit.delete_event("r1", target.id, "spam")
        assert (await stage.kit.store.get_event(target.id)).deleted
        with pytest.raises(InvalidInputError, match="target_not_amendable"):
            await stage.kit.delete_event("r1", target.id)

    async def test_a_muted_author_amends_nothing(self, stage):
        """An edit is an addition to the timeline like any other."""
        await stage.socket("alice")
        target = (await stage.say("own")).event
        await stage.kit.mute("r1", "alice")
        edit = EditContent(target_event_id=target.id, new_content=TextContent(body="x"))
        assert (await stage.say(edit, event_type=EventType.EDIT)).reason == "source_muted"
        assert await stage.texts() == ["own"]

    async def test_an_edit_is_seen_by_whom_its_target_is_seen(self, stage):
        """New words for a whisper are a whisper, and so is its deletion."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        carol = await stage.socket("carol")
        target = (await stage.say("psst", visibility="bob")).event
        edit = EditContent(target_event_id=target.id, new_content=TextContent(body="psst!"))
        await stage.say(edit, event_type=EventType.EDIT)
        await stage.kit.edit_event("r1", target.id, TextContent(body="psst!!"))
        await stage.kit.delete_event("r1", target.id)
        assert bob.texts() == ["psst", "Correction: psst!", "Correction: psst!!", "[Message deleted]"]
        assert carol.texts() == []


claims = st.one_of(
    st.builds(
        lambda target, source: EditContent(
            target_event_id=target, new_content=TextContent(body="changed"), edit_source=source
        ),
        target=st.just("TARGET"),
        source=st.one_of(
            st.none(), st.sampled_from(["sender", "admin", "system", "owner"]), st.text(max_size=9)
        ),
    ),
    st.builds(
        lambda target, kind, reason: DeleteContent(target_event_id=target, delete_type=kind, reason=reason),
        target=st.just("TARGET"),
        kind=st.sampled_from(DeleteType),
        reason=st.one_of(st.none(), st.sampled_from(["admin", "system"])),
    ),
)
wordings = st.dictionaries(
    st.sampled_from(["role", "_role", "participant_id", "source", "is_admin", "owner", "channel_id"]),
    st.sampled_from(["owner", "alice", "system", "admin", True]),
    max_size=4,
)


class TestAuthority:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=claims, metadata=wordings, key=st.sampled_from([None, "k"]), external=wordings)
    @example(
        content=EditContent(
            target_event_id="TARGET", new_content=TextContent(body="changed"), edit_source="admin"
        ),
        metadata={},
        key=None,
        external={},
    )
    def test_no_field_of_a_message_widens_what_a_stranger_may_do(
        self, bare_stage, content, metadata, key, external
    ):
        """Whatever Eve's edit or deletion claims of itself, Alice's words stay."""

        async def scene():
            stage = await bare_stage().open()
            await stage.socket("alice")
            await stage.socket("eve")
            target = (await stage.say("mine")).event
            await stage.say("hi", channel="eve")
            forged = content.replace(target_event_id=target.id)
            kind = EventType.EDIT if isinstance(content, EditContent) else EventType.DELETE
            result = await stage.say(
                forged,
                channel="eve",
                event_type=kind,
                metadata=metadata,
                raw_payload=external,
                idempotency_key=key,
                external_id="alice",
                provider_message_id=target.id,
                connection_id="alice",
            )
            assert result.blocked
            stored = await stage.kit.store.get_event(target.id)
            assert stored == target
            await stage.kit.close()

        run_virtual(scene())


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        (ChannelType.SMS, ChannelType.WEBSOCKET, False),
        (ChannelType.EMAIL, ChannelType.TELEGRAM, False),
        (ChannelType.SMS, ChannelType.RCS, True),
        (ChannelType.WHATSAPP, ChannelType.SMS, True),
        (ChannelType.WEBSOCKET, ChannelType.WEBSOCKET, True),
    ],
)
async def test_a_name_is_one_person_where_addresses_are_of_one_kind(staging, first, second, is_one):
    """A web user named like a telephone number may not touch what the number wrote, as owner neither."""
    async with staging() as stage:
        for name, kind in (("one", first), ("two", second)):
            await stage.join(RecordingChannel(name, channel_type=kind))

        async def say(channel, content, kind=EventType.MESSAGE):
            return await stage.kit.process_inbound(
                InboundMessage(channel_id=channel, sender_id="+1", content=content, event_type=kind),
                room_id="r1",
            )

        said = (await say("one", TextContent(body="I owe you 5"))).event
        await say("two", TextContent(body="hello"))
        edit = EditContent(target_event_id=said.id, new_content=TextContent(body="I owe you 5000"))
        edited = await say("two", edit, EventType.EDIT)
        assert edited.blocked is not is_one
        assert edited.reason == (None if is_one else "not_original_author")
        people = await stage.kit.list_participants("r1")
        assert [each.id for each in people] == (["+1"] if is_one else ["+1", f"{second}:+1"])
        assert ("two" in people[0].connected_via) is is_one
        own = EditContent(target_event_id=said.id, new_content=TextContent(body="I owe you 6"))
        assert not (await say("one", own, EventType.EDIT)).blocked


@pytest.mark.parametrize(
    "delete_type", [None, DeleteType.SENDER, DeleteType.ADMIN], ids=["edit", "own", "admin"]
)
@pytest.mark.parametrize("was_deleted", [False, True], ids=["there", "deleted"])
async def test_a_hidden_event_is_answered_as_one_that_does_not_exist(stage, delete_type, was_deleted):
    await stage.socket("alice")
    await stage.socket("bob")
    hidden = await stage.kit.send_event("r1", "alice", TextContent(body="psst"), visibility="alice")
    if was_deleted:
        await stage.kit.delete_event("r1", hidden.id)
    reasons = set()
    for event_id in (hidden.id, "no-such-event"):
        if delete_type is None:
            content, kind = (
                EditContent(target_event_id=event_id, new_content=TextContent(body="x")),
                EventType.EDIT,
            )
        else:
            content, kind = DeleteContent(target_event_id=event_id, delete_type=delete_type), EventType.DELETE
        reasons.add((await stage.say(content, channel="bob", event_type=kind)).reason)
    assert reasons == {"target_event_not_found"}
