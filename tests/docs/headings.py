"""Reads the headings of a page, without what stands in its code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_HEADING = re.compile(r"#{1,6} (.+)")


def prose_of(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines outside of code blocks, with their numbers."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def headings_of(page: Path) -> list[str]:
    """List the headings, in their order."""
    found = (_HEADING.fullmatch(line) for _, line in prose_of(page))
    return [heading[1] for heading in found if heading]


def slug(heading: str) -> str:
    """Make the anchor of a heading, as GitHub and the web site do."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
