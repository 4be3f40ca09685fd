"""State of rooms and bindings: changed by functions, by gates, by messages and by deliveries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from roomkit.abc.errors import (
    ForeignCodeError,
    InvalidInputError,
    RoomClosedError,
    RoomNotFoundError,
    StaleRoomError,
)
from roomkit.abc.store import Commit
from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import Json
from roomkit.models.context import RoomContext
from roomkit.models.enums import HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult, StateChange
from roomkit.models.timer import Timer
from roomkit.models.value import Value

pytestmark = pytest.mark.virtual_time
LATER = datetime(2100, 1, 1, tzinfo=UTC)
GATE, TOOL = HookTrigger.BEFORE_BROADCAST, HookTrigger.BEFORE_TOOL_USE


def counted(state: Json | None) -> Json:
    """Count one more."""
    return {"n": (state or {}).get("n", 0) + 1}


def gate(kit: RoomKit, change: Callable[[RoomContext], Mapping[str, StateChange]], **options: Any) -> None:
    """Have every message pass a gate that changes the state."""

    @kit.hook(GATE, **options)
    async def keeping(event: RoomEvent, context: RoomContext) -> HookResult:
        return HookResult.allow(state=change(context))


async def state_of(kit: RoomKit, room_id: str = "r1") -> Mapping[str, Any]:
    return (await kit.get_room(room_id)).state


class TestChangingTheStateOfARoom:
    async def test_each_namespace_has_a_state_of_its_own(self, stage: Any) -> None:
        """It is replaced by what the function returns, and removed by None; the timeline gets no entry."""
        entries = len(await stage.timeline(messages=False))
        assert await stage.kit.change_state("r1", "app", lambda state: {"was": state}) == {"was": None}
        assert await stage.kit.change_state("r1", "acme", counted) == {"n": 1}
        assert await stage.kit.change_state("r1", "app", lambda state: {"was": state}) == {
            "was": {"was": None}
        }
        assert await stage.kit.change_state("r1", "app", lambda state: None) is None
        assert await state_of(stage.kit) == {"acme": {"n": 1}}
        assert len(await stage.timeline(messages=False)) == entries

    async def test_an_owner_changes_the_state_under_its_namespace(self, stage: Any) -> None:
        await stage.kit.services.rooms.change_state("r1", counted)
        assert await state_of(stage.kit) == {"app": {"n": 1}}

    @pytest.mark.parametrize(
        ("namespace", "made", "why"),
        [
            ("app", ["a"], "give a JSON object"),
            ("app", {"a": object()}, "cannot be stored"),
            ("app", {"a": "x" * 16_384}, "16384 are the most"),
            ("core", {}, "the kernel's"),
            ("core.rooms", {}, "the kernel's"),
            ("", {}, "is not a namespace"),
            ("a\0b", {}, "is not a namespace"),
        ],
    )
    async def test_what_cannot_be_kept_is_refused(
        self, stage: Any, namespace: str, made: Any, why: str
    ) -> None:
        await stage.kit.change_state("r1", "app", counted)
        with pytest.raises(InvalidInputError, match=why):
            await stage.kit.change_state("r1", namespace, lambda state: made)
        assert await state_of(stage.kit) == {"app": {"n": 1}}

    async def test_a_room_holds_64_kib_of_state(self, stage: Any) -> None:
        for number in range(4):
            await stage.kit.change_state("r1", f"p{number}", lambda state: {"a": "x" * 16_000})
        with pytest.raises(InvalidInputError, match="65536 are the most"):
            await stage.kit.change_state("r1", "p4", lambda state: {"a": "x" * 16_000})
        assert len(await state_of(stage.kit)) == 4

    async def test_what_the_function_raises_reaches_the_caller(self, stage: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            await stage.kit.change_state("r1", "app", lambda state: {"n": 1 // 0})
        with pytest.raises(RoomNotFoundError):
            await stage.kit.change_state("nowhere", "app", counted)
        await stage.kit.close_room("r1")
        with pytest.raises(RoomClosedError):
            await stage.kit.change_state("r1", "app", counted)

    async def test_inside_a_gate_of_its_room_it_is_refused(self, stage: Any) -> None:
        """The gate's answer is the way; a gate of another room may."""
        await stage.kit.create_room("other")
        refused: list[str] = []

        @stage.kit.hook(GATE)
        async def changing(event: RoomEvent, context: RoomContext) -> HookResult:
            await stage.kit.change_state("other", "app", counted)
            with pytest.raises(InvalidInputError, match=r"HookResult\.allow") as caught:
                await stage.kit.change_state("r1", "app", counted)
            refused.append(str(caught.value))
            return HookResult.allow()

        await stage.socket("alice")
        await stage.say()
        assert len(refused) == 1
        assert await state_of(stage.kit) == {}
        assert await state_of(stage.kit, "other") == {"app": {"n": 1}}

    async def test_a_room_that_changes_all_the_time_raises(self, staging: Any) -> None:
        class Restless(InMemoryStore):
            async def commit(self, commit: Commit) -> Any:
                if commit.room_changes and "state" in commit.room_changes:
                    await self.patch_room_metadata("r1", {"a": 1})
                return await super().commit(commit)

        async with staging(store=Restless()) as stage:
            with pytest.raises(StaleRoomError, match="8 times"):
                await stage.kit.change_state("r1", "app", counted)
            assert await state_of(stage.kit) == {}


