"""The options of memories and of a remote model, each seen in what an agent is shown."""

from __future__ import annotations

import asyncio
from typing import Any

from roomkit.abc.ai import AIProvider
from roomkit.models import ChannelBinding, ChannelCategory, ChannelType, Room, RoomContext
from roomkit.plugins import default_manager
from roomkit_plugins.testing.contracts.base import NOW, event
from tests.options.mechanism import Change, Observe, Settings, Subject
from tests.options.scripted import scripted_manager

__all__ = ["MEMORIES"]

_SAID = ("the lamp is blue", "the lamp is big", "a cat", "the lamp fell", "hm", "well")
_QUESTION = "which lamp? what cat?"
_BUDGET: Settings = {"max_context_tokens": 70, "inner": "sliding-window"}
_SHORT: Settings = {"max_context_tokens": 60}
_AGENT = ChannelBinding(
    channel_id="agent", room_id="r", channel_type=ChannelType.AI, category=ChannelCategory.INTELLIGENCE
)


def _remembering(name: str, *questions: str, pause: float = 0) -> Observe:
    """Return an observation of what a memory shows for each question after six messages."""

    async def observe(settings: Settings) -> object:
        memory: Any = await scripted_manager().acreate("memory", name, settings)
        said = [
            event("r", text, index=index, created_at=NOW, id=f"e{index}") for index, text in enumerate(_SAID)
        ]
        shown = []
        for number, question in enumerate(questions):
            current = event("r", question, index=len(said), id=f"q{number}")
            context = RoomContext(Room(id="r"), [_AGENT], (), [*said, current], reader=_AGENT)
            found = await memory.retrieve("r", current, context, channel_id="agent")
            shown.append(([each.content for each in found.messages], [each.index for each in found.events]))
            await asyncio.sleep(pause)  # virtual time
        summariser = getattr(memory, "provider", None)
        asked = (
            [] if summariser is None else [(each.max_tokens, str(each.messages)) for each in summariser.calls]
        )
        return shown, asked

    return observe


async def _described(settings: Settings) -> object:
    """Return what a remote model says of itself."""
    model = await default_manager().acreate("ai", "remote", settings)
    assert isinstance(model, AIProvider)
    return model.model_name, model.supports_vision, model.supports_streaming, model.supports_response_schema


MEMORIES = (
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
    Subject("memory:sliding-window", {"max_events": Change(2)}, _remembering("sliding-window", _QUESTION)),
    Subject(
        "memory:budget-aware",
        {
            "max_context_tokens": Change(60),
            "safety_margin_ratio": Change(0.5),
            "min_events": Change(4, {"max_context_tokens": 10}),
            "reserve_tokens": Change(20),
            "inner": Change({"plugin": "sliding-window", "max_events": 1}),
            "counter": Change({"plugin": "scripted", "counted": 40}),
        },
        _remembering("budget-aware", _QUESTION),
        _BUDGET,
    ),
    Subject(
        "memory:compacting",
        {
            "max_context_tokens": Change(60),
            "safety_margin_ratio": Change(0.5),
            "min_events": Change(5, _SHORT),
            "reserve_tokens": Change(20),
            "summary_ratio": Change(0.5, _SHORT),
            "summary_cache_ttl_seconds": Change(5.0, _SHORT),
            "inner": Change({"plugin": "sliding-window", "max_events": 1}),
            "provider": Change({"plugin": "scripted", "answers": ["another summary"]}, _SHORT),
            "counter": Change({"plugin": "scripted", "counted": 40}),
        },
        _remembering("compacting", _QUESTION, _QUESTION, pause=10),
        {**_BUDGET, "min_events": 2, "provider": {"plugin": "scripted", "answers": ["a summary"]}},
    ),
    Subject(
        "memory:retrieval",
        {
            "max_events": Change(1),
            "max_tokens": Change(40),
            "min_word_length": Change(3),
            "inner": Change({"plugin": "sliding-window", "max_events": 3}),
        },
        _remembering("retrieval", _QUESTION),
        {"inner": {"plugin": "sliding-window", "max_events": 1}},
    ),
)
