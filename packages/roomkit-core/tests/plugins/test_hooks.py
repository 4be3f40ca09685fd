"""The hooks of a kit's life: plugin by plugin, none stopping another."""

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.plugins import Commands, PluginHooksError, hookimpl
from roomkit.plugins.errors import RegistrationError


@pytest.fixture
def kit() -> RoomKit:
    """The kit that hooks are handed. It is not started: the managers of these tests are not its own."""
    return RoomKit()


def test_configure_hands_the_kit_to_each_plugin_in_order(kit: RoomKit, make: Any) -> None:
    """By name; an argument that is not needed may be omitted."""
    calls: list[object] = []
    manager = make.manager(
        make.EntryPoint("b", make.module(roomkit_configure=lambda: calls.append("b"))),
        make.EntryPoint("a", make.module(roomkit_configure=lambda kit: calls.append(("a", kit)))),
    )

    assert manager.configure(kit) == ()
    assert calls == [("a", kit), "b"]


def test_a_plugin_may_ask_to_come_first_or_last(kit: RoomKit, make: Any) -> None:
    calls: list[str] = []

    def hook(name: str, **options: bool) -> ModuleType:
        module = ModuleType(name)

        def roomkit_configure(kit: object) -> None:
            calls.append(name)

        module.roomkit_configure = hookimpl(**options)(roomkit_configure)  # type: ignore[attr-defined]
        return module

    make.manager(
        make.EntryPoint("a", hook("a", trylast=True)),
        make.EntryPoint("b", hook("b")),
        make.EntryPoint("c", hook("c", tryfirst=True)),
    ).configure(kit)
    assert calls == ["c", "b", "a"]


def test_a_wrapper_is_refused(make: Any) -> None:
    """With one plugin at a time there is nothing to wrap."""
    module = ModuleType("wrapping")

    @hookimpl(wrapper=True)
    def roomkit_configure(kit: object) -> Any:
        return (yield)

    module.roomkit_configure = roomkit_configure  # type: ignore[attr-defined]

    assert "cannot be wrapped" in make.manager(make.EntryPoint("a", module)).plugins()[1].reason


def fails(error: BaseException) -> Callable[..., object]:
    def hook() -> object:
        raise error

    return hook