class TestAGateThatKeepsState:
    @pytest.fixture
    async def stage(self, stage: Any) -> Any:
        await stage.socket("alice")
        return stage

    async def test_its_changes_are_in_the_commit_of_the_event(self, stage: Any) -> None:
        """Those of several gates one after the other; None removes."""
        await stage.kit.change_state("r1", "old", counted)
        gate(stage.kit, lambda context: {"app": counted, "old": None})
        gate(stage.kit, lambda context: {"app": counted, "acme": {"by": "value"}})
        await stage.say()
        assert await state_of(stage.kit) == {"app": {"n": 2}, "acme": {"by": "value"}}

    async def test_a_blocked_event_keeps_it_too(self, stage: Any) -> None:
        @stage.kit.hook(GATE)
        async def blocking(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.block("no", state={"app": counted})

        await stage.say()
        assert await stage.refused() == [("blocking", "no")]
        assert await state_of(stage.kit) == {"app": {"n": 1}}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"state": {"app": lambda state: 1 // 0}},
            {"state": {"app": lambda state: ["a"]}},
            {"state": {"app": {"a": "x" * 20_000}}},
            {"state": {"core": {}}},
            {"state": ["app"]},
            {"values": [Value(namespace="core.rooms", key=("a",))]},
            {"values": ["a"]},
            {"timers": [Timer(id="t", room_id="other", kind="k", due_at=LATER)]},
            *(
                {"timers": [Timer(id="t", room_id="r1", kind=kind, due_at=LATER, data=data)]}
                for kind, data in (("retention", {"given": {}}), ("app.k", {}), ("k", {"id": "t"}))
            ),
        ],
    )
    async def test_what_cannot_be_kept_is_a_failure_of_the_gate(self, stage: Any, wrong: Any) -> None:
        """It blocks, unless the gate was registered to allow."""

        @stage.kit.hook(GATE, name="wrong", on_error="allow")
        async def allowing(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.allow(**wrong)

        await stage.say()
        assert await stage.refused() == []

        @stage.kit.hook(GATE, name="blocks")
        async def blocking(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.allow(**wrong)

        await stage.say()
        assert await stage.refused() == [("blocks", "hook_failed")]
        assert await state_of(stage.kit) == {}

    async def test_values_and_timers_are_in_the_commit_too(self, stage: Any) -> None:
        due_at = stage.kit.clock.now()

        @stage.kit.hook(GATE)
        async def keeping(event: RoomEvent, context: RoomContext) -> HookResult:
            return HookResult.modify(
                event,
                values=[Value(namespace="app", key=("k",), data={"n": 1})],
                timers=[stage.kit.services.timers.make("k", due_at, id=event.id, room_id="r1")],
            )

        result = await stage.say()
        assert (await stage.kit.store.get_value("app", ["k"])).data == {"n": 1}
        assert [each.id for each in await stage.kit.store.list_timers("r1")] == [f"app.{result.event.id}"]

    async def test_a_function_that_fails_later_leaves_nothing_stored(self, staging: Any) -> None:
        """On a state that its gate has not seen."""

        class Racing(InMemoryStore):
            async def commit(self, commit: Commit) -> Any:
                if commit.entries and commit.room_changes and not self._rooms["r1"].room.state:
                    changes = {"state": {"app": {"n": "many"}}}
                    await super().commit(Commit(room_id="r1", entries=(), at=commit.at, room_changes=changes))
                return await super().commit(commit)

        async with staging(store=Racing()) as stage:
            gate(stage.kit, lambda context: {"app": counted})
            await stage.socket("alice")
            with pytest.raises(ForeignCodeError, match="state of room 'r1' raised TypeError"):
                await stage.say()
            assert await stage.timeline() == []

    async def test_gates_that_decide_on_what_changes_all_the_time_give_up(self, staging: Any) -> None:
        """After eight tries, with nothing stored."""

        class Restless(InMemoryStore):
            async def commit(self, commit: Commit) -> Any:
                if commit.entries and commit.room_changes:
                    moved = {"state": {"app": counted(self._rooms["r1"].room.state.get("app"))}}
                    await super().commit(Commit(room_id="r1", entries=(), at=commit.at, room_changes=moved))
                return await super().commit(commit)

        asked: list[Any] = []
        async with staging(store=Restless()) as stage:
            gate(
                stage.kit,
                lambda context: (asked.append(context.room.state.get("app")), {"app": {"n": -1}})[1],
            )
            await stage.socket("alice")
            with pytest.raises(StaleRoomError, match="8 times"):
                await stage.say()
            assert await stage.timeline() == []
            assert [None if each is None else each["n"] for each in asked][:8] == [None, 1, 2, 3, 4, 5, 6, 7]

    async def test_a_gate_of_a_plugins_trigger_keeps_state(self, stage: Any) -> None:
        """Also values and timers; a value is decided again if the state has changed."""
        seen: list[Any] = []

        @stage.kit.hook(TOOL)
        async def keeping(payload: str, context: RoomContext) -> HookResult:
            seen.append(context.room.state.get("app"))
            if len(seen) == 1:
                await stage.kit.change_state("r1", "app", counted)
            return HookResult.allow(
                state={"app": counted(seen[-1]), "acme": counted},
                values=[Value(namespace="app", key=("k",))],
            )

        outcome = await stage.kit.services.turns.run_gate(TOOL, "use", room_id="r1", channel_id="alice")
        assert outcome.allowed
        assert seen == [None, {"n": 1}]
        assert await state_of(stage.kit) == {"app": {"n": 2}, "acme": {"n": 1}}
        assert await stage.kit.store.get_value("app", ["k"]) is not None
