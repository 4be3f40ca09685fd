"""What `roomkit plugins` shows of every state a plugin can be in."""

from __future__ import annotations

import json
import tomllib

import pytest

from roomkit.plugins import default_manager
from roomkit_plugins.cli.schema import described_schema

GOOD = """
from roomkit.plugins import hookimpl

@hookimpl
def roomkit_register(registry):
    registry.add("sms", "{name}", "{target}", summary="Sends.", aliases=("{name}-text",))

@hookimpl
def roomkit_doctor(report):
    report.ok("{name}", "the weather is fine")
"""


@pytest.fixture
def zoo(roomkit):
    """One plugin for each state."""
    roomkit.install("good", GOOD.format(name="good", target="good_module:hookimpl"))
    roomkit.install("lazy", GOOD.format(name="lazy", target="no_such_sdk:Thing"))
    roomkit.install("broken", "raise RuntimeError('it fell apart\\x1b[31m')")
    roomkit.install("other", GOOD.format(name="good", target="other_module:hookimpl"))
    roomkit.install("old", GOOD.format(name="old", target="old_module:x"), requires="roomkit-core>=9,<10")
    roomkit.install("unwanted", "raise SystemExit")
    return lambda *words: roomkit(*words, ROOMKIT_PLUGINS_BLOCK="unwanted")


def test_every_state_is_listed_with_its_reason(zoo):
    """As JSON: plugins with their components, and clashes."""
    answer = zoo("plugins", "list", "--json")
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    plugins = {plugin["name"]: plugin for plugin in document["plugins"]}
    states = {name: plugins[name]["state"] for name in ("good", "lazy", "broken", "other", "old", "unwanted")}
    assert states == {
        "good": "loaded",
        "lazy": "loaded",
        "broken": "broken",
        "other": "loaded",
        "old": "incompatible",
        "unwanted": "blocked",
    }
    assert "it fell apart" in plugins["broken"]["reason"]
    assert "needs roomkit-core" in plugins["old"]["reason"]
    assert "ROOMKIT_PLUGINS_BLOCK" in plugins["unwanted"]["reason"]
    assert plugins["other"]["components"][0]["state"] == "shadowed"
    assert {"kind": "sms", "name": "good", "winner": "good", "loser": "other"} in document["clashes"]
    assert plugins["good"]["components"] == [
        {
            "kind": "sms",
            "name": "good",
            "aliases": ["good-text"],
            "state": "declared",
            "reason": "",
            "summary": "Sends.",
            "target": "good_module:hookimpl",
            "config": None,
        }
    ]


def test_people_see_the_same(zoo):
    """The first line says how many there are; reasons follow, and nothing can move the cursor."""
    answer = zoo("plugins", "list")
    first, *rest = answer.out.splitlines()
    total, loaded = (int(word) for word in first.split() if word.isdigit())
    assert total - loaded == 3
    assert any("old" in line and "incompatible" in line for line in rest)
    assert "\x1b" not in answer.out


@pytest.mark.parametrize("name", ["good", "sms:good", "good-text"])
def test_a_plugin_is_found_by_its_name_or_what_it_brings(zoo, name):
    document = json.loads(zoo("plugins", "info", name, "--json").out)
    assert (document["name"], document["distribution"], document["version"]) == ("good", "good", "1.2")
    assert "Sends." in zoo("plugins", "info", name).out


def test_an_unknown_plugin_is_refused_with_the_nearest(zoo):
    answer = zoo("plugins", "info", "brokn")
    assert answer.code == 1
    assert answer.err == "roomkit: plugin 'brokn' not found\n  did you mean 'broken'?\n"
    as_json = json.loads(zoo("plugins", "doctor", "qqqq", "--json").err)
    assert (as_json["code"], as_json["next_step"]) == (
        "plugin_not_found",
        "`roomkit plugins list` shows what there is",
    )


