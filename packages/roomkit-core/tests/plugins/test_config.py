"""`roomkit.toml`: what may stand in it, and what the user reads when something else does."""

import asyncio
import inspect
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from roomkit import RoomKit
from roomkit.abc.errors import InvalidInputError
from roomkit.models.channel import RateLimit, RetryPolicy
from roomkit.models.enums import ChannelType
from roomkit.models.options import KitOptions
from roomkit.plugins import ConfigError, KitPlan, PluginManager, load_config

CONFIGURATION = """
[kit]
max_chain_depth = 3
process_timeout = 20.0

[store]
plugin = "memory"

[channels.support]
plugin = "sms"

[channels.support.provider]
plugin = "twilio"
auth_token = "env:ACME_TOKEN"

[agents.front]
plugin = "ai"
provider = { plugin = "anthropic", api_key = "file:keys/anthropic" }
"""


def problems(tables: Mapping[str, object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        load_config(tables)
    return raised.value.problems


def test_a_file_becomes_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables become components, references become secrets; files are looked for beside the configuration."""
    monkeypatch.setenv("ACME_TOKEN", "token-canary")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/anthropic").write_text("key-canary\n")
    (tmp_path / "roomkit.toml").write_text(CONFIGURATION)

    plan = load_config(tmp_path / "roomkit.toml")

    assert plan.kit.given() == {"max_chain_depth": 3, "process_timeout": 20.0}
    assert plan.store is not None
    assert plan.store.plugin == "memory"
    assert plan.channels["support"].settings["provider"] == {
        "plugin": "twilio",
        "auth_token": SecretStr("token-canary"),
    }
    assert plan.agents["front"].settings["provider"] == {
        "plugin": "anthropic",
        "api_key": SecretStr("key-canary"),
    }
    assert "canary" not in repr(plan)
    assert "canary" not in str(plan)


PARTS = {
    "store", "identity_resolver", "inbound_router", "lock_manager", "realtime", "telemetry", "transcoder",
    "clock", "plugins", "tables", "options", "media", "fetch",
}  # fmt: skip
"""What a kit is built of; each has a table of its own, or is given by a program alone."""

EVERY_OPTION = """
[kit]
max_chain_depth = 3
process_timeout = 20
identity_timeout = 4
identity_channel_types = ["sms", "email"]
inbound_rate_limit = { max_per_second = 5 }
agent_response_policy = "addressed_only"
retry_policy = { max_retries = 1, base_delay_seconds = 0.5 }
delivery_timeout = 7.0
agent_timeout = 60.0
close_timeout = 3.0
abandon_after = 2.0
sweep_interval = 30.0
lease_seconds = 9.0
max_claims = 2
unclaimed_after = 120.0
retention = "2w"
max_lane_backlog = 50
max_waiting_in_memory = 20
max_webhook_bytes = 1000
worker_url = "https://worker-1.example"
media_url = "https://chat.example"
media_limit = 1000
media_key = "env:PATH"
require_opt_in = ["marketing"]
suppression_key = "env:PATH"
timezone = "Europe/Berlin"
single_process = true
"""


def test_every_option_of_the_kit_can_be_set_in_a_file() -> None:
    """The table `kit` has exactly what `RoomKit` takes beside its parts, with the same defaults."""
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(RoomKit).parameters.items()
        if name not in PARTS
    }
    assert options == KitOptions().model_dump() | {"retry_policy": RetryPolicy()}


async def test_every_option_of_a_file_arrives_in_the_kit(tmp_path: Path) -> None:
    path = tmp_path / "roomkit.toml"
    await asyncio.to_thread(path.write_text, EVERY_OPTION)
    kit = await RoomKit.from_config(path, plugins=PluginManager(entry_points=()))
    await kit.close()

    assert kit.settings.model_fields_set == KitOptions.model_fields.keys()
    defaults = KitOptions()
    for name in KitOptions.model_fields:
        assert getattr(kit.settings, name) != getattr(defaults, name), name
    assert kit.settings.retry_policy == RetryPolicy(max_retries=1, base_delay_seconds=0.5)
    assert kit.settings.inbound_rate_limit == RateLimit(max_per_second=5)
    assert kit.settings.identity_channel_types == {ChannelType.SMS, ChannelType.EMAIL}
    assert kit.settings.retention == 14 * 86_400


def test_a_wrong_option_is_named_alike_for_a_file_and_a_program() -> None:
    """By its whole name, with what it may be."""
    assert problems({"kit": {"retry_policy": {"max_retires": 1}}}) == (
        "kit.retry_policy.max_retires: Extra inputs are not permitted",
    )
    with pytest.raises(InvalidInputError, match=r"retry_policy\.max_retires cannot be 1: Extra inputs"):
        RoomKit(retry_policy={"max_retires": 1})  # type: ignore[arg-type]
    with pytest.raises(
        InvalidInputError, match=r"agent_response_policy cannot be 'adressed_only': .*did you mean"
    ):
        RoomKit(agent_response_policy="adressed_only")  # type: ignore[arg-type]


def test_a_kit_without_options_has_the_defaults() -> None:
    """None and an empty set of channel types mean them, too."""
    kit = RoomKit(retry_policy=None, identity_channel_types=())
    assert kit.settings == KitOptions()


def test_the_kits_options_are_read_only() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RoomKit().settings.max_claims = 1


def test_an_empty_configuration_is_all_defaults() -> None:
    assert load_config({}) == KitPlan()


def test_references_are_read_in_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of the kit, a plain option of it, and how a source runs: none is taken for its own text."""
    monkeypatch.setenv("MEDIA_KEY", "key-canary")
    monkeypatch.setenv("ZONE", "Europe/Paris")
    plan = load_config(
        {
            "kit": {"media_key": "env:MEDIA_KEY", "timezone": "env:ZONE"},
            "channels": {"desk": {"plugin": "sms"}},
            "sources": {"desk": {"plugin": "mailbox", "run": {"single": False}}},
        }
    )
    assert plan.kit.media_key == SecretStr("key-canary")
    assert plan.kit.timezone == "Europe/Paris"
    assert problems({"kit": {"media_key": "env:NOT_SET"}}) == (
        "kit.media_key: the environment variable NOT_SET is not set; set it",
    )
    source = {"desk": {"plugin": "mailbox", "run": {"restart_delay": "env:NOT_SET"}}}
    assert problems({"channels": {"desk": {"plugin": "sms"}}, "sources": source})[0] == (
        "sources.desk.run.restart_delay: the environment variable NOT_SET is not set; set it"
    )


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """A user mends a file in one go: each line names the place, the trouble and the remedy."""
    path = tmp_path / "roomkit.toml"
    path.write_text(
        "agents = 3\n[kit]\nproces_timeout = 1\nmax_chain_depth = 0\n"
        '[store]\nplugin = ""\n[locks]\n[channels.a]\nplugin = "sms"\n'
        't = "env:NOT_SET"\nu = "env:"\nf = "file:none"\n'
    )
    with pytest.raises(ConfigError) as raised:
        load_config(path)

    assert str(raised.value).splitlines() == [
        f"{path} cannot be used:",
        f"  - {path}:1: agents is int, not a table; write [agents]",
        f"  - {path}:3: kit.proces_timeout is unknown; did you mean 'process_timeout'?",
        f"  - {path}:4: kit.max_chain_depth: Input should be greater than or equal to 1",
        f'  - {path}:5: store names no component; add plugin = "..."',
        f'  - {path}:7: locks names no component; add plugin = "..."',
        f"  - {path}:10: channels.a.t: the environment variable NOT_SET is not set; set it",
        f"  - {path}:11: channels.a.u: 'env:' names no environment variable; write env:NAME",
        f"  - {path}:12: channels.a.f: the file '{tmp_path / 'none'}' cannot be read: "
        "No such file or directory",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"[kit", "it is not TOML"), (b"\xff\xfe", "it is not TOML"), (None, "it cannot be read: No such file")],
)
def test_a_file_that_is_none_is_a_config_error(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """Not an error of the TOML reader or of the system."""
    path = tmp_path / "roomkit.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=problem):
        load_config(path)


def test_an_infinite_deadline_is_refused() -> None:
    """TOML knows inf and nan; a deadline does not."""
    assert problems({"kit": {"process_timeout": float("inf")}}) == (
        "kit.process_timeout: Input should be a finite number",
    )


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(["kit", "store", "channels", "agents", "plugin", "max_chain_depth", "a"])


@given(tables=st.dictionaries(words | st.text(max_size=8), values, max_size=4))
def test_any_mapping_is_a_plan_or_a_config_error(tables: dict[str, object]) -> None:
    """Nonsense never does anything worse than being refused, each problem in words."""
    try:
        plan = load_config(tables)
    except ConfigError as error:
        assert all(error.problems)
    else:
        assert isinstance(plan, KitPlan)


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_is_a_plan_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_text(text, encoding="utf-8")
    try:
        assert isinstance(load_config(path), KitPlan)
    except ConfigError as error:
        assert all(error.problems)
