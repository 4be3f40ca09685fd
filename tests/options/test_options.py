"""No option is dead: changing it is seen in what the component sends, does or keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from roomkit.plugins import default_manager
from roomkit_plugins.testing.services import PostgresDatabases
from tests.options.agents import AGENTS
from tests.options.bindings import BINDINGS
from tests.options.carriers import CARRIERS
from tests.options.channels import CHANNELS
from tests.options.http import HTTP
from tests.options.kit import KIT
from tests.options.mail import MAIL
from tests.options.mechanism import Change, Observations, Settings, Subject, declared_options, unobserved
from tests.options.memories import MEMORIES
from tests.options.messenger import MESSENGER
from tests.options.postgres import POSTGRES
from tests.options.redis import REDIS
from tests.options.server import SERVER
from tests.options.servers import SERVERS, Servers
from tests.options.sources import SOURCES
from tests.options.stores import STORES
from tests.options.teams import TEAMS
from tests.options.telegram import TELEGRAM
from tests.options.tools import TOOLS
from tests.options.vendors import VENDORS
from tests.options.whatsapp import WHATSAPP

SUBJECTS = {
    subject.name: subject
    for subject in (
        KIT,
        SERVER,
        *AGENTS,
        *BINDINGS,
        *CARRIERS,
        *CHANNELS,
        *HTTP,
        *MAIL,
        *MEMORIES,
        *MESSENGER,
        *POSTGRES,
        *REDIS,
        *SOURCES,
        *STORES,
        *TEAMS,
        *TELEGRAM,
        *TOOLS,
        *VENDORS,
        *WHATSAPP,
    )
}
OBSERVATIONS = Observations()


def _cases(*, real_time: bool = True, needs_servers: bool = False) -> list[object]:
    return [
        pytest.param(subject, option, id=f"{subject.name}.{option}")
        for subject in SUBJECTS.values()
        if (subject.real_time, subject.needs_servers) == (real_time, needs_servers)
        for option in subject.changes
    ]


@pytest.mark.virtual_time
@pytest.mark.parametrize(("subject", "option"), _cases(real_time=False))
async def test_changing_an_option_is_seen(subject: Subject, option: str) -> None:
    assert await OBSERVATIONS.verdict(subject, option) is None


@pytest.mark.parametrize(("subject", "option"), _cases())
async def test_changing_an_option_is_seen_outside(subject: Subject, option: str) -> None:
    """By a vendor, a server or a file."""
    assert await OBSERVATIONS.verdict(subject, option) is None


@pytest.fixture(scope="module")
def places(postgres_databases: Callable[[], PostgresDatabases]) -> Iterator[Mapping[str, str]]:
    """Make two databases for all observations."""
    with postgres_databases().database() as a, postgres_databases().database() as b:
        yield {"a": a, "b": b}


@pytest.fixture
def servers(
    postgres_databases: Callable[[], PostgresDatabases], places: Mapping[str, str], redis_url: str
) -> Servers:
    """Give the observations the servers of the test run."""
    SERVERS.use(postgres_databases(), places, redis_url)
    return SERVERS


@pytest.mark.parametrize(("subject", "option"), _cases(needs_servers=True))
async def test_changing_an_option_is_seen_by_a_server(
    servers: Servers, subject: Subject, option: str
) -> None:
    """Or by other processes of the same server."""
    assert await OBSERVATIONS.verdict(subject, option) is None


def test_every_option_of_every_installed_plugin_is_observed() -> None:
    """The options are read from the models: a new one fails here until its effect is observed."""
    assert [*unobserved(declared_options(default_manager()), SUBJECTS)] == []


# -- the mechanism itself --------------------------------------------------------------------------


async def _deaf(settings: Settings) -> object:
    return "the same"


async def _fickle(settings: Settings, _numbers: list[int] = []) -> object:  # noqa: B006  # the fault under test
    _numbers.append(0)
    return len(_numbers)


async def test_a_dead_option_is_found() -> None:
    found = await Observations().verdict(Subject("acme", {"mood": Change(2)}, _deaf), "mood")
    assert found == "acme.mood does nothing: 2 changes nothing that is seen"


async def test_what_differs_by_itself_proves_nothing() -> None:
    found = await Observations().verdict(Subject("acme", {"mood": Change(2)}, _fickle), "mood")
    assert found == "acme: it differs without a change: 1, 2"


@pytest.mark.parametrize(
    ("options", "observed", "said"),
    [
        (["mood"], [], "acme.mood is observed by no test: add a Change of it to tests/options"),
        ([], ["mood"], "acme.mood is observed, but it is no option"),
        (None, ["mood"], "acme is observed, but is no installed component"),
    ],
)
def test_a_table_that_does_not_fit_the_models_is_found(
    options: list[str] | None, observed: list[str], said: str
) -> None:
    subject = Subject("acme", {name: Change(2) for name in observed}, _deaf)
    declared = {} if options is None else {"acme": options}
    assert [*unobserved(declared, {"acme": subject})] == [said]
