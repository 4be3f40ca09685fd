"""An outsider's channel type, provider, source, trigger, timer, table and route, from a wheel and a file."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIGURATION = """
[store]
plugin = "memory"

[channels.pagers]
plugin = "pager"
providers = [{ plugin = "beacon", secret = "env:BEACON_SECRET" }]

[channels.pagers.binding]
retry_policy = { max_retries = 1 }

[sources.pagers]
plugin = "pager-feed"
queue = "night"
channel = "pagers"
run = { auto_restart = false }

[beacon]
urgent = "FIRE"
answer_within = 0.5
"""

PROGRAM = """
import asyncio, json, os
from pathlib import Path

os.environ["BEACON_SECRET"] = "s3cret"

from roomkit import HookExecution, HookResult, HookTrigger, RoomKit, TextContent, WebhookRequest
from roomkit.plugins import ConfigError

facts = {}

async def main():
    from beacon_roomkit.provider import BeaconProvider, signature
    from beacon_roomkit.source import PagerFeed

    kit = await RoomKit.from_config("roomkit.toml")
    pages, asked, told = [], [], asyncio.Event()

    @kit.hook(HookTrigger("on_page"), HookExecution.ASYNC)
    async def on_page(page, context):
        pages.append(page.text)
        told.set()

    @kit.hook(HookTrigger.ON_INVOKE, channel_types={"sms"})  # a pager is akin to a telephone
    async def on_call(invoke, context):
        asked.append(invoke.name)
        return HookResult.modify(invoke.answered("Ann"))

    async def vendor(**payload):
        body = json.dumps(payload).encode()
        request = WebhookRequest(
            method="POST", url="/", headers={"X-Beacon-Signature": signature("s3cret", body)}, body=body,
            path_params={"channel": "pagers"},
        )
        routes = {(route.method, route.path): route for route in kit.plugins.routes(kit)}
        answer = await routes["POST", "/webhooks/{channel}"].handler(request)
        return [answer.status, answer.body if isinstance(answer.body, str) else answer.body.decode()]

    PagerFeed.queues["night"].put("FIRE in hall 3")
    facts["challenge"] = await vendor(challenge="42")
    facts["asked"] = await vendor(id="m1", **{"from": "2000"}, text="who is on call", asks=True)
    facts["taken"] = await vendor(id="m2", **{"from": "2000"}, text="FIRE in hall 1")
    facts["again"] = await vendor(id="m2", **{"from": "2000"}, text="FIRE in hall 1")
    async with asyncio.timeout(20):
        while not {"FIRE in hall 1", "FIRE in hall 3"} <= {*pages}:
            told.clear()
            await told.wait()
        while PagerFeed.queues["night"].items:  # it acknowledges once `emit` has returned
            await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while not (late := [page for page in pages if page.startswith("unanswered: FIRE in hall")]):
            told.clear()
            await told.wait()
    facts["pages"] = sorted({*pages} - {*late})
    facts["late"] = bool(late)
    (room,) = await kit.store.list_rooms()
    binding = await kit.get_binding(room.id, "pagers")
    facts["binding"] = [binding.channel_type, binding.addresses, binding.retry_policy.max_retries]
    said = await kit.send_event(room.id, "system", TextContent(body="coming"))
    facts["sent"] = [text for _, text in BeaconProvider.sent.values()]
    (row,) = await kit.list_deliveries(room.id, event_id=said.id)
    await vendor(id=row.provider_message_id, state="beeped")
    facts["receipt"] = (await kit.get_delivery(row.id)).receipt
    status = [route for route in kit.plugins.routes(kit) if route.path == "/beacon/status"][0]
    shown = await status.handler(WebhookRequest(method="GET", url="/", headers={}))
    facts["status"] = json.loads(shown.body)
    await kit.close()
    wrong = Path("roomkit.toml").read_text().replace("urgent", "urgnt").replace("queue =", "queu =")
    Path("wrong.toml").write_text(wrong.replace("[sources.pagers]", "[sources.pager]"))
    try:
        await RoomKit.from_config("wrong.toml")
    except ConfigError as error:
        facts["problems"] = list(error.problems)

asyncio.run(main())
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def installed(
    fresh: Callable[[], Environment], wheel: Callable[[Path], Path], core_wheel: Path
) -> Environment:
    """The core, the outsider's package and the suites; nothing else of ours."""
    environment = fresh()
    testing = wheel(ROOT / "packages/roomkit-testing")
    environment.install(
        core_wheel, wheel(ROOT / "tests/outsider/beacon-roomkit"), Path(f"{testing}[pytest,simulators]")
    )
    return environment


def test_an_outsiders_everything_is_configured_from_a_file(installed: Environment) -> None:
    """A message, an invoke, a receipt and a feed go through it, as through any channel of ours."""
    (installed.folder / "roomkit.toml").write_text(CONFIGURATION)
    facts = json.loads(installed.run(PROGRAM))
    problems = facts.pop("problems")
    assert facts == {
        "challenge": [200, "42"],
        "asked": [200, '"Ann"'],
        "taken": [200, ""],
        "again": [200, ""],
        "pages": ["FIRE in hall 1", "FIRE in hall 3"],
        "late": True,
        "binding": ["pager", "pager", 1],
        "sent": ["coming"],
        "receipt": "delivered",
        "status": {"plugin": "beacon"},
    }
    assert problems == [
        "sources.pager is unknown; did you mean 'pagers'?: name a channel of the file",
        "sources.pager.queu is unknown; did you mean 'queue'?",
        "sources.pager.queue: Field required",
        "beacon.urgnt is unknown; did you mean 'urgent'?",
    ]


def test_an_outsiders_roles_pass_their_suites(installed: Environment, tmp_path: Path) -> None:
    """Provider, webhooks, channel and source, where nothing but wheels is installed."""
    shutil.copy(ROOT / "tests/outsider/beacon_suites.py", tmp_path / "test_suites.py")
    config = tmp_path / "pytest.ini"
    config.write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    ran = subprocess.run(
        [installed.python, "-m", "pytest", "-q", "-c", config, "-p", "no:cacheprovider", "test_suites.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout
