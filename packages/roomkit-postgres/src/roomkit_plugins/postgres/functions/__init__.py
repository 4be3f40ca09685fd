"""The writes, as functions in the database: each is one round trip, and decides after the locks it takes.

They are in the `.sql` files of this folder, whole, as the database has them. Locks are always taken in one
order: rooms (by their number), then the ids of vendors' messages, then rows of the ledger (by their number),
then the rest. So two writes do not wait for each other in a circle. A refusal that a caller may hear of is an
answer, `{"error": ...}`, and nothing is written.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

__all__ = ["FUNCTIONS"]

_FILES = ("once", "lanes", "homes", "ledger", "commits", "rooms", "people", "values", "media", "moves")

FUNCTIONS: Final = tuple(files(__name__).joinpath(f"{name}.sql").read_text("utf-8") for name in _FILES)
"""The scripts that make the functions, or replace those of an earlier version."""