def test_the_doctor_fails_when_something_is_broken(zoo):
    """Exit code 1; every finding says what to do."""
    answer = zoo("plugins", "doctor", "--json")
    document = json.loads(answer.out)
    found = {(each["subject"], each["verdict"]) for each in document["findings"]}
    assert (answer.code, document["healthy"]) == (1, False)
    assert {("broken", "failed"), ("old", "failed"), ("unwanted", "warning"), ("good", "ok")} <= found
    assert all(each["next_step"] for each in document["findings"] if each["verdict"] != "ok")


def test_the_doctor_is_content_with_a_good_plugin(zoo):
    """With a name it loads what the plugin brings, and looks at nothing else."""
    answer = zoo("plugins", "doctor", "good")
    assert answer.code == 0
    assert answer.out.startswith("healthy: ")
    assert "the weather is fine" in answer.out
    assert "sms:good loads" in answer.out
    assert "broken" not in answer.out


def test_the_doctor_finds_a_missing_sdk(zoo):
    """Which the plain list cannot know, since nothing is imported there."""
    answer = zoo("plugins", "doctor", "lazy")
    assert answer.code == 1
    assert "sms:lazy cannot be loaded: ModuleNotFoundError" in answer.out
    assert "no_such_sdk" in answer.out


def test_the_doctor_explains_who_shadows_whom(zoo):
    answer = zoo("plugins", "doctor", "other")
    assert answer.code == 0
    assert "claimed by the plugins 'good' and 'other'" in answer.out


CHECKED = """
from roomkit.plugins import hookimpl

@hookimpl
def roomkit_register(registry):
    registry.add("sms", "acme", "acme_module:hookimpl")

@hookimpl
def roomkit_doctor(report):
    {check}
"""


@pytest.mark.parametrize(
    ("check", "shown"),
    [
        ('report.fail("libacme", "it is missing", next_step="install it")', ("it is missing", "install it")),
        (
            'raise OSError("first line\\nlast line")',
            ("its check failed: OSError: first line", "in roomkit_doctor", "last line"),
        ),
        ("raise SystemExit(3)", ("its check failed: SystemExit: 3",)),
    ],
)
@pytest.mark.parametrize("name", ["acme", "sms:acme"])
def test_the_doctor_of_one_plugin_has_the_plugins_own_check(roomkit, name, check, shown):
    """Whatever it calls its subject, and however it fails."""
    roomkit.install("acme", CHECKED.format(check=check))
    people, program = roomkit("plugins", "doctor", name), roomkit("plugins", "doctor", name, "--json")
    document = json.loads(program.out)
    assert (people.code, program.code, document["healthy"]) == (1, 1, False)
    assert people.out.startswith("not healthy: ")
    for text in shown:
        assert text in people.out
    assert {each["plugin"] for each in document["findings"]} == {"acme"}


def test_the_doctor_shows_where_a_broken_plugin_broke(zoo):
    answer = zoo("plugins", "doctor", "broken")
    assert answer.code == 1
    assert 'broken_module.py", line 1, in <module>' in answer.out
    assert "RuntimeError: it fell apart\\x1b[31m" in answer.out
    assert "says more" not in answer.out


def test_the_doctor_shows_where_an_import_failed(zoo):
    """Of a component that cannot be loaded."""
    answer = zoo("plugins", "doctor", "lazy")
    assert "ModuleNotFoundError: No module named 'no_such_sdk'" in answer.out.splitlines()[-2]
    assert "install the package that brings the module no_such_sdk" in answer.out


SETTINGS = """
from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from roomkit.plugins import hookimpl

class Config(BaseModel):
    size: int = 3
    token: SecretStr
    \"\"\"What the vendor
    gave you.\"\"\"
    region: Literal["eu", "us"] | None = Field(None, description="Where.")
    key: SecretStr = SecretStr("hidden")

@hookimpl
def roomkit_register(registry):
    registry.add("store", "shelf", "shelf_module:Config", config="shelf_module:Config")
    registry.add("sms", "pigeon", "shelf_module:Config", config="shelf_module:Config")
    registry.add("channel", "coop", "shelf_module:Config", parts={"provider": "sms"})
    registry.add("sms", "lost", "shelf_module:Config", config="shelf_module:Nothing")
"""


