"""The live timeline: what happens in a room, as it happens, for people or as JSON lines.

With `--json` each line is one object with a `type`:

| type | fields |
|---|---|
| `started` | `room_id`, `people`, `assistant` (`kind`, `model`, `note`); the demo also: `url`, `gate` |
| `event` | `event_id`, `index`, `by`, `channel_id`, `event_type`, `text`; `finish_reason` of an answer |
| `chunk` | `event_id`, `by`, `text`: a piece of an answer, before its `event` |
| `hook` | `event_id`, `hook`, `action` (`modify` or `block`), `duration_ms` |
| `blocked` | `event_id`, `by`, `reason`, `blocked_by`: a refused message; it has no `event` |
| `delivery` | `event_id`, `channel_id`, `state`, `duration_ms`; `reason` when skipped; `code`, `error` |
| `seen` | `event_id`, `by`, `after_ms`: it came out of a person's web socket, so long after it was made |
| `failed` | `event_id` (the message to answer), `channel_id`, `code`, `error` |
| `wrong` | `text`, `message`: a line of input that is not a message |
| `ended` | `messages` (taken from the input), `failures` |

Fields are only ever added. Whatever is about an event comes after it, except `chunk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roomkit_plugins.cli.terminal import Terminal

__all__ = ["Timeline"]

_NAME = 10
_SPACES = "\n\u00a0\u202f\u3000"
_INDENT = " " * 5
_VERBS = {"modify": "rewrote it", "block": "refused it"}


class Timeline:
    """Writes records in order: records about an event wait until the event was written.

    For people a streamed answer is one line that grows; later records wait for its end.
    """

    def __init__(self, terminal: Terminal, styles: Mapping[str, str]) -> None:
        self._terminal = terminal
        self._styles = styles
        self._indexes: dict[str, int] = {}  # bound: forget() drops settled events
        self._waiting: dict[str, list[dict[str, Any]]] = {}  # bound: events under way
        self._streaming: str | None = None
        self._held: list[dict[str, Any]] = []  # bound: what happens during one answer

    def record(self, kind: str, **fields: Any) -> None:
        """Write a record that is about no event, or an event's own."""
        record = {"type": kind, **{name: value for name, value in fields.items() if value is not None}}
        event_id = record.get("event_id")
        if kind == "event":
            if event_id in self._indexes:
                return
            self._indexes[record["event_id"]] = record["index"]
        if kind == "blocked":
            self._indexes[record["event_id"]] = -1
        self._put(record)
        if kind in ("event", "blocked"):
            for detail in self._waiting.pop(record["event_id"], ()):
                self._put(detail)

    def detail(self, kind: str, event_id: str, **fields: Any) -> None:
        """Write a record about an event, after the event."""
        record = {
            "type": kind,
            "event_id": event_id,
            **{name: value for name, value in fields.items() if value is not None},
        }
        if event_id in self._indexes:
            self._put(record)
        else:
            self._waiting.setdefault(event_id, []).append(record)

    def chunk(self, event_id: str, by: str, text: str) -> None:
        """Write a piece of an answer."""
        if self._terminal.as_json:
            self._terminal.document({"type": "chunk", "event_id": event_id, "by": by, "text": text})
        elif self._streaming is None:
            self._streaming = event_id
            self._terminal.write(self._opening("", by) + _one_line(text))
        elif self._streaming == event_id:
            self._terminal.write(_one_line(text))

    def broken_off(self, event_id: str) -> None:
        """Note that an answer ends without an event."""
        if self._streaming == event_id:
            self._terminal.line(self._terminal.style(" (broken off)", "dim"))
            self._release()

    def forget(self, event_id: str) -> None:
        """Forget an event that nothing more will be said about."""
        self._indexes.pop(event_id, None)
        self._waiting.pop(event_id, None)

    # -- writing ------------------------------------------------------------------------------

    def _put(self, record: dict[str, Any]) -> None:
        if self._terminal.as_json:
            self._terminal.document(record)
        elif self._streaming is None:
            self._terminal.line(self._for_people(record))
        elif record["type"] == "event" and record["event_id"] == self._streaming:
            # Its text is there already; its place in the timeline is known only now.
            self._terminal.line(self._terminal.style(f"  [{record['index']}]", "dim"))
            self._release()
        else:
            self._held.append(record)

    def _release(self) -> None:
        self._streaming = None
        held, self._held = self._held, []
        for record in held:
            self._put(record)

    def _for_people(self, record: Mapping[str, Any]) -> str:
        kind = record["type"]
        if kind == "event":
            return self._opening(str(record["index"]), record["by"]) + _one_line(record["text"])
        if kind == "blocked":
            opening = self._opening("-", record["by"])
            return f"{opening}{self._terminal.style('refused: ' + record['reason'], 'yellow')}"
        if kind == "hook":
            what = f"{record['hook']} {_VERBS[record['action']]}"
            return self._line("gate", what, record.get("duration_ms"), record, "yellow")
        if kind == "delivery":
            return self._delivery(record)
        if kind == "seen":
            return self._line("seen", f"by {record['by']}", record["after_ms"], record, "dim")
        if kind == "failed":
            what = f"{record['channel_id']}: {record['code']} ({record['error']})"
            return self._line("failed", what, None, record, "red")
        return str(record.get("message", ""))

    def _delivery(self, record: Mapping[str, Any]) -> str:
        what = f"to {record['channel_id']}"
        for name in ("reason", "code", "error"):
            if name in record:
                what += f", {record[name]}"
        style = "red" if record["state"] == "failed" else "dim"
        return self._line(record["state"], what, record.get("duration_ms"), record, style)

    def _opening(self, index: str, by: str) -> str:
        name = self._terminal.style(f"{by:<{_NAME}}", "bold", self._styles.get(by, "blue"))
        return f"{self._terminal.style(f'{index:>4}', 'dim')} {name} "

    def _line(
        self, label: str, what: str, duration: float | None, record: Mapping[str, Any], style: str
    ) -> str:
        took = "" if duration is None else f"{duration:9.1f} ms"
        index = self._indexes.get(record["event_id"], -1)
        about = f"  [{index}]" if index >= 0 else ""
        return self._terminal.style(f"{_INDENT}{label:>{_NAME}} {what:<34}{took}{about}".rstrip(), style)


def _one_line(text: str) -> str:
    """Return what a person or an agent said as one line of a timeline, without control characters."""
    return "".join(
        mark if mark.isprintable() else " " if mark in _SPACES else "\N{REPLACEMENT CHARACTER}"
        for mark in text
    )
