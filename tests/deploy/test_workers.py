"""Three workers as compose.yaml starts them, and two versions side by side: nothing answered is lost.

`rolling_base` of this folder names the older version: the commit that was last released, or, while there is
no release, the last one that was delivered as a whole.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.deploy.files import ROOT
from tests.deploy.fleet import Balancer, Clients, Fleet, Worker

BASE = (Path(__file__).parent / "rolling_base").read_text(encoding="utf-8").strip()
MORE = 200
"""Messages that are acknowledged between two changes of the fleet."""
pytestmark = [
    pytest.mark.timeout(200),
    pytest.mark.skipif("ROOMKIT_KILLS" not in os.environ, reason="they start ten processes: nox -s kill"),
]


@asynccontextmanager
async def fleet_of(folder: Path, dsn: str) -> AsyncIterator[tuple[Fleet, Balancer, Clients]]:
    """Migrate the store, listen with a balancer, and end every worker at last."""
    fleet, balancer = Fleet(folder, dsn), Balancer()
    fleet.migrate()
    async with balancer.serving() as url:
        try:
            yield fleet, balancer, Clients(url)
        finally:
            for worker in balancer.workers:
                if worker.process.returncode is None:
                    worker.process.kill()
                    await worker.process.wait()


async def retire(balancer: Balancer, worker: Worker) -> None:
    """Stop a worker in order, and take it out."""
    assert await worker.stop() == 143
    balancer.workers.remove(worker)


def assert_nothing_is_lost(clients: Clients, kept: Mapping[str, list[str]]) -> None:
    """Every request was answered with 2xx, and each room has each message once, in order."""
    assert clients.failures == []
    assert kept == clients.said


async def test_one_of_three_workers_stops_under_load(tmp_path: Path, postgres_dsn: str) -> None:
    """No request fails: the balancer learns of it before the worker stops listening."""
    async with fleet_of(tmp_path, postgres_dsn) as (fleet, balancer, clients):
        for _ in range(3):
            await balancer.add(await fleet.start())
        async with clients.talking(rooms=6):
            await clients.more(MORE)
            await retire(balancer, balancer.workers[1])
            await clients.more(MORE)
            await balancer.add(await fleet.start())
            await clients.more(MORE)
        assert_nothing_is_lost(clients, await clients.kept())


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return the environment of workers of `rolling_base`: its code, and today's libraries of others."""
    known = subprocess.run(["git", "cat-file", "-e", BASE], cwd=ROOT, capture_output=True)
    if known.returncode:
        shallow = subprocess.run(
            ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True
        )
        if shallow.stdout.strip() == "true":
            pytest.skip("this clone has no history: run `git fetch --unshallow`")
        pytest.fail(f"tests/deploy/rolling_base names {BASE}, which is no commit of this repository")
    folder = tmp_path_factory.mktemp("older")
    archive = subprocess.run(["git", "archive", BASE, "packages"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return {"PYTHONPATH": os.pathsep.join(map(str, sorted(folder.glob("packages/*/src"))))}


async def test_a_new_version_joins_an_old_one_under_load_and_leaves_again(
    tmp_path: Path, postgres_dsn: str, older: Mapping[str, str]
) -> None:
    """The store is migrated by the new one; old workers stay in use on it, and are left at the end."""
    async with fleet_of(tmp_path, postgres_dsn) as (fleet, balancer, clients):
        first = await balancer.add(await fleet.start(older))
        second = await balancer.add(await fleet.start(older))
        async with clients.talking(rooms=6):
            await clients.more(MORE)
            new = await balancer.add(await fleet.start())
            await retire(balancer, first)
            await clients.more(MORE)
            await balancer.add(await fleet.start(older))
            await retire(balancer, new)
            await clients.more(MORE)
        assert second.process.returncode is None
        assert_nothing_is_lost(clients, await clients.kept())
