"""The pages of docs/api: each shows the public names that `api.toml` lists for it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import roomkit
from roomkit._exports import HOMES
from tests.docs.entries import entry, wrapped
from tools.exports import built_names
from tools.source import Tree, owner

PAGES: Mapping[str, Mapping[str, Any]] = tomllib.loads(
    Path(__file__).with_name("api.toml").read_text(encoding="utf-8")
)


def api() -> dict[str, Iterator[str]]:
    """Return the lines of every page, by the name of its file; each is made when it is read."""
    return {"index.md": _index(), **{f"{page}.md": _page(about) for page, about in PAGES.items()}}


@cache
def _homes() -> Mapping[str, str]:
    return dict(built_names(Tree()))


def _index() -> Iterator[str]:
    yield "# The API by subject"
    yield ""
    yield "Every name is imported from `roomkit`. Names in italics are not available yet."
    yield ""
    yield "| page | names |"
    yield "|---|---|"
    for page, about in PAGES.items():
        names = ", ".join(f"`{name}`" if name in _homes() else f"*{name}*" for name in about["names"])
        yield f"| [{about['title']}]({page}.md) | {names} |"


def _page(about: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {about['title']}"
    yield ""
    yield from wrapped(about["about"])
    for name in about["names"]:
        yield ""
        yield f"## {name}"
        yield ""
        if name in _homes():
            yield from _built(name, _homes()[name])
        else:
            yield f"Not available yet. It comes with `{owner(HOMES[name])}`."


def _built(name: str, home: str) -> Iterator[str]:
    yield f"`from roomkit import {name}`, of `{owner(home) or 'roomkit-core'}`."
    yield ""
    yield from entry(name, getattr(roomkit, name))
