"""The contract suite of stores."""

from __future__ import annotations

from roomkit_plugins.testing.contracts.store.commits import CommitContract
from roomkit_plugins.testing.contracts.store.concurrency import ConcurrencyContract
from roomkit_plugins.testing.contracts.store.ledger import LedgerContract
from roomkit_plugins.testing.contracts.store.machine import ModelContract
from roomkit_plugins.testing.contracts.store.people import PeopleContract
from roomkit_plugins.testing.contracts.store.rooms import RoomsContract
from roomkit_plugins.testing.contracts.store.timeline import TimelineContract
from roomkit_plugins.testing.contracts.store.work import WorkContract

__all__ = ["ConversationStoreContract"]


class ConversationStoreContract(
    RoomsContract,
    CommitContract,
    TimelineContract,
    PeopleContract,
    WorkContract,
    LedgerContract,
    ConcurrencyContract,
    ModelContract,
):
    """Everything a store promises; the in-memory store is the reference.

    The factory makes a store that holds nothing yet. Within one test it may be called several
    times, and the property tests share one store between their examples, with ids of their own.
    """
