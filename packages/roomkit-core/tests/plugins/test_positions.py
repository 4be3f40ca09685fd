"""The lines that errors of a configuration file name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.plugins.positions import ConfigText, lines_of

TEXT = '''# a comment
[kit]
# why
process_timeout = 20

[store]
note = """
[not.a.table]
path = 1
"""
list = [
  1,
  { plugin = "a" },
]
a.b = 3
[[channels.line.providers]]
plugin = "a"

[[channels.line.providers]]
plugin = "b"
[channels."with.dot"]
plugin = "sms"
[profiles.prod.store]
path = "x"
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("kit", 2),
        ("kit.process_timeout", 4),
        ("store", 6),
        ("store.note", 7),
        ("store.list", 11),
        ("store.list[1].plugin", 11),
        ("store.a.b", 15),
        ("channels.line.providers[0]", 16),
        ("channels.line.providers[0].plugin", 17),
        ("channels.line.providers[1].plugin", 20),
        ("channels.with.dot.plugin", 22),
        ("profiles.prod.store.path", 24),
        ("not.a.table", None),
        ("path", None),
    ],
)
def test_a_key_is_where_its_statement_begins(key: str, line: int | None) -> None:
    """Text in several lines is no table, however it looks."""
    assert ConfigText(TEXT).line(key) == line


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        ("kit.process_timeout: Input should be greater than 0", 4),
        ("kit.proces_timeout is unknown; did you mean 'process_timeout'?", 2),
        ("channels.line.providers[1].tokn is unknown", 19),
        ("channels.line.providers[7]: names no sms", 16),
        ('store names no component; add plugin = "..."', 6),
        ("something else is wrong", None),
        ("", None),
    ],
)
def test_a_problem_is_where_its_key_is_or_the_table_around_it(problem: str, line: int | None) -> None:
    assert ConfigText(TEXT).line_of_problem(problem) == line


def test_the_line_of_a_profile_counts_where_it_writes_the_key() -> None:
    written = ConfigText(TEXT, "prod")

    assert (written.line("store.path"), written.in_profile("store.path")) == (24, True)
    assert (written.line("store.note"), written.in_profile("store.note")) == (7, False)


def test_the_text_does_not_show_in_the_repr() -> None:
    """A file may have secrets in it."""
    assert "canary" not in repr(ConfigText('key = "canary"'))


names = st.text("ab", min_size=1, max_size=2)
values = st.sampled_from(["1", '"x"', "[\n 1,\n 2\n]", '"""\n[t]\nu = 1\n"""', "{ c = 1 }"])
statements = st.one_of(
    st.builds("{} = {}".format, names, values),
    st.builds("[{}.{}]".format, names, names),
    st.builds("[[{}]]".format, names),
    st.sampled_from(["", "# [no.table]"]),
)


def paths(value: object, path: str = "") -> Iterator[str]:
    if path:
        yield path
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from paths(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, f"{path}[{index}]")


@given(st.lists(statements, max_size=8).map("\n".join))
def test_every_key_of_any_file_has_a_line_that_mentions_it(text: str) -> None:
    """Whatever the reader of the standard library finds in it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found, lines = lines_of(text), text.split("\n")
    for path in paths(tables):
        statement = "\n".join(lines[found[path] - 1 :])
        last = path.rsplit(".", 1)[-1].split("[")[0]
        assert last in statement.split("\n\n")[0]