def test_a_plugin_nobody_uses_may_fail_to_configure(
    kit: RoomKit, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported, and the others have their turn."""
    calls: list[str] = []
    manager = make.manager(
        make.EntryPoint("a", make.module(roomkit_configure=fails(SystemExit(1)))),
        make.EntryPoint("b", make.module(roomkit_configure=lambda: calls.append("b"))),
    )

    (failure,) = manager.configure(kit)
    assert (failure.plugin, failure.hook) == ("a", "roomkit_configure")
    assert calls == ["b"]
    assert "roomkit_configure of plugin 'a' failed: SystemExit: 1" in caplog.text


async def test_a_plugin_in_use_may_not_fail_to_start(kit: RoomKit, make: Any, acme: ModuleType) -> None:
    """A component of it was asked for, so its failure is the user's business."""
    acme.SMS = type("SMS", (), {})
    module = make.declares(("sms", "acme", "acme:SMS"))
    error = OSError("no network")
    module.roomkit_startup = make.module(roomkit_startup=fails(error)).roomkit_startup
    manager = make.manager(make.EntryPoint("acme", module))
    assert len(await manager.startup(kit)) == 1
    await manager.aget("sms", "acme")

    with pytest.raises(PluginHooksError, match="roomkit_startup failed in the plugins 'acme'") as raised:
        await manager.startup(kit)
    assert raised.value.group.exceptions == (error,)


async def test_startup_awaits_what_a_plugin_returns(kit: RoomKit, make: Any) -> None:
    """In order, each before the next; `None` is nothing to wait for."""
    calls: list[str] = []

    def starts(name: str) -> Callable[..., Awaitable[None]]:
        async def start() -> None:
            await asyncio.sleep(0)
            calls.append(name)

        return lambda kit: start()

    manager = make.manager(
        make.EntryPoint("a", make.module(roomkit_startup=starts("a"))),
        make.EntryPoint("b", make.module(roomkit_startup=lambda kit: None)),
        make.EntryPoint("c", make.module(roomkit_startup=starts("c"))),
    )

    assert await manager.startup(kit) == ()
    assert calls == ["a", "c"]


async def test_a_plugin_that_returns_neither_awaitable_nor_none_has_failed(kit: RoomKit, make: Any) -> None:
    manager = make.manager(make.EntryPoint("a", make.module(roomkit_startup=lambda: 7)))

    (failure,) = await manager.startup(kit)
    assert "returned int, not an awaitable" in str(failure.error)


async def test_shutdown_goes_backwards_and_reports_all_failures_together(kit: RoomKit, make: Any) -> None:
    """Every plugin has its turn, however many fail before it."""
    calls: list[str] = []

    def stops(name: str) -> Callable[..., object]:
        def stop() -> None:
            calls.append(name)
            if name != "b":
                raise RuntimeError(name)

        return stop

    manager = make.manager(
        *(make.EntryPoint(name, make.module(roomkit_shutdown=stops(name))) for name in "abc")
    )
    await manager.startup(kit)

    with pytest.raises(PluginHooksError) as raised:
        await manager.shutdown(kit)
    assert calls == ["c", "b", "a"]
    assert [failure.plugin for failure in raised.value.failures] == ["c", "a"]
    assert isinstance(raised.value.__cause__, BaseExceptionGroup)


async def test_shutting_down_what_was_never_looked_for_looks_for_nothing(kit: RoomKit, make: Any) -> None:
    """Closing a kit that never started costs no scan."""
    entry_point = make.EntryPoint("a", make.module(roomkit_shutdown=fails(RuntimeError())))

    await make.manager(entry_point).shutdown(kit)
    assert entry_point.imported == []


async def test_a_plugin_that_hangs_is_given_up(kit: RoomKit, make: Any) -> None:
    """Each has a deadline of its own."""
    calls: list[str] = []
    manager = make.manager(
        make.EntryPoint("a", make.module(roomkit_shutdown=lambda: calls.append("a"))),
        make.EntryPoint("hangs", make.module(roomkit_shutdown=lambda: asyncio.Event().wait())),
    )

    await manager.startup(kit)
    with pytest.raises(PluginHooksError, match="hangs: TimeoutError"):
        await manager.shutdown(kit, timeout=0.01)
    assert calls == ["a"]


async def test_cancelling_the_caller_is_not_a_plugins_failure(kit: RoomKit, make: Any) -> None:
    """Cancellation goes through; a plugin's own `CancelledError` is a failure like any other."""
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        await asyncio.Event().wait()

    manager = make.manager(make.EntryPoint("a", make.module(roomkit_startup=lambda: wait())))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(manager.startup(kit))
        await waiting.wait()
        task.cancel()
    assert task.cancelled()

    odd = make.manager(make.EntryPoint("a", make.module(roomkit_startup=fails(asyncio.CancelledError()))))
    assert len(await odd.startup(kit)) == 1


def test_commands_are_declared_by_strings_and_clashes_are_failures(make: Any) -> None:
    manager = make.manager(
        make.EntryPoint(
            "a",
            make.module(roomkit_commands=lambda cli: cli.add("rooms list", "acme:rooms", summary="Rooms.")),
        ),
        make.EntryPoint(
            "b",
            make.module(roomkit_commands=lambda cli: cli.add("rooms list", "other:rooms", summary="Rooms.")),
        ),
    )
    cli = Commands()

    (failure,) = manager.commands(cli)
    assert "exists already (acme:rooms)" in str(failure.error)
    assert [(command.name, command.target) for command in cli.all()] == [("rooms list", "acme:rooms")]


@pytest.mark.parametrize(
    ("name", "target"), [("", "a:b"), ("Rooms", "a:b"), ("rooms  list", "a:b"), ("x", "a")]
)
def test_a_malformed_command_is_refused(name: str, target: str) -> None:
    with pytest.raises(RegistrationError):
        Commands().add(name, target, summary="")
