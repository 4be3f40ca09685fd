"""The store's contract: any sequence of calls gives what the in-memory reference gives."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from roomkit.abc.store import ConversationStore
from roomkit_plugins.testing.contracts.store.base import LEASE, StoreSuite, jump
from roomkit_plugins.testing.contracts.store.driving import StoreMachine
from roomkit_plugins.testing.contracts.store.driving_ledger import LedgerMachine
from roomkit_plugins.testing.contracts.store.driving_rooms import RoomsMachine

__all__ = ["ModelContract"]

MACHINES: dict[str, type[StoreMachine]] = {"rooms": RoomsMachine, "ledger": LedgerMachine}


class ModelContract(StoreSuite):
    """The reference is the in-memory store: same calls, same answers, same errors, same contents."""

    @pytest.mark.parametrize("kind", MACHINES)
    async def test_any_sequence_of_calls_gives_what_the_reference_gives(
        self, store: ConversationStore, other: ConversationStore, kind: str
    ) -> None:
        """A state machine tries sequences that no author would think of, and shrinks the one that differs."""
        loop = asyncio.get_running_loop()

        async def pass_time() -> None:
            await self.let_leases_run_out(store)
            jump(LEASE + 1)  # for the reference, which goes by the loop's time

        chosen = settings(
            deadline=None,
            max_examples=self.sequences,
            stateful_step_count=40,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        machine = partial(MACHINES[kind], [store, other], loop, pass_time)
        await asyncio.to_thread(
            run_state_machine_as_test,
            machine,  # type: ignore[arg-type]  # it takes whatever makes a machine
            settings=chosen,
        )

    @property
    def sequences(self) -> int:
        """How many sequences are tried, the same ones each time; `ROOMKIT_SEQUENCES` sets another number."""
        return int(os.environ.get("ROOMKIT_SEQUENCES", "12"))
