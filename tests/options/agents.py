"""The options of an agent's parts, each seen in what the agent is shown."""

from __future__ import annotations

from roomkit.abc.ai import AIProvider
from roomkit.abc.memory import MemoryProvider
from roomkit.models import ChannelBinding, ChannelCategory, ChannelType, Room, RoomContext
from roomkit.plugins import default_manager
from roomkit_plugins.testing.contracts.base import NOW, event
from tests.options.mechanism import Change, Settings, Subject

__all__ = ["AGENTS"]

_SAID = ("the lamp is blue", "the lamp is big", "a cat", "the lamp fell", "hm", "well")
_AGENT = ChannelBinding(
    channel_id="agent", room_id="r", channel_type=ChannelType.AI, category=ChannelCategory.INTELLIGENCE
)


async def _remembered(settings: Settings) -> object:
    """Return what a memory shows for a question after six messages."""
    memory = await default_manager().acreate("memory", "retrieval", settings)
    assert isinstance(memory, MemoryProvider)
    said = [event("r", text, index=index, created_at=NOW) for index, text in enumerate(_SAID)]
    question = event("r", "which lamp? what cat?", index=len(said))
    context = RoomContext(Room(id="r"), [_AGENT], (), [*said, question], reader=_AGENT)
    found = await memory.retrieve("r", question, context, channel_id="agent")
    return [message.content for message in found.messages], [each.index for each in found.events]


async def _described(settings: Settings) -> object:
    """Return what a remote model says of itself."""
    model = await default_manager().acreate("ai", "remote", settings)
    assert isinstance(model, AIProvider)
    return model.model_name, model.supports_vision, model.supports_streaming, model.supports_response_schema


AGENTS = (
    Subject(
        "ai:remote",
        {
            "model": Change("other"),
            "vision": Change(True),
            "streaming": Change(False),
            "response_schema": Change(True),
        },
        _described,
        {"model": "big"},
    ),
    Subject(
        "memory:retrieval",
        {
            "max_events": Change(1),
            "max_tokens": Change(40),
            "min_word_length": Change(3),
            "inner": Change({"plugin": "sliding-window", "max_events": 3}),
        },
        _remembered,
        {"inner": {"plugin": "sliding-window", "max_events": 1}},
    ),
)
