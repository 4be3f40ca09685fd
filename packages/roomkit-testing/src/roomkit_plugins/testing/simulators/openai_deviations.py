"""How servers of OpenAI's APIs deviate in what means the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from roomkit_plugins.testing.simulators.deviations import DONE, Deviation, changed, json_bytes, without


def sse(data: object) -> bytes:
    """Write a server-sent event."""
    return b"data: " + json_bytes(data) + b"\n\n"


def _in_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}, None] if isinstance(content, str) else content


def _calls(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], Any]:
    return changed("tool_calls", lambda calls: [change(call) for call in calls])


def deviations_of_whole_calls() -> dict[str, Deviation]:
    """Return the ways to send each call whole. Each collects the fragments of one stream."""
    return {
        "whole calls under index 0": Deviation(_WholeCalls(lambda call: {**call, "index": 0})),
        "whole calls under null": Deviation(_WholeCalls(lambda call: {**call, "index": None})),
        "whole calls without ids": Deviation(_WholeCalls(lambda call: {**call, "index": 0, "id": None})),
    }


class _WholeCalls:
    """Rewrites the fragments of a chat stream's calls to whole calls, sent before the stream ends."""

    def __init__(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._change = change
        self._calls: dict[int, dict[str, Any]] = {}  # bound: one answer

    def __call__(self, value: Any) -> Any:
        choices = value.get("choices") or [{}]
        fragments = (choices[0].get("delta") or {}).get("tool_calls")
        if fragments:
            for fragment in fragments:
                call = self._calls.setdefault(fragment["index"], fragment)
                if call is not fragment:
                    call["function"]["arguments"] += fragment["function"]["arguments"]
            return None
        if choices[0].get("finish_reason") and self._calls:
            whole = [self._change(call) for call in self._calls.values()]
            self._calls = {}
            choices[0]["delta"] = {"tool_calls": whole}
        return value


def _deviations_of_chat() -> dict[str, Deviation]:
    def reasons(value: object) -> Callable[[Any], Any]:
        return changed("finish_reason", lambda reason: value)

    return {
        "null choices": Deviation(before=sse({"choices": None, "usage": None})),
        "no choices": Deviation(before=sse({"id": "x", "choices": []})),
        "null delta": Deviation(before=sse({"choices": [{"index": 0, "delta": None}]})),
        "null fields": Deviation(
            before=sse({"choices": [{"delta": {"content": None, "tool_calls": None}, "finish_reason": None}]})
        ),
        "ended by [DONE] alone": Deviation(reasons(None)),
        "empty reasons": Deviation(changed("finish_reason", lambda reason: reason or "")),
        "only empty reasons": Deviation(reasons("")),
        "content in parts": Deviation(changed("content", _in_parts)),
        "no index of calls": Deviation(_calls(lambda call: {k: v for k, v in call.items() if k != "index"})),
    }


CHAT_DEVIATIONS = _deviations_of_chat()


def _without_the_end(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if event.get("type") == "response.completed" else event


RESPONSES_DEVIATIONS: Mapping[str, Deviation] = {
    "no status": Deviation(without("status")),
    "empty status": Deviation(changed("status", lambda status: "")),
    "null details": Deviation(without("incomplete_details")),
    "null deltas": Deviation(before=sse({"type": "response.output_text.delta", "delta": None})),
    "null item": Deviation(before=sse({"type": "response.output_item.done", "item": None})),
    "null summary": Deviation(changed("summary", lambda summary: summary or None)),
    "ended by [DONE]": Deviation(_without_the_end, after=DONE),
}
