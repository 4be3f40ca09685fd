"""Who is verified is known to every store, to the next worker, and no longer than it should be."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from roomkit.abc import ConversationStore
from roomkit_plugins.testing.polling import until
from tests.system.killed_verification import DONE, SENT, Bank, store_of

PATIENCE = 60.0


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the place of a store of each durable kind."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_store_dsn")
        return dsn
    return str(tmp_path / "rooms.db")


@pytest.fixture
async def restarted(where: str, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that ends the worker, if one runs, and starts the next on the same store."""
    running: list[Bank] = []

    async def restart(**rules: Any) -> Bank:
        for bank in running:
            await bank.kit.close()
        store: ConversationStore = store_of(where)
        running[:] = [Bank(store, tmp_path, **rules)]
        await running[0].kit.start()
        return running[0]

    async with asyncio.timeout(PATIENCE):
        yield restart
        for bank in running:
            await bank.kit.close()


async def code_of(bank: Bank) -> str:
    """Return the newest code, once it is sent."""
    await until(lambda: bank.lines("codes"))
    return bank.lines("codes")[-1]


async def transferred(bank: Bank, times: int) -> None:
    """Wait until the tool ran so often."""
    await until(lambda: len(bank.lines("transfers")) >= times)
    assert len(bank.lines("transfers")) == times


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def test_each_step_is_there_after_a_restart(restarted: Callable[..., Any]) -> None:
    """The code that waits, the attempts that are left, the verification, and that it was revoked."""
    bank = await restarted()
    await bank.open()
    await bank.says("Send 40 EUR")
    code = await code_of(bank)

    bank = await restarted()
    assert (await bank.verification.status("ann")).status == "pending"
    assert (await bank.says(wrong(code))).content.body == "••••••"

    bank = await restarted()
    await bank.says(wrong(code))
    assert (await bank.verification.status("ann")).status == "pending"
    event = await bank.says(code)
    assert (event.content.body, event.visibility) == ("••••••", "none")
    assert (await bank.verification.status("ann")).is_verified

    bank = await restarted()
    assert (await bank.verification.status("ann")).is_verified
    await transferred(bank, 1)
    await bank.says("Send 40 EUR again")
    await transferred(bank, 2)
    await bank.verification.revoke("ann", reason="stolen")

    bank = await restarted()
    found = await bank.verification.status("ann")
    assert (found.status, found.reason) == ("revoked", "stolen")
    assert (await bank.says(code)).content.body == "••••••"
    assert (await bank.verification.status("ann")).status == "revoked"


async def test_attempts_are_counted_over_restarts(restarted: Callable[..., Any]) -> None:
    """A restart gives no further guesses."""
    bank = await restarted(max_attempts=2)
    await bank.open()
    await bank.says("Send 40 EUR")
    code = await code_of(bank)
    for _ in range(2):
        bank = await restarted(max_attempts=2)
        await bank.says(wrong(code))
    bank = await restarted(max_attempts=2)
    await bank.says(code)
    assert (await bank.verification.status("ann")).status == "expired"
    assert bank.lines("transfers") == []


@pytest.mark.parametrize("step", ["code", "verification"])
async def test_what_runs_out_while_no_worker_runs_has_run_out(
    restarted: Callable[..., Any], step: str
) -> None:
    rules = {"code_ttl": 1} if step == "code" else {"ttl": 1}
    bank = await restarted(**rules)
    await bank.open()
    if step == "code":
        await bank.says("Send 40 EUR")
        code = await code_of(bank)
    else:
        await bank.verification.verify("ann", method="id-check")
    await bank.kit.close()
    await asyncio.sleep(1.1)  # other processes: the time of a verification passes while none runs

    bank = await restarted(**rules)
    assert (await bank.verification.status("ann")).status == "expired"
    if step == "code":
        assert (await bank.says(code)).content.body == "••••••"
        assert (await bank.verification.status("ann")).status == "expired"
    assert bank.lines("transfers") == []


@pytest.mark.parametrize("moment", ["pending", "verified"])
async def test_erasing_a_person_leaves_nothing_for_the_next_worker(
    restarted: Callable[..., Any], moment: str
) -> None:
    """Neither the code that waits, nor that they were verified."""
    bank = await restarted()
    await bank.open()
    await bank.says("Send 40 EUR")
    code = await code_of(bank)
    if moment == "verified":
        await bank.says(code)
    await bank.kit.erase_person(identity_id="ann")

    bank = await restarted()
    assert (await bank.verification.status("ann")).status == "unverified"
    room = "\n".join([line async for line in bank.kit.export_room_lines("r1")])
    assert code not in room
    assert "verified_at" not in room


@pytest.mark.parametrize("moment", ["pending", "verified"])
async def test_a_killed_worker_leaves_the_person_to_the_next(
    restarted: Callable[..., Any], where: str, tmp_path: Path, moment: str
) -> None:
    """Killed after the code was sent, or after the right answer: the agent goes on once it is verified."""
    begun = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.killed_verification", where, str(tmp_path), moment
    )
    assert await begun.wait() == -signal.SIGKILL
    bank = await restarted()
    if moment == "pending":
        await bank.says(await code_of(bank))
    assert (await bank.verification.status("ann")).is_verified
    await until(lambda: DONE in bank.web.texts())
    assert set(bank.web.texts()) <= {SENT, DONE}
    assert bank.lines("transfers")
