"""The contract suite of turn executors."""

from __future__ import annotations

from roomkit_plugins.testing.contracts.turns.bounds import TurnBoundsContract
from roomkit_plugins.testing.contracts.turns.closing import TurnClosingContract
from roomkit_plugins.testing.contracts.turns.leases import TurnLeasesContract
from roomkit_plugins.testing.contracts.turns.processes import TurnProcessesContract
from roomkit_plugins.testing.contracts.turns.requests import TurnRequestsContract
from roomkit_plugins.testing.contracts.turns.scripts import ScriptedModel
from roomkit_plugins.testing.contracts.turns.traces import TurnTracesContract

__all__ = ["ScriptedModel", "TurnExecutorContract"]


class TurnExecutorContract(
    TurnRequestsContract,
    TurnBoundsContract,
    TurnClosingContract,
    TurnLeasesContract,
    TurnProcessesContract,
    TurnTracesContract,
):
    """Requests and answers, cancellation, leases and close, over two executors of one queue.

    `factory` makes executors that share a queue, and takes the fields of `TurnOptions` as keywords.
    """
