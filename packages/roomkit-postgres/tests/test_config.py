"""The settings, and that nothing secret shows in them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from roomkit_plugins.postgres import PostgresConfig, PostgresLockManager, PostgresRealtime


def test_a_dsn_is_enough() -> None:
    """Or a configuration."""
    config = PostgresConfig.of("postgresql://ann:s3cret@db.example:5433/rooms?sslmode=require")
    assert PostgresConfig.of(config) is config
    assert config.where == "db.example:5433/rooms"
    assert config.connection_options()["dsn"].startswith("postgresql://ann:s3cret@")


@pytest.mark.parametrize(
    ("dsn", "where"),
    [
        ("postgres://localhost", "localhost/"),
        ("postgresql:///rooms", "localhost/rooms"),
        ("postgresql://a@one:1,two:2/rooms?target_session_attrs=primary", "one:1,two:2/rooms"),
        ("postgresql://ann:p%40ss@[::1]:5432/rooms", "[::1]:5432/rooms"),
    ],
)
def test_messages_name_the_servers_and_the_database(dsn: str, where: str) -> None:
    assert PostgresConfig.of(dsn).where == where


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ann:s3c@ret@host/rooms",
        "postgresql://ann:s3c/ret@host/rooms",
        "postgresql://ann:s3c:ret",
        "postgresql://ann:s3c#ret@host/rooms",
        "postgresql://ann:s3c?ret@host/rooms",
        "mysql://ann:s3cret@host/rooms",
        "host=db password=s3cret",
        "s3cret",
        "",
    ],
)
def test_a_dsn_that_cannot_be_read_does_not_show(dsn: str) -> None:
    """The error says how one looks, and what to do about a password with special characters."""
    with pytest.raises(ValidationError, match="percent-encoded") as caught:
        PostgresConfig.of(dsn)
    assert "s3c" not in str(caught.value) + repr(caught.value)


def test_secrets_do_not_show() -> None:
    """In no repr of anything that has the configuration."""
    config = PostgresConfig.of("postgresql://ann:s3cret@host/rooms")
    shown = f"{config!r} {config} {PostgresLockManager(config)!r} {PostgresRealtime(config)!r}"
    assert "s3cret" not in shown + str(config.model_dump()) + config.model_dump_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [("schema_name", 'x"; drop'), ("acquire_timeout", 0), ("max_size", 1), ("maxsize", 5), ("min_size", -1)],
)
def test_what_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        PostgresConfig.model_validate({"dsn": "postgresql://host/rooms", field: value})