def test_the_settings_of_a_component_are_shown(roomkit):
    roomkit.install("shelf", SETTINGS)
    found = json.loads(roomkit("plugins", "info", "shelf", "--json").out)
    components = {f"{each['kind']}:{each['name']}": each for each in found["components"]}
    settings = components["store:shelf"]["settings"]
    assert settings == [
        {
            "name": "token",
            "type": "str",
            "required": True,
            "default": None,
            "secret": True,
            "description": "What the vendor gave you.",
        },
        {
            "name": "size",
            "type": "int",
            "required": False,
            "default": "3",
            "secret": False,
            "description": "",
        },
        {
            "name": "region",
            "type": '"eu" | "us"',
            "required": False,
            "default": None,
            "secret": False,
            "description": "Where.",
        },
        {
            "name": "key",
            "type": "str",
            "required": False,
            "default": None,
            "secret": True,
            "description": "",
        },
    ]
    assert [each["name"] for each in components["channel:coop"]["settings"]] == ["provider"]
    assert "Nothing" in components["sms:lost"]["settings_error"]
    people = roomkit("plugins", "info", "shelf").out
    assert "    token  str  (required, secret)\n        What the vendor gave you.\n" in people
    assert "    size  int  (default 3)\n" in people
    assert "hidden" not in people


def test_a_sample_is_a_configuration(roomkit):
    """A part is shown in a channel that takes it; the references are the only thing to fill in."""
    roomkit.install("shelf", SETTINGS)
    found = json.loads(roomkit("plugins", "info", "shelf", "--json").out)
    samples = {f"{each['kind']}:{each['name']}": each["sample"] for each in found["components"]}
    assert (
        samples["store:shelf"]
        == '[store]\nplugin = "shelf"\ntoken = "env:SHELF_TOKEN"\nkey = "env:SHELF_KEY"'
    )
    assert tomllib.loads(samples["sms:pigeon"]) == {
        "channels": {
            "front": {
                "plugin": "coop",
                "provider": {"plugin": "pigeon", "token": "env:PIGEON_TOKEN", "key": "env:PIGEON_KEY"},
            }
        }
    }


def test_the_schema_is_that_of_the_installed_plugins(roomkit, tmp_path):
    """On standard output, or in a file for an editor."""
    roomkit.install("shelf", SETTINGS)
    shown = roomkit("plugins", "schema")
    file = tmp_path / "schema.json"
    written = roomkit("plugins", "schema", "--output", str(file))
    assert (shown.code, shown.err, written.code, written.out) == (0, "", 0, "")
    assert file.read_text() == shown.out
    schema = json.loads(shown.out)
    assert {"$ref": "#/$defs/store:shelf"} in schema["properties"]["store"]["oneOf"]
    refused = roomkit("plugins", "schema", "--output", str(tmp_path / "none" / "x.json"), "--json")
    assert (refused.code, json.loads(refused.err)["code"]) == (1, "output_failed")


def keys_without_a_description(node, path=""):
    """Yield the keys of a schema that say nothing of themselves."""
    for name, field in node.get("properties", {}).items():
        if not field.get("description"):
            yield f"{path}.{name}"
        yield from keys_without_a_description(field, f"{path}.{name}")
    for name, definition in node.get("$defs", {}).items():
        yield from keys_without_a_description(definition, name)


def test_the_schema_describes_every_key_of_the_first_party_plugins():
    """Those of nested tables too, such as a retry policy."""
    schema = described_schema(default_manager())
    assert schema["$defs"]["kit.RetryPolicy"]["properties"]["jitter"]["description"]
    assert list(keys_without_a_description(schema)) == []
