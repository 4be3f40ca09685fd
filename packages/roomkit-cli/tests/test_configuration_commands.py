"""`roomkit check` and `roomkit config show|why`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PROBED = """
from pathlib import Path
from pydantic import BaseModel, Field, SecretStr
from roomkit.abc import RoomKitError
from roomkit.memory import InMemoryStore
from roomkit.plugins import hookimpl

class Station(BaseModel):
    name: str = ""
    password: SecretStr = SecretStr("")

class Settings(BaseModel):
    token: SecretStr
    \"\"\"What the vendor gave you.\"\"\"
    region: str = "eu"
    \"\"\"Where its servers are.\"\"\"
    headers: dict[str, str | SecretStr] = {}
    stations: list[Station] = []
    address: str = Field("", repr=False)
    labels: dict[str, str] = {}

class Provider:
    def __init__(self, config): self.config = config
    async def probe(self):
        match self.config.region:
            case "refusing": raise RoomKitError("acme refused the token: make a new one at acme.example")
            case "broken": raise ValueError("it fell apart")
        return f"account of {self.config.region} is active"
    async def close(self):
        print("closed")
        if self.config.region == "leaking": raise ValueError("it stays open")

class ShelfSettings(BaseModel):
    path: str

class Shelf(InMemoryStore):
    def __init__(self, path):
        super().__init__()
        Path(path).touch()
    async def probe(self): return "the shelf is empty"

class Line:
    def __init__(self, channel_id, *, provider=None): raise AssertionError("a check builds no channel")

@hookimpl
def roomkit_register(registry):
    registry.add("sms", "acme", "acme_module:Provider", config="acme_module:Settings", summary="Sends.")
    registry.add("store", "shelf", "acme_module:Shelf", config="acme_module:ShelfSettings", summary="Keeps.")
    registry.add("channel", "line", "acme_module:Line", parts={"provider": "sms"}, summary="A line.")
"""
FILE = """[kit]
process_timeout = 5.0

[store]
plugin = "shelf"
path = "{folder}/rooms.db"

[channels.shop]
plugin = "line"
provider = {{ plugin = "acme", token = "canary", region = "{region}" }}

[profiles.test.kit]
process_timeout = 1.0
"""


@pytest.fixture
def acme(roomkit, tmp_path):
    """The command, beside a plugin that can be asked; called with a region and the words."""
    roomkit.install("acme", PROBED)
    file = tmp_path / "roomkit.toml"

    def run(region: str, *words: str, more: str = "", **environment: str):
        file.write_text(FILE.format(folder=tmp_path, region=region) + more)
        return roomkit(*words, "--config", str(file), **environment)

    return run


def findings(answer) -> dict[str, tuple[str, str]]:
    document = json.loads(answer.out.splitlines()[-1])
    return {each["subject"]: (each["verdict"], each["message"]) for each in document["findings"]}


def test_a_file_that_is_understood_is_healthy(acme, tmp_path: Path) -> None:
    """It says what would be built, and builds and asks nothing."""
    answer = acme("refusing", "check", "--json")

    verdict, message = findings(answer)[str(tmp_path / "roomkit.toml")]
    assert (answer.code, verdict) == (0, "ok")
    assert "store:shelf, channel:line, sms:acme" in message
    assert not (tmp_path / "rooms.db").exists()


def test_each_problem_has_its_line(acme, tmp_path: Path) -> None:
    answer = acme('eu", regoin = "us', "check", "--json")

    assert answer.code == 1
    assert findings(answer) == {
        f"{tmp_path / 'roomkit.toml'}:10": (
            "failed",
            "channels.shop.provider.regoin is unknown; did you mean 'region'?",
        )
    }


@pytest.mark.parametrize(
    ("region", "verdict", "message"),
    [
        ("eu", "ok", "account of eu is active"),
        ("refusing", "failed", "acme refused the token: make a new one at acme.example"),
        ("broken", "failed", "ValueError: it fell apart"),
    ],
)
def test_a_live_check_asks_what_can_be_asked(
    acme, tmp_path: Path, region: str, verdict: str, message: str
) -> None:
    """One that fails does not keep the others from being asked, and each is closed."""
    answer = acme(region, "check", "--live", "--json")

    found = findings(answer)
    assert answer.code == (0 if verdict == "ok" else 1)
    assert found["channels.shop.provider"] == (verdict, message)
    assert found["store"] == ("ok", "the shelf is empty")
    assert (tmp_path / "rooms.db").exists()
    assert answer.out.startswith("closed")


def test_one_that_cannot_be_closed_does_not_keep_the_others_from_being_asked(acme) -> None:
    answer = acme("leaking", "check", "--live", "--json")

    document = json.loads(answer.out.splitlines()[-1])
    said = [(each["subject"], each["verdict"], each["message"]) for each in document["findings"]]
    assert answer.code == 0
    assert said.index(("channels.shop.provider", "ok", "account of leaking is active")) < said.index(
        ("channels.shop.provider", "warning", "it cannot be closed: ValueError: it stays open")
    )
    assert ("store", "ok", "the shelf is empty") in said


def test_a_file_without_a_store_is_warned_about(roomkit, tmp_path: Path) -> None:
    (tmp_path / "roomkit.toml").write_text("[kit]\n")

    answer = roomkit("check", "--config", str(tmp_path / "roomkit.toml"))

    assert answer.code == 0
    assert "rooms are in memory, and gone with their process" in answer.out


def test_settings_are_shown_with_their_lines_and_secrets_masked(acme, tmp_path: Path) -> None:
    """The profile's line where it has one."""
    answer = acme("eu", "config", "show", "--json", ROOMKIT_PROFILE="test")

    document = json.loads(answer.out)
    shown = {each["key"]: (each["value"], each["origin"]) for each in document["settings"]}
    file = tmp_path / "roomkit.toml"
    assert shown == {
        "kit.process_timeout": (1.0, f"{file}:13, profile test"),
        "store.plugin": ("shelf", f"{file}:5"),
        "store.path": (f"{tmp_path}/rooms.db", f"{file}:6"),
        "channels.shop.plugin": ("line", f"{file}:9"),
        "channels.shop.provider.plugin": ("acme", f"{file}:10"),
        "channels.shop.provider.token": ("**********", f"{file}:10"),
        "channels.shop.provider.region": ("eu", f"{file}:10"),
    }
    assert document["profile"] == "test"
    assert "canary" not in answer.out + answer.err


