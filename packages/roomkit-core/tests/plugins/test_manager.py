"""The plugins found, their states, and the errors for users who ask for one."""

import asyncio
import logging
import threading
from types import ModuleType
from typing import Any

import pytest

from roomkit.plugins import (
    BlockingImportError,
    ComponentNotFoundError,
    ComponentState,
    DoctorReport,
    PluginBlockedError,
    PluginBrokenError,
    PluginIncompatibleError,
    PluginManager,
    default_manager,
)


def states(manager: PluginManager) -> dict[str, ComponentState]:
    return {plugin.name: plugin.state for plugin in manager.plugins()}


def test_the_core_registers_its_own_defaults_like_a_plugin(make: Any) -> None:
    """Without any plugin there is a store, locks, realtime, telemetry and a router."""
    manager = make.manager()

    assert {"store:memory", "locks:memory", "realtime:memory", "telemetry:noop", "router:default"} <= {
        str(component) for component in manager.components()
    }
    assert [plugin.name for plugin in manager.plugins()] == ["core"]


def test_a_component_is_imported_when_it_is_asked_for(make: Any, acme: ModuleType) -> None:
    """Declared until then, loaded from then on."""
    acme.SMS = type("SMS", (), {})
    manager = make.manager(make.EntryPoint("acme", make.declares(("sms", "acme", "acme:SMS"))))
    assert manager.find("sms", "acme").state is ComponentState.DECLARED

    assert manager.get("sms", "acme") is acme.SMS
    assert manager.find("sms", "acme").state is ComponentState.LOADED


def test_an_alias_is_the_same_component(make: Any, acme: ModuleType) -> None:
    acme.SMS = type("SMS", (), {})
    plugin = make.declares(("sms", "acme", "acme:SMS"), aliases=["acme-sms"])
    manager = make.manager(make.EntryPoint("acme", plugin))

    assert manager.find("sms", "acme-sms") is manager.find("sms", "acme")


@pytest.mark.parametrize(
    "error", [ImportError("no"), SystemExit(3), SyntaxError("bad"), asyncio.CancelledError(), ValueError()]
)
def test_a_plugin_that_cannot_be_imported_stops_nobody(make: Any, error: BaseException) -> None:
    """The others are there, and the broken one keeps its cause."""
    manager = make.manager(
        make.EntryPoint("broken", error=error),
        make.EntryPoint("fine", make.declares(("sms", "fine", "acme:SMS"))),
    )

    assert states(manager) == {
        "core": ComponentState.LOADED,
        "broken": ComponentState.BROKEN,
        "fine": ComponentState.LOADED,
    }
    assert manager.plugins()[1].cause is error


