"""Pages are laid out for their readers: headings that name their part, lines of a readable width."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, in_checkout
from tests.docs.headings import headings_of, prose_of

WIDTH = 120
PAGES = [*ROOT.glob("*.md"), *DOCS, *ROOT.glob("packages/*/README.md"), *ROOT.glob("examples/*.md")]
QUESTION = ("what", "when", "why", "which", "who", "how", "where", "whatever", "whoever")
RUNS_ON = {"it", "they", "them", "this", "you", "we", "nobody", "somebody"}
IMPERATIVE = frozenset(
    {"add", "ask", "be", "choose", "come", "decide", "erase", "follow", "gate", "give", "hand", "identify"}
    | {"install", "keep", "let", "log", "look", "make", "read", "receive", "register", "rewrite"}
    | {"run", "say", "see", "serve", "set", "show", "stop", "stream", "take", "test", "try", "work", "write"}
)
LONE = re.compile(r"\S+|(- |\d+\. )?\[[^]]*\]\(\S+\)\S*")


def flaws(heading: str) -> list[str]:
    """Say what keeps a heading from being a noun phrase or a question."""
    words = re.sub(r"`[^`]*`|\d+\. ", "", heading).lower().rstrip("?").split()
    found = []
    if heading.endswith((".", ":", ",", ";")):
        found.append("ends like a sentence")
    if heading.endswith("?"):
        return found
    if words and words[0] in QUESTION:
        found.append("is a clause; name the thing, or ask")
    if words and words[0] in IMPERATIVE:
        found.append("is a command; name the thing")
    if RUNS_ON & set(words):
        found.append("needs the text around it to be understood")
    return found


def long_lines(page: Path) -> list[str]:
    """List the lines that are wider than a reader likes; tables, and what cannot be broken, may be."""
    return [
        f"{page.name}:{number}"
        for number, line in prose_of(page)
        if len(line) > WIDTH and not line.lstrip().startswith(("|", "<", "#")) and not LONE.fullmatch(line)
    ]


@pytest.mark.parametrize("page", PAGES, ids=in_checkout)
def test_headings_are_noun_phrases_or_questions(page: Path) -> None:
    """Each is understood in a table of contents, without the text below it."""
    # of the API, a heading is the name of a class or method
    named = {} if page.parent.name == "api" else {heading: flaws(heading) for heading in headings_of(page)}
    assert {heading: found for heading, found in named.items() if found} == {}


@pytest.mark.parametrize("page", PAGES, ids=in_checkout)
def test_lines_have_a_readable_width(page: Path) -> None:
    """As they stand in the checkout, in an editor or a terminal."""
    assert long_lines(page) == []


@pytest.mark.parametrize(
    "heading", ["Stop it", "Give back", "What waits", "The gate:", "Rooms you made", "1. Say something"]
)
def test_a_heading_that_runs_on_is_noticed(heading: str) -> None:
    assert flaws(heading)


@pytest.mark.parametrize(
    "heading", ["Virtual time", "What ends an answer?", "1. Lazy names", "`roomkit.toml`"]
)
def test_a_good_heading_is_not(heading: str) -> None:
    assert not flaws(heading)


def test_a_long_line_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    wide = "word " * 30
    page.write_text(f"# Page\n\n{wide}\n\n| {wide} |\n\n```\n{wide}\n```\n\nhttps://{'x' * 130}\n")
    assert long_lines(page) == ["page.md:3"]
