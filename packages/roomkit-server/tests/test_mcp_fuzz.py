"""Whatever is posted to the front end for assistants, nothing fails in the server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomkit import RateLimit, RoomKit
from roomkit_plugins.server import KeyConfig, Scope, ServerConfig
from roomkit_plugins.server.api import ENDPOINTS

from .conftest import Site, key_of

pytestmark = pytest.mark.hypothesis
EXAMPLES = 60 * int(os.environ.get("ROOMKIT_EXAMPLES", "1"))
PLENTY = RateLimit(max_per_second=1e6)
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "Authorization": f"Bearer {key_of('acme')}",
}
INTERNAL = -32603
"""The code of an error in the server (JSON-RPC 2.0, section 5.1)."""

TEXTS = st.text(max_size=20) | st.sampled_from(["", "room", "\0", "\ud800", "../..", "a" * 2000, "1e999"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
METHODS = st.sampled_from(
    [
        *("initialize", "notifications/initialized", "ping", "tools/list", "tools/call", "resources/list"),
        *("resources/read", "prompts/get", "completion/complete", "logging/setLevel", "server/discover"),
    ]
)
FIELDS = sorted({name for each in ENDPOINTS for name in (*each.query.model_fields, *each.body.model_fields)})
ARGUMENTS = st.dictionaries(
    st.sampled_from(["room_id", "event_id", "channel_id", "task_id", *FIELDS]) | TEXTS, VALUES, max_size=5
)
CALLS = st.fixed_dictionaries(
    {"name": st.sampled_from([each.name for each in ENDPOINTS])},
    optional={"arguments": ARGUMENTS | VALUES, "_meta": VALUES},
)
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | VALUES, "method": METHODS | VALUES},
    optional={"id": st.integers() | TEXTS | VALUES, "params": CALLS | VALUES},
)
TOOL_CALLS = st.builds(
    lambda number, params: {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params},
    st.integers(0, 2**31),
    CALLS,
)


def _encoded(value: Any) -> bytes:
    """JSON as some clients write it: with NaN, and halves of characters."""
    return json.dumps(value).encode()


BODIES = st.one_of(
    TOOL_CALLS.map(_encoded),
    MESSAGES.map(_encoded),
    st.lists(MESSAGES, max_size=3).map(_encoded),
    VALUES.map(_encoded),
    st.binary(max_size=60),
    st.builds(lambda body, place: body[: place % (len(body) + 1)], MESSAGES.map(_encoded), st.integers(0)),
)


def fuzz(url: str) -> None:
    with httpx2.Client(base_url=url, timeout=20) as client:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(body=BODIES, version=st.none() | st.sampled_from(["2025-06-18", "1999-01-01", "x"]))
        def check(body: bytes, version: str | None) -> None:
            given_version = {} if version is None else {"MCP-Protocol-Version": version}
            answer = client.post("/mcp", content=body, headers={**HEADERS, **given_version})
            assert answer.status_code < 500, (body, answer.text)
            assert "Traceback" not in answer.text
            assert str(INTERNAL) not in answer.text, (body, answer.text)

        check()


async def test_no_message_makes_the_server_fail(caplog: pytest.LogCaptureFixture) -> None:
    """Tool calls with arguments of any kind, other methods, batches, halves of messages, and bytes."""
    caplog.set_level(logging.ERROR)
    key = KeyConfig(secret=key_of("acme"), organization="acme", scopes=tuple(Scope), rate_limit=PLENTY)
    config = ServerConfig(port=0, keys={"acme": key}, address_rate_limit=PLENTY, mcp=True)
    async with RoomKit() as kit:
        site = Site(kit, config)
        await asyncio.to_thread(fuzz, await site.serve())
        await site.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
