"""Whatever is sent to the API as its document allows, and otherwise, nothing fails in the server."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from roomkit import RateLimit, RoomKit, TextContent
from roomkit.models import Task
from roomkit_plugins.server import KeyConfig, Scope, ServerConfig
from roomkit_plugins.server.openapi import openapi

from .conftest import Site, key_of

EXAMPLES = int(os.environ.get("ROOMKIT_EXAMPLES", "1"))
"""How many requests of each kind to each operation; a soak sends more."""
pytestmark = pytest.mark.hypothesis
CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]
PLENTY = RateLimit(max_per_second=1e6)


@pytest.fixture
def config():
    key = KeyConfig(secret=key_of("acme"), organization="acme", scopes=tuple(Scope), rate_limit=PLENTY)
    return ServerConfig(port=0, keys={"acme": key}, address_rate_limit=PLENTY)


def fuzz(url: str, operation: APIOperation, names: dict[str, str], mode: GenerationMode) -> None:
    """Send requests to one operation, some of them to records that are there."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_there=st.booleans())
    def check(case, is_there) -> None:
        if is_there:
            case.path_parameters = {**case.path_parameters, **names}
        case.call_and_validate(
            base_url=url, headers={"Authorization": f"Bearer {key_of('acme')}"}, checks=CHECKS, timeout=20
        )

    check()


def operations() -> list[APIOperation]:
    """Every operation of the document that answers and ends."""
    found = [each.ok() for each in schemathesis.openapi.from_dict(openapi()).get_all_operations()]
    return [each for each in found if each.definition.raw["operationId"] not in STREAMS]


STREAMS = ("stream_events", "open_socket")
"""Operations that do not end by themselves, or need another protocol."""


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
async def test_no_request_makes_the_server_fail(config, mode) -> None:
    """Every operation in turn, over one socket server; the suite runs few examples, a soak many."""
    async with RoomKit() as kit:
        site = Site(kit, config)
        url = await site.serve()
        for operation in await asyncio.to_thread(operations):
            room = await site.room("acme", "desk")
            event = await kit.send_event(room, "system", TextContent(body="hello"))
            task = await kit.add_task(Task(room_id=room, title="x"))
            names = {"room_id": room, "event_id": event.id, "task_id": task.id, "channel_id": "desk"}
            await asyncio.to_thread(partial(fuzz, url, operation, names, mode))
        await site.close()
