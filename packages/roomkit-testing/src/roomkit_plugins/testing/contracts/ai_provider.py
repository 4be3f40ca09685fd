"""The contract suite of AI providers, run over a real socket against the vendor's simulator.

It needs `roomkit-testing[pytest,simulators]`. A vendor without a simulator here gets one by
subclassing `AISimulator`.
"""

from __future__ import annotations

from roomkit_plugins.testing.contracts.ai.answers import AIAnswersContract
from roomkit_plugins.testing.contracts.ai.asking import ask, listen, response_of
from roomkit_plugins.testing.contracts.ai.failures import AIFailuresContract
from roomkit_plugins.testing.contracts.ai.requests import AIRequestsContract
from roomkit_plugins.testing.contracts.ai.structured import AIStructuredContract
from roomkit_plugins.testing.contracts.ai.tools import AIToolsContract
from roomkit_plugins.testing.contracts.ai.use import AIUseContract

__all__ = ["AIProviderContract", "ask", "listen", "response_of"]


class AIProviderContract(
    AIAnswersContract,
    AIStructuredContract,
    AIToolsContract,
    AIRequestsContract,
    AIFailuresContract,
    AIUseContract,
):
    """What holds for every AI provider, seen from both sides of the wire.

    A subclass gives two fixtures: `simulator`, the vendor's running simulator, and `factory`, a
    function that makes a provider which talks to it. The factory takes `timeout=` in seconds, and
    its providers use the simulator's `api_key`.
    """