def test_secrets_inside_of_tables_and_lists_are_masked_too(acme, tmp_path: Path) -> None:
    """And only they: their neighbours are shown."""
    more = (
        'eu", headers = { X-A = "canary" }, stations = [{ name = "one", password = "canary" }], '
        'labels = { team = "blue" }, address = "https://acme.example/canary'
    )
    server = '[server.keys.backend]\nsecret = "canary-canary-canary"\norganization = "shop"\n'
    answer = acme(more, "config", "show", "--json", more=server)

    shown = {each["key"]: each["value"] for each in json.loads(answer.out)["settings"]}
    assert "canary" not in answer.out
    assert shown["server.keys.backend.secret"] == "**********"
    assert shown["server.keys.backend.organization"] == "shop"
    assert shown["channels.shop.provider.labels.team"] == "blue"


def test_defaults_are_shown_when_asked_for(acme) -> None:
    answer = acme("eu", "config", "show", "--defaults")

    (line,) = [line for line in answer.out.splitlines() if line.startswith("kit.delivery_timeout ")]
    assert line.split() == ["kit.delivery_timeout", "30.0", "default"]


def test_one_setting_says_what_reads_it(acme, tmp_path: Path) -> None:
    answer = acme("eu", "config", "why", "channels.shop.provider.region")

    assert answer.out.splitlines() == [
        'channels.shop.provider.region = "eu"',
        f"  from      {tmp_path / 'roomkit.toml'}:10",
        "  type      str",
        '  default   "eu"',
        "  what for  Where its servers are.",
        "  read by   sms:acme of plugin 'acme' (acme_module:Provider)",
    ]


def test_a_setting_of_what_is_not_installed_is_masked(acme) -> None:
    """Nothing says whether it is a secret."""
    answer = acme('eu" }\nprovider2 = { plugin = "nothing", key = "canary', "config", "show")

    assert answer.code == 0
    assert "canary" not in answer.out
    assert "nothing reads it" in answer.out


@pytest.mark.parametrize(
    ("key", "code", "next_step"),
    [
        ("kit.proces_timeout", "unknown_key", "did you mean 'kit.process_timeout'?"),
        (
            "channels.shop.provider",
            "unknown_key",
            "ask for one of its settings: channels.shop.provider.plugin",
        ),
        ("zzzzzzzz", "unknown_key", "`roomkit config show --defaults` lists the keys"),
    ],
)
def test_a_key_that_is_not_there_is_refused(acme, key: str, code: str, next_step: str) -> None:
    answer = acme("eu", "config", "why", key, "--json")

    error = json.loads(answer.err)
    assert (answer.code, error["code"]) == (1, code)
    assert error["next_step"].startswith(next_step)


@pytest.mark.parametrize(
    "command", [("check",), ("config", "show"), ("config", "why", "kit.process_timeout")]
)
def test_an_unknown_profile_and_a_missing_file_are_refused(acme, roomkit, command: tuple[str, ...]) -> None:
    answer = acme("eu", *command, "--profile", "tset")
    assert answer.code == 1
    assert "profiles.tset is unknown; did you mean 'test'?" in answer.err

    answer = roomkit(*command, "--config", "/no/such/file.toml")
    assert answer.code == 1
    assert "cannot be read" in answer.err
