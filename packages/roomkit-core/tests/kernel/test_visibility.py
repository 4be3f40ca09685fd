"""Visibility: an event hidden from a reader changes nothing they see, by any way of reading."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import ChannelCategory, HookTrigger
from roomkit.models.visibility import admits, narrowest
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, run_virtual

pytestmark = pytest.mark.virtual_time

READERS = ["alice", "bob", "bot"]


class Attentive(ScriptedIntelligence):
    """An agent that notes what it is shown and what it could read beside it."""

    def __init__(self, channel_id):
        super().__init__(channel_id)
        self.shown = []

    async def on_event(self, event, binding, context):
        self.shown.append((text_of(event.content), [text_of(one.content) for one in context.recent_events]))
        return await super().on_event(event, binding, context)


class Quoting(RecordingChannel):
    """A transport that quotes the history it is given, as e-mail does."""

    def __init__(self, channel_id):
        super().__init__(channel_id)
        self.shown = []

    async def deliver(self, event, binding, context):
        self.shown.append((text_of(event.content), [text_of(one.content) for one in context.recent_events]))
        return await super().deliver(event, binding, context)


hidden_from_bob_and_bot = st.sampled_from(["none", "internal", "alice", "alice,carol", "transport&alice"])
scripts = st.lists(
    st.tuples(st.sampled_from(["alice", "carol"]), st.booleans(), hidden_from_bob_and_bot), max_size=8
)


async def played(bare_stage, script):
    """Play a script with or without its hidden messages; return all that Bob and the agent can see."""
    stage = await bare_stage().open()
    for name in ("alice", "carol"):
        await stage.socket(name)
    bob = await stage.join(Quoting("bob"))
    bot = await stage.join(Attentive("bot"))
    for number, (who, hidden, visibility) in enumerate(script):
        text = f"{'hidden' if hidden else 'open'} {number}"
        await stage.say(text, channel=who, visibility=visibility if hidden else None)
    kit = stage.kit
    seen = {
        "delivered": bob.texts(),
        "bob's context": bob.shown,
        "agent": bot.shown,
        "unread": [await kit.get_unread_count("r1", one) for one in ("bob", "bot")],
        "timeline": [
            [text_of(one.content) for one in await kit.get_timeline("r1", limit=100, as_channel=reader)]
            for reader in ("bob", "bot")
        ],
    }
    await kit.close()
    return seen


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=scripts)
def test_what_is_hidden_changes_nothing_for_whom_it_is_hidden_from(bare_stage, script):
    """Broadcast, context, history and unread counts are the same as if it had not been said."""

    async def scene():
        everything = await played(bare_stage, script)
        # The same numbers, so that the texts are the same: the hidden ones have no author.
        kept = [line for line in script if not line[1]]
        numbers = [number for number, line in enumerate(script) if not line[1]]
        without = await played(bare_stage, kept)
        return everything, renumbered(without, numbers)

    everything, without = run_virtual(scene())
    assert everything == without


def renumbered(seen, numbers):
    """Return `seen` with the texts numbered as in the whole script."""
    if isinstance(seen, str):
        word, _, number = seen.partition(" ")
        return f"{word} {numbers[int(number)]}" if number.isdigit() else seen
    if isinstance(seen, dict):
        return {key: renumbered(value, numbers) for key, value in seen.items()}
    if isinstance(seen, list | tuple):
        return type(seen)(renumbered(one, numbers) for one in seen)
    return seen


visibilities = st.one_of(
    st.sampled_from(["all", "none", "internal", "transport", "intelligence", *READERS]),
    st.lists(st.sampled_from(READERS), min_size=1, max_size=3).map(",".join),
)


@given(first=visibilities, second=visibilities, third=visibilities)
def test_the_narrowest_of_several_admits_whom_all_admit(first, second, third):
    """However often and in which order they are narrowed."""
    joined = narrowest(narrowest(first, second), third)
    for reader in READERS:
        category = ChannelCategory.INTELLIGENCE if reader == "bot" else ChannelCategory.TRANSPORT
        wanted = all(admits(one, reader, category) for one in (first, second, third))
        assert admits(joined, reader, category) == wanted


@pytest.mark.parametrize(
    ("visibility", "shown"),
    [
        ("all", {"bob", "carol", "bot", "other"}),
        ("none", set()),
        ("internal", set()),
        ("transport", {"bob", "carol"}),
        ("intelligence", {"bot", "other"}),
        ("bob", {"bob"}),
        ("bob, bot", {"bob", "bot"}),
        ("no one", set()),
    ],
)
@pytest.mark.parametrize("whose", ["message", "binding"])
async def test_the_vocabulary_is_followed_by_the_broadcast(stage, visibility, shown, whose):
    """A message's own visibility, or the cap of the channel it came by."""
    binding = {"visibility": visibility} if whose == "binding" else {}
    await stage.socket("alice", **binding)
    people = [await stage.socket(name) for name in ("bob", "carol")]
    agents = [await stage.agent(name) for name in ("bot", "other")]
    await stage.say(visibility=visibility if whose == "message" else None)
    saw = {one.channel_id for one in people if one.delivered} | {one.channel_id for one in agents if one.seen}
    assert saw == shown


async def test_a_channels_cap_cannot_be_lifted_by_a_message(stage):
    await stage.socket("alice", visibility="bob")
    bob = await stage.socket("bob")
    carol = await stage.socket("carol")
    event = (await stage.say(visibility="all")).event
    await stage.say(visibility="carol")
    assert bob.texts() == ["hello"]
    assert carol.texts() == []
    assert event.visibility == "bob"


async def test_a_changed_cap_holds_from_now_on(stage):
    await stage.socket("alice")
    bob = await stage.socket("bob")
    await stage.say("before")
    await stage.kit.set_visibility("r1", "alice", "none")
    await stage.say("after")
    assert bob.texts() == ["before"]
    seen = await stage.kit.get_timeline("r1", as_channel="bob", limit=100)
    assert [text_of(one.content) for one in seen if isinstance(one.content, TextContent)] == ["before"]


async def test_the_frameworks_notes_are_shown_to_no_channel(stage):
    """Attachments, mutings and closings are the operator's."""
    bob = await stage.socket("bob")
    bot = await stage.agent("bot")
    await stage.kit.mute("r1", "bot")
    await stage.kit.close_room("r1")
    assert bob.attempts == []
    assert bot.seen == []
    assert await stage.kit.get_timeline("r1", as_channel="bob", limit=100) == []


async def test_an_observer_sees_all_of_it(stage):
    """Hooks are the operator's code: nothing is hidden from them."""
    await stage.socket("alice")
    seen = stage.observe(HookTrigger.AFTER_BROADCAST)
    await stage.say("secret", visibility="none")
    assert "secret" in [text_of(one.content) for one in seen]
