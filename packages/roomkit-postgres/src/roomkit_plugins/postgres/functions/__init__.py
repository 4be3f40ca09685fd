"""The writes, as functions in the database: each is one round trip, and decides after the locks it takes.

Locks are always taken in one order: rooms (by their number), then the ids of vendors' messages, then
rows of the ledger (by their number), then the rest. So two writes do not wait for each other in a circle.
What is refused for a reason that a caller may hear of is an answer, `{"error": ...}`, and nothing is written.
"""

from __future__ import annotations

from typing import Final

from roomkit_plugins.postgres.functions.commits import COMMITS
from roomkit_plugins.postgres.functions.lanes import LANES
from roomkit_plugins.postgres.functions.ledger import LEDGER
from roomkit_plugins.postgres.functions.once import ONCE
from roomkit_plugins.postgres.functions.people import PEOPLE
from roomkit_plugins.postgres.functions.rooms import ROOM_FUNCTIONS
from roomkit_plugins.postgres.functions.values import VALUES

__all__ = ["FUNCTIONS"]

FUNCTIONS: Final = (*ONCE, *LANES, *LEDGER, *COMMITS, *ROOM_FUNCTIONS, *PEOPLE, *VALUES)
