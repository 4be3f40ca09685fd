"""The functions in SQL and the tables in Python name the same columns."""

from __future__ import annotations

import re
from typing import Any

import pytest

from roomkit_plugins.postgres.functions import FUNCTIONS
from roomkit_plugins.postgres.rows import (
    BINDINGS,
    DELIVERIES,
    EVENTS,
    IDENTITIES,
    OBSERVATIONS,
    PARTICIPANTS,
    ROOMS,
    TASKS,
    TIMERS,
    Column,
    Table,
)

TABLES = (ROOMS, EVENTS, BINDINGS, PARTICIPANTS, IDENTITIES, TASKS, OBSERVATIONS, TIMERS)
SQL = re.sub(r"\s+", " ", re.sub(r"--.*", "", "\n".join(FUNCTIONS)))
KEPT = {EVENTS.name: {"idempotency_key", "created_at"}}
"""Columns, beside its key, that a replaced row keeps."""


def given_type(column: Column) -> str:
    """JSON in JSON comes as text, which may then hold an escaped NUL."""
    return "text" if column.type == "json" else column.type


def value(column: Column) -> str:
    return f"g.{column.name}{'::json' if column.type == 'json' else ''}"


def ids(table: Table[Any]) -> str:
    return table.name


@pytest.mark.parametrize("table", TABLES, ids=ids)
def test_an_insert_names_every_column_in_order(table: Table[Any]) -> None:
    """A column that a record has is stored."""
    names = ", ".join(column.name for column in table.columns)
    inserts = re.findall(rf"INSERT INTO {table.name}(?: AS \w)? \(([^)]*)\) SELECT (.*?) FROM ", SQL)
    assert inserts
    for columns, values in inserts:
        assert columns.endswith(names)
        assert values.endswith(", ".join(map(value, table.columns)))


@pytest.mark.parametrize("table", [*TABLES, DELIVERIES], ids=ids)
def test_what_is_given_has_every_column_with_its_type(table: Table[Any]) -> None:
    """The JSON that Python sends is read whole."""
    given = ", ".join(f"{column.name} {given_type(column)}" for column in table.columns)
    assert f"{given} )" in SQL


@pytest.mark.parametrize("table", TABLES, ids=ids)
def test_a_replacement_sets_every_column_but_its_key(table: Table[Any]) -> None:
    (key, *_), names = (column.name for column in table.columns), {each.name for each in table.columns}
    upserts = re.findall(rf"INSERT INTO {table.name} [^;]*?DO UPDATE SET ([^;]*);", SQL)
    updates = re.findall(rf"UPDATE {table.name} \w SET ([^;]*?) FROM json_to_record", SQL)
    assert upserts or updates
    for assignments in (*upserts, *updates):
        set_here = set(re.findall(r"(\w+) = (?:g|excluded)\.", assignments))
        assert names - {key} - set_here == KEPT.get(table.name, set())
