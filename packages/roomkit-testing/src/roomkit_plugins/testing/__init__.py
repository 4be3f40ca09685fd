"""For RoomKit authors: mocks, contract suites, simulators, virtual time.

Users know this package as `roomkit.testing`. The contract suites are in `.contracts`; they need
pytest, the rest does not.
"""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.testing.blocking import assert_loop_stays_free as assert_loop_stays_free
    from roomkit_plugins.testing.cancellation import Cancellation as Cancellation
    from roomkit_plugins.testing.cancellation import cancel_at_every_await as cancel_at_every_await
    from roomkit_plugins.testing.cancellation import cancellations as cancellations
    from roomkit_plugins.testing.history import Recipient as Recipient
    from roomkit_plugins.testing.history import Violation as Violation
    from roomkit_plugins.testing.history import assert_history as assert_history
    from roomkit_plugins.testing.history import violations as violations
    from roomkit_plugins.testing.leaks import assert_nothing_leaks as assert_nothing_leaks
    from roomkit_plugins.testing.mocks.ai import MockAIProvider as MockAIProvider
    from roomkit_plugins.testing.mocks.channels import RecordingChannel as RecordingChannel
    from roomkit_plugins.testing.mocks.channels import ScriptedIntelligence as ScriptedIntelligence
    from roomkit_plugins.testing.mocks.identity import MockIdentityResolver as MockIdentityResolver
    from roomkit_plugins.testing.mocks.memory import MockMemoryProvider as MockMemoryProvider
    from roomkit_plugins.testing.mocks.providers import MockEmailProvider as MockEmailProvider
    from roomkit_plugins.testing.mocks.providers import MockHTTPProvider as MockHTTPProvider
    from roomkit_plugins.testing.mocks.providers import MockMessengerProvider as MockMessengerProvider
    from roomkit_plugins.testing.mocks.providers import MockRCSProvider as MockRCSProvider
    from roomkit_plugins.testing.mocks.providers import MockSMSProvider as MockSMSProvider
    from roomkit_plugins.testing.mocks.providers import MockTeamsProvider as MockTeamsProvider
    from roomkit_plugins.testing.mocks.providers import MockTelegramProvider as MockTelegramProvider
    from roomkit_plugins.testing.mocks.providers import MockWhatsAppProvider as MockWhatsAppProvider
    from roomkit_plugins.testing.mocks.script import Hang as Hang
    from roomkit_plugins.testing.mocks.source import ScriptedSource as ScriptedSource
    from roomkit_plugins.testing.mocks.store import SharedRealtime as SharedRealtime
    from roomkit_plugins.testing.mocks.store import SharedStore as SharedStore
    from roomkit_plugins.testing.mocks.telemetry import MockTelemetryProvider as MockTelemetryProvider
    from roomkit_plugins.testing.virtual_time import DeadlockError as DeadlockError
    from roomkit_plugins.testing.virtual_time import VirtualClock as VirtualClock
    from roomkit_plugins.testing.virtual_time import VirtualTimeLoop as VirtualTimeLoop
    from roomkit_plugins.testing.virtual_time import run_virtual as run_virtual
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "Cancellation": "cancellation",
            "DeadlockError": "virtual_time",
            "Hang": "mocks.script",
            "MockAIProvider": "mocks.ai",
            "MockEmailProvider": "mocks.providers",
            "MockHTTPProvider": "mocks.providers",
            "MockIdentityResolver": "mocks.identity",
            "MockMemoryProvider": "mocks.memory",
            "MockMessengerProvider": "mocks.providers",
            "MockRCSProvider": "mocks.providers",
            "MockSMSProvider": "mocks.providers",
            "MockTeamsProvider": "mocks.providers",
            "MockTelegramProvider": "mocks.providers",
            "MockTelemetryProvider": "mocks.telemetry",
            "MockWhatsAppProvider": "mocks.providers",
            "Recipient": "history",
            "RecordingChannel": "mocks.channels",
            "ScriptedIntelligence": "mocks.channels",
            "ScriptedSource": "mocks.source",
            "SharedRealtime": "mocks.store",
            "SharedStore": "mocks.store",
            "Violation": "history",
            "VirtualClock": "virtual_time",
            "VirtualTimeLoop": "virtual_time",
            "assert_history": "history",
            "assert_loop_stays_free": "blocking",
            "assert_nothing_leaks": "leaks",
            "cancel_at_every_await": "cancellation",
            "cancellations": "cancellation",
            "run_virtual": "virtual_time",
            "violations": "history",
        },
    )
