"""PostgreSQL databases that tests borrow: prepared once, emptied after each test, lent again."""

from __future__ import annotations

from typing import override

from roomkit_plugins.testing.services.postgres import PostgresDatabases

__all__ = ["PostgresPool"]

_USES = 40
"""After so many uses dead rows would make statements slow, and statistics would not be those of a new one."""

# Ends every other session first, and waits until it is gone: what it still writes would reach the next test.
_EMPTY = """
    SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    SET session_replication_role = replica;
    DO $$
    DECLARE t text;
    BEGIN
        FOR t IN SELECT tablename FROM pg_tables
            WHERE schemaname = 'public' AND NOT tablename ~ '_schema$'
        LOOP
            EXECUTE format('DELETE FROM public.%I', t);
        END LOOP;
    END $$;
"""
# Every change of a table, column, index, constraint, trigger or function writes a new row of a catalogue.
_SHAPE = """
    SELECT md5(string_agg(shape, ',' ORDER BY shape)) FROM (
        SELECT 'column ' || a.attrelid || '.' || a.attnum || ' ' || a.xmin FROM pg_attribute a
            JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind NOT IN ('t', 'S')
        UNION ALL SELECT 'function ' || p.oid || ' ' || p.xmin FROM pg_proc p
            WHERE p.pronamespace = 'public'::regnamespace
        UNION ALL SELECT 'constraint ' || k.oid || ' ' || k.xmin FROM pg_constraint k
            WHERE k.connamespace = 'public'::regnamespace
        UNION ALL SELECT 'trigger ' || t.oid || ' ' || t.xmin FROM pg_trigger t
        UNION ALL SELECT 'rule ' || r.oid || ' ' || r.xmin FROM pg_rewrite r
        UNION ALL SELECT 'schema ' || n.oid FROM pg_namespace n WHERE n.nspname !~ '^pg_'
    ) AS shapes (shape)
"""


class PostgresPool:
    """Lends databases that are copies of `template` at first, and hold none of its tables' rows.

    Emptying costs a tenth of making and dropping a database. One whose tables or functions a test changed is
    dropped rather than lent again. A table whose name ends in `_schema` keeps its rows: it says which version
    of a schema the database has. Sequences stay as the test left them. Blocks as `PostgresDatabases` does.
    """

    def __init__(self, databases: PostgresDatabases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._idle: list[str] = []  # bound: the most that one test borrows
        self._shapes: dict[str, str] = {}
        self._uses: dict[str, int] = {}

    @override
    def __repr__(self) -> str:
        return f"PostgresPool({self._databases!r}, idle={len(self._idle)})"

    def take(self) -> str:
        """Return the URL of a database with no rows."""
        if self._idle:
            return self._idle.pop()
        dsn = self._databases.create_database(self._template)
        self._shapes[dsn] = self._databases.execute(_SHAPE, dsn)
        self._uses[dsn] = 0
        return dsn

    def give_back(self, dsn: str) -> None:
        """End its sessions and empty it; drop it if it was changed, or used often."""
        self._uses[dsn] += 1
        if self._uses[dsn] < _USES and self._emptied(dsn):
            self._idle.append(dsn)
        else:
            self._drop(dsn)

    def close(self) -> None:
        """Drop every database, those that are lent too."""
        for dsn in list(self._uses):
            self._drop(dsn)

    def _emptied(self, dsn: str) -> bool:
        """Empty a database; return whether its tables and functions are those it was made with."""
        return self._databases.execute(_EMPTY + _SHAPE, dsn).splitlines()[-1] == self._shapes[dsn]

    def _drop(self, dsn: str) -> None:
        self._databases.drop_database(dsn)
        del self._uses[dsn], self._shapes[dsn]
