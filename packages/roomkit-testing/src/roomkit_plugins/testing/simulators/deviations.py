"""How servers that speak a vendor's API deviate from it without meaning anything else by it.

Every one of these was seen in the field: null where a field is optional, what only informs left
out, fragments marked in a way of their own. The answer is the same, and has to be read so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["COMMON", "DONE", "Deviation", "changed", "json_bytes", "without"]

DONE = b"data: [DONE]\n\n"
"""The event that ends a chat stream, and with some proxies every stream."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One deviation. `rewrite` takes the JSON of an event, or of a whole answer; None leaves it out."""

    rewrite: Callable[[Any], Any] = lambda value: value
    before: bytes = b""
    """Sent before each event of a stream."""
    after: bytes = b""
    """Sent at the end of a stream."""

    def events(self, event: bytes) -> bytes:
        """Return an event of a stream, rewritten."""
        lines = event.decode().rstrip("\n").split("\n")
        place = next((at for at, line in enumerate(lines) if line.startswith("data: {")), None)
        if place is None:
            return self.before + event
        data = self.rewrite(json.loads(lines[place].removeprefix("data: ")))
        if data is None:
            return self.before
        lines[place] = f"data: {json_bytes(data).decode()}"
        return self.before + "\n".join(lines).encode() + b"\n\n"


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a rewriting of every field called `name`, at any depth."""

    def rewrite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: change(item) if key == name else rewrite(item) for key, item in value.items()}
        return [rewrite(item) for item in value] if isinstance(value, list) else value

    return rewrite


def without(name: str) -> Callable[[Any], Any]:
    """Return a rewriting that leaves out every field called `name`, at any depth."""

    def rewrite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: rewrite(item) for key, item in value.items() if key != name}
        return [rewrite(item) for item in value] if isinstance(value, list) else value

    return rewrite


def json_bytes(data: object) -> bytes:
    """Write JSON, in UTF-8 where that is possible: half a character has to be escaped."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(data).encode()


COMMON: Mapping[str, Deviation] = {
    "null keeps it alive": Deviation(before=b"data: null\n\n"),
    "comments keep it alive": Deviation(before=b": waiting\n\n"),
    "no usage": Deviation(without("usage")),
    "null usage": Deviation(changed("usage", lambda usage: None)),
    "odd usage": Deviation(changed("usage", lambda usage: "many")),
}
"""What any vendor's API may meet with."""
