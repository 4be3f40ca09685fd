"""What a channel keeps with its binding: from messages, from deliveries, and never shown outside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from roomkit.abc.errors import ForeignCodeError, InvalidInputError, StoreUnavailableError
from roomkit.abc.store import Commit
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType, DeliveryState, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time


class Teams(RecordingChannel):
    """Keeps the conversation that messages name, and opens one where none is known yet."""

    opened = 0
    learnt: Any = None

    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        return {key: value for key, value in message.metadata.items() if key == "conversation"}

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        await super().deliver(event, binding, context)
        if "conversation" in binding.state:
            return ChannelOutput.empty()
        await asyncio.sleep(1)
        self.opened += 1
        return ChannelOutput(binding_state=self.learnt or {"conversation": f"c{self.opened}"})


async def state_of(stage: Any, channel_id: str = "teams") -> Mapping[str, Any]:
    return (await stage.kit.get_binding("r1", channel_id)).state


class TestFromMessages:
    @pytest.fixture
    async def teams(self, stage: Any) -> Teams:
        return await stage.join(Teams("teams"))

    async def test_it_is_merged_in_the_commit_of_the_message(self, stage: Any, teams: Teams) -> None:
        await stage.kit.services.rooms.change_binding(
            "r1", lambda binding: binding.replace(state={"kept": 1}), channel_id="teams"
        )
        await stage.say(channel="teams", metadata={"conversation": "c7"})
        assert await state_of(stage) == {"kept": 1, "conversation": "c7"}
        assert [each.type for each in await stage.timeline(messages=False)][-1] == "message"

    async def test_what_is_known_changes_nothing(self, stage: Any, teams: Teams) -> None:
        """Plans that others made for the room stay good."""
        await stage.say(channel="teams", metadata={"conversation": "c7"})
        before = await stage.kit.get_room("r1")
        await stage.say(channel="teams", metadata={"conversation": "c7"})
        assert (await stage.kit.get_room("r1")).version == before.version

    async def test_a_first_message_has_it_in_the_binding_that_it_makes(
        self, stage: Any, teams: Teams
    ) -> None:
        result = await stage.say(channel="teams", room=None, by="zoe", metadata={"conversation": "c8"})
        binding = await stage.kit.get_binding(result.event.room_id, "teams")
        assert binding.state == {"conversation": "c8"}

    async def test_a_message_that_a_gate_refuses_has_it_stored_too(self, stage: Any, teams: Teams) -> None:
        @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def blocking(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.block("no")

        await stage.say(channel="teams", metadata={"conversation": "c7"})
        assert await state_of(stage) == {"conversation": "c7"}

    async def test_what_cannot_be_kept_refuses_the_message(self, stage: Any, teams: Teams) -> None:
        with pytest.raises(InvalidInputError, match="4096 are the most"):
            await stage.say(channel="teams", metadata={"conversation": "x" * 5000})
        teams.binding_state = None  # type: ignore[method-assign,assignment]
        with pytest.raises(ForeignCodeError, match="binding_state"):
            await stage.say(channel="teams")
        assert await stage.timeline() == []


class TestFromDeliveries:
    async def test_a_burst_to_a_new_contact_opens_one_conversation(self, stage: Any) -> None:
        """Each delivery begins with what the one before learnt, though all were planned before."""
        teams = await stage.join(Teams("teams"))
        await stage.socket("alice")
        for number in range(5):
            await stage.say(str(number), wait="committed")
        await stage.idle()
        assert teams.opened == 1
        assert len(teams.delivered) == 5
        assert await state_of(stage) == {"conversation": "c1"}
        assert [row.state for row in await stage.kit.list_deliveries("r1", channel_id="teams")] == [
            DeliveryState.SENT
        ] * 5

    async def test_it_takes_no_entry_in_the_timeline(self, stage: Any) -> None:
        await stage.join(Teams("teams"))
        await stage.socket("alice")
        await stage.say()
        before = await stage.timeline(messages=False)
        assert await state_of(stage) == {"conversation": "c1"}
        assert await stage.timeline(messages=False) == before

    async def test_each_part_of_a_long_message_adds_to_it(self, stage: Any, capable: Any) -> None:
        class Parts(RecordingChannel):
            async def deliver(
                self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
            ) -> ChannelOutput:
                await super().deliver(event, binding, context)
                return ChannelOutput(binding_state={f"part{len(self.delivered)}": 1})

        await stage.join(Parts("teams", capabilities=capable(max_length=4)))
        await stage.socket("alice")
        await stage.say("one two six")
        assert await state_of(stage) == {"part1": 1, "part2": 1, "part3": 1}

    async def test_a_function_makes_the_new_state_of_the_one_there_is(self, stage: Any, capable: Any) -> None:
        """For each part of a message; it may remove keys, and a mapping beside it is merged in its turn."""

        class Counting(RecordingChannel):
            async def deliver(
                self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
            ) -> ChannelOutput:
                await super().deliver(event, binding, context)
                if len(self.delivered) == 2:
                    return ChannelOutput(binding_state={"second": True})
                return ChannelOutput(binding_state=lambda state: {"sent": state.get("sent", 0) + 1})

        await stage.join(Counting("teams", capabilities=capable(max_length=4)))
        await stage.kit.services.rooms.change_binding(
            "r1", lambda binding: binding.replace(state={"old": 1}), channel_id="teams"
        )
        await stage.socket("alice")
        await stage.say("one two six ten")
        assert await state_of(stage) == {"sent": 3}

    @pytest.mark.parametrize(
        ("function", "words"),
        [
            (lambda state: 1 / 0, "ZeroDivisionError"),
            (lambda state: None, "is NoneType"),
            (lambda: {"x": 1}, "TypeError"),
            (lambda state: {"x": object()}, "cannot be stored"),
            (lambda state: {"x": "y" * 5000}, "4096 are the most"),
        ],
        ids=["raises", "none", "arguments", "no JSON", "too large"],
    )
    async def test_a_function_that_fails_is_reported_and_the_message_counts_as_sent(
        self, stage: Any, function: Any, words: str
    ) -> None:
        """The state stays, and later deliveries begin."""
        teams = await stage.join(Teams("teams"))
        teams.learnt = function
        await stage.socket("alice")
        await stage.say("one")
        teams.learnt = lambda state: {"conversation": "c2"}
        await stage.say("two")
        assert [row.state for row in await stage.kit.list_deliveries("r1", channel_id="teams")] == [
            DeliveryState.SENT
        ] * 2
        (fact,) = stage.facts("binding_state_refused")
        assert words in fact["error"]
        assert await state_of(stage) == {"conversation": "c2"}

    async def test_what_is_too_large_is_reported_and_the_message_counts_as_sent(self, stage: Any) -> None:
        teams = await stage.join(Teams("teams"))
        teams.learnt = {"x": "y" * 5000}
        await stage.socket("alice")
        await stage.say()
        await stage.idle()
        assert (await stage.ledger())["teams"].state is DeliveryState.SENT
        (fact,) = stage.facts("binding_state_refused")
        assert "4096 are the most" in fact["error"]
        assert await state_of(stage) == {}

    async def test_what_is_no_object_fails_the_delivery(self, stage: Any) -> None:
        teams = await stage.join(Teams("teams"))
        teams.learnt = ["conversation"]
        await stage.socket("alice")
        await stage.say()
        row = (await stage.ledger())["teams"]
        assert row.state is DeliveryState.FAILED
        assert "binding_state" in row.error.message

    async def test_the_next_delivery_waits_until_the_store_has_it(self, staging: Any) -> None:
        class Away(InMemoryStore):
            failures = 3

            async def commit(self, commit: Commit) -> Any:
                if commit.bindings and not commit.entries and self.failures and commit.bindings[0].state:
                    self.failures -= 1
                    raise StoreUnavailableError("away")
                return await super().commit(commit)

        async with staging(store=Away()) as stage:
            teams = await stage.join(Teams("teams"))
            await stage.socket("alice")
            started = asyncio.get_running_loop().time()
            for number in range(3):
                await stage.say(str(number), wait="committed")
            await stage.idle()
            assert teams.opened == 1
            assert asyncio.get_running_loop().time() - started >= 1 + 1 + 2 + 4
            assert await state_of(stage) == {"conversation": "c1"}

    async def test_a_change_by_another_worker_in_between_is_kept(self, staging: Any) -> None:
        class Racing(InMemoryStore):
            raced = False

            async def commit(self, commit: Commit) -> Any:
                if commit.bindings and not commit.entries and commit.bindings[0].state and not self.raced:
                    self.raced = True
                    other = commit.bindings[0].replace(state={"other": 1})
                    await self.update_binding(other)
                return await super().commit(commit)

        async with staging(store=Racing()) as stage:
            await stage.join(Teams("teams"))
            await stage.socket("alice")
            await stage.say()
            assert await state_of(stage) == {"other": 1, "conversation": "c1"}

    async def test_a_function_gets_the_change_by_another_worker(self, staging: Any) -> None:
        """It is called again with the state that the other one left: no change is lost."""

        class Racing(InMemoryStore):
            races = 3

            async def commit(self, commit: Commit) -> Any:
                if commit.bindings and not commit.entries and commit.bindings[0].state and self.races:
                    self.races -= 1
                    current = await self.get_binding("r1", "teams")
                    await self.update_binding(current.replace(state={"n": current.state.get("n", 0) + 10}))
                return await super().commit(commit)

        async with staging(store=Racing()) as stage:
            teams = await stage.join(Teams("teams"))
            teams.learnt = lambda state: {"n": state.get("n", 0) + 1}
            await stage.socket("alice")
            await stage.say()
            assert await state_of(stage) == {"n": 31}

    @pytest.mark.parametrize("gone", ["room", "binding"])
    async def test_what_is_gone_meanwhile_takes_it_along(self, stage: Any, gone: str) -> None:
        teams = await stage.join(Teams("teams"))
        await stage.socket("alice")
        await stage.say(wait="committed")
        if gone == "room":
            await stage.kit.delete_room("r1")
        else:
            await stage.kit.detach_channel("r1", "teams")
        await stage.idle()
        assert teams.opened == 1
        assert stage.facts("binding_state_refused") == []


def test_it_is_never_shown_outside() -> None:
    binding = ChannelBinding(
        channel_id="teams", room_id="r1", channel_type=ChannelType.TEAMS, state={"conversation": "secret"}
    )
    assert "secret" not in repr(binding)
    view = binding.client_view()
    assert "state" not in view
    assert view["channel_id"] == "teams"
    newer = ChannelBinding.from_stored(binding.model_dump_json()[:-1] + ',"newer":"secret"}')
    assert newer.state == {"conversation": "secret"}
    assert "secret" not in str(newer.client_view())


def test_a_binding_refuses_a_state_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="4096 bytes"):
        ChannelBinding(channel_id="a", room_id="r", channel_type=ChannelType.SMS, state={"a": "x" * 4096})


class TestMergedRooms:
    """Two bindings become one, and so does what the channel keeps with them."""

    @pytest.fixture
    async def teams(self, stage: Any) -> Teams:
        channel = await stage.join(Teams("teams"), state={"conversation": "c1", "kept": 1})
        await stage.open("r2")
        await stage.kit.attach_channel("r2", "teams", state={"conversation": "c2", "more": 2})
        return channel

    async def test_what_only_one_of_them_had_is_kept(self, stage: Any, teams: Teams) -> None:
        await stage.kit.merge_rooms("r2", "r1")
        assert await state_of(stage) == {"conversation": "c1", "kept": 1, "more": 2}

    async def test_the_channel_says_what_is_kept(self, stage: Any, teams: Teams) -> None:
        def newest(kept: ChannelBinding, other: ChannelBinding) -> Mapping[str, Any]:
            return {"conversation": max(each.state["conversation"] for each in (kept, other))}

        teams.merged_state = newest  # type: ignore[method-assign]
        await stage.kit.merge_rooms("r2", "r1")
        assert await state_of(stage) == {"conversation": "c2"}

    async def test_a_channel_that_fails_merges_nothing(self, stage: Any, teams: Teams) -> None:
        def failing(kept: ChannelBinding, other: ChannelBinding) -> Mapping[str, Any]:
            raise RuntimeError("no")

        teams.merged_state = failing  # type: ignore[method-assign]
        with pytest.raises(ForeignCodeError, match=r"merged_state\(\)"):
            await stage.kit.merge_rooms("r2", "r1")
        assert await state_of(stage) == {"conversation": "c1", "kept": 1}
        assert (await stage.kit.get_binding("r2", "teams")).state["more"] == 2
