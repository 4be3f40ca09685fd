"""A vendor's SDK: missed with a sentence, made once, closed once, and silent about keys."""

from __future__ import annotations

import asyncio
import threading

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.sdk import ClientErrors, LazyClient, Mask, needed


class Client:
    """Counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.thread = threading.current_thread()

    async def close(self) -> None:
        self.closed += 1


class Maker:
    """Makes clients, one at a time, when `may_go` allows it."""

    def __init__(self) -> None:
        self.made: list[Client] = []
        self.asked = threading.Event()
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self) -> Client:
        self.asked.set()
        assert self.may_go.wait(10)
        self.made.append(Client())
        return self.made[-1]


def lazy(make: Maker, *, mine: bool = True) -> LazyClient[Client]:
    close = (lambda client: client.close()) if mine else None
    return LazyClient(make, close, owner="AcmeProvider", provider="acme")


def test_a_missing_sdk_says_what_to_install() -> None:
    with (
        pytest.raises(ImportError, match="AcmeProvider needs the acme SDK: pip install roomkit-a") as caught,
        needed("acme", by="AcmeProvider", distribution="roomkit-acme"),
    ):
        raise ModuleNotFoundError("No module named 'acme'", name="acme")
    assert caught.value.name == "acme"


def test_what_the_sdk_misses_is_another_problem() -> None:
    with (
        pytest.raises(ModuleNotFoundError, match="No module named 'acme_core'"),
        needed("acme", by="AcmeProvider", distribution="roomkit-acme"),
    ):
        raise ModuleNotFoundError("No module named 'acme_core'", name="acme_core")


async def test_one_client_is_made_off_the_loop() -> None:
    make = Maker()
    client = lazy(make)
    assert client.made is None
    got = await asyncio.gather(*(client.get() for _ in range(10)))
    assert {id(one) for one in got} == {id(make.made[0])}
    assert client.made is make.made[0]
    assert make.made[0].thread is not threading.current_thread()
    await client.close()
    await client.close()
    assert make.made[0].closed == 1
    assert client.made is None


async def test_a_closed_client_says_so() -> None:
    """And makes no other, whether it was ever used or not."""
    make = Maker()
    client = lazy(make)
    await client.close()
    with pytest.raises(ProviderError, match="this AcmeProvider is closed; make another one") as caught:
        await client.get()
    assert caught.value.error_code is ErrorCode.CANCELED
    assert make.made == []


async def test_a_client_that_is_being_made_is_closed_too() -> None:
    make = Maker()
    make.may_go.clear()
    client = lazy(make)
    asked = asyncio.ensure_future(client.get())
    await asyncio.to_thread(make.asked.wait, 10)
    await client.close()
    make.may_go.set()
    with pytest.raises(ProviderError, match="closed"):
        await asked
    assert make.made[0].closed == 1


async def test_what_could_not_be_made_is_tried_again() -> None:
    """A failure is the caller's, and not the end."""
    make = Maker()
    failing = [True, False]

    def sometimes() -> Client:
        if failing.pop(0):
            raise OSError("no certificates")
        return make()

    client = LazyClient(sometimes, None, owner="AcmeProvider", provider="acme")
    with pytest.raises(OSError, match="no certificates"):
        await client.get()
    assert await client.get() is make.made[0]


async def test_connections_of_somebody_else_stay_open() -> None:
    make = Maker()
    client = lazy(make, mine=False)
    await client.get()
    await client.close()
    assert make.made[0].closed == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnicodeError("x"), ErrorCode.BAD_RESPONSE),
        (TimeoutError("x"), ErrorCode.TIMEOUT),
        (OSError("x"), ErrorCode.CONNECTION),
        (KeyError("x"), ErrorCode.AUTH),
    ],
)
def test_errors_of_a_client_are_classified(error: Exception, code: ErrorCode) -> None:
    """By kind, the narrower one first, in words of ours."""
    errors = ClientErrors(
        unreadable=(UnicodeError,), timeout=(TimeoutError,), connection=(OSError,), credentials=(LookupError,)
    )
    assert isinstance(error, errors.kinds)
    failure = errors.failure(error, Origin("acme", "Acme"), timeout=2.5)
    assert failure.error_code is code
    assert failure.provider == "acme"
    assert str(failure).startswith("Acme")
    assert ("2.5 s" in str(failure)) is (code is ErrorCode.TIMEOUT)


def test_a_secret_is_masked() -> None:
    """In a text, and with all that is behind an error; a short word is no secret."""
    mask = Mask(lambda: "sk-canary-1")
    assert mask.hide("bad key sk-canary-1.") == "bad key ***."
    assert Mask(lambda: "none").hide("there is none") == "there is none"
    assert Mask(lambda: None).hide("as it is") == "as it is"
    assert "canary" not in repr(vars(mask))


def test_an_error_that_shows_a_secret_is_not_chained() -> None:
    mask = Mask(lambda: "sk-canary-1")
    harmless, deep, shallow = ValueError("a"), ValueError("b"), ValueError("sk-canary-1")
    deep.__context__ = shallow
    assert mask.cause(harmless) is harmless
    assert mask.cause(deep) is None
    assert mask.cause(shallow) is None
