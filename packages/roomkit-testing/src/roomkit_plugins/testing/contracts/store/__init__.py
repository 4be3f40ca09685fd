"""The contract suite of stores."""

from __future__ import annotations

from roomkit_plugins.testing.contracts.store.announcing import AnnouncingContract
from roomkit_plugins.testing.contracts.store.commits import CommitContract
from roomkit_plugins.testing.contracts.store.concurrency import ConcurrencyContract
from roomkit_plugins.testing.contracts.store.erasure import ErasureContract
from roomkit_plugins.testing.contracts.store.follows import FollowsContract
from roomkit_plugins.testing.contracts.store.homes import HomesContract
from roomkit_plugins.testing.contracts.store.kept_state import KeptStateContract
from roomkit_plugins.testing.contracts.store.keyed_values import KeyedValuesContract
from roomkit_plugins.testing.contracts.store.lanes import LanesContract
from roomkit_plugins.testing.contracts.store.ledger import LedgerContract
from roomkit_plugins.testing.contracts.store.lookups import LookupsContract
from roomkit_plugins.testing.contracts.store.machine import ModelContract
from roomkit_plugins.testing.contracts.store.media_register import MediaRegisterContract
from roomkit_plugins.testing.contracts.store.moves import MovesContract
from roomkit_plugins.testing.contracts.store.newer import NewerVersionContract
from roomkit_plugins.testing.contracts.store.people import PeopleContract
from roomkit_plugins.testing.contracts.store.recalled import RecalledRoomContract
from roomkit_plugins.testing.contracts.store.receipts import ReceiptsContract
from roomkit_plugins.testing.contracts.store.rooms import RoomsContract
from roomkit_plugins.testing.contracts.store.searching import SearchContract
from roomkit_plugins.testing.contracts.store.tenants import TenantsContract
from roomkit_plugins.testing.contracts.store.timeline import TimelineContract
from roomkit_plugins.testing.contracts.store.timers import TimersContract
from roomkit_plugins.testing.contracts.store.trees import TreesContract
from roomkit_plugins.testing.contracts.store.values import ValuesContract
from roomkit_plugins.testing.contracts.store.work import WorkContract

__all__ = ["ConversationStoreContract"]


class ConversationStoreContract(
    RoomsContract,
    CommitContract,
    RecalledRoomContract,
    TimelineContract,
    SearchContract,
    PeopleContract,
    TenantsContract,
    WorkContract,
    LedgerContract,
    ReceiptsContract,
    LanesContract,
    AnnouncingContract,
    HomesContract,
    FollowsContract,
    MovesContract,
    TimersContract,
    ErasureContract,
    KeptStateContract,
    KeyedValuesContract,
    LookupsContract,
    MediaRegisterContract,
    NewerVersionContract,
    ValuesContract,
    ConcurrencyContract,
    ModelContract,
    TreesContract,
):
    """Everything a store promises; the in-memory store is the reference.

    The fixture `factory` makes a store that holds nothing yet. Within one test it may be called several
    times, and the property tests share one store between their examples, with ids of their own.

    A store declares three properties, each with a default that suits the reference:

    - The fixture `sibling`, where other processes can share the data: a function, which may be a coroutine
      function, that is given a store and returns a second object on the same data. The tests of several
      workers then run over both. The suite closes what it makes.
    - The method `let_leases_run_out(store)`, where leases do not go by the running loop's time: it makes
      every lease that was opened until now run out, without waiting, as by moving its row into the past.
    - The method `find_traces(store, text)`, where more can be looked into than the store's methods show: it
      returns the places, of whatever kind, where a text is still to be found.

        class TestMyStore(ConversationStoreContract):
            @pytest.fixture
            def factory(self, tmp_path):
                return lambda: MyStore(tmp_path / new_id())

            @pytest.fixture
            def sibling(self):
                return lambda store: MyStore(store.path)

            async def let_leases_run_out(self, store):
                await store.execute("UPDATE leases SET renewed_at = 0")
    """