def test_ctrl_c_still_ends_the_scan(make: Any) -> None:
    """The user's own interruption is the one thing that is not the plugin's."""
    manager = make.manager(make.EntryPoint("slow", error=KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        manager.plugins()


def test_an_interrupted_scan_can_be_made_again(make: Any) -> None:
    """From the beginning, without remains of the first."""
    slow = make.EntryPoint("slow", make.declares(("sms", "slow", "acme:SMS")), error=KeyboardInterrupt())
    manager = make.manager(make.EntryPoint("early", make.declares(("sms", "early", "acme:SMS"))), slow)
    with pytest.raises(KeyboardInterrupt):
        manager.plugins()
    slow.error = None

    assert set(states(manager).values()) == {ComponentState.LOADED}
    assert manager.clashes() == ()


def test_naming_a_broken_plugin_raises_with_its_cause(make: Any) -> None:
    """What the user asks for is not left out in silence."""
    error = ImportError("No module named 'acmesdk'")
    manager = make.manager(make.EntryPoint("acme", error=error))

    with pytest.raises(PluginBrokenError, match=r"acmesdk.*`roomkit plugins doctor acme`") as raised:
        manager.get("sms", "acme")
    assert raised.value.__cause__ is error


def test_a_component_that_cannot_be_imported_raises_with_its_cause(make: Any) -> None:
    """The same when the plugin registers well but its code does not import."""
    manager = make.manager(make.EntryPoint("acme", make.declares(("sms", "acme", "no_such_sdk:SMS"))))

    with pytest.raises(PluginBrokenError, match="sms:acme of plugin 'acme' cannot be loaded") as raised:
        manager.get("sms", "acme")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)
    assert manager.find("sms", "acme").state is ComponentState.BROKEN


def test_a_component_can_be_mended_without_a_restart(make: Any, acme: ModuleType) -> None:
    """A failure is not remembered: the next call tries again."""
    manager = make.manager(make.EntryPoint("acme", make.declares(("sms", "acme", "acme:SMS"))))
    with pytest.raises(PluginBrokenError):
        manager.get("sms", "acme")
    acme.SMS = type("SMS", (), {})

    assert manager.get("sms", "acme") is acme.SMS
    assert manager.find("sms", "acme").cause is None


@pytest.mark.parametrize("blocked", ["acme", "Acme_RoomKit"])
def test_a_blocked_plugin_is_not_imported(make: Any, blocked: str) -> None:
    """It is omitted by the name of its entry point or of its distribution, before any import."""
    entry_point = make.EntryPoint("acme", make.module(), dist=make.Distribution.of("acme-roomkit"))
    manager = make.manager(entry_point, block=(blocked,))

    assert states(manager)["acme"] is ComponentState.BLOCKED
    assert entry_point.imported == []
    with pytest.raises(PluginBlockedError, match="ROOMKIT_PLUGINS_BLOCK"):
        manager.get("sms", "acme")


def test_the_environment_blocks_plugins_too(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator needs no code to leave a plugin out."""
    monkeypatch.setenv("ROOMKIT_PLUGINS_BLOCK", "other, acme")
    entry_point = make.EntryPoint("acme", make.module())

    assert states(make.manager(entry_point))["acme"] is ComponentState.BLOCKED


@pytest.mark.parametrize("requirement", ["roomkit-core>=9", "roomkit-core<0.1", "roomkit-core>=what"])
def test_a_plugin_for_another_core_is_not_imported(make: Any, requirement: str) -> None:
    entry_point = make.EntryPoint("acme", make.module(), dist=make.Distribution.of("acme", requirement))
    manager = make.manager(entry_point)

    assert states(manager)["acme"] is ComponentState.INCOMPATIBLE
    assert entry_point.imported == []
    with pytest.raises(PluginIncompatibleError, match="roomkit-core"):
        manager.get("sms", "acme")


def test_a_plugin_for_this_core_is_imported(make: Any) -> None:
    """The range of today's first-party plugins holds today's core."""
    distribution = make.Distribution.of("acme", "roomkit-core>=1.0,<2")
    plugin = make.declares(("sms", "acme", "acme:SMS"))
    manager = make.manager(make.EntryPoint("acme", plugin, dist=distribution))

    assert states(manager)["acme"] is ComponentState.LOADED


def test_unreadable_metadata_is_the_plugins_own_trouble(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is reported; whatever works of the plugin goes on working."""

    class Unreadable:
        def read_text(self, filename: str) -> str:
            raise OSError(f"disk: {filename}")

    plugin = make.declares(("sms", "acme", "acme:SMS"))
    manager = make.manager(make.EntryPoint("acme", plugin, dist=Unreadable()))

    assert manager.find("sms", "acme").plugin == "acme"
    assert "unreadable metadata" in caplog.text


def test_two_claims_to_one_name_are_reported_with_both_sides(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The order does not depend on the machine: the first by name has it."""
    one = make.EntryPoint("b-second", make.declares(("sms", "acme", "acme:Second")))
    other = make.EntryPoint("a-first", make.declares(("sms", "acme", "acme:First")))
    manager = make.manager(one, other)

    assert manager.find("sms", "acme").target == "acme:First"
    (clash,) = manager.clashes()
    assert (clash.winner, clash.loser) == ("a-first", "b-second")
    shadowed = [c for c in manager.components("sms") if c.state is ComponentState.SHADOWED]
    assert [c.target for c in shadowed] == ["acme:Second"]
    assert "claimed by the plugins 'a-first' and 'b-second'" in caplog.text


def test_blocking_the_winner_gives_the_name_to_the_other(make: Any) -> None:
    """As the report of the clash says."""
    one = make.EntryPoint("b-second", make.declares(("sms", "acme", "acme:Second")))
    other = make.EntryPoint("a-first", make.declares(("sms", "acme", "acme:First")))

    assert make.manager(one, other, block=("a-first",)).find("sms", "acme").target == "acme:Second"


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("roomkit_regster", "unknown hook 'roomkit_regster'; did you mean 'roomkit_register'"),
        ("roomkit_xyzzy_quux", "unknown hook 'roomkit_xyzzy_quux'; the hooks are"),
    ],
)
def test_an_unknown_hook_breaks_its_plugin_alone(make: Any, hook: str, message: str) -> None:
    """A slip in a hook's name is not ignored."""
    manager = make.manager(make.EntryPoint("acme", make.module(**{hook: lambda: None})))

    assert states(manager)["acme"] is ComponentState.BROKEN
    assert message in manager.plugins()[1].reason


def test_a_wrong_signature_breaks_its_plugin_alone(make: Any) -> None:
    """An argument that the hook does not have is named."""
    module = make.module(roomkit_register=lambda registry, loop: None)

    manager = make.manager(make.EntryPoint("acme", module))
    assert states(manager)["acme"] is ComponentState.BROKEN
    assert "loop" in str(manager.plugins()[1].cause)


def test_a_plugin_that_is_installed_twice_counts_once(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The second of one name and one distribution is reported, and takes nothing from the first."""
    one, same = (make.EntryPoint("acme", make.declares(("sms", "acme", "acme:SMS"))) for _ in range(2))
    manager = make.manager(one, same)

    assert states(manager) == {"core": ComponentState.LOADED, "acme": ComponentState.LOADED}
    assert manager.find("sms", "acme").state is ComponentState.DECLARED
    assert "plugin 'acme' is installed twice" in caplog.text


def test_two_entry_points_to_one_module_are_one_plugin(make: Any) -> None:
    """The second is broken, and says why; the first goes on working."""
    module = make.declares(("sms", "acme", "acme:SMS"))
    manager = make.manager(make.EntryPoint("a", module), make.EntryPoint("b", module))

    assert states(manager)["b"] is ComponentState.BROKEN
    assert manager.find("sms", "acme").plugin == "a"


def test_a_forgotten_marker_is_pointed_out(make: Any) -> None:
    """A function named as a hook but not marked would never be called."""
    module = ModuleType("forgetful")
    module.roomkit_register = lambda registry: None  # type: ignore[attr-defined]

    reason = make.manager(make.EntryPoint("acme", module)).plugins()[1].reason
    assert "roomkit_register is not marked; decorate it with @hookimpl" in reason


def test_a_module_without_hooks_is_no_plugin(make: Any) -> None:
    reason = make.manager(make.EntryPoint("acme", ModuleType("empty"))).plugins()[1].reason

    assert "implements no hook" in reason


def test_a_registration_that_fails_half_way_leaves_nothing_behind(make: Any) -> None:
    def register(registry: Any) -> None:
        registry.add("sms", "acme", "acme:SMS")
        raise RuntimeError("half way")

    manager = make.manager(make.EntryPoint("vendor", make.module(roomkit_register=register)))

    with pytest.raises(PluginBrokenError, match="half way"):
        manager.get("sms", "acme")


def test_a_slip_is_answered_with_the_name_that_was_meant(make: Any) -> None:
    """In the kind as in the name."""
    manager = make.manager()

    with pytest.raises(ComponentNotFoundError, match=r"no store 'memry'\. Did you mean 'memory'\?"):
        manager.get("store", "memry")
    with pytest.raises(ComponentNotFoundError, match="unknown component kind 'stor'; did you mean 'store'"):
        manager.get("stor", "memory")


def test_a_first_party_component_says_what_to_install(make: Any) -> None:
    with pytest.raises(ComponentNotFoundError, match=r"with roomkit-postgres.* in a checkout"):
        make.manager().get("store", "postgres")


def test_an_unknown_component_lists_what_there_is(make: Any) -> None:
    """With nothing near, the choice is shown."""
    with pytest.raises(ComponentNotFoundError, match=r"installed: memory.*roomkit plugins list"):
        make.manager().get("store", "zzzzzz")


async def test_an_import_on_the_running_loop_is_refused(make: Any, acme: ModuleType) -> None:
    """It would stop every room; `aget` imports in a thread, and from then on `get` is free."""
    acme.SMS = type("SMS", (), {})
    manager = make.manager(make.EntryPoint("acme", make.declares(("sms", "acme", "acme:SMS"))))

    with pytest.raises(BlockingImportError, match=r"await kit\.plugins\.aget\('sms', 'acme'\)"):
        manager.get("sms", "acme")
    assert await manager.aget("sms", "acme") is acme.SMS
    assert manager.get("sms", "acme") is acme.SMS


async def test_aget_imports_outside_the_loop_thread(make: Any, acme: ModuleType) -> None:
    """The loop goes on while an SDK is imported."""
    threads: list[int] = []

    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> object:
            if name != "SMS":
                raise AttributeError(name)
            threads.append(threading.get_ident())
            return dict

    acme.__class__ = Lazy
    manager = make.manager(make.EntryPoint("acme", make.declares(("sms", "acme", "acme:SMS"))))

    await manager.aget("sms", "acme")
    assert threads
    assert threading.get_ident() not in threads


def test_many_threads_scan_once(make: Any) -> None:
    """All of them see the whole."""
    entry_point = make.EntryPoint("acme", make.declares(("sms", "acme", "acme:SMS")))
    manager = make.manager(entry_point)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(len(manager.components()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert entry_point.imported == ["acme"]
    assert len(set(seen)) == 1


def test_a_plugin_that_asks_for_plugins_while_it_is_imported_does_not_hang(make: Any) -> None:
    """It sees what there is so far."""
    seen: list[int] = []
    manager = make.manager(
        make.EntryPoint("curious", make.module(roomkit_register=lambda: seen.append(len(manager.plugins()))))
    )

    assert len(manager.plugins()) == 2
    assert seen == [2]


def test_there_is_one_default_manager() -> None:
    assert default_manager() is default_manager()


def test_the_doctor_reports_every_plugin(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What works, what does not, and what to do; a check that fails is a finding too."""
    caplog.set_level(logging.ERROR)

    def check(report: DoctorReport) -> None:
        raise RuntimeError("the check itself")

    manager = make.manager(
        make.EntryPoint("broken", error=ImportError("no acmesdk")),
        make.EntryPoint("left-out", make.module()),
        make.EntryPoint("old", make.module(), dist=make.Distribution.of("old", "roomkit-core<0.1")),
        make.EntryPoint("unlucky", make.module(roomkit_doctor=check)),
        block=("left-out",),
    )
    report = DoctorReport()
    manager.doctor(report)

    found = {(finding.subject, str(finding.verdict)): finding for finding in report.findings}
    assert ("core", "ok") in found
    assert ("python", "ok") in found
    assert ("left-out", "warning") in found
    assert "no acmesdk" in found["broken", "failed"].message
    assert found["old", "failed"].next_step == "pip install --upgrade old"
    assert "the check itself" in found["unlucky", "failed"].message
    assert not report.healthy
