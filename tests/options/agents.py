"""The options of agents, each seen in what their model is asked, or in what the room gets of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from roomkit import ConversationPipeline, PipelineStage
from roomkit_plugins.testing import RecordingChannel
from tests.options.kit import a_kit, say
from tests.options.mechanism import Change, Observe, Settings, Subject
from tests.options.scripted import ScriptedModel, scripted_manager

__all__ = ["AGENTS"]

type Handler = Callable[[str, dict[str, Any]], Awaitable[str]]


def _model(*answers: str, **options: object) -> Settings:
    return {"plugin": "scripted", "answers": [*answers], **options}


async def _at_once(name: str, arguments: dict[str, Any]) -> str:
    return "done"


async def _after_twenty_seconds(name: str, arguments: dict[str, Any]) -> str:
    await asyncio.sleep(20)  # virtual time
    return "done"


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Keep what agents warn of."""
    kept: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())

    log, keeper = logging.getLogger("roomkit.ai"), Keeper(logging.WARNING)
    log.addHandler(keeper)
    try:
        yield kept
    finally:
        log.removeHandler(keeper)


def _answering(kind: str, *said: str, handler: Handler = _at_once) -> Observe:
    """Return an observation of an agent's requests to its models, and of the outcome."""

    async def observe(settings: Settings) -> object:
        agent: Any = await scripted_manager().acreate("channel", kind, settings, channel_id="agent")
        agent.tool_handler = handler
        ann = RecordingChannel("ann")
        with _warnings() as warned:
            async with a_kit({}, ann, agent) as kit:
                results = [await say(kit, text) for text in said or ("hello",)]
                timeline = await kit.get_timeline("r")
        costs = [event.generation.cost for event in timeline if event.generation is not None]
        ends = [None if each.error is None else type(each.error).__name__ for each in results]
        return _asked(agent), ann.texts(), costs, ends, warned

    return observe


def _asked(agent: Any) -> list[object]:
    """Return what the models of an agent were asked, in the words of the requests."""
    models = [agent.provider, agent.fallback_provider, *agent.fallback_providers]
    return [
        (
            call.system_prompt,
            (call.temperature, call.max_tokens, call.thinking_budget),
            [tool.name for tool in call.tools],
            call.response_schema,
            [(message.role, _words(message.content)) for message in call.messages],
        )
        for model in models
        if isinstance(model, ScriptedModel)
        for call in model.calls
    ]


def _words(content: Any) -> object:
    """Return a message's content or that of its parts."""
    return (
        content if isinstance(content, str) else [part.model_dump(exclude={"metadata"}) for part in content]
    )


_TOOL: Settings = {"tools": [{"name": "work"}]}
_BUSY: Settings = {**_TOOL, "provider": _model(*["call work"] * 6, "ready")}
_PRICED: Settings = {**_BUSY, "prices": {"scripted": {"input": 100_000, "output": 0}}}  # 1 a request
_FAILING: Settings = {"provider": _model("fail overloaded", "well")}
_PAUSING: Settings = {"provider": _model("one two three", chunk_delay=20.0)}


def _options_of(kind: str) -> dict[str, Change]:
    slow = _answering(kind, handler=_after_twenty_seconds)
    return {
        "system_prompt": Change("Be kind."),
        "temperature": Change(0.5),
        "max_tokens": Change(77),
        "thinking_budget": Change(100),
        "max_context_events": Change(1, observe=_answering(kind, "one", "two", "three")),
        "tools": Change([{"name": "work"}]),
        "response_schema": Change(
            {"type": "object", "properties": {"a": {"type": "string"}}},
            {"provider": _model('{"a": "b"}')},
        ),
        "tool_policy": Change({"deny": ["work"]}, _BUSY),
        "max_tool_rounds": Change(2, _BUSY),
        "max_tool_calls": Change(2, _BUSY),
        "max_answer_chars": Change(5, {"provider": _model("a long answer")}),
        "answer_idle_seconds": Change(5.0, _PAUSING),
        "max_identical_calls": Change(1, {**_TOOL, "provider": _model(*["repeat work"] * 3, "ready")}),
        "tool_timeout_seconds": Change(5.0, _BUSY, slow),
        "tool_loop_timeout_seconds": Change(50.0, _BUSY, slow),
        "tool_loop_warn_after": Change(2, _BUSY),
        "retry_policy": Change({"max_retries": 1}, _FAILING),
        "prices": Change({"scripted": {"input": 1, "output": 2}}),
        "max_turn_cost": Change(2.5, _PRICED),
        "max_room_cost": Change(6.5, _PRICED, _answering(kind, "one", "two")),
        "error_reply": Change("Sorry.", _FAILING),
        "provider": Change(_model("another")),
        "fallback_provider": Change(_model("another"), _FAILING),
        "fallback_providers": Change([_model("another")], _FAILING),
        "memory": Change("mock", observe=_answering(kind, "one", "two")),
        "executor": Change("scripted"),
        "tool_providers": Change(["scripted"]),
    }


async def _handed_over(settings: Settings) -> object:
    """Return what an agent is shown that gets a conversation, and what the voice channel then knows."""
    make = scripted_manager().acreate
    triage: Any = await make("channel", "agent", {"provider": _model("hand billing")}, channel_id="triage")
    billing: Any = await make("channel", "agent", settings, channel_id="billing")
    stages = [PipelineStage("triage", "triage", next="billing"), PipelineStage("billing", "billing")]
    async with a_kit({}, RecordingChannel("ann"), triage, billing) as kit:
        ConversationPipeline(stages).install(
            kit, [triage, billing], greet_on_handoff=True, voice_channel_id="ann"
        )
        await say(kit)
        binding = await kit.get_binding("r", "ann")
        return _asked(billing), binding.metadata["voice"]


async def _summarised(settings: Settings) -> object:
    return await _handed_over({"provider": _model("well"), "memory": {"plugin": "handoff", **settings}})


AGENTS = (
    Subject("channel:ai", _options_of("ai"), _answering("ai"), {"provider": _model("well")}),
    Subject(
        "channel:agent",
        {
            **_options_of("agent"),
            "role": Change("Receptionist"),
            "description": Change("Answers the phone."),
            "scope": Change("Bills alone."),
            "language": Change("French"),
            "voice": Change("Zephyr", observe=_handed_over),
            "greeting": Change("Welcome them.", observe=_handed_over),
        },
        _answering("agent"),
        {"provider": _model("well")},
    ),
    Subject("memory:handoff", {"inner": Change("mock")}, _summarised, {"inner": "sliding-window"}),
)
